"""What system calls cost on the way into the kernel, call by call."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable


START: Final = "[hack1]"
"""What an injected library does at the start of a program or a task counts under its own name, as no call's."""


class CallCost:
    """What one system call cost in a run, all calls of that name together."""

    __slots__ = (
        "calls", "direct", "entries", "frames", "glue", "instructions", "old_style", "served", "stack_bytes_max",
    )  # fmt: skip

    def __init__(self) -> None:
        self.calls = 0
        """As the program made them, and again where one was restarted."""
        self.old_style = 0
        """Times that one bounced, or was trapped."""
        self.direct = 0
        """Those that did neither."""
        self.served = 0
        """Those that a handler served with no call."""
        self.glue = 0
        """Those for which a handler made another call."""
        self.entries = 0
        """Into the kernel: each bounce and trap, each real call, and each return that makes no call."""
        self.frames = 0
        """Signal frames that traps pushed."""
        self.instructions = 0
        """Executed in handlers: the vDSO's, and those of an injected library."""
        self.stack_bytes_max = 0
        """The most that one call took of the user's stack: red zone, alignment, frame, and what handlers push."""

    def add(self, other: CallCost) -> None:
        """Put `other` on top."""
        self.calls += other.calls
        self.old_style += other.old_style
        self.direct += other.direct
        self.served += other.served
        self.glue += other.glue
        self.entries += other.entries
        self.frames += other.frames
        self.instructions += other.instructions
        self.stack_bytes_max = max(self.stack_bytes_max, other.stack_bytes_max)


class Costs(dict[str, CallCost]):
    """By the name of a call; what is asked for first costs nothing yet."""

    def __missing__(self, name: str) -> CallCost:
        cost = self[name] = CallCost()
        return cost

    def of_calls(self) -> CallCost:
        """All calls together, without the start of a library."""
        return total(cost for name, cost in self.items() if name != START)


def total(costs: Iterable[CallCost]) -> CallCost:
    """All of them together."""
    result = CallCost()
    for cost in costs:
        result.add(cost)
    return result
