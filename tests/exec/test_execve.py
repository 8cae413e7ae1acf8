"""execve(2) and execveat(2): what is refused, scripts, and what the task keeps and loses."""

from __future__ import annotations

import pytest

from kernel_model.abi import errno
from kernel_model.abi.fcntl import AT_EMPTY_PATH, AT_FDCWD, AT_SYMLINK_NOFOLLOW, O_PATH, O_RDONLY, O_RDWR
from kernel_model.abi.mount import MS_NOEXEC, MS_NOSUID
from kernel_model.abi.resource import RLIM_INFINITY, RLIMIT_STACK
from kernel_model.abi.signal import SIG_IGN, SIGHUP, SIGSEGV, SIGUSR1
from kernel_model.cred import CAP_FULL_SET, Cred
from kernel_model.events import Event, Execve
from kernel_model.exec import AT_EXECVE_CHECK, ExecError, do_execve, script_interpreter
from kernel_model.exec_image import ADDR_NO_RANDOMIZE
from kernel_model.fs.open import do_open
from kernel_model.signal.sighand import SigAction, SigAltStack
from kernel_model.task import Rseq
from kernel_model.types import KEEP_REGISTERS, SyscallError, TaskExit, UserPtr
from tests.exec.support import FirstStack, execve, put_array, string_at
from tests.support.elf import EM_AARCH64, PIE, Elf, Phdr, with_interpreter
from tests.support.model import Model, make_model

GOOD = Elf().build()
AT_SECURE = 23


@pytest.fixture
def model() -> Model:
    model = make_model()
    model.add_file("/bin/good", GOOD)
    return model


def error_of(model: Model, path: bytes, argv: list[bytes] | None = None, *, dfd: int = AT_FDCWD, flags: int = 0) -> int:
    """The errno that execve fails with, having changed nothing."""
    before = model.task.mm
    with pytest.raises(SyscallError) as caught:
        execve(model, path, argv, dfd=dfd, flags=flags)
    assert model.task.mm is before
    assert model.cpu.mm is None
    return caught.value.errno


def open_fd(model: Model, path: bytes, flags: int = O_RDONLY, *, cloexec: bool = False) -> int:
    file = do_open(model.task, AT_FDCWD, path, flags)
    return model.task.files.install(file, 1024, cloexec=cloexec)


# -- the file ----------------------------------------------------------------------------------------------------------
def test_refused_files(model: Model) -> None:
    model.add_file("/noexec", GOOD, 0o644)
    model.add_file("/text", b"hello")
    model.add_file("/arm", Elf(machine=EM_AARCH64).build())
    assert error_of(model, b"/missing") == errno.ENOENT
    assert error_of(model, b"") == errno.ENOENT
    assert error_of(model, b"/noexec") == errno.EACCES
    assert error_of(model, b"/bin") == errno.EACCES
    assert error_of(model, b"/bin/good/x") == errno.ENOTDIR
    assert error_of(model, b"/bin/good/") == errno.ENOTDIR
    assert error_of(model, b"/" + b"x" * 300) == errno.ENAMETOOLONG
    assert error_of(model, b"/" * 4096) == errno.ENAMETOOLONG
    assert error_of(model, b"/text") == errno.ENOEXEC
    assert error_of(model, b"/arm") == errno.ENOEXEC


def test_permission_is_that_of_the_user(model: Model) -> None:
    model.add_file("/mine", GOOD, 0o100, uid=5)
    model.task.cred = Cred.of(5, 5, ())
    execve(model, b"/mine")
    model.task.cred = Cred.of(6, 6, ())
    with pytest.raises(ExecError) as caught:
        execve(model, b"/mine")
    assert caught.value.errno == errno.EACCES
    assert "may not be executed" in caught.value.reason


def test_a_file_system_without_programs(model: Model) -> None:
    model.kernel.mounts.root.mnt.mnt_flags |= MS_NOEXEC
    assert error_of(model, b"/bin/good") == errno.EACCES


def test_a_file_open_for_writing_is_busy(model: Model) -> None:
    fd = open_fd(model, b"/bin/good", O_RDWR)
    assert error_of(model, b"/bin/good") == errno.ETXTBSY
    model.task.files.close(fd, model.task)
    execve(model, b"/bin/good")


def test_interpreter_errors(model: Model) -> None:
    model.add_file("/text", b"x" * 100)
    model.add_file("/short", GOOD[:40])
    model.add_file("/noexec", PIE.build(), 0o644)
    for name, error in {
        b"/missing\0": errno.ENOENT,
        b"/bin\0": errno.EACCES,
        b"/noexec\0": errno.EACCES,
        b"/text\0": errno.ELIBBAD,
        b"/short\0": errno.EIO,
        b"\0\0": errno.EACCES,
    }.items():
        model.add_file(f"/with{error}{len(name)}", with_interpreter(name).build())
        assert error_of(model, b"/with%d%d" % (error, len(name))) == error


# Linux is past the point of no return when it finds these out.
@pytest.mark.parametrize(
    "elf",
    [
        Elf((Phdr(memsz=0x1000),)),
        Elf((Phdr(offset=0x10),)),
        Elf((Phdr(vaddr=-0x10000),)),
        Elf((Phdr(vaddr=0x1000_0000_0000_0000),), type=3),
        Elf((Phdr(memsz=1 << 63),)),
        Elf((Phdr(flags=7, filesz=0x4800, memsz=0x5000),)),
        Elf((Phdr(offset=0xFFFF_FFFF_FFFF_F000),)),
        Elf(entry=1 << 63),
    ],
)
def test_what_is_found_out_too_late_kills(model: Model, elf: Elf) -> None:
    model.add_file("/damaged", elf.build())
    with pytest.raises(TaskExit) as caught:
        execve(model, b"/damaged")
    assert caught.value.code == SIGSEGV


def test_a_damaged_file_that_linux_starts(model: Model) -> None:
    model.add_file("/cut", GOOD[:0x1800])
    execve(model, b"/cut")
    assert model.cpu.gregs[model.cpu.pc_index] == 0x401000


# -- strings -----------------------------------------------------------------------------------------------------------
def test_bad_pointers(model: Model) -> None:
    path = model.put_string(b"/bin/good")
    good = put_array(model, [b"x"])
    hole = UserPtr(0x1000)
    for name, argv, envp, error in (
        (hole, good, good, errno.EFAULT),
        (path, hole, good, errno.EFAULT),
        (path, good, hole, errno.EFAULT),
        (path, model.put(b"\1" * 8 + bytes(8)), good, errno.EFAULT),
        (path, UserPtr(model.alloc(4096) + 4096 - 4), good, errno.EFAULT),
        (model.put_string(b"/missing"), hole, hole, errno.ENOENT),
    ):
        with pytest.raises(SyscallError) as caught:
            do_execve(model.task, AT_FDCWD, name, argv, envp, 0)
        assert caught.value.errno == error


def test_null_arrays_are_empty(model: Model) -> None:
    path = model.put_string(b"/bin/good")
    assert do_execve(model.task, AT_FDCWD, path, UserPtr(0), UserPtr(0), 0) == KEEP_REGISTERS
    stack = FirstStack.of(model)
    assert [string_at(model, pointer) for pointer in stack.argv] == [b""]
    assert stack.envp == []


def test_limits_of_strings(model: Model) -> None:
    """Measured on Linux: 131071 bytes and a NUL; with the default stack limit 2 MiB for everything."""
    assert error_of(model, b"/bin/good", [b"x" * 131072]) == errno.E2BIG
    path = b"/bin/good"
    room = (2 << 20) - len(path) - 1
    strings = [b"x" * 130_000] * 16
    last = room - 16 * (130_001 + 8) - 8 - 1
    assert error_of(model, path, [*strings, b"y" * (last + 1)]) == errno.E2BIG
    execve(model, path, [*strings, b"y" * last])


def test_longest_string(model: Model) -> None:
    execve(model, b"/bin/good", [b"x" * 131071])


def test_an_endless_array_is_refused_early(model: Model) -> None:
    string = model.put_string(b"")
    array = model.put(string.to_bytes(8, "little") * (1 << 19))
    with pytest.raises(SyscallError) as caught:
        do_execve(model.task, AT_FDCWD, model.put_string(b"/bin/good"), array, UserPtr(0), 0)
    assert caught.value.errno == errno.E2BIG


# -- scripts -----------------------------------------------------------------------------------------------------------
# First 256 bytes of a script, what Linux makes of it (tried on 6.18).
SCRIPTS: list[tuple[bytes, bytes, bytes | None]] = [
    (b"#!/bin/sh\n", b"/bin/sh", None),
    (b"#!/bin/sh -a b c \nrest", b"/bin/sh", b"-a b c"),
    (b"#! \t /bin/sh \t\n", b"/bin/sh", None),
    (b"#!/bin/sh\tq\t\n", b"/bin/sh", b"q"),
    (b"#!/bin/sh\r\n", b"/bin/sh\r", None),
    (b"#!/bin/sh", b"/bin/sh", None),
    (b"#!/bin/sh ", b"/bin/sh", b""),
    (b"#!/bin/sh x y ", b"/bin/sh", b"x y "),
    (b"#!/bin/sh\0x\n", b"/bin/sh", None),
    (b"#!/bin/sh a\0b\n", b"/bin/sh", b"a"),
    (b"#!/bin/sh \0\n", b"/bin/sh", b""),
    (b"#!\0\n", b"", None),
    (b"#!/bin/sh " + b"a" * 246, b"/bin/sh", b"a" * 245),
    (b"#!/bin/sh".ljust(256), b"/bin/sh", None),
    (b"#!" + b"x" * 252 + b"\n", b"x" * 252, None),
]
BAD_SCRIPTS = [b"#!\n", b"#! \t\n", b"#!" + b" " * 254, b"#!" + b"x" * 254, b"#!" + b" " * 10 + b"x" * 244]


@pytest.mark.parametrize(("head", "name", "argument"), SCRIPTS)
def test_first_line(head: bytes, name: bytes, argument: bytes | None) -> None:
    assert script_interpreter(head) == (name, argument)


@pytest.mark.parametrize("head", BAD_SCRIPTS)
def test_bad_first_line(head: bytes) -> None:
    with pytest.raises(ExecError) as caught:
        script_interpreter(head)
    assert caught.value.errno == errno.ENOEXEC


def test_script(model: Model) -> None:
    model.add_file("/script", b"#!/bin/good -x\n")
    execve(model, b"/script", [b"name", b"a", b"b"])
    stack = FirstStack.of(model)
    argv = [b"/bin/good", b"-x", b"/script", b"a", b"b"]
    assert [string_at(model, pointer) for pointer in stack.argv] == argv == model.task.argv
    assert string_at(model, stack.get(31)) == b"/script"
    assert model.task.comm == b"script"
    assert model.task.exe is not None
    assert model.task.exe.dentry.d_name == b"good"


def test_script_without_arguments_of_its_own(model: Model) -> None:
    model.add_file("/script", b"#!/bin/good\n")
    execve(model, b"/script", [])
    assert model.task.argv == [b"/bin/good", b"/script"]


def test_scripts_of_scripts(model: Model) -> None:
    previous = b"/bin/good"
    for depth in range(1, 7):
        name = b"/nest%d" % depth
        model.add_file(name.decode(), b"#!" + previous + b"\n")
        previous = name
    assert error_of(model, b"/nest6") == errno.ELOOP
    execve(model, b"/nest5", [b"x", b"arg"])
    assert model.task.argv == [
        b"/bin/good",
        b"/nest1",
        b"/nest2",
        b"/nest3",
        b"/nest4",
        b"/nest5",
        b"arg",
    ]


def test_script_errors(model: Model) -> None:
    model.add_file("/missing-interpreter", b"#!/nowhere\n")
    model.add_file("/directory", b"#!/bin\n")
    model.add_file("/nothing", b"#!\n")
    model.add_file("/nul", b"#!\0")
    assert error_of(model, b"/missing-interpreter") == errno.ENOENT
    assert error_of(model, b"/directory") == errno.EACCES
    assert error_of(model, b"/nothing") == errno.ENOEXEC
    assert error_of(model, b"/nul") == errno.EACCES


def test_a_script_is_not_set_user_id(model: Model) -> None:
    model.add_file("/script", b"#!/bin/good\n", 0o4755, uid=0)
    model.task.cred = Cred.of(5, 5, ())
    execve(model, b"/script")
    assert model.task.cred.euid == 5


# -- execveat ----------------------------------------------------------------------------------------------------------
def test_relative_to_a_directory(model: Model) -> None:
    fd = open_fd(model, b"/bin")
    execve(model, b"good", dfd=fd)
    assert string_at(model, FirstStack.of(model).get(31)) == b"/dev/fd/%d/good" % fd
    assert model.task.comm == b"good"


def test_an_open_file_itself(model: Model) -> None:
    fd = open_fd(model, b"/bin/good", O_PATH)
    assert error_of(model, b"", dfd=fd) == errno.ENOENT
    execve(model, b"", dfd=fd, flags=AT_EMPTY_PATH)
    assert string_at(model, FirstStack.of(model).get(31)) == b"/dev/fd/%d" % fd
    assert model.task.comm == b"good"


def test_a_script_that_its_interpreter_could_not_open(model: Model) -> None:
    model.add_file("/script", b"#!/bin/good\n")
    fd = open_fd(model, b"/script", cloexec=True)
    assert error_of(model, b"", dfd=fd, flags=AT_EMPTY_PATH) == errno.ENOENT
    execve(model, b"", dfd=open_fd(model, b"/script"), flags=AT_EMPTY_PATH)


def test_flags(model: Model) -> None:
    model.kernel.mounts.root.inode.symlink(b"link", b"/bin/good", 0, 0)
    assert error_of(model, b"/bin/good", flags=0x2) == errno.EINVAL
    assert error_of(model, b"/link", flags=AT_SYMLINK_NOFOLLOW) == errno.ELOOP
    assert error_of(model, b"x", dfd=99) == errno.EBADF
    execve(model, b"/link")
    assert model.task.comm == b"link"


def test_check_only(model: Model) -> None:
    argv = put_array(model, [b"x"])
    path = model.put_string(b"/bin/good")
    before = model.task.mm
    assert do_execve(model.task, AT_FDCWD, path, argv, argv, AT_EXECVE_CHECK) == 0
    assert model.task.mm is before


# -- what stays and what goes ------------------------------------------------------------------------------------------
def test_state_is_flushed(model: Model) -> None:
    task = model.task
    kept = open_fd(model, b"/bin/good")
    gone = open_fd(model, b"/bin/good", cloexec=True)
    task.sighand.users = 2
    others = task.sighand
    task.sighand.action = {SIGHUP: SigAction(SIG_IGN, 1, 2, 3), SIGUSR1: SigAction(0x1234)}
    task.sas = SigAltStack(0x1000, 0x2000, 0)
    task.clear_child_tid = task.robust_list = 8
    task.blocked = 1 << SIGUSR1 - 1
    task.cred.securebits = 1 << 4
    task.rseq = Rseq(64, 32, 1)
    execve(model, b"/bin/good")
    assert set(task.files.fd) == {kept}
    assert gone not in task.files.cloexec
    assert task.sighand.action == {SIGHUP: SigAction(SIG_IGN)}
    assert others.users == 1
    assert others.get(SIGUSR1) == SigAction(0x1234)
    assert task.sas == SigAltStack()
    assert task.clear_child_tid == task.robust_list == task.rseq.address == 0
    assert task.blocked == 1 << SIGUSR1 - 1
    assert not task.cred.securebits
    assert task.ptrace_dumpable == 1


def test_old_memory_goes_and_frames_with_it(model: Model) -> None:
    model.task.personality = ADDR_NO_RANDOMIZE
    execve(model, b"/bin/good")
    used = model.kernel.frames.used_frames
    for _ in range(3):
        model.alloc(100 * 4096)
        execve(model, b"/bin/good")
    assert model.kernel.frames.used_frames == used
    assert model.cpu.mm is model.task.mm


def test_event(model: Model) -> None:
    events: list[Event] = []
    model.kernel.events.subscribe(events.append)
    execve(model, b"/bin/good", [b"name", b"arg"])
    assert events == [Execve(model.task, b"/bin/good", [b"name", b"arg"])]


def test_comm_is_the_last_component_in_15_bytes(model: Model) -> None:
    model.add_file("/a-name-longer-than-fifteen", GOOD)
    execve(model, b"//a-name-longer-than-fifteen")
    assert model.task.comm == b"a-name-longer-t"


def test_personality_is_kept_but_for_read_implies_exec(model: Model) -> None:
    model.task.personality = ADDR_NO_RANDOMIZE | 0x0400000
    execve(model, b"/bin/good")
    assert model.task.personality == ADDR_NO_RANDOMIZE


# -- credentials -------------------------------------------------------------------------------------------------------
def run_as(model: Model, uid: int, mode: int, *, owner: int = 0, group: int = 0) -> Cred:
    model.add_file("/set-id", GOOD, mode, uid=owner, gid=group)
    model.task.cred = Cred.of(uid, uid, ())
    model.task.personality = ADDR_NO_RANDOMIZE
    execve(model, b"/set-id")
    return model.task.cred


def test_set_user_id(model: Model) -> None:
    model.task.pdeath_signal = 9
    model.task.signal.rlim[RLIMIT_STACK] = (RLIM_INFINITY, RLIM_INFINITY)
    cred = run_as(model, 5, 0o4755)
    assert (cred.uid, cred.euid, cred.suid, cred.fsuid) == (5, 0, 0, 0)
    assert cred.cap_permitted == cred.cap_effective == CAP_FULL_SET
    assert FirstStack.of(model).get(AT_SECURE) == 1
    assert model.task.ptrace_dumpable == 0
    assert model.task.pdeath_signal == 0
    assert model.task.personality == 0
    assert model.task.signal.rlim[RLIMIT_STACK][0] == 8 << 20


def test_set_group_id(model: Model) -> None:
    cred = run_as(model, 5, 0o2755, group=7)
    assert (cred.gid, cred.egid, cred.sgid, cred.fsgid) == (5, 7, 7, 7)
    assert cred.cap_permitted == 0
    assert FirstStack.of(model).get(AT_SECURE) == 1


def test_set_group_id_without_group_execution_means_nothing(model: Model) -> None:
    cred = run_as(model, 5, 0o2745, group=7)
    assert cred.egid == 5
    assert FirstStack.of(model).get(AT_SECURE) == 0


def test_no_new_privileges(model: Model) -> None:
    model.task.no_new_privs = True
    assert vars(run_as(model, 5, 0o6755, group=7)) == vars(Cred.of(5, 5, ()))


def test_a_file_system_without_set_id(model: Model) -> None:
    model.kernel.mounts.root.mnt.mnt_flags |= MS_NOSUID
    assert vars(run_as(model, 5, 0o6755, group=7)) == vars(Cred.of(5, 5, ()))


def test_root_has_everything_and_others_lose_it(model: Model) -> None:
    model.task.cred.cap_effective = 0
    execve(model, b"/bin/good")
    assert model.task.cred.cap_effective == CAP_FULL_SET
    assert FirstStack.of(model).get(AT_SECURE) == 0
    cred = Cred.of(5, 5, ())
    cred.cap_permitted = cred.cap_effective = CAP_FULL_SET
    model.task.cred = cred
    execve(model, b"/bin/good")
    assert model.task.cred.cap_permitted == model.task.cred.cap_effective == 0


def test_ambient_capabilities_are_kept(model: Model) -> None:
    cred = Cred.of(5, 5, ())
    cred.cap_permitted = cred.cap_inheritable = cred.cap_ambient = 1 << 10
    model.task.cred = cred
    execve(model, b"/bin/good")
    assert model.task.cred.cap_effective == model.task.cred.cap_permitted == 1 << 10
    assert FirstStack.of(model).get(AT_SECURE) == 0


def test_a_program_its_user_may_not_read_is_not_dumpable(model: Model) -> None:
    model.add_file("/secret", GOOD, 0o711)
    model.task.cred = Cred.of(5, 5, ())
    execve(model, b"/secret")
    assert model.task.ptrace_dumpable == 0
