"""The three streams the emulator was started with, the terminal behind them, and signals from outside.

A stream belongs to whoever started us too, so its file flags are never touched: readiness is asked with
poll(2) before each transfer, and what may block is moved in pieces that the stream is known to take.
"""

from __future__ import annotations

import _thread
import errno
import fcntl
import os
import select
import signal
import stat
import struct
from collections import deque
from collections.abc import Callable, Iterable
from typing import Final

from kernel_model.host import HostStat

STREAMS: Final = (0, 1, 2)

# asm-generic/ioctls.h, the same numbers on x86 and arm64
TCGETS2: Final = 0x802C542A
TCSETS2: Final = 0x402C542B
TIOCGWINSZ: Final = 0x5413
TIOCSWINSZ: Final = 0x5414
TCSBRK: Final = 0x5409
TCXONC: Final = 0x540A
TCFLSH: Final = 0x540B
TIOCOUTQ: Final = 0x5411
FIONREAD: Final = 0x541B
_TERMIOS2_BYTES: Final = 44
_WINSIZE: Final = struct.Struct("4H")
_INT: Final = struct.Struct("i")

# A pipe that poll(2) calls writable takes PIPE_BUF bytes without blocking (fs/pipe.c:pipe_poll(),
# pipe_write()); a terminal promises only "some", and its reader is a person's screen: small pieces.
_PIPE_CHUNK_BYTES: Final = 4096
_TTY_CHUNK_BYTES: Final = 1024
_READ_MAX_BYTES: Final = 1 << 20
# Between two writes the guest's signals are looked at.
_WRITE_MAX_BYTES: Final = 1 << 18
_WAIT_MAX_S: Final = 86_400.0

FORWARDED_SIGNALS: Final = (
    signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2, signal.SIGALRM,
    signal.SIGTERM, signal.SIGCONT, signal.SIGWINCH,
)  # fmt: skip

_ALL_EVENTS: Final = (
    select.POLLIN | select.POLLPRI | select.POLLOUT | select.POLLRDNORM | select.POLLRDBAND
    | select.POLLWRNORM | select.POLLWRBAND | select.POLLRDHUP
)  # fmt: skip


def _ignore(_signum: int, _frame: object) -> None:
    """The Python half of a handler: the C half has already told the watcher through the wake-up pipe."""


class HostStreams:
    """The stream, terminal and signal part of `kernel_model.host.Host`.

    Make it before anything opens files: a standard descriptor that was closed (`<&-`) is filled with
    /dev/null, so that nothing of ours lands there, and is EBADF from then on.
    """

    def __init__(self, fds: tuple[int, ...] = STREAMS) -> None:
        """`fds`: the host descriptors that are streams 0, 1 and 2; none for a host with streams of its own."""
        self.on_signal: Callable[[int], None] | None = None
        """Called with each signal number as it comes, **from another thread**: to stop a compute loop."""
        self._signals: deque[int] = deque()
        self._saved_termios: dict[int, tuple[int, bytes]] = {}
        self._saved_handlers: dict[int, signal._HANDLER] = {}
        self._wakeup_pipe: tuple[int, int] | None = None
        self._watching = _thread.allocate_lock()
        self._fds: dict[int, int] = {}
        """The streams that are there, and their host descriptors."""
        self._chunk_bytes: dict[int, int] = {}
        self._tty: set[int] = set()
        self._read_poll: dict[int, select.poll] = {}
        self._write_poll: dict[int, select.poll] = {}
        for stream, fd in enumerate(fds):
            self._take(stream, fd)
        self._wake_fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)

    def _take(self, stream: int, fd: int) -> None:
        """Note what kind of stream `fd` is. A regular file never blocks and has no chunk size."""
        try:
            mode = os.fstat(fd).st_mode
        except OSError:
            self._fill_hole(fd)
            return
        self._fds[stream] = fd
        if stat.S_ISREG(mode) or stat.S_ISBLK(mode) or stat.S_ISDIR(mode):
            return
        is_tty = stat.S_ISCHR(mode) and os.isatty(fd)
        if is_tty:
            self._tty.add(stream)
        self._chunk_bytes[stream] = _TTY_CHUNK_BYTES if is_tty else _PIPE_CHUNK_BYTES
        for polls, events in ((self._read_poll, select.POLLIN), (self._write_poll, select.POLLOUT)):
            polls[stream] = select.poll()
            polls[stream].register(fd, events)

    @staticmethod
    def _fill_hole(fd: int) -> None:
        """Put /dev/null where a standard descriptor is missing."""
        null = os.open("/dev/null", os.O_RDWR)
        if null != fd:
            os.dup2(null, fd)
            os.close(null)

    def _host_fd(self, stream: int) -> int:
        """The host's descriptor; EBADF."""
        fd = self._fds.get(stream)
        if fd is None:
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        return fd

    # -- bytes -----------------------------------------------------------------------------------------------
    def stream_read(self, fd: int, count: int) -> bytes:
        """See `Host`."""
        host_fd = self._host_fd(fd)
        if count and fd in self._chunk_bytes and not self._read_poll[fd].poll(0):
            raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        return os.read(host_fd, min(count, _READ_MAX_BYTES))

    def stream_write(self, fd: int, data: bytes) -> int:
        """See `Host`."""
        host_fd = self._host_fd(fd)
        chunk_bytes = self._chunk_bytes.get(fd)
        if chunk_bytes is None or not data:
            return os.write(host_fd, data)
        ready = self._write_poll[fd].poll
        view = memoryview(data)[:_WRITE_MAX_BYTES]
        done = 0
        while done < len(view) and ready(0):
            try:
                done += os.write(host_fd, view[done : done + chunk_bytes])
            except OSError:
                if done:
                    break
                raise
        if not done:
            raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        return done

    def stream_seek(self, fd: int, offset: int, whence: int) -> int:
        """See `Host`."""
        host_fd = self._host_fd(fd)
        return os.lseek(host_fd, offset, whence)

    def stream_pread(self, fd: int, count: int, offset: int) -> bytes:
        """See `Host`."""
        host_fd = self._host_fd(fd)
        return os.pread(host_fd, min(count, _READ_MAX_BYTES), offset)

    def stream_pwrite(self, fd: int, data: bytes, offset: int) -> int:
        """See `Host`."""
        host_fd = self._host_fd(fd)
        return os.pwrite(host_fd, data, offset)

    def stream_truncate(self, fd: int, size: int) -> None:
        """See `Host`."""
        host_fd = self._host_fd(fd)
        os.ftruncate(host_fd, size)

    def stream_close(self, fd: int) -> None:
        """See `Host`."""
        host_fd = self._host_fd(fd)
        # QUIRK: A guest that closes its stderr leaves the host's open, for the emulator's own reports.
        if fd == 2:
            return
        self._restore_tty(host_fd)
        del self._fds[fd]
        self._tty.discard(fd)
        if host_fd in STREAMS:
            self._fill_hole(host_fd)
        else:
            os.close(host_fd)

    # -- what it is ------------------------------------------------------------------------------------------
    def stream_stat(self, fd: int) -> HostStat:
        """See `Host`."""
        host_fd = self._host_fd(fd)
        st = os.fstat(host_fd)
        return HostStat(
            st.st_dev, st.st_ino, st.st_mode, st.st_nlink, st.st_uid, st.st_gid, st.st_rdev, st.st_size,
            st.st_blksize, st.st_blocks, st.st_atime_ns, st.st_mtime_ns, st.st_ctime_ns,
        )  # fmt: skip

    def stream_name(self, fd: int) -> bytes:
        """See `Host`."""
        host_fd = self._host_fd(fd)
        return os.readlink(b"/proc/self/fd/%d" % host_fd)

    def stream_poll(self, fd: int) -> int:
        """See `Host`."""
        host_fd = self._host_fd(fd)
        poller = select.poll()
        poller.register(host_fd, _ALL_EVENTS)
        events = poller.poll(0)
        return events[0][1] if events else 0

    def stream_flags(self, fd: int) -> int:
        """See `Host`."""
        host_fd = self._host_fd(fd)
        return fcntl.fcntl(host_fd, fcntl.F_GETFL) & (os.O_ACCMODE | os.O_APPEND)

    def stream_isatty(self, fd: int) -> bool:
        """See `Host`."""
        return fd in self._tty

    def stream_ioctl(self, fd: int, cmd: int, arg: int) -> int:
        """See `Host`."""
        host_fd = self._host_fd(fd)
        if cmd in (FIONREAD, TIOCOUTQ):
            answer: int = _INT.unpack(fcntl.ioctl(host_fd, cmd, bytes(4)))[0]
            return answer
        if cmd in (TCSBRK, TCXONC, TCFLSH):
            return self._uninterrupted(host_fd, cmd, arg)
        raise OSError(errno.ENOTTY, os.strerror(errno.ENOTTY))

    @staticmethod
    def _uninterrupted(host_fd: int, cmd: int, arg: int | bytes) -> int:
        """An ioctl that may wait for output to drain; a signal, noted by the watcher, does not end it."""
        while True:
            try:
                if isinstance(arg, int):
                    return fcntl.ioctl(host_fd, cmd, arg)
                fcntl.ioctl(host_fd, cmd, arg)
                return 0
            except InterruptedError:
                continue

    # -- the terminal ----------------------------------------------------------------------------------------
    def tty_get(self, fd: int) -> bytes:
        """See `Host`."""
        host_fd = self._host_fd(fd)
        return fcntl.ioctl(host_fd, TCGETS2, bytes(_TERMIOS2_BYTES))

    def tty_set(self, fd: int, termios2: bytes, when: int) -> None:
        """See `Host`."""
        if len(termios2) != _TERMIOS2_BYTES or when not in (0, 1, 2):
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        host_fd = self._host_fd(fd)
        original = self.tty_get(fd)
        self._saved_termios.setdefault(os.fstat(host_fd).st_rdev, (host_fd, original))
        self._uninterrupted(host_fd, TCSETS2 + when, termios2)

    def tty_winsize(self, fd: int) -> tuple[int, int, int, int]:
        """See `Host`."""
        host_fd = self._host_fd(fd)
        rows, columns, x_pixels, y_pixels = _WINSIZE.unpack(fcntl.ioctl(host_fd, TIOCGWINSZ, bytes(8)))
        return rows, columns, x_pixels, y_pixels

    def tty_set_winsize(self, fd: int, rows: int, columns: int, x_pixels: int, y_pixels: int) -> None:
        """See `Host`."""
        host_fd = self._host_fd(fd)
        fcntl.ioctl(host_fd, TIOCSWINSZ, _WINSIZE.pack(rows, columns, x_pixels, y_pixels))

    def _restore_tty(self, closing_fd: int | None = None) -> None:
        """Put back the settings that `tty_set` changed: all, or only those lost when `closing_fd` goes."""
        for rdev, (host_fd, original) in list(self._saved_termios.items()):
            if closing_fd is not None:
                if host_fd != closing_fd:
                    continue
                others = [self._fds[stream] for stream in self._tty if self._fds[stream] != host_fd]
                others = [other for other in others if os.fstat(other).st_rdev == rdev]
                if others:
                    self._saved_termios[rdev] = (others[0], original)
                    continue
            del self._saved_termios[rdev]
            # In the background the kernel would stop us (SIGTTOU) instead of letting us clean up.
            before = signal.signal(signal.SIGTTOU, signal.SIG_IGN)
            try:
                self._uninterrupted(host_fd, TCSETS2, original)
            except OSError:
                pass  # the terminal is gone: nobody is left to see its settings
            finally:
                signal.signal(signal.SIGTTOU, before)

    # -- waiting and signals ---------------------------------------------------------------------------------
    def wait(self, read_fds: Iterable[int], write_fds: Iterable[int], timeout_ns: int | None) -> None:
        """See `Host`."""
        timeout_s = None if timeout_ns is None else min(max(timeout_ns, 0) / 1e9, _WAIT_MAX_S)
        fds = self._fds
        reading = [self._wake_fd, *(fds[fd] for fd in read_fds if fd in fds)]
        if self._wait_for(reading, [fds[fd] for fd in write_fds if fd in fds], timeout_s):
            self._drain_wake_fd()

    def _wait_for(self, reading: list[int], writing: list[int], timeout_s: float | None) -> bool:
        """Sleep until one of these descriptors is ready; was the one that `wake` writes to?"""
        try:
            return self._wake_fd in select.select(reading, writing, [], timeout_s)[0]
        except ValueError:  # select knows none above 1,023; poll takes any, and counts in milliseconds
            poller = select.poll()
            for fds, events in ((reading, select.POLLIN), (writing, select.POLLOUT)):
                for fd in fds:
                    poller.register(fd, events)
            return any(fd == self._wake_fd for fd, _ in poller.poll(None if timeout_s is None else timeout_s * 1000))

    def wake(self) -> None:
        """End a `wait` that is going on, or the next one, from any thread."""
        if self._wake_fd >= 0:
            os.eventfd_write(self._wake_fd, 1)

    def _drain_wake_fd(self) -> None:
        try:
            os.eventfd_read(self._wake_fd)
        except BlockingIOError:
            pass

    def take_signals(self) -> list[int]:
        """See `Host`."""
        if not self._signals:
            return []
        self._drain_wake_fd()
        taken = []
        while self._signals:
            taken.append(self._signals.popleft())
        return taken

    def watch_signals(self) -> None:
        """From now on signals go to `take_signals` and `on_signal` (main thread only).

        One that whoever started us ignores (nohup, a background job) stays ignored. A thread of ours does the
        watching: while the guest computes, no Python code runs that could see a signal.
        """
        if self._wakeup_pipe is not None:
            return
        read_fd, write_fd = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(write_fd, False)
        self._wakeup_pipe = read_fd, write_fd
        for signum in FORWARDED_SIGNALS:
            if signal.getsignal(signum) is not signal.SIG_IGN:
                self._saved_handlers[signum] = signal.signal(signum, _ignore)
        signal.set_wakeup_fd(write_fd, warn_on_full_buffer=False)
        _thread.start_new_thread(self._watch, (read_fd,))

    def inject_signal(self, signum: int) -> None:
        """As if `signum` had come in from outside; from any thread."""
        self._signals.append(signum)
        self.wake()
        if self.on_signal is not None:
            self.on_signal(signum)

    def _watch(self, read_fd: int) -> None:
        """The watcher's life: numbers come in through the pipe until it is closed."""
        with self._watching:
            self._forward(read_fd)
        os.close(read_fd)

    def _forward(self, read_fd: int) -> None:
        while numbers := os.read(read_fd, 64):
            for signum in numbers:
                self.inject_signal(signum)

    def close(self) -> None:
        """Give the terminal and the signals back as they were found; nothing of this object works then."""
        self._restore_tty()
        if self._wakeup_pipe is not None:
            signal.set_wakeup_fd(-1)
            for signum, handler in self._saved_handlers.items():
                signal.signal(signum, handler)
            self._saved_handlers.clear()
            os.close(self._wakeup_pipe[1])
            self._wakeup_pipe = None
            with self._watching:
                pass  # the watcher has seen the end of the pipe and is gone
        if self._wake_fd >= 0:
            os.close(self._wake_fd)
            self._wake_fd = -1
