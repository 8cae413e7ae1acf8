"""The kinds of namespaces, and which of each a task is in (include/linux/ns_common.h, include/linux/nsproxy.h)."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Final

from kernel_model.abi import time as abi

if TYPE_CHECKING:
    from kernel_model.mm.pagecache import AddressSpace
    from kernel_model.ns.pid import PidNamespace

# include/uapi/linux/sched.h: each kind is named by the flag that makes one
CLONE_NEWTIME: Final = 0x80
CLONE_NEWNS: Final = 0x2_0000
CLONE_NEWCGROUP: Final = 0x200_0000
CLONE_NEWUTS: Final = 0x400_0000
CLONE_NEWIPC: Final = 0x800_0000
CLONE_NEWUSER: Final = 0x1000_0000
CLONE_NEWPID: Final = 0x2000_0000
CLONE_NEWNET: Final = 0x4000_0000
ABSENT: Final = CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWIPC | CLONE_NEWUSER | CLONE_NEWNET
"""Kinds that the kernel model has none of: as in a Linux that was built without them."""
ALL_KINDS: Final = ABSENT | CLONE_NEWTIME | CLONE_NEWUTS | CLONE_NEWPID

# include/uapi/linux/nsfs.h: the numbers of those that are there from the start
TIME_NS_INIT_INO: Final = 0xEFFF_FFFA
PID_NS_INIT_INO: Final = 0xEFFF_FFFC
UTS_NS_INIT_INO: Final = 0xEFFF_FFFE
NS_DYNAMIC_FIRST: Final = 0xF000_0000
"""Those of others are above (PROC_DYNAMIC_FIRST)."""

_MONOTONIC: Final = frozenset((abi.CLOCK_MONOTONIC, abi.CLOCK_MONOTONIC_RAW, abi.CLOCK_MONOTONIC_COARSE))
_BOOTTIME: Final = frozenset((abi.CLOCK_BOOTTIME, abi.CLOCK_BOOTTIME_ALARM))


class Namespace:
    """What all kinds have (`struct ns_common`). It is there while a task or an open file has it."""

    __slots__ = ("__weakref__", "inum")
    name: ClassVar[bytes]
    ns_type: ClassVar[int]
    """The CLONE_NEW flag of its kind."""

    def __init__(self, inum: int) -> None:
        self.inum = inum
        """Its inode number, by which programs know it."""


class UtsNamespace(Namespace):
    """The names of the machine (`struct uts_namespace`)."""

    __slots__ = ("domainname", "hostname")
    name = b"uts"
    ns_type = CLONE_NEWUTS

    def __init__(self, inum: int, hostname: bytes, domainname: bytes) -> None:
        super().__init__(inum)
        self.hostname = hostname
        self.domainname = domainname


class TimeNamespace(Namespace):
    """How far CLOCK_MONOTONIC and CLOCK_BOOTTIME are moved for its tasks (`struct time_namespace`)."""

    __slots__ = ("boottime_ns", "frozen_offsets", "monotonic_ns", "vvar")
    name = b"time"
    ns_type = CLONE_NEWTIME

    def __init__(self, inum: int, monotonic_ns: int = 0, boottime_ns: int = 0) -> None:
        super().__init__(inum)
        self.monotonic_ns = monotonic_ns
        """Added to the machine's clock."""
        self.boottime_ns = boottime_ns
        self.frozen_offsets = False
        """A task has entered: the offsets don't change any more."""
        self.vvar: AddressSpace | None = None
        """What its tasks have as `[vvar]` (`kernel_model.vdso`), once one needed it."""

    def offset_ns(self, clock_id: int) -> int:
        """What `clock_id` is ahead of the machine's (timens_add_monotonic(), timens_add_boottime())."""
        if clock_id in _MONOTONIC:
            return self.monotonic_ns
        return self.boottime_ns if clock_id in _BOOTTIME else 0

    def to_host_ns(self, clock_id: int, time_ns: int) -> int:
        """The time on the machine's clock when `clock_id` shows `time_ns` here (timens_ktime_to_host())."""
        return min(max(0, time_ns - self.offset_ns(clock_id)), abi.KTIME_MAX_NS)


class NsProxy:
    """The namespaces of a task and of its children (`struct nsproxy`). Shared, so never changed: another one is made.

    The one that its own pid is of is `Task.pid_ns`, and does not change.
    """

    __slots__ = ("pid_ns_for_children", "time_ns", "time_ns_for_children", "uts_ns")

    def __init__(
        self,
        uts_ns: UtsNamespace,
        pid_ns_for_children: PidNamespace,
        time_ns: TimeNamespace,
        time_ns_for_children: TimeNamespace,
    ) -> None:
        self.uts_ns = uts_ns
        self.pid_ns_for_children = pid_ns_for_children
        self.time_ns = time_ns
        self.time_ns_for_children = time_ns_for_children


def init_nsproxy(pid_ns: PidNamespace, hostname: bytes) -> NsProxy:
    """The namespaces that there are from the start."""
    time_ns = TimeNamespace(TIME_NS_INIT_INO)
    time_ns.frozen_offsets = True
    return NsProxy(UtsNamespace(UTS_NS_INIT_INO, hostname, b"(none)"), pid_ns, time_ns, time_ns)
