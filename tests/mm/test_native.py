"""Random memory calls: the model and the host's kernel must say the same, errno by errno, and map the same."""

from __future__ import annotations

import random

import pytest

from kernel_model.abi.fcntl import O_RDONLY, O_RDWR, O_WRONLY
from kernel_model.mm.uaccess import copy_from_user, copy_to_user
from kernel_model.mm.vma import VM_MAYSHARE
from kernel_model.types import PAGE_SIZE, SyscallError
from tests.mm import native
from tests.mm.native import BASE, Call, Mapping, Outcome
from tests.support.model import Model, make_model

PAGES = 12

PROTS = (0, 1, 3, 3, 3, 5, 7, 2, 4)
KINDS: dict[str, tuple[int, int | str]] = {
    "private": (0x22, -1),
    "shared": (0x21, -1),
    "file": (2, "rw"),
    "file shared": (1, "rw"),
    "file shared, only to look": (1, "ro"),
}
ODD_MMAP_FLAGS = (0x100, 0x20000, 0x4000, 0x8000, 0x2000, 0x3, 0x800, 0x80000, 0x100000)
ADVICE = (0, 1, 2, 3, 4, 4, 8, 9, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 99, 5)


def sequence(seed: int) -> list[Call]:
    """Calls on a dozen pages, most of them sensible."""
    rng = random.Random(seed)
    return [_call(rng) for _ in range(rng.randint(5, 25))]


def _length(rng: random.Random) -> int:
    pages = rng.randint(1, 5) * PAGE_SIZE
    return pages if rng.random() < 0.85 else rng.choice((0, 1, pages - 5, pages + 1))


def _call(rng: random.Random) -> Call:
    addr = BASE + rng.randrange(PAGES) * PAGE_SIZE + (rng.choice((1, 8, 2048)) if rng.random() < 0.03 else 0)
    length = _length(rng)
    prot = rng.choice(PROTS)
    name = rng.choices(
        ("mmap", "munmap", "mprotect", "mremap", "madvise", "mlock", "munlock", "mlock2", "msync", "mincore", "mseal",
         "remap_file_pages", "look", "store"),
        (30, 12, 16, 14, 10, 4, 3, 2, 2, 3, 0.5, 1, 2, 2),
    )[0]  # fmt: skip
    args: list[int | str] = [addr, length]
    if name == "mmap":
        flags, fd = KINDS[rng.choice(list(KINDS))]
        if fd == "rw" and rng.random() < 0.15:
            fd = "wo"
        if rng.random() < 0.2:
            flags |= rng.choice(ODD_MMAP_FLAGS)
        if rng.random() < 0.05:
            flags &= ~3
        offset = rng.randrange(4) * PAGE_SIZE + (100 if rng.random() < 0.03 else 0)
        args += [prot, flags | 0x10, fd, offset]
    elif name == "mprotect":
        args.append(rng.choice((prot, prot, prot, prot | 8, 0x1000003, 0x2000001, 0x10)))
    elif name == "mremap":
        flags = rng.choice((3, 3, 3, 0, 7, 7, 2, 8))
        new = length if flags & 4 else rng.choice((rng.randint(1, 5) * PAGE_SIZE, length, 0))
        target = BASE + rng.randrange(PAGES) * PAGE_SIZE + (16 if rng.random() < 0.03 else 0)
        args = [addr, length if rng.random() < 0.95 else 0, new, flags, target]
    elif name == "madvise":
        args.append(rng.choice(ADVICE))
    elif name in ("mlock2", "mseal"):
        args.append(rng.choice((0, 0, 1, 2)))
    elif name == "msync":
        args.append(rng.choice((0, 1, 2, 4, 5, 6, 8)))
    elif name == "remap_file_pages":
        args += [rng.choice((0, 0, 0, 1)), rng.randrange(4), 0]
    elif name in ("look", "store"):
        args = [addr]
    return name, args


def run_model(calls: list[Call]) -> list[Outcome]:
    """What the model makes of `calls`."""
    model = make_model(ram_bytes=1 << 22)
    task = model.task
    inode = model.add_file("/tmp/file", b"x" * native.FILE_BYTES, 0o600)
    place = model.kernel.mounts.path_of(b"/tmp/file")
    flags = {"rw": O_RDWR, "ro": O_RDONLY, "wo": O_WRONLY}
    fds = {name: task.files.install(inode.open(place, flag, task), 1000) for name, flag in flags.items()}
    vector = model.alloc(64)
    outcomes: list[Outcome] = []
    for name, args in calls:
        numbers = [fds[arg] if isinstance(arg, str) else arg & (1 << 64) - 1 for arg in args]
        written: list[int] = []
        try:
            if name == "look":
                result = len(copy_from_user(task.mm, numbers[0], 1))
            elif name == "store":
                copy_to_user(task.mm, numbers[0], b"\1")
                result = 1
            else:
                if name == "mincore":
                    numbers.append(vector)
                raw = (numbers + [0] * 6)[:6]
                result = model.kernel.table[native.NUMBERS[name]](task, *raw)
                if name == "mincore":
                    written = list(model.get(vector, -(-numbers[1] // PAGE_SIZE)))
        except SyscallError as error:
            result = -error.errno
        outcomes.append((result - BASE if result >= BASE else result, written, native.joined(_maps(model))))
    return outcomes


def _maps(model: Model) -> list[Mapping]:
    result: list[Mapping] = []
    for vma in model.task.mm.vmas:
        if vma.vm_start >= BASE and vma.vm_end <= native.LIMIT:
            prot = "".join(letter if vma.vm_flags & bit else "-" for letter, bit in zip("rwx", (1, 2, 4), strict=True))
            prot += "s" if vma.vm_flags & VM_MAYSHARE else "p"
            kind = "file" if vma.vm_file else "shared" if vma.mapping else "private"
            result.append((vma.vm_start - BASE, vma.vm_end - BASE, prot, vma.vm_pgoff * PAGE_SIZE, kind))
    return result


@pytest.mark.skipif(not native.comparable(), reason="needs Linux 6.17 or later on x86-64 to compare with")
@pytest.mark.parametrize("first", range(0, 100, 25))
def test_the_same_as_the_host(first: int) -> None:
    for seed in range(first, first + 25):
        calls = sequence(seed)
        theirs = native.run(calls)
        ours = run_model(calls)
        for i, call in enumerate(calls):
            assert ours[i] == theirs[i], f"seed {seed}, after {calls[:i]}: {call}"
