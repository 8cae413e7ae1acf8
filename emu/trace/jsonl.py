"""Stories as JSON Lines: docs/trace.md describes them, `schema.json` says it to machines.

What may need more than 53 bits (addresses, registers) is a string in hex; counts, pids and results are numbers.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from emu.strace.structs_task import signal_name
from kernel_model.bounce import NO_CALL, REDIRECT

if TYPE_CHECKING:
    from collections.abc import Callable

    from emu.disasm import Instruction
    from emu.machine import Machine
    from emu.places import Place
    from emu.trace.story import Cost, Story
    from kernel_model.task import Task

VERSION: Final = 1
"""Of the format: it grows when a field changes its meaning or goes; new fields may come without."""
_WORDS: Final = ("number", "sp", "pc", "flags")
_ENCODE: Final = json.JSONEncoder(separators=(",", ":"), ensure_ascii=True, check_circular=False).encode


class JsonTeller:
    """Writes a line for each record."""

    def __init__(self, write: Callable[[str], None]) -> None:
        self._write = write

    def _record(self, kind: str, **fields: Any) -> None:
        self._write(_ENCODE({"type": kind, **fields}) + "\n")

    def start(self, machine: Machine) -> None:
        """See `Teller`."""
        mm, options = machine.task.mm, machine.options
        self._record(
            "start",
            format="uabi-emu trace",
            version=VERSION,
            program=options.program,
            argv=[_text(word) for word in options.argv],
            arch=machine.kernel.arch.NAME,
            abi=options.abi,
            task=machine.task.pid,
            vdso=[hex(mm.vdso), hex(mm.vdso_end)],
        )

    def waits(self, story: Story) -> None:
        """See `Teller`: the record comes when the story is complete."""

    def over(self, story: Story) -> None:
        """See `Teller`."""
        record: dict[str, Any] = {
            "type": story.kind,
            "index" if story.kind == "call" else "bounce": story.index,
            "task": story.task,
            "process": story.process,
            "comm": story.task_name,
            "site": {**_place(story.site), "code": [_instruction(line) for line in story.code]},
        }
        if story.kind == "call":
            record["reason"] = story.reason
            if story.function:
                record["function"] = story.function
                record["caller"] = None if story.caller is None else _place(story.caller)
        else:
            record["check"] = {"compared": hex(story.compared), "vdso": [hex(bound) for bound in story.vdso]}
        if story.frame is not None:
            record["frame"] = {
                "address": hex(story.frame),
                "in": "task-page" if story.in_task_page else "stack",
                "words": _words(story.words),
                "red_zone_bytes": 0 if story.in_task_page else story.red_zone_bytes,
                "scratch_bytes": 0 if story.in_task_page else story.scratch_bytes,
                "alignment_bytes": story.alignment_bytes,
            }
        if story.kind == "bounce":
            record["handler"] = [
                {
                    **_instruction(step.instruction),
                    "changed": {name: hex(value) for name, value in step.changed},
                    **({"part": step.part} if step.part else {}),
                    **({"more": step.more} if step.more else {}),
                    **({"faulted": True} if step.faulted else {}),
                }
                for step in story.steps
            ]
        if story.back_site:
            record["back"] = {"site": hex(story.back_site), "number": hex(REDIRECT | NO_CALL)}
            record["back"]["popped"] = _words(story.popped)
        if story.real_site and story.kind != "call":
            record["real"] = {
                "site": hex(story.real_site),
                "number": None if story.flagged is None else hex(story.flagged),
                "popped": None if story.back_site else _words(story.popped),
            }
        elif story.back_site:
            record["real"] = record["back"]
        number, name = story.made or (story.number, story.name)
        record["call"] = {"number": number, "name": name}
        if story.call_text:
            record["call"] |= {
                "args": [hex(value) for value in story.args],
                "text": story.call_text,
                "result": story.call_value,
                "result_text": story.call_result,
                "waited": story.waited,
            }
        if story.verdict:
            record["call"]["seccomp"] = story.verdict
        if story.served:
            record["served"] = {
                "number": story.number,
                "name": story.name,
                "args": [hex(value) for value in story.asked],
                "text": story.served,
                "result": story.result,
                "result_text": story.served_result,
                "by": name if story.made else None,
            }
        record["outcome"] = story.outcome
        record["return"] = None if story.landing is None else _place(story.landing)
        if story.child:
            record["child"] = story.child
        if story.preempted:
            record["preempted"] = True
        if story.details:
            record["details"] = story.details
        record["cost"] = _cost(story.cost)
        record["so_far"] = _cost(story.so_far)
        self._write(_ENCODE(record) + "\n")

    def signal(self, task: Task, signal: int, handler: Place | None) -> None:
        """See `Teller`."""
        at = None if handler is None else _place(handler)
        self._record("signal", task=task.pid, signal=signal, name=signal_name(signal), handler=at)

    def began_again(self, task: Task, left: Place, start: Place, *, signalled: bool) -> None:
        """See `Teller`."""
        self._record("again", task=task.pid, left=_place(left), start=_place(start), signalled=signalled)

    def execve(self, task: Task, filename: bytes) -> None:
        """See `Teller`."""
        vdso = [hex(task.mm.vdso), hex(task.mm.vdso_end)]
        self._record("execve", task=task.pid, filename=_text(filename), vdso=vdso)

    def exited(self, task: Task, code: int) -> None:
        """See `Teller`."""
        self._record("exit", task=task.pid, wait_status=code)

    def end(self, told: int, *, limited: bool) -> None:
        """See `Teller`."""
        self._record("end", told=told, limited=limited)


def _text(data: bytes) -> str:
    return data.decode("utf-8", "backslashreplace")


def _place(place: Place | None) -> dict[str, Any]:
    assert place is not None
    symbol = place.symbol
    return {
        "address": hex(place.address),
        "symbol": None if symbol is None else symbol.name,
        "offset": None if symbol is None else symbol.offset,
        "file": place.file or None,
    }


def _instruction(line: Instruction) -> dict[str, Any]:
    return {"address": hex(line.address), "bytes": line.data.hex(), "text": line.text}


def _words(words: tuple[int, ...]) -> dict[str, str] | None:
    return {name: hex(word) for name, word in zip(_WORDS, words, strict=True)} if words else None


def _cost(cost: Cost) -> dict[str, int]:
    return cost._asdict()
