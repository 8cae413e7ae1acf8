"""/proc/sys: the settings that programs look at (Documentation/admin-guide/sysctl)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from kernel_model.abi import errno
from kernel_model.abi.resource import NR_OPEN
from kernel_model.abi.utsname import NEW_UTS_LEN, RELEASE, SYSNAME, VERSION
from kernel_model.cred import CAP_LAST_CAP
from kernel_model.fs.pipe import PIPE_MAX_SIZE
from kernel_model.fs.pseudo import Node, constant, dir_node, text_node
from kernel_model.mm.fault import MMAP_MIN_ADDR
from kernel_model.mm.layout import MAX_MAP_COUNT
from kernel_model.ns.pid import PID_MAX
from kernel_model.types import SyscallError

if TYPE_CHECKING:
    from kernel_model.kernel import Kernel
    from kernel_model.task import Task

NGROUPS_MAX: Final = 65536
FILE_MAX: Final = (1 << 63) - 1
OVERFLOW_ID: Final = 65534


def uuid4(random: bytes) -> bytes:
    """16 random bytes as the text of a version 4 UUID, and a newline."""
    raw = bytearray(random)
    raw[6] = raw[6] & 0x0F | 0x40
    raw[8] = raw[8] & 0x3F | 0x80
    digits = raw.hex().encode()
    return b"-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:])) + b"\n"


def _fixed(value: int | bytes) -> Node:
    """A setting that has one value."""
    return constant(b"%s\n" % value if isinstance(value, bytes) else b"%d\n" % value)


def _uts_name(data: bytes) -> bytes:
    """What a write to hostname or domainname sets: one line, cut to its limit
    (kernel/sysctl.c:proc_do_string()).
    """
    return data.split(b"\n", 1)[0].split(b"\0", 1)[0][:NEW_UTS_LEN]


def _hostname(task: Task) -> bytes:
    return task.nsproxy.uts_ns.hostname + b"\n"


def _domainname(task: Task) -> bytes:
    return task.nsproxy.uts_ns.domainname + b"\n"


def _set_hostname(task: Task, data: bytes) -> None:
    _need_root(task)
    task.nsproxy.uts_ns.hostname = _uts_name(data)


def _set_domainname(task: Task, data: bytes) -> None:
    _need_root(task)
    task.nsproxy.uts_ns.domainname = _uts_name(data)


def _need_root(task: Task) -> None:
    """Settings are root's, whatever its capabilities (kernel/sysctl.c:test_perm())."""
    if task.cred.euid:
        raise SyscallError(errno.EPERM)


def _random(kernel: Kernel) -> dict[bytes, Node]:
    """/proc/sys/kernel/random."""
    boot_id = b""

    def same_until_reboot(task: Task) -> bytes:
        nonlocal boot_id
        boot_id = boot_id or uuid4(kernel.random.bytes(16))
        return boot_id

    return {
        b"boot_id": text_node(same_until_reboot),
        b"entropy_avail": _fixed(256),
        b"poolsize": _fixed(256),
        b"urandom_min_reseed_secs": _fixed(60),
        b"uuid": text_node(lambda task: uuid4(kernel.random.bytes(16))),
        b"write_wakeup_threshold": _fixed(256),
    }


def _actions_avail(task: Task) -> bytes:
    from kernel_model.seccomp.logged import actions_avail

    return actions_avail()


def _actions_logged(task: Task) -> bytes:
    from kernel_model.seccomp.logged import actions_logged

    return actions_logged(task)


def _set_actions_logged(task: Task, data: bytes) -> None:
    from kernel_model.seccomp.logged import set_actions_logged

    set_actions_logged(task, data)


# QUIRK: Of /proc/sys only hostname, domainname and seccomp/actions_logged in kernel can be written.
def sys_node(kernel: Kernel) -> Node:
    """The directory /proc/sys."""
    kernel_settings = {
        b"arch": text_node(lambda task: b"%s\n" % task.kernel.arch.NAME.encode()),
        b"cap_last_cap": _fixed(CAP_LAST_CAP),
        b"core_pattern": _fixed(b"core"),
        b"core_uses_pid": _fixed(0),
        b"dmesg_restrict": _fixed(0),
        b"domainname": text_node(_domainname, mode=0o644, store=_set_domainname),
        b"hostname": text_node(_hostname, mode=0o644, store=_set_hostname),
        b"kptr_restrict": _fixed(0),
        b"msgmax": _fixed(8192),
        b"msgmnb": _fixed(16384),
        b"msgmni": _fixed(32000),
        b"ngroups_max": _fixed(NGROUPS_MAX),
        b"osrelease": _fixed(RELEASE),
        b"ostype": _fixed(SYSNAME),
        b"overflowgid": _fixed(OVERFLOW_ID),
        b"overflowuid": _fixed(OVERFLOW_ID),
        b"perf_event_paranoid": _fixed(2),
        b"pid_max": _fixed(PID_MAX),
        b"printk": _fixed(b"4\t4\t1\t7"),
        b"random": dir_node(_random(kernel)),
        b"randomize_va_space": _fixed(2),
        b"seccomp": dir_node(
            {
                b"actions_avail": text_node(_actions_avail),
                b"actions_logged": text_node(_actions_logged, mode=0o644, store=_set_actions_logged),
            }
        ),
        b"sem": _fixed(b"32000\t1024000000\t500\t32000"),
        b"shmall": _fixed((1 << 64) - 1 - (1 << 24)),
        b"shmmax": _fixed((1 << 64) - 1 - (1 << 24)),
        b"shmmni": _fixed(4096),
        b"tainted": _fixed(0),
        b"threads-max": _fixed(kernel.max_threads),
        b"version": _fixed(VERSION),
    }
    vm_settings = {
        b"max_map_count": _fixed(MAX_MAP_COUNT),
        b"mmap_min_addr": _fixed(MMAP_MIN_ADDR),
        b"overcommit_kbytes": _fixed(0),
        b"overcommit_memory": _fixed(1),
        b"overcommit_ratio": _fixed(50),
        b"page-cluster": _fixed(3),
        b"swappiness": _fixed(60),
    }
    fs_settings = {
        b"aio-max-nr": _fixed(65536),
        b"aio-nr": _fixed(0),
        b"epoll": dir_node({b"max_user_watches": _fixed(kernel.max_user_watches)}),
        b"file-max": _fixed(FILE_MAX),
        b"file-nr": text_node(lambda task: b"%d\t0\t%d\n" % (_open_files(task.kernel), FILE_MAX)),
        b"lease-break-time": _fixed(45),
        b"leases-enable": _fixed(0),
        b"mount-max": _fixed(100_000),
        b"nr_open": _fixed(NR_OPEN),
        b"overflowgid": _fixed(OVERFLOW_ID),
        b"overflowuid": _fixed(OVERFLOW_ID),
        b"pipe-max-size": _fixed(PIPE_MAX_SIZE),
        b"pipe-user-pages-hard": _fixed(0),
        b"pipe-user-pages-soft": _fixed(16384),
        b"protected_fifos": _fixed(0),
        b"protected_hardlinks": _fixed(0),
        b"protected_regular": _fixed(0),
        b"protected_symlinks": _fixed(0),
        b"suid_dumpable": _fixed(0),
    }
    return dir_node(
        {
            b"fs": dir_node(fs_settings),
            b"kernel": dir_node(kernel_settings),
            b"net": dir_node({b"core": dir_node({b"somaxconn": _fixed(4096)})}),
            b"vm": dir_node(vm_settings),
        }
    )


def _open_files(kernel: Kernel) -> int:
    """How many open descriptions there are."""
    return len({id(file) for task in kernel.tasks.values() for file in task.files.fd.values()})
