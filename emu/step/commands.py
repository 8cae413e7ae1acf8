"""The commands: their names, what they take, and what they do with a session and its view.

A command prints lines, and may say how the run goes on (`Resume`). One that can't be carried out raises `CommandError`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Final, NamedTuple

from emu.step.arch import mnemonic
from emu.step.breakpoints import Breakpoint, functions
from emu.step.expression import ExpressionError, evaluate
from emu.step.session import Quit, Resume, Session, Target
from kernel_model.bounce import REDIRECT
from kernel_model.placement import allowed_cpus, move_to

if TYPE_CHECKING:
    from emu.step.view import View

_COUNT_MAX: Final = 1 << 40
_SHOWN_MAX: Final = 4096
_INSTRUCTIONS: Final = 8
_MEMORY_BYTES: Final = 64
_STACK_WORDS: Final = 4


class CommandError(Exception):
    """A command that failed: what, and what to do about it."""


class Command(NamedTuple):
    """`run(commands, argument)` carries it out. `looks`: it can be given when the program has ended, too."""

    name: str
    short: str
    takes: str
    text: str
    run: Callable[[Commands, str], Resume | None]
    looks: bool = False


class Commands:
    """Carries out lines."""

    def __init__(self, session: Session, view: View, say: Callable[[list[str]], None]) -> None:
        self.session = session
        self.view = view
        self.say = say

    def execute(self, line: str) -> Resume | None:
        """One line; how the run goes on, or None when it does not yet. CommandError, Quit."""
        word, _, argument = line.strip().partition(" ")
        command = find(word)
        if self.session.ended and not command.looks:
            raise CommandError(f"{command.name}: the program has ended: 'quit' is what is left")
        if argument.strip() and not command.takes:
            raise CommandError(f"{command.name}: it takes nothing{_INSTEAD.get(command.name, '')}")
        try:
            return command.run(self, argument.strip())
        except ExpressionError as error:
            raise CommandError(f"{command.name}: {error}") from error

    # -- values -------------------------------------------------------------------------------------------------------
    def value(self, text: str) -> int:
        """An expression. ExpressionError."""
        return evaluate(text, self._lookup, self._peek)

    def _peek(self, address: int, count: int) -> bytes:
        return self.session.places.peek(self.session.kernel.current.mm, address, count)

    def _lookup(self, name: str) -> int | None:
        session = self.session
        registers = session.registers()
        style = session.style
        if name in registers:
            return registers[name]
        if name in style.halves:
            return registers[style.halves[name]] & 0xFFFF_FFFF
        if name.startswith("__NR_"):
            numbers = session.kernel.table.numbers_of(name.removeprefix("__NR_"))
            return next(iter(numbers), None)
        task = session.kernel.current
        bounce = session.bounces.get(task.pid)
        call = session.calls.get(task.pid)
        values = {
            "pc": registers[style.pc],
            "sp": registers[style.sp],
            "flags": registers[style.flags],
            "number": registers[style.number],
            "vdso": task.mm.vdso,
            "vdso_end": task.mm.vdso_end,
            "redirect": REDIRECT,
            "pid": task.pid,
            "site": bounce.site if bounce is not None else None,
            "frame": bounce.frame if bounce is not None else None,
            "result": bounce.result if bounce is not None and bounce.result is not None else (
                getattr(call, "result", None)
            ),
            "bounces": session.kernel.stats.bounces,
            "entries": session.kernel.stats.kernel_entries + session.kernel.stats.bounces,
        }
        if name in DATA_NAMES:
            from emu.step.pages import structs_of

            shown = structs_of(session.places, task)
            values[name] = next((found.address for found in shown if found.layout.mapping == f"[{name}]"), None)
        if name in values:
            if values[name] is None:
                raise ExpressionError(f"there is no {name} yet: {_COMES[name]}")
            return values[name]
        return next(iter(functions(session.places, task.mm, name)), None)

    def names(self) -> list[str]:
        """Names that an expression may have, for completion."""
        session = self.session
        return [*session.kernel.arch.GREG_NAMES, "pc", "sp", "vdso", "site", "frame", "redirect", "result", *DATA_NAMES]

    def count(self, text: str, default: int, limit: int = _COUNT_MAX) -> int:
        """A number of something, at least 1."""
        if not text:
            return default
        value = self.value(text)
        if not 0 < value <= limit:
            raise ExpressionError(f"'{text}' is no number from 1 to {limit}")
        return value

    def call_numbers(self, text: str) -> frozenset[int] | None:
        """Numbers of the calls named; None for all."""
        words = text.replace(",", " ").split()
        numbers: set[int] = set()
        for word in words:
            found = {int(word)} if _is_number(word) else self.session.kernel.table.numbers_of(word)
            if not found:
                raise CommandError(f"break: there is no call '{word}' here: 'uabi-emu syscalls' lists them")
            numbers |= found
        return frozenset(numbers) or None

    # -- going on -----------------------------------------------------------------------------------------------------
    def step(self, argument: str) -> Resume:
        """One instruction, or several."""
        return Resume(steps=self.count(argument, 1))

    def next(self, _argument: str) -> Resume:
        """One instruction, but over what it calls."""
        session = self.session
        stop = session.stop
        mm = stop.task.mm
        bounce = session.bounce_here()
        if bounce is not None and mm.vdso <= stop.pc < mm.vdso_end:
            return Resume(target=Target(bounce.words[2]))
        if stop.why == "syscall":
            return Resume(target=Target(stop.pc))  # the call is still to be carried out, PC is behind it
        found = session.places.disassemble(mm, stop.pc, 1)
        if found:
            word, behind = mnemonic(found[0].text), stop.pc + len(found[0].data)
            if word in session.style.syscalls:
                return Resume(target=Target(behind))
            if word in session.style.calls:
                return Resume(target=Target(behind, session.registers()[session.style.sp]))
        return Resume(steps=1)

    def bounce(self, _argument: str) -> Resume:
        """To the next bounce."""
        if self.session.kernel.bounce is None:
            raise CommandError("bounce: nothing bounces under this --abi: run it with --abi bounce")
        return Resume(at_bounce=True)

    def go_on(self, _argument: str) -> Resume:
        """Up to a breakpoint or the end."""
        return Resume()

    def until(self, argument: str) -> Resume:
        """Up to an address."""
        if not argument:
            raise CommandError("until: it needs a place: write for example 'until main' or 'until pc + 8'")
        return Resume(target=Target(self.value(argument.removeprefix("*"))))

    def finish(self, _argument: str) -> Resume:
        """Up to the caller."""
        session = self.session
        task = session.kernel.current
        bounce = session.bounce_here()
        if bounce is not None and task.mm.vdso <= session.pc < task.mm.vdso_end:
            return Resume(target=Target(bounce.words[2]))
        frames = self.view.unwinder.walk(task.mm, session.registers())
        if len(frames) < 2:
            raise CommandError("finish: nobody has called this function: 'continue' runs to the end")
        sp = frames[1].registers.get(session.style.sp, 0)
        return Resume(target=Target(frames[1].pc, sp))

    def preempt(self, argument: str) -> Resume:
        """The CPU goes to others, and the task perhaps to another CPU."""
        session = self.session
        kernel = session.kernel
        if not session.between_instructions:
            raise CommandError("preempt: it is the kernel's turn here: 'step' leads to the program's next instruction")
        if not kernel.sched.runqueue:
            raise CommandError("preempt: no other task could run now: 'tasks' lists them")
        if argument:
            cpu = self.value(argument)
            if not 0 <= cpu < kernel.cpu_count or not allowed_cpus(kernel.current) >> cpu & 1:
                raise CommandError(f"preempt: the task may not run on CPU {argument}: there are {kernel.cpu_count} "
                                   "(--cpus), and sched_setaffinity may keep it from some")  # fmt: skip
            move_to(kernel.current, cpu)
        return Resume(steps=1, preempt=True)

    # -- breakpoints --------------------------------------------------------------------------------------------------
    def break_at(self, argument: str) -> None:
        """Set a breakpoint, or list them."""
        if not argument:
            self._list_breakpoints()
            return
        session = self.session
        mm = session.kernel.current.mm
        word, _, rest = argument.partition(" ")
        if word in ("syscall", "bounce"):
            made = Breakpoint(word, argument, calls=self.call_numbers(rest))
        else:
            made = self._at(argument)
        session.breakpoints.add(made, mm)
        addresses = sorted(made.addresses(session.places, mm))
        places = ", ".join(f"{address:#x} {self.view.name(address)}" for address in addresses)
        later = ""
        if made.kind == "address" and not addresses:
            later = "; no file that is mapped now has it"
        elif not all(mm.vmas.lookup(address) for address in addresses):
            places, later = ", ".join(f"{address:#x}" for address in addresses), "; nothing is mapped there now"
        self.say(self.view.wrapped(f"breakpoint {made.number}: {f'at {places}' if places else argument}{later}", ""))

    def _at(self, argument: str) -> Breakpoint:
        text = argument.removeprefix("*").strip()
        name, plus, offset = text.partition("+")
        name = name.strip()
        if name.replace(".", "_").replace("@", "_").isidentifier() and self._lookup(name) is None:
            if name.startswith("__NR_"):
                raise CommandError(f"break: {name} is no place: write 'break syscall {name.removeprefix('__NR_')}'")
            return Breakpoint("address", argument, symbol=name, address=self.value(offset) if plus else 0)
        if name.isidentifier() and functions(self.session.places, self.session.kernel.current.mm, name):
            return Breakpoint("address", argument, symbol=name, address=self.value(offset) if plus else 0)
        return Breakpoint("address", argument, address=self.value(text))

    def _list_breakpoints(self) -> None:
        breakpoints = self.session.breakpoints.all
        lines = []
        for number, breakpoint in breakpoints.items():
            times = "once" if breakpoint.hits == 1 else f"{breakpoint.hits} times" if breakpoint.hits else "not yet"
            lines.append(f"{number:>3}  {breakpoint.text}  (hit {times})" if times != "not yet" else
                         f"{number:>3}  {breakpoint.text}  (not hit yet)")  # fmt: skip
        self.say(lines or ["no breakpoints: 'break main' sets one"])

    def delete(self, argument: str) -> None:
        """Delete breakpoints."""
        breakpoints = self.session.breakpoints
        mm = self.session.kernel.current.mm
        if argument == "all":
            for number in list(breakpoints.all):
                breakpoints.remove(number, mm)
            return
        if not argument:
            raise CommandError("delete: it needs a number, or 'all': 'break' lists them")
        for word in argument.split():
            if not _is_number(word) or int(word) not in breakpoints.all:
                raise CommandError(f"delete: there is no breakpoint '{word}': 'break' lists them")
            breakpoints.remove(int(word), mm)

    # -- looking around -----------------------------------------------------------------------------------------------
    def where(self, _argument: str) -> None:
        """The place again."""
        self.say(self.view.where())

    def registers(self, argument: str) -> None:
        """All registers, or those named."""
        style = self.session.style
        aliases = {"pc": style.pc, "sp": style.sp, "flags": style.flags, **style.halves}
        names = [aliases.get(word, word) for word in argument.replace(",", " ").split()]
        known = self.session.kernel.arch.GREG_NAMES
        for name in names:
            if name not in known:
                raise CommandError(f"registers: there is no register '{name}': they are {known[0]} .. {known[-1]}")
        self.say(self.view.registers(names))

    def disassemble(self, argument: str) -> None:
        """Instructions at PC, or somewhere else."""
        if _is_number(argument) and int(argument) <= _SHOWN_MAX:
            argument = f",{argument}"
        place, count = self._place_and_count(argument, _INSTRUCTIONS, _SHOWN_MAX)
        start = self.session.pc if place is None else place
        if place is None:
            symbol = self.session.places.symbol(self.session.kernel.current.mm, start)
            if symbol is not None and symbol.offset <= 4 * _INSTRUCTIONS:
                start -= symbol.offset
                count += symbol.offset // 4
        lines = self.view.disassembly(start, count)
        if not lines:
            raise CommandError(f"disassemble: there are no instructions at {start:#x}")
        self.say(lines)

    def _place_and_count(self, argument: str, default: int, limit: int) -> tuple[int | None, int]:
        """`PLACE, COUNT`, both of which may be left out; a last word that is a number is a count as well."""
        place, comma, count = argument.rpartition(",")
        if not comma:
            first, _, last = argument.rpartition(" ")
            counted = first and _is_number(last) and first[-1] not in "+-*/&|<>"
            place, count = (first, last) if counted else (argument, "")
        value = self.value(place.removeprefix("*")) if place.strip() else None
        return value, self.count(count.strip(), default, limit)

    def memory(self, argument: str) -> None:
        """Bytes."""
        place, count = self._place_and_count(argument, _MEMORY_BYTES, _SHOWN_MAX)
        if place is None:
            raise CommandError("memory: it needs an address: write for example 'memory sp' or 'memory sp, 32'")
        if not self._peek(place, 1):
            raise CommandError(f"memory: nothing is mapped at {place:#x}: 'maps' shows what is")
        self.say(self.view.memory(place, count))

    def stack(self, argument: str) -> None:
        """The stack, and a bounce's frame on it."""
        self.say(self.view.stack(self.count(argument, _STACK_WORDS, _SHOWN_MAX)))

    def backtrace(self, _argument: str) -> None:
        """Who called whom."""
        self.say(self.view.backtrace())

    def maps(self, _argument: str) -> None:
        """What is mapped."""
        self.say(self.view.maps())

    def tasks(self, _argument: str) -> None:
        """Who is there."""
        self.say(self.view.tasks())

    def data(self, _argument: str) -> None:
        """What the task's own pages say."""
        lines = self.view.data()
        if not lines:
            raise CommandError(f"data: {_NO_PAGES}")
        self.say(lines)

    def info(self, argument: str) -> Resume | None:
        """The bounce, or another command's lines."""
        if argument in ("", "bounce"):
            self.say(self.view.bounce())
            return None
        try:
            command = find("break" if argument == "breakpoints" else argument)
        except CommandError:
            command = None
        if command is None or command.name not in _INFO:
            raise CommandError(f"info: there is none about '{argument}': write bounce, {', '.join(_INFO)}")
        return command.run(self, "")

    def print(self, argument: str) -> None:
        """A value."""
        value = self.value(argument)
        signed = f"  {value - (1 << 64)}" if value >> 63 else f"  {value}" if value > 9 else ""
        mapped = self.session.kernel.current.mm.vmas.lookup(value) is not None
        place = f"  {self.view.name(value)}" if mapped else ""
        self.say([f"{argument} = {value:#x}{signed}{place}"])

    def expect(self, argument: str) -> None:
        """A check: the command fails where it does not hold."""
        if self.value(argument):
            self.say([f"as expected: {argument}"])
            return
        left, equals, right = argument.partition("==")
        if equals and "==" not in right:
            raise CommandError(f"expect: {argument}: no, {self.value(left):#x} is not {self.value(right):#x}")
        raise CommandError(f"expect: {argument}: no")

    def help(self, argument: str) -> None:
        """All commands, or one."""
        if argument:
            command = find(argument)
            short = f", short {command.short}" if command.short else ""
            self.say([f"{command.name} {command.takes}".rstrip() + short, *self.view.wrapped(command.text)])
            return
        for command in COMMANDS:
            head = f"{command.name} {command.takes}".rstrip() + (f"  ({command.short})" if command.short else "")
            self.say([head, *self.view.wrapped(command.text, "    ")])
        self.say(self.view.wrapped(_NOTES, ""))

    def quit(self, _argument: str) -> None:
        """The end."""
        raise Quit


def _is_number(word: str) -> bool:
    """Is it a decimal number that fits a register?"""
    return word.isascii() and word.isdigit() and len(word) <= 20


_NOTES: Final = (
    "Names may be cut short. On a terminal Enter repeats a command that moved the program, Ctrl-C stops the program, "
    "Ctrl-D quits. "
    "The program does not get what is typed here: it reads /dev/null, or the file that --stdin names."
)
_INFO: Final = ("registers", "break", "stack", "tasks", "maps")
_INSTEAD: Final = {
    "next": ": 'step N' makes several steps",
    "bounce": ": 'break PLACE' sets a breakpoint",
    "continue": ": 'until PLACE' runs to a place",
}
"""What somebody may have meant who gave a command more than it takes."""
_COMES = dict.fromkeys(("site", "frame"), "'bounce' runs to the next one") | {"result": "no call has returned"}
DATA_NAMES: Final = ("vtask", "vfs", "vcpu", "vthread")
"""Structs of the task, as values that are their addresses."""
_NO_PAGES: Final = "the task has no such page here: --vdso userspace and --vdso-data make some"
_COMES |= dict.fromkeys(DATA_NAMES, _NO_PAGES)
"""How values come about that are not there from the beginning."""

COMMANDS: Final = (
    Command("step", "s", "[N]", "One instruction (or N) of this task. A call that bounces goes into the vDSO's "
            "handler. When the task sleeps or ends, the step stops in the next one that runs.", Commands.step),
    Command("next", "n", "", "One instruction, but over a bounce, a call of a function or a sleep.", Commands.next),
    Command("bounce", "b", "", "Run to the next bounce of any task: to the handler's first instruction.",
            Commands.bounce),
    Command("continue", "c", "", "Run to a breakpoint, a fault or the end.", Commands.go_on),
    Command("until", "u", "PLACE", "Run until this task comes to PLACE: a function or an expression.",
            Commands.until),
    Command("finish", "f", "", "Run until this function, or this bounce, returns to where it was called.",
            Commands.finish),
    Command("preempt", "", "[CPU]", "Take the CPU away, as at the end of a time slice, and stop when the task has it "
            "again. With a number the task goes to that logical CPU (--cpus).", Commands.preempt),
    Command("break", "br", "[PLACE | syscall [CALLS] | bounce [CALLS]]", "Stop at a function or address (main, main+8, "
            "0x401000), where a real call is about to be carried out, or where one bounces. Without a word: list "
            "them.", Commands.break_at),
    Command("delete", "del", "N.. | all", "Delete breakpoints.", Commands.delete),
    Command("where", "w", "", "Show the next instruction again.", Commands.where),
    Command("registers", "r", "[NAMES]", "Registers; * marks those that changed since the last stop.",
            Commands.registers),
    Command("disassemble", "d", "[PLACE] [N]", "N instructions, here or at PLACE; => is the next one.",
            Commands.disassemble),
    Command("stack", "k", "[N]", "N words of the stack, high addresses first; in a bounce its frame, the red zone and "
            "what was left free for alignment.", Commands.stack),
    Command("memory", "m", "PLACE[, N]", "N bytes at PLACE.", Commands.memory),
    Command("backtrace", "bt", "", "Who called whom, through the vDSO's handler as well. 'by' tells what led there "
            "where it was no unwind table: a frame pointer (fp), the link register, the top of the stack (sp).",
            Commands.backtrace),
    Command("maps", "", "", "What is mapped where.", Commands.maps),
    Command("tasks", "t", "", "Processes and threads; * is the one that runs.", Commands.tasks),
    Command("info", "i", "[bounce]", "The task's last bounce: site, bounds check, frame, phase.", Commands.info),
    Command("data", "", "", "What the task's pages [vtask], [vfs], [vcpu] and [vthread] say, field by field.",
            Commands.data),
    Command("print", "p", "EXPRESSION", "A value: registers, functions, numbers; ~ * / % + - << >> & ^ | == != < <= > "
            ">= not && ||, the first bind closest; u8[A] u16[A] u32[A] u64[A] for memory; vdso, vdso_end, site, "
            "frame, redirect, result, bounces, entries (into the kernel), pid, __NR_getppid; vtask, vfs, vcpu, vthread "
            "for where the task's data are.",
            Commands.print),
    Command("expect", "e", "EXPRESSION", "Check that it is not 0. Where it is, the command fails: the exit status "
            "is 1.", Commands.expect),
    Command("help", "h", "[COMMAND]", "This text.", Commands.help, looks=True),
    Command("quit", "q", "", "End here.", Commands.quit, looks=True),
)  # fmt: skip
_BY_NAME: Final = {name: command for command in COMMANDS for name in (command.name, command.short) if name}
_BY_NAME["threads"] = _BY_NAME["tasks"]
_BY_NAME["x"] = _BY_NAME["memory"]
RESUMING: Final = frozenset(("step", "next", "bounce", "continue"))


def find(word: str) -> Command:
    """The command that `word` names, or is the beginning of; CommandError."""
    if word in _BY_NAME:
        return _BY_NAME[word]
    found = list(dict.fromkeys(command.name for name, command in _BY_NAME.items() if name.startswith(word)))
    if len(found) == 1:
        return _BY_NAME[found[0]]
    if found:
        raise CommandError(f"'{word}' may be {' or '.join(found)}: write more of it")
    raise CommandError(f"there is no command '{word}': 'help' lists them")


def completions(commands: Commands, line: str, word: str) -> Iterator[str]:
    """Words that may stand at the end of `line`, whose last is `word` so far."""
    first = line.lstrip().partition(" ")[0]
    if first == word and " " not in line.lstrip():
        yield from (command.name for command in COMMANDS if command.name.startswith(word))
        return
    try:
        name = find(first).name
    except CommandError:
        return
    choices = {"break": ["syscall", "bounce"], "help": [c.name for c in COMMANDS], "info": ["bounce", *_INFO]}
    for choice in [*choices.get(name, []), *commands.names()]:
        if choice.startswith(word):
            yield choice
