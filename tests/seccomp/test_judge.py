"""The same filters on Linux and on our machine: which are taken, and what they make of a call."""

from __future__ import annotations

import subprocess
from pathlib import Path
from random import Random
from struct import Struct
from typing import NamedTuple

import pytest

from guests.build import ARCHES, FLAGS, compile_to
from kernel_model.abi.seccomp import SOCK_FILTER
from kernel_model.seccomp.bpf import SockFilter
from tests.harness import HOST_ARCH, emulator
from tests.seccomp import naive, programs
from tests.seccomp.naive import ABS, IMM, JMP, JUMPS, LD, RET, A, K
from tests.seccomp.test_bpf import REFUSED

TRIAL = Struct("<II6Q")
NUMBER = 0x1234
"""A call that there is not: one that is allowed gives ENOSYS."""
ENOSYS = 38
SAME, OTHER = 1, 2
AUDIT_ARCH = {"x86_64": 0xC000_003E, "aarch64": 0xC000_00B7}
OFFSETS = (0, 4, *range(16, 64, 4))
"""All words but the instruction pointer's."""


class Trial(NamedTuple):
    program: list[SockFilter]
    args: tuple[int, ...] = (0,) * 6

    def pack(self) -> bytes:
        return TRIAL.pack(len(self.program), NUMBER, *self.args) + b"".join(SOCK_FILTER.pack(*i) for i in self.program)


def asked(body: list[SockFilter], args: tuple[int, ...], arch: str) -> tuple[Trial, str]:
    """A trial that tells whether `body`, whose ends are all RET A, returns what the naive interpreter says."""
    data = TRIAL.pack(NUMBER, AUDIT_ARCH[arch], 0, *args[:5]) + args[5].to_bytes(8, "little")
    wanted = naive.execute(body, data)
    # Any other call is allowed, as are those by which the child ends; A is 0 again.
    head = [
        (LD | ABS, 0, 0, 0),
        (JMP | JUMPS["jeq"], 1, 0, NUMBER),
        (RET | K, 0, 0, programs.ALLOW),
        (LD | IMM, 0, 0, 0),
    ]
    tail = [
        (JMP | JUMPS["jeq"], 0, 1, wanted or 0),
        (RET | K, 0, 0, programs.ERRNO | SAME),
        (RET | K, 0, 0, programs.ERRNO | OTHER),
    ]
    ends = [(JMP, 0, 0, len(body) - at - 1) if body[at][0] == RET | A else body[at] for at in range(len(body))]
    return Trial([*head, *ends, *tail], args), "killed 31" if wanted is None else f"returned {SAME}"


def trials(arch: str) -> tuple[list[Trial], list[str]]:
    """What is tried, and what must come of it."""
    random = Random("filters")
    those: list[Trial] = []
    wanted: list[str] = []
    for _ in range(150):
        args = tuple(random.choice((random.getrandbits(64), programs.constant(random))) for _ in range(6))
        body = programs.valid(random, offsets=OFFSETS, returns_constants=False)
        trial, same = asked(body, args, arch)
        those.append(trial)
        wanted.append(same)
    allow = (RET | K, 0, 0, programs.ALLOW)
    for _ in range(250):
        # Allows everything before what is spoilt: only the verifier looks at that
        program = [allow, *programs.spoilt(random, programs.valid(random, offsets=OFFSETS))]
        those.append(Trial(program))
        wanted.append(f"returned {ENOSYS}" if naive.accepts(program, 64) else "refused 22")
    for program in REFUSED.values():
        those.append(Trial(program))
        wanted.append("refused 22")
    those.append(Trial([(LD | IMM, 0, 0, 0)] * 4095 + [allow]))
    wanted.append(f"returned {ENOSYS}")
    return those, wanted


def outcomes(command: list[str | Path], those: list[Trial]) -> list[str]:
    stdin = b"".join(trial.pack() for trial in those)
    done = subprocess.run([str(word) for word in command], input=stdin, capture_output=True, timeout=60, check=True)
    return done.stdout.decode().splitlines()


@pytest.fixture(scope="module", params=ARCHES)
def arch(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture(scope="module")
def judge(arch: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    binary = tmp_path_factory.mktemp("judge") / arch
    compile_to(Path(__file__).with_name("judge.c"), f"{arch}-linux-musl", FLAGS, binary)
    return binary


def differences(seen: list[str], wanted: list[str], those: list[Trial]) -> list[tuple[str, str, Trial]]:
    assert len(seen) == len(wanted)
    return [(one, other, trial) for one, other, trial in zip(seen, wanted, those, strict=True) if one != other]


def test_natively(arch: str, judge: Path) -> None:
    if arch != HOST_ARCH:
        pytest.skip("another architecture")
    those, wanted = trials(arch)
    seen = outcomes([judge], those)
    if set(seen) == {"refused 1"} or set(seen) == {"refused 38"}:
        pytest.skip("this host lets nobody install filters")
    assert differences(seen, wanted, those) == []


def test_on_our_machine(arch: str, judge: Path) -> None:
    those, wanted = trials(arch)
    assert differences(outcomes([*emulator("--abi", "bare"), judge], those), wanted, those) == []
