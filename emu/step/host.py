"""The host of a run that is stepped: Ctrl-C stops the guest instead of reaching it, and its streams are its own."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

from emu.host.real import RealHost

if TYPE_CHECKING:
    from collections.abc import Callable

    from emu.cpu.engine import UnicornCpu


class StepHost(RealHost):
    """`RealHost` on copies of our streams: what the guest closes stays open for us. `stdin`: a file for its input."""

    def __init__(self, stdin: str = os.devnull) -> None:
        """OSError when `stdin` can't be opened."""
        self.at_prompt = False
        """A person is being asked: Ctrl-C is for the line that is being typed."""
        self._interrupt = False
        self._on_interrupt: Callable[[], None] | None = None
        self._cpu: UnicornCpu | None = None
        super().__init__((os.open(stdin, os.O_RDONLY), os.dup(1), os.dup(2)))

    def attach(self, cpu: UnicornCpu, on_interrupt: Callable[[], None]) -> None:
        """`on_interrupt` is called soon after a Ctrl-C, on the thread that runs the guest."""
        self._cpu = cpu
        self._on_interrupt = on_interrupt

    def inject_signal(self, signum: int) -> None:
        """See `HostStreams`. From the watcher's thread."""
        if signum != signal.SIGINT or self._cpu is None:
            super().inject_signal(signum)
        elif not self.at_prompt:
            self._interrupt = True
            self.wake()
            self._cpu.interrupt_from_thread()

    def take_signals(self) -> list[int]:
        """See `Host`."""
        if self._interrupt and self._on_interrupt is not None:
            self._interrupt = False
            self._on_interrupt()
        return super().take_signals()
