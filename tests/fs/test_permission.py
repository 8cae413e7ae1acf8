"""Who may do what: the same sequences by an ordinary user, natively in a child process and in the model."""

from __future__ import annotations

import os
import pickle
import shutil
import stat
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kernel_model.cred import Cred
from kernel_model.fs.mount import TreeOptions
from tests.fs.twins import Modelled, Native, answer, close_model, make_tree_model, usual_umask, walk

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can make other users' files")

USER, GROUP, OTHER_GROUP = 1000, 1000, 2000

owners = st.sampled_from([(0, 0), (USER, GROUP), (USER, 0), (0, GROUP), (0, OTHER_GROUP), (3000, 3000)])
modes = st.integers(0, 0o777) | st.sampled_from([0o777, 0o1777, 0o2775, 0o755, 0o1770, 0o4755, 0o2644])
names = st.sampled_from(["d", "d/f", "d/g", "e", "e/f", "f", "d/new", "e/new", "new"])
flags = st.sampled_from(
    [os.O_RDONLY, os.O_WRONLY, os.O_RDWR, os.O_WRONLY | os.O_CREAT, os.O_RDWR | os.O_TRUNC, os.O_NOATIME, os.O_PATH]
)
operations = st.one_of(
    st.tuples(st.just("open"), names, flags, modes, st.just(False)),
    st.tuples(st.just("mkdir"), names, modes),
    st.tuples(st.just("rmdir"), names),
    st.tuples(st.just("unlink"), names),
    st.tuples(st.just("symlink"), st.just("f"), names),
    st.tuples(st.just("rename"), names, names, st.sampled_from([0, 2])),
    st.tuples(st.just("chmod"), names, modes),
    st.tuples(st.just("chown"), names, st.sampled_from([-1, USER, 0]), st.sampled_from([-1, GROUP, OTHER_GROUP, 0])),
    st.tuples(st.just("truncate"), names, st.just(1)),
    st.tuples(st.just("utime"), names, st.just(5)),
    st.tuples(st.just("touch"), names),
    st.tuples(st.just("stat"), names, st.booleans()),
    st.tuples(st.just("listdir"), names),
)
tree = st.fixed_dictionaries({name: st.tuples(owners, modes) for name in ("d", "d/f", "d/g", "e", "e/f", "f", ".")})


def populate(root: Path, facts: dict[str, tuple[tuple[int, int], int]]) -> None:
    """Files and directories of many owners."""
    root.mkdir(parents=True)
    for name in ("d", "e"):
        (root / name).mkdir()
    for name in ("d/f", "d/g", "e/f", "f"):
        (root / name).write_bytes(b"text")
    for name, (owner, mode) in facts.items():
        os.chown(root / name, *owner)
        os.chmod(root / name, mode)


def in_child(native: Native, sequence: list[tuple[Any, ...]]) -> list[Any]:
    """The native answers, given to an ordinary user."""
    reader, writer = os.pipe()
    pid = os.fork()
    if not pid:
        try:
            os.setgroups([OTHER_GROUP])
            os.setresgid(GROUP, GROUP, GROUP)
            os.setresuid(USER, USER, USER)
            answers = [answer(partial(getattr(native, name), *args)) for name, *args in sequence]
            with os.fdopen(writer, "wb") as pipe:
                pickle.dump(answers, pipe)
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        answers = pickle.load(pipe)
    os.waitpid(pid, 0)
    return list(answers)


@settings(max_examples=60, deadline=None)
@given(facts=tree, sequence=st.lists(operations, min_size=1, max_size=15))
def test_an_ordinary_user_may_do_the_same(facts: dict[str, Any], sequence: list[tuple[Any, ...]]) -> None:
    top = Path(tempfile.mkdtemp(prefix="permission-"))
    os.chmod(top, 0o755)
    with usual_umask():
        try:
            populate(top / "native" / "work", facts)
            populate(top / "lower" / "work", facts)
            model = make_tree_model(TreeOptions(root=str(top / "lower")))
            native = Native(top / "native" / "work")
            modelled = Modelled(model, b"/work")
            model.task.cred = Cred.of(USER, GROUP, (OTHER_GROUP,))
            expected = in_child(native, sequence)
            for (name, *args), native_answer in zip(sequence, expected, strict=True):
                assert answer(partial(getattr(modelled, name), *args)) == native_answer, (name, args)
            model.task.cred = Cred.of(0, 0, ())
            assert walk(modelled) == walk(native)
            native.close()
            modelled.close()
            close_model(model)
        finally:
            shutil.rmtree(top)


def test_capabilities_are_asked_for_themselves(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    (tmp_path / "secret").write_bytes(b"x")
    (tmp_path / "secret").chmod(0)
    (tmp_path / "closed").mkdir(0o700)
    model = make_tree_model(TreeOptions(root=str(tmp_path)))
    modelled = Modelled(model, b"/")
    cred = Cred.of(USER, GROUP, ())
    model.task.cred = cred
    read = partial(modelled.open, "secret", os.O_RDONLY, 0, False)
    write = partial(modelled.open, "secret", os.O_WRONLY, 0, False)
    look = partial(modelled.listdir, "closed")
    assert [answer(call)[0] for call in (read, write, look)] == ["fails"] * 3
    cred.cap_effective = 1 << 2  # CAP_DAC_READ_SEARCH
    assert [answer(call)[0] for call in (read, write, look)] == ["returns", "fails", "returns"]
    cred.cap_effective = 1 << 1  # CAP_DAC_OVERRIDE
    assert [answer(call)[0] for call in (read, write, look)] == ["returns"] * 3
    assert answer(partial(modelled.chmod, "secret", 0o600)) == ("fails", "EPERM")
    cred.cap_effective = 1 << 3  # CAP_FOWNER
    assert answer(partial(modelled.chmod, "secret", 0o640))[0] == "returns"
    assert stat.S_IMODE(modelled.stat("secret", True)[0]) == 0o640
    close_model(model)
