"""/proc: formats beside the host's own, what the numbers mean, links that lead somewhere, and what is
refused.
"""

from __future__ import annotations

import os
import re
import struct
from pathlib import Path

import pytest

from kernel_model.abi.errno import (
    EACCES,
    EFAULT,
    EINVAL,
    EIO,
    ELOOP,
    ENOENT,
    ENOTDIR,
    EPERM,
    ESRCH,
)
from kernel_model.abi.fcntl import O_CLOEXEC, O_CREAT, O_DIRECTORY, O_PATH, O_RDWR, O_TRUNC, O_WRONLY
from kernel_model.abi.resource import RLIMIT_NOFILE
from kernel_model.signal.sighand import SigAction
from tests.filecalls.calls import Calls
from tests.filecalls.calls import calls as calls  # noqa: PLC0414 - a fixture
from tests.support.model import changed_copy

AT_SYMLINK_NOFOLLOW = 0x100
PROC_SUPER_MAGIC = 0x9FA0
SYSFS_MAGIC = 0x62656572
PID = 1000
MAPS_LINE = re.compile(
    rb"[0-9a-f]{8,16}-[0-9a-f]{8,16} [r-][w-][x-][ps] [0-9a-f]{8,} [0-9a-f]{2,}:[0-9a-f]{2,} \d+ (?: *\S.*)?"
)


def text(calls: Calls, path: str, count: int = 1 << 16) -> bytes:
    """All of a file of /proc."""
    fd = calls.open(path.encode())
    buffer = calls.model.alloc(count)
    got = calls("read", fd, buffer, count)
    assert got >= 0, (path, got)
    calls("close", fd)
    return calls.model.get(buffer, got)


def store(calls: Calls, path: str, data: bytes) -> int:
    fd = calls.open(path.encode(), O_WRONLY | O_TRUNC)
    result = calls("write", fd, calls.model.put(data), len(data))
    calls("close", fd)
    return result


def link(calls: Calls, path: str) -> bytes | int:
    buffer = calls.model.alloc(4096)
    length = calls("readlinkat", -100, path.encode(), buffer, 4096)
    return length if length < 0 else calls.model.get(buffer, length)


def names(calls: Calls, path: str) -> list[bytes]:
    """What getdents64(2) lists."""
    fd = calls.open(path.encode(), O_DIRECTORY)
    buffer = calls.model.alloc(65536)
    found = []
    while (got := calls("getdents64", fd, buffer, 65536)) > 0:
        data = calls.model.get(buffer, got)
        while data:
            _, _, length, _ = struct.unpack_from("<QqHB", data)
            found.append(data[19:length].split(b"\0")[0])
            data = data[length:]
    assert got == 0
    calls("close", fd)
    return found


def fields(data: bytes) -> dict[bytes, bytes]:
    """`Name: value` lines."""
    return {name: value.strip() for name, _, value in (line.partition(b":") for line in data.splitlines()) if name}


def statfs_type(calls: Calls, path: bytes) -> int:
    buffer = calls.model.alloc(120)
    assert calls("statfs", path, buffer) == 0
    return struct.unpack("<q", calls.model.get(buffer, 8))[0]


def set_strings(calls: Calls, argv: bytes, envp: bytes) -> int:
    """Put arguments and environment where execve does; their address."""
    mm = calls.task.mm
    start = calls.model.put(argv + envp)
    mm.arg_start, mm.arg_end = start, start + len(argv)
    mm.env_start, mm.env_end = mm.arg_end, mm.arg_end + len(envp)
    return start


# -- the tree ------------------------------------------------------------------------------------------------
def test_what_proc_looks_like(calls: Calls) -> None:
    assert statfs_type(calls, b"/proc") == PROC_SUPER_MAGIC
    assert statfs_type(calls, b"/sys") == SYSFS_MAGIC
    for path in ("/proc", "/proc/uptime", "/proc/self/fd", "/proc/self/environ", "/proc/self/mem", "/proc/sys"):
        mine = calls.stat(path.encode())
        host = os.stat(path)
        for key in ("st_mode", "st_blksize", "st_blocks", "st_uid"):
            assert mine[key] == getattr(host, key), (path, key)
        if path != "/proc/self/fd":
            assert mine["st_size"] == 0


def test_every_name_is_there_and_stays_what_it_is(calls: Calls) -> None:
    seen = 0
    pending = ["/proc", "/sys", "/dev"]
    while pending:
        directory = pending.pop()
        for name in names(calls, directory):
            if name in (b".", b"..") or directory.endswith(("/fd", "/fdinfo")):
                continue
            path = f"{directory}/{name.decode()}"
            first = calls.stat(path.encode(), AT_SYMLINK_NOFOLLOW)
            assert calls.stat(path.encode(), AT_SYMLINK_NOFOLLOW)["st_ino"] == first["st_ino"], path
            seen += 1
            if first["st_mode"] & 0o170000 == 0o040000:
                pending.append(path)
    assert seen > 150


def test_every_file_can_be_read_from_a_place_in_its_middle(calls: Calls) -> None:
    for name in names(calls, "/proc/self"):
        path = f"/proc/self/{name.decode()}"
        if calls.stat(path.encode(), AT_SYMLINK_NOFOLLOW)["st_mode"] & 0o170000 != 0o100000 or name == b"mem":
            continue
        fd = calls.open(path.encode())
        buffer = calls.model.alloc(65536)
        part = calls("read", fd, buffer, 65536)
        whole = calls.model.get(buffer, part)
        assert calls("pread64", fd, buffer, 4, 2) == len(whole[2:6])
        assert calls.model.get(buffer, len(whole[2:6])) == whole[2:6]
        assert calls("lseek", fd, 0, 2) == -EINVAL
        assert calls("lseek", fd, 3, 0) == 3
        calls("close", fd)


def test_proc_can_be_neither_changed_nor_filled(calls: Calls) -> None:
    assert calls("mkdirat", -100, b"/proc/new", 0o755) == -ENOENT
    assert calls("symlinkat", b"x", -100, b"/proc/self/new") == -ENOENT
    assert calls("openat", -100, b"/proc/new", O_CREAT | O_WRONLY, 0o644) == -ENOENT
    assert calls("mkdirat", -100, b"/sys/new", 0o755) == -EPERM
    assert calls("openat", -100, b"/sys/new", O_CREAT | O_WRONLY, 0o644) == -EACCES
    assert calls("unlinkat", -100, b"/proc/uptime", 0) == -EPERM
    assert calls("fchmodat", -100, b"/proc/self/maps", 0o777) == -EPERM
    assert calls("openat", -100, b"/proc/self/nonsense", 0, 0) == -ENOENT
    assert calls("openat", -100, b"/proc/99999", 0, 0) == -ENOENT
    assert calls("openat", -100, b"/proc/01000/stat", 0, 0) == -ENOENT
    assert calls("openat", -100, b"/proc/uptime/x", 0, 0) == -ENOTDIR


# -- processes -----------------------------------------------------------------------------------------------
def test_self(calls: Calls) -> None:
    assert link(calls, "/proc/self") == b"1000"
    assert link(calls, "/proc/thread-self") == b"1000/task/1000"
    assert b"1000" in names(calls, "/proc")
    assert b"1000" in names(calls, "/proc/self/task")
    assert text(calls, "/proc/thread-self/comm") == text(calls, "/proc/1000/task/1000/comm")
    assert b"task" not in names(calls, "/proc/thread-self")


def test_threads_and_other_processes(calls: Calls) -> None:
    task = calls.task
    thread = changed_copy(task, pid=PID + 1, comm=b"thread")
    other = changed_copy(task, pid=PID + 2, tgid=PID + 2, comm=b"other", signal=changed_copy(task.signal, tgid=PID + 2))
    task.kernel.tasks.update({thread.pid: thread, other.pid: other})
    assert {b"1000", b"1002"} <= set(names(calls, "/proc"))
    assert b"1001" not in names(calls, "/proc")
    assert names(calls, "/proc/self/task") == [b".", b"..", b"1000", b"1001"]
    assert text(calls, "/proc/1001/comm") == b"thread\n"
    assert text(calls, "/proc/1002/comm") == b"other\n"
    assert fields(text(calls, "/proc/self/status"))[b"Threads"] == b"2"
    fd = calls.open(b"/proc/1002/stat")
    del task.kernel.tasks[other.pid]
    assert calls("read", fd, calls.model.alloc(10), 10) == -ESRCH
    assert calls("openat", -100, b"/proc/1002/stat", 0, 0) == -ENOENT


def test_cmdline_and_environ(calls: Calls) -> None:
    start = set_strings(calls, b"prog\0one\0\0", b"HOME=/\0X=1\0")
    assert text(calls, "/proc/self/cmdline") == b"prog\0one\0\0"
    assert text(calls, "/proc/self/environ") == b"HOME=/\0X=1\0"
    # a program that writes a longer title over both (setproctitle(3))
    calls("read", calls.open(calls.make(b"title", b"a long new title")), start, 16)
    assert text(calls, "/proc/self/cmdline") == b"a long new title\0"


def test_comm(calls: Calls) -> None:
    calls.task.comm = b"first"
    assert text(calls, "/proc/self/comm") == b"first\n"
    assert store(calls, "/proc/self/comm", b"0123456789abcdefghi") == 19
    assert text(calls, "/proc/self/comm") == b"0123456789abcde\n"
    assert text(calls, "/proc/self/stat").startswith(b"1000 (0123456789abcde) R ")


def test_stat_has_linuxs_fields(calls: Calls) -> None:
    calls.task.comm = b"a) b ("
    host = Path("/proc/self/stat").read_bytes()
    mine = text(calls, "/proc/self/stat")
    head, _, rest = mine.rpartition(b") ")
    assert head == b"1000 (a) b ("
    assert len(rest.split(b" ")) == len(host.rpartition(b") ")[2].split(b" "))
    values = rest.split()
    assert values[0] == b"R"
    assert int(values[20]) == calls.task.mm.total_vm * 4096
    assert int(text(calls, "/proc/self/statm").split()[0]) == calls.task.mm.total_vm


def test_status_has_linuxs_names_in_linuxs_order(calls: Calls) -> None:
    host = [line.partition(":")[0] for line in Path("/proc/self/status").read_text().splitlines()]
    mine = list(fields(text(calls, "/proc/self/status")))
    known = [name.decode() for name in mine if name.decode() in host]
    assert known == [name for name in host if name in known]
    assert len(known) > 50


def test_status_tells_the_truth(calls: Calls) -> None:
    task = calls.task
    task.comm = b"back\\slash\n"
    task.blocked = 0x5
    task.sighand.action[2] = SigAction(handler=1)
    task.sighand.action[10] = SigAction(handler=0x4000)
    cred = task.cred
    cred.uid, cred.euid, cred.suid, cred.fsuid, cred.groups = 1, 2, 3, 4, (5, 6)
    status = fields(text(calls, "/proc/self/status"))
    assert status[b"Name"] == b"back\\\\slash\\n"
    assert status[b"Uid"] == b"1\t2\t3\t4"
    assert status[b"Groups"] == b"5 6"
    assert status[b"SigBlk"] == b"0000000000000005"
    assert status[b"SigIgn"] == b"0000000000000002"
    assert status[b"SigCgt"] == b"0000000000000200"
    assert status[b"VmSize"] == b"%d kB" % (task.mm.total_vm * 4)


def test_limits(calls: Calls) -> None:
    calls.task.signal.rlim[RLIMIT_NOFILE] = (17, 1 << 64 - 1)
    host = Path("/proc/self/limits").read_bytes().splitlines()
    mine = text(calls, "/proc/self/limits").splitlines()
    assert mine[0] == host[0]
    assert [(line[:26], line[68:]) for line in mine] == [(line[:26], line[68:]) for line in host]
    assert mine[8].split()[3] == b"17"


def test_oom_score_adj(calls: Calls) -> None:
    assert store(calls, "/proc/self/oom_score_adj", b"-17\n") == 4
    assert text(calls, "/proc/self/oom_score_adj") == b"-17\n"
    assert store(calls, "/proc/self/oom_score_adj", b"1001") == -EINVAL
    assert store(calls, "/proc/self/oom_score_adj", b"x") == -EINVAL


def test_oom_score_follows_memory_and_adj(calls: Calls) -> None:
    before = int(text(calls, "/proc/self/oom_score"))
    calls.model.put(bytes(16 << 20))
    assert int(text(calls, "/proc/self/oom_score")) >= before + 100
    assert store(calls, "/proc/self/oom_score_adj", b"500\n") == 4
    assert int(text(calls, "/proc/self/oom_score")) >= before + 400
    assert store(calls, "/proc/self/oom_score_adj", b"-1000\n") == 6
    assert text(calls, "/proc/self/oom_score") == b"0\n"


def test_auxv(calls: Calls) -> None:
    calls.task.auxv = struct.pack("<4Q", 6, 4096, 0, 0)
    assert text(calls, "/proc/self/auxv") == calls.task.auxv


# -- memory --------------------------------------------------------------------------------------------------
def test_maps(calls: Calls) -> None:
    mm = calls.task.mm
    fd = calls.open(calls.make(b"/tmp/with space\nand line", bytes(8192)), O_RDWR)
    private = calls("mmap", 0, 8192, 3, 2, fd, 4096)
    shared = calls("mmap", 0, 4096, 1, 1, fd, 0)
    nothing = calls("mmap", 0, 4096, 0, 0x22, -1, 0)
    anonymous = calls("mmap", 0, 4096, 3, 0x21, -1, 0)
    stat = calls.fstat(fd)
    place = b"%02x:%02x %d" % (stat["st_dev"] >> 8, stat["st_dev"] & 0xFF, stat["st_ino"])
    lines = {int(line.split(b"-")[0], 16): line for line in text(calls, "/proc/self/maps").splitlines()}
    assert list(lines) == sorted(lines)
    assert all(MAPS_LINE.fullmatch(line) for line in lines.values())
    name = rb"/tmp/with space\012and line"
    assert lines[private] == (b"%x-%x rw-p 00001000 %s " % (private, private + 8192, place)).ljust(73) + name
    assert lines[shared] == (b"%x-%x r--s 00000000 %s " % (shared, shared + 4096, place)).ljust(73) + name
    assert lines[nothing] == b"%x-%x ---p 00000000 00:00 0 " % (nothing, nothing + 4096)
    assert lines[anonymous].endswith(b"/dev/zero (deleted)")
    calls("unlinkat", -100, b"/tmp/with space\nand line", 0)
    assert text(calls, "/proc/self/maps").count(name + b" (deleted)\n") == 2
    assert mm.total_vm >= 5


def test_heap_and_stack_have_names(calls: Calls) -> None:
    mm = calls.task.mm
    heap = calls("mmap", 0x1000_0000, 8192, 3, 0x32, -1, 0)
    mm.start_brk, mm.brk = heap, heap + 8192
    stack = calls("mmap", 0x2000_0000, 8192, 3, 0x132, -1, 0)
    mm.start_stack = stack + 8000
    lines = text(calls, "/proc/self/maps").splitlines()
    assert any(line.startswith(b"%x-" % heap) and line[73:] == b"[heap]" for line in lines)
    assert any(line.startswith(b"%x-" % stack) and line[73:] == b"[stack]" for line in lines)


def test_smaps_adds_up(calls: Calls) -> None:
    address = calls("mmap", 0x1000_0000, 16384, 3, 0x32, -1, 0)
    calls("read", calls.open(b"/dev/urandom"), address, 8192)
    smaps = text(calls, "/proc/self/smaps")
    host_names = [
        line.split(b":")[0] for line in Path("/proc/self/smaps").read_bytes().split(b"VmFlags")[0].splitlines()[1:]
    ]
    block = smaps[smaps.index(b"%x-" % address) :].split(b"VmFlags")[0]
    mine = fields(b"\n".join(block.splitlines()[1:]))
    assert [name for name in host_names if name in mine] == list(mine)
    assert mine[b"Size"] == b"16 kB"
    assert (mine[b"Rss"], mine[b"Private_Dirty"], mine[b"Anonymous"]) == (b"8 kB",) * 3
    total = sum(int(line.split()[1]) for line in smaps.splitlines() if line.startswith(b"Rss:"))
    (rss,) = (line for line in text(calls, "/proc/self/smaps_rollup").splitlines() if line.startswith(b"Rss:"))
    # reading it took memory too
    assert total <= int(rss.split()[1]) <= total + 64


def test_mem(calls: Calls) -> None:
    address = calls.model.put(b"remember")
    fd = calls.open(b"/proc/self/mem", O_RDWR)
    buffer = calls.model.alloc(16)
    assert calls("pread64", fd, buffer, 8, address) == 8
    assert calls.model.get(buffer, 8) == b"remember"
    assert calls("lseek", fd, address + 2, 0) == address + 2
    assert calls("write", fd, calls.model.put(b"XY"), 2) == 2
    assert calls.model.get(address, 8) == b"reXYmber"
    assert calls("pread64", fd, buffer, 8, 0x1000) == -EIO
    # up to the page that is not there
    assert calls("pread64", fd, buffer, 16, address + 4092) == 4


# -- links ---------------------------------------------------------------------------------------------------
def test_descriptors(calls: Calls) -> None:
    fd = calls.open(calls.make(b"file", b"0123456789"), O_RDWR | O_CLOEXEC)
    calls("read", fd, calls.model.alloc(4), 4)
    assert link(calls, f"/proc/self/fd/{fd}") == b"/tmp/w/file"
    stat = calls.stat(b"/proc/self/fd/%d" % fd, AT_SYMLINK_NOFOLLOW)
    assert (stat["st_mode"], stat["st_size"]) == (0o120700, 64)
    assert b"%d" % fd in names(calls, "/proc/self/fd")
    info = fields(text(calls, f"/proc/self/fdinfo/{fd}"))
    assert info[b"pos"] == b"4"
    flags = int(info[b"flags"], 8)
    assert calls.arch.open_flags_from_user(flags) & (O_RDWR | O_CLOEXEC) == O_RDWR | O_CLOEXEC
    calls("close", fd)
    assert link(calls, f"/proc/self/fd/{fd}") == -ENOENT


def test_a_descriptors_link_leads_to_what_is_open(calls: Calls) -> None:
    fd = calls.open(calls.make(b"file", b"still here"), O_RDWR)
    calls("unlinkat", -100, b"file", 0)
    assert link(calls, f"/proc/self/fd/{fd}") == b"/tmp/w/file (deleted)"
    assert calls.contents(b"/proc/self/fd/%d" % fd) == b"still here"
    assert (
        calls("openat", -100, b"/proc/self/fd/%d" % fd, 0o400000 if calls.arch.NAME == "x86_64" else 0o100000, 0)
        == -ELOOP
    )
    assert calls.stat(b"/proc/self/fd/%d" % fd)["st_nlink"] == 0


def test_directories_behind_links(calls: Calls) -> None:
    calls.make(b"/tmp/w/inside")
    fd = calls.open(b"/tmp/w", O_DIRECTORY)
    assert calls.stat(b"/proc/self/fd/%d/inside" % fd)["st_ino"] == calls.stat(b"inside")["st_ino"]
    assert link(calls, "/proc/self/cwd") == b"/tmp/w"
    assert calls.stat(b"/proc/self/cwd/inside")["st_ino"] == calls.stat(b"inside")["st_ino"]
    assert link(calls, "/proc/self/root") == b"/"
    assert calls.stat(b"/proc/self/root/tmp/w/inside")["st_ino"] == calls.stat(b"inside")["st_ino"]


def test_exe(calls: Calls) -> None:
    assert link(calls, "/proc/self/exe") == -ENOENT
    calls.make(b"program", b"\x7fELF")
    calls.task.exe = calls.model.kernel.mounts.path_of(b"/tmp/w/program")
    assert link(calls, "/proc/self/exe") == b"/tmp/w/program"
    assert calls.contents(b"/proc/self/exe") == b"\x7fELF"
    calls("unlinkat", -100, b"program", 0)
    assert link(calls, "/proc/self/exe") == b"/tmp/w/program (deleted)"


def test_links_do_not_lead_out_of_a_chroot(calls: Calls) -> None:
    calls("mkdirat", -100, b"/tmp/w/jail", 0o755)
    calls("mkdirat", -100, b"/tmp/w/jail/proc", 0o755)
    outside = calls.open(b"/tmp/w", O_DIRECTORY | O_PATH)
    proc = calls.open(b"/proc", O_DIRECTORY)
    assert calls("chroot", b"/tmp/w/jail") == 0
    calls("chdir", b"/")
    # an absolute link below /proc starts again at the task's own root
    buffer = calls.model.alloc(64)
    length = calls("readlinkat", proc, b"self/root", buffer, 64)
    assert calls.model.get(buffer, length) == b"/"
    length = calls("readlinkat", proc, b"self/fd/%d" % outside, buffer, 64)
    # the name is the real one even where the task can't go by it (d_path())
    assert calls.model.get(buffer, length) == b"/tmp/w"


# -- the machine ---------------------------------------------------------------------------------------------
def test_mounts(calls: Calls) -> None:
    mounts = [line.split(b" ") for line in text(calls, "/proc/mounts").splitlines()]
    assert [b"proc", b"/proc", b"proc", b"rw,nosuid,nodev,noexec,relatime", b"0", b"0"] in mounts
    info = [line.split(b" ") for line in text(calls, "/proc/self/mountinfo").splitlines()]
    assert len(info) == len(mounts)
    dev = calls.stat(b"/proc")["st_dev"]
    (proc,) = [line for line in info if line[4] == b"/proc"]
    assert proc[2] == b"%d:%d" % (dev >> 8, dev & 0xFF)
    assert proc[6:] == [b"-", b"proc", b"proc", b"rw"]


@pytest.mark.parametrize(
    ("path", "shape"),
    [
        ("/proc/uptime", rb"\d+\.\d\d \d+\.\d\d\n"),
        ("/proc/loadavg", rb"\d+\.\d\d \d+\.\d\d \d+\.\d\d \d+/\d+ \d+\n"),
        ("/proc/version", rb"Linux version \S+ \(.*\) #1 SMP .*\n"),
        ("/proc/sys/kernel/random/uuid", rb"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}\n"),
        ("/proc/sys/kernel/ostype", rb"Linux\n"),
        ("/proc/sys/kernel/osrelease", rb"\d+\.\d+.*\n"),
        ("/proc/sys/vm/overcommit_memory", rb"[012]\n"),
        ("/proc/sys/fs/pipe-max-size", rb"1048576\n"),
        ("/proc/self/personality", rb"[0-9a-f]{8}\n"),
        ("/proc/self/cgroup", rb"0::/\n"),
        ("/sys/devices/system/cpu/online", rb"\d+(-\d+)?\n"),
        ("/sys/devices/system/cpu/cpu0/topology/thread_siblings", rb"[0-9a-f,]+\n"),
        ("/sys/devices/system/cpu/cpu0/topology/core_siblings_list", rb"\d+(-\d+)?\n"),
        ("/sys/devices/system/node/node0/cpumap", rb"[0-9a-f,]+\n"),
        ("/sys/kernel/mm/transparent_hugepage/enabled", rb".*\[never\].*\n"),
    ],
)  # fmt: skip
def test_shapes(calls: Calls, path: str, shape: bytes) -> None:
    assert re.fullmatch(shape, text(calls, path))
    if Path(path).exists() and path not in ("/proc/version", "/sys/kernel/mm/transparent_hugepage/enabled"):
        host = Path(path).read_bytes()
        assert re.fullmatch(shape.replace(b"1048576", rb"\d+"), host) or path == "/proc/self/cgroup"


def test_meminfo(calls: Calls) -> None:
    mine = fields(text(calls, "/proc/meminfo"))
    assert list(mine)[:5] == [b"MemTotal", b"MemFree", b"MemAvailable", b"Buffers", b"Cached"]
    total, free = (int(mine[name].split()[0]) for name in (b"MemTotal", b"MemFree"))
    assert 0 < free < total <= (64 << 20) // 1024
    before = free
    calls.model.put(bytes(1 << 20))
    assert int(fields(text(calls, "/proc/meminfo"))[b"MemFree"].split()[0]) <= before - 1024


def test_cpuinfo_has_a_block_for_each_cpu(calls: Calls) -> None:
    blocks = text(calls, "/proc/cpuinfo").strip().split(b"\n\n")
    assert [block.splitlines()[0] for block in blocks] == [b"processor\t: %d" % i for i in range(len(blocks))]
    assert text(calls, "/proc/stat").count(b"\ncpu") == len(blocks)


def test_hostname_is_roots_to_set(calls: Calls) -> None:
    assert store(calls, "/proc/sys/kernel/hostname", b"guest\nrest") == 10
    assert text(calls, "/proc/sys/kernel/hostname") == b"guest\n"
    assert calls.task.nsproxy.uts_ns.hostname == b"guest"
    with calls.user(1000):
        assert calls("openat", -100, b"/proc/sys/kernel/hostname", O_WRONLY, 0) == -EACCES
    assert text(calls, "/proc/sys/kernel/random/boot_id") == text(calls, "/proc/sys/kernel/random/boot_id")
    assert text(calls, "/proc/sys/kernel/random/uuid") != text(calls, "/proc/sys/kernel/random/uuid")


def test_a_bad_pointer(calls: Calls) -> None:
    fd = calls.open(b"/proc/self/status")
    assert calls("read", fd, 0x1000, 100) == -EFAULT
    assert calls("write", calls.open(b"/proc/self/comm", O_WRONLY), 0x1000, 5) == -EFAULT


def test_private_files_of_another_user(calls: Calls) -> None:
    task = calls.task
    other = changed_copy(task, pid=PID + 5, tgid=PID + 5, signal=changed_copy(task.signal, tgid=PID + 5))
    other.mm = type(task.mm)(task.kernel.frames, calls.arch, tlb_flush=lambda: None, code_flush=lambda: None)
    task.kernel.tasks[other.pid] = other
    with calls.user(1000):
        assert calls("openat", -100, b"/proc/1005/environ", 0, 0) == -EACCES
        assert calls("openat", -100, b"/proc/1005/fd/0", 0, 0) == -EACCES
        assert link(calls, "/proc/1005/exe") == -EACCES
        fd = calls.open(b"/proc/1005/maps")
        assert calls("read", fd, calls.model.alloc(10), 10) == -EACCES
    assert text(calls, "/proc/1005/maps") == b""
