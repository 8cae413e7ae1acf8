"""Starting programs on the model, and reading what they find on their stack."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from kernel_model.abi.fcntl import AT_FDCWD
from kernel_model.exec import do_execve
from kernel_model.types import KEEP_REGISTERS, UserPtr
from tests.support.model import Model

WORD = struct.Struct("<Q")


def put_array(model: Model, strings: list[bytes]) -> UserPtr:
    """A NULL-terminated array of strings in user memory."""
    address = model.put(b"\0".join([*strings, b""]))
    pointers = []
    for string in strings:
        pointers.append(address)
        address = UserPtr(address + len(string) + 1)
    return model.put(struct.pack(f"<{len(pointers) + 1}Q", *pointers, 0))


def execve(
    model: Model,
    path: bytes,
    argv: list[bytes] | None = None,
    envp: list[bytes] | None = None,
    *,
    dfd: int = AT_FDCWD,
    flags: int = 0,
) -> None:
    """The guest's execveat(2); returns when the program was put in place. SyscallError and TaskExit come through."""
    argv_ptr = put_array(model, [path] if argv is None else argv)
    envp_ptr = put_array(model, envp or [])
    assert do_execve(model.task, dfd, model.put_string(path), argv_ptr, envp_ptr, flags) == KEEP_REGISTERS


@dataclass(frozen=True)
class FirstStack:
    """What lies at a program's first stack pointer."""

    sp: int
    argv: list[int]
    envp: list[int]
    auxv: list[tuple[int, int]]
    end: int
    """Just after AT_NULL."""

    @classmethod
    def parse(cls, sp: int, data: bytes) -> FirstStack:
        """`data`: memory from `sp` on."""
        words = [word for (word,) in WORD.iter_unpack(data[: len(data) & -8])]
        argc = words[0]
        argv = words[1 : argc + 1]
        assert words[argc + 1] == 0
        i = argc + 2
        envp = []
        while words[i]:
            envp.append(words[i])
            i += 1
        i += 1
        auxv = []
        while True:
            auxv.append((words[i], words[i + 1]))
            i += 2
            if not auxv[-1][0]:
                return cls(sp, argv, envp, auxv, sp + 8 * i)

    @classmethod
    def of(cls, model: Model) -> FirstStack:
        """What the program that `model` is about to start finds."""
        sp = model.cpu.gregs[model.cpu.sp_index]
        top = next(vma.vm_end for vma in model.task.mm.vmas if vma.vm_start <= sp < vma.vm_end)
        return cls.parse(sp, model.get(sp, min(top - sp, 16384)))

    def keys(self) -> list[int]:
        """The auxiliary vector's types in order."""
        return [key for key, _ in self.auxv]

    def get(self, key: int) -> int:
        """The value of one type."""
        return dict(self.auxv)[key]


def string_at(model: Model, address: int) -> bytes:
    """The string in user memory."""
    result = b""
    while (byte := model.get(address, 1)) != b"\0":
        result += byte
        address += 1
    return result
