"""Signals that are read: signalfd(2) (fs/signalfd.c)."""

from __future__ import annotations

from struct import Struct
from typing import TYPE_CHECKING, Final

from kernel_model.abi import errno
from kernel_model.abi.fcntl import O_NONBLOCK, O_RDWR
from kernel_model.fs.anon import AnonInode, anon_inode
from kernel_model.fs.file import POLLIN, File, noop_llseek
from kernel_model.types import U64_MASK, SyscallError
from kernel_model.wait import Blocked, WaitQueue

if TYPE_CHECKING:
    from kernel_model.signal.sighand import SigInfo
    from kernel_model.task import Task

SIGNALFD_SIGINFO_BYTES: Final = 128
_HEAD: Final = Struct("<Iii")
# by the name of the siginfo's field: (where it stands there, its type, where it goes)
_INT, _UINT, _U64, _U16 = Struct("<i"), Struct("<I"), Struct("<Q"), Struct("<H")
_LAYOUTS: Final[dict[str, tuple[tuple[int, Struct, int], ...]]] = {
    "kill": ((16, _UINT, 12), (20, _UINT, 16)),
    "timer": ((16, _UINT, 24), (20, _UINT, 32), (24, _INT, 44), (24, _U64, 48)),
    "poll": ((16, _UINT, 28), (24, _INT, 20)),
    "fault": ((16, _U64, 72),),
    "mceerr": ((16, _U64, 72), (24, _U16, 80)),
    "chld": ((16, _UINT, 12), (20, _UINT, 16), (24, _INT, 40), (32, _U64, 56), (40, _U64, 64)),
    "rt": ((16, _UINT, 12), (20, _UINT, 16), (24, _INT, 44), (24, _U64, 48)),
    "sys": ((16, _U64, 88), (24, _INT, 84), (28, _UINT, 96)),
}


class SignalFile(File):
    """The signals of `mask`, of whoever reads (`struct signalfd_ctx`)."""

    __slots__ = ("mask",)

    inode: AnonInode

    llseek = noop_llseek

    def __init__(self, task: Task, mask: int, flags: int) -> None:
        super().__init__(anon_inode(task.kernel, b"[signalfd]"), None, O_RDWR | flags & O_NONBLOCK)
        self.mask = mask

    def read(self, task: Task, count: int) -> bytes:
        """As many signalfd_siginfo as signals are pending and fit; waits for the first (signalfd_read())."""
        from kernel_model.signal.action import dequeue_signal

        room = count // SIGNALFD_SIGINFO_BYTES
        if not room:
            raise SyscallError(errno.EINVAL)
        taken: list[bytes] = []
        while len(taken) < room and (info := dequeue_signal(task, ~self.mask)) is not None:
            taken.append(signalfd_siginfo(info))
        if taken:
            return b"".join(taken)
        if self.f_flags & O_NONBLOCK:
            raise SyscallError(errno.EAGAIN)
        raise Blocked(queues=(signalfd_wqh(task),))

    def poll(self, task: Task) -> int:
        """signalfd_poll()."""
        return POLLIN if (task.pending.mask | task.signal.shared_pending.mask) & self.mask else 0

    def poll_queues(self) -> tuple[WaitQueue, ...]:
        """That of whoever polls."""
        return (signalfd_wqh(self.inode.i_sb.kernel.current),)

    def show_fdinfo(self, task: Task) -> bytes:
        """signalfd_show_fdinfo()."""
        return b"sigmask:\t%016x\n" % (self.mask & U64_MASK)


def signalfd_wqh(task: Task) -> WaitQueue:
    """Woken for each signal that is sent to the task, or to one that shares its dispositions."""
    queue = task.sighand.signalfd_wqh
    if queue is None:
        queue = task.sighand.signalfd_wqh = WaitQueue()
    return queue


def signalfd_siginfo(info: SigInfo) -> bytes:
    """`struct signalfd_siginfo`: fs/signalfd.c:signalfd_copyinfo()."""
    from kernel_model.signal.siginfo import layout_of, pack

    raw = pack(info)
    data = bytearray(SIGNALFD_SIGINFO_BYTES)
    _HEAD.pack_into(data, 0, info.signo, info.errno, info.code)
    for source, field, target in _LAYOUTS[layout_of(info.signo, info.code)]:
        field.pack_into(data, target, *field.unpack_from(raw, source))
    return bytes(data)
