"""Copying from and to user space: the only code that follows a guest address.

Each function first tries the case that nearly every call is: bytes within one page that is there. `mm.pt` never has a
page beyond TASK_SIZE, so that case needs no other check. Everything else goes page by page through `mm.access_page`,
which faults pages in. A place that the guest can't access is EFAULT.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any, Final

from kernel_model.abi.errno import E2BIG, EFAULT, EINVAL, ENAMETOOLONG
from kernel_model.types import PAGE_MASK, PAGE_SIZE, SyscallError, UserPtr

if TYPE_CHECKING:
    from kernel_model.mm.mm import MemoryMap

READ: Final = 1
WRITE: Final = 2
_OFFSET: Final = PAGE_SIZE - 1
UIO_MAXIOV: Final = 1024
MAX_RW_COUNT: Final = 0x7FFFF000
"""The most that one read or write moves (include/linux/fs.h)."""


def access_ok(mm: MemoryMap, address: int, count: int) -> int:
    """`address` as page tables know it; EFAULT when [address, address + count) leaves user space."""
    if address + count > mm.task_size:
        if mm.tagged_addr:
            address = mm.arch.untag(address)
        if address + count > mm.task_size:
            raise SyscallError(EFAULT)
    return address


def copy_from_user_partial(mm: MemoryMap, address: int, count: int) -> bytes:
    """Up to `count` bytes at `address`: what can be read before the first page that can't."""
    try:
        address = access_ok(mm, address, count)
    except SyscallError:
        return b""
    ram = mm.ram
    pieces = []
    while count > 0:
        offset = address & _OFFSET
        entry = mm.access_page(address - offset, READ)
        if not entry:
            break
        length = min(count, PAGE_SIZE - offset)
        start = (entry & PAGE_MASK) + offset
        pieces.append(ram[start : start + length])
        address += length
        count -= length
    return b"".join(pieces)


def copy_from_user(mm: MemoryMap, address: int, count: int) -> bytes:
    """`count` bytes at `address`; EFAULT."""
    offset = address & _OFFSET
    if offset + count <= PAGE_SIZE:
        entry = mm.pt.get(address - offset, 0)
        if entry & READ:
            start = (entry & PAGE_MASK) + offset
            return mm.ram[start : start + count].tobytes()
    data = copy_from_user_partial(mm, address, count)
    if len(data) != count:
        raise SyscallError(EFAULT)
    return data


def copy_struct_from_user(mm: MemoryMap, address: int, usize: int, known: int) -> bytes:
    """A structure of `known` bytes that the program takes for one of `usize` bytes: where it is shorter the rest is 0.

    E2BIG when anything but zeros follows what is known, EFAULT. include/linux/uaccess.h; lib/usercopy.c.
    """
    if usize > known:
        rest = copy_from_user_partial(mm, address + known, usize - known)
        if any(rest):
            raise SyscallError(E2BIG)
        if len(rest) < usize - known:
            raise SyscallError(EFAULT)
    return copy_from_user(mm, address, min(usize, known)).ljust(known, b"\0")


def copy_from_user_into(mm: MemoryMap, address: int, buffer: memoryview) -> None:
    """Fill `buffer` with the bytes at `address`; EFAULT, and the buffer is as it was."""
    count = len(buffer)
    offset = address & _OFFSET
    if offset + count <= PAGE_SIZE:
        entry = mm.pt.get(address - offset, 0)
        if entry & READ:
            start = (entry & PAGE_MASK) + offset
            buffer[:] = mm.ram[start : start + count]
            return
    elif count <= PAGE_SIZE:
        page = address - offset
        entry, second = mm.pt.get(page, 0), mm.pt.get(page + PAGE_SIZE, 0)
        if entry & second & READ:
            head = PAGE_SIZE - offset
            start = (entry & PAGE_MASK) + offset
            buffer[:head] = mm.ram[start : start + head]
            start = second & PAGE_MASK
            buffer[head:] = mm.ram[start : start + count - head]
            return
    buffer[:] = copy_from_user(mm, address, count)


def copy_to_user_partial(mm: MemoryMap, address: int, data: bytes | bytearray | memoryview) -> int:
    """Write `data` at `address` up to the first page that can't be written; the number of bytes that were."""
    count = len(data)
    try:
        address = access_ok(mm, address, count)
    except SyscallError:
        return 0
    ram = mm.ram
    code = mm.code_frames
    flush = False
    done = 0
    view = memoryview(data)
    while done < count:
        offset = address & _OFFSET
        entry = mm.access_page(address - offset, WRITE)
        if not entry:
            break
        length = min(count - done, PAGE_SIZE - offset)
        frame = entry & PAGE_MASK
        ram[frame + offset : frame + offset + length] = view[done : done + length]
        if frame in code:
            flush = True
        address += length
        done += length
    if flush:
        mm.code_flush()
    return done


def copy_to_user(mm: MemoryMap, address: int, data: bytes | bytearray | memoryview) -> None:
    """Write `data` at `address`; EFAULT (the pages before the bad one are written, as on Linux)."""
    offset = address & _OFFSET
    count = len(data)
    if offset + count <= PAGE_SIZE:
        entry = mm.pt.get(address - offset, 0)
        if entry & WRITE:
            frame = entry & PAGE_MASK
            start = frame + offset
            mm.ram[start : start + count] = data
            if frame in mm.code_frames:
                mm.code_flush()
            return
    elif count <= PAGE_SIZE:
        page = address - offset
        entry, second = mm.pt.get(page, 0), mm.pt.get(page + PAGE_SIZE, 0)
        if entry & second & WRITE:
            head = PAGE_SIZE - offset
            frame, start = entry & PAGE_MASK, second & PAGE_MASK
            mm.ram[frame + offset : frame + PAGE_SIZE] = data[:head]
            mm.ram[start : start + count - head] = data[head:]
            if frame in mm.code_frames or start in mm.code_frames:
                mm.code_flush()
            return
    if copy_to_user_partial(mm, address, data) != count:
        raise SyscallError(EFAULT)


def clear_user(mm: MemoryMap, address: int, count: int) -> None:
    """Write `count` zeros at `address`; EFAULT."""
    address = access_ok(mm, address, count)
    while count > 0:
        length = min(count, PAGE_SIZE - (address & _OFFSET))
        copy_to_user(mm, address, bytes(length))
        address += length
        count -= length


def strncpy_from_user(mm: MemoryMap, address: int, limit: int) -> bytes:
    """The string at `address`, without its NUL; EFAULT, ENAMETOOLONG when there is no NUL within `limit` bytes."""
    offset = address & _OFFSET
    entry = mm.pt.get(address - offset, 0)
    if entry & READ:
        frame = entry & PAGE_MASK
        chunk = mm.ram[frame + offset : frame + min(PAGE_SIZE, offset + limit)].tobytes()
        end = chunk.find(0)
        if end >= 0:
            return chunk[:end]
    return _strncpy_slow(mm, address, limit)


def _strncpy_slow(mm: MemoryMap, address: int, limit: int) -> bytes:
    """`strncpy_from_user` over page borders and pages that are not there yet."""
    address = access_ok(mm, address, 0)
    result = b""
    while limit > 0:
        length = min(limit, PAGE_SIZE - (address & _OFFSET))
        chunk = copy_from_user(mm, address, length)
        end = chunk.find(0)
        if end >= 0:
            return result + chunk[:end]
        result += chunk
        address += length
        limit -= length
    raise SyscallError(ENAMETOOLONG)


def get_user(mm: MemoryMap, address: int, layout: struct.Struct) -> tuple[Any, ...]:
    """The fields of `layout` at `address`; EFAULT."""
    offset = address & _OFFSET
    if offset + layout.size <= PAGE_SIZE:
        entry = mm.pt.get(address - offset, 0)
        if entry & READ:
            return layout.unpack_from(mm.ram, (entry & PAGE_MASK) + offset)
    return layout.unpack(copy_from_user(mm, address, layout.size))


def put_user(mm: MemoryMap, address: int, layout: struct.Struct, *values: Any) -> None:
    """Write `values` as `layout` at `address`; EFAULT."""
    offset = address & _OFFSET
    if offset + layout.size <= PAGE_SIZE:
        entry = mm.pt.get(address - offset, 0)
        if entry & WRITE:
            frame = entry & PAGE_MASK
            layout.pack_into(mm.ram, frame + offset, *values)
            if frame in mm.code_frames:
                mm.code_flush()
            return
    copy_to_user(mm, address, layout.pack(*values))


def copy_iovec(mm: MemoryMap, address: int, count: int) -> list[tuple[UserPtr, int]]:
    """The (base, length) pairs of `count` iovecs, cut to MAX_RW_COUNT in all (lib/iov_iter.c:__import_iovec()).

    EINVAL for more than UIO_MAXIOV or a length that is negative as ssize_t, EFAULT for a bad array or base.
    """
    if not 0 <= count <= UIO_MAXIOV:
        raise SyscallError(EINVAL)
    words = struct.unpack(f"<{2 * count}Q", copy_from_user(mm, address, 16 * count))
    if count and max(words[1::2]) >= 1 << 63:
        raise SyscallError(EINVAL)
    room = MAX_RW_COUNT
    end = mm.task_size
    result: list[tuple[UserPtr, int]] = []
    for i in range(0, 2 * count, 2):
        base = words[i]
        length = words[i + 1]
        if count == 1:
            length = min(length, MAX_RW_COUNT)
        if base + length > end:
            access_ok(mm, base, length)
        length = min(length, room)
        room -= length
        result.append((base, length))
    return result
