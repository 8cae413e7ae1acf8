"""From every instruction of a function libgcc, LLVM's libunwind and gdb find the way to its caller."""

from __future__ import annotations

import re
import subprocess
from typing import TYPE_CHECKING

import pytest

from emu.disasm import decode
from tests.harness import emulator
from tests.vdso import engine
from tests.vdso.core import write_core
from tests.vdso.engine import ARGUMENTS, PC, SP, VDSO, Engine
from tests.vdso.test_gdb import Bounced, gdb, program
from tests.vdso.test_unwind import Unwinder
from vdso_image.build import BUILT
from vdso_image.image import ARCHITECTURES, VdsoImage, load

if TYPE_CHECKING:
    from pathlib import Path

# one of each shape: with and without a fourth argument, with a return address in a register, changed and not
FUNCTIONS = {
    "aarch64": ("write", "mmap", "clone", "clone3", "brk", "brk@UABI_1"),
    "x86_64": ("write", "mmap", "clone", "clone3", "vfork", "brk", "brk@UABI_1"),
}
CALLS = ("svc #0", "syscall")


def places(image: VdsoImage, *, called: bool) -> list[tuple[str, int, int]]:
    """Function, its start, and each of its instructions. `called`: all that one comes to who calls it with -1."""
    out = []
    for function in FUNCTIONS[image.arch]:
        start = image.symbols[f"__kernel_{function}"]
        for insn in decode(image.arch, image.elf[start : start + 64], start):
            out.append((function, start, insn.address))
            if insn.text.startswith(("ret", "jmp r")):
                break
            if function == "vfork" and insn.text in CALLS and called:
                break  # there would be two from here on
    return out


UNWINDERS = [Unwinder(name, arch) for arch in ARCHITECTURES for name in ("libgcc", "llvm")]
each_unwinder = pytest.mark.parametrize("unwinder", UNWINDERS, ids=lambda u: f"{u.name}-{u.arch}")


def cases(arch: str) -> list[str]:
    return [f"{start:x}:{pc:x}:c:0" for _, start, pc in places(load(arch, "libkernel"), called=True)]


def verdicts(command: list[str], image: str, arch: str) -> dict[str, str]:
    done = subprocess.run([*command, image, *cases(arch)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return dict(line.split(" ", 1) for line in done.stdout.splitlines() if ":c:" in line)


@each_unwinder
def test_from_every_instruction_on_the_host(unwinder: Unwinder) -> None:
    image = str(BUILT / f"{unwinder.arch}-libkernel.so")
    seen = verdicts(unwinder.on_the_host(), image, unwinder.arch)
    assert seen == dict.fromkeys(cases(unwinder.arch), "unwound")


@pytest.mark.parametrize(
    "unwinder",
    [*UNWINDERS, *(Unwinder("libgcc-dynamic", arch) for arch in ARCHITECTURES)],
    ids=lambda u: f"{u.name}-{u.arch}",
)
def test_from_every_instruction_on_our_machine(unwinder: Unwinder) -> None:
    ours = unwinder.on_our_machine()
    options = ours[: len(emulator())]
    command = [*options, "--vdso", "libkernel", *ours[len(options) :]]
    assert verdicts(command, "-", unwinder.arch) == dict.fromkeys(cases(unwinder.arch), "unwound")


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_gdb(arch: str, tmp_path: Path) -> None:
    """On core files: the function with its own name, and its caller with the caller's SP."""
    debugger = gdb(arch)
    image = load(arch, "libkernel")
    script = ["set confirm off", "set pagination off", "set debuginfod enabled off", "set width 0"]
    wanted = {}
    for number, (function, start, pc) in enumerate(places(image, called=False)):
        cpu, after, sp = _called(image, start)
        cpu.uc.emu_start(VDSO + start, VDSO + pc, count=100)
        assert cpu[PC[arch]] == VDSO + pc
        regions = {begin: end - begin + 1 for begin, end, _ in cpu.uc.mem_regions() if begin != engine.DATA}
        memory = {begin: bytes(cpu.uc.mem_read(begin, size)) for begin, size in regions.items()}
        core = tmp_path / f"{number}.core"
        core.write_bytes(write_core(arch, {name: cpu[name] for name in cpu.registers}, memory, VDSO))
        script += [f"core-file {core}", f"echo @ {pc:#x}\\n", "bt 2", "frame 1", 'printf "%d %d\\n", $pc, $sp']
        wanted[f"{pc:#x}"] = (["__kernel_" + function.partition("@")[0], "site"], after, sp)
    commands = tmp_path / "script"
    commands.write_text("\n".join(script) + "\n")
    done = subprocess.run(
        [debugger, "-nx", "-batch", "-x", commands, program(arch)], capture_output=True, text=True, timeout=120
    )
    seen = {}
    for part in done.stdout.split("\n@ ")[1:]:
        place, _, text = part.partition("\n")
        functions = re.findall(r"^#\d+ +(?:0x\w+ in )?(\w+)", text, re.M)[:2]
        after, sp = map(int, re.findall(r"^(\d+) (\d+)$", text, re.M)[-1])
        seen[place] = (functions, after, sp)
    assert seen == wanted


def _called(image: VdsoImage, start: int) -> tuple[Engine, int, int]:
    """A CPU that has just called the function at `start` from `site`; where it comes back to, and SP there."""
    arch = image.arch
    bounced = Bounced(image)
    cpu, sp = bounced.at_the_call()
    after = bounced.symbols["after"]
    if arch == "aarch64":
        cpu["x30"] = after
    else:
        sp -= sp % 16
        cpu.uc.mem_write(sp - 8, after.to_bytes(8, "little"))
        cpu[SP[arch]] = sp - 8
    cpu[ARGUMENTS[arch][0]] = 0x1234  # so that brk comes to its last instruction
    cpu[PC[arch]] = VDSO + start
    return cpu, after, sp
