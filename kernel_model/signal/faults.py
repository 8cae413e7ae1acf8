"""Synchronous exceptions become signals."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kernel_model.abi.signal import SEGV_ACCERR, SEGV_MAPERR, SIGBUS, SIGSEGV
from kernel_model.arch import signal_ops
from kernel_model.events import Fault
from kernel_model.signal.send import force_signal
from kernel_model.signal.sighand import SigInfo

if TYPE_CHECKING:
    from kernel_model.kernel import Kernel
    from kernel_model.task import Task


def force_memory_fault(kernel: Kernel, task: Task, page: int, access: int) -> None:
    """SIGSEGV or SIGBUS with the exact address (arch/*/mm/fault.c)."""
    address = kernel.cpu.fault_address(page, access)
    signal, code = task.mm.fault_cause(page, access)
    if signal == SIGBUS and kernel.frames.ran_out:
        from kernel_model import oom

        if oom.is_out_of_memory(kernel):
            oom.out_of_memory(kernel, task)
            return
    signal_ops(kernel.arch.NAME).note_fault(task, address, access, code)
    _force(kernel, task, SigInfo(signal, code, fields=(("addr", address),)), access)


def force_bad_address(kernel: Kernel, task: Task, address: int, access: int) -> None:
    """SIGSEGV at `address`, with the code that its mapping or the lack of one gives."""
    mapped = task.mm.vmas.lookup(address & -4096) is not None
    code = SEGV_ACCERR if mapped else SEGV_MAPERR
    signal_ops(kernel.arch.NAME).note_fault(task, address, access, code)
    _force(kernel, task, SigInfo(SIGSEGV, code, fields=(("addr", address),)), access)


def force_exception(kernel: Kernel, task: Task, kind: str) -> None:
    """The signal of another exception, as the architecture's trap handlers choose it."""
    info = signal_ops(kernel.arch.NAME).exception(task, kind)
    if info is not None:
        _force(kernel, task, info, 0)


def _force(kernel: Kernel, task: Task, info: SigInfo, access: int) -> None:
    if kernel.events.watched:
        pc = kernel.cpu.read_gregs()[kernel.arch.PC_INDEX]
        kernel.events.emit_rare(Fault(task, info.signo, info.code, dict(info.fields).get("addr", 0), access, pc))
    force_signal(kernel, task, info)
