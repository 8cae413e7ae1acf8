"""A signal before every instruction of a bounce, one by one: the program sees what it sees without bounces.

Each instruction from before the call to after it is a place, the handler's and its system calls included. A place in
the handler's restart range must look like the program's own instruction; one past it, where a handler without the flag
still has its way back to go, like the instruction after the call.
"""

from __future__ import annotations

import pytest

from tests.bounce.injection import MODES, SCENARIOS, VDSO_DATA, Observation, Place, observe
from vdso_image.image import ARCHITECTURES

MACHINES = [(arch, variant) for arch in ARCHITECTURES for variant in ("redirect", "task-page", "user", "userspace")]
MACHINES.remove(("aarch64", "user"))
ANSWERED = {"getpid", "getpid with a bit beyond 32", "getpid, single-stepped", "getcpu", "geteuid"}
"""Calls that a data page answers."""
OTHERWISE = {
    ("x86_64", "poll", "stopped and continued while asleep"),  # ppoll goes on with what was left at the stop
    ("x86_64", "poll", "a signal after being stopped asleep"),  # and begins anew if a signal finds it there
    ("x86_64", "select", "a signal after being stopped asleep"),  # likewise
}
"""What a call that is made by another does differently, as told in docs/hack3.md."""
LOST = {"x86_64": {"rcx": 14, "r11": 3}, "aarch64": {}}
"""Registers that a `syscall` destroys: found destroyed at the instruction too, since the bounce began with one."""
IN_THE_VDSO = 1
each_machine = pytest.mark.parametrize(("arch", "variant"), MACHINES, ids=lambda value: value)
OLD_CALLS = {"poll", "select", "getdents", "dup2 onto itself", "utimes"}
"""Calls that AArch64 never had."""
CASES = [
    (arch, variant, scenario) for arch, variant in MACHINES for scenario in SCENARIOS
    if arch == "x86_64" or scenario not in OLD_CALLS
] + [
    (arch, variant, scenario) for arch in ARCHITECTURES for variant in VDSO_DATA for scenario in SCENARIOS
    if scenario in ANSWERED  # the others are made as under userspace
]  # fmt: skip


def by_place(trials: list[Observation]) -> dict[Place | None, Observation]:
    """The observations under `bare`, by where the task was interrupted."""
    return {observation.place: observation for observation in trials}


def as_under_bare(place: Place | None) -> Place | None:
    """Where a place in a bounce must seem to be."""
    if place is None or place.where not in ("handler", "leaving"):
        return place
    return Place(place.round, "site" if place.where == "handler" else "after", 0)


def comparable(
    arch: str, variant: str, seen: Observation, wanted: Observation
) -> tuple[Observation, Observation]:
    """Both without what may differ: registers that the ABI gives up, and the context of a handler that made its call
    without the flag: it is the vDSO's from there on.
    """
    pairs = []
    place = seen.place
    for mine, theirs in zip(seen.seen, wanted.seen, strict=False):
        if variant == "user" and mine.place == IN_THE_VDSO:
            mine, theirs = mine._replace(place=0, regs=()), theirs._replace(place=0, regs=())
        elif place is not None and place.where == "handler":
            lost = LOST[arch].values()
            mine, theirs = (
                one._replace(regs=tuple(0 if index in lost else value for index, value in enumerate(one.regs)))
                for one in (mine, theirs)
            )
        pairs.append((mine, theirs))
    rest = len(pairs)
    return (
        seen._replace(place=None, seen=tuple(one for one, _ in pairs) + seen.seen[rest:]),
        wanted._replace(place=None, seen=tuple(other for _, other in pairs) + wanted.seen[rest:]),
    )


def without_time(observation: Observation) -> Observation:
    """A call that is answered without the kernel takes none of virtual time."""
    return observation._replace(extra=observation.extra[1:])


@pytest.mark.parametrize(("arch", "variant", "scenario"), CASES)
def test_a_signal_before_every_instruction(arch: str, variant: str, scenario: str) -> None:
    bare, bounced = observe(arch, "bare").trials, observe(arch, variant).trials
    answered = variant in VDSO_DATA and scenario in ANSWERED
    places = {observation.place.where for observation in bounced[scenario, MODES[0]] if observation.place}
    assert places >= {"before", "site", "handler", "after"}
    assert "leaving" in places or not answered
    assert sum(len(observation.seen) for observation in bounced[scenario, MODES[0]]) >= len(places)
    for mode in MODES:
        if (scenario, mode) not in bare or (variant == "userspace" and (arch, scenario, mode) in OTHERWISE):
            continue
        wanted = by_place(bare[scenario, mode])
        for observation in bounced[scenario, mode]:
            place = as_under_bare(observation.place)
            assert place in wanted, f"{mode}: at {observation.place}"
            mine, theirs = comparable(arch, variant, observation, wanted[place])
            if answered:
                mine, theirs = without_time(mine), without_time(theirs)
            assert mine == theirs, f"{mode}: at {observation.place}"
