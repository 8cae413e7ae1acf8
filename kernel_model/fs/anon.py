"""Files that are no more than a descriptor (fs/anon_inodes.c): eventfd, epoll and their kin."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from kernel_model.abi.fcntl import O_CLOEXEC
from kernel_model.abi.resource import RLIMIT_NOFILE
from kernel_model.fs.file import put_file
from kernel_model.fs.inode import Inode
from kernel_model.fs.pseudo import KernelSuperBlock
from kernel_model.types import SyscallError

if TYPE_CHECKING:
    from kernel_model.fs.file import File
    from kernel_model.kernel import Kernel
    from kernel_model.task import Task

_ANON_INODE_FS_MAGIC: Final = 0x09041934
_ANON_INODE_DEV: Final = 0xFE
"""0:254, beside pipefs; the mounts count up from 0:1."""


class AnonInode(Inode):
    """What all files of one kind have for an inode. It has no type, and can't be opened again."""

    __slots__ = ("name",)

    i_sb: KernelSuperBlock

    def __init__(self, sb: KernelSuperBlock, ino: int, name: bytes) -> None:
        super().__init__(sb, ino, 0o600, 0, 0, sb.kernel.clock.file_time_ns())
        self.name = name

    def d_dname(self) -> bytes | None:
        """`anon_inode:[eventfd]`."""
        return b"anon_inode:" + self.name


def anon_inode(kernel: Kernel, name: bytes) -> AnonInode:
    """The inode of the files called `name` (`[eventfd]`)."""
    inode = kernel.anon_inodes.get(name)
    if not isinstance(inode, AnonInode):
        others = next(iter(kernel.anon_inodes.values()), None)
        if isinstance(others, AnonInode):
            sb, ino = others.i_sb, others.i_ino  # one inode in truth, with many names
        else:
            kernel.last_ino += 1
            sb = KernelSuperBlock(kernel, "anon_inodefs", _ANON_INODE_DEV, _ANON_INODE_FS_MAGIC)
            ino = kernel.last_ino
        inode = kernel.anon_inodes[name] = AnonInode(sb, ino, name)
    return inode


def install(task: Task, file: File, flags: int) -> int:
    """A new descriptor for the new `file`, close-on-exec if `flags` say O_CLOEXEC; EMFILE."""
    try:
        return task.files.install(file, task.signal.rlim[RLIMIT_NOFILE][0], cloexec=bool(flags & O_CLOEXEC))
    except SyscallError:
        put_file(file, None)
        raise
