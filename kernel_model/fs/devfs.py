"""/dev: a tmpfs with the device nodes that programs count on, and what opening a device node gives
(drivers/char/mem.c).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from kernel_model.abi import errno
from kernel_model.cred import CAP_SYS_ADMIN
from kernel_model.fs.file import File
from kernel_model.fs.inode import DirEntry, Inode
from kernel_model.fs.pseudo import S_IFDIR, KernelSuperBlock, PseudoInode
from kernel_model.fs.tmpfs import MemorySuperBlock
from kernel_model.types import SyscallError

if TYPE_CHECKING:
    from kernel_model.fs.dentry import Path
    from kernel_model.fs.streams import StreamInode
    from kernel_model.kernel import Kernel
    from kernel_model.mm.pagecache import AddressSpace
    from kernel_model.task import Task

DEVPTS_SUPER_MAGIC: Final = 0x1CD1
_S_IFMT: Final = 0o170000
_S_IFCHR: Final = 0o020000
_READ_MAX_BYTES: Final = 1 << 25
_ZERO_SIZE: Final = 1 << 62
_ENTROPY_BITS: Final = 256
# include/uapi/linux/random.h
_RNDGETENTCNT: Final = 0x80045200
_RND_PRIVILEGED: Final = (0x40045201, 0x40085203, 0x5204, 0x5206, 0x5207)


class NullFile(File):
    """/dev/null: nothing comes out, everything goes in."""

    DISCARDS = True
    __slots__ = ()

    def read(self, task: Task, count: int) -> bytes:
        """The end, at once."""
        return b""

    def write(self, task: Task, data: bytes) -> int:
        """All of it."""
        return len(data)

    def pread(self, task: Task, count: int, pos: int) -> bytes:
        """See `read`: a position means nothing to these devices."""
        return self.read(task, count)

    def pwrite(self, task: Task, data: bytes, pos: int) -> int:
        """See `write`."""
        return self.write(task, data)

    def llseek(self, task: Task, offset: int, whence: int) -> int:
        """Always 0 (null_lseek())."""
        return 0


class ZeroFile(NullFile):
    """/dev/zero: zeros without end."""

    __slots__ = ()

    def read(self, task: Task, count: int) -> bytes:
        """Zeros."""
        return bytes(min(count, _READ_MAX_BYTES))

    def mmap_mapping(self, task: Task, flags: int) -> AddressSpace:
        """Fresh memory of zeros, as MAP_ANONYMOUS has."""
        from kernel_model.mm.pagecache import anonymous_space

        return anonymous_space(task.kernel.frames, _ZERO_SIZE)


class FullFile(ZeroFile):
    """/dev/full: a disk without room."""

    __slots__ = ()

    def write(self, task: Task, data: bytes) -> int:
        """ENOSPC."""
        raise SyscallError(errno.ENOSPC)

    def mmap_mapping(self, task: Task, flags: int) -> AddressSpace:
        """ENODEV."""
        raise SyscallError(errno.ENODEV)


class RandomFile(NullFile):
    """/dev/random and /dev/urandom."""

    DISCARDS = False
    __slots__ = ()

    def read(self, task: Task, count: int) -> bytes:
        """Random bytes; at most 32 MiB at a time."""
        return task.kernel.random.bytes(min(count, _READ_MAX_BYTES))

    def ioctl(self, task: Task, cmd: int, arg: int) -> int:
        """random(4). What is given as entropy changes nothing."""
        if cmd == _RNDGETENTCNT:
            from kernel_model.abi.termios import INT
            from kernel_model.mm.uaccess import put_user

            put_user(task.mm, arg, INT, _ENTROPY_BITS)
            return 0
        if cmd not in _RND_PRIVILEGED:
            raise SyscallError(errno.ENOTTY)
        if not task.cred.capable(CAP_SYS_ADMIN):
            raise SyscallError(errno.EPERM)
        return 0


def makedev(major: int, minor: int) -> int:
    """A device number as user space has it (new_encode_dev())."""
    return minor & 0xFF | major << 8 | (minor & ~0xFF) << 12


_TTY: Final = makedev(5, 0)
_CONSOLE: Final = makedev(5, 1)
_DEVICES: Final[dict[int, type[NullFile]]] = {
    makedev(1, 3): NullFile,
    makedev(1, 5): ZeroFile,
    makedev(1, 7): FullFile,
    makedev(1, 8): RandomFile,
    makedev(1, 9): RandomFile,
}
# Documentation/admin-guide/devices.txt; modes as udev's rules leave them
_NODES: Final = (
    (b"null", makedev(1, 3), 0o666),
    (b"zero", makedev(1, 5), 0o666),
    (b"full", makedev(1, 7), 0o666),
    (b"random", makedev(1, 8), 0o666),
    (b"urandom", makedev(1, 9), 0o666),
    (b"tty", _TTY, 0o666),
    (b"console", _CONSOLE, 0o600),
)
_LINKS: Final = (
    (b"fd", b"/proc/self/fd"),
    (b"stdin", b"/proc/self/fd/0"),
    (b"stdout", b"/proc/self/fd/1"),
    (b"stderr", b"/proc/self/fd/2"),
)


def open_device(inode: Inode, path: Path, flags: int, task: Task) -> File:
    """open(2) of a device node, wherever it is; ENXIO for a device that is not there."""
    if inode.i_mode & _S_IFMT == _S_IFCHR:
        kind = _DEVICES.get(inode.i_rdev)
        if kind is not None:
            return kind(inode, path, flags)
        if inode.i_rdev == _TTY:
            from kernel_model.fs.tty import open_controlling_terminal

            return open_controlling_terminal(task, inode, path, flags)
        if inode.i_rdev == _CONSOLE:
            for stream in _terminals(task.kernel).values():
                return stream.open(path, flags, task)
    raise SyscallError(errno.ENXIO)


def _terminals(kernel: Kernel) -> dict[bytes, StreamInode]:
    """The terminals among the emulator's streams, by the host's name for them."""
    found: dict[bytes, StreamInode] = {}
    if kernel.streams is not None:
        for stream in kernel.streams.inodes:
            name = stream.d_dname() if stream.terminal is not None else None
            if name is not None:
                found[name] = stream
    return found


class PtsDirectory(PseudoInode):
    """/dev/pts: the pseudoterminals behind the emulator's streams, so that ttyname(3) finds what is open."""

    __slots__ = ()

    def _here(self) -> dict[bytes, StreamInode]:
        """Name to terminal."""
        prefix = b"/dev/pts/"
        terminals = _terminals(self.i_sb.kernel)
        return {name[len(prefix) :]: inode for name, inode in terminals.items() if name.startswith(prefix)}

    def lookup(self, name: bytes) -> Inode:
        """See `Inode`."""
        inode = self._here().get(name)
        if inode is None:
            raise SyscallError(errno.ENOENT)
        return inode

    def iterate(self) -> list[DirEntry]:
        """See `Inode`."""
        return [DirEntry(name, inode.i_ino, inode.i_mode >> 12) for name, inode in self._here().items()]


def make_root(kernel: Kernel) -> Inode:
    """The root of a fresh /dev."""
    sb = MemorySuperBlock(kernel, kernel.mounts.new_dev(), "devtmpfs")
    root = sb.make_root(0o755)
    for name, rdev, mode in _NODES:
        root.create(name, _S_IFCHR | mode, 0, 0, rdev)
    for name, target in _LINKS:
        root.symlink(name, target, 0, 0)
    root.mkdir(b"shm", 0o1777, 0, 0)
    pts_sb = KernelSuperBlock(kernel, "devpts", kernel.mounts.new_dev(), DEVPTS_SUPER_MAGIC)
    pts = PtsDirectory(pts_sb, S_IFDIR | 0o755)
    pts.i_nlink = 2
    root.put(b"pts", pts)
    for name, inode in _terminals(kernel).items():
        parts = name.split(b"/")
        if parts[:2] == [b"", b"dev"] and len(parts) == 3:
            root.put(parts[2], inode)
    return root
