"""The bounce ABI: what is pushed, what is popped, and which calls it is for (docs/bounce-abi.md).

An old-style system call (made outside the vDSO) becomes a jump to the vDSO's handler, with four words on the user's
stack that say where it came from. The handler ends it with a flagged call, which takes them off again.
"""

from __future__ import annotations

from struct import Struct
from typing import TYPE_CHECKING, Final, NamedTuple

from kernel_model.mm.uaccess import copy_from_user
from kernel_model.types import PAGE_SIZE, U64_MASK, SyscallError, UserPtr

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from kernel_model.mm.mm import MemoryMap

SyscallFrame = tuple[int, int, int, int]
"""The four words: the number register as made, and SP, PC (after the instruction) and flags before the bounce."""

REDIRECT: Final = 1 << 29
"""In the number of a real call: it ends the bounce."""
NO_CALL: Final = 0x1FFF_FFFF
"""The number that, flagged, stands for no call at all: the bounce ends and the result register stays."""
FRAME: Final = Struct("<4Q")
FRAME_BYTES: Final = FRAME.size
_PACK: Final = FRAME.pack_into
_UNPACK: Final[Callable[..., SyscallFrame]] = FRAME.unpack_from
_R: Final = 1
_W: Final = 2
_PAGE_OFFSET: Final = PAGE_SIZE - 1
_LAST_WHOLE: Final = PAGE_SIZE - FRAME_BYTES


class BounceWishes(NamedTuple):
    """How a person wants bounces (`--bounce-*`), whatever the architecture.

    `check`: site (the instruction's own address) | slide (PC as the slide compares it). `frame`: stack | task-page.
    `leave_by`: redirect | user. `calls`: all | legacy | names and numbers with commas.
    """

    check: str = "site"
    frame: str = "stack"
    leave_by: str = "redirect"
    calls: str = "all"


class BounceOptions(NamedTuple):
    """How one kernel makes bounces.

    `check`: as above. `handler`: which of the vDSO's. `numbers`: the calls that bounce; None for all.
    """

    check: str = "site"
    handler: str = "redirect"
    numbers: frozenset[int] | None = None


class NoSuchBounce(Exception):
    """The architecture has no such bounce; the text says what to do."""


def bounce_options(wishes: BounceWishes, arch: str, handlers: Mapping[str, int]) -> BounceOptions:
    """The options for a program of `arch`, whose vDSO has `handlers`. Raises NoSuchBounce."""
    handler = "task-page" if wishes.frame == "task-page" else wishes.leave_by
    if handler not in handlers:
        raise NoSuchBounce(f"{arch} can't leave a bounce in user space: leave --bounce-return {handler} away")
    if wishes.calls == "all":
        return BounceOptions(wishes.check, handler)
    from kernel_model.syscalls.groups import numbers

    return BounceOptions(wishes.check, handler, numbers(wishes.calls, arch))


class BadFrame(Exception):
    """A frame can't be pushed or popped: SIGSEGV at `address`."""

    def __init__(self, address: int) -> None:
        super().__init__(address)
        self.address = address


def push_frame(mm: MemoryMap, address: int, number: int, sp: int, pc: int, flags: int) -> None:
    """Write the frame at user address `address`, all of it or nothing; BadFrame. A stack below which it is grows."""
    page = address & -PAGE_SIZE
    entry = mm.pt.get(page, 0)
    if entry & _W and address & _PAGE_OFFSET <= _LAST_WHOLE:
        _PACK(mm.ram, (entry & -PAGE_SIZE) + (address & _PAGE_OFFSET), number, sp, pc, flags)
        return
    last = address + FRAME_BYTES - 1 & U64_MASK
    for byte in (address, last):
        if byte >= mm.task_size or not mm.access_page(byte & -PAGE_SIZE, _W):
            raise BadFrame(max(address, byte & -PAGE_SIZE) if byte >= address else address)
    data = FRAME.pack(number, sp, pc, flags)
    for start in (0, FRAME_BYTES // 2):  # 16-byte aligned halves never cross a page
        at = address + start
        entry = mm.access_page(at & -PAGE_SIZE, _W)
        offset = (entry & -PAGE_SIZE) + (at & _PAGE_OFFSET)
        mm.ram[offset : offset + 16] = data[start : start + 16]


def pop_frame(mm: MemoryMap, address: int) -> SyscallFrame:
    """Copy the frame at user address `address`, once; BadFrame when it can't be read. It is not trusted."""
    entry = mm.pt.get(address & -PAGE_SIZE, 0)
    if entry & _R and address & _PAGE_OFFSET <= _LAST_WHOLE:
        return _UNPACK(mm.ram, (entry & -PAGE_SIZE) + (address & _PAGE_OFFSET))
    try:
        return _UNPACK(copy_from_user(mm, UserPtr(address), FRAME_BYTES))
    except SyscallError:
        raise BadFrame(address) from None
