"""What the machine is called, random bytes, and the kernel's log."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from kernel_model.abi import errno, utsname
from kernel_model.cred import CAP_SYS_ADMIN, CAP_SYS_TTY_CONFIG, CAP_SYSLOG
from kernel_model.mm.uaccess import copy_from_user, copy_to_user, copy_to_user_partial
from kernel_model.syscalls.declare import InBuffer, Int, OutBuffer, Size, syscall
from kernel_model.syscalls.kinds import GetrandomFlags, SizedString, SyslogType, UtsnamePtr
from kernel_model.types import SyscallError, UserPtr
from kernel_model.wait import Blocked

if TYPE_CHECKING:
    from kernel_model.task import Task

_UTSNAME = struct.Struct("65s65s65s65s65s65s")
_PER_MASK = 0xFF
_PER_LINUX32 = 8
_UNAME26 = 0x0020000

_GRND_NONBLOCK, _GRND_RANDOM, _GRND_INSECURE = 1, 2, 4
_MAX_RW_COUNT = 0x7FFF_F000
_RANDOM_CHUNK_BYTES = 1 << 16

_SYSLOG_CLOSE, _SYSLOG_OPEN, _SYSLOG_READ, _SYSLOG_READ_ALL, _SYSLOG_READ_CLEAR, _SYSLOG_CLEAR = range(6)
_SYSLOG_CONSOLE_OFF, _SYSLOG_CONSOLE_ON, _SYSLOG_CONSOLE_LEVEL, _SYSLOG_SIZE_UNREAD, _SYSLOG_SIZE_BUFFER = range(6, 11)
_LOG_BUF_BYTES = 1 << 17


@syscall()
def sys_uname(task: Task, buf: UtsnamePtr) -> int:
    """uname(2), with the personalities UNAME26 and PER_LINUX32 (kernel/sys.c:override_release())."""
    uts = task.nsproxy.uts_ns
    release = utsname.RELEASE
    if task.personality & _UNAME26:
        release = b"2.6.%d%s" % (utsname.PATCHLEVEL + 60, release.lstrip(b"0123456789."))
    machine = task.kernel.arch.NAME.encode()
    if task.personality & _PER_MASK == _PER_LINUX32:
        machine = task.kernel.arch.COMPAT_UTS_MACHINE
    data = _UTSNAME.pack(
        utsname.SYSNAME, uts.hostname, release, utsname.VERSION, machine, uts.domainname
    )
    copy_to_user(task.mm, buf, data)
    return 0


def _new_name(task: Task, name: UserPtr, length: int) -> bytes:
    """The argument of sethostname(2) and setdomainname(2), checked."""
    if not task.cred.capable(CAP_SYS_ADMIN):
        raise SyscallError(errno.EPERM)
    if not 0 <= length <= utsname.NEW_UTS_LEN:
        raise SyscallError(errno.EINVAL)
    return copy_from_user(task.mm, name, length).split(b"\0")[0]


@syscall()
def sys_sethostname(task: Task, name: SizedString, length: Int) -> int:
    """sethostname(2)."""
    task.nsproxy.uts_ns.hostname = _new_name(task, name, length)
    return 0


@syscall()
def sys_setdomainname(task: Task, name: SizedString, length: Int) -> int:
    """setdomainname(2)."""
    task.nsproxy.uts_ns.domainname = _new_name(task, name, length)
    return 0


@syscall()
def sys_getrandom(task: Task, buf: OutBuffer, count: Size, flags: GetrandomFlags) -> int:
    """getrandom(2). The pool is always ready, so nothing blocks."""
    if flags & ~(_GRND_NONBLOCK | _GRND_RANDOM | _GRND_INSECURE) or flags & 6 == _GRND_RANDOM | _GRND_INSECURE:
        raise SyscallError(errno.EINVAL)
    count = min(count, _MAX_RW_COUNT)
    done = 0
    while done < count:
        chunk = task.kernel.random.bytes(min(count - done, _RANDOM_CHUNK_BYTES))
        copied = copy_to_user_partial(task.mm, UserPtr(buf + done), chunk)
        done += copied
        if copied < len(chunk):
            break
    if count and not done:
        raise SyscallError(errno.EFAULT)
    return done


@syscall(partial="The kernel's log is always empty; console levels are accepted and ignored.")
def sys_syslog(task: Task, type: SyslogType, buf: InBuffer, count: Int) -> int:
    """syslog(2), in the order of kernel/printk/printk.c:do_syslog() with dmesg_restrict off."""
    if type not in (_SYSLOG_READ_ALL, _SYSLOG_SIZE_BUFFER) and not (
        task.cred.capable(CAP_SYSLOG) or task.cred.capable(CAP_SYS_ADMIN)
    ):
        raise SyscallError(errno.EPERM)
    if type in (_SYSLOG_READ, _SYSLOG_READ_ALL, _SYSLOG_READ_CLEAR):
        if not buf or count < 0:
            raise SyscallError(errno.EINVAL)
        if count and type == _SYSLOG_READ:
            raise Blocked(queues=())  # nobody writes to it
        return 0
    if type == _SYSLOG_CONSOLE_LEVEL and not 1 <= count <= 8:
        raise SyscallError(errno.EINVAL)
    if not _SYSLOG_CLOSE <= type <= _SYSLOG_SIZE_BUFFER:
        raise SyscallError(errno.EINVAL)
    return _LOG_BUF_BYTES if type == _SYSLOG_SIZE_BUFFER else 0


@syscall(partial="The terminal is not hung up.")
def sys_vhangup(task: Task) -> int:
    """vhangup(2)."""
    if not task.cred.capable(CAP_SYS_TTY_CONFIG):
        raise SyscallError(errno.EPERM)
    return 0
