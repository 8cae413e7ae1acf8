"""A hostile guest: every system call with arguments that make no sense never raises an exception of ours.

Real handlers on the real kernel model; what is asserted is that each call ends as a call can end (a result, an errno
that Linux has, a sleep, or the task's end) and that the model still works afterwards.
"""

from __future__ import annotations

import random
from typing import Any, cast

import pytest

from kernel_model.abi import errno
from kernel_model.entry import EntryPath
from kernel_model.syscalls.table import declared, names
from tests.support.model import Model, make_model

ROUNDS = 60
_GONE = ("exit", "exit_group")


class Asleep(Exception):
    """The call would sleep for ever."""


class Bench:
    """One machine, and pools of values that a call may find interesting."""

    def __init__(self, arch: str, seed: int) -> None:
        self.arch = arch
        self.random = random.Random(seed)
        self.fresh()

    def fresh(self) -> None:
        """A new machine with a few files open, for one whose task has gone."""
        self.model: Model = make_model(self.arch)
        model = self.model
        self.entry = EntryPath(model.kernel, model.task)
        model.kernel.current = model.task
        monkey = cast(Any, model.kernel.host)
        monkey.wait = self._no_sleep
        model.add_file("/tmp/file", b"contents" * 1000)
        model.add_file("/tmp/dir/inner", b"x")
        strings = (
            b"/tmp/file", b"/tmp/dir", b"/tmp/new", b"", b"/proc/self/maps", b"/dev/zero", b"a" * 300, b"/" * 5000,
            b"../../..", b"user.name", b"/proc/self/fd/0", b"/nowhere/at/all",
        )  # fmt: skip
        self.pointers = [int(model.put_string(text)) for text in strings]
        page = int(model.alloc(4096))
        junk = int(model.put(self.random.randbytes(4096)))
        self.pointers += [int(model.alloc(64)), page, page + 4088, page + 4095, page + 4096, junk, junk + 8, junk + 1]
        self.numbers = [0, 1, 2, 3, 4, 5, 7, 8, 63, 64, 100, 255, 256, 511, 4095, 4096, 4097, 65536, 1 << 20, 1 << 31,
                        (1 << 31) - 1, (1 << 32) - 1, 1 << 32, 1 << 47, (1 << 48) - 4096, 1 << 62, 1 << 63,
                        (1 << 64) - 1, (1 << 64) - 100, (1 << 64) - 4096, 0xFFFF_FFFF_FF60_0000]  # fmt: skip
        opener = {row.name: number for number, row in names(self.arch).items()}
        for path, flags in ((0, 2), (1, 0o200000 if self.arch == "x86_64" else 0o40000), (4, 0), (5, 2)):
            self.call(opener["openat"], (-100 & (1 << 64) - 1, self.pointers[path], flags, 0, 0, 0))
        self.call(opener["pipe2"], (page, 0, 0, 0, 0, 0))

    @staticmethod
    def _no_sleep(*_args: object) -> None:
        raise Asleep

    def value(self) -> int:
        """A register's contents: a small number, a pointer good or bad, or any 64 bits."""
        pick = self.random.random()
        if pick < 0.35:
            return self.random.choice(self.pointers)
        if pick < 0.85:
            return self.random.choice(self.numbers)
        if pick < 0.95:
            return self.random.randrange(32)
        return self.random.getrandbits(64)

    def call(self, number: int, args: tuple[int, ...]) -> int | None:
        """Make the call; its result, or None when the task slept, went or had its registers replaced."""
        cpu = self.model.cpu
        cast(Any, self.entry)._read_call = lambda: (number, 0, 0, 0, *args)
        cpu.results.clear()
        try:
            self.entry.syscall()
        except Asleep:  # as if a signal had ended it
            task = self.entry.current
            self.model.kernel.sched.forget(task)
            task.blocked_call = task.call_state = None
            return None
        return cpu.results[-1] if cpu.results else None


@pytest.mark.parametrize("arch", ["aarch64", "x86_64"])
@pytest.mark.parametrize("part", range(8))
def test_senseless_arguments(arch: str, part: int) -> None:
    bench = Bench(arch, part)
    rows = [(number, row) for number, row in sorted(names(arch).items()) if number % 8 == part]
    tried = 0
    for number, row in rows:
        if row.name in _GONE or declared(row) is None:
            continue
        for _ in range(ROUNDS):
            args = tuple(bench.value() for _ in range(6))
            try:
                result = bench.call(number, args)
            except Exception as error:
                error.add_note(f"{row.name}({', '.join(map(hex, args))})")
                raise
            if result is not None and -errno.MAX_ERRNO <= result < 0:
                assert errno.errno_name(-result).startswith("E") or -result >= errno.ERESTARTSYS, (row.name, result)
            if bench.model.task.exit_code is not None:
                bench.fresh()
            # what a call remembers while it waits is no business of the next one
            assert bench.entry.current.call_state is None, (row.name, args, bench.entry.current.call_state)
        tried += 1
    assert tried > 10
