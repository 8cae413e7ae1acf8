"""What is told of one bounce, or of one call that did not bounce."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NamedTuple

from kernel_model.types import U64_MASK

if TYPE_CHECKING:
    from emu.disasm import Instruction
    from emu.places import Place

RETURNED = "returned"
"""The call is over, and the task goes on after its instruction."""
INTERRUPTED = "interrupted"
"""The call is over without a result: a signal comes first, and what it returns, or whether it is made again, comes
after."""
REPLACED = "replaced"
"""The call replaced the registers (execve, rt_sigreturn): the task goes on elsewhere."""
NO_CALL = "no-call"
"""The bounce ended by the number that stands for no call."""
REWOUND = "rewound"
"""A signal found the task in the handler: it is back at its own instruction."""
FINISHED = "finished"
"""A signal found the task in the handler, which had served the call: the kernel did the rest of the way back."""
REFUSED = "refused"
"""The frame could not be pushed, or not be popped: SIGSEGV."""
FAULT = "fault"
"""An instruction of the handler could not be executed: a signal."""
LEFT = "left"
"""The handler was left in the middle, by the handler of a signal."""
GONE = "gone"
"""The task ended."""
UNFINISHED = "unfinished"
"""The run, or the trace, ended first."""


class Step(NamedTuple):
    """An instruction of the handler, and the registers that it changed (PC apart).

    `part`: of a handler that has several. `more`: so many of that part after it are not kept. `faulted`: it could not
    reach its memory, and the call was left to the kernel.
    """

    instruction: Instruction
    changed: tuple[tuple[str, int], ...]
    part: str = ""
    more: int = 0
    faulted: bool = False


class Cost(NamedTuple):
    """What bounces cost: kernel entries, instructions of handlers, bytes of the user's stack taken at once."""

    kernel_entries: int
    instructions: int
    user_stack_bytes: int


NOTHING: Final = Cost(0, 0, 0)


@dataclass(slots=True)
class Story:
    """One bounce, or one call that did not bounce. Addresses are the guest's."""

    kind: str
    """bounce, call (one that did not bounce), or forged (a flagged call that no bounce came before)."""
    index: int
    """Stories of a kind count from 1."""
    task: int
    process: int
    task_name: str
    number: int
    """Of the call that the program asked for."""
    name: str
    site: Place | None = None
    """The system call instruction."""
    code: tuple[Instruction, ...] = ()
    """The instruction before the site (where it can be told), the site's own, and the one behind it."""
    reason: str = ""
    """Why a call did not bounce: bare, exit, vdso, no-vdso, flag, no-call, not-chosen."""
    function: str = ""
    """The function of the vDSO that made the call, with its version."""
    caller: Place | None = None
    """Where that function returns to."""
    compared: int = 0
    """What was compared with the vDSO's bounds."""
    vdso: tuple[int, int] = (0, 0)
    """Those bounds."""
    frame: int | None = None
    words: tuple[int, ...] = ()
    """The frame as it was pushed."""
    in_task_page: bool = False
    red_zone_bytes: int = 0
    scratch_bytes: int = 0
    """What the handler has to itself behind the frame."""
    return_place: Place | None = None
    """What the frame's third word points to."""
    handler: Place | None = None
    steps: list[Step] = field(default_factory=list)
    steps_before_call: int = 0
    """How many of the steps there were when the real call was made, its own included."""
    flagged: int | None = None
    """The number register (32 bits) at the real call's instruction, as the handler left it."""
    real_site: int = 0
    """The address of that instruction; 0 while there was none."""
    made: tuple[int, str] | None = None
    """Number and name of the real call, which may be another than the program's."""
    back_site: int = 0
    """The address of the instruction that ended the bounce by the number-less return; 0 for none."""
    popped: tuple[int, ...] = ()
    """The frame as it was taken off."""
    args: tuple[int, ...] = ()
    call_text: str = ""
    """The call as --strace shows it, as far as it could be told yet; empty before it is made."""
    call_result: str = ""
    """Its result as --strace shows it."""
    asked: tuple[int, int, int, int, int, int] = (0, 0, 0, 0, 0, 0)
    """The program's own arguments, where the handler may serve its call."""
    served: str = ""
    """That call as --strace would show it, where the handler has served it; else empty."""
    served_result: str = ""
    verdict: str = ""
    """What seccomp has against the call: an action and its data; then it is not made."""
    call_value: int | None = None
    """What the real call returned; the handler may make something else of it."""
    result: int | None = None
    """What the program gets."""
    child: int = 0
    """The task that fork, vfork or clone made."""
    waited: bool = False
    """It slept in the call, and others ran."""
    landing: Place | None = None
    outcome: str = UNFINISHED
    details: str = ""
    """What went wrong, in words; where a signal found the task."""
    found_in: str = ""
    """The part of the handler where a signal found the task."""
    preempted: bool = False
    """It was no signal that found the task in the handler, but the loss of the CPU, or a look from outside."""
    cost: Cost = NOTHING
    so_far: Cost = NOTHING

    @property
    def stack_bytes(self) -> int:
        """How far the frame reaches below SP."""
        return 0 if self.in_task_page or self.frame is None or not self.words else self.words[1] - self.frame & U64_MASK

    @property
    def alignment_bytes(self) -> int:
        """What is left out below the red zone so that the frame is aligned."""
        return self.stack_bytes and (
            self.stack_bytes - self.red_zone_bytes - self.scratch_bytes - 8 * len(self.words)
        )
