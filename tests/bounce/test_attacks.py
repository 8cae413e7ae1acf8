"""Attacks and accidents, by name: what guests/src/bounce does to a bounce, and how each ends.

Each name is a section of what a guest prints; the guest runs once for all of them. Linux has no bounce, so that most
of the expectations follow from the specification; `accidents`, `exits`, `filters` and `flags` are checked against
Linux as well (tests/test_guests.py).
"""

from __future__ import annotations

import re
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from guests.build import ARCHES, Guest, discover
from tests.harness import Outcome, emulator
from tests.test_guests import expected, run_guest

pytestmark = pytest.mark.usefixtures("guests_built")

EVERYWHERE = {
    "attacks": (
        "the vDSO made non-executable",
        "the vDSO allowed nothing at all",
        "the vDSO unmapped one instruction earlier",
        "the vDSO overmapped",
        "the vDSO moved",
        "the vDSO made writable",
        "a jump into the middle of the handler",
        "a jump to the handler's first instruction",
        "a jump to the handler with no frame on the stack",
        "a forged frame that is sound",
        "a forged frame with a PC of the kernel's",
        "a forged frame with an unaligned SP",
        "a forged frame with an unmapped SP",
        "a frame at an unaligned SP",
        "a frame across two pages",
        "a real syscall with the flag from outside a bounce",
        "write(2) with an unreadable frame must write nothing",
        "SP in the middle of a stack",
        "SP at the last byte of a mapping",
        "SP at the first byte of a mapping",
        "SP in a guard page",
        "push across a page boundary, second page missing",
        "push across a page boundary, first page missing",
        "push across a page boundary",
        "SP at address 0",
        "SP at address 16",
        "SP at 2^64-8",
        "SP in no address space",
        "misaligned SP",
        "a frame over code that was executed",
        "the number -1",
        "the number 2^32-1",
        "the number 2^31",
        "the number 0x3fffffff",
        "the number 0x1fffffff",
        "the flag and getppid from outside",
        "the flag alone from outside",
        "the x32 bit",
        "the largest number that bounces",
        "2^63|getppid is getppid",
        "the number-less return",
    ),
    "edges": (
        "svc in the last word before the vDSO",
        "svc in the last word of the vDSO",
        "a handler that ends with svc in the last word of the vDSO",
        "a handler that ends with a flagged svc in the last word of the vDSO",
    ),
    "accidents": (
        "2^63|getpid is getpid",
        "numbers that there are not",
        "a vfork child that scribbles 4 KiB below SP, then execs",
        "a vfork child that scribbles, then exits",
        "raw clone onto a stack filled with 0xAA",
        "rt_sigreturn at the lowest usable address of an alternate stack",
        "rt_sigreturn on an alternate stack, nested",
        "munmap of one's own stack",
        "stack growth by the push",
    ),
    "exits": (
        "a thread's exit with the stack re-owned and checksummed",
        "a thread's exit while another runs on its stack",
        "a thread's exit with no stack",
        "exit_group with no stack",
        "a detached thread's exit",
    ),
    "filters": (
        "a filter that kills on -1 and on REDIRECT|getpid",
        "a filter sees the program's arguments",
        "a filter refuses a call in a bounce",
    ),
}
FORGED = {
    "aarch64": (
        "a forged frame that is sound",
        "a forged frame with privileged pstate bits",
        "a forged frame with AArch32 state",
        "a forged frame with reserved bits",
        "a forged frame that asks for single steps",
        "a signal frame that asks for single steps",
        "write(2) with a privileged frame must write nothing",
        "tagged SP",
    ),
    "x86_64": (
        "a forged frame that is sound",
        "a forged frame with IOPL and VM",
        "a forged frame with IF clear",
        "a forged frame with NT",
        "a forged frame with TF",
        "a forged frame with every bit",
        "a forged frame with a non-canonical rip",
    ),
}
FLAGS = {"aarch64": ("flags and SP",), "x86_64": ("NT, AC, ID, DF preserved", "a program that single-steps itself")}
CASES = [
    *((arch, guest, name) for guest, names in EVERYWHERE.items() for name in names for arch in ARCHES),
    *((arch, "forged", name) for arch, names in FORGED.items() for name in names),
    *((arch, "flags", name) for arch, names in FLAGS.items() for name in names),
]
LEAST_STACK_LEFT = 96
"""Where the first frame that does not fit begins, when a stack is used up frame by frame (bytes below it)."""


def find(arch: str, name: str) -> Guest:
    return next(guest for guest in discover() if (guest.arch, guest.area, guest.name) == (arch, "bounce", name))


@cache
def outcome(arch: str, name: str, *options: str) -> Outcome:
    return run_guest(find(arch, name), emulator("--abi", "bounce", *options), Path("/"))


def sections(output: bytes) -> dict[str, str]:
    """What was printed, by the name in brackets above it."""
    parts = re.split(r"^\[(.*)\]\n", output.decode().removesuffix("ok\n"), flags=re.MULTILINE)
    return {name: text.strip() for name, text in zip(parts[1::2], parts[2::2], strict=True)}


@pytest.mark.parametrize(("arch", "guest", "name"), CASES, ids=lambda value: value)
def test_attack(arch: str, guest: str, name: str) -> None:
    seen = outcome(arch, guest)
    assert b"Traceback" not in seen.stderr
    assert sections(seen.stdout)[name] == sections(expected(find(arch, guest)).stdout)[name]
    assert sections(seen.stdout)[name]


def test_every_section_is_named_here() -> None:
    for arch in ARCHES:
        for guest in (*EVERYWHERE, "forged", "flags"):
            names = [name for where, which, name in CASES if (where, which) == (arch, guest)]
            assert list(sections(expected(find(arch, guest)).stdout)) == names


@pytest.mark.parametrize("arch", ARCHES)
def test_the_slides_check_is_wrong_at_both_edges(arch: str) -> None:
    """It looks at the PC behind the instruction: what is in front of the vDSO passes, its own last word bounces."""
    assert sections(outcome(arch, "edges", "--bounce-check", "slide").stdout) == {
        "svc in the last word before the vDSO": (
            "the parent's number at the start of the vDSO, SP is the program's; no bounce"
        ),
        "svc in the last word of the vDSO": "the parent's number behind the vDSO, SP is the program's; one bounce",
        "a handler that ends with svc in the last word of the vDSO": (
            f"signal 11, code 2, {LEAST_STACK_LEFT} bytes below the stack; bounces all the way down"
        ),
        "a handler that ends with a flagged svc in the last word of the vDSO": (
            "ENOSYS behind the vDSO, SP is the frame's; one bounce"
        ),
    }


VARIANTS = (
    ("aarch64", "--bounce-frame", "task-page"),
    ("aarch64", "--bounce-set", "legacy"),
    ("x86_64", "--bounce-frame", "task-page"),
    ("x86_64", "--bounce-return", "user"),
    ("x86_64", "--bounce-set", "legacy"),
)


@pytest.mark.parametrize("guest", ["accidents", "exits", "filters", "flags"])
@pytest.mark.parametrize("variant", VARIANTS, ids="-".join)
def test_accidents_end_the_same_with_every_kind_of_bounce(guest: str, variant: tuple[str, str, str]) -> None:
    arch, *options = variant
    assert outcome(arch, guest, *options) == expected(find(arch, guest))


@pytest.mark.parametrize("guest", ["attacks", "edges", "forged", "random"])
@pytest.mark.parametrize("variant", VARIANTS, ids="-".join)
def test_attacks_that_miss_are_no_error_of_ours(guest: str, variant: tuple[str, str, str]) -> None:
    """They are made for the other kind of bounce: what they find is another thing, or nothing."""
    arch, *options = variant
    seen = outcome(arch, guest, *options)
    assert seen.status in (0, 1), seen
    assert b"internal error" not in seen.stderr


@pytest.mark.parametrize("arch", ARCHES)
@given(seed=st.integers(1, (1 << 64) - 1))
@settings(max_examples=3)
def test_random_stack_pointers_flags_numbers_and_frames(arch: str, seed: int) -> None:
    """Each of 1500 rounds ends as foretold: at the trap behind the call, or in SIGSEGV with the registers as before."""
    guest = replace(find(arch, "random"), args=(str(seed),))
    seen = run_guest(guest, emulator("--abi", "bounce"), Path("/"))
    assert seen == expected(guest), seen
