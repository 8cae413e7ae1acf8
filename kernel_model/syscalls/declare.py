"""One decorated function declares a system call; dispatch, sign extension, tracing and the coverage list follow.

    @syscall()
    def sys_read(task: Task, fd: Fd, buf: OutBuffer, count: Size) -> int:

The parameter types say how a raw 64-bit register becomes an argument (an `int` is its low 32 bits, sign-extended, as
the C prototype of the kernel's SYSCALL_DEFINE has it) and how a tracer shows it. Numbers are in `syscalls.tbl`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, NamedTuple, TypeVar

from kernel_model.types import UserPtr

RawHandler = Callable[[Any, int, int, int, int, int, int], int]
"""(task, six raw registers) -> result."""


class Param(NamedTuple):
    """How one argument is taken from its register and shown.

    `ctype`: int | uint | long | ulong | ptr.  `show`: the tracer's format, by name (`emu.strace` knows them);
    `detail`: what the format needs, e.g. the name of a flag table or struct, or of the argument that holds a length.
    """

    ctype: str
    show: str
    detail: str = ""


Int = Annotated[int, Param("int", "dec")]
UInt = Annotated[int, Param("uint", "dec")]
Long = Annotated[int, Param("long", "dec")]
ULong = Annotated[int, Param("ulong", "dec")]
Hex = Annotated[int, Param("ulong", "hex")]
Size = Annotated[int, Param("ulong", "dec")]
Offset = Annotated[int, Param("long", "dec")]
Fd = Annotated[int, Param("int", "fd")]
DirFd = Annotated[int, Param("int", "dirfd")]
Mode = Annotated[int, Param("uint", "mode")]
Pid = Annotated[int, Param("int", "dec")]
Uid = Annotated[int, Param("uint", "id")]
Signal = Annotated[int, Param("int", "signal")]
ClockId = Annotated[int, Param("int", "enum", "clock")]
PathPtr = Annotated[UserPtr, Param("ptr", "path")]
StringPtr = Annotated[UserPtr, Param("ptr", "string")]
Ptr = Annotated[UserPtr, Param("ptr", "ptr")]
OutBuffer = Annotated[UserPtr, Param("ptr", "outbuf")]
InBuffer = Annotated[UserPtr, Param("ptr", "inbuf")]

_CONVERT = {
    "int": "((({r}) & 0xFFFFFFFF) ^ 0x80000000) - 0x80000000",
    "uint": "{r} & 0xFFFFFFFF",
    "long": "({r} ^ 0x8000000000000000) - 0x8000000000000000",
    "ulong": "{r}",
    "ptr": "{r}",
}


class Syscall(NamedTuple):
    """One declared system call.

    `partial` is empty when the whole call is there, else a sentence that says which part is missing.
    """

    name: str
    handler: Callable[..., int]
    partial: str
    returns: str

    def params(self) -> list[tuple[str, Param]]:
        """(name, Param) per argument, from the handler's annotations."""
        code = self.handler.__code__
        scope = self.handler.__globals__
        # Names of kinds, as text: looked up like this they cost a tenth of what typing.get_type_hints() does.
        kinds = self.handler.__annotations__
        names = code.co_varnames[1 : code.co_argcount]
        return [(name, (scope.get(kinds[name]) or eval(kinds[name], scope)).__metadata__[0]) for name in names]

    def compile(self) -> RawHandler:
        """A function from raw registers to the handler's result, with each argument converted as its type says."""
        params = self.params()
        if all(param.ctype in ("ulong", "ptr") for _, param in params):
            arguments = [f"a{i}" for i in range(len(params))]
        else:
            arguments = [_CONVERT[param.ctype].format(r=f"a{i}") for i, (_, param) in enumerate(params)]
        source = f"lambda task, a0, a1, a2, a3, a4, a5: handler(task{''.join(', ' + a for a in arguments)})"
        compiled: RawHandler = eval(source, {"handler": self.handler})
        return compiled


REGISTRY: dict[str, Syscall] = {}


F = TypeVar("F", bound=Callable[..., int])


def syscall(*, partial: str = "", returns: str = "int") -> Callable[[F], F]:
    """Declare the function below as the system call of its name (`sys_read` is read).

    `partial`: the sentence for the coverage list when a part is missing. `returns`: int | fd | ptr | hex, for tracers.
    """

    def declare(handler: F) -> F:
        name = handler.__name__.removeprefix("sys_")
        REGISTRY[name] = Syscall(name, handler, partial, returns)
        return handler

    return declare
