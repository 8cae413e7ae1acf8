"""The types that cross every room: guest addresses, pages, errors of a system call."""

from __future__ import annotations

from typing import Final, NewType

UserPtr = NewType("UserPtr", int)
"""An address in a guest's address space. Never a host address, and never dereferenced but by `mm.uaccess`."""

PAGE_SHIFT: Final = 12
PAGE_SIZE: Final = 1 << PAGE_SHIFT
PAGE_MASK: Final = -PAGE_SIZE
PAGE_OFFSET: Final = PAGE_SIZE - 1
U32_MASK: Final = 0xFFFF_FFFF
U64_MASK: Final = 0xFFFF_FFFF_FFFF_FFFF


def page_align_up(value: int) -> int:
    """`value` (bytes) rounded up to a whole number of pages."""
    return (value + PAGE_SIZE - 1) & PAGE_MASK


class SyscallError(Exception):
    """A system call fails with `errno` (a positive number of `kernel_model.abi.errno`).

    Raised anywhere below a handler; the entry path alone turns it into the number that the guest sees.
    """

    __slots__ = ("errno",)

    def __init__(self, errno: int) -> None:
        super().__init__(errno)
        self.errno = errno


KEEP_REGISTERS: Final = -(1 << 64)
"""A handler's result when it has replaced the task's registers itself (execve, rt_sigreturn): none is written."""


class TaskExit(Exception):
    """The calling task's thread group is gone, or with `group` false only the task.

    `code` is a wait status as wait4(2) would tell it: exit code << 8, or the signal.
    """

    __slots__ = ("code", "group")

    def __init__(self, code: int, *, group: bool = True) -> None:
        super().__init__(code)
        self.code = code
        self.group = group
