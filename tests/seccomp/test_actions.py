"""Calls that are not made: where they are said to be made, how a program ends for them, and what views tell of it."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from guests.build import binary_path, build_all, discover
from kernel_model.abi import errno, seccomp
from kernel_model.abi import prctl as abi
from kernel_model.syscall_work import USER_DISPATCH
from kernel_model.types import SyscallError
from tests.filecalls.calls import ARCHES, Calls
from tests.harness import Outcome, emulator, run

U64 = (1 << 64) - 1
LISTEN = [(0x20, 0, 0, 0), (0x06, 0, 0, seccomp.SECCOMP_RET_USER_NOTIF)]
"""A filter that asks of every call; the model's are not made by an entry path, so none is asked of."""


@pytest.fixture(scope="module")
def programs() -> dict[str, Path]:
    chosen = [guest for guest in discover() if guest.id == "seccomp/seen"]
    build_all(chosen)
    return {guest.arch: binary_path(guest) for guest in chosen}


@pytest.fixture(params=ARCHES)
def calls(request: pytest.FixtureRequest) -> Iterator[Calls]:
    yield Calls(request.param)


def seen(program: Path, cwd: Path, *words: str, options: tuple[str, ...] = ()) -> Outcome:
    return run([*emulator(*options), program, *words], cwd=cwd)


@pytest.mark.parametrize("arch", ARCHES)
@pytest.mark.parametrize(("visible", "place"), [("real", "the vDSO"), ("origin", "the program")])
def test_where_a_bounced_call_is_made(
    arch: str, visible: str, place: str, programs: dict[str, Path], tmp_path: Path
) -> None:
    outcome = seen(programs[arch], tmp_path, options=("--abi", "bounce", "--visible", visible))
    assert outcome.stdout.decode().splitlines() == [
        f"dispatched from {place}",
        f"dispatched in spite of the range: {'yes' if visible == 'real' else 'no'}",
        f"trapped from {place}",
        "the registers' PC is in the program",
        f"a filter sees {'another place' if visible == 'real' else place}",
        "ok",
    ]


DEATHS = {
    "kill": (signal.SIGSYS, "SIGSYS: a seccomp filter does not allow getppid (KILL_PROCESS, data 3)"),
    "trap": (
        signal.SIGSYS,
        "SIGSYS: a seccomp filter traps getppid, and there is no handler, or the signal is blocked or ignored "
        "(SYS_SECCOMP, data 5)",
    ),
    "strict": (signal.SIGKILL, "SIGKILL: seccomp's strict mode does not allow getppid"),
    "dispatch": (
        signal.SIGSYS,
        "SIGSYS: Syscall User Dispatch gives back getppid, and there is no handler, or the signal is blocked or "
        "ignored (SYS_USER_DISPATCH)",
    ),
    "selector": (signal.SIGSYS, "SIGSYS: the selector of Syscall User Dispatch is neither 0 nor 1 (SI_KERNEL)"),
}


@pytest.mark.parametrize("arch", ARCHES)
@pytest.mark.parametrize("how", DEATHS)
def test_the_report_names_the_call_and_the_action(
    arch: str, how: str, programs: dict[str, Path], tmp_path: Path
) -> None:
    number, words = DEATHS[how]
    outcome = seen(programs[arch], tmp_path, how)
    assert outcome.status == 128 + number
    text = outcome.stderr.decode()
    assert " ".join(text.split("\n\n")[0].split()).endswith(f"killed by {words}")
    marked = next(line for line in text.splitlines() if line.startswith("  > "))
    assert marked.split()[-2 if arch == "aarch64" else -1] in ("svc", "syscall"), "it is at the call"


@pytest.mark.parametrize("arch", ARCHES)
def test_a_report_is_of_the_task_that_died(arch: str, programs: dict[str, Path], tmp_path: Path) -> None:
    text = seen(programs[arch], tmp_path, "second").stderr.decode()
    reports = [part for part in " ".join(text.split()).split("uabi-emu: ") if "killed by" in part]
    assert len(reports) == 2
    for report, how in zip(reports, ("selector", "trap"), strict=True):
        assert DEATHS[how][1] in report


@pytest.mark.parametrize("arch", ARCHES)
def test_strace_shows_what_a_tracer_may_see(arch: str, programs: dict[str, Path], tmp_path: Path) -> None:
    shown = {}
    for how in ("kill", "trap", "log"):
        seen(programs[arch], tmp_path, how, options=(f"--strace={tmp_path / 'log'}",))
        shown[how] = (tmp_path / "log").read_text().splitlines()
    assert shown["kill"][-2].startswith("getppid()")
    assert shown["kill"][-1] == "+++ killed by SIGSYS +++"
    assert shown["trap"][-2].startswith("--- SIGSYS {si_signo=SIGSYS, si_code=SYS_SECCOMP, si_errno=EIO, ")
    at = shown["log"].index("--- SECCOMP_RET_LOG getppid ---")
    assert shown["log"][at + 1].startswith("getppid()")


@pytest.mark.parametrize("arch", ARCHES)
def test_trace_tells_that_a_call_was_not_made(arch: str, programs: dict[str, Path], tmp_path: Path) -> None:
    words = [*emulator()[:-1], "trace", "--only", "getpgid,getppid"]
    text = run([*words, programs[arch]], cwd=tmp_path).stderr.decode()
    for line in ("TRAP, data 0", "ERRNO, data 2"):
        assert f"  seccomp  {line}: the call is not made\n  call     " in text
    trace = tmp_path / "trace"
    run([*words, "--format", "jsonl", "-o", trace, programs[arch]], cwd=tmp_path)
    calls = [json.loads(line).get("call", {}) for line in trace.read_text().splitlines()]
    assert [call["seccomp"] for call in calls if "seccomp" in call] == ["TRAP, data 0", "ERRNO, data 2"]


# -- hostile arguments ------------------------------------------------------------------------------------------------
_word = st.one_of(st.integers(0, U64), st.sampled_from([0, 1, 2, 3, U64, 1 << 63, 1 << 47, 1 << 55, 0x1000]))


@given(_word, _word, _word, _word)
def test_any_arguments_of_user_dispatch(mode: int, offset: int, length: int, selector: int) -> None:
    for arch in ARCHES:
        calls = Calls(arch)
        result = calls("prctl", abi.PR_SET_SYSCALL_USER_DISPATCH, mode, offset, length, selector)
        assert result in (0, -errno.EINVAL, -errno.EFAULT)
        on = result == 0 and mode != abi.PR_SYS_DISPATCH_OFF
        assert bool(calls.task.syscall_work & USER_DISPATCH) == on == (calls.task.syscall_dispatch is not None)
        if on and calls.task.syscall_dispatch is not None:
            assert 0 <= calls.task.syscall_dispatch.offset <= U64
            assert 0 <= calls.task.syscall_dispatch.length <= U64


def listener(calls: Calls) -> int:
    calls.task.no_new_privs = True
    code = calls.model.put(b"".join(seccomp.SOCK_FILTER.pack(*instruction) for instruction in LISTEN))
    program = calls.model.put(seccomp.SOCK_FPROG.pack(len(LISTEN), code))
    return calls("seccomp", seccomp.SECCOMP_SET_MODE_FILTER, seccomp.SECCOMP_FILTER_FLAG_NEW_LISTENER, program)


_REQUESTS = [
    value for name, value in vars(seccomp).items() if name.startswith("SECCOMP_IOCTL_") and isinstance(value, int)
]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.one_of(
        st.sampled_from([*_REQUESTS, *(request ^ 1 << 18 for request in _REQUESTS)]), st.integers(0, 0xFFFF_FFFF)
    ),
    st.binary(max_size=96),
    st.booleans(),
)
def test_any_request_to_a_listener(calls: Calls, request_number: int, data: bytes, bad_pointer: bool) -> None:
    fd = listener(calls)
    assert fd >= 0
    notif = calls.task.files.get(fd)
    argument = 0xDEAD_0000_0000 if bad_pointer else calls.model.put(data.ljust(96, b"\xaa"))
    if request_number == seccomp.SECCOMP_IOCTL_NOTIF_RECV and not bad_pointer and not any(data[:80].ljust(80, b"\xaa")):
        calls.blocks("ioctl", fd, request_number, argument)
    else:
        assert -errno.MAX_ERRNO <= calls("ioctl", fd, request_number, argument) <= 0
    assert notif.poll(calls.task) == 0
    calls("close", fd)
    with pytest.raises(SyscallError):
        calls.task.files.get(fd)
