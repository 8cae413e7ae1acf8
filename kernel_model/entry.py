"""The entry path: from the instruction that trapped, through the table, back to the program.

Order is Linux's (arch/arm64/kernel/syscall.c:el0_svc_common(), kernel/entry/common.c): dispatch, the table, exit work,
signals. Policies decide; only this file acts on them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kernel_model.abi import errno
from kernel_model.events import SyscallEnter, SyscallExit, TaskExited, UnknownSyscall
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
        restart = 0
        try:
            try:
                result = handler(task, a0, a1, a2, a3, a4, a5)
            except Blocked as blocked:
                result, restart = self._wait_and_call_again(handler, task, (a0, a1, a2, a3, a4, a5), blocked)
                task.call_state = None
        except SyscallError as error:
            result = -error.errno
            restart = error.errno
        except OSError as error:  # the host's word (kernel_model.host): its errno is Linux's
            result = -(error.errno or errno.EIO)
        except KeepRegisters:
            self._call_is_over(task, number, (a0, a1, a2, a3, a4, a5), None)
            return
        except TaskExit as gone:
            self._exit(task, gone.code, number, (a0, a1, a2, a3, a4, a5))
            return
        self._write_result(result)
        if self._events.active or self.kernel.signal_work or restart >= errno.ERESTARTSYS:
            self._call_is_over(task, number, (a0, a1, a2, a3, a4, a5), result)

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

    def _wait_and_call_again(
        self, handler: RawHandler, task: Task, args: CallArgs, blocked: Blocked
    ) -> tuple[int, int]:
        """Sleep as `blocked` says and make the call again, until it has a result or a signal ends it."""
        while True:
            deliver.collect_host_signals(self.kernel, task)
            if deliver.has_deliverable(task):
                return self._interrupted(blocked)
            self._sleep(task, blocked)
            try:
                return handler(task, *args), 0
            except SyscallError as error:
                return -error.errno, error.errno
            except Blocked as again:
                blocked = again

    def _interrupted(self, blocked: Blocked) -> tuple[int, int]:
        """A signal ends the wait: (what the call returns, errno or 0)."""
        if blocked.on_signal is None:
            return -blocked.interrupted, blocked.interrupted
        try:
            return blocked.on_signal(), 0
        except SyscallError as error:
            return -error.errno, error.errno

    def _sleep(self, task: Task, blocked: Blocked) -> None:
        """Give the host's CPU away until `blocked` may be over, or a timer of the task's is due."""
        timeout_ns = None
        deadline_ns = deliver.next_deadline(task, blocked.deadline_ns)
        if deadline_ns is not None:
            timeout_ns = self.kernel.clock.sleep_towards(deadline_ns)
            if timeout_ns is not None and timeout_ns <= 0:
                return
        self.kernel.host.wait(blocked.read_fds, blocked.write_fds, timeout_ns)

    def _call_is_over(self, task: Task, number: int, args: CallArgs, result: int | None) -> None:
        """Exit work: the blocked call's memory, restarts and signals, and what listeners are told."""
        task.call_state = None
        if self._events.active:
            self._events.emit(SyscallExit(task, number, self._table.name(number), args, result))
        self._signal_work(task, None if result is None else (number, args[0], result))

    # -- exceptions ---------------------------------------------------------------------------------------------------
    def memory_fault(self, page: int, access: int) -> None:
        """The instruction at PC can't access `page`: a signal with the exact address and cause."""
        deliver.force_memory_fault(self.kernel, self.current, page, access)
        self._signal_work(self.current, None)

    def exception(self, kind: str) -> None:
        """Undefined instruction, breakpoint, division by zero ...: the signal that Linux makes of it."""
        deliver.force_exception(self.kernel, self.current, kind)
        self._signal_work(self.current, None)

    def interrupted(self) -> None:
        """Something from outside wants attention between two instructions."""
        deliver.collect_host_signals(self.kernel, self.current)
        self._signal_work(self.current, None)

    # -- back to the program -----------------------------------------------------------------------------------------
    def _signal_work(self, task: Task, call: tuple[int, int, int] | None) -> None:
        """Deliver what is pending. `call`: (number, first argument, result) of the call that ended, for restarts."""
        self.kernel.signal_work = False
        try:
            deliver.do_signal(self.kernel, task, call)
        except TaskExit as gone:
            self._exit(task, gone.code, None, None)

    def _exit(self, task: Task, code: int, number: int | None, args: CallArgs | None) -> None:
        """The task is gone: free what it had, tell who listens, and leave the CPU."""
        if self._events.active:
            if number is not None and args is not None:
                self._events.emit(SyscallExit(task, number, self._table.name(number), args, None))
            self._events.emit(TaskExited(task, code))
        task.exit_code = code
        task.files.close_all(task)
        task.mm.exit_mmap()
        self.kernel.tasks.pop(task.pid, None)
        self.kernel.cpu.stop()
