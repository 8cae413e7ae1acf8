"""A signal that lands in a bounce is delivered as if the bounce had not happened (docs/signals.md).

As long as the handler in the vDSO has changed nothing but the number (its restart range: `VdsoImage.restart_ranges`),
the frame that the bounce pushed says all that is needed to put the task back AT the program's own instruction. So the
signal's handler sees the program's PC there, and the call is made after it returns, in a new bounce.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kernel_model.abi.signal import SYNCHRONOUS_MASK
from kernel_model.arch import signal_ops
from kernel_model.bounce import BadFrame, pop_frame
from kernel_model.events import Rewound

if TYPE_CHECKING:
    from kernel_model.kernel import Kernel
    from kernel_model.signal.sighand import SigInfo
    from kernel_model.task import Task


def rewind_bounce(kernel: Kernel, task: Task, info: SigInfo) -> None:
    """Put the task back at the old-style instruction, if it is in a restart range of the vDSO as it is mapped now.

    Not for a signal that the instruction at PC itself raised: its handler shall see that instruction. They are told
    apart as in kernel/signal.c:dequeue_synchronous_signal().

    Nothing happens when the frame can't be read, or its flags are not user space's: then the handler sees the vDSO's
    PC, and the flagged call will end in SIGSEGV as it does without a signal. A program that jumps into a handler with
    four words of its own choice at SP is put back to what they say, which `br` and `mov sp` could do as well.
    """
    if info.code > 0 and SYNCHRONOUS_MASK >> info.signo - 1 & 1:
        return
    mm = task.mm
    arch = kernel.arch
    regs = kernel.cpu.read_gregs()
    pc = regs[arch.PC_INDEX]
    if not mm.vdso <= pc < mm.vdso_end or kernel.vdso is None:
        return
    offset = pc - mm.vdso
    for start, commit, handler in kernel.vdso.image.restart_ranges:
        if start <= offset < commit:
            address = arch.page_of_handler(regs) if handler == "task-page" else regs[arch.SP_INDEX]
            break
    else:
        return
    try:
        frame = pop_frame(mm, arch.untag(address))
    except BadFrame:
        return
    flags = arch.user_flags(frame[3])
    if flags is None:
        return
    signal_ops(arch.NAME).rewind_bounce(regs, frame, flags)
    kernel.cpu.write_gregs(regs)
    if kernel.events.active:
        kernel.events.emit(Rewound(task, pc, regs[arch.PC_INDEX], address, frame))
