"""Random sequences of file operations: the model over a lower directory must answer as the host does, call by call."""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kernel_model.fs.mount import Bind, TreeOptions
from tests.fs.twins import Modelled, Native, answer, close_model, make_tree_model, snapshot, usual_umask, walk

DEPTH = "1/2/3/4/5/work"
"""Deep enough that no `..` of a test leaves the temporary directory."""

names = st.sampled_from(["a", "b", "c", "d"])
paths = st.one_of(
    names,
    st.builds("/".join, st.lists(names, min_size=2, max_size=3)),
    st.builds(lambda name: name + "/", names),
    st.builds(lambda one, two: f"{one}/{two}/", names, names),
    st.builds(lambda one, two: f"{one}/../{two}", names, names),
    st.builds(lambda one, two: f"{one}/./{two}", names, names),
    st.sampled_from([".", "a/.", "b/..", "", "x" * 256, "d/" + "y" * 255, "./c//d"]),
)
targets = st.one_of(
    names,
    st.builds(lambda name: "../" + name, names),
    st.builds("/".join, st.lists(names, min_size=2, max_size=2)),
    st.just("nowhere"),
    st.just("b/"),
)
modes = st.sampled_from([0o755, 0o644, 0o600, 0o777, 0o4755, 0o2755, 0o1777])
open_flags = st.builds(
    lambda access, others: access | sum(set(others)),
    st.sampled_from([os.O_RDONLY, os.O_WRONLY, os.O_RDWR]),
    st.lists(
        st.sampled_from(
            [os.O_CREAT, os.O_CREAT, os.O_EXCL, os.O_TRUNC, os.O_APPEND, os.O_DIRECTORY, os.O_NOFOLLOW, os.O_PATH]
        ),
        max_size=3,
    ),
)
data = st.sampled_from([b"", b"x", b"hello", b"0123456789" * 500])
positions = st.sampled_from([None, 0, 3, 4095, 4096, 9000])
index = st.integers(0, 3)

operations = st.one_of(
    st.tuples(st.just("mkdir"), paths, modes),
    st.tuples(st.just("rmdir"), paths),
    st.tuples(st.just("unlink"), paths),
    st.tuples(st.just("symlink"), targets, paths),
    st.tuples(st.just("link"), paths, paths, st.booleans()),
    st.tuples(st.just("rename"), paths, paths, st.sampled_from([0, 0, 0, 1, 2, 3, 8])),
    st.tuples(st.just("mkfifo"), paths, modes),
    st.tuples(st.just("chmod"), paths, modes),
    st.tuples(st.just("truncate"), paths, st.sampled_from([0, 2, 4096, 5000])),
    st.tuples(st.just("utime"), paths, st.integers(0, 2_000_000_000)),
    st.tuples(st.just("readlink"), paths),
    st.tuples(st.just("stat"), paths, st.booleans()),
    st.tuples(st.just("listdir"), paths),
    st.tuples(st.just("open"), paths, open_flags, modes, st.booleans()),
    st.tuples(st.just("open"), paths, open_flags, modes, st.just(True)),
    st.tuples(st.just("write"), index, data, positions),
    st.tuples(st.just("read"), index, st.sampled_from([0, 1, 100, 10000]), positions),
    st.tuples(st.just("seek"), index, st.sampled_from([-1, 0, 5, 5000]), st.integers(0, 4)),
    st.tuples(st.just("fstat"), index),
    st.tuples(st.just("drop"), index),
)


def populate(root: Path) -> None:
    """A lower directory with something of everything."""
    work = root / DEPTH
    work.mkdir(parents=True)
    (work / "a").write_bytes(b"lower a" * 1000)
    (work / "b").mkdir()
    (work / "b" / "a").write_bytes(b"in b")
    (work / "b" / "c").mkdir()
    (work / "b" / "c" / "d").write_bytes(b"deep")
    os.link(work / "a", work / "b" / "b")
    os.symlink("b", work / "c")
    os.symlink("../a", work / "b" / "d")
    for directory, _, files in os.walk(root):
        for path in [directory, *(os.path.join(directory, name) for name in files)]:
            os.utime(path, (1_000_000, 1_000_000), follow_symlinks=False)


def run(native: Native, modelled: Modelled, sequence: list[tuple[Any, ...]]) -> None:
    """Each operation on both sides; the answers and, at the end, the trees must agree."""
    for name, *args in sequence:
        if name in ("write", "read", "seek", "fstat", "drop"):
            if args[0] >= len(native.kept):
                continue
            if name == "seek" and stat.S_ISDIR(native.fstat(args[0])[0]):
                # Where a directory ends is each file system's own business.
                continue
        expected = answer(partial(getattr(native, name), *args))
        assert answer(partial(getattr(modelled, name), *args)) == expected, (name, args)
    assert walk(modelled) == walk(native)


@pytest.mark.parametrize("kind", ["overlay", "tmpfs", "bound"])
@settings(max_examples=150, deadline=None)
@given(sequence=st.lists(operations, max_size=25))
def test_model_answers_as_the_host(kind: str, sequence: list[tuple[Any, ...]]) -> None:
    top = Path(tempfile.mkdtemp(prefix="twins-"))
    with usual_umask():
        try:
            populate(top / "native")
            if kind == "tmpfs":
                model = make_tree_model(TreeOptions(isolate=True))
                shutil.rmtree(top / "native" / DEPTH)
                (top / "native" / DEPTH).mkdir()
                model.kernel.mounts.path_of(DEPTH.encode())
                prefix = b""
            else:
                populate(top / "lower")
                if kind == "overlay":
                    model = make_tree_model(TreeOptions(root=str(top / "lower")))
                    prefix = b""
                else:
                    binds = [Bind(str(top / "lower"), "/bound", True)]
                    model = make_tree_model(TreeOptions(isolate=True, binds=binds))
                    prefix = b"/bound"
            before = snapshot(top / "lower")
            native = Native(top / "native" / DEPTH)
            modelled = Modelled(model, prefix + b"/" + DEPTH.encode())
            try:
                run(native, modelled, sequence)
            finally:
                native.close()
                modelled.close()
            close_model(model)
            if kind == "overlay":
                assert snapshot(top / "lower") == before
            if kind == "bound":
                again = Native(top / "lower" / DEPTH)
                native = Native(top / "native" / DEPTH)
                assert walk(again) == walk(native)
                again.close()
                native.close()
        finally:
            shutil.rmtree(top)
