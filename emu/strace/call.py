"""One system call as the tracer sees it: its declaration, its arguments, and the guest's memory behind them."""

from __future__ import annotations

from struct import Struct
from typing import TYPE_CHECKING, Any, NamedTuple

from kernel_model.abi.errno import EFAULT, MAX_ERRNO
from kernel_model.mm.uaccess import copy_from_user, copy_from_user_partial
from kernel_model.types import SyscallError, UserPtr

if TYPE_CHECKING:
    from kernel_model.arch import Arch
    from kernel_model.syscalls.declare import Param
    from kernel_model.task import Task

_SIGN_BIT = {"int": 1 << 31, "long": 1 << 63}
_BITS = {"int": 32, "uint": 32, "long": 64, "ulong": 64, "ptr": 64}


def convert(ctype: str, register: int) -> int:
    """What a 64-bit register means as that C type."""
    value = register & (1 << _BITS[ctype]) - 1
    sign = _SIGN_BIT.get(ctype, 0)
    return (value ^ sign) - sign if sign else value


class Argument(NamedTuple):
    """One argument as it will be shown: its name in the handler, its kind, its register, and a label before it."""

    name: str
    kind: Param
    register: int
    label: str = ""


Registers = tuple[int, ...]
"""The six that a call's arguments are in, as they were when it was made."""


class Call:
    """A call under way. `values`: its arguments as their C types have them; `result` is None until it is known."""

    __slots__ = ("arch", "arguments", "mm", "name", "result", "saved", "shown", "values")

    def __init__(self, task: Task, name: str, arguments: list[Argument], registers: Registers) -> None:
        self.arch: Arch = task.kernel.arch
        self.mm = task.mm
        self.name = name
        self.arguments = arguments
        self.values = [convert(argument.kind.ctype, registers[argument.register]) for argument in arguments]
        self.result: int | None = None
        self.shown = 0
        """How many arguments are in the text already."""
        self.saved: dict[int, str] = {}
        """Texts, by address, of what the call may change and that is shown before and after."""

    def argument(self, name: str) -> int:
        """The value of the argument with that name in the handler; 0 when there is none."""
        for argument, value in zip(self.arguments, self.values, strict=True):
            if argument.name == name:
                return value
        return 0

    @property
    def failed(self) -> bool:
        """Is it over without success?"""
        return self.result is None or -MAX_ERRNO <= self.result < 0

    # -- memory: each raises SyscallError where the guest can't read --------------------------------------------
    def read(self, address: int, count: int) -> bytes:
        """`count` bytes at `address`."""
        return copy_from_user(self.mm, UserPtr(address), count)

    def read_some(self, address: int, count: int) -> bytes:
        """Up to `count` bytes at `address`: what is there."""
        return copy_from_user_partial(self.mm, UserPtr(address), count)

    def unpack(self, layout: Struct, address: int) -> tuple[Any, ...]:
        """The fields of a structure at `address`."""
        return layout.unpack(self.read(address, layout.size))

    def string(self, address: int, limit: int) -> tuple[bytes, bool]:
        """(bytes up to the NUL, was there a NUL) of a string, looking at `limit` bytes at most."""
        data = self.read_some(address, limit)
        text, nul, _ = data.partition(b"\0")
        if not nul and len(data) < limit:
            raise SyscallError(EFAULT)
        return text, bool(nul)
