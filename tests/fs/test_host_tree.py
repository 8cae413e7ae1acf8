"""Host trees: few descriptors whatever the guest walks through, the right file or an error, nothing special opened."""

from __future__ import annotations

import os
import socket
import stat
import subprocess
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from emu.host.tree import DirHostTree
from kernel_model.abi import errno
from kernel_model.host import HostNode


@pytest.fixture
def tree(tmp_path: Path) -> Iterator[DirHostTree]:
    made = DirHostTree(str(tmp_path), writable=True)
    yield made
    made.close()


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def read(tree: DirHostTree, node: HostNode, count: int = 100) -> bytes:
    buffer = bytearray(count)
    return bytes(buffer[: tree.pread_into(node, memoryview(buffer), 0)])


def errno_of(call: object) -> int | None:
    assert callable(call)
    with pytest.raises(OSError) as raised:
        call()
    return raised.value.errno


def test_thousands_of_directories_and_files_take_few_descriptors(tree: DirHostTree, tmp_path: Path) -> None:
    before = descriptors()
    nodes = []
    for i in range(400):
        (tmp_path / f"d{i}").mkdir()
        (tmp_path / f"d{i}" / "f").write_bytes(b"%d" % i)
        directory, _ = tree.lookup(tree.root, b"d%d" % i)
        nodes.append(tree.lookup(directory, b"f")[0])
    for i, node in enumerate(nodes):
        assert read(tree, node) == b"%d" % i
    for i, node in enumerate(nodes):
        tree.pwrite(node, b"%d" % (i + 1), 0)
        assert tree.lstat(node).size >= 1
    assert descriptors() - before < 300
    for node in nodes:
        tree.forget(node)
    assert len(tree._data) == 0


def test_a_way_of_two_thousand_directories_is_opened_again(tree: DirHostTree, tmp_path: Path) -> None:
    node = tree.root
    fd = os.open(tmp_path, os.O_PATH)
    for _ in range(2000):
        os.mkdir("d", dir_fd=fd)
        deeper = os.open("d", os.O_PATH, dir_fd=fd)
        os.close(fd)
        fd = deeper
        node, _ = tree.lookup(node, b"d")
    os.close(fd)
    for kept in list(tree._directories):
        tree._directories.close(kept)
    assert tree.listdir(node) == []
    tree.mkdir(node, b"last", 0o755)
    assert [name for name, _, _ in tree.listdir(node)] == [b"last"]
    # pytest's own clean-up can't go that deep.
    subprocess.run(["rm", "-rf", tmp_path / "d"], check=True)


def test_what_is_not_a_regular_file_is_shown_but_not_opened(tree: DirHostTree, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(tmp_path / "socket"))
        os.symlink("fifo", tmp_path / "link")
        kinds = {name: kind for name, _, kind in tree.listdir(tree.root)}
        assert kinds == {b"fifo": 1, b"socket": 12, b"link": 10}
        for name, kind in kinds.items():
            node, st = tree.lookup(tree.root, name)
            assert st.mode >> 12 == kind
            assert errno_of(partial(read, tree, node)) == errno.ESTALE


def test_a_name_that_means_another_file_now_is_stale(tree: DirHostTree, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"first")
    (tmp_path / "b").write_bytes(b"second")
    node, _ = tree.lookup(tree.root, b"a")
    os.rename(tmp_path / "b", tmp_path / "a")
    assert errno_of(partial(tree.lstat, node)) == errno.ESTALE
    assert errno_of(partial(read, tree, node)) == errno.ESTALE
    assert errno_of(partial(tree.chmod, node, 0o600)) == errno.ESTALE
    assert read(tree, tree.lookup(tree.root, b"a")[0]) == b"second"


def test_changing_attributes_never_follows_a_link(tree: DirHostTree, tmp_path: Path) -> None:
    (tmp_path / "target").write_bytes(b"")
    (tmp_path / "target").chmod(0o644)
    os.symlink("target", tmp_path / "link")
    node, _ = tree.lookup(tree.root, b"link")
    assert errno_of(partial(tree.chmod, node, 0o777)) == errno.EOPNOTSUPP
    tree.utimens(node, 1, 2)
    tree.chown(node, os.getuid(), os.getgid())
    assert stat.S_IMODE((tmp_path / "target").stat().st_mode) == 0o644
    assert (tmp_path / "target").stat().st_mtime_ns != 2
    assert os.lstat(tmp_path / "link").st_mtime_ns == 2
    assert tree.readlink(node) == b"target"


def test_modes_are_set_whatever_our_umask_is(tree: DirHostTree, tmp_path: Path) -> None:
    old = os.umask(0o077)
    try:
        tree.create(tree.root, b"file", 0o666)
        tree.mkdir(tree.root, b"dir", 0o1777)
        tree.mkfifo(tree.root, b"fifo", 0o622)
    finally:
        os.umask(old)
    modes = [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("file", "dir", "fifo")]
    assert modes == [0o666, 0o1777, 0o622]


def test_a_read_only_tree_changes_nothing(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"x")
    tree = DirHostTree(str(tmp_path))
    node, _ = tree.lookup(tree.root, b"f")
    for call in (
        partial(tree.create, tree.root, b"new", 0o644),
        partial(tree.mkdir, tree.root, b"new", 0o755),
        partial(tree.symlink, tree.root, b"new", b"x"),
        partial(tree.mkfifo, tree.root, b"new", 0o644),
        partial(tree.link, node, tree.root, b"new"),
        partial(tree.unlink, tree.root, b"f"),
        partial(tree.rmdir, tree.root, b"f"),
        partial(tree.rename, tree.root, b"f", tree.root, b"g", 0),
        partial(tree.pwrite, node, b"y", 0),
        partial(tree.truncate, node, 0),
        partial(tree.chmod, node, 0),
        partial(tree.chown, node, 0, 0),
        partial(tree.utimens, node, 0, 0),
        partial(tree.setxattr, node, b"user.x", b"y", 0),
        partial(tree.removexattr, node, b"user.x"),
    ):
        assert errno_of(call) == errno.EROFS, call
    tree.close()


def test_what_the_file_system_is_comes_from_the_host(tree: DirHostTree, tmp_path: Path) -> None:
    kind, bsize, blocks, _, _, files, _, namelen = tree.statfs(tree.root)
    host = os.statvfs(tmp_path)
    assert (bsize, blocks, files, namelen) == (host.f_bsize, host.f_blocks, host.f_files, host.f_namemax)
    assert kind > 0
