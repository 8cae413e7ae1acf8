"""Listeners: who is asked when a filter says USER_NOTIF (kernel/seccomp.c)."""

from __future__ import annotations

from struct import Struct
from typing import TYPE_CHECKING, Final, NamedTuple

from kernel_model.abi import errno
from kernel_model.abi import seccomp as abi
from kernel_model.abi.fcntl import O_CLOEXEC, O_RDWR
from kernel_model.abi.resource import RLIMIT_NOFILE
from kernel_model.fs.anon import anon_inode
from kernel_model.fs.file import POLLHUP, POLLIN, POLLOUT, POLLRDNORM, POLLWRNORM, File, get_file, put_file
from kernel_model.mm.uaccess import copy_from_user, copy_struct_from_user, copy_to_user, get_user
from kernel_model.ns.pid import pid_vnr
from kernel_model.syscall_work import never_restarted
from kernel_model.syscalls.read_write import fdget
from kernel_model.types import PAGE_SIZE, SyscallError, UserPtr
from kernel_model.wait import Blocked, WaitQueue

if TYPE_CHECKING:
    from kernel_model.entry import CallArgs
    from kernel_model.seccomp.filter import SeccompFilter
    from kernel_model.syscalls.declare import RawHandler
    from kernel_model.task import Task

_INIT: Final = 0
_SENT: Final = 1
_REPLIED: Final = 2
_ID: Final = Struct("<Q")
_U64_MASK: Final = (1 << 64) - 1


class Response(NamedTuple):
    """`struct seccomp_notif_resp` but for its id: the result is `error`, or `val` where that is 0."""

    val: int = 0
    error: int = 0
    flags: int = 0


class Request:
    """One call that waits for an answer (`struct seccomp_knotif`), and the handler that stands in for it."""

    def __init__(self, notif: Notification, task: Task, handler: RawHandler, data: bytes) -> None:
        """`handler`: the call's own. `data`: its `struct seccomp_data`."""
        self.notif = notif
        self.task = task
        self.handler = handler
        self.data = data
        self.id = 0
        self.state = _INIT
        self.response = Response()
        self.ready = WaitQueue()
        self._asked = self._continued = False
        self._blocked = Blocked(queues=(self.ready,), on_signal=self._interrupted)

    def __call__(self, task: Task, *args: int) -> int:
        """Wait for the answer, and do as it says (seccomp_do_user_notification())."""
        if not self._asked:
            self._asked = True
            self.notif.ask(self)
        if not self._continued:
            if self.state != _REPLIED:
                raise self._blocked.with_traceback(None)
            self.notif.forget(self)
            val, error, flags = self.response
            if not flags & abi.SECCOMP_USER_NOTIF_FLAG_CONTINUE:
                return never_restarted(error or val)
            self._continued = True
            task.kernel.cpu.read_call()  # of this task again: others have run
        return self.handler(task, *args)

    def _interrupted(self) -> int:
        """A signal has come first: whoever listens will find no such request."""
        self.notif.forget(self)
        raise SyscallError(errno.ERESTARTSYS)

    def received(self) -> None:
        """Somebody knows of it now: with WAIT_KILLABLE_RECV only what kills the task ends its wait from here on."""
        self.state = _SENT
        self._blocked.uninterruptible = self.notif.filter.wait_killable_recv

    def unreceived(self) -> None:
        """They could not be told after all."""
        self.state = _INIT
        self._blocked.uninterruptible = False

    def reply(self, response: Response) -> None:
        """The answer; the task goes on."""
        self.state = _REPLIED
        self.response = response
        self.ready.wake()


class Notification:
    """What a filter with a listener has (`struct notification`)."""

    def __init__(self, owner: SeccompFilter, first_id: int) -> None:
        self.filter = owner
        self.requests = 0
        """Requests not received, those counted that are gone meanwhile."""
        self.wqh = WaitQueue()
        self.flags = 0
        self._next_id = first_id
        self._notifications: dict[int, Request] = {}

    def ask(self, request: Request) -> None:
        """One more, at the end."""
        request.id = self._next_id
        self._next_id = self._next_id + 1 & _U64_MASK
        self._notifications[request.id] = request
        self.requests += 1
        self.wqh.wake(events=POLLIN)

    def forget(self, request: Request) -> None:
        """It is over, answered or not."""
        self._notifications.pop(request.id, None)

    def pending(self) -> list[Request]:
        """Those that wait, oldest first."""
        waiting = self._notifications
        for request in [request for request in waiting.values() if request.task.exit_code is not None]:
            del waiting[request.id]  # its group was killed
        return list(waiting.values())

    def find(self, number: int) -> Request:
        """The request with that id; ENOENT."""
        for request in self.pending():
            if request.id == number:
                return request
        raise SyscallError(errno.ENOENT)

    def orphaned(self) -> None:
        """Nobody has the filter any more."""
        self.wqh.wake(events=POLLHUP)

    def detach(self) -> None:
        """Nobody listens any more: whoever waits gets ENOSYS, and so does whoever asks from now on."""
        for request in self.pending():
            if request.state != _REPLIED:
                request.reply(Response(error=-errno.ENOSYS))
        self.filter.notif = None


def ask_listener(
    task: Task, match: SeccompFilter, handler: RawHandler, number: int, pc: int, args: CallArgs
) -> RawHandler:
    """What stands in for a call of which `match` has said USER_NOTIF."""
    if match.notif is None:
        return lambda *_: -errno.ENOSYS  # nobody listens
    signed = number - (1 << 32) if number >> 31 else number
    arch = abi.AUDIT_ARCH_64BIT_LE | task.kernel.arch.E_MACHINE
    return Request(match.notif, task, handler, abi.SECCOMP_DATA.pack(signed, arch, pc, *args))


class ListenerFile(File):
    """The descriptor by which requests are received and answered."""

    __slots__ = ("notif",)

    def __init__(self, task: Task, notif: Notification) -> None:
        super().__init__(anon_inode(task.kernel, b"seccomp notify"), None, O_RDWR)
        self.notif = notif

    def ioctl(self, task: Task, cmd: int, arg: int) -> int:
        """seccomp_notify_ioctl()."""
        if cmd == abi.SECCOMP_IOCTL_NOTIF_RECV:
            return self._receive(task, UserPtr(arg))
        if cmd == abi.SECCOMP_IOCTL_NOTIF_SEND:
            return self._send(task, UserPtr(arg))
        if cmd in (abi.SECCOMP_IOCTL_NOTIF_ID_VALID, abi.SECCOMP_IOCTL_NOTIF_ID_VALID_WRONG_DIR):
            (number,) = get_user(task.mm, arg, _ID)
            if self.notif.find(number).state != _SENT:
                raise SyscallError(errno.ENOENT)
            return 0
        if cmd == abi.SECCOMP_IOCTL_NOTIF_SET_FLAGS:
            # Whether the woken task gets the same CPU is for a scheduler with several to decide.
            if arg & ~abi.SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP:
                raise SyscallError(errno.EINVAL)
            self.notif.flags = arg
            return 0
        if cmd & ~abi.IOC_INOUT_AND_SIZE == abi.SECCOMP_IOCTL_NOTIF_ADDFD & ~abi.IOC_INOUT_AND_SIZE:
            return self._add_fd(task, UserPtr(arg), cmd >> 16 & 0x3FFF)
        raise SyscallError(errno.EINVAL)

    def _receive(self, task: Task, buffer: UserPtr) -> int:
        """SECCOMP_IOCTL_NOTIF_RECV: the oldest request that nobody knows of; waits for one (seccomp_notify_recv())."""
        notif = self.notif
        if any(copy_from_user(task.mm, buffer, abi.SECCOMP_NOTIF_BYTES)):
            raise SyscallError(errno.EINVAL)
        if notif.filter.users:
            if not notif.requests:
                raise Blocked(queues=(notif.wqh,))
            notif.requests -= 1
        request = next((request for request in notif.pending() if request.state == _INIT), None)
        if request is None:
            raise SyscallError(errno.ENOENT)
        request.received()
        notif.wqh.wake(events=POLLOUT)
        try:
            head = abi.SECCOMP_NOTIF_HEAD.pack(request.id, pid_vnr(task, request.task.pid), 0)
            copy_to_user(task.mm, buffer, head + request.data)
        except SyscallError:
            request.unreceived()
            notif.requests += 1
            notif.wqh.wake(events=POLLIN)
            raise
        return 0

    def _send(self, task: Task, buffer: UserPtr) -> int:
        """SECCOMP_IOCTL_NOTIF_SEND: the answer (seccomp_notify_send())."""
        number, val, error, flags = get_user(task.mm, buffer, abi.SECCOMP_NOTIF_RESP)
        continues = flags & abi.SECCOMP_USER_NOTIF_FLAG_CONTINUE
        if flags & ~abi.SECCOMP_USER_NOTIF_FLAG_CONTINUE or (continues and (error or val)):
            raise SyscallError(errno.EINVAL)
        self._received(number).reply(Response(val, error, flags))
        return 0

    def _received(self, number: int) -> Request:
        """The request with that id, which has been received and not been answered; ENOENT, EINPROGRESS."""
        request = self.notif.find(number)
        if request.state != _SENT:
            raise SyscallError(errno.EINPROGRESS)
        return request

    def _add_fd(self, task: Task, buffer: UserPtr, size: int) -> int:
        """SECCOMP_IOCTL_NOTIF_ADDFD: a descriptor of the caller's becomes one of the task that waits too
        (seccomp_notify_addfd()); its number there."""
        if not abi.SECCOMP_NOTIF_ADDFD.size <= size < PAGE_SIZE:
            raise SyscallError(errno.EINVAL)
        newfd: int
        number, flags, srcfd, newfd, newfd_flags = abi.SECCOMP_NOTIF_ADDFD.unpack(
            copy_struct_from_user(task.mm, buffer, size, abi.SECCOMP_NOTIF_ADDFD.size)
        )
        sets = flags & abi.SECCOMP_ADDFD_FLAG_SETFD
        sends = flags & abi.SECCOMP_ADDFD_FLAG_SEND
        if newfd_flags & ~O_CLOEXEC or flags != sets | sends or (newfd and not sets):
            raise SyscallError(errno.EINVAL)
        file = fdget(task, srcfd)
        request = self._received(number)
        target = request.task
        limit = target.signal.rlim[RLIMIT_NOFILE][0]
        cloexec = bool(newfd_flags & O_CLOEXEC)
        if sets:
            if newfd >= limit:
                raise SyscallError(errno.EBADF)
            target.files.replace(newfd, get_file(file), target, cloexec=cloexec)
        else:
            try:
                newfd = target.files.install(get_file(file), limit, cloexec=cloexec)
            except SyscallError:
                put_file(file, None)
                raise
        if sends:
            request.reply(Response(newfd))
            self.notif.forget(request)  # the task itself installs the descriptor, and is told so by then
        return newfd

    def poll(self, task: Task) -> int:
        """seccomp_notify_poll()."""
        mask = 0 if self.notif.filter.users else POLLHUP
        for request in self.notif.pending():
            if request.state == _INIT:
                mask |= POLLIN | POLLRDNORM
            elif request.state == _SENT:
                mask |= POLLOUT | POLLWRNORM
        return mask

    def poll_queues(self) -> tuple[WaitQueue, ...]:
        """One for all that can happen."""
        return (self.notif.wqh,)

    def release(self) -> None:
        """seccomp_notify_release()."""
        self.notif.detach()


def prepare_listener(task: Task, new: SeccompFilter) -> int:
    """Give a filter that is about to be installed its `notif`; the descriptor that its listener will have. EMFILE."""
    fd = task.files.lowest_free(task.files.next_fd, task.signal.rlim[RLIMIT_NOFILE][0])
    new.notif = Notification(new, int.from_bytes(task.kernel.random.bytes(8), "little"))
    return fd


def install_listener(task: Task, new: SeccompFilter, fd: int) -> None:
    """The filter is installed: open the descriptor."""
    assert new.notif is not None
    task.files.install(ListenerFile(task, new.notif), task.signal.rlim[RLIMIT_NOFILE][0], cloexec=True, minimum=fd)
