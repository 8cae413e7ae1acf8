"""Changes of credentials, call by call the same as the Linux underneath makes them."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from struct import Struct
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kernel_model.abi import errno
from kernel_model.cred import CAP_FULL_SET, CAP_SETUID, Cred
from kernel_model.syscalls.table import rows
from tests.filecalls.calls import BAD, Calls
from tests.ident.native import SETTERS, NativeLinux

_ROWS = {row.name: row for row in rows()}
IDS = (0, 1, 1000, 1001, 65534, 0xFFFF_FFFF)
_CAP_VERSION_1, _CAP_VERSION_3 = 0x19980330, 0x20080522
_HEADER = Struct("<Ii")
_DATA = Struct("<6I")

ids = st.sampled_from(IDS)
securebits = st.sampled_from((0, 1, 4, 5, 0x10, 0x30, 0xC0, 0x100))
some_caps = st.sampled_from((0, 7, 40, 41))
caps = st.sampled_from((0, 1 << CAP_SETUID, 0xFF, CAP_FULL_SET, 0x1_0000_0100))
sequences = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(("setuid", "setgid", "setfsuid", "setfsgid")), st.tuples(ids).map(list)),
        st.tuples(st.sampled_from(("setreuid", "setregid")), st.tuples(ids, ids).map(list)),
        st.tuples(st.sampled_from(("setresuid", "setresgid")), st.tuples(ids, ids, ids).map(list)),
        st.tuples(st.just("setgroups"), st.tuples(st.lists(ids, max_size=3)).map(list)),
        st.tuples(st.just("capset"), st.tuples(caps, caps, caps).map(list)),
        # keepcaps, securebits, drop from the bounding set, ambient
        st.tuples(st.just("prctl"), st.tuples(st.just(8), st.integers(0, 2)).map(list)),
        st.tuples(st.just("prctl"), st.tuples(st.just(28), securebits).map(list)),
        st.tuples(st.just("prctl"), st.tuples(st.just(24), some_caps).map(list)),
        st.tuples(
            st.just("prctl"), st.tuples(st.just(47), st.integers(0, 5), some_caps, st.just(0), st.just(0)).map(list)
        ),
    ),
    max_size=8,
)  # fmt: skip


@pytest.fixture(scope="module")
def native() -> Iterator[NativeLinux]:
    """Linux itself, as root."""
    machine = platform.machine()
    if os.geteuid() != 0 or machine not in ("x86_64", "aarch64"):
        pytest.skip("takes root on Linux")
    server = NativeLinux({name: getattr(_ROWS[name], machine) for name in (*SETTERS, "capget")})
    yield server
    server.close()


def make(calls: Calls, name: str, args: list[Any]) -> int:
    """The call on our machine."""
    if name == "setgroups":
        groups = args[0]
        return calls(name, len(groups), calls.model.put(b"".join(gid.to_bytes(4, "little") for gid in groups)))
    if name == "capset":
        words = [cap >> shift & 0xFFFF_FFFF for shift in (0, 32) for cap in args]
        return calls(name, calls.out(_HEADER, _CAP_VERSION_3, 0), calls.out(_DATA, *words))
    return calls(name, *args)


def state(calls: Calls) -> list[Any]:
    """As `tests.ident.native` reports it."""
    cred = calls.task.cred
    return [
        [cred.uid, cred.euid, cred.suid], [cred.gid, cred.egid, cred.sgid], cred.fsuid, cred.fsgid, list(cred.groups),
        cred.cap_effective, cred.cap_permitted, cred.cap_inheritable, cred.cap_bset, cred.cap_ambient, cred.securebits,
        calls.task.ptrace_dumpable,
    ]  # fmt: skip


def start_as(calls: Calls, before: list[Any]) -> None:
    """Take over the credentials that the native side starts with."""
    (uid, euid, suid), (gid, egid, sgid), fsuid, fsgid, groups, effective, permitted, inheritable, *rest = before
    bset, ambient, securebits, dumpable = rest
    calls.task.cred = Cred(
        uid, gid, euid, egid, suid, sgid, fsuid, fsgid, tuple(groups),
        inheritable, permitted, effective, bset, ambient, securebits,
    )  # fmt: skip
    calls.task.ptrace_dumpable = dumpable


@settings(max_examples=200)
@given(sequence=sequences)
def test_as_linux(native: NativeLinux, sequence: list[tuple[str, list[Any]]]) -> None:
    wanted = native.run(sequence)
    calls = Calls()
    start_as(calls, wanted[0][1])
    for (name, args), (result, after) in zip(sequence, wanted[1:], strict=True):
        assert make(calls, name, args) == result, (name, args)
        assert state(calls) == after, (name, args)


def test_becoming_somebody_for_good(calls: Calls) -> None:
    assert calls("setresuid", 1000, 1000, 1000) == 0
    assert calls.task.cred.cap_permitted == calls.task.cred.cap_effective == 0
    assert calls("setuid", 0) == -errno.EPERM
    assert calls("setgid", 5) == -errno.EPERM
    assert calls("setgroups", 0, 0) == -errno.EPERM
    assert [calls(name) for name in ("getuid", "geteuid", "getgid", "getegid")] == [1000, 1000, 0, 0]


def test_coming_back(calls: Calls) -> None:
    assert calls("setresuid", -1, 1000, -1) == 0
    assert calls.task.cred.cap_effective == 0
    assert calls.task.cred.cap_permitted == CAP_FULL_SET
    assert calls("setuid", 0) == 0
    assert calls.task.cred.cap_effective == CAP_FULL_SET


def test_getresuid(calls: Calls) -> None:
    calls.task.cred = Cred(1, 2, 3, 4, 5, 6, 7, 8)
    fields = calls.model.alloc(12)
    assert calls("getresuid", fields, fields + 4, fields + 8) == 0
    assert Struct("<III").unpack(calls.model.get(fields, 12)) == (1, 3, 5)
    assert calls("getresgid", fields, fields + 4, fields + 8) == 0
    assert Struct("<III").unpack(calls.model.get(fields, 12)) == (2, 4, 6)
    assert calls("getresuid", fields, fields, BAD) == -errno.EFAULT


def test_groups(calls: Calls) -> None:
    array = calls.model.put(Struct("<4I").pack(7, 3, 5, 3))
    assert calls("setgroups", 4, array) == 0
    assert calls.task.cred.groups == (3, 3, 5, 7)
    assert calls("getgroups", 0, BAD) == 4
    assert calls("getgroups", 3, array) == -errno.EINVAL
    assert calls("getgroups", -1, array) == -errno.EINVAL
    assert calls("getgroups", 4, BAD) == -errno.EFAULT
    assert calls("getgroups", 100, array) == 4
    assert calls.model.get(array, 16) == Struct("<4I").pack(3, 3, 5, 7)
    assert calls("setgroups", 65537, array) == -errno.EINVAL
    assert calls("setgroups", -1, array) == -errno.EINVAL
    assert calls("setgroups", 1, BAD) == -errno.EFAULT
    assert calls("setgroups", 65536, array) == -errno.EFAULT


def test_capability_versions(calls: Calls) -> None:
    calls.task.cred.cap_permitted = calls.task.cred.cap_effective = 0x1_2345_6789
    data = calls.out(_DATA)
    assert calls("capget", calls.out(_HEADER, _CAP_VERSION_1, 0), data) == 0
    assert _DATA.unpack(calls.model.get(data, 24)) == (0x2345_6789, 0x2345_6789, 0, *[0xEEEE_EEEE] * 3)
    assert calls("capget", calls.out(_HEADER, _CAP_VERSION_3, calls.task.pid), data) == 0
    assert _DATA.unpack(calls.model.get(data, 24)) == (0x2345_6789, 0x2345_6789, 0, 1, 1, 0)
    header = calls.out(_HEADER, 5, 0)
    assert calls("capget", header, data) == -errno.EINVAL
    assert _HEADER.unpack(calls.model.get(header, 8)) == (_CAP_VERSION_3, 0)
    assert calls("capget", calls.out(_HEADER, 5, 0), 0) == 0
    assert calls("capget", calls.out(_HEADER, _CAP_VERSION_3, -1), data) == -errno.EINVAL
    assert calls("capget", calls.out(_HEADER, _CAP_VERSION_3, 77777), data) == -errno.ESRCH
    assert calls("capget", BAD, data) == -errno.EFAULT
    assert calls("capget", calls.out(_HEADER, _CAP_VERSION_3, 0), BAD) == -errno.EFAULT
    assert calls("capset", calls.out(_HEADER, _CAP_VERSION_3, 77777), data) == -errno.EPERM
    assert calls("capset", calls.out(_HEADER, _CAP_VERSION_3, 0), BAD) == -errno.EFAULT
