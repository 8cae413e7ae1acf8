"""The entry path: from the instruction that trapped, through the table, back to the program.

Order is Linux's (arch/arm64/kernel/syscall.c:el0_svc_common(), kernel/entry/common.c): dispatch, the table, exit work,
signals. Policies decide; only this file acts on them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kernel_model.abi import errno
from kernel_model.events import SyscallEnter, SyscallExit, UnknownSyscall
from kernel_model.exit import do_exit, exit_group
from kernel_model.sched import BlockedCall
from kernel_model.signal import deliver
from kernel_model.types import U32_MASK, KeepRegisters, SyscallError, TaskExit
from kernel_model.wait import Blocked

if TYPE_CHECKING:
    from kernel_model.kernel import Kernel
    from kernel_model.syscalls.declare import RawHandler
    from kernel_model.task import Task

CallArgs = tuple[int, int, int, int, int, int]


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

    # -- system calls -------------------------------------------------------------------------------------------------
    def syscall(self) -> None:
        """A system call instruction trapped; the registers are the program's, PC is after the instruction."""
        raw_number, _sp, pc, _flags, a0, a1, a2, a3, a4, a5 = self._read_call()
        number = raw_number & U32_MASK
        task = self.current
        self._stats.kernel_entries += 1
        handler = self._table.get(number) or self._resolve(number)
        if number < 512:
            self._stats.calls[number] += 1
        if self._events.active:
            self._events.emit(
                SyscallEnter(task, number, self._table.name(number), (a0, a1, a2, a3, a4, a5), pc)
            )
        try:
            result = handler(task, a0, a1, a2, a3, a4, a5)
        except SyscallError as error:
            result = -error.errno
        except OSError as error:  # the host's word (kernel_model.host): its errno is Linux's
            result = -(error.errno or errno.EIO)
        except Blocked as blocked:
            self._block(task, BlockedCall(handler, number, (a0, a1, a2, a3, a4, a5), blocked))
            return
        except KeepRegisters:
            if not self._call_is_over(task, number, (a0, a1, a2, a3, a4, a5), None):
                self._schedule()
            return
        except TaskExit as gone:
            self._exit(task, gone, number, (a0, a1, a2, a3, a4, a5))
            self._schedule()
            return
        self._write_result(result)
        if self._events.active or self.kernel.signal_work or -errno.MAX_ERRNO <= result <= -errno.ERESTARTSYS:
            if not self._call_is_over(task, number, (a0, a1, a2, a3, a4, a5), result):
                self._schedule()

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

    def _call_is_over(self, task: Task, number: int, args: CallArgs, result: int | None) -> bool:
        """Exit work: what listeners are told, restarts, signals. False when the task does not go on now."""
        if self._events.active:
            self._events.emit(SyscallExit(task, number, self._table.name(number), args, result))
        return self._exit_work(task, None if result is None else (number, args[0], result))

    # -- blocking, and whose turn it is -------------------------------------------------------------------------------
    def _block(self, task: Task, call: BlockedCall) -> None:
        """The call can't go on: the task sleeps, and whoever is next runs."""
        self.kernel.sched.sleep(task, call)
        if deliver.has_deliverable(task) and not call.blocked.uninterruptible:
            self.kernel.sched.wake(task)
        self._schedule()

    def _schedule(self) -> None:
        """Put the next task on the CPU; with none left, leave it."""
        sched = self.kernel.sched
        while True:
            task = sched.next_task()
            if task is None:
                self.kernel.cpu.stop()
                return
            self._switch_to(task)
            call = task.blocked_call
            if self._exit_work(task, None) if call is None else self._call_again(task, call):
                sched.progress = True
                return

    def _switch_to(self, task: Task) -> None:
        """Swap the register context, and the address space if it is another one."""
        kernel = self.kernel
        before = self.current
        if task is before:
            return
        cpu = kernel.cpu
        if before.exit_code is None:
            before.context = cpu.save_context(before.context)
        cpu.restore_context(task.context)
        if task.mm is not before.mm:
            cpu.switch_mm(task.mm)
        self.current = kernel.current = task

    def _call_again(self, task: Task, call: BlockedCall) -> bool:
        """Make a call again that blocked; False when the task does not go on now."""
        task.blocked_call = None
        args = call.args
        try:
            if deliver.has_deliverable(task) and not call.blocked.uninterruptible:
                result = self._interrupted(call.blocked)
            else:
                result = call.handler(task, *args)
        except SyscallError as error:
            result = -error.errno
        except OSError as error:
            result = -(error.errno or errno.EIO)
        except Blocked as again:
            self.kernel.sched.sleep(task, call._replace(blocked=again))
            return False
        except KeepRegisters:
            return self._call_is_over(task, call.number, args, None)
        except TaskExit as gone:
            self._exit(task, gone, call.number, args)
            return False
        task.call_state = None
        self._read_call()  # where and with which flags this task returns
        self._write_result(result)
        return self._call_is_over(task, call.number, args, result)

    @staticmethod
    def _interrupted(blocked: Blocked) -> int:
        """What a call returns whose wait a signal ended."""
        if blocked.on_signal is None:
            raise SyscallError(blocked.interrupted)
        return blocked.on_signal()

    # -- exceptions ---------------------------------------------------------------------------------------------------
    def memory_fault(self, page: int, access: int) -> None:
        """The instruction at PC can't access `page`: a signal with the exact address and cause."""
        deliver.force_memory_fault(self.kernel, self.current, page, access)
        self._after_exception()

    def exception(self, kind: str) -> None:
        """Undefined instruction, breakpoint, division by zero ...: the signal that Linux makes of it."""
        deliver.force_exception(self.kernel, self.current, kind)
        self._after_exception()

    def interrupted(self) -> None:
        """Something from outside wants attention between two instructions."""
        deliver.collect_host_signals(self.kernel, self.current)
        self._after_exception()

    def _after_exception(self) -> None:
        if not self._exit_work(self.current, None):
            self._schedule()

    # -- back to the program ------------------------------------------------------------------------------------------
    def _exit_work(self, task: Task, call: tuple[int, int, int] | None) -> bool:
        """Deliver what is pending; False when the task does not go on now.

        `call`: (number, first argument, result) of the call that just ended, for restarts.
        """
        kernel = self.kernel
        kernel.signal_work = False
        try:
            deliver.do_signal(kernel, task, call)
        except TaskExit as gone:
            self._exit(task, gone, None, None)
            return False
        if kernel.need_resched:
            kernel.need_resched = False
            kernel.sched.enqueue(task)
            return False
        return True

    def _exit(self, task: Task, gone: TaskExit, number: int | None, args: CallArgs | None) -> None:
        """The task, or its whole thread group, is gone."""
        if self._events.active and number is not None and args is not None:
            self._events.emit(SyscallExit(task, number, self._table.name(number), args, None))
        if gone.group:
            exit_group(task, gone.code)
        else:
            do_exit(task, gone.code)
