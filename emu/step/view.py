"""What a reader sees: text lines made of a session's state, for a width. Nothing here changes the run."""

from __future__ import annotations

import re
from functools import cached_property
from textwrap import wrap
from typing import TYPE_CHECKING, Final

from emu.printable import printable
from emu.step.session import Bounce, Happening, NewTask, Session, Stop
from emu.step.unwind import Unwinder
from emu.strace.structs_task import signal_name
from kernel_model.bounce import FRAME_BYTES
from kernel_model.events import (
    BeganAgain,
    Execve,
    Fault,
    Rewound,
    SignalDelivered,
    SyscallEnter,
    SyscallExit,
    TaskExited,
)
from kernel_model.fs.procfs_maps import maps
from kernel_model.types import U64_MASK
from vdso_image.image import VdsoImage

if TYPE_CHECKING:
    from kernel_model.task import Task

NARROW: Final = 40
_INDENT: Final = "  "
_CHANGES_SHOWN: Final = 3
_CELL: Final = 27
_REMARK_AT: Final = 48
"""The column where the remark beside an instruction begins at least."""
_WORDS: Final = ("the number, as made", "sp before the bounce", "where it returns to", "the flags")
_LED_BY: Final = {"table": "", "frame pointer": "fp", "link": "link", "stack": "sp", "signal": "signal"}
_FLAGS: Final = {
    "aarch64": {"N": 31, "Z": 30, "C": 29, "V": 28},
    "x86_64": {"CF": 0, "PF": 2, "AF": 4, "ZF": 6, "SF": 7, "TF": 8, "IF": 9, "DF": 10, "OF": 11, "NT": 14, "AC": 18},
}
_TARGET: Final = re.compile(r"^(?:b|j|call|cbz|cbnz|tbz|tbnz)\S* (?:.*, )?#?(0x[0-9a-f]+)$")
"""A direct jump or call, and where it goes."""
_BOLD, _DIM, _RED, _YELLOW = "1", "2", "31", "33"
_PHASES: Final = {
    "entered": "entered: the handler runs, and nothing has been carried out yet",
    "served": "served: the handler has the result, and is on its way back",
    "made": "made: the call has been made, and the handler makes of its results those of the program's call",
    "committed": "committed: the real call is being carried out",
    "returned": "returned: the program goes on after its own instruction",
    "rewound": "rewound: a signal came first, the instruction will be executed again",
}
_SIGNALS: Final = {
    "again": "one that comes here starts the call again, at its site",
    "finish": "one that comes here finds the call finished, behind its site",
    "wait": "one that comes here waits: the call's results are on their way to the program",
}


class View:
    """Lines about `session`, none longer than `width` where that can be had."""

    def __init__(self, session: Session, width: int = 80, *, colour: bool = False) -> None:
        self._session = session
        self._kernel = session.kernel
        self.width = max(width, NARROW)
        self._colour = colour
        self.unwinder = Unwinder(session.kernel, session.places)
        self._before: dict[str, int] = {}
        self._now: dict[str, int] = {}
        self._call: SyscallEnter | SyscallExit | None = None
        self._bounce: Bounce | None = None
        """The last one that was introduced."""
        self._returned_last: Bounce | None = None
        """The last one whose result was told."""

    # -- small things -------------------------------------------------------------------------------------------------
    def _paint(self, code: str, text: str) -> str:
        return f"\033[{code}m{text}\033[0m" if self._colour else text

    def wrapped(self, text: str, indent: str = _INDENT) -> list[str]:
        """`text` in lines that fit."""
        return wrap(text, self.width, initial_indent=indent, subsequent_indent=indent + _INDENT, break_on_hyphens=False)

    def name(self, address: int, task: Task | None = None) -> str:
        """`main+0x10`, or the file and the offset in it."""
        mm = (task or self._kernel.current).mm
        place = self._session.places.at(mm, address)
        part = self._session.places.part(mm, address)
        return str(place) if part is None else place._replace(symbol=part).name

    def call_name(self, number: int) -> str:
        """`getppid (173)`."""
        return f"{self._kernel.table.name(number)} ({number})"

    def instruction(self, task: Task, pc: int) -> str:
        """The instruction at `pc`."""
        found = self._session.places.disassemble(task.mm, pc, 1)
        return found[0].text + self._leads_to(task, found[0].text) if found else "(no instruction)"

    def _leads_to(self, task: Task, text: str) -> str:
        """The function that a jump or call goes to, if it says where."""
        target = _TARGET.search(text)
        if target is None:
            return ""
        symbol = self._session.places.part(task.mm, int(target[1], 16))
        return f" <{symbol.name}{f'+{symbol.offset:#x}' if symbol.offset else ''}>" if symbol is not None else ""

    # -- stops --------------------------------------------------------------------------------------------------------
    def stop(self, stop: Stop) -> list[str]:
        """Why the run stands still, and where: one or two lines mostly."""
        if stop.why == "end":
            return [self._ended()]
        self._before, self._now = self._now, self._session.registers()
        lines = self._task_changed(stop) + self._why(stop)
        if stop.why != "asleep":
            lines += self.where()
            lines += self._news(stop)
        call = self._session.calls.get(stop.task.pid)
        self._call = call
        return lines

    def where(self) -> list[str]:
        """The line of the instruction that comes next."""
        stop = self._session.stop
        left = f"{stop.pc:#x}  {self.name(stop.pc)}"
        text = self.instruction(stop.task, stop.pc)
        both = f"{left:<40}  {text}"
        remark = [self._paint(_DIM, line) for line in self.wrapped(self._remark(stop.task, stop.pc))]
        if len(both) <= self.width:
            return [self._paint(_BOLD, both), *remark]
        return [self._paint(_BOLD, left), self._paint(_BOLD, f"{_INDENT}{text}"), *remark]

    def _ended(self) -> str:
        task = self._session.machine.task
        if self._session.machine.timed_out:
            return "the program was killed, as --timeout says"
        return f"the program {self._end(task.exit_code or 0)}"

    @staticmethod
    def _end(code: int) -> str:
        signal = code & 0x7F
        return f"was killed by {signal_name(signal)}" if signal else f"exited with status {code >> 8 & 0xFF}"

    def _task_changed(self, stop: Stop) -> list[str]:
        other = stop.other_than
        if other is None:
            return []
        state = "is gone" if other.exit_code is not None else self.state(other)
        return self.wrapped(f"now in task {stop.task.pid} ({self._comm(stop.task)}): task {other.pid} {state}", "")

    def _why(self, stop: Stop) -> list[str]:
        if stop.breakpoint is not None:
            head = f"breakpoint {stop.breakpoint.number}, {stop.breakpoint.text}"
        else:
            head = ""
        event = stop.event
        if isinstance(event, SyscallEnter):
            return self.wrapped(f"{head}: about to carry out {self.call_text(event)}", "")
        if isinstance(event, Fault):
            from emu.fault_report import cause

            return self.wrapped(f"fault: {cause(event)}", "")
        if stop.why == "interrupted":
            return ["interrupted"]
        if stop.why == "asleep":
            return ["interrupted: every task waits, none can run", *self.tasks()]
        return [head] if head else []

    def _news(self, stop: Stop) -> list[str]:
        """What the last step has brought: the bounce's phase, a call's result, registers."""
        parts = []
        bounce = self._session.bounces.get(stop.task.pid)
        call = self._session.calls.get(stop.task.pid)
        done = isinstance(call, SyscallExit) and call is not self._call and call.result is not None
        if bounce is not None and bounce.phase == "entered":
            if bounce is not self._bounce:
                self._bounce = bounce
                where = f"made at {self.name(bounce.site)}, frame at {bounce.frame:#x}"
                return self.wrapped(f"bounce of {self.call_name(bounce.number)} entered: {where}")
            parts.append(f"bounce of {self.call_name(bounce.number)} entered")
        elif bounce is not None and bounce.phase == "committed":
            made = f" by {bounce.made}" if self._is_other(bounce) else ""
            parts.append(f"bounce of {self.call_name(bounce.number)} committed{made}")
        elif bounce is not None and bounce.phase == "returned" and bounce is not self._returned_last:
            self._returned_last = bounce
            served = self._session.served(bounce)
            if served is not None:
                return self.wrapped(f"the bounce has returned: {self.call_text(served)}, {self._served_by(bounce)}")
        if done and isinstance(call, SyscallExit) and stop.why in ("step", "target"):
            over = "the bounce has returned: " if bounce is not None and bounce.phase == "returned" else ""
            return self.wrapped(f"{over}{self.call_text(call)}")
        if stop.why == "step":
            changes = self.changes()
            if 0 < len(changes) <= _CHANGES_SHOWN:
                parts.append(", ".join(changes))
        return self.wrapped("; ".join(parts)) if parts else []

    def _is_other(self, bounce: Bounce) -> bool:
        """Is the call that was made another than the program's?"""
        return bool(bounce.made) and bounce.made != self._kernel.table.name(bounce.number)

    def _served_by(self, bounce: Bounce) -> str:
        return f"by {bounce.made}" if bounce.made else "in user space, with no call"

    def changes(self) -> list[str]:
        """`x8 0xad -> 0x200000ad` for each register that changed since the last stop, PC left out."""
        return [
            f"{name} {self._before[name]:#x} -> {value:#x}"
            for name, value in self._now.items()
            if name != self._session.style.pc and self._before.get(name, value) != value
        ]

    def call_text(self, event: SyscallEnter | SyscallExit) -> str:
        """The call as strace would show it; before it is made without what it will bring."""
        from emu.strace.tracer import Tracer

        pieces: list[str] = []
        tracer = Tracer(self._kernel, pieces.append)
        tracer(SyscallEnter(event.task, event.number, event.name, event.args, 0))
        if isinstance(event, SyscallExit):
            tracer(event)
        text = re.sub(r"^\[pid +\d+\] ", "", "".join(pieces).strip())
        if isinstance(event, SyscallExit):
            return re.sub(r"\) += ", ") = ", text)
        if text.endswith(")"):
            return text
        return text + ("...)" if text.endswith("(") else " ...)")

    def tell(self, happening: Happening) -> list[str]:
        """A line about something that did not stop the run."""
        task = happening.task
        who = f"task {task.pid}" if len(self._kernel.tasks) > 1 else "the program"
        if isinstance(happening, SignalDelivered):
            name = signal_name(happening.signal)
            if happening.handler:
                return self.wrapped(f"{who} gets {name}: its handler is {self.name(happening.handler, task)}", "-- ")
            return self.wrapped(f"{who} gets {name}, which has its default effect", "-- ")
        if isinstance(happening, Rewound):
            what = "the loss of the CPU" if happening.preempted else "a signal"
            where = f"at {self.name(happening.pc, task)}, back at {self.name(happening.site, task)}"
            end = "the kernel has finished it" if happening.finished else "as if it had not happened"
            return self.wrapped(f"{what} met the bounce {where}: {end}", "-- ")
        if isinstance(happening, BeganAgain):
            why = "a signal comes" if happening.signalled else "it lost its CPU"
            where = f"at {self.name(happening.pc, task)}, again at {self.name(happening.start, task)}"
            return self.wrapped(f"{who} had not read its data yet {where}: {why}", "-- ")
        if isinstance(happening, Execve):
            file = printable(happening.filename)
            return self.wrapped(f"{who} executes {file}: other code, other names", "-- ")
        if isinstance(happening, NewTask):
            return self.wrapped(f"{who} has made task {happening.pid}", "-- ")
        if isinstance(happening, TaskExited) and happening.task is not self._session.machine.task:
            return self.wrapped(f"task {task.pid} {self._end(happening.code)}", "-- ")
        return []

    # -- looking around -----------------------------------------------------------------------------------------------
    def registers(self, names: list[str] | None = None) -> list[str]:
        """A table; `*` marks what changed since the last stop."""
        first = [name for name in self._session.style.first if name in self._now]
        order = names or [*dict.fromkeys([*first, *self._now])]
        cells = []
        for name in order:
            value = self._now[name]
            changed = self._before.get(name, value) != value
            cell = f"{'*' if changed else ' '}{name:>6} {value:016x}"
            cells.append(self._paint(_YELLOW, f"{cell:<{_CELL - 2}}") if changed else f"{cell:<{_CELL - 2}}")
        columns = max(1, (self.width + 2) // _CELL)
        rows = -(-len(cells) // columns)
        lines = ["  ".join(cells[row::rows]).rstrip() for row in range(rows)]
        flags = self._session.style.flags
        if flags in order:
            bits = _FLAGS[self._kernel.arch.NAME]
            names_set = [name for name, bit in bits.items() if self._now[flags] >> bit & 1]
            lines.append(f"  {flags}: {' '.join(names_set) or 'none set'}")
        if any("*" in cell for cell in cells):
            lines.append("  * changed since the last stop")
        return lines

    def disassembly(self, start: int, count: int) -> list[str]:
        """Instructions from `start` on, each function's name before its first."""
        session = self._session
        task = self._kernel.current
        lines: list[str] = []
        last = None
        for line in session.places.disassemble(task.mm, start, count):
            symbol = session.places.part(task.mm, line.address)
            name = symbol.name if symbol is not None else None
            if name is not None and name != last:
                lines.append(f"{name}:" if symbol is not None and not symbol.offset else f"{name}: ...")
            last = name
            here = line.address == session.pc
            text = f"{'=>' if here else '  '} {line.address:x}  {line.text}{self._leads_to(task, line.text)}"
            remark = self._remark(task, line.address)
            fits = remark and len(text) < _REMARK_AT and _REMARK_AT + len(remark) <= self.width
            beside = f"{text:<{_REMARK_AT}}" if fits else text
            shown = self._paint(_BOLD, beside) if here else beside
            if beside is text:
                lines += [shown, *(self._paint(_DIM, said) for said in self.wrapped(remark, " " * 8))]
            else:
                lines.append(shown + self._paint(_DIM, remark))
        return lines

    def _remark(self, task: Task, address: int) -> str:
        """What the source of the vDSO's handler says beside an instruction of a part that has a name."""
        symbol, part = self._session.places.symbol(task.mm, address), self._session.places.part(task.mm, address)
        if symbol == part:
            return ""
        remark = self._remarks.get(address - task.mm.vdso, "")
        return f"; {remark}" if remark else ""

    @cached_property
    def _remarks(self) -> dict[int, str]:
        """By the distance from the vDSO's start."""
        from vdso_image.listing import remarks_by_offset

        image: object = None if self._kernel.vdso is None else self._kernel.vdso.image
        return remarks_by_offset(image) if isinstance(image, VdsoImage) else {}

    def memory(self, address: int, count: int) -> list[str]:
        """Bytes, eight or sixteen in a row, with their characters."""
        data = self._session.places.peek(self._kernel.current.mm, address, count)
        row = 16 if self.width >= 78 else 8 if self.width >= 46 else 4
        lines = []
        for at in range(0, len(data), row):
            piece = data[at : at + row]
            characters = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in piece)
            lines.append(f"{address + at:012x} {piece.hex(' '):<{3 * row}} {characters}")
        if len(data) < count:
            lines.append(f"nothing is mapped at {address + len(data):#x}")
        return lines

    def backtrace(self) -> list[str]:
        """The calls from the innermost outwards."""
        task = self._kernel.current
        lines = []
        for number, frame in enumerate(self.unwinder.walk(task.mm, self._session.registers())):
            place = self._session.places.at(task.mm, frame.place)
            name = self.name(frame.pc) if place.symbol is None else f"{place.symbol.name}"
            if place.symbol is not None:
                offset = place.symbol.offset + frame.pc - frame.place
                name += f"+{offset:#x}" if offset else ""
            where = f" ({place.file})" if place.file and place.symbol is not None else ""
            by = _LED_BY.get(frame.by, "")
            how = "  <signal>" if by == "signal" else f"  by {by}" if by else ""
            lines.append(f"#{number:<2} {frame.pc:#x}  {name}{where}{how}")
        return lines

    def maps(self) -> list[str]:
        """/proc/self/maps, in short lines: the range, the permissions, the end of the name."""
        task = self._kernel.current
        lines = []
        for text in map(printable, maps(task, task).rstrip(b"\n").split(b"\n")):
            words = text.split(maxsplit=5)
            name = words[5] if len(words) > 5 else ""
            start = f"{words[0]} {words[1]}  "
            room = self.width - len(start)
            lines.append((start + (name if len(name) <= room else "..." + name[3 - room :])).rstrip())
        return lines

    def state(self, task: Task) -> str:
        """What a task does."""
        if task.exit_code is not None:
            return "is gone, nobody has waited for it"
        if task.signal.stopped:
            return "is stopped"
        call = task.blocked_call
        if call is not None:
            return f"waits in {self._kernel.table.name(call.number)}"
        return "runs" if task is self._kernel.current else "could run"

    @staticmethod
    def _comm(task: Task) -> str:
        return printable(task.comm)

    def tasks(self) -> list[str]:
        """Every task; `*` marks the current one."""
        lines = []
        for pid, task in sorted(self._kernel.tasks.items()):
            mark = "*" if task is self._kernel.current else " "
            thread = f" (thread of {task.tgid})" if task.tgid != pid else ""
            lines.append(f"{mark} {pid}{thread}  {self._comm(task)}  {self.state(task)}")
        return lines

    # -- the bounce ---------------------------------------------------------------------------------------------------
    def bounce(self) -> list[str]:
        """The last bounce of the task: site, bounds, frame, phase."""
        bounce = self._session.bounces.get(self._kernel.current.pid)
        if bounce is None:
            return ["no bounce yet: 'bounce' runs to the next one"]
        low, high = bounce.bounds
        lines = [f"bounce of {self.call_name(bounce.number)}"]
        lines += self.wrapped(f"site    {bounce.site:#x} {self.name(bounce.site)}")
        options = self._kernel.bounce
        slide = options is not None and options.check == "slide"
        compared = bounce.words[2] if slide else bounce.site
        bounds = f"bounds  {low:#x} <= {compared:#x} < {high:#x}"
        lines += self.wrapped(f"{bounds}: no, so it is no real call and bounces")
        lines += self.wrapped(f"frame   {bounce.frame:#x}, {FRAME_BYTES} bytes, {self._below(bounce)}")
        running = bounce.phase in ("entered", "committed") and not isinstance(self._session.stop.event, SyscallEnter)
        signal = self._session.undone() if running else ""
        phase = "served" if signal == "finish" else bounce.phase
        if signal == "wait" and phase == "committed":
            phase = "made"
        lines += self.wrapped(f"phase   {_PHASES[phase]}")
        if signal:
            lines += self.wrapped(f"signal  {_SIGNALS[signal]}")
        if self._is_other(bounce):
            lines += self.wrapped(f"made    by {bounce.made}, in place of {self.call_name(bounce.number)}")
        if bounce.phase == "returned":
            served = self._session.served(bounce)
            call = served or self._session.calls.get(self._kernel.current.pid)
            if isinstance(call, SyscallExit):
                by = f", {self._served_by(bounce)}" if served else ""
                lines += self.wrapped(f"result  {self._returned(call, bounce)}{by}")
        return lines

    def data(self) -> list[str]:
        """The structs of the task in pages that it may read or write, field by field."""
        from emu.step.pages import fields, structs_of

        task = self._kernel.current
        lines: list[str] = []
        for shown in structs_of(self._session.places, task):
            lines += self.wrapped(shown.title, "")
            members = fields(self._session.places, task, shown)
            for name, value, text in members:
                lines += self.wrapped(f"{name:<15} {value:<15} {text}".rstrip())
            if not members:
                lines.append("  nothing can be read there")
        return lines

    def _returned(self, call: SyscallExit, bounce: Bounce) -> str:
        """The call and its result; without arguments once the program has gone on, for they may point to anything."""
        text = self.call_text(call)
        if self._now[self._session.style.pc] == bounce.words[2]:
            return text
        return f"{call.name}(...) = {text.rpartition(') = ')[2]}"

    def _below(self, bounce: Bounce) -> str:
        if not self._on_stack(bounce):
            return "in a page of the task's own"
        red_zone, scratch = self._kernel.arch.RED_ZONE_BYTES, self._scratch_bytes
        slack = bounce.words[1] - bounce.frame - FRAME_BYTES - red_zone - scratch
        parts = [f"{red_zone} of red zone"]
        parts += [f"{scratch} of the handler's"] * bool(scratch) + [f"{slack} of slack"] * bool(slack)
        return f"{bounce.words[1] - bounce.frame} below sp ({' and '.join(parts)} above it)"

    def _on_stack(self, bounce: Bounce) -> bool:
        most = self._kernel.arch.RED_ZONE_BYTES + self._scratch_bytes + FRAME_BYTES + 16
        return 0 <= bounce.words[1] - bounce.frame <= most

    @property
    def _scratch_bytes(self) -> int:
        options = self._kernel.bounce
        return 0 if options is None else options.scratch_bytes

    def stack(self, count: int) -> list[str]:
        """The stack, high addresses first as it is drawn everywhere; the frame of a bounce with what is around it."""
        session = self._session
        sp = session.registers()[session.style.sp]
        bounce = session.bounces.get(self._kernel.current.pid)
        live = bounce is not None and (
            bounce.phase == "entered" or (bounce.phase == "committed" and not bounce.popped and sp == bounce.frame)
        )
        if bounce is None or not live:
            return self._words(sp, count, {sp: f"<- {session.style.sp}"})
        labels = self._frame_labels(bounce)
        if not self._on_stack(bounce):
            lines = ["the frame, in a page of the task's own:", *self._words(bounce.frame, 4, labels)]
            return [*lines, "the program's stack, untouched:", *self._words(sp, count, {sp: f"<- {session.style.sp}"})]
        old_sp = bounce.words[1]
        red_zone, scratch = self._kernel.arch.RED_ZONE_BYTES, self._scratch_bytes
        slack = old_sp - bounce.frame - FRAME_BYTES - red_zone - scratch
        lines = self._words(old_sp, count, {old_sp: f"<- {session.style.sp} before the bounce"})
        lines.append(self._note(f"~ red zone: {red_zone} bytes that are the program's"))
        if scratch:
            lines.append(self._note(f"~ scratch: {scratch} bytes that are the handler's"))
        if slack:
            lines.append(self._note(f"~ slack: {slack} bytes, so that the frame is aligned to 16"))
        return lines + self._words(bounce.frame, 4, labels)

    def _note(self, text: str) -> str:
        return self._paint(_DIM, f"{'':13}{text}"[: self.width])

    def _frame_labels(self, bounce: Bounce) -> dict[int, str]:
        style = self._session.style
        names = (style.number, style.sp, style.pc, style.flags)
        texts = (
            f"{names[0]}: {self._kernel.table.name(bounce.number)}",
            f"{names[1]} before the bounce",
            f"{names[2]} after: {self.name(bounce.words[2])}",
            names[3],
        )
        labels = {bounce.frame + 8 * at: f"frame+{8 * at:<2} {text}" for at, text in enumerate(texts)}
        if self._now.get(style.sp) == bounce.frame:
            labels[bounce.frame] += f" <- {style.sp}"
        return labels

    def _words(self, start: int, count: int, labels: dict[int, str]) -> list[str]:
        """`count` words from `start` on, the highest first."""
        task = self._kernel.current
        data = self._session.places.peek(task.mm, start, 8 * count)
        lines = []
        for at in range(len(data) // 8 * 8 - 8, -8, -8):
            address = start + at
            value = int.from_bytes(data[at : at + 8], "little")
            label = labels.get(address, "") or self._code_name(task, value)
            lines.append(f"{address & U64_MASK:012x} {value:016x} {label}"[: self.width].rstrip())
        return lines or [f"nothing is mapped at {start:#x}"]

    def _code_name(self, task: Task, value: int) -> str:
        """The function that a word on the stack leads into, if it does."""
        symbol = self._session.places.symbol(task.mm, value)
        return f"{symbol.name}+{symbol.offset:#x}" if symbol is not None else ""
