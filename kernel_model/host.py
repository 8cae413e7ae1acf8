"""The host boundary: the one object through which comes everything that a run cannot know by itself.

Host clocks, random bytes, host files, the terminal, and requests from outside (Ctrl-C). All arguments and results are
plain data, so that a log of this object and a seed repeat a run exactly. `emu.host` implements it; tests may too.
Errors are `OSError` with the host's errno, which is Linux's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple, NewType, Protocol

HostNode = NewType("HostNode", int)
"""A handle for one file of a host tree (a directory that can be walked from, or a leaf); never a path."""


class HostStat(NamedTuple):
    """What lstat(2) says of a host file. Times in nanoseconds, blocks of 512 bytes."""

    dev: int
    ino: int
    mode: int
    nlink: int
    uid: int
    gid: int
    rdev: int
    size: int
    blksize: int
    blocks: int
    atime_ns: int
    mtime_ns: int
    ctime_ns: int


class HostIdentity(NamedTuple):
    """Who runs the emulator, and where: the guest starts with these unless told otherwise."""

    uid: int
    gid: int
    groups: tuple[int, ...]
    hostname: str


class HostTree(Protocol):
    """A directory of the host and what is below it. No name ever leads out of it; links are never followed here.

    `node` is always a handle this tree gave out. `name` is one component, not `.`, `..`, empty or with a slash.
    Handles are closed by the tree itself as it needs (it reopens them by the way they came); `forget` drops one.
    """

    root: HostNode

    def lookup(self, directory: HostNode, name: bytes) -> tuple[HostNode, HostStat]: ...
    def lstat(self, node: HostNode) -> HostStat: ...
    def birth_ns(self, node: HostNode) -> int:
        """When the file was made (statx(2)); 0 where the host does not know."""
        ...

    def listdir(self, directory: HostNode) -> list[tuple[bytes, int, int]]:
        """(name, inode number, d_type) of each entry, without `.` and `..`."""
        ...

    def readlink(self, node: HostNode) -> bytes: ...
    def pread_into(self, node: HostNode, buffer: memoryview, offset: int) -> int:
        """Read file contents straight into `buffer`; the number of bytes read (0 at the end)."""
        ...

    def getxattr(self, node: HostNode, name: bytes) -> bytes: ...
    def listxattr(self, node: HostNode) -> list[bytes]: ...
    def statfs(self, node: HostNode) -> tuple[int, int, int, int, int, int, int, int]:
        """(type, bsize, blocks, bfree, bavail, files, ffree, namelen)."""
        ...

    def forget(self, node: HostNode) -> None: ...

    # The rest only for trees opened writable (`--bind HOST:GUEST:rw`).
    def create(self, directory: HostNode, name: bytes, mode: int) -> tuple[HostNode, HostStat]: ...
    def mkdir(self, directory: HostNode, name: bytes, mode: int) -> tuple[HostNode, HostStat]: ...
    def symlink(self, directory: HostNode, name: bytes, target: bytes) -> tuple[HostNode, HostStat]: ...
    def mkfifo(self, directory: HostNode, name: bytes, mode: int) -> tuple[HostNode, HostStat]: ...
    def link(self, node: HostNode, directory: HostNode, name: bytes) -> None: ...
    def unlink(self, directory: HostNode, name: bytes) -> None: ...
    def rmdir(self, directory: HostNode, name: bytes) -> None: ...
    def rename(self, old: HostNode, old_name: bytes, new: HostNode, new_name: bytes, flags: int) -> None: ...
    def pwrite(self, node: HostNode, data: bytes | memoryview, offset: int) -> int: ...
    def truncate(self, node: HostNode, size: int) -> None: ...
    def chmod(self, node: HostNode, mode: int) -> None: ...
    def chown(self, node: HostNode, uid: int, gid: int) -> None: ...
    def utimens(self, node: HostNode, atime_ns: int, mtime_ns: int) -> None: ...
    def fsync(self, node: HostNode) -> None: ...
    def setxattr(self, node: HostNode, name: bytes, value: bytes, flags: int) -> None: ...
    def removexattr(self, node: HostNode, name: bytes) -> None: ...


class Host(Protocol):
    """The host boundary itself."""

    def identity(self) -> HostIdentity: ...
    def clock_ns(self, clock: int) -> int:
        """The host's clock of that Linux clock id, in nanoseconds. Under virtual time the kernel model never asks."""
        ...

    @property
    def monotonic_ns(self) -> Callable[[], int]:
        """What reads CLOCK_MONOTONIC, and nothing else, as fast as can be."""
        ...

    def random_bytes(self, count: int) -> bytes: ...
    def open_tree(self, path: str, *, writable: bool) -> HostTree:
        """A tree over the host directory (or single file) at `path`."""
        ...

    # The three streams the emulator was started with: 0, 1, 2.
    def stream_read(self, fd: int, count: int) -> bytes:
        """What is there now, at most `count` bytes; b"" at the end; BlockingIOError when nothing is there yet."""
        ...

    def stream_write(self, fd: int, data: bytes) -> int:
        """Bytes taken; BlockingIOError when it can take none now; BrokenPipeError when the reader is gone."""
        ...

    def stream_close(self, fd: int) -> None:
        """The guest closed it everywhere: the other end may know. 2 stays open for the emulator itself."""
        ...

    def stream_stat(self, fd: int) -> HostStat: ...
    def stream_name(self, fd: int) -> bytes:
        """What /proc/self/fd shows for it: `/dev/pts/0`, `pipe:[123]`, a path."""
        ...

    def stream_seek(self, fd: int, offset: int, whence: int) -> int: ...
    def stream_pread(self, fd: int, count: int, offset: int) -> bytes: ...
    def stream_pwrite(self, fd: int, data: bytes, offset: int) -> int: ...
    def stream_truncate(self, fd: int, size: int) -> None: ...
    def stream_poll(self, fd: int) -> int:
        """POLL* bits that hold now."""
        ...

    def stream_flags(self, fd: int) -> int:
        """The stream's O_ACCMODE and O_APPEND bits; raises EBADF when it is closed."""
        ...

    def stream_isatty(self, fd: int) -> bool: ...
    def stream_ioctl(self, fd: int, cmd: int, arg: int) -> int:
        """FIONREAD, TIOCOUTQ (the result is the number), TCFLSH, TCSBRK, TCXONC of `arg`; else ENOTTY."""
        ...

    def tty_get(self, fd: int) -> bytes:
        """`struct termios2` (44 bytes) of the terminal."""
        ...

    def tty_set(self, fd: int, termios2: bytes, when: int) -> None:
        """Set it; `when` 0 now, 1 after output drained, 2 and input flushed. The host restores its own at exit."""
        ...

    def tty_winsize(self, fd: int) -> tuple[int, int, int, int]:
        """(rows, columns, x pixels, y pixels)."""
        ...

    def tty_set_winsize(self, fd: int, rows: int, columns: int, x_pixels: int, y_pixels: int) -> None: ...
    def wait(self, read_fds: Iterable[int], write_fds: Iterable[int], timeout_ns: int | None) -> None:
        """Sleep until one of the streams is ready, `timeout_ns` (None: for ever) has passed, or a signal came in."""
        ...

    def take_signals(self) -> list[int]:
        """Signals that came in from outside (SIGINT, SIGTERM, SIGWINCH ...) since the last call, oldest first."""
        ...

    def interrupt_after(self, delay_ns: int | None) -> None:
        """Have `TrapHandler.interrupted` called once, `delay_ns` from now, even while the guest only computes.

        Replaces what was asked for before; None: not at all.
        """
        ...
