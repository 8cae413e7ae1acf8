"""Whether two runs did the same: entry by entry while the second one runs, the rest when it is over."""

from __future__ import annotations

from struct import Struct
from typing import TYPE_CHECKING, Final, NamedTuple

from emu.compare.record import State
from emu.printable import printable
from kernel_model import arch as architectures

if TYPE_CHECKING:
    from collections.abc import Iterator

    from emu.compare.record import Call
    from emu.compare.run import Run

_WORD: Final = Struct("<Q")
_STREAMS: Final = {1: "stdout", 2: "stderr"}
_FLAGS: Final = {"aarch64": (("pstate",), 0xF000_0000), "x86_64": (("rflags", "r11"), 0x8D5)}
"""Registers that hold them after a call, and their bits: NZCV; CF, PF, AF, ZF, SF and OF."""


class Difference(NamedTuple):
    """One thing that was not the same. `task` and `entry` say where in a task's sequence (from 1), or are None.

    `what`: stdout | stderr | status | file | call | arguments | result | registers | flags | floating-point | tls |
    stack | buffers | missing | extra.
    """

    abi: str
    what: str
    text: str
    task: int | None = None
    entry: int | None = None


class Reference:
    """A sink that keeps what it is told."""

    def __init__(self) -> None:
        self.calls: dict[int, list[Call]] = {}
        self.states: dict[tuple[int, int], State] = {}

    def call(self, pid: int, index: int, call: Call) -> None:
        """See `record.Sink`."""
        self.calls.setdefault(pid, []).append(call)

    def state(self, pid: int, index: int, state: State) -> None:
        """See `record.Sink`."""
        self.states[pid, index] = state


class Checker:
    """A sink that compares what it is told with a `Reference`. After a task's first difference it is left alone.

    Flags do not count as one: they tell of what the program computed last, and seldom lead to more. Those of a task are
    told of once.
    """

    def __init__(self, abi: str, reference: Reference, arch: str = "") -> None:
        """`abi`: of the run that is compared."""
        self._abi = abi
        self._reference = reference
        self.arch = arch
        self.differences: list[Difference] = []
        self._seen: dict[int, int] = {}
        self._given_up: set[int] = set()
        self._flags: set[int] = set()
        """Tasks that had other flags once."""

    def _differs(self, pid: int, index: int, what: str, text: str) -> None:
        self._given_up.add(pid)
        self.differences.append(Difference(self._abi, what, text, pid, index + 1))

    def call(self, pid: int, index: int, call: Call) -> None:
        """See `record.Sink`."""
        self._seen[pid] = index + 1
        if pid in self._given_up:
            return
        wanted = self._reference.calls.get(pid, ())
        if index >= len(wanted):
            self._differs(pid, index, "extra", f"{show(call)} was not made")
            return
        other = wanted[index]
        if call == other:
            return
        what = "call" if call.name != other.name else "arguments" if call.args != other.args else "result"
        self._differs(pid, index, what, f"{show(call)}, not {show(other)}")

    def state(self, pid: int, index: int, state: State) -> None:
        """See `record.Sink`."""
        if pid in self._given_up:
            return
        wanted = self._reference.states.get((pid, index))
        if wanted is None or state == wanted:
            return
        call = show(self._reference.calls[pid][index])
        for what, mine, other in zip(State._fields, state, wanted, strict=True):
            if mine != other and mine is not None:
                if what == "registers" and self._only_flags(state, wanted):
                    if pid not in self._flags:
                        self._flags.add(pid)
                        text = f"after {call}: {self._registers(state, wanted)}"
                        self.differences.append(Difference(self._abi, "flags", text, pid, index + 1))
                    continue
                detail = self._registers(state, wanted) if what == "registers" else "are others"
                self._differs(pid, index, what.replace("_", "-"), f"after {call}: {_WORDS[what]} {detail}")
                return

    def _others(self, state: State, wanted: State) -> Iterator[tuple[str, int, int]]:
        """Name, value and wanted value of each register that is another."""
        values = zip(_WORD.iter_unpack(state.registers), _WORD.iter_unpack(wanted.registers), strict=True)
        for name, ((mine,), (other,)) in zip(architectures.get(self.arch).GREG_NAMES, values, strict=True):
            if mine != other:
                yield name, mine, other

    def _only_flags(self, state: State, wanted: State) -> bool:
        """Is nothing another but arithmetic flags?"""
        names, bits = _FLAGS[self.arch]
        return all(name in names and not (mine ^ other) & ~bits for name, mine, other in self._others(state, wanted))

    def _registers(self, state: State, wanted: State) -> str:
        return ", ".join(f"{name} is {mine:#x}, not {other:#x}" for name, mine, other in self._others(state, wanted))

    def finish(self) -> None:
        """The run is over: what did it not do?"""
        for pid, calls in self._reference.calls.items():
            seen = self._seen.get(pid, 0)
            if pid not in self._given_up and seen < len(calls):
                self._differs(pid, seen, "missing", f"{show(calls[seen])} is not made")


_WORDS: Final = {
    "registers": "",
    "floating_point": "floating-point and vector registers",
    "tls": "thread registers",
    "stack": "bytes around SP",
    "buffers": "bytes behind its arguments",
}


def show(call: Call) -> str:
    """A call, or a signal, on one line."""
    text = f"{call.name}({', '.join(f'{value:#x}' for value in call.args)})"
    return text if call.result is None else f"{text} = {call.result}"


def compare_ends(run: Run, reference: Run) -> list[Difference]:
    """What is not the same about what they printed, how they ended, and what they left."""
    found = []
    for stream, name in _STREAMS.items():
        mine, other = run.outputs[stream], reference.outputs[stream]
        if mine.sha256 != other.sha256:
            found.append(Difference(run.name, name, _where_output_differs(bytes(mine.kept), bytes(other.kept))))
    if (run.status, run.signal) != (reference.status, reference.signal):
        found.append(Difference(run.name, "status", f"{ended(run)}, not {ended(reference)}"))
    for path in sorted(run.files.keys() | reference.files.keys()):
        file, wanted = (files.get(path, "as on the host") for files in (run.files, reference.files))
        if file != wanted:
            found.append(Difference(run.name, "file", f"{path}: {file}, not {wanted}"))
    return found


def ended(run: Run) -> str:
    """How the run ended."""
    if run.signal:
        from emu.strace.structs_task import signal_name

        return f"killed by {signal_name(run.signal)}"
    return f"exit status {run.status}"


def _where_output_differs(mine: bytes, other: bytes) -> str:
    """The first place, by line."""
    at = next((i for i, (a, b) in enumerate(zip(mine, other, strict=False)) if a != b), min(len(mine), len(other)))
    line = other.count(b"\n", 0, at) + 1
    start = other.rfind(b"\n", 0, at) + 1
    shown = [data[start:].split(b"\n", 1)[0][:60] for data in (mine, other)]
    texts = [f'"{printable(data)}"' for data in shown]
    return f"line {line}: {texts[0]}, not {texts[1]}"
