"""The overlay: the host shows through, changes stay in memory, and what others do on the host is seen."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from kernel_model.abi.fcntl import AT_FDCWD, O_CREAT, O_DIRECTORY, O_RDONLY, O_RDWR, O_TMPFILE, O_WRONLY
from kernel_model.fs import vfs
from kernel_model.fs.directory import DirectoryFile
from kernel_model.fs.file import File, put_file
from kernel_model.fs.inode import Kstat
from kernel_model.fs.mount import TreeOptions
from kernel_model.fs.namei import d_path, path_lookup
from kernel_model.fs.open import do_open
from kernel_model.types import SyscallError
from tests.fs.twins import close_model, make_tree_model, snapshot
from tests.support.model import Model


@pytest.fixture
def lower(tmp_path: Path) -> Path:
    root = tmp_path / "lower"
    (root / "dir" / "sub").mkdir(parents=True)
    (root / "file").write_bytes(b"from the host")
    (root / "dir" / "one").write_bytes(b"1")
    (root / "dir" / "sub" / "two").write_bytes(b"2")
    os.link(root / "file", root / "dir" / "other name")
    os.symlink("dir/one", root / "link")
    os.mkfifo(root / "fifo")
    return root


@pytest.fixture
def model(lower: Path) -> Iterator[Model]:
    made = make_tree_model(TreeOptions(root=str(lower)))
    yield made
    close_model(made)


def opened(model: Model, name: bytes, flags: int = O_RDONLY, mode: int = 0o644) -> File:
    return do_open(model.task, AT_FDCWD, name, flags, mode)


def read(model: Model, name: bytes) -> bytes:
    file = opened(model, name)
    try:
        return file.pread(model.task, 1 << 20, 0)
    finally:
        put_file(file, model.task)


def write(model: Model, name: bytes, data: bytes, flags: int = O_WRONLY | O_CREAT) -> None:
    file = opened(model, name, flags)
    file.write(model.task, data)
    put_file(file, model.task)


def stat_of(model: Model, name: bytes, *, follow: bool = True) -> Kstat:
    return path_lookup(model.task, AT_FDCWD, name, follow=follow).inode.getattr()


def listing(model: Model, name: bytes) -> list[bytes]:
    file = opened(model, name, O_RDONLY | O_DIRECTORY)
    assert isinstance(file, DirectoryFile)
    entries = [entry.name for entry in file.iterate_from(0)]
    put_file(file, model.task)
    assert entries[:2] == [b".", b".."]
    return entries[2:]


def exists(model: Model, name: bytes) -> bool:
    try:
        path_lookup(model.task, AT_FDCWD, name, follow=False)
    except SyscallError:
        return False
    return True


@pytest.mark.parametrize("name", ["file", "dir", "dir/sub", "link", "fifo", "dir/other name"])
def test_stat_is_the_hosts(model: Model, lower: Path, name: str) -> None:
    ours = stat_of(model, name.encode(), follow=False)
    host = os.lstat(lower / name)
    assert (ours.dev, ours.ino, ours.mode, ours.nlink, ours.uid, ours.gid, ours.rdev) == (
        host.st_dev, host.st_ino, host.st_mode, host.st_nlink, host.st_uid, host.st_gid, host.st_rdev,
    )  # fmt: skip
    assert (ours.size, ours.blksize, ours.blocks) == (host.st_size, host.st_blksize, host.st_blocks)
    assert (ours.atime_ns, ours.mtime_ns, ours.ctime_ns) == (host.st_atime_ns, host.st_mtime_ns, host.st_ctime_ns)


def test_the_time_of_birth_is_the_hosts_or_unknown(model: Model, lower: Path) -> None:
    now = model.kernel.clock.realtime_ns()
    birth = path_lookup(model.task, AT_FDCWD, b"file").inode.birth_ns()
    assert birth == 0 or abs(birth - (lower / "file").stat().st_ctime_ns) < 10**9
    write(model, b"new", b"")
    assert path_lookup(model.task, AT_FDCWD, b"new").inode.birth_ns() >= now


def test_reading_changes_nothing_on_the_host_not_even_access_times(model: Model, lower: Path) -> None:
    os.utime(lower / "file", (1, 2))
    os.utime(lower / "dir", (1, 2))
    before = [os.lstat(lower / name) for name in ("file", "dir")]
    assert read(model, b"file") == b"from the host"
    assert set(listing(model, b"dir")) == {b"one", b"sub", b"other name"}
    assert [os.lstat(lower / name) for name in ("file", "dir")] == before
    assert stat_of(model, b"file").atime_ns == 10**9


def test_copy_up_keeps_who_the_file_is(model: Model, lower: Path) -> None:
    before = stat_of(model, b"file")
    file = opened(model, b"file", O_RDWR)
    file.pwrite(model.task, b"FROM", 0)
    vfs.vfs_chmod(model.task, path_lookup(model.task, AT_FDCWD, b"file"), 0o600)
    after = stat_of(model, b"file")
    assert (after.dev, after.ino, after.nlink, after.size) == (before.dev, before.ino, before.nlink, before.size)
    assert stat.S_IMODE(after.mode) == 0o600
    assert read(model, b"file") == b"FROM the host"
    assert (lower / "file").read_bytes() == b"from the host"
    put_file(file, model.task)


def test_all_names_of_a_host_file_are_one_file(model: Model) -> None:
    write(model, b"file", b"changed", O_WRONLY)
    assert read(model, b"dir/other name") == b"changede host"
    first, second = (path_lookup(model.task, AT_FDCWD, name).inode for name in (b"file", b"dir/other name"))
    assert first is second
    vfs.do_unlinkat(model.task, AT_FDCWD, b"file")
    assert stat_of(model, b"dir/other name").nlink == 1
    vfs.do_linkat(model.task, path_lookup(model.task, AT_FDCWD, b"dir/other name"), AT_FDCWD, b"third")
    assert read(model, b"third") == b"changede host"


def test_untouched_contents_come_from_the_host_late(model: Model, lower: Path) -> None:
    block = bytes(range(256)) * 16
    (lower / "big").write_bytes(block * 500)
    write(model, b"big", b"mine", O_RDWR)
    contents = read(model, b"big")
    assert contents[:4] == b"mine"
    assert contents[4096:8192] == block
    file = opened(model, b"big", O_RDWR)
    file.inode.truncate(5000)
    file.inode.truncate(9000)
    assert file.pread(model.task, 9000, 4096) == block[:904] + bytes(4000)
    put_file(file, model.task)


def test_removed_names_stay_removed_and_new_ones_win(model: Model, lower: Path) -> None:
    before = snapshot(lower)
    task = model.task
    vfs.do_unlinkat(task, AT_FDCWD, b"dir/one")
    assert not exists(model, b"dir/one")
    assert b"one" not in listing(model, b"dir")
    vfs.do_unlinkat(task, AT_FDCWD, b"dir/sub/two")
    vfs.do_rmdir(task, AT_FDCWD, b"dir/sub")
    assert not exists(model, b"dir/sub")
    vfs.do_mkdirat(task, AT_FDCWD, b"dir/sub", 0o700)
    assert listing(model, b"dir/sub") == []
    assert stat_of(model, b"dir/sub").nlink == 2
    write(model, b"dir/one", b"new")
    assert read(model, b"dir/one") == b"new"
    vfs.do_unlinkat(task, AT_FDCWD, b"dir/one")
    assert not exists(model, b"dir/one")
    assert snapshot(lower) == before


def test_a_host_directory_moves_with_all_that_is_in_it(model: Model) -> None:
    task = model.task
    inode = path_lookup(task, AT_FDCWD, b"dir/sub").inode
    write(model, b"dir/sub/new", b"n")
    place = path_lookup(task, AT_FDCWD, b"dir/sub")
    vfs.do_renameat2(task, AT_FDCWD, b"dir", AT_FDCWD, b"moved", 0)
    assert not exists(model, b"dir")
    assert sorted(listing(model, b"moved/sub")) == [b"new", b"two"]
    assert read(model, b"moved/sub/two") == b"2"
    assert path_lookup(task, AT_FDCWD, b"moved/sub").inode is inode
    assert d_path(task, place) == b"/moved/sub"
    vfs.do_mkdirat(task, AT_FDCWD, b"dir", 0o755)
    assert listing(model, b"dir") == []


def test_an_open_file_outlives_its_name(model: Model) -> None:
    task = model.task
    file = opened(model, b"dir/one", O_RDWR)
    vfs.do_unlinkat(task, AT_FDCWD, b"dir/one")
    assert file.read(task, 10) == b"1"
    file.write(task, b"23")
    assert file.pread(task, 10, 0) == b"123"
    assert file.inode.getattr().nlink == 0
    assert file.f_path is not None
    assert d_path(task, file.f_path) == b"/dir/one (deleted)"
    frames = model.kernel.frames.used_frames
    put_file(file, task)
    assert model.kernel.frames.used_frames < frames


def test_a_file_without_a_name_can_be_given_one(model: Model) -> None:
    task = model.task
    file = opened(model, b"dir", O_TMPFILE | O_RDWR)
    file.write(task, b"late")
    assert b"#" not in b"".join(listing(model, b"dir"))
    assert file.f_path is not None
    vfs.do_linkat(task, file.f_path, AT_FDCWD, b"dir/named")
    put_file(file, task)
    assert read(model, b"dir/named") == b"late"


# -- what others do on the host --------------------------------------------------------------------------------------
def test_host_files_that_come_go_and_change_are_seen(model: Model, lower: Path) -> None:
    assert not exists(model, b"dir/late")
    (lower / "dir" / "late").write_bytes(b"first")
    assert read(model, b"dir/late") == b"first"
    (lower / "dir" / "late").write_bytes(b"second, longer")
    assert read(model, b"dir/late") == b"second, longer"
    assert stat_of(model, b"dir/late").size == 14
    os.rename(lower / "dir" / "late", lower / "dir" / "elsewhere")
    assert not exists(model, b"dir/late")
    assert read(model, b"dir/elsewhere") == b"second, longer"
    (lower / "dir" / "elsewhere").unlink()
    (lower / "dir" / "elsewhere").mkdir()
    assert stat.S_ISDIR(stat_of(model, b"dir/elsewhere").mode)


def test_a_file_that_grows_on_the_host_is_read_on(model: Model, lower: Path) -> None:
    file = opened(model, b"dir/one")
    assert file.read(model.task, 100) == b"1"
    assert file.read(model.task, 100) == b""
    with (lower / "dir" / "one").open("ab") as log:
        log.write(b" and more")
    assert file.read(model.task, 100) == b" and more"
    put_file(file, model.task)


def test_a_file_that_was_written_here_is_ours_whatever_the_host_does(model: Model, lower: Path) -> None:
    write(model, b"dir/one", b"ours")
    (lower / "dir" / "one").write_bytes(b"theirs")
    assert read(model, b"dir/one") == b"ours"
    (lower / "dir" / "one").unlink()
    assert read(model, b"dir/one") == b"ours"


def test_an_open_host_file_stays_readable_when_the_host_removes_it(model: Model, lower: Path) -> None:
    file = opened(model, b"dir/one")
    (lower / "dir" / "one").unlink()
    assert file.read(model.task, 10) == b"1"
    put_file(file, model.task)
    assert not exists(model, b"dir/one")


def test_a_closed_host_file_keeps_its_pages_and_nothing_leaks(model: Model, lower: Path) -> None:
    for i in range(600):
        (lower / f"n{i}").write_bytes(b"x" * 100)
    for i in range(600):
        assert read(model, b"n%d" % i) == b"x" * 100
    tree = model.kernel.mounts.root.mnt.mnt_sb.tree  # type: ignore[attr-defined]
    assert len(tree._nodes) < 560
    assert len(model.kernel.mounts.root.dentry.children) < 560
    for i in range(600):
        stat_of(model, b"n%d" % i)
    assert len(tree._nodes) < 560


# -- special files ---------------------------------------------------------------------------------------------------
def test_a_fifo_of_the_host_connects_guests_only(model: Model) -> None:
    task = model.task
    both = opened(model, b"fifo", O_RDWR)
    again = opened(model, b"fifo", O_RDONLY)
    both.write(task, b"through")
    assert again.read(task, 100) == b"through"
    put_file(both, task)
    put_file(again, task)


def test_extended_attributes_show_and_change_in_memory_only(model: Model, lower: Path) -> None:
    try:
        os.setxattr(lower / "file", "user.note", b"host")
    except OSError:
        pytest.skip("the host's file system has no user attributes")
    inode = path_lookup(model.task, AT_FDCWD, b"file").inode
    assert inode.getxattr(b"user.note") == b"host"
    inode.setxattr(b"user.other", b"guest", 0)
    assert sorted(inode.listxattr()) == [b"user.note", b"user.other"]
    inode.removexattr(b"user.note")
    assert path_lookup(model.task, AT_FDCWD, b"file").inode.listxattr() == [b"user.other"]
    assert os.listxattr(lower / "file") == ["user.note"]


def test_a_guest_cannot_fill_the_emulators_memory_with_names() -> None:
    model = make_tree_model(TreeOptions(isolate=True))
    before = path_lookup(model.task, AT_FDCWD, b"/tmp").inode.i_sb.statfs().ffree
    made = 0
    with pytest.raises(SyscallError, match="28"):  # ENOSPC
        while made < 100_000:
            vfs.do_symlinkat(model.task, b"x" * 4000, AT_FDCWD, b"/tmp/%d" % made)
            made += 1
    assert 100 < made < before
    for i in range(made):
        vfs.do_unlinkat(model.task, AT_FDCWD, b"/tmp/%d" % i)
    assert path_lookup(model.task, AT_FDCWD, b"/tmp").inode.i_sb.statfs().ffree in (before, before - 1)
    close_model(model)
