"""The text of a machine in which every task waits for another: who waits in which call, called from where."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from emu.places import Places
from emu.printable import printable
from emu.strace.decode import CallDecoder
from kernel_model.events import SyscallEnter

if TYPE_CHECKING:
    from kernel_model.events import Stuck
    from kernel_model.kernel import Kernel
    from kernel_model.task import Task

_TASKS_SHOWN: Final = 16
_FRAMES_SHOWN: Final = 6
_FRAME_POINTERS: Final = ("x29", "rbp")


def describe(kernel: Kernel, program: str, event: Stuck) -> str:
    """The report; registers and memory of all tasks are still there."""
    places, decoder = Places(kernel), CallDecoder(kernel)
    end = "stopped" if event.ends else "only a signal from outside can end it now"
    lines = [f"uabi-emu: {program}: every task waits for another, for ever: {end}"]
    current = kernel.current
    cpu = kernel.cpu
    if current.exit_code is None:
        current.context = cpu.save_context(current.context)
    for task in event.sleepers[:_TASKS_SHOWN]:
        lines += ["", *_task(places, decoder, task)]
    if len(event.sleepers) > _TASKS_SHOWN:
        lines += ["", f"  and {len(event.sleepers) - _TASKS_SHOWN} more"]
    if current.exit_code is None:
        assert current.context is not None
        cpu.restore_context(current.context)
    return "\n".join(lines) + "\n"


def _task(places: Places, decoder: CallDecoder, task: Task) -> list[str]:
    """Its id, name and call, and where that was made."""
    kernel = task.kernel
    call = task.blocked_call
    assert call is not None
    text = decoder.enter(SyscallEnter(task, call.number, kernel.table.name(call.number), call.args, call.pc))
    decoder.forget(task)
    name = printable(task.comm)
    whose = "" if task.pid == task.tgid else f", a thread of {task.tgid}"
    lines = [f"  {task.pid} {name}{whose}: {text if text.endswith(')') else text + '...'}"]
    if task.context is not None:
        kernel.cpu.restore_context(task.context)
        registers = kernel.cpu.read_gregs()
        arch = kernel.arch
        frame = next(registers[arch.GREG_NAMES.index(one)] for one in _FRAME_POINTERS if one in arch.GREG_NAMES)
        lines.append(f"    at   {places.describe(task.mm, registers[arch.PC_INDEX])}")
        lines += [f"    from {places.describe(task.mm, address)}" for address in _callers(places, task, frame)]
    return lines


def _callers(places: Places, task: Task, frame: int) -> list[int]:
    """Return addresses along the chain of frame pointers, as far as there is one."""
    found: list[int] = []
    while len(found) < _FRAMES_SHOWN:
        record = places.peek(task.mm, frame, 16)
        following, address = int.from_bytes(record[:8], "little"), int.from_bytes(record[8:], "little")
        if len(record) < 16 or not address or task.mm.vmas.lookup(address) is None:
            break
        found.append(address)
        if following <= frame:
            break
        frame = following
    return found
