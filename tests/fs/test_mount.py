"""Bound directories and files, the isolated tree, and what holds a mount in its place."""

from __future__ import annotations

import os
import stat
from functools import partial
from pathlib import Path

import pytest

from kernel_model.abi.fcntl import AT_FDCWD, O_CREAT, O_RDONLY, O_RDWR, O_TRUNC, O_WRONLY
from kernel_model.fs import vfs
from kernel_model.fs.file import File, put_file
from kernel_model.fs.mount import Bind, TreeOptions
from kernel_model.fs.namei import d_path, path_lookup
from kernel_model.fs.open import do_open
from kernel_model.types import PAGE_SIZE, SyscallError
from tests.fs.twins import Modelled, answer, close_model, make_tree_model, snapshot, usual_umask
from tests.support.model import Model


def opened(model: Model, name: bytes, flags: int = O_RDONLY, mode: int = 0o644) -> File:
    return do_open(model.task, AT_FDCWD, name, flags, mode)


def write(model: Model, name: bytes, data: bytes, flags: int = O_WRONLY | O_CREAT, mode: int = 0o644) -> None:
    file = opened(model, name, flags, mode)
    file.write(model.task, data)
    put_file(file, model.task)


def read(model: Model, name: bytes) -> bytes:
    file = opened(model, name)
    try:
        return file.pread(model.task, 1 << 20, 0)
    finally:
        put_file(file, model.task)


@pytest.fixture
def shared(tmp_path: Path) -> Path:
    directory = tmp_path / "shared"
    (directory / "sub").mkdir(parents=True)
    (directory / "file").write_bytes(b"on the host")
    return directory


@pytest.fixture
def model(shared: Path) -> Model:
    return make_tree_model(TreeOptions(isolate=True, binds=[Bind(str(shared), "/deep/down/rw", True)]))


def test_writing_goes_through_at_once(model: Model, shared: Path) -> None:
    file = opened(model, b"/deep/down/rw/file", O_RDWR)
    file.write(model.task, b"ON")
    assert (shared / "file").read_bytes() == b"ON the host"
    file.pwrite(model.task, b"far", 3 * PAGE_SIZE)
    assert (shared / "file").stat().st_size == 3 * PAGE_SIZE + 3
    assert file.pread(model.task, 20, 0)[:11] == b"ON the host"
    vfs.do_truncate(model.task, file.inode, 2)
    assert (shared / "file").read_bytes() == b"ON"
    put_file(file, model.task)
    write(model, b"/deep/down/rw/file", b"!", O_WRONLY | O_TRUNC)
    assert (shared / "file").read_bytes() == b"!"
    close_model(model)


def test_modes_owners_and_times_are_the_hosts(model: Model, shared: Path) -> None:
    with usual_umask():
        write(model, b"/deep/down/rw/new", b"x", mode=0o666)
        assert stat.S_IMODE((shared / "new").stat().st_mode) == 0o644
    old = os.umask(0o077)
    try:
        write(model, b"/deep/down/rw/other", b"x", mode=0o666)
        assert stat.S_IMODE((shared / "other").stat().st_mode) == 0o644
    finally:
        os.umask(old)
    place = path_lookup(model.task, AT_FDCWD, b"/deep/down/rw/new")
    vfs.vfs_chmod(model.task, place, 0o4711)
    vfs.vfs_utimes(model.task, place, 5_000_000_001, None, touch=False)
    host = (shared / "new").stat()
    assert (stat.S_IMODE(host.st_mode), host.st_atime_ns) == (0o4711, 5_000_000_001)
    ours = path_lookup(model.task, AT_FDCWD, b"/deep/down/rw/new").inode.getattr()
    assert (ours.dev, ours.ino, ours.mtime_ns, ours.blocks) == (
        host.st_dev, host.st_ino, host.st_mtime_ns, host.st_blocks,
    )  # fmt: skip
    close_model(model)


def test_a_shared_mapping_reaches_the_host_by_fsync_and_at_the_end(model: Model, shared: Path) -> None:
    file = opened(model, b"/deep/down/rw/file", O_RDWR)
    mapping = file.mmap_mapping(model.task, 1)
    frame = mapping.get_frame(0)
    ram = model.kernel.frames.ram
    mapping.page_mkwrite(0)
    ram[frame : frame + 2] = b"ON"
    assert (shared / "file").read_bytes() == b"on the host"
    file.fsync(model.task)
    assert (shared / "file").read_bytes() == b"ON the host"
    mapping.page_mkwrite(0)
    ram[frame : frame + 2] = b"in"
    file.inode.i_sb.sync()
    assert (shared / "file").read_bytes() == b"in the host"
    mapping.page_mkwrite(0)
    ram[frame : frame + 2] = b"at"
    put_file(file, model.task)
    assert (shared / "file").read_bytes() == b"at the host"
    close_model(model)


def test_an_open_file_outlives_its_name_on_the_host(model: Model, shared: Path) -> None:
    task = model.task
    file = opened(model, b"/deep/down/rw/file", O_RDWR)
    vfs.do_unlinkat(task, AT_FDCWD, b"/deep/down/rw/file")
    assert not (shared / "file").exists()
    file.write(task, b"still")
    assert file.pread(task, 100, 0) == b"stille host"
    assert file.inode.getattr().nlink == 0
    write(model, b"/deep/down/rw/file", b"another")
    assert file.pread(task, 100, 0) == b"stille host"
    put_file(file, task)
    assert (shared / "file").read_bytes() == b"another"
    close_model(model)


def test_what_others_write_is_read(model: Model, shared: Path) -> None:
    assert read(model, b"/deep/down/rw/file") == b"on the host"
    (shared / "file").write_bytes(b"changed, and longer")
    assert read(model, b"/deep/down/rw/file") == b"changed, and longer"
    os.rename(shared / "sub", shared / "bus")
    (shared / "bus" / "x").write_bytes(b"x")
    assert read(model, b"/deep/down/rw/bus/x") == b"x"
    with pytest.raises(SyscallError):
        path_lookup(model.task, AT_FDCWD, b"/deep/down/rw/sub")
    close_model(model)


def test_renaming_moves_what_is_open_and_below(model: Model, shared: Path) -> None:
    task = model.task
    write(model, b"/deep/down/rw/sub/f", b"one")
    file = opened(model, b"/deep/down/rw/sub/f", O_RDWR)
    vfs.do_renameat2(task, AT_FDCWD, b"/deep/down/rw/sub", AT_FDCWD, b"/deep/down/rw/moved", 0)
    file.write(task, b"two")
    assert (shared / "moved" / "f").read_bytes() == b"two"
    assert file.f_path is not None
    assert d_path(task, file.f_path) == b"/deep/down/rw/moved/f"
    vfs.do_renameat2(task, AT_FDCWD, b"/deep/down/rw/moved/f", AT_FDCWD, b"/deep/down/rw/file", 2)
    assert (shared / "moved" / "f").read_bytes() == b"on the host"
    assert file.pread(task, 9, 0) == b"two"
    assert answer(
        partial(vfs.do_renameat2, task, AT_FDCWD, b"/deep/down/rw/moved", AT_FDCWD, b"/deep/down/rw/moved/x", 0)
    ) == ("fails", "EINVAL")
    put_file(file, task)
    close_model(model)


def test_read_only_binds_refuse_every_change(shared: Path) -> None:
    model = make_tree_model(TreeOptions(isolate=True, binds=[Bind(str(shared), "/ro")]))
    side = Modelled(model, b"/ro")
    before = snapshot(shared)
    assert read(model, b"/ro/file") == b"on the host"
    for call in (
        partial(side.mkdir, "new", 0o755),
        partial(side.rmdir, "sub"),
        partial(side.unlink, "file"),
        partial(side.symlink, "x", "new"),
        partial(side.link, "file", "new", False),
        partial(side.rename, "file", "new", 0),
        partial(side.mkfifo, "new", 0o644),
        partial(side.chmod, "file", 0o600),
        partial(side.truncate, "file", 0),
        partial(side.utime, "file", 0),
        partial(side.open, "file", O_WRONLY, 0, False),
        partial(side.open, "file", O_RDONLY | O_TRUNC, 0, False),
        partial(side.open, "new", O_WRONLY | O_CREAT, 0o644, False),
    ):
        assert answer(call) == ("fails", "EROFS"), call
    assert answer(partial(side.mkdir, "sub", 0o755)) == ("fails", "EEXIST")
    assert answer(partial(side.rename, "absent", "x", 0)) == ("fails", "EROFS")
    assert snapshot(shared) == before
    close_model(model)


def test_a_single_file_can_be_bound(shared: Path, tmp_path: Path) -> None:
    (tmp_path / "lower").mkdir()
    (tmp_path / "lower" / "there").write_bytes(b"lower")
    binds = [
        Bind(str(shared / "file"), "/there", True),
        Bind(str(shared / "file"), "/new/place"),
    ]
    model = make_tree_model(TreeOptions(root=str(tmp_path / "lower"), binds=binds))
    assert read(model, b"/there") == read(model, b"/new/place") == b"on the host"
    write(model, b"/there", b"ON", O_WRONLY)
    assert (shared / "file").read_bytes() == b"ON the host"
    assert read(model, b"/new/place") == b"ON the host"
    side = Modelled(model, b"/")
    assert answer(partial(side.unlink, "there")) == ("fails", "EBUSY")
    assert answer(partial(side.rename, "there", "x", 0)) == ("fails", "EBUSY")
    assert answer(partial(side.rmdir, "proc")) == ("fails", "EBUSY")
    assert answer(partial(side.link, "there", "x", False)) == ("fails", "EXDEV")
    assert (tmp_path / "lower" / "there").read_bytes() == b"lower"
    assert not (tmp_path / "lower" / "new").exists()
    close_model(model)


def test_a_bind_of_the_other_kind_is_refused(shared: Path) -> None:
    with pytest.raises(SyscallError):
        make_tree_model(TreeOptions(isolate=True, binds=[Bind(str(shared / "file"), "/tmp")]))
    with pytest.raises(OSError, match="No such file"):
        make_tree_model(TreeOptions(isolate=True, binds=[Bind(str(shared / "absent"), "/x")]))


def test_an_isolated_tree_shows_the_program_and_nothing_else(shared: Path) -> None:
    program = str(shared / "file")
    model = make_tree_model(TreeOptions(isolate=True, program=program))
    assert read(model, program.encode()) == b"on the host"
    side = Modelled(model, b"/")
    assert set(side.listdir("/")) == {"proc", "sys", "dev", "tmp", program.split("/")[1]}
    assert side.listdir(str(shared)) == ["file"]
    assert side.stat("tmp", True)[0] == stat.S_IFDIR | 0o1777
    assert answer(partial(side.open, program, O_WRONLY, 0, False)) == ("fails", "EROFS")
    close_model(model)


def test_the_kernels_own_mounts_are_made_late(shared: Path) -> None:
    model = make_tree_model(TreeOptions(root=str(shared)))
    mounts = {mnt.fs_type: mnt for mnt in model.kernel.mounts.mounts}
    assert set(mounts) == {"overlay", "proc", "sysfs", "devtmpfs", "tmpfs"}
    assert [fs_type for fs_type, mnt in mounts.items() if mnt._root is not None] == ["overlay"]
    assert path_lookup(model.task, AT_FDCWD, b"/proc").inode.is_dir
    assert mounts["proc"]._root is not None
    assert os.listdir(shared) in (["sub", "file"], ["file", "sub"])
    close_model(model)
