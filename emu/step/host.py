"""The host of a run that is stepped: Ctrl-C stops the guest instead of reaching it, and its streams are its own."""

from __future__ import annotations

import os
import signal
import time
from typing import TYPE_CHECKING, Final

from emu.host.real import RealHost

if TYPE_CHECKING:
    from collections.abc import Callable

    from emu.cpu.engine import UnicornCpu

_NOTICED_AFTER_S: Final = 0.1


class StepHost(RealHost):
    """`RealHost` on copies of our streams: what the guest closes stays open for us. `stdin`: a file for its input."""

    def __init__(self, stdin: str = os.devnull) -> None:
        """OSError when `stdin` can't be opened."""
        self.at_prompt = False
        """A person is being asked: Ctrl-C is for the line that is being typed."""
        self.sigint_seen = False
        """Our own handler has run for the last Ctrl-C at the prompt."""
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
        elif self.at_prompt:
            self._see_to_it(signum)
        else:
            self._interrupt = True
            self.wake()
            self._cpu.interrupt_from_thread()

    def _see_to_it(self, signum: int) -> None:
        """readline does not notice a signal that comes just before it waits for a key: send it once more."""
        time.sleep(_NOTICED_AFTER_S)
        if self.at_prompt and not self.sigint_seen:
            os.kill(os.getpid(), signum)
        self.sigint_seen = False

    def take_signals(self) -> list[int]:
        """See `Host`."""
        if self._interrupt and self._on_interrupt is not None:
            self._interrupt = False
            self._on_interrupt()
        return super().take_signals()
