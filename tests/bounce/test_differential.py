"""Nothing changes for a program whose calls bounce: after each call all that it can see is as without bounces.

Every guest is run under `bare` and under each way to bounce, with the same seed and virtual time. So it is under the
handler that serves calls in user space, and with data pages: there the program's calls are compared, as it made them
and with the registers that it goes on with, whatever the handler has called for it, or nothing. Compared are, task by
task and call by call: number, six argument registers and result, all general registers with SP, PC and flags (what
`syscall` leaves in rcx and r11 included), floating-point and vector registers, TLS, 4 KiB below and above SP, and what
lies behind the call's pointers. Left out are the bytes of the frames. Nothing else is excused but what stands here.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from emu.cli.compare import compare as command
from emu.cli.compare import machines_of
from emu.compare.run import Check, run_all
from emu.compare.streams import SharedInput
from guests.build import Guest, binary_path, discover
from vdso_image.image import load

if TYPE_CHECKING:
    from emu.compare.differences import Difference
    from emu.compare.run import Run
    from emu.machine import MachineOptions
    from vdso_image.image import VdsoImage

pytestmark = pytest.mark.usefixtures("guests_built")

VARIANTS = {
    "aarch64": ("bounce", "bounce:slide", "bounce:legacy", "bounce:task-page"),
    "x86_64": ("bounce", "bounce:slide", "bounce:legacy", "bounce:task-page", "bounce:user"),
}
SERVED = ("bounce:userspace", "bounce:userspace+legacy+perthread")
"""Compared by themselves, for their frames take more of the stack, which is left out."""
OTHERS = ("bounce:percpu", "bounce:perthread", "bounce:userspace+legacy", "bounce:userspace+percpu")
"""Likewise, with the guests of `WITH_OTHERS`."""
WITH_OTHERS = re.compile("(breaks|ident|vdso)/|tasks/(clone|exec|exit|futex|kill|wait)$|signal/(jobs|landing)")
COMPUTES_FRAMES = {"bounce/accidents", "signal/lowest"}
"""They leave room on the stack for the plain bounce's frame and for nothing else, or look where that would be."""
TOO_LONG = {"tasks/turns", "signal/cancel", "signal/storm", "event/watches", "time/cputime"}
"""Tens of thousands of calls and more: tests/test_guests.py compares what they print."""
BY_CHANCE = {"seccomp/anything"}
"""What they call depends on when each of their threads runs."""
MEMORY_USE = "the handlers' page, and stack below SP, count as memory that the process uses"
NO_STACK = "the bounce of a call with SP on no stack faults, and the call is not made; made, it would have faulted"
GARBAGE = "musl's syscall() passes six arguments on, and those that the caller did not give are words of old stack"
UNINITIALISED = "musl's barrier, `lock orl $0, (%rsp)`, sets flags by stack never written: a frame's bytes may be there"
VVAR = "the pages that it gives as buffers lie before [vvar], which tells the time"
CALL_ADDR = "the siginfo of SIGSYS, below SP when its handler has returned, tells which instruction made the call"
LISTENED = "a listener's request tells which instruction made the call"
KILLED = "a task that is killed for its call never sees rcx and r11, which a bounce has set before"
EXPLAINED = {
    ("bounce/glue", "buffers"): MEMORY_USE,
    ("bounce/glue", "stack"): MEMORY_USE,
    ("breaks/filter_trap", "stack"): CALL_ADDR,
    ("breaks/threads", "flags"): UNINITIALISED,
    ("file/proc", "buffers"): MEMORY_USE,
    ("file/stat", "buffers"): MEMORY_USE,
    ("file/told", "buffers"): MEMORY_USE,
    ("file/stat", "stack"): MEMORY_USE,
    ("ident/limits", "stack"): MEMORY_USE,
    ("ident/limits", "buffers"): MEMORY_USE,
    ("ns/ids", "stack"): LISTENED,
    ("ns/pid", "buffers"): MEMORY_USE,
    ("ns/unshare", "flags"): UNINITIALISED,
    ("seccomp/actions", "buffers"): MEMORY_USE,
    ("seccomp/actions", "registers"): KILLED,
    ("seccomp/actions", "stack"): CALL_ADDR,
    ("seccomp/dispatch", "stack"): CALL_ADDR,
    ("seccomp/inherit", "buffers"): MEMORY_USE,
    ("seccomp/modes", "buffers"): MEMORY_USE,
    ("seccomp/modes", "registers"): KILLED,
    ("seccomp/strict", "registers"): KILLED,
    ("seccomp/trap", "stack"): CALL_ADDR,
    ("seccomp/tsync", "buffers"): MEMORY_USE,
    ("signal/event_first", "buffers"): MEMORY_USE,
    ("signal/event_first", "stack"): MEMORY_USE,
    ("signal/limit", "buffers"): MEMORY_USE,
    ("signal/interrupted", "arguments"): GARBAGE,
    ("signal/mask", "arguments"): GARBAGE,
    ("signal/mask", "buffers"): MEMORY_USE,
    ("signal/interrupted", "buffers"): MEMORY_USE,
    ("signal/forged", "call"): NO_STACK,
    ("tasks/closed", "buffers"): MEMORY_USE,
    ("tasks/closed", "flags"): UNINITIALISED,
    ("tasks/closed", "stack"): CALL_ADDR,
    ("tasks/cpus", "buffers"): MEMORY_USE,
    ("tasks/crowd", "flags"): UNINITIALISED,
    ("tasks/futex", "buffers"): MEMORY_USE,
    ("tasks/futex", "flags"): UNINITIALISED,
    ("tasks/futex_moves", "buffers"): MEMORY_USE,
    ("tasks/futex_waitv", "buffers"): MEMORY_USE,
    ("tasks/kill", "buffers"): MEMORY_USE,
    ("tasks/threads", "flags"): UNINITIALISED,
    ("tasks/turns_told", "buffers"): MEMORY_USE,
    ("tasks/wait", "arguments"): GARBAGE,
    ("tasks/wait", "buffers"): MEMORY_USE,
    ("tasks/wait", "stack"): MEMORY_USE,
    ("tasks/wait_told", "buffers"): MEMORY_USE,
    ("vdso/identity", "flags"): UNINITIALISED,
    ("vdso/pages", "buffers"): VVAR,
}
"""Differences that are there, by guest and kind. Those in registers may be as KILLED says only."""
GONE = "a task that another ends never sees its registers"
SERVED_EXPLAINED = {
    ("file/proc", "result"): "/proc/self/maps has lines more, for the pages",
    ("seccomp/modes", "arguments"): GARBAGE,
    ("signal/queue", "arguments"): GARBAGE,
    ("tasks/exec", "arguments"): GARBAGE,
    ("tasks/cpus", "registers"): GONE,
}
"""And with data pages, or the handler that serves calls."""
NO_VDSO = {"vdso/mapping"}
"""They take [vdso] away. Under `legacy` nobody makes the old calls then, for the kernel's table lacks them."""
SERVED_MAPS = {"ns/time", "vdso/mapping", "vdso/pages", "vdso/parse_vdso", "vdso/restorer"}
"""They read /proc/self/maps piece by piece, and keep what they have read."""
IN_THE_VDSO = "past its own call a handler is part of the program: what looks at the interrupted PC and SP sees it"
INHERITED = "a child of fork has its parent's stack, with what frames of the parent's left there"
MAPS = "/proc/self/maps has a line more, for the task's page"
EXPLAINED_FOR = {
    ("seccomp/dispatch", "bounce:user"): IN_THE_VDSO,
    ("seccomp/notify", "bounce:user"): IN_THE_VDSO,
    ("seccomp/trap", "bounce:user"): IN_THE_VDSO,
    ("signal/forged", "bounce:user"): IN_THE_VDSO,
    ("signal/frame", "bounce:user"): IN_THE_VDSO,
    ("signal/landing", "bounce:user"): IN_THE_VDSO,
    ("tasks/bombs", "bounce:user"): INHERITED,
    ("file/proc", "bounce:task-page"): MAPS,
    ("ns/time", "bounce:task-page"): MAPS,
    ("vdso/mapping", "bounce:task-page"): MAPS,
    ("vdso/pages", "bounce:task-page"): MAPS,
    ("vdso/parse_vdso", "bounce:task-page"): MAPS,
    ("vdso/restorer", "bounce:task-page"): MAPS,
}
"""And by guest and ABI, of any kind."""


class OnlyEnds(NamedTuple):
    """Why, and of which programs, no more than what they print and leave can be the same."""

    why: str
    of: Callable[[Run], bool]


ONLY_ENDS = {
    "bounce:user": OnlyEnds("a signal in a handler's own call finds SP below the frame", lambda run: run.signals > 0),
}


@pytest.fixture(scope="module")
def nothing() -> Iterator[SharedInput]:
    fd = os.open(os.devnull, os.O_RDONLY)
    yield SharedInput(fd)
    os.close(fd)


def machines(guest: Guest, abis: list[str]) -> list[tuple[str, MachineOptions]]:
    """The machines that `uabi-emu compare` would make for it."""
    environment = [word for item in guest.env for word in ("--env", item)]
    arguments = ["--clear-env", *environment, *guest.options, str(binary_path(guest)), *guest.args]
    parameters = dict(command.make_context("compare", arguments).params)
    own = ("abis", "corpus", "calibration", "entry_ns", "instruction_ns", "form", "show_output", "debug", "check")
    words = parameters.pop("words")
    return machines_of(",".join(abis), words, {name: value for name, value in parameters.items() if name not in own})


def compare(guest: Guest, abis: list[str], given: SharedInput, check: Check) -> tuple[list[Run], list[Difference]]:
    return run_all(machines(guest, abis), given, check)


def is_explained(guest: Guest, difference: Difference) -> bool:
    if (guest.id, difference.abi) in EXPLAINED_FOR:
        return True
    if (guest.id, difference.what) not in EXPLAINED:
        return False
    return EXPLAINED[guest.id, difference.what] is not KILLED or _registers(difference) <= {"r11", "rcx"}


def is_explained_if_served(guest: Guest, difference: Difference) -> bool:
    if difference.what == "flags":  # in threads, all of which wait for one another
        return "after futex(" in difference.text
    if guest.id in SERVED_MAPS and difference.task is not None:
        return True
    if guest.id in NO_VDSO and "legacy" in difference.abi:
        return True
    why = SERVED_EXPLAINED.get((guest.id, difference.what))
    if why is GONE:
        return "after exit_group(" in difference.text
    return why is not None or is_explained(guest, difference)


def _registers(difference: Difference) -> set[str]:
    return set(re.findall(r"(\w+) is", difference.text))


def _id(guest: Guest) -> str:
    return f"{guest.arch}-{guest.area}-{guest.name}"


GUESTS = [
    guest for guest in discover() if set(guest.abis) >= {"bare", "bounce"} and guest.id not in TOO_LONG | BY_CHANCE
]


@pytest.mark.parametrize("guest", GUESTS, ids=_id)
def test_guest(
    guest: Guest, nothing: SharedInput, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path_factory.getbasetemp())
    runs, differences = compare(guest, ["bare", *VARIANTS[guest.arch]], nothing, Check.STATE)
    assert len(runs) == len(VARIANTS[guest.arch]) + 1
    for difference in differences:
        excuse = ONLY_ENDS.get(difference.abi)
        if difference.task is None or excuse is None or not excuse.of(runs[0]):
            assert is_explained(guest, difference), difference
    assert guest.area == "libkernel" or any(cost.old_style for cost in runs[1].costs.values())


@pytest.mark.parametrize(
    "guest", [guest for guest in GUESTS if guest.id not in COMPUTES_FRAMES and guest.area != "libkernel"], ids=_id
)
def test_served(
    guest: Guest, nothing: SharedInput, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path_factory.getbasetemp())
    others = OTHERS if WITH_OTHERS.match(guest.id) else ()
    runs, differences = compare(guest, ["bare", *SERVED, *others], nothing, Check.STATE)
    assert len(runs) == len(SERVED) + len(others) + 1
    for difference in differences:
        assert is_explained_if_served(guest, difference), difference


LIBKERNEL = [guest for guest in GUESTS if WITH_OTHERS.match(guest.id) and guest.id != "vdso/parse_vdso"]
"""The one that is left out looks for functions that the vDSO does not have otherwise."""


@pytest.mark.parametrize("guest", LIBKERNEL, ids=_id)
def test_libkernel(
    guest: Guest, nothing: SharedInput, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The functions are there for others: this program's calls bounce. A word above its stack moves all its addresses,
    so that they are compared with those that it has under `bare` with the same image."""
    monkeypatch.chdir(tmp_path_factory.getbasetemp())
    _, differences = compare(guest, ["bare:libkernel", "bounce:libkernel"], nothing, Check.STATE)
    for difference in differences:
        assert is_explained_if_served(guest, difference), difference
    _, differences = compare(guest, ["bare", "bounce:libkernel"], nothing, Check.ENDS)
    assert not differences


# -- the comparison finds what is wrong --------------------------------------------------------------------------------
class Fault(NamedTuple):
    """A handler that does not leave all as it was. `what`: the kind of difference that it makes."""

    code: str
    what: str


FAULTS = {
    "aarch64": {
        "a register": Fault("390080d2 08010332 010000d4", "registers"),  # mov x25, #1; orr w8, w8, #REDIRECT; svc #0
        "a vector register": Fault("28e4004f 08010332 010000d4", "floating-point"),  # movi v8.16b, #1
        "the stack above": Fault("e83b00f9 08010332 010000d4", "stack"),  # str x8, [sp, #112]
        "the thread pointer": Fault("5fd01bd5 08010332 010000d4", "tls"),  # msr tpidr_el0, xzr
    },
    "x86_64": {
        "a register": Fault("49ffc7 0d00000020 0f05", "registers"),  # inc r15; or eax, REDIRECT; syscall
        "a vector register": Fault("66450f76ff 0d00000020 0f05", "floating-point"),  # pcmpeqd xmm15, xmm15
        "the red zone": Fault("88442468 0d00000020 0f05", "stack"),  # mov [rsp + 104], al
        "the stack above": Fault("888424c8000000 0d00000020 0f05", "stack"),  # mov [rsp + 200], al
    },
}


@pytest.mark.parametrize(("arch", "name"), [(arch, name) for arch, faults in FAULTS.items() for name in faults])
def test_a_fault_is_found(arch: str, name: str, nothing: SharedInput, monkeypatch: pytest.MonkeyPatch) -> None:
    fault = FAULTS[arch][name]

    def load_bad(of: str, kind: str) -> VdsoImage:
        image = load(of, kind)
        code = bytes.fromhex(fault.code)
        start = image.handlers["redirect"]
        assert start + len(code) <= image.handlers["task-page"]
        return image._replace(elf=image.elf[:start] + code + image.elf[start + len(code) :])

    monkeypatch.setattr("emu.machine.load_vdso", load_bad)
    guest = next(guest for guest in discover() if guest.id == "file/io" and guest.arch == arch)
    _, differences = compare(guest, ["bare", "bounce"], nothing, Check.STATE)
    assert any(difference.what == fault.what for difference in differences), differences


def test_a_kernel_that_answers_bounces_otherwise_is_found(
    nothing: SharedInput, monkeypatch: pytest.MonkeyPatch
) -> None:
    from kernel_model.entry import EntryPath

    pop = EntryPath._pop

    def pop_and_break(path: EntryPath, *args: Any) -> Any:
        path.kernel.init_pid_ns.last_pid += 1
        return pop(path, *args)

    monkeypatch.setattr(EntryPath, "_pop", pop_and_break)
    guest = next(guest for guest in discover() if guest.id == "tasks/wait")
    _, differences = compare(guest, ["bare", "bounce"], nothing, Check.STATE)
    assert differences
