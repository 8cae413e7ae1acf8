"""Make system calls on the real kernel model, as a program's registers would."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from struct import Struct

import pytest

from kernel_model.abi.fcntl import AT_FDCWD
from kernel_model.cred import Cred
from kernel_model.syscalls.declare import RawHandler
from kernel_model.syscalls.table import declared, rows
from kernel_model.types import SyscallError, UserPtr
from kernel_model.wait import Blocked
from tests.support.model import Model, make_model

ARCHES = ("x86_64", "aarch64")
BAD = 0x1000
"""An address where nothing is."""
_ROWS = {row.name: row for row in rows()}
_U64 = (1 << 64) - 1


class Calls:
    """A machine, and its calls by name. Byte strings become pointers to themselves with a NUL; results are plain."""

    def __init__(self, arch: str = "x86_64") -> None:
        self.model: Model = make_model(arch)
        self.task = self.model.task
        self.arch = self.model.kernel.arch
        self._handlers: dict[str, RawHandler] = {}
        self.task.fs.umask = 0o022
        self("mkdirat", AT_FDCWD, b"/tmp/w", 0o777)
        self("chdir", b"/tmp/w")

    def __call__(self, name: str, *args: int | bytes) -> int:
        """The call's result, or its errno as a negative number. Blocked passes."""
        handler = self._handlers.get(name)
        if handler is None:
            call = declared(_ROWS[name])
            assert call is not None, name
            handler = self._handlers[name] = call.compile()
        raw = [self.model.put_string(arg) if isinstance(arg, bytes) else arg & _U64 for arg in args]
        raw += [0xDEAD_BEEF] * (6 - len(raw))
        self.task.call_state = None
        try:
            return handler(self.task, *raw)
        except SyscallError as error:
            return -error.errno

    def again(self, name: str, *args: int) -> int:
        """Make a call that blocked once more, as the entry path does."""
        try:
            return self._handlers[name](self.task, *[*args, *[0] * (6 - len(args))])
        except SyscallError as error:
            return -error.errno

    def blocks(self, name: str, *args: int | bytes) -> Blocked:
        """The call would sleep."""
        with pytest.raises(Blocked) as caught:
            self(name, *args)
        return caught.value

    def open(self, path: bytes, flags: int = 0, mode: int = 0o644) -> int:
        """openat(2) with flags in asm-generic's numbers; the call must work."""
        fd = self("openat", AT_FDCWD, path, self.arch.open_flags_to_user(flags), mode)
        assert fd >= 0, (path, fd)
        return fd

    def make(self, path: bytes, data: bytes = b"") -> bytes:
        """A regular file with these contents."""
        fd = self.open(path, 0o1102)
        if data:
            assert self("write", fd, self.model.put(data), len(data)) == len(data)
        self("close", fd)
        return path

    def contents(self, path: bytes) -> bytes:
        """What a file holds."""
        fd = self.open(path)
        size = self.fstat(fd)["st_size"]
        buffer = self.model.alloc(size + 1)
        assert self("pread64", fd, buffer, size + 1, 0) == size
        self("close", fd)
        return self.model.get(buffer, size)

    def pipe(self, flags: int = 0) -> tuple[int, int]:
        """pipe2(2)."""
        fds = self.model.alloc(8)
        assert self("pipe2", fds, flags) == 0
        return Struct("<ii").unpack(self.model.get(fds, 8))

    def out(self, layout: Struct, *values: int) -> UserPtr:
        """User memory for a structure, filled with `values`."""
        return self.model.put(layout.pack(*values) if values else b"\xee" * layout.size)

    def fstat(self, fd: int) -> dict[str, int]:
        """Some fields of fstat(2)."""
        buffer = self.model.alloc(256)
        assert self("fstat", fd, buffer) == 0
        return self.stat_fields(buffer)

    def stat(self, path: bytes, flags: int = 0) -> dict[str, int]:
        """Some fields of fstatat(2)."""
        buffer = self.model.alloc(256)
        assert self("newfstatat", AT_FDCWD, path, buffer, flags) == 0
        return self.stat_fields(buffer)

    def stat_fields(self, buffer: int) -> dict[str, int]:
        """Take `struct stat` apart."""
        values = self.arch.STAT.unpack(self.model.get(buffer, self.arch.STAT.size))
        names = {
            "x86_64": ("st_dev", "st_ino", "st_nlink", "st_mode", "st_uid", "st_gid"),
            "aarch64": ("st_dev", "st_ino", "st_mode", "st_nlink", "st_uid", "st_gid"),
        }[self.arch.NAME]
        rest = ("st_rdev", "st_size", "st_blksize", "st_blocks", "atime", "atime_ns", "mtime", "mtime_ns")
        return dict(zip((*names, *rest, "ctime", "ctime_ns"), values, strict=True))

    @contextmanager
    def user(self, uid: int, gid: int = 100, groups: tuple[int, ...] = ()) -> Iterator[None]:
        """For a while the task is an ordinary user."""
        kept = self.task.cred
        self.task.cred = Cred.of(uid, gid, groups)
        try:
            yield
        finally:
            self.task.cred = kept


@pytest.fixture(params=ARCHES)
def calls(request: pytest.FixtureRequest) -> Calls:
    """A machine of each architecture."""
    return Calls(request.param)


@pytest.fixture
def x86() -> Calls:
    """An x86-64 machine, for the calls that only it has."""
    return Calls("x86_64")
