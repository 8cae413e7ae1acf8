"""How one argument is shown, by the `show` name of its declared kind (`kernel_model.syscalls.declare.Param`)."""

from __future__ import annotations

from collections.abc import Callable
from struct import Struct
from typing import TYPE_CHECKING, Final, NamedTuple

from emu.strace import structs, tables
from emu.strace.structs_task import signal_name
from emu.strace.text import STRING_LIMIT, hexadecimal, octal, pointer, quote, quote_hex
from kernel_model.abi.errno import EINTR, ERESTART_RESTARTBLOCK
from kernel_model.types import SyscallError

if TYPE_CHECKING:
    from emu.strace.call import Call

PATH_MAX: Final = 4096
ARGV_SHOWN: Final = 32
IOVEC_SHOWN: Final = 32
FUTEX_PRIVATE_FLAG: Final = 128
FUTEX_CLOCK_REALTIME: Final = 256
ENVIRONMENT_COUNTED: Final = 1 << 16
_IOVEC: Final = Struct("<QQ")
_POINTER: Final = Struct("<Q")

Show = Callable[["Call", int, str], str]
"""(call, value, the kind's detail) -> text. SyscallError where the guest's memory can't be read."""


class Format(NamedTuple):
    """How a kind is shown: `at_exit` when the call must be over first; `is_pointer` when memory that can't be read
    leaves the address.
    """

    show: Show
    at_exit: bool = False
    is_pointer: bool = False


def show_argument(call: Call, position: int) -> str:
    """The text of one argument, which is never an error."""
    kind = call.arguments[position].kind
    value = call.values[position]
    form = FORMATS[kind.show]
    if form.is_pointer and (not value or (form.at_exit and call.failed and value not in call.saved)):
        return pointer(value)
    try:
        return form.show(call, value, kind.detail)
    except SyscallError:
        return pointer(value)


# -- numbers ---------------------------------------------------------------------------------------------------
def _dec(call: Call, value: int, detail: str) -> str:
    return str(value)


def _hex(call: Call, value: int, detail: str) -> str:
    return hexadecimal(value)


def _ptr(call: Call, value: int, detail: str) -> str:
    return pointer(value)


def _dirfd(call: Call, value: int, detail: str) -> str:
    return "AT_FDCWD" if value == -100 else str(value)


def _mode(call: Call, value: int, detail: str) -> str:
    return octal(value & 0xFFFF)


def _file_mode(call: Call, value: int, detail: str) -> str:
    return structs.file_mode(value & 0xFFFF)


def _identity(call: Call, value: int, detail: str) -> str:
    return "-1" if value == 0xFFFF_FFFF else str(value)


def _signal(call: Call, value: int, detail: str) -> str:
    return signal_name(value)


def _device(call: Call, value: int, detail: str) -> str:
    return structs.device(value)


def _flags(call: Call, value: int, detail: str) -> str:
    if detail in ("open", "creation"):
        value = call.arch.open_flags_from_user(value)
    elif detail == "mmap":
        return _mmap_flags(value)
    return tables.flags(detail, value & 0xFFFF_FFFF_FFFF_FFFF)


def _mmap_flags(value: int) -> str:
    """With MAP_HUGETLB the six top bits are the size of a page, as a power of two."""
    size = value >> 26 & 0x3F if value & 0x40000 else 0
    text = tables.flags("mmap", value & ~(size << 26))
    return f"{text}|{size}<<MAP_HUGE_SHIFT" if size else text


def _enum(call: Call, value: int, detail: str) -> str:
    return tables.enum(detail, value)


def _ioctl(call: Call, value: int, detail: str) -> str:
    """A request by name, or its direction, type, number and size (include/uapi/asm-generic/ioctl.h)."""
    known = tables.all_tables()["ioctl"].by_value.get(value)
    if known:
        return known
    direction = ("_IOC_NONE", "_IOC_WRITE", "_IOC_READ", "_IOC_READ|_IOC_WRITE")[value >> 30]
    numbers = (value >> 8 & 0xFF, value & 0xFF, value >> 16 & 0x3FFF)
    return f"_IOC({direction}, {', '.join(hexadecimal(number) for number in numbers)})"


def _commented(call: Call, value: int, detail: str) -> str:
    return f"{value} /* {tables.all_tables()[detail].by_value.get(value, tables.all_tables()[detail].unknown)} */"


def _clone_flags(call: Call, value: int, detail: str) -> str:
    """The flags, and the signal at exit in the low byte."""
    words = [tables.flags("clone", value & ~0xFF)] if value & ~0xFF else []
    return "|".join(words + [signal_name(value & 0xFF)] * bool(value & 0xFF)) or "0"


def _futex_op(call: Call, value: int, detail: str) -> str:
    operation = value & ~(FUTEX_PRIVATE_FLAG | FUTEX_CLOCK_REALTIME)
    name = tables.all_tables()["futex"].by_value.get(operation)
    if name is None:
        return f"{value:#x} /* FUTEX_??? */"
    private = "_PRIVATE" if value & FUTEX_PRIVATE_FLAG else ""
    return name + private + ("|FUTEX_CLOCK_REALTIME" if value & FUTEX_CLOCK_REALTIME else "")


def _wake_op(call: Call, value: int, detail: str) -> str:
    """What FUTEX_WAKE_OP does and compares (include/uapi/linux/futex.h:FUTEX_OP())."""
    shift = "FUTEX_OP_OPARG_SHIFT<<28|" if value >> 31 else ""
    operation = tables.enum("futex_op", value >> 28 & 7)
    compare = tables.enum("futex_cmp", value >> 24 & 0xF)
    numbers = (value >> 12 & 0xFFF, value & 0xFFF)
    return f"{shift}{operation}<<28|{numbers[0]:#x}<<12|{compare}<<24|{numbers[1]:#x}"


def _bitset(call: Call, value: int, detail: str) -> str:
    return "FUTEX_BITSET_MATCH_ANY" if value == 0xFFFF_FFFF else hexadecimal(value)


def _ioprio(call: Call, value: int, detail: str) -> str:
    return f"IOPRIO_PRIO_VALUE({tables.enum('ioprio_class', value >> 13)}, {value & 0x1FFF})"


# -- text and bytes --------------------------------------------------------------------------------------------
def _path(call: Call, value: int, detail: str) -> str:
    text, whole = call.string(value, PATH_MAX)
    return quote(text, more=not whole)


def _string(call: Call, value: int, detail: str) -> str:
    text, whole = call.string(value, STRING_LIMIT + 1)
    return quote(text[:STRING_LIMIT], more=not whole)


def _bytes(call: Call, address: int, count: int) -> str:
    if count < 0:
        return pointer(address)
    data = call.read(address, min(count, STRING_LIMIT))
    return quote(data, more=count > STRING_LIMIT)


def _inbuf(call: Call, value: int, detail: str) -> str:
    return _bytes(call, value, call.argument(detail or "count"))


def _outbuf(call: Call, value: int, detail: str) -> str:
    return _bytes(call, value, call.result or 0)


def _outpath(call: Call, value: int, detail: str) -> str:
    """A path that the call gave, whole; the result counts its NUL."""
    return quote(call.read(value, max(0, (call.result or 0) - 1)))


def _outhex(call: Call, value: int, detail: str) -> str:
    count = call.result or 0
    return quote_hex(call.read(value, min(count, STRING_LIMIT)), more=count > STRING_LIMIT)


def _argv(call: Call, value: int, detail: str) -> str:
    words = []
    for position in range(ARGV_SHOWN + 1):
        try:
            (address,) = call.unpack(_POINTER, value + 8 * position)
        except SyscallError:
            if not position:
                raise
            words.append(f"... /* {pointer(value + 8 * position)} */")
            break
        if not address:
            break
        words.append("..." if position == ARGV_SHOWN else _word(call, address))
    return f"[{', '.join(words)}]"


def _word(call: Call, address: int) -> str:
    try:
        return _string(call, address, "")
    except SyscallError:
        return pointer(address)


def _envp(call: Call, value: int, detail: str) -> str:
    """The address and how many there are: the variables themselves are long and known."""
    count = 0
    end = ""
    try:
        while count < ENVIRONMENT_COUNTED and call.unpack(_POINTER, value + 8 * count) != (0,):
            count += 1
    except SyscallError:
        end = ", unterminated"
    return f"{pointer(value)} /* {count} var{'' if count == 1 else 's'}{end} */"


def _iovec(call: Call, value: int, detail: str) -> str:
    return _vector(call, value, detail, None)


def _outiovec(call: Call, value: int, detail: str) -> str:
    return _vector(call, value, detail, call.result)


def _vector(call: Call, value: int, detail: str, moved: int | None) -> str:
    """`moved`: how many bytes a read filled in; None when the buffers are the program's own."""
    count = call.argument(detail or "vlen") & 0xFFFF_FFFF
    items = []
    for position in range(min(count, IOVEC_SHOWN)):
        try:
            base, length = call.unpack(_IOVEC, value + 16 * position)
        except SyscallError:
            if not position:
                raise
            items.append(f"... /* {pointer(value + 16 * position)} */")
            break
        shown = length if moved is None else min(length, moved)
        if moved is not None:
            moved -= shown
        try:
            data = _bytes(call, base, shown) if base else "NULL"
        except SyscallError:
            data = pointer(base)
        items.append(f"{{iov_base={data}, iov_len={length}}}")
    if count > IOVEC_SHOWN:
        items.append("...")
    return f"[{', '.join(items)}]"


def _name(call: Call, value: int, detail: str) -> str:
    """A string that is cut at `detail` bytes by the kernel, and so here."""
    limit = int(detail)
    text, whole = call.string(value, limit + 1)
    return quote(text[:limit], more=not whole)


# -- structures ------------------------------------------------------------------------------------------------
def _struct(call: Call, value: int, detail: str) -> str:
    return structs.STRUCTS[detail](call, value)


def _fdpair(call: Call, value: int, detail: str) -> str:
    first, second = call.unpack(structs.TWO_INTS, value)
    return f"[{first}, {second}]"


def _inout(call: Call, value: int, detail: str) -> str:
    """Before, and after if the call has changed it."""
    now = structs.STRUCTS[detail](call, value)
    before = call.saved.get(value, now)
    if detail == "socklen" and before != now:
        return f"{before[:-1]} => {now[1:]}"
    return before if now == before else f"{before} => {now}"


def _remaining(call: Call, value: int, detail: str) -> str:
    """What was left to sleep, which the kernel tells only when a signal ended the sleep."""
    interrupted = call.result is not None and -call.result in (EINTR, ERESTART_RESTARTBLOCK)
    return structs.STRUCTS[detail](call, value) if interrupted else pointer(value)


def save_inouts(call: Call) -> None:
    """When the call is made: keep what it may change, to show both."""
    for argument, value in zip(call.arguments, call.values, strict=True):
        if argument.kind.show == "inout" and value:
            try:
                call.saved[value] = structs.STRUCTS[argument.kind.detail](call, value)
            except SyscallError:
                pass  # the address will be shown


def _sigset(call: Call, value: int, detail: str) -> str:
    return structs.STRUCTS["sigset"](call, value)


FORMATS: Final = {
    "dec": Format(_dec),
    "hex": Format(_hex),
    "fd": Format(_dec),
    "dirfd": Format(_dirfd),
    "mode": Format(_mode),
    "file_mode": Format(_file_mode),
    "id": Format(_identity),
    "signal": Format(_signal),
    "device": Format(_device),
    "ioprio": Format(_ioprio),
    "flags": Format(_flags),
    "enum": Format(_enum),
    "ioctl": Format(_ioctl),
    "bitset": Format(_bitset),
    "clone_flags": Format(_clone_flags),
    "futex_op": Format(_futex_op),
    "wake_op": Format(_wake_op),
    "commented": Format(_commented),
    "ptr": Format(_ptr),
    "path": Format(_path, is_pointer=True),
    "string": Format(_string, is_pointer=True),
    "outstring": Format(_string, at_exit=True, is_pointer=True),
    "inbuf": Format(_inbuf, is_pointer=True),
    "name": Format(_name, is_pointer=True),
    "outpath": Format(_outpath, at_exit=True, is_pointer=True),
    "inout": Format(_inout, at_exit=True, is_pointer=True),
    "remaining": Format(_remaining, at_exit=True),
    "outbuf": Format(_outbuf, at_exit=True, is_pointer=True),
    "outhex": Format(_outhex, at_exit=True, is_pointer=True),
    "argv": Format(_argv, is_pointer=True),
    "envp": Format(_envp, is_pointer=True),
    "iovec": Format(_iovec, is_pointer=True),
    "outiovec": Format(_outiovec, at_exit=True, is_pointer=True),
    "fdpair": Format(_fdpair, at_exit=True, is_pointer=True),
    "sigset": Format(_sigset, is_pointer=True),
    "struct": Format(_struct, is_pointer=True),
    "outstruct": Format(_struct, at_exit=True, is_pointer=True),
}
