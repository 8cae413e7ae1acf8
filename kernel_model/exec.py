"""execve(2): from a file's name to a running program image (fs/exec.c).

What can be refused is refused while the old program is still whole. Then comes the point of no return
(`_begin_new_exec`): the old memory goes, and whatever fails later ends the task.
"""

from __future__ import annotations

import stat
from struct import Struct, iter_unpack
from typing import TYPE_CHECKING, Final

from kernel_model.abi import errno
from kernel_model.abi.fcntl import AT_EMPTY_PATH, AT_FDCWD, AT_SYMLINK_NOFOLLOW, O_RDONLY
from kernel_model.abi.mount import MS_NOEXEC, MS_NOSUID
from kernel_model.abi.resource import RLIMIT_STACK
from kernel_model.abi.signal import SIG_IGN, SIGCHLD, SIGSEGV
from kernel_model.binfmt import BINPRM_BUF_SIZE, NotExecutable, ReadAt
from kernel_model.cputime import leave_mm
from kernel_model.events import Execve
from kernel_model.exec_image import Image, map_image, pick_mmap_layout
from kernel_model.fs.file import put_file
from kernel_model.fs.namei import getname, path_at
from kernel_model.fs.permission import MAY_EXEC, MAY_READ, generic_permission, inode_permission
from kernel_model.mm.mm import MemoryMap
from kernel_model.mm.uaccess import copy_from_user_partial, get_user, strncpy_from_user
from kernel_model.signal.sighand import SigAction, SigAltStack, SighandStruct
from kernel_model.types import KEEP_REGISTERS, PAGE_SIZE, SyscallError, TaskExit, UserPtr
from kernel_model.ucounts import check_execve

if TYPE_CHECKING:
    from kernel_model.binfmt import ProgramPlan
    from kernel_model.cred import Cred
    from kernel_model.fs.dentry import Path
    from kernel_model.fs.file import File
    from kernel_model.task import Task

AT_EXECVE_CHECK: Final = 0x10000
MAX_ARG_STRLEN: Final = 32 * PAGE_SIZE
"""The longest argument or environment string, its NUL included (bytes; include/uapi/linux/binfmts.h)."""
ARG_MAX: Final = 131072
_STK_LIM: Final = 8 << 20
MAX_SCRIPTS: Final = 5
"""How deep scripts may name scripts (fs/exec.c:exec_binprm())."""
_POINTER: Final = Struct("<Q")
_BLANKS: Final = b" \t"
_TERMINATORS: Final = b" \t\0"
_SHOWN_BYTES: Final = 80

# include/uapi/linux/personality.h
READ_IMPLIES_EXEC: Final = 0x0400000
_PER_CLEAR_ON_SETID: Final = READ_IMPLIES_EXEC | 0x0040000 | 0x0100000 | 0x0200000
"""Also ADDR_NO_RANDOMIZE, MMAP_PAGE_ZERO and ADDR_COMPAT_LAYOUT."""

# include/uapi/linux/securebits.h
_SECURE_NOROOT: Final = 1
_SECURE_KEEP_CAPS: Final = 1 << 4

_REASONS: Final = {
    errno.ENOENT: "no such file",
    errno.EACCES: "permission denied",
    errno.ENOTDIR: "a part of the path is not a directory",
    errno.ELOOP: "too many symbolic links",
    errno.ENAMETOOLONG: "the name is too long",
    errno.ENOMEM: "not enough guest memory",
}


class ExecError(SyscallError):
    """execve(2) fails with `errno`. `reason`: one sentence for a person, that goes on after the program's name."""

    __slots__ = ("reason",)

    def __init__(self, errno: int, reason: str) -> None:
        super().__init__(errno)
        self.reason = reason


def _explained(error: SyscallError) -> ExecError:
    """`error` with a reason, if it has none yet."""
    if isinstance(error, ExecError):
        return error
    return ExecError(error.errno, _REASONS.get(error.errno, errno.errno_name(error.errno)))


def _shown(name: bytes) -> str:
    """A file's name in a reason: on one line, whatever bytes it has, and not too long."""
    text = name[:_SHOWN_BYTES].decode(errors="backslashreplace")
    text = "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)
    return text + "..." if len(name) > _SHOWN_BYTES else text


class Binprm:
    """A program on its way to be started (`struct linux_binprm`)."""

    __slots__ = (
        "argv", "comm", "cred", "envp", "file", "filename", "interp", "path_inaccessible", "per_clear", "secureexec",
    )  # fmt: skip

    def __init__(self, task: Task, file: File, filename: bytes) -> None:
        self.file = file
        self.filename = filename
        """AT_EXECFN."""
        self.interp = filename
        """The file that is really loaded, which a script names."""
        self.comm = filename.rpartition(b"/")[2]
        self.argv: list[bytes] = []
        self.envp: list[bytes] = []
        self.path_inaccessible = False
        """`filename` leads through a descriptor that close-on-exec takes away."""
        self.cred: Cred = task.cred
        self.secureexec = False
        self.per_clear = 0


# -- the calls ---------------------------------------------------------------------------------------------------------
def do_execve(task: Task, dfd: int, filename: UserPtr, argv: UserPtr, envp: UserPtr, flags: int) -> int:
    """execve(2), execveat(2) with the guest's own pointers. KEEP_REGISTERS; SyscallError or TaskExit.

    Order as fs/exec.c:do_execveat_common(): the name, the file, then the strings.
    """
    name = getname(task, filename, empty_ok=bool(flags & AT_EMPTY_PATH))
    check_execve(task)
    bprm = _alloc_bprm(task, dfd, name, flags)
    try:
        limit = _arg_limit(task)
        bprm.argv = _copy_strings(task, argv, limit)
        bprm.envp = _copy_strings(task, envp, limit)
        if flags & AT_EXECVE_CHECK:
            _check_size(task, bprm)
            return 0
        _bprm_execve(task, bprm)
    finally:
        put_file(bprm.file, None)
    return KEEP_REGISTERS


def kernel_execve(task: Task, filename: bytes, argv: list[bytes], envp: list[bytes]) -> None:
    """Start the machine's first program with strings of ours. Raises ExecError with a reason that a person understands.

    Unlike a guest's execve, it refuses a damaged file that Linux would start and let die (`ProgramPlan.defect`).
    """
    bprm = _alloc_bprm(task, AT_FDCWD, filename, 0)
    try:
        bprm.argv = list(argv)
        bprm.envp = list(envp)
        _bprm_execve(task, bprm, first=True)
    except SyscallError as error:
        raise _explained(error) from error
    finally:
        put_file(bprm.file, None)


# -- the file ----------------------------------------------------------------------------------------------------------
def _alloc_bprm(task: Task, dfd: int, name: bytes, flags: int) -> Binprm:
    """Open the program. fs/exec.c:alloc_bprm()."""
    file = open_exec(task, dfd, name, flags)
    if dfd == AT_FDCWD or name[:1] == b"/":
        return Binprm(task, file, name)
    bprm = Binprm(task, file, b"/dev/fd/%d/%s" % (dfd, name) if name else b"/dev/fd/%d" % dfd)
    if not name and file.f_path is not None:
        bprm.comm = file.f_path.dentry.d_name
    bprm.path_inaccessible = dfd in task.files.cloexec
    return bprm


def open_exec(task: Task, dfd: int, name: bytes, flags: int = 0) -> File:
    """Open `name` to be executed; ExecError. `flags`: AT_* of execveat(2). fs/exec.c:do_open_execat()."""
    if flags & ~(AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH | AT_EXECVE_CHECK):
        raise SyscallError(errno.EINVAL)
    try:
        path = path_at(task, dfd, name, follow=not flags & AT_SYMLINK_NOFOLLOW, empty_ok=bool(flags & AT_EMPTY_PATH))
    except SyscallError as error:
        raise _explained(error) from None
    inode = path.inode
    kind = stat.S_IFMT(inode.i_mode)
    if kind == stat.S_IFLNK:
        raise ExecError(errno.ELOOP, "is a symbolic link")
    if kind != stat.S_IFREG:
        raise ExecError(errno.EACCES, "is a directory" if kind == stat.S_IFDIR else "is not a regular file")
    try:
        inode_permission(task.cred, inode, MAY_EXEC)
    except SyscallError as error:
        raise ExecError(error.errno, "permission denied: it may not be executed") from None
    if path.mnt.mnt_flags & MS_NOEXEC:
        raise ExecError(errno.EACCES, "lies on a file system mounted noexec")
    if _written_by_anyone(task, path):
        raise ExecError(errno.ETXTBSY, "is open for writing")
    return inode.open(path, O_RDONLY, task)


def _written_by_anyone(task: Task, path: Path) -> bool:
    """Is the file open for writing? include/linux/fs.h:exe_file_deny_write_access()."""
    inode = path.inode
    return any(
        file.inode is inode and file.writable
        for other in task.kernel.tasks.values()
        for file in other.files.fd.values()
    )


def program_reader(task: Task, file: File) -> tuple[ReadAt, int]:
    """How the file is read, through its page cache, and its size (bytes). ENOEXEC for one that can't be mapped."""
    try:
        mapping = file.mmap_mapping(task, 0)
    except SyscallError:
        raise ExecError(errno.ENOEXEC, "is of a kind that can't be executed") from None
    size = file.inode.i_size

    def read(offset: int, count: int) -> bytes:
        return mapping.read(offset, min(count, size - offset), size) if offset < size else b""

    return read, size


# -- argv and envp -----------------------------------------------------------------------------------------------------
def _arg_limit(task: Task) -> int:
    """How many bytes arguments, environment and the pointers to them may take. fs/exec.c:bprm_stack_limits()."""
    return max(min(_STK_LIM // 4 * 3, task.signal.rlim[RLIMIT_STACK][0] // 4), ARG_MAX)


def _copy_strings(task: Task, array: UserPtr, limit: int) -> list[bytes]:
    """The strings of a NULL-terminated array in the guest's memory; an array at NULL is empty.

    EFAULT; E2BIG for a longer string than MAX_ARG_STRLEN or more than `limit` bytes. fs/exec.c:count(), copy_strings().
    """
    if not array:
        return []
    pointers = _pointers(task, array, limit // _POINTER.size)
    strings = []
    room = limit
    for pointer in pointers:
        try:
            string = strncpy_from_user(task.mm, pointer, MAX_ARG_STRLEN)
        except SyscallError as error:
            raise SyscallError(errno.E2BIG if error.errno == errno.ENAMETOOLONG else error.errno) from None
        room -= len(string) + 1 + _POINTER.size
        if room < 0:
            raise SyscallError(errno.E2BIG)
        strings.append(string)
    return strings


def _pointers(task: Task, array: UserPtr, limit: int) -> list[int]:
    """The pointers at `array` up to the NULL, read a page at a time; E2BIG for more than `limit`."""
    result: list[int] = []
    address: int = array
    while len(result) <= limit:
        chunk = copy_from_user_partial(task.mm, address, PAGE_SIZE - address % PAGE_SIZE)
        words = chunk[: len(chunk) & -_POINTER.size]
        if not words:
            words = _POINTER.pack(*get_user(task.mm, address, _POINTER))
        for (pointer,) in iter_unpack("<Q", words):
            if not pointer:
                return result
            result.append(pointer)
        address += len(words)
    raise SyscallError(errno.E2BIG)


def _check_size(task: Task, bprm: Binprm) -> None:
    """E2BIG when all strings and the pointers to them are too much. fs/exec.c:bprm_stack_limits()."""
    pointers = max(len(bprm.argv), 1) + len(bprm.envp)
    strings = sum(map(len, bprm.argv)) + sum(map(len, bprm.envp)) + len(bprm.argv) + len(bprm.envp)
    if strings + len(bprm.filename) + 1 + pointers * _POINTER.size > _arg_limit(task):
        raise ExecError(errno.E2BIG, "the arguments and the environment are too long")
    if any(len(s) >= MAX_ARG_STRLEN for strings in (bprm.argv, bprm.envp) for s in strings):
        raise ExecError(errno.E2BIG, "an argument or environment string is too long")


# -- the formats -------------------------------------------------------------------------------------------------------
def _bprm_execve(task: Task, bprm: Binprm, *, first: bool = False) -> None:
    """Find the format and start the program. fs/exec.c:exec_binprm(), binfmt_elf.c:load_elf_binary()."""
    if not bprm.argv:
        bprm.argv.append(b"")
    _check_size(task, bprm)
    read, size = program_reader(task, bprm.file)
    for _ in range(MAX_SCRIPTS + 1):
        head = read(0, BINPRM_BUF_SIZE)
        if head[:2] != b"#!":
            break
        _load_script(task, bprm, head)
        _check_size(task, bprm)
        read, size = program_reader(task, bprm.file)
    else:
        raise ExecError(errno.ELOOP, f"is a script of a script, more than {MAX_SCRIPTS} deep")
    plan = _plan(task, read, size)
    interpreter_file = None
    try:
        interpreter = None
        if plan.interpreter is not None:
            interpreter_file = _open_interpreter(task, plan.interpreter)
            interpreter = _interpreter_plan(task, interpreter_file, plan.interpreter)
        if first:
            _refuse_defect(plan, interpreter)
        _bprm_creds_from_file(task, bprm)
        dumpable = _is_readable(task, bprm.file) and (interpreter_file is None or _is_readable(task, interpreter_file))
        image = Image(bprm.file, plan, interpreter_file, interpreter)
        mm = _begin_new_exec(task, bprm, dumpable=dumpable)
        if task.nsproxy.time_ns is not task.nsproxy.time_ns_for_children:
            from kernel_model.ns.time import exec_task_namespaces

            exec_task_namespaces(task)
        try:
            start = map_image(task, mm, image, bprm.filename, bprm.argv, bprm.envp, secure=bprm.secureexec)
        except SyscallError as error:
            if first:
                no_memory = not task.kernel.frames.free_frames
                reason = "needs more memory than the guest has" if no_memory else "does not fit into the address space"
                raise ExecError(error.errno, reason) from error
            raise TaskExit(SIGSEGV) from None
    finally:
        if interpreter_file is not None:
            put_file(interpreter_file, None)
    kernel = task.kernel
    kernel.cpu.start_thread(start.pc, start.sp)
    if kernel.data_pages is not None:
        kernel.data_pages.start_thread(task)
    if kernel.user_pages is not None:
        if first:
            kernel.user_pages.attach(task, with_fs=True)
        kernel.user_pages.tell(task)
    if kernel.events.active:
        kernel.events.emit(Execve(task, bprm.filename, list(bprm.argv)))


def _plan(task: Task, read: ReadAt, size: int) -> ProgramPlan:
    """What the file wants; ExecError."""
    kernel = task.kernel
    try:
        return kernel.binfmt_elf(read, size, kernel.arch.E_MACHINE, kernel.arch.TASK_SIZE)
    except NotExecutable as refusal:
        raise ExecError(refusal.errno, refusal.reason) from None


def _open_named(task: Task, name: bytes) -> File:
    """Open a file that a program or script names. An empty name is the working directory here."""
    if not name:
        raise ExecError(errno.EACCES, "its name is empty")
    return open_exec(task, AT_FDCWD, name)


def _open_interpreter(task: Task, name: bytes) -> File:
    """The program interpreter (dynamic linker) that a program names."""
    try:
        return _open_named(task, name)
    except ExecError as error:
        missing = ", which is not in the guest's root (--root DIR gives another root)"
        why = missing if error.errno == errno.ENOENT else f": {error.reason}"
        raise ExecError(error.errno, f"needs the interpreter {_shown(name)}{why}") from None


def _interpreter_plan(task: Task, file: File, name: bytes) -> ProgramPlan:
    """What the interpreter's file wants; ELIBBAD for one that is no program for this machine."""
    shown = _shown(name)
    read, size = program_reader(task, file)
    if size < 64:
        raise ExecError(errno.EIO, f"needs the interpreter {shown}, which is cut off")
    # QUIRK: An interpreter of the wrong ELF type is refused with ELIBBAD; Linux kills the caller with SIGSEGV.
    try:
        return _plan(task, read, size)
    except ExecError as error:
        raise ExecError(errno.ELIBBAD, f"needs the interpreter {shown}, which {error.reason}") from None


def _refuse_defect(plan: ProgramPlan, interpreter: ProgramPlan | None) -> None:
    """ExecError for a file that could only die."""
    if plan.defect:
        raise ExecError(errno.ENOEXEC, plan.defect)
    if interpreter is not None and interpreter.defect:
        shown = _shown(plan.interpreter or b"")
        raise ExecError(errno.ELIBBAD, f"needs the interpreter {shown}, which {interpreter.defect}")


def script_interpreter(head: bytes) -> tuple[bytes, bytes | None]:
    """(interpreter, its one argument or None) of a script whose first 256 bytes are `head`; ENOEXEC.

    fs/binfmt_script.c:load_script().
    """
    buf = head.ljust(BINPRM_BUF_SIZE, b"\0")
    end = buf.find(b"\n")
    if end < 0:
        # A name that reaches the buffer's end may be cut off there; an argument may well be.
        end = BINPRM_BUF_SIZE - 1
        if not any(byte in _TERMINATORS for byte in buf[2:].lstrip(_BLANKS)):
            raise ExecError(errno.ENOEXEC, "has a first line (#!) that is too long")
    line = buf[2:end].strip(_BLANKS)
    name_end = next((i for i, byte in enumerate(line) if byte in _TERMINATORS), len(line))
    name, rest = line[:name_end], line[name_end:]
    if not line:
        raise ExecError(errno.ENOEXEC, "names no interpreter after #!")
    return name, rest.lstrip(_BLANKS).partition(b"\0")[0] if rest and rest[0] else None


def _load_script(task: Task, bprm: Binprm, head: bytes) -> None:
    """`head` begins with `#!`: put the interpreter that it names in the script's place."""
    name, argument = script_interpreter(head)
    if bprm.path_inaccessible:
        raise ExecError(errno.ENOENT, "is a script that its interpreter could not open")
    bprm.argv[:1] = [name, bprm.interp] if argument is None else [name, argument, bprm.interp]
    bprm.interp = name
    try:
        file = _open_named(task, name)
    except ExecError as error:
        raise ExecError(
            error.errno, f"is a script for {_shown(name)}, which can't be started: {error.reason}"
        ) from None
    put_file(bprm.file, None)
    bprm.file = file


# -- who it runs as ----------------------------------------------------------------------------------------------------
def _is_readable(task: Task, file: File) -> bool:
    """May the caller read the program? One who may not gets no core of it either. fs/exec.c:would_dump()."""
    return generic_permission(task.cred, file.inode, MAY_READ)


def _bprm_creds_from_file(task: Task, bprm: Binprm) -> None:
    """The new program's credentials. fs/exec.c:bprm_fill_uid(), security/commoncap.c:cap_bprm_creds_from_file()."""
    # QUIRK: Capabilities of files (the security.capability attribute) are not honoured by execve.
    old = task.cred
    new = bprm.cred = old.copy()
    file = bprm.file
    mode = file.inode.i_mode
    nosuid = file.f_path is not None and file.f_path.mnt.mnt_flags & MS_NOSUID
    if mode & (stat.S_ISUID | stat.S_ISGID) and not nosuid and not task.no_new_privs:
        if mode & stat.S_ISUID:
            new.euid = file.inode.i_uid
            bprm.per_clear |= _PER_CLEAR_ON_SETID
        if mode & (stat.S_ISGID | stat.S_IXGRP) == stat.S_ISGID | stat.S_IXGRP:
            new.egid = file.inode.i_gid
            bprm.per_clear |= _PER_CLEAR_ON_SETID
    new.cap_permitted = 0
    effective = False
    if not new.securebits & _SECURE_NOROOT:
        if 0 in (new.euid, new.uid):
            new.cap_permitted = old.cap_bset | old.cap_inheritable
        effective = new.euid == 0
    is_setid = new.euid != old.uid or (new.egid != old.gid and not old.in_group(new.egid))
    new.suid = new.fsuid = new.euid
    new.sgid = new.fsgid = new.egid
    if is_setid:
        new.cap_ambient = 0
    new.cap_permitted |= new.cap_ambient
    new.cap_effective = new.cap_permitted if effective else new.cap_ambient
    new.securebits &= ~_SECURE_KEEP_CAPS
    grew = bool(new.cap_permitted & ~new.cap_ambient)
    bprm.secureexec = is_setid or (new.uid != 0 and (effective or grew))


# -- the point of no return --------------------------------------------------------------------------------------------
def _begin_new_exec(task: Task, bprm: Binprm, *, dumpable: bool) -> MemoryMap:
    """The old program goes; the task gets an empty address space. fs/exec.c:begin_new_exec(), setup_new_exec()."""
    kernel = task.kernel
    cred = bprm.cred
    mm = MemoryMap(kernel.frames, kernel.arch, tlb_flush=kernel.cpu.flush_tlb, code_flush=kernel.cpu.flush_code)
    mm.rlim = task.signal.rlim
    old = task.mm
    if task.signal.threads > 1:
        from kernel_model.exit import kill_other_threads

        kill_other_threads(task)
    if task.signal.posix_timers:
        from kernel_model.signal.posix_timers import exit_itimers

        exit_itimers(kernel, task.signal)
    if old is not None:
        from kernel_model.exit import mm_release

        mm_release(task)
        leave_mm(task.signal, old)
    task.mm = mm
    kernel.cpu.switch_mm(mm)
    if old is not None:
        old.users -= 1
        if not old.users:
            old.exit_mmap()
    task.signal.exit_signal = SIGCHLD
    task.rseq = type(task.rseq)()
    task.rseq_event = False
    task.restart_block = None
    if task.syscall_dispatch is not None:
        from kernel_model.syscall_work import reset_user_dispatch

        reset_user_dispatch(task)
    task.saved_sigmask = None
    task.sas = SigAltStack()
    actions = task.sighand.action.items()
    task.sighand.users -= 1
    task.sighand = SighandStruct(
        {signal: SigAction(SIG_IGN) for signal, action in actions if action.handler == SIG_IGN}
    )
    if task.files.users > 1:
        task.files.users -= 1
        task.files = task.files.copy()
    task.files.close_on_exec(task)
    task.comm = bprm.comm[:15]
    task.argv = list(bprm.argv)
    task.exe = bprm.file.f_path
    task.ptrace_dumpable = int(dumpable and not bprm.secureexec and cred.euid == cred.uid and cred.egid == cred.gid)
    task.personality &= ~(bprm.per_clear | READ_IMPLIES_EXEC)
    if bprm.secureexec:
        task.pdeath_signal = 0
        soft, hard = task.signal.rlim[RLIMIT_STACK]
        task.signal.rlim[RLIMIT_STACK] = (min(soft, _STK_LIM), hard)
    task.cred = cred
    pick_mmap_layout(task, mm)
    return mm
