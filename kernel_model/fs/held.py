"""Files that a sleeping call keeps although another thread has closed their descriptor (fs/file.c:fdget()).

A call that waits is made again with the same arguments, and would find another file behind the number, or none. So
whoever closes a descriptor of a table that it shares looks whether a call sleeps on it, and puts a `HeldFile` in that
call's place.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from kernel_model.fs.file import get_file, put_file
from kernel_model.syscalls.declare import REGISTRY
from kernel_model.types import U32_MASK
from kernel_model.wait import Blocked

if TYPE_CHECKING:
    from kernel_model.fs.file import File
    from kernel_model.kernel import Kernel
    from kernel_model.sched import BlockedCall
    from kernel_model.syscalls.declare import RawHandler
    from kernel_model.task import Task


class HeldFile:
    """A call that sleeps, and a file that it has; it finds the file behind its number whenever it is made again."""

    __slots__ = ("_fd", "_file", "_handler")

    def __init__(self, handler: RawHandler, fd: int | None, file: File) -> None:
        """`fd`: None for a call that looks at the table anew each time, and only keeps the file from being released."""
        self._handler = handler
        self._fd = fd
        self._file = get_file(file)

    def __call__(self, task: Task, *args: int) -> int:
        """Make the call."""
        files, fd = task.files, self._fd
        other = None if fd is None else files.fd.get(fd)
        if fd is not None:
            files.fd[fd] = self._file
        over = True
        try:
            return self._handler(task, *args)
        except Blocked:
            over = False
            raise
        finally:
            if other is not None and fd is not None:
                files.fd[fd] = other
            elif fd is not None:
                del files.fd[fd]
                files.next_fd = min(files.next_fd, fd)
            if over:
                put_file(self._file, None)

    def release(self) -> None:
        """The call is not made again."""
        put_file(self._file, None)
        if isinstance(self._handler, HeldFile):
            self._handler.release()


def hold_for_sleepers(kernel: Kernel, closer: Task, fd: int, file: File) -> None:
    """`closer` is about to take `file` from its table, where it is `fd`: calls of others that wait for it keep it."""
    for task in kernel.tasks.values():
        call = task.blocked_call
        if call is None or task.files is not closer.files:
            continue
        if _uses(kernel, call, fd):
            held = HeldFile(call.handler, fd, file)
        elif kernel.table.name(call.number) in _POLLS and _waits_for(call, file):
            held = HeldFile(call.handler, None, file)
        else:
            continue
        task.blocked_call = call._replace(handler=held, held=held)


_POLLS = frozenset(("poll", "ppoll", "select", "pselect6"))


def _uses(kernel: Kernel, call: BlockedCall, fd: int) -> bool:
    """Is the descriptor `fd` an argument of the call, and has the call found its file?"""
    if call.held is None and kernel.table.get(call.number) is not call.handler:
        return False  # seccomp has not let it begin
    return any(call.args[index] & U32_MASK == fd for index in _descriptors(kernel.table.name(call.number)))


@cache
def _descriptors(name: str) -> tuple[int, ...]:
    """Which arguments of a call are descriptors."""
    return tuple(index for index, (_, param) in enumerate(REGISTRY[name].params()) if param.show == "fd")


def _waits_for(call: BlockedCall, file: File) -> bool:
    """Is the file among those that a poll or select watches?"""
    queues = call.blocked.queues or ()
    return any(queue in queues for queue in file.poll_queues())
