"""The entry path: from the instruction that trapped, through the table, back to the program.

Order is Linux's (arch/arm64/kernel/syscall.c:el0_svc_common(), kernel/entry/common.c): dispatch, what the task wants
done with its calls (seccomp), the table, exit work, signals. Policies decide; only this file acts on them.
"""

from __future__ import annotations

from functools import cached_property
from struct import Struct
from typing import TYPE_CHECKING, Final

from kernel_model.abi import errno
from kernel_model.abi.mman import PROT_READ, PROT_WRITE
from kernel_model.bounce import (
    ALIGN_MASK,
    FRAME_BYTES,
    LAST_WHOLE,
    NO_CALL,
    PACK_FRAME,
    REDIRECT,
    SCRATCH_BYTES,
    UNPACK_FRAME,
    BadFrame,
    pop_frame,
    push_frame,
)
from kernel_model.events import (
    Bounced,
    CallWaits,
    FrameRefused,
    RedirectedReturn,
    SyscallEnter,
    SyscallExit,
    UnknownSyscall,
)
from kernel_model.exit import do_exit, exit_group
from kernel_model.mm.fault import R, W
from kernel_model.mm.uaccess import copy_from_user
from kernel_model.sched import BlockedCall
from kernel_model.signal import deliver
from kernel_model.timekeeping import VIRTUAL_ENTRY_NS
from kernel_model.types import (
    KEEP_REGISTERS,
    PAGE_MASK,
    PAGE_OFFSET,
    U32_MASK,
    SyscallError,
    TaskExit,
    UserPtr,
)
from kernel_model.wait import Blocked

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from kernel_model.bounce import SyscallFrame
    from kernel_model.kernel import Kernel
    from kernel_model.mm.mm import MemoryMap
    from kernel_model.syscalls.declare import RawHandler
    from kernel_model.task import Task

CallArgs = tuple[int, int, int, int, int, int]
_WORD: Final = Struct("<Q")


class EntryPath:
    """Everything that makes guest code enter the kernel (a `kernel_model.cpu.TrapHandler`)."""

    def __init__(self, kernel: Kernel, task: Task) -> None:
        self.kernel = kernel
        self.current = task
        self._read_call = kernel.cpu.read_call
        self._write_result = kernel.cpu.write_result
        self._table = kernel.table
        self._stats = kernel.stats
        self._events = kernel.events
        self._arch = kernel.arch
        self._enter_handler = kernel.cpu.enter_handler
        self._cpu = kernel.cpu
        self._data_pages = kernel.data_pages
        self._user_pages = kernel.user_pages
        self._switch = self._switch_to
        kernel.account.ask_for_turns(self._charge_turns)
        self._insn_bytes = kernel.arch.SYSCALL_INSTRUCTION_BYTES
        options = kernel.bounce
        self._bouncing = options is not None
        self._serving = options is not None and options.serves
        if options is not None:
            self._reserved_bytes = kernel.arch.RED_ZONE_BYTES + options.size_bytes
            self._check_bytes = 0 if options.check == "slide" else self._insn_bytes
            self._show_origin = options.visible == "origin"
            self._in_task_page = options.in_task_page
            image = kernel.vdso.image if self._serving and kernel.vdso is not None else None
            self._served_at = frozenset() if image is None else image.glue_returns
            self._untimed = frozenset() if image is None else image.untimed
            self._restores = {} if image is None else image.restores
            if options.drops and image is not None:
                kernel.table.drop(image.carried.intersection(options.numbers or ()))
            self._chosen = options.numbers
            self._never_bounced = kernel.table.numbers_of("exit", "exit_group") | {NO_CALL}
            # Of the calls that there are, those that bounce: looked up in one go
            self._usual = frozenset(filter(self._bounces, kernel.table.numbers()))

    # -- system calls -------------------------------------------------------------------------------------------------
    def syscall(self) -> None:
        """A system call instruction trapped; the registers are the program's, PC is after the instruction."""
        made, sp, pc, flags, a0, a1, a2, a3, a4, a5 = self._read_call()
        number = made & U32_MASK
        task = self.current
        if self._bouncing:
            mm = task.mm
            if not mm.vdso <= pc - self._check_bytes < mm.vdso_end:  # an old-style call
                if mm.vdso and (number in self._usual or self._bounces(number)):
                    self._bounce(task, made, sp, pc, flags)
                    return
            elif number & REDIRECT:  # a flagged call: pop first, then call
                words = self._pop(task, sp, pc, flags)
                if words is None:
                    return
                number ^= REDIRECT
                if number == NO_CALL:  # the result register stays
                    self._stats.no_calls += 1
                    if pc - mm.vdso in self._untimed:  # another call was made, which took the time
                        self.kernel.clock.tick(-VIRTUAL_ENTRY_NS)
                    self._no_call()
                    return
                made, sp, _, _ = words
                if self._show_origin:
                    pc = words[2]
            elif self._serving and pc - mm.vdso in self._served_at:
                self._stats.served_calls += 1
        handler = self._table.get(number) or self._resolve(number)
        if task.syscall_work:
            checked = self._trace_enter(task, handler, number, made, pc, (a0, a1, a2, a3, a4, a5))
            if checked is None:
                self._no_call()
                return
            handler = checked
        self._stats.kernel_entries += 1
        if number < 512:
            self._stats.calls[number] += 1
        if self._events.active:
            self._events.emit(SyscallEnter(task, number, self._table.name(number), (a0, a1, a2, a3, a4, a5), pc))
        try:
            result = handler(task, a0, a1, a2, a3, a4, a5)
        except SyscallError as error:
            result = -error.errno
        except OSError as error:  # the host's word (kernel_model.host): its errno is Linux's
            result = -(error.errno or errno.EIO)
        except Blocked as blocked:
            self._block(task, BlockedCall(handler, number, (a0, a1, a2, a3, a4, a5), blocked, made, pc, sp))
            return
        except TaskExit as gone:
            self._exit(task, gone, number, (a0, a1, a2, a3, a4, a5))
            self._schedule()
            return
        self._write_result(result)
        if self._events.active:
            if not self._call_is_over(task, number, made, (a0, a1, a2, a3, a4, a5), result):
                self._schedule()
        elif self.kernel.signal_work or -errno.MAX_ERRNO <= result <= -errno.ERESTARTSYS:
            if not self._exit_work(task, None if result == KEEP_REGISTERS else (made, a0, result)):
                self._schedule()

    @cached_property
    def _trace_enter(self) -> Callable[[Task, RawHandler, int, int, int, CallArgs], RawHandler | None]:
        """Seccomp and its like, which hardly any task has."""
        from kernel_model.syscall_work import trace_enter

        return trace_enter

    # -- the bounce ---------------------------------------------------------------------------------------------------
    def _bounces(self, number: int) -> bool:
        """Does an old-style call of that number bounce?"""
        if number & REDIRECT or number in self._never_bounced:
            return False
        return self._chosen is None or number in self._chosen

    def _bounce(self, task: Task, made: int, sp: int, pc: int, flags: int) -> None:
        """Push the frame, set PC to the handler, return to user mode. Nothing is executed."""
        mm = task.mm
        stats = self._stats
        frame = task.task_page if self._in_task_page else sp - self._reserved_bytes & ALIGN_MASK
        offset = frame & PAGE_OFFSET
        page = mm.pt.get(frame - offset, 0)
        if page & W and offset <= LAST_WHOLE and (at := page & PAGE_MASK) not in mm.code_frames:
            PACK_FRAME(mm.ram, at + offset, made, sp, pc, flags)
        else:
            try:
                push_frame(mm, frame, made, sp, pc, flags)
            except BadFrame as bad:
                self._bad_frame(task, frame, bad, pc - self._insn_bytes, PROT_WRITE)
                return
        stats.bounces += 1
        if self._in_task_page:
            self._enter_with_page(mm.vdso_handler, frame, pc, flags)
        else:
            self._enter_handler(mm.vdso_handler, frame, pc, flags)
        if sp & 15 > stats.alignment_bytes_max or self._events.active or self.kernel.signal_work:
            self._bounced(task, frame, (made, sp, pc, flags))

    def _enter_with_page(self, handler: int, frame: int, pc: int, flags: int) -> None:
        """Go on at `handler`, which is told by a register that its frame is in the task's own page."""
        cpu = self.kernel.cpu
        gregs = cpu.read_gregs()
        self._arch.enter_with_page(gregs, handler, frame, pc, flags)
        cpu.write_gregs(gregs)

    def _bounced(self, task: Task, frame: int, words: SyscallFrame) -> None:
        """Tell who listens; a signal that came in meanwhile is delivered now, not after the real call."""
        made, sp, pc, _ = words
        if sp & 15:
            self._stats.count_alignment(sp & 15)
        if self._events.active:
            self._events.emit(Bounced(task, made & U32_MASK, pc - self._insn_bytes, frame, words))
        if self.kernel.signal_work:
            self._after_exception()

    def _pop(self, task: Task, sp: int, pc: int, flags: int) -> SyscallFrame | None:
        """Make the registers what the old-style call itself would have made; the frame that they are from.

        `flags`: those of the handler. None, and SIGSEGV, when the frame is bad.
        """
        mm = task.mm
        address = self._arch.page_of_handler(self.kernel.cpu.read_gregs()) if self._in_task_page else sp
        offset = address & PAGE_OFFSET
        page = mm.pt.get(address - offset, 0)
        try:
            if page & R and offset <= LAST_WHOLE:
                frame = UNPACK_FRAME(mm.ram, (page & PAGE_MASK) + offset)
            else:
                frame = pop_frame(mm, address)
            if frame[3] != flags:
                allowed = self._arch.user_flags(frame[3])
                if allowed is None:
                    raise BadFrame(self._arch.untag(address))
                frame = (*frame[:3], allowed)
            restores = self._restores.get(pc - mm.vdso) if self._restores else None
            saved = None if restores is None else self._saved_registers(mm, address, restores)
        except BadFrame as bad:
            self._bad_frame(task, address, bad, pc - self._insn_bytes, PROT_READ)
            return None
        self._stats.redirected_returns += 1
        self._cpu.leaving = frame
        if saved is not None:
            gregs = self._cpu.read_gregs()
            for index, value in saved:
                gregs[index] = value
            self._cpu.write_gregs(gregs)
        if self._events.active:
            self._events.emit(RedirectedReturn(task, pc - self._insn_bytes, address, frame))
        return frame

    def _saved_registers(self, mm: MemoryMap, frame: int, saved: Sequence[tuple[str, int]]) -> list[tuple[int, int]]:
        """Registers that the handler has changed for a flagged call, by index, and what the program had in them."""
        names = self._arch.GREG_NAMES
        try:
            words = copy_from_user(mm, UserPtr(frame), FRAME_BYTES + SCRATCH_BYTES)
        except SyscallError:
            raise BadFrame(self._arch.untag(frame)) from None
        return [(names.index(name), _WORD.unpack_from(words, at)[0]) for name, at in saved]

    def _no_call(self) -> None:
        """Nothing was called: a handler that made no call of its own, or only unflagged ones, is done; or a task is
        dispatched to its own handler of SIGSYS."""
        self._stats.kernel_entries += 1
        if self.kernel.signal_work:
            self._after_exception()

    def _bad_frame(self, task: Task, frame: int, bad: BadFrame, pc: int, access: int) -> None:
        """SIGSEGV at the frame; PC is at the instruction and every other register as it was."""
        kernel = self.kernel
        if self._events.active:
            self._events.emit(FrameRefused(task, pc, frame, bad.address, access == PROT_WRITE))
        gregs = kernel.cpu.read_gregs()
        gregs[kernel.arch.PC_INDEX] = pc
        kernel.cpu.write_gregs(gregs)
        deliver.force_bad_address(kernel, task, bad.address, access)
        self._after_exception()

    # -- the table ----------------------------------------------------------------------------------------------------
    def _resolve(self, number: int) -> RawHandler:
        """The handler of a number met for the first time, or the one that answers ENOSYS."""
        try:
            return self._table[number]
        except KeyError:
            return self._sys_ni_syscall

    def _sys_ni_syscall(self, task: Task, *args: int) -> int:
        """A number that the kernel model lacks (kernel/sys_ni.c): an event, and ENOSYS."""
        number, _, pc, *_ = self._read_call()
        self._stats.unknown_calls += 1
        if self._events.active:
            self._events.emit(UnknownSyscall(task, number & U32_MASK, pc))
        raise SyscallError(errno.ENOSYS)

    def _call_is_over(self, task: Task, number: int, made: int, args: CallArgs, result: int) -> bool:
        """Exit work: what listeners are told, restarts, signals. False when the task does not go on now.

        `made`: all 64 bits of the number as the program made the call, which a restart puts back.
        """
        kept = result == KEEP_REGISTERS
        if self._events.active:
            self._events.emit(SyscallExit(task, number, self._table.name(number), args, None if kept else result))
        return self._exit_work(task, None if kept else (made, args[0], result))

    # -- blocking, and whose turn it is -------------------------------------------------------------------------------
    def _block(self, task: Task, call: BlockedCall) -> None:
        """The call can't go on: the task sleeps, and whoever is next runs."""
        if self._events.active:
            self._events.emit(CallWaits(task, call.number))
        sched = self.kernel.sched
        sched.sleep(task, call)
        if (task.pending.mask | task.signal.shared_pending.mask) & ~task.blocked:
            if deliver.ends_wait(task, uninterruptible=call.blocked.uninterruptible):
                sched.wake(task)
        self._schedule()

    def _schedule(self) -> None:
        """Put the next task on the CPU; with none left, leave it."""
        sched = self.kernel.sched
        while True:
            task = sched.next_task()
            if task is None:
                self.kernel.cpu.stop()
                return
            self._switch(task)
            call = task.blocked_call
            if self._exit_work(task, None) if call is None else self._call_again(task, call):
                sched.progress = True
                return

    def _charge_turns(self) -> None:
        """Somebody cares for CPU time: from now on a task is charged whenever it leaves the CPU."""
        self._switch = self._charge_and_switch_to

    def _charge_and_switch_to(self, task: Task) -> None:
        """`_switch_to`, and the task before is charged for its turn."""
        if task is not self.current:
            self.kernel.account.turn_is_over()
            self._switch_to(task)

    def _switch_to(self, task: Task) -> None:
        """Swap the register context, and the address space if it is another one."""
        kernel = self.kernel
        before = self.current
        if task is before:
            return
        cpu = kernel.cpu
        if before.exit_code is None:
            before.context = cpu.save_context(before.context)
            if before.rseq.address and before.blocked_call is None:
                before.rseq_event = True
        cpu.restore_context(task.context)
        if task.mm is not before.mm:
            cpu.switch_mm(task.mm)
        self.current = kernel.current = task
        if task.cpu != before.cpu:
            kernel.show_cpu()
        if self._data_pages is not None:
            self._data_pages.switch(before, task)
        if self._user_pages is not None:
            self._user_pages.tell(task)

    def _call_again(self, task: Task, call: BlockedCall) -> bool:
        """Make a call again that blocked; False when the task does not go on now."""
        task.blocked_call = None
        args = call.args
        signalled = (task.pending.mask | task.signal.shared_pending.mask) & ~task.blocked
        try:
            result = self._look_once_more(task, call) if signalled else call.handler(task, *args)
        except SyscallError as error:
            result = -error.errno
        except OSError as error:
            result = -(error.errno or errno.EIO)
        except Blocked as again:
            self.kernel.sched.sleep(task, call._replace(blocked=again))
            return False
        except TaskExit as gone:
            self._exit(task, gone, call.number, args)
            return False
        if result == KEEP_REGISTERS:
            return self._call_is_over(task, call.number, call.made, args, result)
        task.call_state = None
        self._cpu.resume_call()
        self._write_result(result)
        kernel = self.kernel
        if (
            signalled or kernel.signal_work or kernel.need_resched or task.rseq_event or task.stopped_call is not None
            or task.saved_sigmask is not None or task.signal.tell_continued or self._events.active
            or -errno.MAX_ERRNO <= result <= -errno.ERESTARTSYS
        ):  # fmt: skip
            return self._call_is_over(task, call.number, call.made, args, result)
        if not kernel.sched.preempting:
            kernel.sched.check_slicing()
        return True

    @staticmethod
    def _look_once_more(task: Task, call: BlockedCall) -> int:
        """A call's result, or what a signal makes of it if it can't go on even now.

        What happened before the signal was looked at counts, nearly always (include/linux/wait.h:___wait_event()).
        """
        blocked = call.blocked
        if not blocked.signal_first:
            try:
                return call.handler(task, *call.args)
            except Blocked as again:
                blocked = again
        if not deliver.ends_wait(task, uninterruptible=blocked.uninterruptible):
            raise blocked
        if call.held is not None:
            call.held.release()
        if blocked.on_signal is None:
            raise SyscallError(blocked.interrupted)
        return blocked.on_signal()

    # -- exceptions ---------------------------------------------------------------------------------------------------
    def memory_fault(self, page: int, access: int) -> None:
        """The instruction at PC can't access `page`: a signal with the exact address and cause."""
        if self._serving and self._served_by_call():
            return
        deliver.force_memory_fault(self.kernel, self.current, page, access)
        self._after_exception()

    def exception(self, kind: str) -> None:
        """Undefined instruction, breakpoint, division by zero ...: the signal that Linux makes of it."""
        if self._serving and self._served_by_call():
            return
        deliver.force_exception(self.kernel, self.current, kind)
        self._after_exception()

    def _served_by_call(self) -> bool:
        """The vDSO met a bad pointer while it served a call: the kernel makes that call, and says EFAULT."""
        from kernel_model.signal.rewind import give_up_serving

        return give_up_serving(self.kernel, self.current)

    def interrupted(self) -> None:
        """Something from outside wants attention between two instructions, or a time slice is over."""
        if self._serving:
            from kernel_model.signal.rewind import undo_bounce

            undo_bounce(self.kernel, self.current, preempted=True)
        self.kernel.sched.slice_is_over()
        self._after_exception()

    def _after_exception(self) -> None:
        if not self._exit_work(self.current, None):
            self._schedule()

    # -- back to the program ------------------------------------------------------------------------------------------
    def _exit_work(self, task: Task, call: tuple[int, int, int] | None) -> bool:
        """Deliver what is pending; False when the task does not go on now.

        `call`: (number as made, first argument, result) of the call that just ended, for restarts.
        """
        kernel = self.kernel
        kernel.signal_work = False
        if task.rseq_event:
            from kernel_model.signal.rseq import notify_resume

            notify_resume(kernel, task)
        try:
            deliver.do_signal(kernel, task, call)
        except TaskExit as gone:
            self._exit(task, gone, None, None)
            return False
        if kernel.need_resched:
            kernel.need_resched = False
            kernel.sched.requeue(task)
            return False
        kernel.sched.check_slicing()
        return True

    def _exit(self, task: Task, gone: TaskExit, number: int | None, args: CallArgs | None) -> None:
        """The task, or its whole thread group, is gone."""
        if self._events.active and number is not None and args is not None:
            self._events.emit(SyscallExit(task, number, self._table.name(number), args, None))
        if gone.group:
            exit_group(task, gone.code)
        else:
            do_exit(task, gone.code)
