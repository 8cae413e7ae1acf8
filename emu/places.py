"""What lies at an address of a guest: its function, its file, its bytes and its instructions.

For those who look at a run without taking part in it: nothing is faulted in, counted or changed. Symbol tables are
read once per file, names and instructions are kept by address.
"""

from __future__ import annotations

from bisect import bisect_right
from functools import cached_property
from typing import TYPE_CHECKING, Final, NamedTuple

from emu import disasm
from emu.printable import printable
from emu.symbols import Symbol, SymbolTable
from kernel_model.types import PAGE_MASK, PAGE_SHIFT, PAGE_SIZE, SyscallError
from kernel_model.vdso import VDSO_NAME
from vdso_image.image import VdsoImage

if TYPE_CHECKING:
    from collections.abc import Iterator

    from emu.disasm import Instruction
    from kernel_model.kernel import Kernel
    from kernel_model.mm.mm import MemoryMap
    from kernel_model.mm.pagecache import AddressSpace
    from kernel_model.mm.vma import Vma

_TABLES_KEPT: Final = 64
_INSTRUCTIONS_KEPT: Final = 1 << 16
_OFFSET: Final = PAGE_SIZE - 1

_FileKey = tuple[int, int, int, int] | None
"""(device, inode, size, time of change) of a file; None for the vDSO's image."""


class Place(NamedTuple):
    """An address: its function, the last part of its file's name (`[vdso]`; empty for none), its offset in there."""

    address: int
    symbol: Symbol | None
    file: str
    file_offset: int

    @property
    def name(self) -> str:
        """`main+0x10`, `main` at its first byte; `0x4010` where nothing is named."""
        if self.symbol is None:
            return f"{self.address:#x}"
        return f"{self.symbol.name}+{self.symbol.offset:#x}" if self.symbol.offset else self.symbol.name

    def __str__(self) -> str:
        """`main+0x10 (demo)`."""
        if self.symbol is None and self.file:
            return f"{self.file}+{self.file_offset:#x}"
        return f"{self.name} ({self.file})" if self.file else self.name


class Places:
    """What lies where, in any address space of one kernel."""

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self._arch = kernel.arch.NAME
        self._tables: dict[_FileKey, SymbolTable] = {}
        self._decoded: dict[tuple[int, bytes], Instruction | None] = {}

    # -- names ---------------------------------------------------------------------------------------------------------
    def at(self, mm: MemoryMap, address: int) -> Place:
        """What is known of `address`."""
        vma = mm.vmas.lookup(address)
        if vma is None:
            return Place(address, None, "", 0)
        offset = address - vma.vm_start + (vma.vm_pgoff << PAGE_SHIFT)
        table = self._table(vma)
        return Place(address, table.find(offset) if table is not None else None, file_of(vma), offset)

    def describe(self, mm: MemoryMap, address: int) -> str:
        """`name+0x10 (file)`, `file+0x1234` where no function is known, `0x4010` where nothing is."""
        return str(self.at(mm, address))

    def symbol(self, mm: MemoryMap, address: int) -> Symbol | None:
        """The function that `address` is in."""
        return self.at(mm, address).symbol

    def part(self, mm: MemoryMap, address: int) -> Symbol | None:
        """The part of the vDSO's handler that `address` is in, where its source names parts; else the function."""
        starts, names = self._parts
        offset = address - mm.vdso
        symbol = self.symbol(mm, address)
        if symbol is None or not starts or not 0 <= offset < mm.vdso_end - mm.vdso:
            return symbol
        position = bisect_right(starts, offset) - 1
        if position < 0 or starts[position] < offset - symbol.offset:
            return symbol
        return Symbol(names[position], offset - starts[position])

    @cached_property
    def _parts(self) -> tuple[list[int], list[str]]:
        """Where the parts of the vDSO's handler begin, in bytes from its start, and their names."""
        image: object = None if self._kernel.vdso is None else self._kernel.vdso.image
        parts = sorted((at, name) for name, at in image.labels.items()) if isinstance(image, VdsoImage) else []
        return [at for at, _ in parts], [name for _, name in parts]

    def addresses(self, mm: MemoryMap, name: str) -> list[int]:
        """Where functions called `name` begin, in each mapped file that has one; the main program is first.

        A part of the vDSO's handler counts as one.
        """
        found = []
        starts, names = self._parts
        for vma in mm.vmas:
            table = self._table(vma)
            offset = table.named(name) if table is not None else None
            if offset is None and vma.name == VDSO_NAME and name in names:
                offset = starts[names.index(name)]
            if offset is not None:
                address = vma.vm_start + offset - (vma.vm_pgoff << PAGE_SHIFT)
                if vma.vm_start <= address < vma.vm_end:
                    found.append(address)
        return found

    def _table(self, vma: Vma) -> SymbolTable | None:
        """The functions of the file that `vma` shows."""
        mapping = vma.mapping
        if mapping is None:
            return None
        vdso = self._kernel.vdso
        key: _FileKey = None
        if vma.vm_file is not None:
            inode = vma.vm_file.inode
            key = (inode.i_sb.dev, inode.i_ino, inode.i_size, inode.i_mtime_ns)
        elif vma.name != VDSO_NAME or vdso is None:
            return None
        table = self._tables.get(key)
        if table is None:
            if len(self._tables) >= _TABLES_KEPT:
                self._tables.clear()
            if key is None:
                assert vdso is not None
                elf = vdso.image.elf
                table = SymbolTable(lambda offset, count: elf[offset : offset + count])
            else:
                table = SymbolTable(lambda offset, count: read_file(mapping, offset, count))
            self._tables[key] = table
        return table

    # -- contents ------------------------------------------------------------------------------------------------------
    def peek(self, mm: MemoryMap, address: int, count: int) -> bytes:
        """Up to `count` bytes at `address`, as the guest would see them, up to the first that is not mapped.

        Pages that have not been touched yet are told from what lies behind them, and stay untouched.
        """
        return b"".join(self._pieces(mm, address, count))

    def _pieces(self, mm: MemoryMap, address: int, count: int) -> Iterator[bytes]:
        while count > 0:
            page, offset = address & PAGE_MASK, address & _OFFSET
            length = min(count, PAGE_SIZE - offset)
            entry = mm.pt.get(page, 0)
            if entry:
                frame = entry & PAGE_MASK
                piece = mm.ram[frame + offset : frame + offset + length].tobytes()
            else:
                vma = mm.vmas.lookup(address)
                if vma is None:
                    return
                mapping = vma.mapping
                if mapping is None:
                    piece = bytes(length)
                else:
                    size = mapping.host.i_size + PAGE_SIZE - 1 & PAGE_MASK
                    piece = read_file(mapping, (vma.pgoff_at(page) << PAGE_SHIFT) + offset, length, size)
            yield piece
            if len(piece) < length:
                return
            address += length
            count -= length

    def disassemble(self, mm: MemoryMap, address: int, count: int) -> list[Instruction]:
        """Up to `count` instructions from `address` on, up to the first bytes that are none."""
        longest = disasm.longest(self._arch)
        code = self.peek(mm, address, count * longest)
        found: list[Instruction] = []
        at = 0
        while len(found) < count:
            instruction = self._decode(address + at, code[at : at + longest])
            if instruction is None:
                break
            found.append(instruction)
            at += len(instruction.data)
        return found

    def _decode(self, address: int, code: bytes) -> Instruction | None:
        """The instruction that `code` begins with."""
        key = (address, code)
        try:
            return self._decoded[key]
        except KeyError:
            if len(self._decoded) >= _INSTRUCTIONS_KEPT:
                self._decoded.clear()
            instruction = self._decoded[key] = disasm.first(self._arch, code, address)
            return instruction


def read_file(mapping: AddressSpace, offset: int, count: int, size: int | None = None) -> bytes:
    """Up to `count` bytes of a file, fewer at its end (`size`, if that is not its own); none where it can't be read.

    `offset` may come from the file itself, and be anything; what lies behind it may fail.
    """
    if offset < 0:
        return b""
    try:
        return mapping.read(offset, count, mapping.host.i_size if size is None else size)
    except SyscallError:
        return b""


def file_of(vma: Vma) -> str:
    """The last part of the name of the file that `vma` shows; `[vdso]` and its kin for what is none."""
    file = vma.vm_file
    if file is None or file.f_path is None:
        return vma.name
    return printable(file.f_path.dentry.d_name)
