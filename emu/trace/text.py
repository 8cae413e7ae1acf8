"""Stories as text for people, no wider than their terminal (80 columns otherwise) where the guest's words let it."""

from __future__ import annotations

import os
from itertools import groupby
from textwrap import wrap
from typing import TYPE_CHECKING, Final

from emu.printable import printable
from emu.strace.structs_task import signal_name
from emu.trace import story as outcomes
from kernel_model.bounce import NO_CALL, REDIRECT
from kernel_model.types import U64_MASK

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from emu.machine import Machine
    from emu.places import Place
    from emu.trace.story import Cost, Step, Story
    from kernel_model.task import Task

WIDTH: Final = 80
_NARROWEST: Final = 60
_INDENT: Final = 11
_PLACE_LESS: Final = 32
"""So much narrower than a line is the name of a place."""
_HANGING_LESS: Final = 30
"""So much narrower than a line is the most that its second one may hang back."""
_INSTRUCTION_WIDTH: Final = 24
_SMALL: Final = 100_000
"""A result below it is a number for people; an address above."""

_REASONS: Final = {
    "bare": "nothing bounces under this --abi: a real call",
    "exit": "never bounced, for a thread may end without a stack",
    "vdso": "made by the vDSO itself: a real call",
    "no-vdso": "no vDSO is mapped here: a real call",
    "flag": "bit 29 of the number is set outside the vDSO: not bounced",
    "no-call": "the number that stands for no call never bounces",
    "not-chosen": "not one of --bounce-set: a real call",
}
_ENDINGS: Final = {
    outcomes.LEFT: "the handler was left: a signal's own handler runs",
    outcomes.GONE: "none: the task is gone",
    outcomes.UNFINISHED: "none: the run ended first",
}
_FOLDED_FROM: Final = 5
"""A part of a handler with so many instructions or more is told in one line."""
# The flags that programs see: bits 0-11 of rflags (Intel SDM volume 1, 3.4.3), NZCV of pstate (Arm ARM, C5.2.9)
_FLAGS: Final = {
    "rflags": ((0, "CF"), (2, "PF"), (4, "AF"), (6, "ZF"), (7, "SF"), (8, "TF"), (9, "IF"), (10, "DF"), (11, "OF")),
    "pstate": ((31, "N"), (30, "Z"), (29, "C"), (28, "V")),
}


class TextTeller:
    """Writes each story in one piece when it is complete, or in two where its call slept."""

    def __init__(
        self, write: Callable[[str], None], *, colour: bool = False, width: int = WIDTH, fold: bool = True
    ) -> None:
        """`width`: columns of a line. `fold`: long parts of handlers are told in a line each."""
        self._write = write
        self._fold = fold
        self._colour = colour
        self._width = max(width, _NARROWEST)
        self._place_width = self._width - _PLACE_LESS
        self._names: tuple[str, str, str, str] = ("", "", "", "")
        self._begun = False
        self._limit_word = "bounce"

    def start(self, machine: Machine) -> None:
        """See `Teller`."""
        arch = machine.kernel.arch
        names = arch.GREG_NAMES
        self._names = (names[arch.NUMBER_INDEX], names[arch.SP_INDEX], names[arch.PC_INDEX], names[-1])
        self._result_name = names[arch.RESULT_INDEX]
        vdso = machine.kernel.vdso
        if machine.kernel.bounce is None or (vdso is not None and vdso.image.table):
            self._limit_word = "call"

    # -- stories -------------------------------------------------------------------------------------------------------
    def waits(self, story: Story) -> None:
        """See `Teller`."""
        lines = [self._title(story), *self._head(story)]
        lines += self._labelled("call", f"{story.call_text.rstrip(', ')} ...")
        lines += self._labelled("", "it has to wait: others may run")
        self._put(lines)

    def over(self, story: Story) -> None:
        """See `Teller`."""
        if story.waited:
            self._put([f"{self._title(story)} goes on", *self._tail(story)])
        else:
            self._put([self._title(story), *self._head(story), *self._tail(story)])

    def _title(self, story: Story) -> str:
        who = f"task {story.task} ({story.task_name})"
        if story.kind == "call":
            return f"call {story.index}: {story.name}, {who}"
        return f"bounce {story.index}: {story.name}, {who}"

    def _head(self, story: Story) -> list[str]:
        """Up to the real call."""
        lines = self._site(story)
        if story.function:
            caller = f", called from {self._at(story.caller)}" if story.caller is not None else ""
            lines += self._labelled("function", f"{story.function}{caller}")
        lines += self._check(story)
        if story.words or story.popped:
            lines += self._frame(story)
        if story.handler is not None:
            at = "as it was" if story.in_task_page else "at the frame"
            lines += self._labelled("enter", f"{self._at(story.handler)}, {self._names[1]} {at}")
        lines += self._handler(story.steps[: story.steps_before_call] if story.real_site else story.steps)
        if story.real_site and story.kind != "call":
            made = story.name if story.made is None else story.made[1]
            lines += self._number(story, story.real_site, story.flagged, made)
            if story.popped and not story.back_site:
                lines += self._pop(story)
        return lines

    def _site(self, story: Story) -> list[str]:
        site = story.site
        assert site is not None
        lines = self._labelled("site", self._at(site))
        for line in story.code:
            mark = ">" if line.address == site.address else " "
            lines.append(f"{'':{_INDENT}}{mark} {line.address:#x}  {line.text}")
        return lines

    def _check(self, story: Story) -> list[str]:
        if story.kind == "call":
            return self._labelled("check", _REASONS[story.reason])
        if story.kind == "forged":
            what = f"{story.compared:#x} is inside the vDSO: a real call, and no bounce came before"
            return self._labelled("check", what)
        start, end = story.vdso
        side = "below" if story.compared < start else "above"
        what = f"{story.compared:#x}" if story.site and story.compared == story.site.address else (
            f"{story.compared:#x} (PC, as the slide has it)"
        )  # fmt: skip
        return [
            *self._labelled("check", f"{what} is {side} the vDSO, [{start:#x}, {end:#x}):"),
            *self._labelled("", "an old-style call, so the kernel sends it to the vDSO"),
        ]

    def _frame(self, story: Story) -> list[str]:
        number, sp, pc, flags = self._names
        words = story.words or story.popped
        if not story.words:
            lines = self._labelled("frame", "as the program made it:")
        elif story.in_task_page:
            lines = self._labelled("frame", "in the task's own page; the user's stack is not touched")
        else:
            parts = f"{sp} {words[1]:#x} - {story.red_zone_bytes} (red zone) - {8 * len(words)} (frame)"
            if story.scratch_bytes:
                parts += f" - {story.scratch_bytes} (the handler's)"
            if story.alignment_bytes:
                parts += f" - {story.alignment_bytes} (alignment)"
            lines = self._labelled("frame", parts)
        place = story.return_place
        after = ""
        if place is not None and place.symbol is not None:
            after = f", {_shortened(place.name, self._place_width)}"
        meanings = (
            f"{number}: the number, {story.name}",
            f"{sp} before",
            f"{pc} after the call{after}",
            f"{flags}: {_flags(flags, words[3])}",
        )
        assert story.frame is not None
        for position, (word, meaning) in enumerate(zip(words, meanings, strict=True)):
            lines += self._labelled("", f"{story.frame + 8 * position:#x}  {word:016x}  {meaning}", 2 + 14 + 2 + 16 + 2)
        return lines

    def _handler(self, steps: Sequence[Step]) -> list[str]:
        """The instructions of a handler; of one with named parts, the long ones in a line each."""
        lines = []
        label = "handler"
        for part, group in groupby(steps, lambda step: step.part):
            inside = list(group)
            count = len(inside) + sum(step.more for step in inside)
            if part and self._fold and count >= _FOLDED_FROM:
                text = f"{inside[0].instruction.address:#x}  {part}: {count} instructions"
                lines += self._labelled(label, text)
            else:
                if part:
                    lines += self._labelled(label, f"{part}:")
                    label = ""
                for step in inside:
                    lines += self._instruction(label, step)
                    label = ""
                    if step.more:
                        lines += self._labelled("", f"... and {_count(step.more, 'instruction', 'instructions')} more")
            label = ""
            if inside[-1].faulted:
                text = f"{inside[-1].instruction.address:#x} can't reach its memory: the call is left to the kernel"
                lines += self._labelled("fault", text)
        return lines

    def _instruction(self, label: str, step: Step) -> list[str]:
        """A line, or two with many changes."""
        text = f"{step.instruction.address:#x}  {step.instruction.text:<{_INSTRUCTION_WIDTH}}"
        if step.changed:
            text += "  " + ", ".join(_changed(name, value) for name, value in step.changed)
        return self._labelled(label, text.rstrip())

    def _number(self, story: Story, site: int, number: int | None, name: str) -> list[str]:
        """A call inside the vDSO, at `site`: what became of its number."""
        lines = []
        if story.kind == "bounce":
            lines += self._labelled("check", f"{site:#x} is inside the vDSO: a real call")
        if number is not None and number & REDIRECT:
            rest = number & ~REDIRECT
            lines += self._labelled("number", f"{number:#x} = {REDIRECT:#x} (take the frame off) + {rest} ({name})")
        elif number is not None:
            lines += self._labelled("number", f"{number:#x}, without the flag: {name}")
        return lines

    def _pop(self, story: Story) -> list[str]:
        """The frame is taken off."""
        number, sp, pc, flags = self._names
        lines = self._labelled("pop", f"{number}, {sp}, {pc} and {flags} are again what the frame says")
        if story.words and story.popped != story.words:
            words = " ".join(f"{word:x}" for word in story.popped)
            lines += self._labelled("", f"which is not what was pushed: {words}")
        return lines

    def _back(self, story: Story) -> list[str]:
        """The number-less return."""
        return [
            *self._labelled("check", f"{story.back_site:#x} is inside the vDSO: it does not bounce"),
            *self._labelled("number", f"{REDIRECT | NO_CALL:#x} = {REDIRECT:#x} (take the frame off) + {NO_CALL:#x}"),
            *self._labelled("", "(no call at all: the number-less return)"),
            *self._pop(story),
        ]

    def _tail(self, story: Story) -> list[str]:
        """From the real call on."""
        lines = []
        if story.verdict:
            lines += self._labelled("seccomp", f"{story.verdict}: the call is not made")
        if story.call_result:
            lines += self._labelled("call", f"{story.call_text} = {story.call_result}")
        elif story.call_text:
            lines += self._labelled("call", f"{story.call_text.rstrip(', ')} ...")
        if story.real_site:
            lines += self._handler(story.steps[story.steps_before_call :])
        if story.back_site:
            lines += self._back(story)
        lines += self._ending(story)
        if story.kind != "call":
            lines += self._cost(story)
        return lines

    def _ending(self, story: Story) -> list[str]:
        where = self._at(story.landing) if story.landing is not None else ""
        outcome = story.outcome
        if outcome == outcomes.FINISHED:
            return [
                *self._found(story, "where the call had been served"),
                *self._labelled("finish", "the kernel did the rest of the way back"),
                *self._served(story),
                *self._return(story, where),
            ]
        if outcome in (outcomes.RETURNED, outcomes.NO_CALL):
            return self._served(story) + self._return(story, where)
        if outcome == outcomes.REPLACED:
            return self._labelled("return", f"{where}, with registers of its own")
        if outcome == outcomes.INTERRUPTED:
            return self._labelled("return", "not yet: a signal comes first")
        if outcome == outcomes.REWOUND:
            until = "when it has the CPU again" if story.preempted else "when the signal has been dealt with"
            state = "where only the number had changed"
            if story.scratch_bytes:
                state = "about to make the call again" if story.made else "where nothing had changed that counts"
            return [
                *self._found(story, state),
                *self._labelled("rewind", f"{where}: back AT the call,"),
                *self._labelled("", f"which will be made again {until}"),
            ]
        if outcome in (outcomes.REFUSED, outcomes.FAULT):
            return self._labelled("refused" if outcome == outcomes.REFUSED else "fault", story.details)
        return self._labelled("return", _ENDINGS[outcome])

    def _found(self, story: Story, state: str) -> list[str]:
        """What stopped the task in the handler."""
        where = f"{story.details} ({story.found_in})" if story.found_in else story.details
        if story.preempted:
            return self._labelled("stop", f"the task had to leave the CPU at {where}, {state}")
        return self._labelled("signal", f"it found the task at {where}, {state}")

    def _served(self, story: Story) -> list[str]:
        """The program's call and its result, when the handler has served it."""
        if not story.served:
            return []
        by = "in user space, with no call" if story.made is None else f"by {story.made[1]}"
        return self._labelled("served", f"{story.served} = {story.served_result}, {by}")

    def _return(self, story: Story, where: str) -> list[str]:
        """Where the program goes on."""
        result = story.result or 0
        shown = str(result) if -_SMALL < result < _SMALL else f"{result & U64_MASK:#x}"
        lines = self._labelled("return", f"{where}, {self._result_name} = {shown}")
        if story.child:
            lines += self._labelled("", f"and in the new task, {story.child}, the same with 0")
        return lines

    def _cost(self, story: Story) -> list[str]:
        return [
            *self._labelled("cost", f"{_cost(story.cost)} of stack (bare: 1 entry)"),
            *self._labelled("so far", f"{_cost(story.so_far)} of stack at most"),
        ]

    # -- between stories -----------------------------------------------------------------------------------------------
    def signal(self, task: Task, signal: int, handler: Place | None) -> None:
        """See `Teller`."""
        what = f"its handler, {self._at(handler)}" if handler is not None else "the default action"
        self._put([f"signal {signal_name(signal)}, task {task.pid}: {what}"])

    def began_again(self, task: Task, left: Place, start: Place, *, signalled: bool) -> None:
        """See `Teller`."""
        why = "a signal comes" if signalled else "it lost its CPU"
        lines = [f"task {task.pid} reads its data anew: {why}", *self._labelled("left", self._at(left))]
        self._put([*lines, *self._labelled("again", self._at(start))])

    def execve(self, task: Task, filename: bytes) -> None:
        """See `Teller`."""
        name = _shortened(printable(filename), self._place_width)
        vdso = f"[{task.mm.vdso:#x}, {task.mm.vdso_end:#x})"
        self._put([f"task {task.pid} runs {name} now", *self._labelled("vdso", vdso)])

    def exited(self, task: Task, code: int) -> None:
        """See `Teller`."""
        how = f"killed by {signal_name(code & 0x7F)}" if code & 0x7F else f"exited with {code >> 8 & 0xFF}"
        self._put([f"task {task.pid} {how}"])

    def end(self, told: int, *, limited: bool) -> None:
        """See `Teller`."""
        if limited:
            self._put([f"(--limit: the program runs on, and no more {self._limit_word}s are told)"])

    def _put(self, lines: list[str]) -> None:
        if self._colour:
            lines = [_coloured(line) for line in lines]
        self._write(("\n" if self._begun else "") + "\n".join(lines) + "\n")
        self._begun = True

    def _labelled(self, label: str, text: str, hanging: int = 0) -> list[str]:
        """`text` behind `label`, in as many lines as it takes; what follows the first hangs `hanging` further in."""
        line = f"  {label:<{_INDENT - 2}}{text}"
        if len(line) <= self._width:
            return [line]
        indent = " " * (_INDENT + (hanging if 0 < hanging <= self._width - _HANGING_LESS else 2))
        split = line.replace("|", "|\0 ")  # flags may be torn apart too
        lines = wrap(split, self._width, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)
        return [line.replace("|\0 ", "|").replace("\0", "") for line in lines]

    def _place(self, place: Place) -> str:
        """Its name and file, empty for none; a long one, as C++ has them, without its end."""
        return _shortened(str(place), self._place_width) if place.file else ""

    def _at(self, place: Place) -> str:
        """Its address and what is there."""
        return f"{place.address:#x}  {self._place(place)}".rstrip()


def _shortened(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 3] + "..."


def _flags(register: str, value: int) -> str:
    """`nZCv` or `ZF PF`: the flags that programs see."""
    bits = _FLAGS[register]
    if len(bits) == 4:
        return "".join(name if value >> bit & 1 else name.lower() for bit, name in bits)
    return " ".join(name for bit, name in bits if value >> bit & 1)


def _changed(name: str, value: int) -> str:
    """`rax = 0x2000006e`, `rflags = ZF IF`."""
    return f"{name} = {_flags(name, value) if name in _FLAGS else hex(value)}"


def _count(count: int, one: str, many: str) -> str:
    return f"{count} {one if count == 1 else many}"


def _cost(cost: Cost) -> str:
    entries = _count(cost.kernel_entries, "kernel entry", "kernel entries")
    instructions = _count(cost.instructions, "instruction", "instructions")
    return f"{entries}, {instructions}, {_count(cost.user_stack_bytes, 'byte', 'bytes')}"


def _coloured(line: str) -> str:
    """For a terminal: titles bold, labels cyan, the site red."""
    if line[:1] not in " (":
        return f"\033[1m{line}\033[0m"
    if line[_INDENT : _INDENT + 2] == "> ":
        return f"{line[:_INDENT]}\033[31m{line[_INDENT:]}\033[0m"
    if line[2:3] != " ":
        return f"\033[36m{line[:_INDENT]}\033[0m{line[_INDENT:]}"
    return line


def wants_colour(fd: int) -> bool:
    """Is `fd` a person's terminal that has not been asked to be plain (https://no-color.org)?"""
    return os.isatty(fd) and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def width_of(fd: int) -> int:
    """How many columns `fd`'s terminal has; `WIDTH` for what is none, or does not say."""
    try:
        return os.get_terminal_size(fd).columns or WIDTH
    except OSError:
        return WIDTH
