"""Pipes and FIFOs (fs/pipe.c): a ring of page-sized buffers between readers and writers.

The ring is kept as Linux keeps it, page by page, because a guest can see it: how much fits depends on the
sizes of the writes, and a write of PIPE_BUF bytes is atomic because it fits one page.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final

from kernel_model.abi import errno
from kernel_model.abi.fcntl import O_ACCMODE, O_DIRECT, O_NONBLOCK, O_RDONLY, O_RDWR, O_WRONLY
from kernel_model.cred import CAP_SYS_RESOURCE
from kernel_model.fs.file import POLLERR, POLLHUP, POLLIN, POLLOUT, POLLRDNORM, POLLWRNORM, File
from kernel_model.fs.inode import Inode
from kernel_model.types import PAGE_SHIFT, PAGE_SIZE, SyscallError
from kernel_model.wait import Blocked, WaitQueue

if TYPE_CHECKING:
    from kernel_model.fs.dentry import Path
    from kernel_model.kernel import Kernel
    from kernel_model.mm.frames import FrameAllocator
    from kernel_model.task import Task

PIPE_DEF_BUFFERS: Final = 16
PIPE_MAX_SIZE: Final = 1 << 20
"""/proc/sys/fs/pipe-max-size (bytes)."""
PIPEFS_MAGIC: Final = 0x50495045
_PIPEFS_DEV: Final = 0xFF
"""0:255; the mounts count up from 0:1."""
_S_IFIFO: Final = 0o010000
_SIGPIPE: Final = 13
_FIONREAD: Final = 0x541B


class PipeBuffer:
    """One page of the ring: bytes [start, end) of its frame are still to be read (`struct pipe_buffer`)."""

    __slots__ = ("end", "frame", "packet", "start")

    def __init__(self, frame: int, size: int, packet: bool) -> None:
        self.frame = frame
        self.start = frame
        self.end = frame + size
        self.packet = packet


class Pipe:
    """What a pipe or FIFO holds (`struct pipe_inode_info`), from its first open to its last close.

    Its pages are the guest's memory: a guest can't fill the host's with pipes.
    """

    __slots__ = (
        "bufs", "files", "frames", "max_usage", "opening", "r_counter", "ram", "rd_wait", "readers", "w_counter",
        "wr_wait", "writers",
    )  # fmt: skip

    def __init__(self, frames: FrameAllocator) -> None:
        self.frames = frames
        self.ram = frames.ram
        self.bufs: deque[PipeBuffer] = deque()
        self.max_usage = PIPE_DEF_BUFFERS
        self.readers = 0
        self.writers = 0
        self.files = 0
        self.r_counter = 1
        """Counts opens for reading: who waits for one sees it change."""
        self.w_counter = 1
        self.opening: list[FifoOpen] = []
        self.rd_wait = WaitQueue()
        """Who waits for something to read, or for a writer; `wr_wait`: for room, or for a reader."""
        self.wr_wait = WaitQueue()

    @property
    def full(self) -> bool:
        """No page left to write into?"""
        return len(self.bufs) >= self.max_usage

    @property
    def pending_bytes(self) -> int:
        """What FIONREAD tells."""
        return sum(buf.end - buf.start for buf in self.bufs)

    def take(self, count: int) -> bytes:
        """Up to `count` bytes out of the ring (pipe_read()'s inner loop); the rest of a packet is lost."""
        bufs = self.bufs
        if len(bufs) == 1 < self.max_usage and bufs[0].end - bufs[0].start <= count:
            # all there is, as a reader that waited finds it
            buf = bufs.popleft()
            data = self.ram[buf.start : buf.end].tobytes()
            self.frames.put(buf.frame)
            return data
        pieces = []
        was_full = len(bufs) >= self.max_usage
        while count and bufs:
            buf = bufs[0]
            end = min(buf.end, buf.start + count)
            pieces.append(self.ram[buf.start : end].tobytes())
            count -= end - buf.start
            if buf.packet or end == buf.end:
                bufs.popleft()
                self.frames.put(buf.frame)
                if buf.packet:
                    break
            else:
                buf.start = end
        if was_full and self.wr_wait and len(bufs) < self.max_usage:
            self.wr_wait.wake(events=POLLOUT)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def put_back(self, data: bytes) -> None:
        """Make `data` what is read next: a reader could not take it after all. Its pages were free a moment
        ago.
        """
        for start in range(len(data) - 1 & -PAGE_SIZE, -1, -PAGE_SIZE):
            self.bufs.appendleft(self._new_buffer(memoryview(data)[start : start + PAGE_SIZE], False))
        self.rd_wait.wake()

    def _new_buffer(self, data: memoryview, packet: bool) -> PipeBuffer:
        """A page with `data`, which fits; OutOfMemory."""
        frame = self.frames.alloc()
        self.ram[frame : frame + len(data)] = data
        return PipeBuffer(frame, len(data), packet)

    def peek(self, count: int) -> bytes:
        """What `take` would return, left where it is (tee(2))."""
        pieces = []
        for buf in self.bufs:
            piece = self.ram[buf.start : min(buf.end, buf.start + count)].tobytes()
            pieces.append(piece)
            count -= len(piece)
            if not count or buf.packet:
                break
        return b"".join(pieces)

    def put(self, data: bytes, packet: bool) -> int:
        """As much of `data` as fits; the number of bytes (pipe_write()'s inner loop). OutOfMemory."""
        bufs = self.bufs
        done = len(data)
        if not bufs and done <= PAGE_SIZE:
            frame = self.frames.alloc()
            self.ram[frame : frame + done] = data
            bufs.append(PipeBuffer(frame, done, packet))
            self.rd_wait.wake(events=POLLIN)
            return done
        view = memoryview(data)
        done = 0
        odd = len(data) & PAGE_SIZE - 1
        if odd and bufs:
            last = bufs[-1]
            if not last.packet and last.end + odd <= last.frame + PAGE_SIZE:
                self.ram[last.end : last.end + odd] = view[:odd]
                last.end += odd
                done = odd
        while done < len(data) and len(bufs) < self.max_usage:
            piece = view[done : done + PAGE_SIZE]
            try:
                bufs.append(self._new_buffer(piece, packet))
            except SyscallError:
                if done:
                    break
                raise
            done += len(piece)
        if self.rd_wait:
            self.rd_wait.wake(events=POLLIN)
        return done

    def set_size(self, size: int, *, privileged: bool) -> int:
        """F_SETPIPE_SZ: capacity in bytes, rounded up to a power of two of pages; the new one.

        EINVAL, EPERM above the limit unless `privileged` (CAP_SYS_RESOURCE), EBUSY when what is there would
        not fit.
        """
        size &= 0xFFFF_FFFF
        if size > 1 << 31:
            raise SyscallError(errno.EINVAL)
        size = max(PAGE_SIZE, 1 << (size - 1).bit_length() if size else 0)
        slots = size >> PAGE_SHIFT
        if slots > self.max_usage and size > PIPE_MAX_SIZE and not privileged:
            raise SyscallError(errno.EPERM)
        if len(self.bufs) > slots:
            raise SyscallError(errno.EBUSY)
        self.max_usage = slots
        self.wr_wait.wake()
        return size

    def forget_interrupted_opens(self) -> None:
        """Take back what opens that a signal ended while they waited for the other side had counted."""
        for opening in self.opening[:]:
            if opening.task.call_state is not opening:
                self.opening.remove(opening)
                self.put_end(opening.flags)

    def get_end(self, flags: int) -> None:
        """Count an open description with access mode `flags`."""
        access = flags & O_ACCMODE
        self.files += 1
        if access in (O_RDONLY, O_RDWR):
            self.r_counter += 1
            self.readers += 1
        if access in (O_WRONLY, O_RDWR):
            self.w_counter += 1
            self.writers += 1
        self._wake_all()

    def _wake_all(self) -> None:
        """Somebody came or went: readers and writers look again."""
        if self.rd_wait:
            self.rd_wait.wake()
        if self.wr_wait:
            self.wr_wait.wake()

    def put_end(self, flags: int) -> None:
        """The reverse; the last one takes the contents with it."""
        access = flags & O_ACCMODE
        self.files -= 1
        if access in (O_RDONLY, O_RDWR):
            self.readers -= 1
        if access in (O_WRONLY, O_RDWR):
            self.writers -= 1
        if not self.files:
            self.frames.put_many(buf.frame for buf in self.bufs)
            self.bufs.clear()
        self._wake_all()


class FifoOpen:
    """An open(2) of a FIFO that waits for the other side (`Task.call_state`). It counts as open already."""

    __slots__ = ("counter", "flags", "pipe", "task")

    def __init__(self, task: Task, pipe: Pipe, flags: int, counter: int) -> None:
        self.task = task
        self.pipe = pipe
        self.flags = flags
        self.counter = counter


class PipeInode(Inode):
    """The inode of a pipe that pipe(2) made."""

    __slots__ = ()

    def d_dname(self) -> bytes | None:
        """`pipe:[number]`."""
        return b"pipe:[%d]" % self.i_ino

    def open(self, path: Path, flags: int, task: Task) -> File:
        """/proc/self/fd/N: another description of it, without waiting for anybody."""
        return open_fifo(self, path, flags, task)


class PipeFile(File):
    """An end of a pipe or FIFO, or both (O_RDWR)."""

    __slots__ = ("pipe", "seen_w_counter")

    def __init__(self, inode: Inode, path: Path | None, flags: int, pipe: Pipe) -> None:
        super().__init__(inode, path, flags)
        self.pipe = pipe
        self.seen_w_counter = 0
        """No POLLHUP before a writer has come since then."""

    def read(self, task: Task, count: int) -> bytes:
        """pipe_read(): what is there; waits while there are writers and nothing is."""
        if not count:
            return b""
        pipe = self.pipe
        if pipe.bufs:
            return pipe.take(count)
        if pipe.opening:
            pipe.forget_interrupted_opens()
        if not pipe.writers:
            return b""
        if self.f_flags & O_NONBLOCK:
            raise SyscallError(errno.EAGAIN)
        raise Blocked(queues=(pipe.rd_wait,))

    def unread(self, data: bytes, stored: int) -> int:
        """See `File`."""
        self.pipe.put_back(data[stored:])
        return stored

    def write(self, task: Task, data: bytes) -> int:
        """pipe_write(): as much as fits; waits while nothing does."""
        if not data:
            return 0
        pipe = self.pipe
        if pipe.opening:
            pipe.forget_interrupted_opens()
        if not pipe.readers:
            raise broken_pipe(task)
        done = pipe.put(data, bool(self.f_flags & O_DIRECT))
        if done:
            return done
        if self.f_flags & O_NONBLOCK:
            raise SyscallError(errno.EAGAIN)
        raise Blocked(queues=(pipe.wr_wait,))

    def ioctl(self, task: Task, cmd: int, arg: int) -> int:
        """FIONREAD."""
        if cmd != _FIONREAD:
            raise SyscallError(errno.ENOTTY)
        from kernel_model.abi.termios import INT
        from kernel_model.mm.uaccess import put_user

        put_user(task.mm, arg, INT, self.pipe.pending_bytes)
        return 0

    def poll(self, task: Task) -> int:
        """pipe_poll()."""
        pipe = self.pipe
        if pipe.opening:
            pipe.forget_interrupted_opens()
        mask = 0
        if self.readable:
            if pipe.bufs:
                mask |= POLLIN | POLLRDNORM
            if not pipe.writers and self.seen_w_counter != pipe.w_counter:
                mask |= POLLHUP
        if self.writable:
            if not pipe.full:
                mask |= POLLOUT | POLLWRNORM
            if not pipe.readers:
                mask |= POLLERR
        return mask

    def poll_queues(self) -> tuple[WaitQueue, ...]:
        """Its sides' queues."""
        pipe = self.pipe
        if self.readable and self.writable:
            return pipe.rd_wait, pipe.wr_wait
        return (pipe.rd_wait,) if self.readable else (pipe.wr_wait,)

    def release(self) -> None:
        """pipe_release()."""
        self.pipe.put_end(self.f_flags)
        if not self.pipe.files:
            self.inode.i_pipe = None


def broken_pipe(task: Task) -> SyscallError:
    """EPIPE, with SIGPIPE for the writer."""
    from kernel_model.signal.deliver import send_signal
    from kernel_model.signal.sighand import SigInfo

    info = SigInfo(_SIGPIPE, fields=(("pid", task.tgid_vnr), ("uid", task.cred.uid)))
    send_signal(task.kernel, task, info)
    return SyscallError(errno.EPIPE)


def pipe_of(file: File) -> Pipe | None:
    """The pipe behind `file`, for the calls that work on pipes only (splice, F_SETPIPE_SZ); None for other
    kinds.
    """
    return file.pipe if isinstance(file, PipeFile) else None


def resize_pipe(task: Task, pipe: Pipe, size: int) -> int:
    """fcntl(F_SETPIPE_SZ)."""
    return pipe.set_size(size, privileged=task.cred.capable(CAP_SYS_RESOURCE))


def create_pipe(kernel: Kernel, task: Task, flags: int) -> tuple[PipeFile, PipeFile]:
    """A new pipe's two ends (read, write). `flags`: O_NONBLOCK, O_DIRECT of pipe2(2)."""
    from kernel_model.fs.pseudo import KernelSuperBlock

    kernel.last_ino += 1
    cred = task.cred
    inode = PipeInode(
        KernelSuperBlock(kernel, "pipefs", _PIPEFS_DEV, PIPEFS_MAGIC),
        kernel.last_ino,
        _S_IFIFO | 0o600,
        cred.fsuid,
        cred.fsgid,
        kernel.clock.file_time_ns(),
    )
    pipe = inode.i_pipe = Pipe(kernel.frames)
    reader = PipeFile(inode, None, O_RDONLY | flags & O_NONBLOCK, pipe)
    writer = PipeFile(inode, None, O_WRONLY | flags & (O_NONBLOCK | O_DIRECT), pipe)
    pipe.get_end(O_RDONLY)
    pipe.get_end(O_WRONLY)
    return reader, writer


def open_fifo(inode: Inode, path: Path, flags: int, task: Task) -> File:
    """open(2) of a FIFO: waits for the other side, as fifo(7) says. ENXIO for O_WRONLY | O_NONBLOCK without
    a reader.

    fs/pipe.c:fifo_open(). What pipe(2) made never waits.
    """
    waited = task.call_state
    if isinstance(waited, FifoOpen) and waited.pipe is inode.i_pipe:
        pipe = waited.pipe
        came = pipe.w_counter if flags & O_ACCMODE == O_RDONLY else pipe.r_counter
        if came == waited.counter:
            raise Blocked(queues=(pipe.rd_wait,))
        pipe.opening.remove(waited)
        task.call_state = None
        return PipeFile(inode, path, flags, pipe)
    access = flags & O_ACCMODE
    if access not in (O_RDONLY, O_WRONLY, O_RDWR):
        raise SyscallError(errno.EINVAL)
    pipe = inode.i_pipe or Pipe(task.kernel.frames)
    pipe.forget_interrupted_opens()
    waits_for_peer = not isinstance(inode, PipeInode) and access != O_RDWR
    if waits_for_peer and access == O_WRONLY and not pipe.readers and flags & O_NONBLOCK:
        raise SyscallError(errno.ENXIO)
    inode.i_pipe = pipe
    pipe.get_end(flags)
    peers = pipe.writers if access == O_RDONLY else pipe.readers
    if waits_for_peer and not peers and not flags & O_NONBLOCK:
        counter = pipe.w_counter if access == O_RDONLY else pipe.r_counter
        task.call_state = opening = FifoOpen(task, pipe, flags, counter)
        pipe.opening.append(opening)
        raise Blocked(queues=(pipe.rd_wait,))
    file = PipeFile(inode, path, flags, pipe)
    if waits_for_peer and not peers:
        file.seen_w_counter = pipe.w_counter
    return file
