"""The memory calls as system calls: errors, limits, what listeners hear; on both architectures."""

from __future__ import annotations

import pytest

from kernel_model.abi import errno
from kernel_model.abi.mman import MAP_ANONYMOUS, MAP_FIXED, MAP_HUGETLB, MAP_LOCKED, MAP_PRIVATE, MAP_SHARED
from kernel_model.abi.resource import RLIMIT_MEMLOCK
from kernel_model.cred import Cred
from kernel_model.events import Event, MappingChanged
from kernel_model.fs.namei import d_path
from kernel_model.types import PAGE_SIZE, U64_MASK, SyscallError
from tests.support.model import Model, make_model

ANON = MAP_PRIVATE | MAP_ANONYMOUS
NO_FD = U64_MASK


@pytest.fixture(params=["x86_64", "aarch64"])
def model(request: pytest.FixtureRequest) -> Model:
    return make_model(request.param)


def call(model: Model, name: str, *args: int) -> int:
    """Make a system call by name; its result, or its negative errno."""
    table = model.kernel.table
    number = next(n for n in range(512) if table.name(n) == name)
    raw = [arg & U64_MASK for arg in (*args, 0, 0, 0, 0, 0, 0)][:6]
    try:
        return table[number](model.task, *raw)
    except SyscallError as error:
        return -error.errno


def memory(model: Model, pages: int = 4, prot: int = 3) -> int:
    return call(model, "mmap", 0, pages * PAGE_SIZE, prot, ANON, NO_FD, 0)


def become_user(model: Model, memlock_bytes: int) -> None:
    model.task.cred = Cred.of(1000, 1000, ())
    model.task.signal.rlim[RLIMIT_MEMLOCK] = (memlock_bytes, memlock_bytes)


def test_mmap_looks_at_the_offset_and_the_descriptor_first(model: Model) -> None:
    assert call(model, "mmap", 0, 0, 3, ANON, NO_FD, 1) == -errno.EINVAL
    assert call(model, "mmap", 0, 0, 3, MAP_PRIVATE, NO_FD, 0) == -errno.EBADF
    assert call(model, "mmap", 0, 0, 3, ANON, NO_FD, 0) == -errno.EINVAL
    assert call(model, "mmap", 0, PAGE_SIZE, 3, ANON | MAP_HUGETLB, NO_FD, 0) == -errno.ENOMEM
    assert call(model, "mmap", 0, PAGE_SIZE, 3, ANON | MAP_HUGETLB | 7 << 26, NO_FD, 0) == -errno.EINVAL


def test_page_zero_is_for_root_alone(model: Model) -> None:
    assert call(model, "mmap", 0, PAGE_SIZE, 3, ANON | MAP_FIXED, NO_FD, 0) == 0
    assert call(model, "munmap", 0, PAGE_SIZE) == 0
    become_user(model, 0)
    assert call(model, "mmap", 0, PAGE_SIZE, 3, ANON | MAP_FIXED, NO_FD, 0) == -errno.EPERM


def test_read_implies_exec_for_programs_that_want_it(model: Model) -> None:
    model.task.personality = 0x0400000
    at = memory(model, prot=1)
    vma = model.task.mm.vmas.lookup(at)
    assert vma is not None
    assert vma.vm_flags & 7 == 5
    call(model, "mprotect", at, 4 * PAGE_SIZE, 3)
    assert vma.vm_flags & 7 == 7


def test_locking_without_the_right_to(model: Model) -> None:
    at = memory(model)
    become_user(model, 0)
    assert call(model, "mlock", at, PAGE_SIZE) == -errno.EPERM
    assert call(model, "mlockall", 1) == -errno.EPERM
    assert call(model, "mmap", 0, PAGE_SIZE, 3, ANON | MAP_LOCKED, NO_FD, 0) == -errno.EPERM
    assert call(model, "munlock", at, PAGE_SIZE) == 0


def test_locking_within_a_limit(model: Model) -> None:
    at = memory(model)
    become_user(model, 2 * PAGE_SIZE)
    assert call(model, "mlock", at, 3 * PAGE_SIZE) == -errno.ENOMEM
    assert call(model, "mlock", at + 100, PAGE_SIZE) == 0
    assert model.task.mm.locked_vm == 2
    assert len(model.task.mm.pt) == 2
    # What is locked already does not count again.
    assert call(model, "mlock", at, 2 * PAGE_SIZE) == 0
    assert call(model, "mmap", 0, PAGE_SIZE, 3, ANON | MAP_LOCKED, NO_FD, 0) == -errno.EAGAIN
    assert call(model, "mremap", at, 2 * PAGE_SIZE, 3 * PAGE_SIZE, 1) == -errno.EAGAIN
    assert call(model, "mlockall", 1) == -errno.ENOMEM
    assert call(model, "mlockall", 2) == 0
    assert memory(model, 1) == -errno.EAGAIN
    assert call(model, "munlockall") == 0
    assert model.task.mm.locked_vm == 0
    assert memory(model, 1) > 0


def test_locking_what_is_not_all_there(model: Model) -> None:
    at = memory(model)
    call(model, "munmap", at + PAGE_SIZE, PAGE_SIZE)
    assert call(model, "mlock", at, 3 * PAGE_SIZE) == -errno.ENOMEM
    call(model, "mprotect", at, PAGE_SIZE, 0)
    assert call(model, "mlock", at, PAGE_SIZE) == -errno.ENOMEM
    assert call(model, "mlock", U64_MASK - PAGE_SIZE + 1, PAGE_SIZE) == -errno.EINVAL
    assert call(model, "mlockall", 4) == -errno.EINVAL
    assert call(model, "mlockall", 8) == -errno.EINVAL
    assert call(model, "mlock2", at, PAGE_SIZE, 2) == -errno.EINVAL
    on_fault = memory(model)
    assert call(model, "mlock2", on_fault, 4 * PAGE_SIZE, 1) == 0
    assert on_fault not in model.task.mm.pt


def test_mincore_tells_the_owner_what_is_there(model: Model) -> None:
    at = memory(model)
    vector = model.alloc(16)
    model.task.mm.handle_fault(at + PAGE_SIZE, 2)
    assert call(model, "mincore", at, 4 * PAGE_SIZE - 1, vector) == 0
    assert model.get(vector, 5) == b"\0\1\0\0\0"
    assert call(model, "mincore", at, PAGE_SIZE, 8) == -errno.EFAULT
    assert call(model, "mincore", at, U64_MASK, vector) == -errno.ENOMEM
    assert call(model, "mincore", 0, PAGE_SIZE, vector) == -errno.ENOMEM
    model.add_file("/secret", b"s" * 3 * PAGE_SIZE, 0o644, uid=0)
    fd = call(model, "openat", -100, model.put_string(b"/secret"), 0)
    shown = call(model, "mmap", 0, 3 * PAGE_SIZE, 1, MAP_PRIVATE, fd, 0)
    become_user(model, 0)
    assert call(model, "mincore", shown, 3 * PAGE_SIZE, vector) == 0
    assert model.get(vector, 3) == b"\1\1\1"


def test_memfd(model: Model) -> None:
    create = "memfd_create"
    assert call(model, create, model.put_string(b"x" * 250), 0) == -errno.EINVAL
    assert call(model, create, 8, 0) == -errno.EFAULT
    assert call(model, create, 8, 0x80) == -errno.EINVAL
    assert call(model, create, model.put_string(b"a"), 0x18) == -errno.EINVAL
    assert call(model, create, model.put_string(b"a"), 4) == -errno.ENOMEM
    fd = call(model, create, model.put_string(b"some name"), 1)
    file = model.task.files.fd[fd]
    assert fd in model.task.files.cloexec
    assert file.f_path is not None
    assert d_path(model.task, file.f_path) == b"/memfd:some name (deleted)"
    assert file.inode.i_mode == 0o100777
    sealed = call(model, create, model.put_string(b""), 8)
    assert model.task.files.fd[sealed].inode.i_mode == 0o100666
    assert call(model, "ftruncate", fd, 2 * PAGE_SIZE) == 0
    at = call(model, "mmap", 0, 2 * PAGE_SIZE, 3, MAP_SHARED, fd, 0)
    used = model.kernel.frames.used_frames
    assert call(model, "write", fd, model.put(b"text"), 4) == 4
    assert model.get(at, 4) == b"text"
    assert call(model, "close", fd) == 0
    assert model.get(at, 4) == b"text"
    assert call(model, "munmap", at, 2 * PAGE_SIZE) == 0
    # The page of "text" in user memory is one more; the file's is gone.
    assert model.kernel.frames.used_frames == used + 1


def test_membarrier_wants_registration_first(model: Model) -> None:
    supported = call(model, "membarrier", 0, 0)
    assert supported & 1
    for command in (8, 32, 128):
        assert supported & command
        assert call(model, "membarrier", command, 0) == -errno.EPERM
        assert call(model, "membarrier", command << 1, 0) == 0
        assert call(model, "membarrier", command, 0) == 0
    assert call(model, "membarrier", 512, 0) == 16 | 64 | 256
    assert call(model, "membarrier", 128, 1, 0) == 0
    assert call(model, "membarrier", 8, 1) == -errno.EINVAL
    assert call(model, "membarrier", 24, 0) == -errno.EINVAL
    assert call(model, "membarrier", -1, 0) == -errno.EINVAL


def test_no_protection_keys(model: Model) -> None:
    at = memory(model)
    assert call(model, "pkey_alloc", 0, 0) == -errno.ENOSPC
    assert call(model, "pkey_alloc", 1, 0) == -errno.EINVAL
    assert call(model, "pkey_alloc", 0, 4) == -errno.EINVAL
    assert call(model, "pkey_free", 0) == -errno.EINVAL
    assert call(model, "pkey_mprotect", at, PAGE_SIZE, 1, 3) == -errno.EINVAL
    assert call(model, "pkey_mprotect", at, PAGE_SIZE, 1, -1) == 0


def test_sealed_memory_stays_as_it_is(model: Model) -> None:
    at = memory(model)
    assert call(model, "mseal", at, 2 * PAGE_SIZE, 1) == -errno.EINVAL
    assert call(model, "mseal", at, 5 * PAGE_SIZE, 0) == -errno.ENOMEM
    assert call(model, "mseal", at + PAGE_SIZE, PAGE_SIZE, 0) == 0
    assert call(model, "munmap", at, 4 * PAGE_SIZE) == -errno.EPERM
    assert call(model, "mprotect", at + PAGE_SIZE, PAGE_SIZE, 1) == -errno.EPERM
    assert call(model, "mremap", at + PAGE_SIZE, PAGE_SIZE, 2 * PAGE_SIZE, 1) == -errno.EPERM
    assert call(model, "mmap", at, 4 * PAGE_SIZE, 1, ANON | MAP_FIXED, NO_FD, 0) == -errno.EPERM
    # Memory that can be written may be emptied: the program could as well do it itself.
    assert call(model, "madvise", at, 4 * PAGE_SIZE, 4) == 0


def test_tagged_addresses(model: Model) -> None:
    at = memory(model)
    tagged = at | 0x5A << 56
    works = model.kernel.arch.NAME == "aarch64"
    assert (call(model, "mprotect", tagged, PAGE_SIZE, 1) == 0) == works
    assert (call(model, "madvise", tagged, PAGE_SIZE, 4) == 0) == works
    assert (call(model, "mlock", tagged, PAGE_SIZE) == 0) == works
    assert (call(model, "munmap", tagged, PAGE_SIZE) == 0) == works
    assert call(model, "mmap", tagged, PAGE_SIZE, 1, ANON | MAP_FIXED, NO_FD, 0) == -errno.ENOMEM


def test_listeners_hear_of_changes(model: Model) -> None:
    heard: list[Event] = []
    model.kernel.events.subscribe(heard.append)
    at = memory(model)
    call(model, "mprotect", at, PAGE_SIZE, 1)
    call(model, "munmap", at, 3)
    changes = [(e.what, e.start, e.end) for e in heard if isinstance(e, MappingChanged)]
    assert changes == [
        ("mmap", at, at + 4 * PAGE_SIZE),
        ("mprotect", at, at + PAGE_SIZE),
        ("munmap", at, at + PAGE_SIZE),
    ]


def test_memory_runs_out_without_a_python_error() -> None:
    model = make_model(ram_bytes=1 << 20)
    at = memory(model, 1024)
    assert call(model, "mlock", at, 1024 * PAGE_SIZE) == -errno.EAGAIN
    assert call(model, "madvise", at, 1024 * PAGE_SIZE, 23) == -errno.ENOMEM
    mm = model.task.mm
    page = next(p for p in range(at, at + 1024 * PAGE_SIZE, PAGE_SIZE) if p not in mm.pt)
    assert mm.handle_fault(page, 2) == 0
    assert mm.fault_cause(page, 2) == (7, 2)
    assert call(model, "madvise", at, 512 * PAGE_SIZE, 24) == 0
    assert mm.handle_fault(page, 2)
