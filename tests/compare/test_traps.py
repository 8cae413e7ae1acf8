"""`compare` with ABIs whose calls come back as SIGSYS: what the library does is not the program's, and is counted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from guests.build import ARCHES, FLAGS, compile_to
from tests.harness import ROOT, Outcome, emulator, run

DEMO = ROOT / "guests" / "demo"
TRAPPING = "bare,seccomp,dispatch"


def compare(*words: str | Path, cwd: Path) -> Outcome:
    return run([*emulator()[:-1], "compare", *words], cwd=cwd)


def as_json(*words: str | Path, cwd: Path) -> dict[str, Any]:
    seen = compare("--format", "json", *words, cwd=cwd)
    assert seen.status in (0, 1), seen
    document: dict[str, Any] = json.loads(seen.stdout)
    return document


@pytest.fixture(scope="module", params=ARCHES)
def busy(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    program = tmp_path_factory.mktemp("busy") / "busy"
    compile_to(Path(__file__).parent / "busy.c", f"{request.param}-linux-musl", list(FLAGS), program)
    return program


def test_a_program_full_of_signals_does_the_same(busy: Path, tmp_path: Path) -> None:
    """It prints the clock again and again: nothing that the library does takes time."""
    document = as_json("--abis", "bare,bounce,seccomp,dispatch", busy, cwd=tmp_path)
    assert document["differences"] == []
    assert {run["exit_status"] for run in document["runs"]} == {5}
    bare, bounce, *trapping = document["runs"]
    for one in trapping:
        total, hers = one["total"], bare["total"]
        assert total["calls"] == hers["calls"]
        assert total["signal_frames"] == total["old_style"] >= bounce["total"]["old_style"]
        assert total["kernel_entries"] >= 3 * total["old_style"] - 5  # of which exits and jumps never return
        for name, cost in one["syscalls"].items():
            assert cost["calls"] == bare["syscalls"].get(name, {"calls": 0})["calls"], name


@pytest.mark.parametrize("check", ["calls", "state"])
@pytest.mark.parametrize("arch", ARCHES)
def test_what_a_trapped_call_costs(arch: str, check: str, tmp_path: Path) -> None:
    document = as_json("--check", check, "--abis", TRAPPING, DEMO / arch / "demo", cwd=tmp_path)
    assert document["same"], document["differences"]
    for one in document["runs"][1:]:
        cost = one["syscalls"]["getpid"]
        assert (cost["calls"], cost["old_style"], cost["direct"]) == (1, 1, 0)
        assert (cost["kernel_entries"], cost["signal_frames"]) == (3, 1)
        assert 20 < cost["handler_instructions"] < 200
        # Linux's frame: arch/arm64/kernel/signal.c:init_user_layout(), arch/x86/kernel/signal.c:get_sigframe()
        least = {"aarch64": 4688, "x86_64": 128 + 512 + 440}[arch]
        assert least < cost["user_stack_bytes_max"] < least + 600
        trapped_ns = {"seccomp": 3579, "dispatch": 3436}[one["abi"]]
        assert cost["modelled_ns"] == pytest.approx(trapped_ns + 0.3 * cost["handler_instructions"])
        assert cost["times_old_style"] == pytest.approx(cost["modelled_ns"] / 345, abs=1e-3)
        start = one["syscalls"]["[hack1]"]
        assert (start["calls"], start["old_style"]) == (0, 0)
        assert start["kernel_entries"] > 3
        assert one["syscalls"]["clock_gettime"]["direct"] == 2  # the vDSO's own


def test_the_talks_variables_are_emulated_without_a_call(busy: Path, tmp_path: Path) -> None:
    document = as_json("--abis", TRAPPING, busy, cwd=tmp_path)
    for one in document["runs"][1:]:
        cost = one["syscalls"]["umask"]
        assert (cost["calls"], cost["kernel_entries"]) == (2, 4)


def test_what_a_program_can_see_is_a_difference(tmp_path: Path) -> None:
    seen = compare("--abis", TRAPPING, "/bin/cat", "/proc/self/maps", cwd=tmp_path)
    assert seen.status == 1
    text = seen.stdout.decode()
    assert "seccomp against bare: stdout: line " in text
    assert "dispatch against bare: stdout: line " in text
    document = as_json("--abis", "bare,dispatch", "/bin/grep", "-c", "r-x", "/proc/self/maps", cwd=tmp_path)
    whats = {difference["what"] for difference in document["differences"]}
    assert "stdout" in whats <= {"stdout", "result", "buffers"}


def test_a_handler_that_is_too_simple_is_found_out(busy: Path, tmp_path: Path) -> None:
    """The slide's own handler can't return from the program's signals."""
    document = as_json("--abis", "bare,seccomp:slide", busy, cwd=tmp_path)
    assert not document["same"]
    assert document["runs"][1]["abi"] == "seccomp:slide"


@pytest.mark.parametrize("arch", ARCHES)
def test_one_line_for_each_abi(arch: str, tmp_path: Path) -> None:
    seen = compare("--abis", "bare,bounce,seccomp,dispatch", DEMO / arch / "getppid", cwd=tmp_path)
    assert seen.status == 0, seen
    lines = seen.stdout.decode().splitlines()
    assert max(map(len, lines[1:])) <= 80
    assert not any(line != line.rstrip() for line in lines)
    heading = next(at for at, line in enumerate(lines) if line.startswith("abi "))
    table = [line.split() for line in lines[heading + 1 : heading + 5]]
    assert [cells[0] for cells in table] == ["bare", "bounce", "seccomp", "dispatch"]
    assert [cells[1:4] for cells in table] == [
        ["-", "1.00", "0"], ["2", "2.00", "0.00"], ["3", "2.67", "1.00"], ["3", "2.67", "1.00"],
    ]  # fmt: skip


# -- prices ------------------------------------------------------------------------------------------------------------
def test_prices(tmp_path: Path) -> None:
    words = ("--abis", "bare,seccomp", DEMO / "x86_64" / "getppid")
    file = tmp_path / "host.json"
    way = {"source": "here", "bare_ns": 100, "allowed_ns": 150, "trapped_ns": 1450}
    whole = {"format": "uabi-emu calibration", "version": 1, "name": "here", "host": "a test", "bare_ns": 100}
    file.write_text(json.dumps(whole | {"seccomp": way, "dispatch": way}))
    document = as_json("--calibration", file, "--instruction-ns", "0", *words, cwd=tmp_path)
    assert document["calibration"] == "here"
    assert [(one["entry_ns"], one["frame_ns"]) for one in document["runs"]] == [(100, 0), (150, 1000)]
    cost = document["runs"][1]["syscalls"]["getppid"]
    assert (cost["modelled_ns"], cost["times"]) == (2900, 14.5)
    document = as_json("--calibration", file, "--entry-ns", "10", "--instruction-ns", "0", *words, cwd=tmp_path)
    assert document["runs"][1]["syscalls"]["getppid"]["modelled_ns"] == 2060
    names = as_json("--calibration", "amd-epyc-linux-6.18", *words, cwd=tmp_path)
    assert names["calibration"] == "amd-epyc-linux-6.18"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--calibration", "none"], "--calibration: none: no such file: write one of shipped, elsewhere, "),
        (["--calibration", "/"], "--calibration: /: Is a directory: name a file"),
        (["--calibration", "/dev/null"], "--calibration: /dev/null: this is no calibration: make one"),
        (["--corpus", "none"], "--corpus: none: No such file or directory: name a file"),
        (["--corpus", "/dev/null"], "--corpus: /dev/null: there are no commands"),
        (["--corpus", "bad"], "--corpus: bad: line 2: no closing quotation: write words"),
        (["--corpus", "worse"], "--corpus: worse: line 1: '<' stands in the wrong place"),
        (["--corpus", "stdin"], "--corpus: ./none: No such file or directory: name a file"),
        (["--corpus", "absent"], "./none: no such file"),
        (["--corpus", "stdin", "--show-output"], "--show-output: it is for one program"),
        (["--corpus", "stdin", "true"], "--corpus: it names the programs, and true is one more"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_mistakes(words: list[str], message: str, tmp_path: Path) -> None:
    (tmp_path / "bad").write_text("true\ntrue 'one\n")
    (tmp_path / "worse").write_text("true < one two\n")
    (tmp_path / "stdin").write_text("/bin/cat < ./none\n")
    (tmp_path / "absent").write_text("./none\n")
    seen = compare(*words, *([] if "--corpus" in words else ["true"]), cwd=tmp_path)
    assert seen.status == (127 if message.startswith("./none") else 125)
    assert seen.stderr.decode().startswith(f"uabi-emu: {message}"), seen
    assert seen.stderr.count(b"\n") == 1


# -- a corpus ----------------------------------------------------------------------------------------------------------
def test_a_corpus(tmp_path: Path) -> None:
    (tmp_path / "input").write_text("two\none\n")
    (tmp_path / "corpus").write_text(
        f"# three that survive, and three that do not\n{DEMO}/aarch64/getppid one 'two three'\n\n"
        "/bin/cat < input\n/bin/sh -c 'read a || exit 3; echo never'  # no input\n"
        "/bin/grep Seccomp: /proc/self/status\n/bin/sh -c 'exec 2>&-; grep -q Seccomp:.2 /proc/self/status'\n"
        "/bin/sh -c 'grep -q Seccomp:.0 /proc/self/status || while :; do :; done'\n"
    )
    words = ("--abis", "bare,bounce,seccomp", "--timeout", "5", "--corpus", "corpus")
    document = as_json(*words, cwd=tmp_path)
    verdicts = [one["verdicts"] for one in document["programs"]]
    assert [one["seccomp"] for one in verdicts] == ["same", "same", "same", "stdout", "status", "time"]
    assert {one["bounce"] for one in verdicts} == {one["bare"] for one in verdicts} == {"same"}
    assert [one["survive"] for one in document["abis"]] == [6, 6, 3]
    bare, bounce, seccomp = (one["calls"] for one in document["abis"])
    assert bare["calls"] == bounce["calls"] == seccomp["calls"]  # of those that survive everywhere
    assert document["programs"][0]["arch"] == "aarch64"
    seen = compare(*words, cwd=tmp_path)
    assert seen.status == 1
    lines = seen.stdout.decode().splitlines()
    assert lines[0] == "corpus: 6 programs, against bare:"
    assert [line.split()[-2:] for line in lines[3:9]] == [[one["bounce"], one["seccomp"]] for one in verdicts]
    assert "/bin/cat < input" in lines[4]
    assert any(line.startswith("seccomp ") and " 3/6 " in line for line in lines)
