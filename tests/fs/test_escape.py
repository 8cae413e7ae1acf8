"""No way leads out of the guest's root: `..`, links of all kinds, openat2's scopes, and races on the host."""

from __future__ import annotations

import ctypes
import os
import struct
import threading
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emu.host.tree import DirHostTree
from kernel_model.abi import errno, openat2
from kernel_model.abi.fcntl import AT_FDCWD, O_DIRECTORY, O_PATH, O_RDONLY
from kernel_model.fs.file import put_file
from kernel_model.fs.mount import Bind, TreeOptions
from kernel_model.fs.namei import d_path, path_lookup
from kernel_model.fs.open import do_open
from kernel_model.types import SyscallError
from tests.fs.twins import Modelled, answer, close_model, make_tree_model
from tests.support.model import Model

SECRET = b"not for the guest"


@pytest.fixture
def jail(tmp_path: Path) -> Path:
    """A root whose links all try to get at `secret`, which is beside it."""
    (tmp_path / "secret").write_bytes(SECRET)
    root = tmp_path / "root"
    (root / "dir" / "deep").mkdir(parents=True)
    (root / "inside").write_bytes(b"inside")
    os.symlink(tmp_path / "secret", root / "absolute")
    os.symlink("../secret", root / "relative")
    os.symlink("../../../../../../../../secret", root / "dir" / "far")
    os.symlink("..", root / "up")
    os.symlink(tmp_path, root / "dir" / "parent")
    os.symlink("/inside", root / "dir" / "deep" / "rooted")
    os.symlink("/proc/self/root/../secret", root / "magic")
    return root


def read(model: Model, name: bytes) -> bytes:
    """What the guest reads under a name."""
    file = do_open(model.task, AT_FDCWD, name, O_RDONLY)
    try:
        return file.read(model.task, 4096)
    finally:
        put_file(file, model.task)


def lookup_errno(model: Model, name: bytes) -> int:
    """The errno of walking to a name; 0 when there is something."""
    try:
        path_lookup(model.task, AT_FDCWD, name)
    except SyscallError as error:
        return error.errno
    return 0


@pytest.mark.parametrize(
    "name",
    [
        b"../secret", b"/../secret", b"/../../../secret", b"dir/../../secret", b"dir/deep/../../../secret", b"absolute",
        b"relative", b"dir/far", b"up/secret", b"up/up/up/secret", b"dir/parent/secret", b"magic",
        b"/proc/self/root/../secret", b"/proc/self/cwd/../secret", b"dir//..//..//secret", b"./././../secret",
        b"/proc/1000/root/up/secret",
    ],
)  # fmt: skip
def test_nothing_leads_out_of_a_root_directory(jail: Path, name: bytes) -> None:
    model = make_tree_model(TreeOptions(root=str(jail)))
    assert lookup_errno(model, name) == errno.ENOENT
    close_model(model)


def test_links_restart_at_the_guests_root(jail: Path) -> None:
    model = make_tree_model(TreeOptions(root=str(jail)))
    assert read(model, b"dir/deep/rooted") == b"inside"
    assert read(model, b"up/up/inside") == b"inside"
    assert d_path(model.task, path_lookup(model.task, AT_FDCWD, b"up")) == b"/"
    Modelled(model, b"/").symlink("/../../inside", "dir/new")
    assert read(model, b"dir/new") == b"inside"
    close_model(model)


def test_a_link_of_the_host_through_a_bind_stays_in_the_guest(jail: Path) -> None:
    outer = make_tree_model(TreeOptions(isolate=True, binds=[Bind(str(jail), "/jail", True)]))
    for name in (b"absolute", b"relative", b"dir/far", b"up/secret", b"dir/parent/secret", b"../secret"):
        assert lookup_errno(outer, b"/jail/" + name) == errno.ENOENT
    assert lookup_errno(outer, b"/jail/dir/deep/rooted") == errno.ENOENT
    assert d_path(outer.task, path_lookup(outer.task, AT_FDCWD, b"/jail/..")) == b"/"
    close_model(outer)


def test_chroot_holds_but_an_open_directory_outside_stays_usable(jail: Path) -> None:
    model = make_tree_model(TreeOptions(root=str(jail)))
    task = model.task
    outside = do_open(task, AT_FDCWD, b"/", O_RDONLY | O_DIRECTORY)
    fd = task.files.install(outside, 100)
    task.fs.root = task.fs.pwd = path_lookup(task, AT_FDCWD, b"/dir")
    assert lookup_errno(model, b"/../inside") == errno.ENOENT
    assert lookup_errno(model, b"deep/rooted") == errno.ENOENT
    assert path_lookup(task, fd, b"inside").inode.i_size == 6
    assert d_path(task, path_lookup(task, fd, b"inside")) == b"(unreachable)/inside"
    # As on Linux: who is outside the root can go up to the real one, and no further.
    assert path_lookup(task, fd, b"../../inside").inode.i_size == 6
    assert lookup_errno(model, b"..") == 0
    close_model(model)


# -- openat2 ---------------------------------------------------------------------------------------------------------
_libc = ctypes.CDLL(None, use_errno=True)
_SYS_OPENAT2 = 437

resolves = st.sampled_from(
    [
        0,
        openat2.RESOLVE_BENEATH,
        openat2.RESOLVE_IN_ROOT,
        openat2.RESOLVE_NO_SYMLINKS,
        openat2.RESOLVE_NO_MAGICLINKS,
        openat2.RESOLVE_BENEATH | openat2.RESOLVE_NO_SYMLINKS,
        openat2.RESOLVE_IN_ROOT | openat2.RESOLVE_NO_XDEV,
    ]
)
parts = st.sampled_from(["a", "b", "..", ".", "up", "root", "loop", "f", "tof", "dead", "abs"])
walks = st.builds(
    lambda start, middle, end: start + "/".join(middle) + end,
    st.sampled_from(["", "/", "./"]),
    st.lists(parts, min_size=1, max_size=4),
    st.sampled_from(["", "/", "/."]),
)


@pytest.fixture(scope="module")
def maze(tmp_path_factory: pytest.TempPathFactory) -> Path:
    top = tmp_path_factory.mktemp("maze")
    work = top / "root" / "work"
    (work / "a" / "b").mkdir(parents=True)
    (work / "f").write_bytes(b"")
    (work / "a" / "f").write_bytes(b"")
    for place in (work, work / "a"):
        os.symlink("..", place / "up")
        os.symlink("loop", place / "loop")
        os.symlink("f", place / "tof")
        os.symlink("nothing", place / "dead")
        os.symlink("/a", place / "abs")
        os.symlink("/", place / "root")
    return top


def native_openat2(dfd: int, name: str, flags: int, resolve: int) -> int:
    """The inode number that the real openat2 leads to; OSError."""
    how = struct.pack("<QQQ", flags, 0, resolve)
    fd = _libc.syscall(_SYS_OPENAT2, dfd, os.fsencode(name), how, len(how))
    if fd < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    try:
        return os.fstat(fd).st_ino
    finally:
        os.close(fd)


@settings(max_examples=400, deadline=None)
@given(name=walks, flags=st.sampled_from([O_PATH, O_RDONLY, O_PATH | os.O_NOFOLLOW]), resolve=resolves)
def test_openat2_scopes_as_natively(maze: Path, name: str, flags: int, resolve: int) -> None:
    scoped = resolve & (openat2.RESOLVE_BENEATH | openat2.RESOLVE_IN_ROOT)
    if not scoped and (name[0] == "/" or not {"root", "abs", "..", "up"}.isdisjoint(name.split("/"))):
        return  # leads out of the directory natively
    model = make_tree_model(TreeOptions(root=str(maze / "root")))
    task = model.task
    dfd = os.open(maze / "root" / "work", O_PATH)
    model_dfd = task.files.install(do_open(task, AT_FDCWD, b"/work", O_PATH), 100)
    expected = answer(partial(native_openat2, dfd, name, flags, resolve))
    os.close(dfd)
    if expected != ("fails", "ENOSYS"):
        assert answer(lambda: do_open(task, model_dfd, name.encode(), flags, resolve=resolve).inode.i_ino) == expected
    close_model(model)


def test_openat2_does_not_cross_mounts_or_magic_links(jail: Path) -> None:
    model = make_tree_model(TreeOptions(root=str(jail), binds=[Bind(str(jail / "dir"), "/dir/deep")]))
    task = model.task

    def walk(name: bytes, resolve: int) -> object:
        return answer(lambda: d_path(task, path_lookup(task, AT_FDCWD, name, resolve=resolve)))

    cross = ("fails", "EXDEV")
    assert walk(b"/dir/deep", 0) == ("returns", b"/dir/deep")
    assert walk(b"/dir/deep", openat2.RESOLVE_NO_XDEV) == cross
    assert walk(b"/proc", openat2.RESOLVE_NO_XDEV) == cross
    assert walk(b"/dir", openat2.RESOLVE_NO_XDEV) == ("returns", b"/dir")
    task.fs.pwd = path_lookup(task, AT_FDCWD, b"/dir/deep")
    assert walk(b"..", openat2.RESOLVE_NO_XDEV) == cross
    assert walk(b"/dir", openat2.RESOLVE_NO_XDEV) == ("returns", b"/dir")
    assert walk(b"../..", 0) == ("returns", b"/")
    assert walk(b"/proc/self/cwd", 0) == ("returns", b"/dir/deep")
    assert walk(b"/proc/self/cwd", openat2.RESOLVE_NO_MAGICLINKS) == ("fails", "ELOOP")
    assert walk(b"/proc/self/cwd", openat2.RESOLVE_NO_SYMLINKS) == ("fails", "ELOOP")
    task.fs.pwd = path_lookup(task, AT_FDCWD, b"/proc")
    assert walk(b"self/cwd", openat2.RESOLVE_BENEATH) == cross
    assert walk(b"self/cwd", openat2.RESOLVE_NO_XDEV) == ("returns", b"/proc")
    assert walk(b"self/root", openat2.RESOLVE_NO_XDEV) == cross
    close_model(model)


def test_forty_links_are_followed_and_no_more(tmp_path: Path) -> None:
    (tmp_path / "0").write_bytes(b"end")
    for i in range(1, 42):
        os.symlink(str(i - 1), tmp_path / str(i))
    model = make_tree_model(TreeOptions(root=str(tmp_path)))
    assert read(model, b"40") == b"end"
    assert lookup_errno(model, b"41") == errno.ELOOP
    close_model(model)


# -- races -----------------------------------------------------------------------------------------------------------
def test_a_directory_that_becomes_a_link_leads_nowhere(jail: Path) -> None:
    """Deterministic: every directory is swapped for a link to the outside after the tree has seen it."""
    tree = DirHostTree(str(jail))
    directory, _ = tree.lookup(tree.root, b"dir")
    deep, _ = tree.lookup(directory, b"deep")
    tree._directories.close((directory, False))
    tree._directories.close((deep, False))
    (jail / "dir").rename(jail.parent / "moved")
    os.symlink(jail.parent, jail / "dir")
    for call in (
        partial(tree.listdir, directory),
        partial(tree.listdir, deep),
        partial(tree.lookup, directory, b"secret"),
        partial(tree.lookup, deep, b"rooted"),
    ):
        with pytest.raises(OSError) as raised:
            call()
        assert raised.value.errno == errno.ESTALE
    tree.close()


def test_a_file_that_becomes_a_link_is_not_read(jail: Path) -> None:
    tree = DirHostTree(str(jail))
    node, _ = tree.lookup(tree.root, b"inside")
    (jail / "inside").unlink()
    os.symlink("../secret", jail / "inside")
    with pytest.raises(OSError) as raised:
        tree.pread_into(node, memoryview(bytearray(100)), 0)
    assert raised.value.errno == errno.ESTALE
    tree.close()


def test_renaming_during_walks_never_shows_the_outside(jail: Path) -> None:
    """A thread swaps a directory and a link to the outside as fast as it can, while the guest walks there."""
    (jail.parent / "outside").mkdir()
    (jail.parent / "outside" / "bait").write_bytes(SECRET)
    (jail / "swap").mkdir()
    (jail / "swap" / "bait").write_bytes(b"harmless")
    os.symlink("../outside", jail / "trap")
    root = os.open(jail, os.O_PATH)
    done = threading.Event()

    def attack() -> None:
        while not done.is_set():
            _libc.renameat2(root, b"swap", root, b"trap", 2)

    attacker = threading.Thread(target=attack)
    attacker.start()
    seen = set()
    try:
        for _ in range(300):
            model = make_tree_model(TreeOptions(root=str(jail)))
            for name in (b"swap/bait", b"swap/../swap/bait", b"/trap/bait"):
                try:
                    seen.add(read(model, name))
                except SyscallError as error:
                    assert error.errno in (errno.ENOENT, errno.EIO, errno.ENOTDIR, errno.EINVAL)
            close_model(model)
    finally:
        done.set()
        attacker.join()
        os.close(root)
    assert seen <= {b"harmless"}
