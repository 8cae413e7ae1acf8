"""include/uapi/linux/mman.h, asm-generic/mman-common.h: protections and kinds of mappings, the same on both sides but
for MAP_32BIT, which only x86 has."""

from __future__ import annotations

from typing import Final

PROT_NONE, PROT_READ, PROT_WRITE, PROT_EXEC = 0, 1, 2, 4
MAP_SHARED: Final = 1
MAP_PRIVATE: Final = 2
MAP_SHARED_VALIDATE: Final = 3
MAP_TYPE: Final = 0x0F
MAP_FIXED: Final = 0x10
MAP_ANONYMOUS: Final = 0x20
MAP_32BIT: Final = 0x40
MAP_GROWSDOWN: Final = 0x100
MAP_LOCKED: Final = 0x2000
MAP_NORESERVE: Final = 0x4000
MAP_POPULATE: Final = 0x8000
MAP_NONBLOCK: Final = 0x10000
MAP_STACK: Final = 0x20000
MAP_HUGETLB: Final = 0x40000
MAP_FIXED_NOREPLACE: Final = 0x100000
LEGACY_MAP_MASK: Final = 0x7F9F3 | 21 << 26 | 30 << 26
"""include/linux/mman.h: all that MAP_SHARED_VALIDATE allows."""
