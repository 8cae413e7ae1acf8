"""`uabi-emu compare`: what it prints, its statuses, and that it does not take different runs for the same."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import signal
import subprocess
import sys
import termios
import time
from pathlib import Path
from typing import Any

import pytest

from guests.build import binary_path, discover
from tests.harness import ROOT, Outcome, emulator, run

DEMOS = {arch: ROOT / "guests" / "demo" / arch / "demo" for arch in ("aarch64", "x86_64")}


def compare(*words: str | Path, cwd: Path, stdin: Path | None = None) -> Outcome:
    return run([*emulator()[:-1], "compare", *words], cwd=cwd, stdin=stdin)


def as_json(*words: str | Path, cwd: Path, stdin: Path | None = None) -> dict[str, Any]:
    seen = compare("--format", "json", *words, cwd=cwd, stdin=stdin)
    assert seen.status in (0, 1), seen
    document: dict[str, Any] = json.loads(seen.stdout)
    assert (seen.status == 0) == document["same"]
    return document


def guest(name: str) -> Path:
    return binary_path(next(guest for guest in discover() if guest.id == name))


@pytest.mark.parametrize("arch", DEMOS)
def test_costs_of_each_call(arch: str, tmp_path: Path) -> None:
    document = as_json(DEMOS[arch], cwd=tmp_path)
    assert (document["version"], document["arch"], document["same"]) == (2, arch, True)
    bare, bounce = document["runs"]
    stack = 160
    own, mine = (
        {name: one[name] for name in ("calls", "old_style", "kernel_entries", "handler_instructions")}
        for one in (bare["syscalls"]["getpid"], bounce["syscalls"]["getpid"])
    )
    assert own == {"calls": 1, "old_style": 0, "kernel_entries": 1, "handler_instructions": 0}
    assert mine == {"calls": 1, "old_style": 1, "kernel_entries": 2, "handler_instructions": 2}
    assert stack <= bounce["syscalls"]["getpid"]["user_stack_bytes_max"] < stack + 16
    assert bounce["syscalls"]["exit_group"]["old_style"] == 0
    total = bounce["total"]
    assert total["kernel_entries"] == total["calls"] + total["old_style"]
    assert total["modelled_ns"] == pytest.approx(total["kernel_entries"] * 345 + total["handler_instructions"] * 0.3)


def test_the_model_is_as_given(tmp_path: Path) -> None:
    document = as_json("--entry-ns", "50", "--instruction-ns", "2", DEMOS["aarch64"], cwd=tmp_path)
    cost = document["runs"][1]["syscalls"]["getpid"]
    assert (cost["modelled_ns"], cost["times"]) == (104.0, 2.08)


def test_variants_are_columns(tmp_path: Path) -> None:
    abis = "bare,bounce,bounce:task-page,bounce:user,bounce:legacy+slide"
    document = as_json("--abis", abis, "--bind", f"{ROOT}:/repository", DEMOS["x86_64"], cwd=tmp_path)
    by_abi = {one["abi"]: one["syscalls"] for one in document["runs"]}
    assert list(by_abi) == abis.split(",")
    assert by_abi["bounce:task-page"]["getpid"]["user_stack_bytes_max"] == 0
    assert by_abi["bounce:user"]["getpid"]["user_stack_bytes_max"] == 168
    assert by_abi["bounce:user"]["getpid"]["handler_instructions"] == 15
    assert by_abi["bounce:legacy+slide"]["getpid"]["old_style"] == 0
    assert by_abi["bounce:legacy+slide"]["open"]["old_style"] == 1


def test_text_fits_into_80_columns_and_repeats(tmp_path: Path) -> None:
    words = ("--abis", "bare,bounce,bounce:task-page", DEMOS["aarch64"])
    first = compare(*words, cwd=tmp_path)
    assert first.status == 0, first
    assert first == compare(*words, cwd=tmp_path)
    lines = first.stdout.decode().splitlines()
    assert max(map(len, lines[1:])) <= 80
    assert not any(line != line.rstrip() for line in lines)
    assert re.search(r"^getpid +1 +1 +2 +2 +160 +2\.00x$", first.stdout.decode(), re.M)
    assert b"\x1b" not in first.stdout


@pytest.mark.parametrize("columns", [80, 200])
def test_a_terminal_of_any_width(columns: int, tmp_path: Path) -> None:
    leader, follower = pty.openpty()
    command = [*emulator()[:-1], "compare", "--abis", "bare,bounce,bounce:legacy", DEMOS["aarch64"]]
    environment = {"TERM": "xterm", "COLUMNS": str(columns), "PATH": "/usr/bin:/bin"}
    with subprocess.Popen(
        [str(word) for word in command], cwd=tmp_path, env=environment, stdin=subprocess.DEVNULL, stdout=follower
    ) as process:
        os.close(follower)
        text = b""
        while part := _read(leader):
            text += part
    os.close(leader)
    assert process.returncode == 0
    table = [line for line in text.decode().splitlines() if re.match("(\x1b\\[\\d*m)*tot", line)]
    assert len(table) == (1 if columns == 200 else 2)


def _read(fd: int) -> bytes:
    try:
        return os.read(fd, 4096)
    except OSError:  # the other end is closed
        return b""


def test_each_run_gets_the_same_input(tmp_path: Path) -> None:
    (tmp_path / "input").write_text("one\ntwo\n" * 20_000)
    seen = compare("--show-output", sys.executable, "-S", "-c", "print(1)", cwd=tmp_path)
    assert seen.status == 0, seen
    document = as_json("/bin/cat", cwd=tmp_path, stdin=tmp_path / "input")
    assert [one["stdout"]["bytes"] for one in document["runs"]] == [160_000, 160_000]


@pytest.mark.parametrize("end", ["--timeout", "SIGINT"])
def test_an_input_that_does_not_end(end: str, tmp_path: Path) -> None:
    """The guest is killed while we wait for more of it."""
    keep, give = os.pipe()
    options = ("--timeout", "0.5") if end == "--timeout" else ()
    command = [*emulator()[:-1], "compare", *options, "/bin/cat"]
    with subprocess.Popen([str(word) for word in command], cwd=tmp_path, stdin=keep) as process:
        os.close(keep)
        os.write(give, b"some\n")
        if end == "SIGINT":
            _wait_until_it_sleeps(process.pid, give)
            process.send_signal(signal.SIGINT)
        assert process.wait(timeout=30) == (124 if end == "--timeout" else 130)
    os.close(give)


def _wait_until_it_sleeps(pid: int, pipe: int) -> None:
    """Until `pid` has read all that is in its input."""
    while fcntl.ioctl(pipe, termios.FIONREAD, bytes(4)) != bytes(4):
        assert os.path.exists(f"/proc/{pid}")
        time.sleep(0.02)


def test_output_is_shown_once_and_each_in_its_place(tmp_path: Path) -> None:
    words = ("/bin/sh", "-c", "echo out; echo err >&2; exit 3")
    seen = compare("--show-output", *words, cwd=tmp_path)
    assert seen.status == 0
    assert seen.stdout.startswith(b"out\n/bin/sh (")
    assert seen.stdout.count(b"out\n") == 1
    assert seen.stderr == b"err\n"
    assert b"exit status 3" in seen.stdout


def test_clocks_and_chance_are_the_same(tmp_path: Path) -> None:
    script = "date +%s.%N; od -An -N8 -tx8 /dev/urandom; echo $$; sleep 100; date"
    assert as_json("/bin/sh", "-c", script, cwd=tmp_path)["same"]


@pytest.mark.usefixtures("guests_built")
def test_what_is_not_the_same_is_said_first(tmp_path: Path) -> None:
    """Under the host's clock no two runs are the same."""
    seen = compare("--time", "host", "/bin/date", "+%N", cwd=tmp_path)
    assert seen.status == 1
    first, second, *_ = seen.stdout.decode().splitlines()
    assert first.startswith("/bin/date did not do the same: ")
    assert second.startswith("  bounce against bare: stdout: line 1: ")


def test_files_are_compared(tmp_path: Path) -> None:
    script = "date +%N >made; mkdir d; rm gone; chmod 600 kept"
    for name in ("gone", "kept"):
        (tmp_path / name).touch()
    words = ("/bin/sh", "-c", script)
    assert as_json(*words, cwd=tmp_path)["same"]
    document = as_json("--time", "host", "--check", "ends", *words, cwd=tmp_path)
    assert [(one["what"], one["text"].split(":")[0]) for one in document["differences"]] == [
        ("file", str(tmp_path / "made"))
    ]
    assert sorted(os.listdir(tmp_path)) == ["gone", "kept"]


@pytest.mark.parametrize(
    ("words", "status", "message"),
    [
        ([], 125, "compare: no PROGRAM"),
        (["--abis", "bare", "true"], 125, "--abis: 'bare': there is nothing to compare it with"),
        (["--abis", "bare,plain", "true"], 125, "--abis: 'plain' is no ABI"),
        (["--abis", "bare,seccomp:user", "true"], 125, "--abis: 'seccomp:user': no variant 'user'"),
        (["--abis", "bare,dispatch:slide+hiding", "true"], 125, "--abis: 'dispatch:slide+hiding': hiding and"),
        (["--abis", "bare,bounce:stack+task-page", "true"], 125, "--abis: 'bounce:stack+task-page': task-page and"),
        (["--abis", "bare,bare", "true"], 125, "--abis: 'bare' stands there twice"),
        (["--abis", "bare:user,bounce", "true"], 125, "--abis: 'bare:user': no variant 'user': write one of percpu"),
        (["--abis", "bare,bounce:user", str(DEMOS["aarch64"])], 125, f"{DEMOS['aarch64']}: aarch64 can't leave"),
        (["--entry-ns", "-1", "true"], 125, "--entry-ns: '-1' is no time"),
        (["--bind", "/tmp:/mnt:rw", "true"], 125, "--bind: /tmp:/mnt:rw: a run would see"),
        (["./none"], 127, "./none: no such file"),
        (["--timeout", "0.2", "/bin/sh", "-c", "while :; do :; done"], 124, "/bin/sh: killed after 0.2 s under bare"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_mistakes_and_limits(words: list[str], status: int, message: str, tmp_path: Path) -> None:
    seen = compare(*words, cwd=tmp_path)
    assert seen.status == status
    assert seen.stderr.decode().startswith(f"uabi-emu: {message}"), seen
    assert seen.stderr.count(b"\n") == 1
