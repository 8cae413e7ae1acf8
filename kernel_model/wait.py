"""Blocking. A handler that can't go on raises `Blocked`; it is called again with the same arguments when it may.

What must survive between the calls (an absolute deadline, bytes already moved) is kept as plain data in
`task.call_state`, which is None when a call starts and is cleared when it ends.
"""

from __future__ import annotations

from collections.abc import Callable

from kernel_model.abi.errno import ERESTARTSYS


class Blocked(Exception):
    """The calling task sleeps until one of these happens, or a signal interrupts it.

    `deadline_ns`: a time on CLOCK_MONOTONIC (the guest's); None for none. `read_fds`, `write_fds`: host streams to
    become ready. `interrupted`: the errno (a restart code or EINTR) that a signal makes of the call.
    `on_signal`: called instead, then, where a signal asks for more than a number (a sleep tells what is left of it): its
    result is the call's, or it raises SyscallError.
    """

    __slots__ = ("deadline_ns", "interrupted", "on_signal", "read_fds", "write_fds")

    def __init__(
        self,
        *,
        deadline_ns: int | None = None,
        read_fds: tuple[int, ...] = (),
        write_fds: tuple[int, ...] = (),
        interrupted: int = ERESTARTSYS,
        on_signal: Callable[[], int] | None = None,
    ) -> None:
        super().__init__()
        self.deadline_ns = deadline_ns
        self.read_fds = read_fds
        self.write_fds = write_fds
        self.interrupted = interrupted
        self.on_signal = on_signal
