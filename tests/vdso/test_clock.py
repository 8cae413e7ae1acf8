"""The clock functions, run as they are on a CPU with nothing around it, against the same sums in Python."""

from __future__ import annotations

from functools import cache
from struct import unpack
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from unicorn.unicorn_const import UC_HOOK_CODE

from tests.vdso.engine import DATA, STACK_ARGUMENT, U64_MASK, VDSO, Engine, Fault
from vdso_image import vvar
from vdso_image.image import ARCHITECTURES, VdsoImage, load

REALTIME, MONOTONIC, PROCESS_CPUTIME, THREAD_CPUTIME, RAW, REALTIME_COARSE, MONOTONIC_COARSE, BOOTTIME = range(8)
REALTIME_ALARM, BOOTTIME_ALARM, _, TAI = range(8, 12)
FINE = (REALTIME, MONOTONIC, RAW, BOOTTIME, TAI)
COARSE = (REALTIME_COARSE, MONOTONIC_COARSE)
OTHERS = (PROCESS_CPUTIME, THREAD_CPUTIME, REALTIME_ALARM, BOOTTIME_ALARM, 10, 12, 63, 64, 0x7FFF_FFFF, 0xFFFF_FFFF)
SECOND = 1_000_000_000
MINUS_EINVAL = -22 & U64_MASK

NAMES = {
    "aarch64": {
        "clock_gettime": "__kernel_clock_gettime",
        "gettimeofday": "__kernel_gettimeofday",
        "clock_getres": "__kernel_clock_getres",
        "time": "__kernel_time",
        "getcpu": "__kernel_getcpu",
    },
    "x86_64": {name: f"__vdso_{name}" for name in ("clock_gettime", "gettimeofday", "clock_getres", "time", "getcpu")},
}
NUMBERS = {
    "aarch64": {"clock_gettime": 113, "clock_getres": 114, "gettimeofday": 169, "time": 113},
    "x86_64": {"clock_gettime": 228, "clock_getres": 229, "gettimeofday": 96, "time": 201},
}
# Where the code reads the counter, what is put there instead, and the register that is the counter then: on x86-64 its
# upper half, the lower is in the instruction.
READS = {
    "aarch64": (bytes.fromhex("46e03bd5"), bytes.fromhex("e60310aa"), "x16"),  # mrs x6, cntvct_el0; mov x6, x16
    "x86_64": (bytes.fromhex("0faee80f31"), b"\xb8", "rdx"),  # lfence, rdtsc; mov eax, imm32
}

each_arch = pytest.mark.parametrize("arch", ARCHITECTURES)
bases = st.lists(st.tuples(st.integers(0, 1 << 40), st.integers(0, 1 << 54)), min_size=12, max_size=12)


def given_counter(image: VdsoImage, counter: int) -> tuple[VdsoImage, str, int]:
    """The image with a counter that stands where it is told; and what to put into which register for it."""
    old, new, register = READS[image.arch]
    assert image.elf.count(old) == 1
    if image.arch == "x86_64":
        new += (counter & 0xFFFF_FFFF).to_bytes(4, "little")
        counter >>= 32
    return image._replace(elf=image.elf.replace(old, new)), register, counter


class Clock:
    """A CPU and the functions, by the names that C has for them."""

    def __init__(self, arch: str, page: bytes, image: VdsoImage | None = None) -> None:
        self.engine = Engine(image or load(arch), page)
        self.names = NAMES[arch]

    def call(self, name: str, *arguments: int) -> int:
        return self.engine.call(self.names[name], *arguments)

    def words(self, count: int, size: str = "q") -> tuple[Any, ...]:
        """What a function wrote to DATA."""
        return unpack(f"<{count}{size}", self.engine.uc.mem_read(DATA, count * (8 if size == "q" else 4)))

    def gettime(self, clock: int) -> tuple[Any, ...]:
        assert self.call("clock_gettime", clock, DATA) == 0
        assert not self.engine.calls
        return self.words(2)


@cache
def on_page(arch: str) -> Clock:
    return Clock(arch, b"")


def frozen(arch: str, base: list[tuple[int, int]], **more: Any) -> Clock:
    """Functions on a page where time stands still."""
    clock = on_page(arch)
    page = vvar.pack_vvar(seq=2, clock_mode=vvar.CLOCKMODE_FROZEN, base=base, **more)
    clock.engine.uc.mem_write(VDSO - vvar.VVAR_BYTES, page)
    clock.engine.calls.clear()
    return clock


def time_of(base: tuple[int, int], shift: int, cycles: int = 0, mult: int = 0) -> tuple[int, int]:
    """Seconds and nanoseconds, as the page's description says."""
    seconds, nanoseconds = divmod(base[1] + cycles * mult >> shift, SECOND)
    return base[0] + seconds, nanoseconds


@given(arch=st.sampled_from(ARCHITECTURES), base=bases, clock=st.sampled_from(FINE), shift=st.integers(1, 63))
def test_fine_clocks(arch: str, base: list[tuple[int, int]], clock: int, shift: int) -> None:
    assert frozen(arch, base, shift=shift).gettime(clock) == time_of(base[clock], shift)


@given(
    arch=st.sampled_from(ARCHITECTURES),
    base=bases,
    clock=st.sampled_from(COARSE),
    tick=st.sampled_from((4_000_000, 10_000_000, 1_000_000)),
)
def test_coarse_clocks_are_rounded_down_to_the_tick(
    arch: str, base: list[tuple[int, int]], clock: int, tick: int
) -> None:
    seconds, nanoseconds = time_of(base[clock], 24)
    wanted = (seconds, nanoseconds - nanoseconds % tick)
    assert frozen(arch, base, shift=24, tick_ns=tick).gettime(clock) == wanted


@given(
    arch=st.sampled_from(ARCHITECTURES),
    last=st.integers(0, U64_MASK),
    cycles=st.integers(0, (1 << 63) - 1),
    mult=st.integers(1, (1 << 32) - 1),
    shift=st.integers(1, 63),
    nsec=st.integers(0, U64_MASK),
)
def test_the_counter_goes_on(arch: str, last: int, cycles: int, mult: int, shift: int, nsec: int) -> None:
    """128 bits in between: nothing is lost however long the page was not renewed."""
    counter = last + cycles
    assume(counter <= U64_MASK and nsec + cycles * mult >> shift <= U64_MASK)
    image, register, value = given_counter(load(arch), counter)
    base = [(7, nsec)] * vvar.CLOCKS
    page = vvar.pack_vvar(
        seq=0, clock_mode=vvar.CLOCKMODE_COUNTER, base=base, cycle_last=last, mult=mult, shift=shift
    )  # fmt: skip
    clock = Clock(arch, page, image)
    clock.engine[register] = value
    arguments = [MONOTONIC, DATA, value] if arch == "x86_64" else [MONOTONIC, DATA]
    assert clock.call("clock_gettime", *arguments) == 0
    assert clock.words(2) == time_of(base[MONOTONIC], shift, cycles, mult)


@each_arch
def test_the_counter_has_only_so_many_bits(arch: str) -> None:
    """On AArch64 it may wrap around; on x86-64 one that is behind stands still."""
    last, mask = 0xFF_FFFF_FFFF_FFF0, (1 << 56) - 1
    image, register, value = given_counter(load(arch), 0x10)
    page = vvar.pack_vvar(
        seq=0, clock_mode=1, base=[(0, 0)] * vvar.CLOCKS, cycle_last=last, mask=mask, mult=1 << 24, shift=24
    )  # fmt: skip
    clock = Clock(arch, page, image)
    clock.engine[register] = value
    assert clock.call("clock_gettime", MONOTONIC, DATA, value) == 0
    assert clock.words(2) == (0, 0x20 if arch == "aarch64" else 0)


@each_arch
@pytest.mark.parametrize("clock", FINE)
def test_with_the_cpus_own_counter(arch: str, clock: int) -> None:
    page = vvar.pack_vvar(seq=0, clock_mode=1, base=[(0, 0)] * vvar.CLOCKS, mult=1 << 16, shift=24)
    functions = Clock(arch, page)
    first = functions.gettime(clock)
    assert (0, 0) < first <= functions.gettime(clock)


@each_arch
@pytest.mark.parametrize("clock", OTHERS)
def test_other_clocks_are_the_kernels(arch: str, clock: int) -> None:
    functions = frozen(arch, [(1, 0)] * vvar.CLOCKS)
    functions.engine.answer = lambda: MINUS_EINVAL
    for name in ("clock_gettime", "clock_getres"):
        functions.engine.calls.clear()
        assert functions.call(name, clock, DATA) == MINUS_EINVAL
        assert functions.engine.calls == [(NUMBERS[arch][name], clock, DATA)]


@each_arch
@pytest.mark.parametrize("clock", (*FINE, *COARSE))
def test_a_page_that_tells_no_time(arch: str, clock: int) -> None:
    functions = Clock(arch, vvar.pack_vvar(seq=0, clock_mode=vvar.CLOCKMODE_NONE, base=[(0, 0)] * vvar.CLOCKS))
    engine = functions.engine
    assert functions.call("clock_gettime", clock, DATA) == 0
    assert functions.call("gettimeofday", DATA, DATA + 64) == 0
    assert engine.calls == [
        (NUMBERS[arch]["clock_gettime"], clock, DATA),
        (NUMBERS[arch]["gettimeofday"], DATA, DATA + 64),
    ]


@each_arch
@pytest.mark.parametrize("pointer", [0, DATA])
def test_time_by_a_call(arch: str, pointer: int) -> None:
    functions = Clock(arch, vvar.pack_vvar(seq=0, clock_mode=vvar.CLOCKMODE_NONE, base=[(0, 0)] * vvar.CLOCKS))
    engine = functions.engine

    def answer() -> int:
        number, first, second = engine.calls[-1]
        if number == NUMBERS["aarch64"]["clock_gettime"]:
            assert first == REALTIME
            engine.uc.mem_write(second, (1234567890).to_bytes(8, "little"))
            return 0
        if first:
            engine.uc.mem_write(first, (1234567890).to_bytes(8, "little"))
        return 1234567890

    engine.answer = answer
    assert functions.call("time", pointer) == 1234567890
    assert [number for number, *_ in engine.calls] == [NUMBERS[arch]["time"]]
    assert functions.words(1) == ((1234567890,) if pointer else (0,))


@given(arch=st.sampled_from(ARCHITECTURES), base=bases, pointers=st.tuples(st.booleans(), st.booleans()))
def test_gettimeofday(arch: str, base: list[tuple[int, int]], pointers: tuple[bool, bool]) -> None:
    functions = frozen(arch, base, shift=24, timezone=(-60, 1))
    functions.engine.uc.mem_write(DATA, b"\xff" * 24)
    tv, tz = (DATA if pointers[0] else 0), (DATA + 16 if pointers[1] else 0)
    assert functions.call("gettimeofday", tv, tz) == 0
    assert not functions.engine.calls
    seconds, nanoseconds = time_of(base[REALTIME], 24)
    assert functions.words(2) == ((seconds, nanoseconds // 1000) if tv else (-1, -1))
    assert functions.words(6, "i")[4:] == ((-60, 1) if tz else (-1, -1))


@each_arch
@pytest.mark.parametrize("pointer", [0, DATA])
def test_time(arch: str, pointer: int) -> None:
    functions = frozen(arch, [(5_000_000_000, 999_999_999 << 24)] * vvar.CLOCKS, shift=24)
    functions.engine.uc.mem_write(DATA, bytes(8))
    assert functions.call("time", pointer) == 5_000_000_000
    assert functions.words(1) == (5_000_000_000 if pointer else 0,)
    assert not functions.engine.calls


@each_arch
@pytest.mark.parametrize("clock", (*FINE, *COARSE))
def test_clock_getres(arch: str, clock: int) -> None:
    functions = frozen(arch, [(0, 0)] * vvar.CLOCKS, hrtimer_res=3, tick_ns=4_000_000)
    assert functions.call("clock_getres", clock, DATA) == 0
    assert functions.words(2) == (0, 3 if clock in FINE else 4_000_000)
    assert functions.call("clock_getres", clock, 0) == 0
    assert not functions.engine.calls


@each_arch
def test_getcpu(arch: str) -> None:
    functions = frozen(arch, [(0, 0)] * vvar.CLOCKS, cpu=5, node=1)
    for cpu, node, wanted in ((DATA, DATA + 4, (5, 1)), (DATA, 0, (5, 9)), (0, DATA + 4, (9, 1)), (0, 0, (9, 9))):
        functions.engine.uc.mem_write(DATA, b"\x09\0\0\0" * 2)
        assert functions.call("getcpu", cpu, node, 0) == 0
        assert functions.words(2, "i") == wanted


@each_arch
def test_a_bad_pointer_faults(arch: str) -> None:
    with pytest.raises(Fault):
        frozen(arch, [(0, 0)] * vvar.CLOCKS).call("clock_gettime", MONOTONIC, 8)


@each_arch
@pytest.mark.parametrize("change_at", range(60))
def test_a_page_that_changes_while_it_is_read(arch: str, change_at: int) -> None:
    """Whatever instruction the kernel gets in before, the time is that of one page or the other, never a mixture."""
    pages = [
        vvar.pack_vvar(seq=seq, clock_mode=2, base=[(seconds, seconds << shift)] * vvar.CLOCKS, shift=shift)
        for seq, seconds, shift in ((2, 1000, 20), (4, 777_777_777, 24))
    ]
    functions = Clock(arch, pages[0])
    engine = functions.engine
    count = 0

    def before_each(_engine: object, _address: int, _size: int, _data: object) -> None:
        nonlocal count
        if count == change_at:
            engine.uc.mem_write(VDSO - vvar.VVAR_BYTES, pages[1])
        count += 1

    engine.uc.hook_add(UC_HOOK_CODE, before_each)
    assert functions.gettime(MONOTONIC) in {(1000, 1000), (777_777_777, 777_777_777)}
    assert functions.gettime(MONOTONIC) == (777_777_777, 777_777_777)


@each_arch
def test_it_waits_while_the_kernel_writes(arch: str) -> None:
    functions = Clock(arch, vvar.pack_vvar(seq=3, clock_mode=2, base=[(1, 1)] * vvar.CLOCKS))
    count = 0

    def before_each(engine: Any, _address: int, _size: int, _data: object) -> None:
        nonlocal count
        count += 1
        if count == 500:
            page = vvar.pack_vvar(seq=4, clock_mode=2, base=[(2, 0)] * vvar.CLOCKS)
            engine.mem_write(VDSO - vvar.VVAR_BYTES, page)

    functions.engine.uc.hook_add(UC_HOOK_CODE, before_each)
    assert functions.gettime(REALTIME) == (2, 0)
    assert count > 500


@each_arch
def test_a_real_call_from_c(arch: str) -> None:
    """__kernel_syscall hands all six arguments on."""
    engine = Engine(load(arch))
    seen: list[int] = []
    order = {"aarch64": ["x8", *(f"x{n}" for n in range(6))], "x86_64": "rax rdi rsi rdx r10 r8 r9".split()}[arch]
    if arch == "x86_64":
        for name, value in zip(("rcx", "r8", "r9"), (13, 14, 15), strict=True):
            engine[name] = value
        engine.uc.mem_write(STACK_ARGUMENT, (16).to_bytes(8, "little"))
    else:
        for number in range(3, 7):
            engine[f"x{number}"] = 10 + number

    def answer() -> int:
        seen.extend(engine[name] for name in order)
        return -38

    engine.answer = answer
    assert engine.call("__kernel_syscall", 400, 11, 12) == -38 & U64_MASK
    assert seen == [400, 11, 12, 13, 14, 15, 16]
