"""Every instruction of every handler, as a place to stop at and unwind from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from emu.disasm import decode

if TYPE_CHECKING:
    from vdso_image.image import VdsoImage

GETPID = {"x86_64": 39, "aarch64": 172}
NEVER_REACHED = ("ud2", "brk")


@dataclass(frozen=True)
class Stop:
    """A handler entered at `entry` and stopped at `pc`. `frame`: s (on the stack) or p (in a page of its own)."""

    function: str
    text: str
    entry: int
    pc: int
    frame: str
    rules: str
    """What is to be found: unwound | result (the number's register has the result by then) | none."""

    def __str__(self) -> str:
        return f"{self.function}+{self.pc - self.entry:#x} {self.text.split()[0]}"


def _function(image: VdsoImage, name: str) -> list[tuple[int, str]]:
    start = image.symbols[name]
    out = []
    for insn in decode(image.arch, image.elf[start : start + 128], start):
        out.append((insn.address, insn.text))
        if insn.text.split()[0] in (*NEVER_REACHED, "iretq"):
            break
        if name == "__kernel_bounce_user" and insn.text == "syscall":
            break
    return out


def stops(image: VdsoImage) -> list[Stop]:
    """All of them, for all handlers and ways back."""
    out = []
    for name, frame in (
        ("__kernel_bounce", "s"),
        ("__kernel_bounce_task_page", "p"),
        ("__kernel_bounce_return", "s"),
        ("__kernel_bounce_return_task_page", "p"),
    ):
        for pc, text in _function(image, name):
            lost = image.arch == "x86_64" and frame == "p" and text == "ud2"
            out.append(Stop(name, text, image.symbols[name], pc, frame, "none" if lost else "unwound"))
    if image.arch == "x86_64":
        entry = image.symbols["__kernel_bounce_user"]
        for name, rules in (("__kernel_bounce_user", "unwound"), ("__kernel_bounce_return", "result")):
            out += [Stop("__kernel_bounce_user", text, entry, pc, "s", rules) for pc, text in _function(image, name)]
    return out
