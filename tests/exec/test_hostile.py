"""Whatever a file holds, execve answers as a call does: an errno, a dead task, or a program that starts."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from kernel_model.abi.signal import SIGSEGV
from kernel_model.exec import ExecError, script_interpreter
from kernel_model.types import SyscallError, TaskExit
from tests.exec.support import FirstStack, execve
from tests.support.elf import BASE, MACHINES, PIE, PT_GNU_STACK, Elf, Phdr, with_interpreter
from tests.support.model import make_model

HUGE = 1 << 64
TASK_SIZE = (1 << 47) - 4096
addresses = st.one_of(
    st.integers(0, HUGE - 1),
    st.sampled_from([0, 0x1000, BASE, BASE + 0x1000, BASE + 0x1234, TASK_SIZE - 4096, TASK_SIZE, 1 << 63, HUGE - 1]),
    st.integers(0, 64).map(lambda page: page << 12),
)
sizes = st.one_of(addresses, st.integers(0, 0x5000))
headers = st.builds(
    Phdr,
    type=st.sampled_from([1, 1, 1, 1, PT_GNU_STACK, 6]),
    flags=st.integers(0, 7),
    offset=sizes,
    vaddr=addresses,
    filesz=sizes,
    memsz=sizes,
    align=sizes,
)
programs = st.builds(
    Elf,
    phdrs=st.lists(headers, min_size=1, max_size=4).map(tuple),
    type=st.sampled_from([2, 3]),
    entry=addresses,
)


def check(arch: str, program: bytes, interpreter: bytes) -> None:
    model = make_model(arch, ram_bytes=1 << 20)
    model.add_file("/p", program)
    model.add_file("/ld", interpreter)
    try:
        execve(model, b"/p")
    except TaskExit as gone:
        assert gone.code == SIGSEGV
    except SyscallError as error:
        assert 0 < error.errno < 200
    else:
        stack = FirstStack.of(model)
        assert stack.sp % 16 == 0
        assert model.cpu.gregs[model.cpu.pc_index] < model.task.mm.task_size
    for vma in model.task.mm.vmas:
        assert vma.vm_start < vma.vm_end <= model.task.mm.task_size
    assert model.kernel.frames.used_frames < 64
    model.task.mm.exit_mmap()


@given(st.sampled_from(sorted(MACHINES)), programs, st.booleans(), programs)
def test_any_program_and_interpreter(arch: str, program: Elf, dynamic: bool, interpreter: Elf) -> None:
    program = program.but(machine=MACHINES[arch])
    if dynamic:
        program = with_interpreter(b"/ld\0", program)
    check(arch, program.build(), interpreter.but(machine=MACHINES[arch]).build())


@given(st.lists(st.tuples(st.integers(0, 64 + 2 * 56 - 1), st.integers(0, 255)), min_size=1, max_size=4))
def test_changed_bytes(changes: list[tuple[int, int]]) -> None:
    data = bytearray(with_interpreter(b"/ld\0", PIE).build())
    for position, value in changes:
        data[position] = value
    check("x86_64", bytes(data), PIE.build())


def load_script(buf: bytes) -> tuple[bytes, bytes | None] | None:
    """fs/binfmt_script.c:load_script() step by step, on 256 bytes; None for ENOEXEC."""
    buf_end = 255

    def next_non_spacetab(first: int, last: int) -> int | None:
        return next((i for i in range(first, last + 1) if buf[i] not in b" \t"), None)

    def next_terminator(first: int, last: int) -> int | None:
        return next((i for i in range(first, last + 1) if buf[i] in b" \t\0"), None)

    def string(start: int, end: int) -> bytes:
        return buf[start:end].partition(b"\0")[0]

    i_end: int | None = buf.find(b"\n")
    if i_end == -1:
        i_end = next_non_spacetab(2, buf_end)
        if i_end is None or next_terminator(i_end, buf_end) is None:
            return None
        i_end = buf_end
    assert i_end is not None
    while buf[i_end - 1] in b" \t":
        i_end -= 1
    i_name = next_non_spacetab(2, i_end)
    if i_name is None or i_name == i_end:
        return None
    i_arg = None
    i_sep = next_terminator(i_name, i_end)
    if i_sep is not None and buf[i_sep]:
        i_arg = next_non_spacetab(i_sep, i_end)
    name = string(i_name, i_end if i_arg is None or i_sep is None else i_sep)
    return name, None if i_arg is None else string(i_arg, i_end)


pieces = st.sampled_from([b" ", b"\t", b"\0", b"\n", b"a", b"/bin/sh", b"-x", b" " * 40, b"b" * 100, b"c" * 126])


@given(st.lists(pieces, max_size=12))
def test_first_line_of_a_script(parts: list[bytes]) -> None:
    head = (b"#!" + b"".join(parts))[:256]
    expected = load_script(head.ljust(256, b"\0"))
    try:
        result = script_interpreter(head)
    except ExecError:
        assert expected is None
    else:
        assert result == expected
