"""The machine's first task: what init would have been, but for the program that the person asked for."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final, cast

from kernel_model import arch as architectures
from kernel_model.abi.fcntl import AT_FDCWD
from kernel_model.abi.resource import default_limits
from kernel_model.abi.time import CLOCK_BOOTTIME
from kernel_model.binfmt import BINPRM_BUF_SIZE, NotExecutable
from kernel_model.cred import Cred
from kernel_model.exec import MAX_SCRIPTS, ExecError, kernel_execve, open_exec, program_reader, script_interpreter
from kernel_model.fs.file import FilesStruct, put_file
from kernel_model.fs.namei import path_lookup
from kernel_model.fs.streams import open_streams
from kernel_model.signal.sighand import SighandStruct, SignalStruct
from kernel_model.task import FsStruct, Task
from kernel_model.types import SyscallError
from kernel_model.ucounts import alloc_ucounts, count_task

if TYPE_CHECKING:
    from kernel_model.kernel import Kernel
    from kernel_model.mm.mm import MemoryMap

FIRST_PID: Final = 1000
"""The first task leads a session of its own, as a terminal's program does. It is not 1: programs that find themselves
to be init behave differently, and Linux keeps signals from it."""
_E_MACHINE_OFFSET: Final = 18

AttachCpu = Callable[[str], None]
"""Called with an architecture's name: gives the kernel a CPU of it (`Kernel.attach_cpu`)."""


def make_first_task(kernel: Kernel) -> Task:
    """A task of the user who runs the emulator, at the root of the tree, without memory, files or a program."""
    identity = kernel.identity
    root = kernel.mounts.root
    # Like Linux's own first process it has no memory until its execve.
    no_memory = cast("MemoryMap", None)
    ucounts = alloc_ucounts(kernel, identity.uid)
    task = Task(
        kernel=kernel,
        pid=FIRST_PID,
        tgid=FIRST_PID,
        mm=no_memory,
        files=FilesStruct(),
        fs=FsStruct(root, root),
        cred=Cred.of(identity.uid, identity.gid, identity.groups),
        sighand=SighandStruct(),
        signal=SignalStruct(ucounts, FIRST_PID, FIRST_PID, FIRST_PID, rlim=default_limits()),
        start_time_ns=kernel.clock.now_ns(CLOCK_BOOTTIME),
    )
    kernel.tasks[task.pid] = task
    count_task(task)
    kernel.current = task
    kernel.init_pid_ns.last_pid = kernel.init_tgid = task.pid
    return task


class NoWorkingDirectory(ExecError):
    """There is no such working directory: the person's mistake, not the program's."""

    __slots__ = ()


def start_first_task(
    kernel: Kernel,
    *,
    path: bytes,
    argv: list[bytes],
    envp: list[bytes],
    cwd: bytes = b"/",
    attach_cpu: AttachCpu | None = None,
) -> Task:
    """Make the first task and put the program at `path` (in the guest's tree, from `cwd`) into it; ExecError.

    `attach_cpu`: for a kernel that has no CPU yet, called once it is known what the program is for.
    """
    task = make_first_task(kernel)
    try:
        task.fs.pwd = path_lookup(task, AT_FDCWD, cwd)
    except SyscallError as error:
        shown = cwd.decode(errors="backslashreplace")
        raise NoWorkingDirectory(error.errno, f"its working directory {shown} can't be entered") from None
    open_streams(kernel, task, task.files)
    if attach_cpu is not None:
        attach_cpu(_architecture(task, path))
    kernel_execve(task, path, argv, envp)
    return task


def _architecture(task: Task, path: bytes) -> str:
    """The name of the architecture that the program at `path`, or the interpreter of its `#!` line, is for.

    What can't be told is left to execve to refuse, with any CPU.
    """
    name = path
    for _ in range(MAX_SCRIPTS + 1):
        try:
            file = open_exec(task, AT_FDCWD, name)
        except ExecError:
            if name is path:
                raise
            break
        try:
            read, size = program_reader(task, file)
            head = read(0, BINPRM_BUF_SIZE)
            if head[:2] == b"#!":
                name, _ = script_interpreter(head)
                continue
            machine = int.from_bytes(head[_E_MACHINE_OFFSET : _E_MACHINE_OFFSET + 2], "little")
            if machine in architectures.NAME_BY_MACHINE:
                return architectures.NAME_BY_MACHINE[machine]
            task.kernel.binfmt_elf(read, size, 0, 0)
        except NotExecutable as refusal:
            raise ExecError(refusal.errno, refusal.reason) from None
        finally:
            put_file(file, None)
    return architectures.DEFAULT
