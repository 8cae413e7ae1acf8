"""Synchronous exceptions become signals."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kernel_model.abi.signal import SI_KERNEL
from kernel_model.arch import signal_ops
from kernel_model.events import Fault
from kernel_model.signal.send import force_signal
from kernel_model.signal.sighand import SigInfo

if TYPE_CHECKING:
    from kernel_model.kernel import Kernel
    from kernel_model.task import Task


def force_memory_fault(kernel: Kernel, task: Task, page: int, access: int) -> None:
    """SIGSEGV or SIGBUS with the exact address (arch/*/mm/fault.c)."""
    ops = signal_ops(kernel.arch.NAME)
    address = kernel.cpu.fault_address(page, access)
    signal, code = task.mm.fault_cause(page, access)
    task.fault_address = address
    task.error_code, task.trap_nr = ops.fault_codes(address, access, code, kernel.arch.TASK_SIZE)
    _force(kernel, task, SigInfo(signal, code, fields=(("addr", address),)), access)


def force_exception(kernel: Kernel, task: Task, kind: str) -> None:
    """The signal of another exception, as the architecture's trap handlers choose it."""
    ops = signal_ops(kernel.arch.NAME)
    signal, code, tells_address, error_code, trap_nr = ops.EXCEPTIONS[kind]
    task.error_code, task.trap_nr = error_code, trap_nr
    if code == SI_KERNEL:
        info = SigInfo(signal, code)
    else:
        pc = kernel.cpu.read_gregs()[kernel.arch.PC_INDEX]
        info = SigInfo(signal, code, fields=(("addr", pc if tells_address else 0),))
    _force(kernel, task, info, 0)


def _force(kernel: Kernel, task: Task, info: SigInfo, access: int) -> None:
    if kernel.events.watched:
        pc = kernel.cpu.read_gregs()[kernel.arch.PC_INDEX]
        kernel.events.emit_rare(Fault(task, info.signo, info.code, dict(info.fields).get("addr", 0), access, pc))
    force_signal(kernel, task, info)
