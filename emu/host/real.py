"""The host boundary as a run uses it: the machine we are on."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Final

from emu.host.streams import STREAMS, HostStreams
from kernel_model.host import HostIdentity

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable

    from emu.host.tree import DirHostTree
    from kernel_model.host import HostTree

# Clock ids are the same for every Linux; what another host lacks is made of what it has.
_MONOTONIC: Final = 1
_REALTIME: Final = 0


class RealHost(HostStreams):
    """`kernel_model.host.Host` on the operating system underneath."""

    def __init__(self, fds: tuple[int, ...] = STREAMS) -> None:
        super().__init__(fds)
        self.on_timer: Callable[[], None] | None = None
        """Called when what `interrupt_after` asked for is due, **from another thread**."""
        self._timer: threading.Timer | None = None
        self._trees: list[DirHostTree] = []

    def identity(self) -> HostIdentity:
        """See `Host`."""
        return HostIdentity(os.getuid(), os.getgid(), tuple(os.getgroups()), os.uname().nodename)

    def clock_ns(self, clock: int) -> int:
        """See `Host`."""
        try:
            return time.clock_gettime_ns(clock)
        except OSError:
            return time.clock_gettime_ns(_REALTIME if clock == time.CLOCK_TAI else _MONOTONIC)

    monotonic_ns = staticmethod(time.monotonic_ns)
    """See `Host`."""

    def random_bytes(self, count: int) -> bytes:
        """See `Host`."""
        return os.urandom(count)

    def open_tree(self, path: str, *, writable: bool) -> HostTree:
        """See `Host`."""
        from emu.host.tree import DirHostTree

        tree = DirHostTree(path, writable=writable)
        self._trees.append(tree)
        return tree

    def close_trees(self) -> None:
        """Close the guest's files, which reports of a run that is over still read: nobody looks at it any more."""
        for tree in self._trees:
            tree.close()

    def interrupt_after(self, delay_ns: int | None) -> None:
        """See `Host`."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if delay_ns is not None:
            import threading

            self._timer = threading.Timer(min(delay_ns / 1e9, threading.TIMEOUT_MAX), self._timer_is_due)
            self._timer.daemon = True
            self._timer.start()

    def _timer_is_due(self) -> None:
        self.wake()
        if self.on_timer is not None:
            self.on_timer()

    def close(self) -> None:
        """See `HostStreams`."""
        self.on_timer = None
        self.interrupt_after(None)
        super().close()
