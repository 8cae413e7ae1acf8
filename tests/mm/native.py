"""Memory calls made on the host's own kernel, in a child process, over a stretch of its address space that is free."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import platform
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from kernel_model.types import PAGE_SIZE

if TYPE_CHECKING:
    from collections.abc import Callable

BASE = 0x1000_0000_0000
LIMIT = BASE + 64 * PAGE_SIZE
FILE_NAME = "native-file"
FILE_BYTES = 3 * PAGE_SIZE + 100

Call = tuple[str, list[int | str]]
"""A call's name and arguments; a string stands for the descriptor of the file opened so: rw, ro, wo."""
Mapping = tuple[int, int, str, int, str]
"""(start, end, rwxs/p, offset, kind), addresses from BASE; kind: file, shared or private."""
Outcome = tuple[int, list[int], list[Mapping]]
"""Result (an address counts from BASE) or negative errno; bytes that the call wrote; the mappings afterwards."""

NUMBERS = {
    "mmap": 9,
    "mprotect": 10,
    "munmap": 11,
    "mremap": 25,
    "msync": 26,
    "mincore": 27,
    "madvise": 28,
    "mlock": 149,
    "munlock": 150,
    "remap_file_pages": 216,
    "mlock2": 325,
    "mseal": 462,
}


def comparable() -> bool:
    """Is the host's kernel one whose mremap does as the model's, and its numbers those above?"""
    if sys.platform != "linux" or platform.machine() != "x86_64":
        return False
    major, minor = (int(part) for part in platform.release().split(".")[:2])
    return (major, minor) >= (6, 17)


def joined(mappings: list[Mapping]) -> list[Mapping]:
    """Mappings that continue each other as one: which of them Linux joins depends on who wrote to them first."""
    result: list[Mapping] = []
    for start, end, prot, offset, kind in mappings:
        if result:
            before = result[-1]
            continues = kind == "private" or before[3] + before[1] - before[0] == offset
            if before[1] == start and (before[2], before[4]) == (prot, kind) and continues:
                result[-1] = (before[0], end, prot, before[3], kind)
                continue
        result.append((start, end, prot, offset if kind != "private" else 0, kind))
    return result


def run(calls: list[Call]) -> list[Outcome]:
    """What the host's kernel makes of `calls`."""
    reader, writer = os.pipe()
    pid = os.fork()
    if not pid:
        os.close(reader)
        status = 1
        with contextlib.suppress(BaseException):
            data = json.dumps(_run_here(calls)).encode()
            while data:
                data = data[os.write(writer, data) :]
            status = 0
        os._exit(status)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        data = pipe.read()
    assert os.waitpid(pid, 0)[1] == 0
    return [
        (result, written, joined([(a, b, c, d, e) for a, b, c, d, e in maps]))
        for result, written, maps in json.loads(data)
    ]


def _run_here(calls: list[Call]) -> list[tuple[int, list[int], list[Mapping]]]:
    memory = os.memfd_create(FILE_NAME)
    os.write(memory, b"x" * FILE_BYTES)
    flags = {"rw": os.O_RDWR, "ro": os.O_RDONLY, "wo": os.O_WRONLY}
    fds = {name: os.open(f"/proc/self/fd/{memory}", flag) for name, flag in flags.items()}
    syscall: Callable[..., int] = ctypes.CDLL(None, use_errno=True).syscall
    syscall.restype = ctypes.c_long  # type: ignore[attr-defined]
    pipe = os.pipe()
    vector = ctypes.create_string_buffer(64)

    def call(number: int, *args: int) -> int:
        ctypes.set_errno(0)
        result = syscall(ctypes.c_long(number), *[ctypes.c_ulong(arg & (1 << 64) - 1) for arg in args])
        return -ctypes.get_errno() if result == -1 else result

    outcomes = []
    for name, args in calls:
        numbers = [fds[arg] if isinstance(arg, str) else arg for arg in args]
        written: list[int] = []
        if name == "look":
            result = call(1, pipe[1], numbers[0], 1)
            if result == 1:
                os.read(pipe[0], 1)
        elif name == "store":
            os.write(pipe[1], b"\1")
            result = call(0, pipe[0], numbers[0], 1)
            if result != 1:
                os.read(pipe[0], 1)
        elif name == "mincore":
            result = call(NUMBERS[name], *numbers, ctypes.addressof(vector))
            written = list(vector.raw[: -(-numbers[1] // PAGE_SIZE)]) if not result else []
        else:
            result = call(NUMBERS[name], *numbers)
        outcomes.append((result - BASE if result >= BASE else result, written, _maps()))
    return outcomes


def _maps() -> list[Mapping]:
    """The mappings between BASE and LIMIT, from /proc/self/maps."""
    result: list[Mapping] = []
    for line in Path("/proc/self/maps").read_text().splitlines():
        addresses, prot, offset, *_ = line.split()
        start, end = (int(part, 16) for part in addresses.split("-"))
        if start >= BASE and end <= LIMIT:
            kind = "file" if FILE_NAME in line else "shared" if "/dev/zero" in line else "private"
            result.append((start - BASE, end - BASE, prot, int(offset, 16), kind))
    return result
