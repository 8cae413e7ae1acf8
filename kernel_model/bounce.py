"""The bounce ABI: what is pushed, what is popped, and which calls it is for (docs/bounce-abi.md).

An old-style system call (made outside the vDSO) becomes a jump to the vDSO's handler, with four words on the user's
stack that say where it came from. The handler ends it with a flagged call, which takes them off again.
"""

from __future__ import annotations

from struct import Struct
from typing import TYPE_CHECKING, Final, NamedTuple

from kernel_model.mm.fault import W
from kernel_model.mm.uaccess import copy_from_user, copy_to_user
from kernel_model.types import PAGE_MASK, PAGE_SIZE, U64_MASK, SyscallError, UserPtr

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
USER_RETURN_BYTES: Final = 8
"""What a handler that returns in user space needs below the frame: iretq takes one word more than the frame has."""
SCRATCH_BYTES: Final = 96
"""What the handler that serves calls in user space has to itself, behind the frame."""
HELD_AT: Final = 80
"""Where in there, from the frame, it is told that a signal waits until it is done (`kernel_model.signal.rewind`)."""
ALIGN_MASK: Final = U64_MASK & -16
"""A frame's address is a multiple of 16, whatever SP is."""
PACK_FRAME: Final = FRAME.pack_into
UNPACK_FRAME: Final[Callable[..., SyscallFrame]] = FRAME.unpack_from
LAST_WHOLE: Final = PAGE_SIZE - FRAME_BYTES
"""The last place in a page where a frame does not reach into the next."""


class BounceWishes(NamedTuple):
    """How a person wants bounces (`--bounce-*`), whatever the architecture.

    `check`: site (the instruction's own address) | slide (PC as the slide compares it). `frame`: stack | task-page.
    `leave_by`: redirect | user. `vdso`: plain | userspace (its handler serves calls) | libkernel (a function for each
    call; the handler is plain's). `calls`: all | legacy | names and numbers with commas. `visible`: real | origin, the
    instruction that a flagged call is said to be made by.
    """

    check: str = "site"
    frame: str = "stack"
    leave_by: str = "redirect"
    vdso: str = "plain"
    calls: str = "all"
    visible: str = "real"


class BounceOptions(NamedTuple):
    """How one kernel makes bounces.

    `check`, `visible`: as above. `handler`: which of the vDSO's. `numbers`: the calls that bounce; None for all.
    `drops`: of these, those that the handler makes by others are in the kernel's table no more.
    """

    check: str = "site"
    handler: str = "redirect"
    numbers: frozenset[int] | None = None
    visible: str = "real"
    drops: bool = False

    @property
    def in_task_page(self) -> bool:
        """The frame is in a page of the task's own, and the user's stack is not touched."""
        return self.handler == "task-page"

    @property
    def serves(self) -> bool:
        """The handler serves calls by itself (docs/hack3.md)."""
        return self.handler == "userspace"

    @property
    def scratch_bytes(self) -> int:
        """What the handler has to itself behind a frame on the stack."""
        return SCRATCH_BYTES if self.serves else 0

    @property
    def size_bytes(self) -> int:
        """What a bounce writes or may write on the user's stack: the frame, and what the handler needs behind it."""
        return FRAME_BYTES + self.scratch_bytes


class NoSuchBounce(Exception):
    """The architecture has no such bounce; the text says what to do."""


def bounce_options(wishes: BounceWishes, arch: str, handlers: Mapping[str, int]) -> BounceOptions:
    """The options for a program of `arch`, whose vDSO has `handlers`. Raises NoSuchBounce."""
    handler = "userspace" if wishes.vdso == "userspace" else wishes.leave_by
    if wishes.frame == "task-page":
        handler = "task-page"
    if handler not in handlers:
        raise NoSuchBounce(f"{arch} can't leave a bounce in user space: leave --bounce-return {handler} away")
    if wishes.calls == "all":
        return BounceOptions(wishes.check, handler, None, wishes.visible)
    from kernel_model.syscalls.groups import numbers

    drops = wishes.calls == "legacy" and handler == "userspace"
    return BounceOptions(wishes.check, handler, numbers(wishes.calls, arch), wishes.visible, drops)


class BadFrame(Exception):
    """A frame can't be pushed or popped: SIGSEGV at `address`."""

    def __init__(self, address: int) -> None:
        super().__init__(address)
        self.address = address


def push_frame(mm: MemoryMap, address: int, made: int, sp: int, pc: int, flags: int) -> None:
    """Write the frame at user address `address`, all of it or nothing; BadFrame. A stack below which it is grows."""
    address = mm.arch.untag(address)
    last = address + FRAME_BYTES - 1 & U64_MASK
    for byte in (address, last):
        if byte >= mm.task_size or not mm.access_page(byte & PAGE_MASK, W):
            raise BadFrame(max(address, byte & PAGE_MASK) if byte >= address else address)
    copy_to_user(mm, UserPtr(address), FRAME.pack(made, sp, pc, flags))


def pop_frame(mm: MemoryMap, address: int) -> SyscallFrame:
    """Copy the frame at user address `address`, once; BadFrame when it can't be read. It is not trusted."""
    address = mm.arch.untag(address)
    try:
        return UNPACK_FRAME(copy_from_user(mm, UserPtr(address), FRAME_BYTES))
    except SyscallError:
        raise BadFrame(address) from None
