"""The stack a program starts with: where everything lies, and the auxiliary vector, beside Linux's own."""

from __future__ import annotations

import platform
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from kernel_model.abi import auxvec
from kernel_model.abi.resource import RLIM_INFINITY, RLIMIT_STACK
from kernel_model.exec_image import ADDR_NO_RANDOMIZE
from kernel_model.mm.vma import VM_EXEC, VM_GROWSDOWN, Vma
from tests.exec.support import FirstStack, execve, string_at
from tests.support.elf import MACHINES, PF_R, PF_W, PF_X, PT_GNU_STACK, Elf, Phdr, stack_dumper
from tests.support.model import Model, make_model

ARCHES = sorted(MACHINES)


def start(arch: str, argv: list[bytes], envp: list[bytes], *, seed: int = 1, randomize: bool = True) -> Model:
    model = make_model(arch, seed=seed)
    model.add_file("/bin/program", Elf(machine=MACHINES[arch]).build())
    if not randomize:
        model.task.personality |= ADDR_NO_RANDOMIZE
    execve(model, b"/bin/program", argv, envp)
    return model


def stack_vma(model: Model) -> Vma:
    return next(vma for vma in model.task.mm.vmas if vma.vm_flags & VM_GROWSDOWN)


@pytest.mark.parametrize("arch", ARCHES)
@pytest.mark.parametrize("count", range(4))
def test_layout(arch: str, count: int) -> None:
    argv = [b"name", b"", *(b"x" * i for i in range(count))]
    envp = [b"A=1", b"EMPTY=", b"noequals"]
    model = start(arch, argv, envp)
    stack = FirstStack.of(model)
    mm = model.task.mm
    assert stack.sp % 16 == 0
    assert [string_at(model, pointer) for pointer in stack.argv] == argv
    assert [string_at(model, pointer) for pointer in stack.envp] == envp
    # One block of strings to the top: argv, envp, the file's name, a word of zeros.
    top = stack_vma(model).vm_end
    block = b"\0".join([*argv, *envp, b"/bin/program"]) + b"\0" + bytes(8)
    assert stack.argv[0] == top - len(block)
    assert model.get(stack.argv[0], len(block)) == block
    assert stack.get(auxvec.AT_EXECFN) == top - 8 - len(b"/bin/program\0")
    assert (mm.arg_start, mm.env_end) == (stack.argv[0], stack.get(auxvec.AT_EXECFN))
    assert mm.arg_end == mm.env_start == stack.envp[0]
    assert mm.start_stack == stack.sp
    # Below it: the platform's name, 16 random bytes, and, aligned, the vectors.
    random = stack.get(auxvec.AT_RANDOM)
    assert string_at(model, stack.get(auxvec.AT_PLATFORM)) == arch.encode()
    assert stack.get(auxvec.AT_PLATFORM) == random + 16
    assert 0 <= random - stack.end < 16
    assert model.task.auxv == model.get(stack.end - 16 * len(stack.auxv), 16 * len(stack.auxv))


@pytest.mark.parametrize("arch", ARCHES)
def test_no_arguments_become_one_empty_one(arch: str) -> None:
    model = make_model(arch)
    model.add_file("/p", Elf(machine=MACHINES[arch]).build())
    execve(model, b"/p", [], [])
    assert [string_at(model, pointer) for pointer in FirstStack.of(model).argv] == [b""]
    assert model.task.argv == [b""]


@pytest.mark.parametrize("arch", ARCHES)
def test_values(arch: str) -> None:
    model = start(arch, [b"x"], [])
    stack = FirstStack.of(model)
    expected = {
        auxvec.AT_MINSIGSTKSZ: model.kernel.arch.MINSIGSTKSZ,
        auxvec.AT_HWCAP: 0x1111,
        auxvec.AT_HWCAP2: 0x2222,
        auxvec.AT_PAGESZ: 4096,
        auxvec.AT_CLKTCK: 100,
        auxvec.AT_PHDR: 0x400040,
        auxvec.AT_PHENT: 56,
        auxvec.AT_PHNUM: 1,
        auxvec.AT_BASE: 0,
        auxvec.AT_FLAGS: 0,
        auxvec.AT_ENTRY: 0x401000,
        auxvec.AT_UID: 0,
        auxvec.AT_EUID: 0,
        auxvec.AT_GID: 0,
        auxvec.AT_EGID: 0,
        auxvec.AT_SECURE: 0,
        auxvec.AT_RSEQ_FEATURE_SIZE: 28,
        auxvec.AT_RSEQ_ALIGN: 32,
        auxvec.AT_NULL: 0,
    }
    assert {key: value for key, value in stack.auxv if key in expected} == expected
    keys = stack.keys()
    assert auxvec.AT_SYSINFO_EHDR not in keys
    assert len(set(keys)) == len(keys)


def test_randomness_follows_the_seed() -> None:
    dumps = []
    for seed in (1, 1, 2):
        model = start("x86_64", [b"x"], [], seed=seed)
        stack = FirstStack.of(model)
        dumps.append((stack, model.get(stack.get(auxvec.AT_RANDOM), 16), model.task.mm.brk, model.task.mm.mmap_base))
    assert dumps[0] == dumps[1]
    assert all(one != other for one, other in zip(dumps[0], dumps[2], strict=True))


@pytest.mark.parametrize("arch", ARCHES)
def test_no_randomness_on_request(arch: str) -> None:
    first, second = (start(arch, [b"x"], [], seed=seed, randomize=False) for seed in (1, 2))
    assert FirstStack.of(first) == FirstStack.of(second)
    assert stack_vma(first).vm_end == first.kernel.arch.STACK_TOP
    assert first.task.mm.mmap_base == second.task.mm.mmap_base
    assert first.task.mm.brk == second.task.mm.brk == 0x402000


@pytest.mark.parametrize("arch", ARCHES)
def test_everything_is_below_the_end_of_user_addresses(arch: str) -> None:
    for seed in range(20):
        model = start(arch, [b"x"], [], seed=seed)
        mm = model.task.mm
        assert all(vma.vm_end <= mm.task_size for vma in mm.vmas)
        assert mm.mmap_base < stack_vma(model).vm_start - (8 << 20)


@pytest.mark.parametrize(
    ("headers", "executable"),
    [
        ((), False),
        ((Phdr(type=PT_GNU_STACK, flags=PF_R | PF_W),), False),
        ((Phdr(type=PT_GNU_STACK, flags=PF_R | PF_W | PF_X),), True),
    ],
)
def test_stack_is_executable_only_if_asked_for(headers: tuple[Phdr, ...], executable: bool) -> None:
    model = make_model()
    model.add_file("/p", Elf((Phdr(), *headers)).build())
    execve(model, b"/p")
    assert bool(stack_vma(model).vm_flags & VM_EXEC) == executable


def test_many_arguments_reach_below_the_first_stack_mapping() -> None:
    argv = [b"%d" % i for i in range(50_000)]
    model = start("x86_64", argv, [])
    sp = model.cpu.gregs[model.cpu.sp_index]
    assert int.from_bytes(model.get(sp, 8), "little") == 50_000
    vma = stack_vma(model)
    assert vma.vm_start <= sp < vma.vm_end
    assert string_at(model, int.from_bytes(model.get(sp + 8 * 50_000, 8), "little")) == b"49999"


@pytest.mark.parametrize("limit", [RLIM_INFINITY, 1 << 40, 1 << 20, 16384])
def test_any_stack_limit_leaves_room_for_mappings(limit: int) -> None:
    model = make_model()
    model.task.signal.rlim[RLIMIT_STACK] = (limit, RLIM_INFINITY)
    model.add_file("/p", Elf().build())
    execve(model, b"/p")
    mm = model.task.mm
    assert mm.task_size // 8 < mm.mmap_base < mm.task_size - (128 << 20)


def dumped_keys(command: list[str], directory: Path) -> list[int]:
    """The auxiliary vector's types that the stack-dumping program shows when `command` runs it."""
    result = subprocess.run(command, capture_output=True, cwd=directory, env={"FILL": "x" * 4096}, check=True)
    keys = FirstStack.parse(0, result.stdout).keys()
    assert keys[-1] == auxvec.AT_NULL
    return keys


def our_keys(arch: str) -> list[int]:
    return FirstStack.of(start(arch, [b"x"], [])).keys()


def test_order_is_that_of_linux(tmp_path: Path) -> None:
    arch = platform.machine()
    if arch not in MACHINES:
        pytest.skip("the host's architecture is not one of ours")
    (tmp_path / "dump").write_bytes(stack_dumper(arch))
    (tmp_path / "dump").chmod(0o755)
    native = dumped_keys(["./dump"], tmp_path)
    ours = our_keys(arch)
    common = set(native) & set(ours)
    assert [key for key in native if key in common] == [key for key in ours if key in common]
    # What ours lacks: the vDSO, and what kernels newer than 6.18 may add. What older ones lack: rseq, AT_HWCAP3.
    release = tuple(map(int, re.findall(r"\d+", platform.release())[:2]))
    if release >= (6, 14):
        assert set(ours) <= set(native)
    if release <= (6, 18):
        assert set(native) - set(ours) <= {auxvec.AT_SYSINFO_EHDR}


@pytest.mark.parametrize("arch", ARCHES)
def test_qemu_has_no_entry_that_ours_lacks(arch: str, tmp_path: Path) -> None:
    qemu = shutil.which(f"qemu-{arch}")
    if qemu is None:
        pytest.skip(f"qemu-{arch} is not there")
    (tmp_path / "dump").write_bytes(stack_dumper(arch))
    (tmp_path / "dump").chmod(0o755)
    keys = dumped_keys([qemu, "./dump"], tmp_path)
    assert set(keys) - {auxvec.AT_SYSINFO_EHDR} <= set(our_keys(arch))
