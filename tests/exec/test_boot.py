"""The first task, and what a person is told when its program can't be started."""

from __future__ import annotations

import pytest

from kernel_model import arch as architectures
from kernel_model.abi import errno
from kernel_model.boot import FIRST_PID, start_first_task
from kernel_model.exec import ExecError
from kernel_model.task import Task
from tests.exec.support import FirstStack, string_at
from tests.support.elf import EM_AARCH64, PIE, Elf, with_interpreter
from tests.support.model import Model, make_model

GOOD = Elf().build()


def start(model: Model, path: bytes, *, argv: list[bytes] | None = None, cwd: bytes = b"/") -> tuple[Task, list[str]]:
    """Start as the machine does: the CPU comes when it is known what the program is for."""
    attached = []

    def attach(name: str) -> None:
        attached.append(name)
        model.kernel.attach_cpu(architectures.get(name), model.cpu)

    task = start_first_task(
        model.kernel, path=path, argv=[path] if argv is None else argv, envp=[b"A=1"], cwd=cwd, attach_cpu=attach
    )
    return task, attached


@pytest.fixture
def model() -> Model:
    model = make_model()
    model.add_file("/bin/good", GOOD)
    model.add_file("/bin/arm", Elf(machine=EM_AARCH64).build())
    return model


def reason_of(model: Model, path: bytes, cwd: bytes = b"/") -> tuple[int, str]:
    with pytest.raises(ExecError) as caught:
        start(model, path, cwd=cwd)
    assert caught.value.reason.isprintable()
    return caught.value.errno, caught.value.reason


def test_a_task_of_its_own_session(model: Model) -> None:
    task, attached = start(model, b"bin/good", argv=[b"shown"])
    assert attached == ["x86_64"]
    assert task.pid == task.tgid == task.signal.pgrp == task.signal.session == FIRST_PID
    assert model.kernel.tasks == {FIRST_PID: task}
    assert model.kernel.current is task
    assert (task.cred.uid, task.cred.gid) == (model.kernel.identity.uid, model.kernel.identity.gid)
    model.task = task
    stack = FirstStack.of(model)
    assert string_at(model, stack.argv[0]) == b"shown"
    assert string_at(model, stack.get(31)) == b"bin/good"


def test_the_program_says_which_cpu_it_wants(model: Model) -> None:
    model.add_file("/script", b"#!/script2 x\n")
    model.add_file("/script2", b"#!/bin/arm\n")
    assert start(model, b"/bin/arm")[1] == ["aarch64"]
    assert start(model, b"/script")[1] == ["aarch64"]


def test_the_working_directory(model: Model) -> None:
    task, _ = start(model, b"good", cwd=b"/bin")
    assert task.fs.pwd.dentry.d_name == b"bin"
    assert reason_of(model, b"/bin/good", cwd=b"/nowhere") == (
        errno.ENOENT,
        "its working directory /nowhere can't be entered",
    )


@pytest.mark.parametrize(
    ("path", "number", "reason"),
    [
        (b"/nowhere", errno.ENOENT, "no such file"),
        (b"", errno.ENOENT, "no such file"),
        (b"/bin", errno.EACCES, "is a directory"),
        (b"/bin/good/x", errno.ENOTDIR, "a part of the path is not a directory"),
        (b"/plain", errno.EACCES, "permission denied: it may not be executed"),
        (b"/empty", errno.ENOEXEC, "is empty"),
        (b"/text", errno.ENOEXEC, "is not an ELF program"),
        (b"/riscv", errno.ENOEXEC, "is a program for RISC-V, for which there is no CPU here"),
        (b"/arm32", errno.ENOEXEC, "is a program for 32-bit ARM, for which there is no CPU here"),
        (b"/truncated", errno.ENOEXEC, "is cut off inside the ELF header (40 bytes)"),
        (b"/cut", errno.ENOEXEC, "is cut off: segment 0 (0x400000, 0x2000 bytes) ends at 8192 of a file of 6144 bytes"),
        (
            b"/dynamic",
            errno.ENOENT,
            "needs the interpreter /lib/ld-linux-aarch64.so.1, which is not in the guest's root "
            "(--root DIR gives another root)",
        ),
        (b"/mixed", errno.ELIBBAD, "needs the interpreter /bin/good, which is a program for Advanced Micro Devices"),
        (b"/damaged-interpreter", errno.ELIBBAD, "needs the interpreter /cut, which is cut off: segment 0"),
        (b"/script", errno.ENOENT, "is a script for /bin/sh\\r, which can't be started: no such file"),
        (b"/loop", errno.ELOOP, "is a script of a script, more than 5 deep"),
    ],
)
def test_reasons(model: Model, path: bytes, number: int, reason: str) -> None:
    model.add_file("/plain", GOOD, 0o644)
    model.add_file("/empty")
    model.add_file("/text", b"hello\n")
    model.add_file("/riscv", Elf(machine=243).build())
    model.add_file("/arm32", Elf(machine=40, ident=b"\x7fELF\1\1\1".ljust(16, b"\0")).build())
    model.add_file("/truncated", GOOD[:40])
    model.add_file("/cut", GOOD[:0x1800])
    arm = PIE.but(machine=EM_AARCH64)
    model.add_file("/dynamic", with_interpreter(b"/lib/ld-linux-aarch64.so.1\0", arm).build())
    model.add_file("/mixed", with_interpreter(b"/bin/good\0", arm).build())
    model.add_file("/damaged-interpreter", with_interpreter(b"/cut\0", PIE).build())
    model.add_file("/script", b"#!/bin/sh\r\n")
    model.add_file("/loop", b"#!/loop\n")
    assert reason_of(model, path)[0] == number
    assert reason_of(model, path)[1].startswith(reason)


def test_arguments_that_are_too_long(model: Model) -> None:
    with pytest.raises(ExecError, match=str(errno.E2BIG)):
        start(model, b"/bin/good", argv=[b"x" * 131072])
    with pytest.raises(ExecError, match=str(errno.E2BIG)):
        start(model, b"/bin/good", argv=[b"x"] * 400_000)


def test_too_little_memory() -> None:
    model = make_model(ram_bytes=8 * 4096)
    model.add_file("/bin/good", GOOD)
    with pytest.raises(ExecError) as caught:
        start(model, b"/bin/good", argv=[b"x" * 100_000])
    assert "more memory than the guest has" in caught.value.reason
