"""Small real ELF files, built by hand: the smallest that Linux starts, and anything that can be wrong with one."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field, replace

ET_EXEC, ET_DYN = 2, 3
PT_LOAD, PT_INTERP, PT_GNU_STACK = 1, 3, 0x6474E551
PF_X, PF_W, PF_R = 1, 2, 4
EM_X86_64, EM_AARCH64 = 62, 183
MACHINES = {"x86_64": EM_X86_64, "aarch64": EM_AARCH64}
BASE = 0x400000
CODE_OFFSET = 0x1000

# write(1, sp, 2048); exit(0)
DUMP_STACK = {
    "x86_64": bytes.fromhex("b801000000 bf01000000 4889e6 ba00080000 0f05 b83c000000 31ff 0f05"),
    "aarch64": struct.pack(
        "<8I", 0xD2800020, 0x910003E1, 0xD2810002, 0xD2800808, 0xD4000001, 0xD2800000, 0xD2800BA8, 0xD4000001
    ),
}


@dataclass(frozen=True)
class Phdr:
    """A program header; by default a readable and executable segment over the whole of a two-page file."""

    type: int = PT_LOAD
    flags: int = PF_R | PF_X
    offset: int = 0
    vaddr: int = BASE
    filesz: int = 0x2000
    memsz: int = 0x2000
    align: int = 0x1000

    def pack(self) -> bytes:
        fields = (self.offset, self.vaddr, self.vaddr, self.filesz, self.memsz, self.align)
        return struct.pack("<II6Q", self.type, self.flags, *(value & (1 << 64) - 1 for value in fields))


@dataclass(frozen=True)
class Elf:
    """An ELF file. `pieces` are put at their offsets last; `size` cuts or fills it."""

    phdrs: tuple[Phdr, ...] = (Phdr(),)
    type: int = ET_EXEC
    machine: int = EM_X86_64
    entry: int = BASE + CODE_OFFSET
    phoff: int = 64
    phentsize: int = 56
    phnum: int | None = None
    ident: bytes = b"\x7fELF\x02\x01\x01".ljust(16, b"\0")
    size: int = 0x2000
    pieces: dict[int, bytes] = field(default_factory=dict)

    def build(self) -> bytes:
        data = bytearray(self.size)

        def put(offset: int, piece: bytes) -> None:
            end = min(offset + len(piece), self.size)
            if offset < end:
                data[offset:end] = piece[: end - offset]

        phnum = len(self.phdrs) if self.phnum is None else self.phnum
        header = struct.pack(
            "<16sHHIQQQIHHHHHH",
            self.ident, self.type, self.machine, 1, self.entry, self.phoff, 0, 0, 64, self.phentsize, phnum, 0, 0, 0,
        )  # fmt: skip
        put(0, header)
        put(self.phoff, b"".join(phdr.pack() for phdr in self.phdrs))
        for offset, piece in self.pieces.items():
            put(offset, piece)
        return bytes(data)

    def but(self, **changes: object) -> Elf:
        """A copy with other fields."""
        return replace(self, **changes)  # type: ignore[arg-type]


def with_interpreter(name: bytes, elf: Elf = Elf(), *, filesz: int | None = None, offset: int = 0x1800) -> Elf:
    """`elf` with a PT_INTERP of `name` (the caller gives its NUL)."""
    interp = Phdr(type=PT_INTERP, flags=PF_R, offset=offset, filesz=len(name) if filesz is None else filesz)
    return elf.but(phdrs=(interp, *elf.phdrs), pieces={**elf.pieces, 0x1800: name})


PIE = Elf(type=ET_DYN, entry=CODE_OFFSET, phdrs=(Phdr(vaddr=0),))


def stack_dumper(arch: str) -> bytes:
    """A program that writes 2048 bytes from its first stack pointer to standard output."""
    return Elf(machine=MACHINES[arch], pieces={CODE_OFFSET: DUMP_STACK[arch]}).build()
