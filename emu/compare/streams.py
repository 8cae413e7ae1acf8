"""The host boundary of runs that are compared: the same input for each, and output that is kept instead of printed."""

from __future__ import annotations

import errno
import hashlib
import os
import signal
from typing import TYPE_CHECKING, Final

from emu.host.real import RealHost
from kernel_model.host import HostStat

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

_S_IFIFO: Final = 0o010000
_PIPE_BYTES: Final = 1 << 16
_KEPT_MAX_BYTES: Final = 64 << 20
_POLLIN, _POLLOUT, _POLLHUP, _POLLRDNORM, _POLLWRNORM = 0x1, 0x4, 0x10, 0x40, 0x100
_FIONREAD, _TIOCOUTQ = 0x541B, 0x5411


class SharedInput:
    """Our standard input, read to its end when the first guest asks for it, and the same bytes for every run."""

    def __init__(self, fd: int = 0) -> None:
        """`fd`: the host's descriptor."""
        self._fd = fd
        self._data: bytes | None = None

    def data(self, can_read: Callable[[int], bool]) -> bytes:
        """All of it; nothing where there is no standard input.

        `can_read` waits until a descriptor can be read. False: the guest is to die first, and needs no input.
        """
        if self._data is None:
            parts = []
            try:
                while True:
                    if not can_read(self._fd):
                        return b""
                    part = os.read(self._fd, _PIPE_BYTES)
                    if not part:
                        break
                    parts.append(part)
            except OSError as error:
                if error.errno not in (errno.EBADF, errno.EIO, errno.EISDIR):
                    raise
            self._data = b"".join(parts)
        return self._data


class Output:
    """What a guest wrote to one stream: all of it counted and hashed, the first 64 MiB kept."""

    def __init__(self) -> None:
        self.size_bytes = 0
        self.kept = bytearray()
        self._hash = hashlib.sha256()

    def add(self, data: bytes) -> None:
        """More of it."""
        self.size_bytes += len(data)
        self._hash.update(data)
        self.kept += data[: max(0, _KEPT_MAX_BYTES - len(self.kept))]

    @property
    def sha256(self) -> str:
        """Of all of it."""
        return self._hash.hexdigest()


class CapturingHost(RealHost):
    """The host, but for the three streams: pipes from and to us, which look the same in each run.

    Signals that would end us end the guest, and `interrupted` says which it was.
    """

    def __init__(self, given: SharedInput) -> None:
        super().__init__(())
        self._given = given
        self._position = 0
        self.outputs = {1: Output(), 2: Output()}
        self.interrupted: int | None = None
        self._closed: set[int] = set()

    def inject_signal(self, signum: int) -> None:
        """See `HostStreams`: what would end us kills the guest; the rest is not for a run that is to repeat."""
        if signum in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM):
            self.interrupted = signum
            signum = signal.SIGKILL
        if signum == signal.SIGKILL:
            super().inject_signal(signum)

    def _input(self) -> bytes:
        return self._given.data(self._can_read)

    def _can_read(self, fd: int) -> bool:
        woken = False
        while not self._signals:
            if self._wait_for([self._wake_fd, fd], [], None):
                self._drain_wake_fd()
                woken = True
                continue
            if woken:
                self.wake()  # it was for `wait`
            return True
        return False

    # -- the streams ---------------------------------------------------------------------------------------------------
    def _check(self, fd: int) -> None:
        if fd in self._closed or not 0 <= fd <= 2:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))

    def stream_read(self, fd: int, count: int) -> bytes:
        """See `Host`."""
        self._check(fd)
        data = self._input()[self._position : self._position + min(count, _PIPE_BYTES)] if fd == 0 else b""
        self._position += len(data)
        return data

    def stream_write(self, fd: int, data: bytes) -> int:
        """See `Host`."""
        self._check(fd)
        self.outputs[fd].add(bytes(data))
        return len(data)

    def stream_close(self, fd: int) -> None:
        """See `Host`."""
        self._check(fd)
        if fd != 2:
            self._closed.add(fd)

    def stream_stat(self, fd: int) -> HostStat:
        """See `Host`: a pipe, whose times stand still."""
        self._check(fd)
        identity = self.identity()
        return HostStat(
            dev=14, ino=fd + 1, mode=_S_IFIFO | 0o600, nlink=1, uid=identity.uid, gid=identity.gid, rdev=0, size=0,
            blksize=4096, blocks=0, atime_ns=0, mtime_ns=0, ctime_ns=0,
        )  # fmt: skip

    def stream_name(self, fd: int) -> bytes:
        """See `Host`."""
        self._check(fd)
        return b"pipe:[%d]" % (fd + 1)

    def stream_poll(self, fd: int) -> int:
        """See `Host`."""
        self._check(fd)
        if fd:
            return _POLLOUT | _POLLWRNORM
        return _POLLIN | _POLLRDNORM if self._position < len(self._input()) else _POLLHUP

    def stream_flags(self, fd: int) -> int:
        """See `Host`."""
        self._check(fd)
        return os.O_WRONLY if fd else os.O_RDONLY

    def stream_isatty(self, fd: int) -> bool:
        """See `Host`."""
        return False

    def stream_ioctl(self, fd: int, cmd: int, arg: int) -> int:
        """See `Host`."""
        self._check(fd)
        if cmd == _FIONREAD:
            return len(self._input()) - self._position if fd == 0 else 0
        if cmd == _TIOCOUTQ:
            return 0
        raise OSError(errno.ENOTTY, os.strerror(errno.ENOTTY))

    def _no_seeking(self, fd: int) -> OSError:
        self._check(fd)
        return OSError(errno.ESPIPE, os.strerror(errno.ESPIPE))

    def stream_seek(self, fd: int, offset: int, whence: int) -> int:
        """See `Host`."""
        raise self._no_seeking(fd)

    def stream_pread(self, fd: int, count: int, offset: int) -> bytes:
        """See `Host`."""
        raise self._no_seeking(fd)

    def stream_pwrite(self, fd: int, data: bytes, offset: int) -> int:
        """See `Host`."""
        raise self._no_seeking(fd)

    def stream_truncate(self, fd: int, size: int) -> None:
        """See `Host`."""
        self._check(fd)
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))

    def wait(self, read_fds: Iterable[int], write_fds: Iterable[int], timeout_ns: int | None) -> None:
        """See `Host`: the streams are always ready, so only times and signals are waited for."""
        if not any(True for _ in read_fds) and not any(True for _ in write_fds):
            super().wait((), (), timeout_ns)
