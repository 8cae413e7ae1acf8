"""The host boundary as a run uses it: the machine we are on."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Final

from emu.host.streams import HostStreams
from kernel_model.host import HostIdentity

if TYPE_CHECKING:
    from kernel_model.host import HostTree

# Clock ids are the same for every Linux; what another host lacks is made of what it has.
_MONOTONIC: Final = 1
_REALTIME: Final = 0


class RealHost(HostStreams):
    """`kernel_model.host.Host` on the operating system underneath."""

    def identity(self) -> HostIdentity:
        """See `Host`."""
        return HostIdentity(
            os.getuid(), os.getgid(), tuple(os.getgroups()), os.uname().nodename, len(os.sched_getaffinity(0))
        )

    def clock_ns(self, clock: int) -> int:
        """See `Host`."""
        try:
            return time.clock_gettime_ns(clock)
        except OSError:
            return time.clock_gettime_ns(_REALTIME if clock == time.CLOCK_TAI else _MONOTONIC)

    def random_bytes(self, count: int) -> bytes:
        """See `Host`."""
        return os.urandom(count)

    def open_tree(self, path: str, *, writable: bool) -> HostTree:
        """See `Host`."""
        from emu.host.tree import DirHostTree

        return DirHostTree(path, writable=writable)
