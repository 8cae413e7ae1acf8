"""The assembly sources, read: functions, instructions, and what is said about them.

A source is lines of the architecture's own instructions (x86-64: Intel's syntax) with `//` before a remark, labels, and
the directives below. Upper-case names are numbers (`vdso_image.constants`); `vvar` is the data page.

    .align BYTES            fill up to a multiple of BYTES
    .func NAME VERSION      a function begins; VERSION is LINUX, UABI_1 or, in the image libkernel, UABI_2; then
                            perhaps `nounwind`. A name that is there in another version has a label with it
    .alias NAME             another, weak, name of the function
    .also NAME VERSION OF   another name for the function OF
    .endfunc                it ends
    .handler KIND           a bounce of that kind begins here
    .restart KIND           from here nothing has changed yet ...
    .commit                 ... up to here
    .again                  a task that loses its CPU, or meets a signal, between here ...
    .done                   ... and here begins again at the first (`vdso_image.image.VdsoImage.data_ranges`)
    .sigreturn              a signal handler returns to here
    .cfi RULES              from here on that is how to unwind (`vdso_image.cfi`); `normal` before the first;
                            `+` in front: beside the rules of the line before
    .bits NAME COUNT TABLE  COUNT bits in .rodata, of which those of TABLE are set
    .rewind [SAVED]         a signal from here on undoes the bounce; SAVED: registers to take from beside the frame,
                            as `rdi=32`, in bytes from its start
    .finish [SAVED] [at=N]  from here on it ends the bounce, whose result is there; the frame is at SP + N, or SP
    .tail                   a signal from here on waits until the handler is past it: its call has been made, and the
                            program's memory is being made what that call would have made of it
                            These three may say `fault=LABEL`: where an instruction that can't reach memory leads
    .returns                a call that the handler made in place of another has come back here
    .untimed                behind a number-less return after such a call: it takes no virtual time
    .restores SAVED         behind a flagged call: besides the frame, these are the program's again
    .zeros NAME COUNT       COUNT bytes of 0 in .rodata
    .routines NAME          for each number up to `LAST_SERVED` two bytes in .rodata: where its routine is, counted
                            from the function's label `userspace_plain` (`vdso_image.served`)
    .answers                the lines up to `.endanswers` once for each call of `vdso_image.data_pages.ANSWERS`, with
                            its name for \\call and, in upper case, its field for \\FIELD
    .include FILE           the lines of another file beside this one, which is none by itself (`*.inc`)
    .glue                   the routines of `vdso_image.served` that make one call of other arguments
    .entries NAME VERSION   the table of that version's functions, in .rodata (`vdso_image.entry_table`)
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from vdso_image.constants import bit_tables, constants
from vdso_image.data_pages import ANSWERS
from vdso_image.entry_table import EntryTable
from vdso_image.served import carried, glue_lines, routine_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

SOURCES: Final = Path(__file__).parent / "src"
LINUX_VERSION: Final = {"aarch64": "LINUX_2.6.39", "x86_64": "LINUX_2.6"}
OWN_VERSIONS: Final = ("UABI_1", "UABI_2")
"""Oldest first; each is the parent of the next."""
FILL: Final = {"aarch64": "", "x86_64": ", 0xcc"}
"""What `.align` fills up with: on AArch64 the assembler's nop, on x86-64 int3."""
_CONSTANT: Final = re.compile(r"\b[A-Z][A-Z0-9]*_\w+\b|\b[A-Z]{4,}\b")


class SourceError(Exception):
    """A source says something that can't be meant; the text names the file and line."""


@dataclass(slots=True)
class Insn:
    """One instruction: its text with numbers put in, the remark beside it, and the number of its mark."""

    text: str
    remark: str
    mark: int


@dataclass(slots=True)
class Func:
    """One function. `start` and `end` are marks; `cfi` pairs of a mark and the rules from there on."""

    name: str
    version: str
    label: str
    start: int
    unwind: bool
    end: int = -1
    aliases: list[str] = field(default_factory=list)
    """Weak, in the version of the function."""
    others: list[tuple[str, str]] = field(default_factory=list)
    """More names, each with its version."""
    cfi: list[tuple[int, str]] = field(default_factory=list)


@dataclass(slots=True)
class Program:
    """All sources of an architecture. A mark is the number of a place; `vdso_image.assemble` finds its address."""

    arch: str
    lines: list[str] = field(default_factory=list)
    """For the assembler, a label `mark_N:` wherever a mark is."""
    data: list[tuple[str, bytes]] = field(default_factory=list)
    """Labels in .rodata, with their contents."""
    labels: list[str] = field(default_factory=list)
    marks: int = 0
    insns: list[Insn] = field(default_factory=list)
    functions: list[Func] = field(default_factory=list)
    handlers: dict[str, int] = field(default_factory=dict)
    restarts: list[tuple[str, int, int]] = field(default_factory=list)
    """Kind, and the marks from and up to which nothing has changed."""
    data_ranges: list[tuple[int, int]] = field(default_factory=list)
    """Marks between which a task begins again."""
    undo: list[tuple[str, int, int, str]] = field(default_factory=list)
    """rewind | finish | tail, the marks from and up to which it holds, and what it says of registers."""
    entry_tables: list[EntryTable] = field(default_factory=list)
    tables: list[tuple[str, str, list[str | None]]] = field(default_factory=list)
    """A label in .rodata, the label that is counted from, and the labels that its words are for."""
    returns: list[int] = field(default_factory=list)
    """Marks where calls come back to that stand for others."""
    untimed: list[int] = field(default_factory=list)
    """Marks behind returns without a number that take no time."""
    restores: list[tuple[int, str]] = field(default_factory=list)
    """Marks behind flagged calls, and the registers that each puts back."""
    carried: list[int] = field(default_factory=list)
    """Calls, by number, that the handler makes by others, whatever their arguments."""
    sigreturn: int | None = None


class _Reader:
    """Reads one architecture's files into a Program."""

    def __init__(self, arch: str, directory: Path) -> None:
        self.program = Program(arch)
        self._directory = directory
        self._numbers = constants(arch)
        self._tables = bit_tables(arch)
        self._func: Func | None = None
        self._restart: tuple[str, int] | None = None
        self._again_from: int | None = None
        self._undo: tuple[str, int, str] | None = None
        self._template: list[str] | None = None
        """The lines since `.answers`."""
        self._fill = FILL[arch]
        self._directives: dict[str, Callable[..., None]] = {
            ".align": self._align,
            ".func": self._begin,
            ".alias": self._alias,
            ".also": self._also,
            ".entries": self._entries,
            ".endfunc": self._end,
            ".handler": self._handler,
            ".restart": self._may_restart,
            ".commit": self._commit,
            ".again": self._again,
            ".done": self._done,
            ".sigreturn": self._sigreturn,
            ".cfi": self._cfi,
            ".bits": self._bits,
            ".rewind": self._rewind,
            ".finish": self._finish,
            ".tail": self._tail,
            ".returns": self._returns,
            ".restores": self._restores,
            ".untimed": self._untimed,
            ".zeros": self._zeros,
            ".routines": self._routines,
            ".glue": self._glue,
            ".include": self.file,
            ".answers": self._answers,
            ".endanswers": self._end_answers,
        }

    def mark(self) -> int:
        """A new mark, here."""
        program = self.program
        program.lines.append(f"mark_{program.marks}:")
        program.marks += 1
        return program.marks - 1

    def line(self, text: str) -> None:
        """Take one line."""
        code, _, remark = (part.strip() for part in text.partition("//"))
        if not code:
            return
        if self._template is not None and code != ".endanswers":
            self._template.append(text)
            return
        if code.startswith("."):
            word, *values = code.split()
            if word not in self._directives:
                raise SourceError(f"unknown directive {word}")
            self._directives[word](*values)
        elif code.endswith(":"):
            self._label(code[:-1])
        elif self._func is None and not code.startswith("nop"):
            raise SourceError("an instruction outside a function")
        else:
            self._instruction(code, remark)

    def file(self, name: str) -> None:
        """Take a whole file; SourceError tells the line."""
        self.lines(name, (self._directory / name).read_text().splitlines())

    def lines(self, name: str, lines: Iterable[str]) -> None:
        """Take the lines of what is called `name`; SourceError tells which."""
        for number, text in enumerate(lines, 1):
            try:
                self.line(text)
            except (SourceError, KeyError, OSError, TypeError, ValueError) as error:
                raise SourceError(f"{name}:{number}: {error}") from error

    def close(self, name: str) -> None:
        """The file called `name` ends."""
        if self._func is not None or self._restart is not None or self._again_from is not None:
            raise SourceError(f"{name}: the file ends inside a function")
        if self._template is not None:
            raise SourceError(f"{name}: the file ends before .endanswers")

    def _instruction(self, code: str, remark: str) -> None:
        if not remark:
            raise SourceError("an instruction without a remark")
        code = re.sub(r"\s+", " ", _CONSTANT.sub(self._number, code))
        self.program.insns.append(Insn(code, remark, self.mark()))
        self.program.lines.append(code)

    def _number(self, match: re.Match[str]) -> str:
        name = match.group()
        if name not in self._numbers:
            raise SourceError(f"unknown constant {name}")
        return hex(self._numbers[name])

    def _label(self, name: str) -> None:
        if name in self.program.labels:
            raise SourceError(f"{name} is there twice")
        self.program.labels.append(name)
        self.program.lines.append(name + ":")

    def _align(self, size: str) -> None:
        self.program.lines.append(f".balign {size}{self._fill}")

    def _inside(self) -> Func:
        if self._func is None:
            raise SourceError("outside a function")
        return self._func

    def _begin(self, name: str, version: str, *words: str) -> None:
        if self._func is not None:
            raise SourceError("a function inside a function")
        version = LINUX_VERSION[self.program.arch] if version == "LINUX" else version
        if version not in (LINUX_VERSION[self.program.arch], *OWN_VERSIONS):
            raise SourceError(f"no version {version}")
        other = any(func.name == name and func.version != version for func in self.program.functions)
        label = f"{name}_{version}" if other else name
        self._label(label)
        self._func = Func(name, version, label, self.mark(), unwind="nounwind" not in words)
        self.program.functions.append(self._func)

    def _end(self) -> None:
        self._inside().end = self.mark()
        self._end_undo()
        self._func = None

    def _alias(self, name: str) -> None:
        self._inside().aliases.append(name)

    def _also(self, name: str, version: str, of: str) -> None:
        func = next((func for func in self.program.functions if func.name == of), None)
        if func is None:
            raise SourceError(f"no function {of}")
        func.others.append((name, version))

    def _entries(self, label: str, version: str) -> None:
        from vdso_image.libkernel import functions_by_number

        functions = functions_by_number(self.program.arch, version, self.labels())
        table = EntryTable(label, 1 + OWN_VERSIONS.index(version), functions)
        self.program.labels.append(label)
        self.program.entry_tables.append(table)
        self.program.data.append((label, bytes(table.size_bytes)))

    def labels(self) -> dict[tuple[str, str], str]:
        """Name and version of each function to its label; all of its names but the weak ones."""
        found = {}
        for func in self.program.functions:
            for name, version in ((func.name, func.version), *func.others):
                found[name, version] = func.label
        return found

    def _handler(self, kind: str) -> None:
        self.program.handlers[kind] = self.mark()

    def _may_restart(self, kind: str) -> None:
        self._restart = (kind, self.mark())

    def _commit(self) -> None:
        if self._restart is None:
            raise SourceError(".commit without .restart")
        self.program.restarts.append((*self._restart, self.mark()))
        self._restart = None

    def _again(self) -> None:
        self._again_from = self.mark()

    def _done(self) -> None:
        if self._again_from is None:
            raise SourceError(".done without .again")
        self.program.data_ranges.append((self._again_from, self.mark()))
        self._again_from = None

    def _sigreturn(self) -> None:
        self.program.sigreturn = self.mark()

    def _cfi(self, *rules: str) -> None:
        rows = self._inside().cfi
        before = [rows[-1][1]] if rules[0] == "+" else []
        rows.append((self.mark(), " ".join([*before, *rules[len(before) :]])))

    def _end_undo(self) -> None:
        if self._undo is not None:
            kind, start, words = self._undo
            self.program.undo.append((kind, start, self.mark(), words))
        self._undo = None

    def _rewind(self, *saved: str) -> None:
        self._end_undo()
        self._undo = ("rewind", self.mark(), " ".join(saved))

    def _finish(self, *saved: str) -> None:
        self._end_undo()
        self._undo = ("finish", self.mark(), " ".join(saved))

    def _tail(self, *words: str) -> None:
        self._end_undo()
        self._undo = ("tail", self.mark(), " ".join(words))

    def _returns(self) -> None:
        self.program.returns.append(self.mark())

    def _untimed(self) -> None:
        self.program.untimed.append(self.mark())

    def _restores(self, *saved: str) -> None:
        self.program.restores.append((self.mark(), " ".join(saved)))

    def _zeros(self, name: str, count: str) -> None:
        self.program.labels.append(name)
        self.program.data.append((name, bytes(int(count))))

    def _routines(self, name: str) -> None:
        routines = routine_of(self.program.arch)
        self.program.labels.append(name)
        self.program.tables.append((name, "userspace_plain", routines))
        self.program.data.append((name, bytes(2 * len(routines))))

    def _glue(self) -> None:
        for text in glue_lines(self.program.arch):
            self.line(text)
        self.program.carried = sorted(carried(self.program.arch))

    def _answers(self) -> None:
        self._template = []

    def _end_answers(self) -> None:
        if self._template is None:
            raise SourceError(".endanswers without .answers")
        lines, self._template = self._template, None
        for call, field_name in ANSWERS.items():
            for text in lines:
                self.line(text.replace("\\call", call).replace("\\FIELD", field_name.upper()))

    def _bits(self, name: str, count: str, table: str) -> None:
        value = sum(1 << bit for bit in self._tables[table])
        self.program.labels.append(name)
        self.program.data.append((name, value.to_bytes(int(count) // 8, "little")))


def read_sources(arch: str, directory: Path = SOURCES, kind: str = "plain") -> Program:
    """The sources of `arch` in `directory`, in the order of their names; SourceError.

    `kind`: plain | libkernel, which has what is in a directory of that name besides, and a function for each call.
    """
    reader = _Reader(arch, directory / arch)
    kinds = ["."] if kind == "plain" else [".", kind]
    for path in (path for part in kinds for path in sorted((directory / arch / part).glob("*.S"))):
        reader.file(str(path.relative_to(directory / arch)))
        reader.close(path.name)
    if kind == "libkernel":
        from vdso_image import libkernel

        reader.lines("libkernel.py", libkernel.source_lines(arch, reader.labels()))
    return reader.program
