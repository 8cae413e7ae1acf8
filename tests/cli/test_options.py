"""The command line of `uabi-emu run`, taken apart."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from emu.cli import values
from emu.cli.errors import CliError
from emu.cli.run import run


def parse(*words: str) -> dict[str, Any]:
    """What these words after `uabi-emu run` mean to click."""
    with run.make_context("run", list(words)) as context:
        return context.params


OPTIONS = [name for param in run.params for name in param.opts if name.startswith("-")]


def test_what_comes_after_the_program_is_its_own() -> None:
    given_words = parse("--seed", "3", "prog", "--seed", "4", "--", "-x")
    assert given_words["seed"] == "3"
    assert given_words["words"] == ("prog", "--seed", "4", "--", "-x")


def test_two_dashes_end_our_options() -> None:
    given_words = parse("--isolate", "--", "--strace", "x")
    assert given_words["words"] == ("--strace", "x")
    assert given_words["isolate"]
    assert given_words["strace"] is None


def test_a_value_may_follow_or_be_attached() -> None:
    assert parse("--cwd=/a", "p")["cwd"] == parse("--cwd", "/a", "p")["cwd"] == "/a"


def test_strace_never_takes_the_program_for_its_file() -> None:
    assert parse("--strace", "prog") == {**parse("prog"), "strace": ""}
    assert parse("--strace=log", "prog") == {**parse("prog"), "strace": "log"}
    assert parse("--cwd", "--strace", "prog", "--strace") == {**parse("prog", "--strace"), "cwd": "--strace"}


def test_repeated_options_keep_their_order() -> None:
    assert parse("--env", "A=1", "--env=B", "p")["env"] == ("A=1", "B")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--sede", "3"], "run: no such option '--sede', did you mean --seed?: see 'uabi-emu run --help'"),
        (["--xyzzy"], "run: no such option '--xyzzy': see 'uabi-emu run --help'"),
        (["--seed"], "--seed: it needs a value: write --seed N"),
        (["--isolate=yes"], "--isolate: it takes no value: write it without '=yes'"),
        (["--strace="], "--strace: no FILE after '=': name one, or leave '=' away for stderr"),
        (["--time", "moon"], "--time: 'moon' is no choice: write host or virtual"),
    ],
)
def test_mistakes(words: list[str], message: str) -> None:
    with pytest.raises(CliError) as caught:
        parse(*words)
    assert caught.value.message == message
    assert caught.value.status == 125


@given(st.lists(st.text(max_size=8).filter(lambda word: word != "-h") | st.sampled_from(OPTIONS)))
def test_any_words_are_taken_apart_or_refused(words: list[str]) -> None:
    try:
        parsed = parse(*words)["words"]
    except CliError as error:
        assert error.status == 125
    else:
        assert list(parsed) == words[len(words) - len(parsed) :]


@pytest.mark.parametrize("columns", [10, 40, 80, 200])
def test_help_fits_the_terminal(columns: int) -> None:
    context = click.Context(run, terminal_width=columns)
    text = run.get_help(context)
    for name in OPTIONS:
        assert f"  {name}" in text
    assert "  --strace[=FILE] " in text
    assert all(len(line) <= max(columns, 50) for line in text.splitlines())


@pytest.mark.parametrize(
    ("text", "size"),
    [("16M", 16 << 20), ("4G", 4 << 30), ("1t", 1 << 40), ("512MiB", 512 << 20), ("33554432", 32 << 20)],
)
def test_sizes(text: str, size: int) -> None:
    assert values.memory_size(text) == size


@pytest.mark.parametrize("text", ["", "G", "1.5G", "-1G", "4X", "1M", "2T", "9" * 50 + "G", "٣G"])
def test_no_sizes(text: str) -> None:
    with pytest.raises(CliError):
        values.memory_size(text)


@pytest.mark.parametrize("text", ["0", "-1", "nan", "inf", "", "soon", "1e300"])
def test_no_times(text: str) -> None:
    with pytest.raises(CliError):
        values.timeout_seconds(text)


@pytest.mark.parametrize("text", ["-1", "x", "", str(1 << 64)])
def test_no_seeds(text: str) -> None:
    with pytest.raises(CliError):
        values.seed(text)


def test_binds(tmp_path: Path) -> None:
    odd = tmp_path / "a:b"
    odd.mkdir()
    assert values.bind(f"{odd}:/x") == (str(odd), "/x", False)
    assert values.bind(f"{odd}:/x:ro") == (str(odd), "/x", False)
    assert values.bind(f"{odd}:/x:rw") == (str(odd), "/x", True)
    for text in (str(tmp_path), f"{tmp_path}:x", f"{tmp_path}:rw", ":/x", f"{tmp_path}/none:/x"):
        with pytest.raises(CliError):
            values.bind(text)


def test_environment() -> None:
    host = {b"A": b"1", b"B": b"2"}
    assert values.environment([], host, clear=False) == host
    assert values.environment(["B=3", "C=", "A"], host, clear=True) == {b"A": b"1", b"B": b"3", b"C": b""}
    assert values.environment(["X=\udcff"], {}, clear=False) == {b"X": b"\xff"}
    assert values.environment(["NONE"], host, clear=True) == {}
    with pytest.raises(CliError):
        values.environment(["=x"], host, clear=False)


def test_where_a_program_is(tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "work").mkdir()
    (tmp_path / "bin" / "tool").touch()
    root = str(tmp_path)
    assert values.program("./tool", b"/bin", root, "/work") == "./tool"
    assert values.program("tool", b"relative:/bin", root, "/work") == "/bin/tool"
    assert values.program("tool", None, root, "/work") == "/bin/tool"
    os.symlink("/nowhere", tmp_path / "work" / "tool")
    assert values.program("tool", b"/bin", root, "/work") == "tool"
    with pytest.raises(CliError) as caught:
        values.program("none", b"/bin", root, "/work")
    assert caught.value.status == 127
