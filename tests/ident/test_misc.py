"""What the machine is called, random bytes, the log."""

from __future__ import annotations

from kernel_model.abi import errno
from kernel_model.wait import Blocked
from tests.filecalls.calls import BAD, Calls


def uname(calls: Calls) -> list[bytes]:
    buf = calls.model.put(b"\xee" * 400)
    assert calls("uname", buf) == 0
    data = calls.model.get(buf, 400)
    assert data[390:] == b"\xee" * 10
    return [data[i * 65 : i * 65 + 65].rstrip(b"\0") for i in range(6)]


def test_uname(calls: Calls) -> None:
    sysname, nodename, release, version, machine, domain = uname(calls)
    assert sysname == b"Linux"
    assert nodename == calls.task.nsproxy.uts_ns.hostname
    assert release.startswith(b"6.")
    assert version.startswith(b"#1 SMP")
    assert machine == calls.arch.NAME.encode()
    assert domain == b"(none)"
    assert calls("uname", BAD) == -errno.EFAULT
    calls.task.personality = 0x0020000
    old = uname(calls)[2]
    assert old.startswith(b"2.6.")
    assert old.endswith(b"-uabi-emu")


def test_a_32_bit_personality(x86: Calls) -> None:
    assert x86("personality", 8) == 0
    assert uname(x86)[4] == b"i686"
    arm = Calls("aarch64")
    assert arm("personality", 8) == -errno.EINVAL
    assert arm("personality", 0x0040000) == 0
    assert arm("personality", 0xFFFF_FFFF) == 0x0040000


def test_names(calls: Calls) -> None:
    name = calls.model.put(b"a" * 64 + b"b")
    assert calls("sethostname", name, 64) == 0
    assert uname(calls)[1] == b"a" * 64
    assert calls("sethostname", name, 65) == calls("sethostname", name, -1) == -errno.EINVAL
    assert calls("sethostname", BAD, 1) == -errno.EFAULT
    assert calls("setdomainname", name, 3) == 0
    assert uname(calls)[5] == b"aaa"
    assert calls("setdomainname", BAD, 0) == 0
    assert uname(calls)[5] == b""
    with calls.user(1000):
        assert calls("sethostname", name, 1) == calls("setdomainname", name, -1) == -errno.EPERM


def test_getrandom(calls: Calls) -> None:
    buf = calls.model.alloc(3 << 16)
    assert calls("getrandom", buf, 3 << 16, 0) == 3 << 16
    data = calls.model.get(buf, 3 << 16)
    assert len(set(data)) == 256
    assert data[: 1 << 16] != data[1 << 16 : 2 << 16]
    for flags in (1, 2, 3, 4, 5):
        assert calls("getrandom", buf, 16, flags) == 16
    for flags in (6, 7, 8, -1):
        assert calls("getrandom", buf, 16, flags) == -errno.EINVAL
    assert calls("getrandom", BAD, 0, 0) == 0
    assert calls("getrandom", BAD, 1, 0) == -errno.EFAULT
    assert calls("getrandom", buf + (3 << 16) - 100, 1000, 0) == 100
    assert calls("getrandom", buf, -1, 0) == 3 << 16


def test_a_seed_repeats_random_bytes(calls: Calls) -> None:
    other = Calls(calls.arch.NAME)
    for machine in (calls, other):
        assert machine("getrandom", machine.model.alloc(64), 64, 0) == 64
    assert calls.task.kernel.random.bytes(16) == other.task.kernel.random.bytes(16)


def test_syslog(calls: Calls) -> None:
    buf = calls.model.alloc(64)
    assert calls("syslog", 10, 0, 0) > 0
    assert calls("syslog", 3, buf, 64) == calls("syslog", 9, 0, 0) == calls("syslog", 8, 0, 7) == 0
    assert calls("syslog", 3, 0, 64) == calls("syslog", 3, buf, -1) == -errno.EINVAL
    assert calls("syslog", 8, 0, 9) == calls("syslog", 11, 0, 0) == calls("syslog", -1, 0, 0) == -errno.EINVAL
    assert isinstance(calls.blocks("syslog", 2, buf, 64), Blocked)
    with calls.user(1000):
        assert calls("syslog", 3, buf, 64) == 0
        assert calls("syslog", 4, buf, 64) == calls("syslog", 0, 0, 0) == -errno.EPERM


def test_vhangup(calls: Calls) -> None:
    assert calls("vhangup") == 0
    with calls.user(1000):
        assert calls("vhangup") == -errno.EPERM
