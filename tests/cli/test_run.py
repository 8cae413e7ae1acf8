"""`uabi-emu run` as a person meets it: statuses, messages, signals, streams."""

from __future__ import annotations

import json
import os
import pty
import select
import shlex
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from guests.build import ARCHES, DEMO, Guest, binary_path, build, build_all, discover
from tests.harness import Outcome, emulator, run

LOOP = b"int main(void) { for (volatile int i;; i++) ; }"
HOG = b"char memory[64 << 20]; int main(void) { for (long i = 0; i < sizeof memory; i += 4096) memory[i] = 1; }"


@pytest.fixture(scope="module")
def guests() -> dict[str, Path]:
    """Some guests by `area/name/arch`."""
    wanted = {
        "fault/read_null", "fault/stack_overflow", "fault/undefined", "abi/exit_status", "abi/unknown",
        "breaks/small_stack",
    }  # fmt: skip
    chosen: list[Guest] = [guest for guest in discover() if guest.id in wanted]
    build_all(chosen)
    return {f"{guest.id}/{guest.arch}": binary_path(guest) for guest in chosen}


def uabi(*words: str | Path, cwd: Path, env: dict[str, str] | None = None) -> Outcome:
    """`uabi-emu run` with these words after it."""
    return run([*emulator(), *words], cwd=cwd, env=env)


def said(outcome: Outcome) -> str:
    """The one line on stderr."""
    text = outcome.stderr.decode()
    assert text.startswith("uabi-emu: ")
    assert text.count("\n") == 1, text
    assert outcome.stdout == b""
    return text[len("uabi-emu: ") : -1]


# -- what can't be run -----------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("words", "status", "message"),
    [
        ([], 125, "run: no PROGRAM: say which program to run; see 'uabi-emu run --help'"),
        (["--nonsense", "x"], 125, "run: no such option '--nonsense': see 'uabi-emu run --help'"),
        (["./none"], 127, "./none: no such file"),
        (["--cwd", "/none", "./x"], 125, "./x: its working directory /none can't be entered: see --cwd"),
        (["none"], 127, "none: not found in the working directory or along PATH: write where it is"),
        (["./none/x"], 127, "./none/x: no such file"),
        (["/"], 126, "/: is a directory"),
        (["./text"], 126, "./text: permission denied: it may not be executed"),
        (["--root", "none", "x"], 125, "--root: none: no such directory: name one that is there"),
        (["--root", "text", "x"], 125, "--root: text: not a directory: name one that is there"),
        (["--bind", "none:/x", "x"], 125, "--bind: none: no such file or directory: make it first"),
        (["--root", ".", "--isolate", "x"], 125, "--isolate: it leaves nothing of --root to show: give one of the two"),
        (["--strace=no/a", "./x"], 125, "--strace: no/a: No such file or directory: name a file that can be written"),
        (["--stats", "/", "./x"], 125, "--stats: /: Is a directory: name a file that can be written"),
        (["--timeout", "soon", "x"], 125, "--timeout: 'soon' is no time: write seconds, for example 10 or 0.5"),
        (["--abi", "plain", "x"], 125, "--abi: 'plain' is no choice: write bare, bounce, seccomp or dispatch"),
        (["--abi", "bare", "--bounce-set", "all", "x"], 125,
         "--bounce-set: nothing bounces under --abi bare: leave one of the two away"),
        (["--bounce-frame", "task-page", "--bounce-return", "user", "x"], 125,
         "--bounce-return: a plain call forgets where a task-page frame is: give one of the two"),
        (["--bounce-set", "read,opne", "x"], 125,
         "--bounce-set: 'opne' is no call: write all, legacy, or a list such as read,openat,64"),
        (["--bounce-set", "0x20000000", "x"], 125,
         "--bounce-set: '0x20000000' is no call: write all, legacy, or a list such as read,openat,64"),
        (["--bounce-return", "user", str(DEMO / "aarch64" / "demo")], 125,
         f"{DEMO}/aarch64/demo: aarch64 can't leave a bounce in user space: leave --bounce-return user away"),
    ],
)  # fmt: skip
def test_one_line_and_a_status(words: list[str], status: int, message: str, tmp_path: Path) -> None:
    (tmp_path / "text").write_text("no program\n")
    seen = uabi(*words, cwd=tmp_path)
    assert (seen.status, said(seen)) == (status, message)


@pytest.mark.parametrize(
    "contents", [b"", b"plain text\n", b"\x7fELF", b"\x7fELF" + bytes(60), b"#!/no/such/interpreter\n", b"#!\n"]
)
def test_no_program_in_the_file(contents: bytes, tmp_path: Path) -> None:
    program = tmp_path / "program"
    program.write_bytes(contents)
    program.chmod(0o755)
    seen = uabi("./program", cwd=tmp_path)
    assert seen.status in (126, 127)
    assert said(seen).startswith("./program: ")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "missing command: see 'uabi-emu --help'"),
        (["walk"], "no such command 'walk': see 'uabi-emu --help'"),
        (["syscalls", "--arch", "vax"], "--arch: 'vax' is no choice: write aarch64 or x86_64"),
        (["syscalls", "--only", "most"], "--only: 'most' is no choice: write full, partial or none"),
        (["vdso"], "missing command: see 'uabi-emu vdso --help'"),
        (["vdso", "build", "-o", "/dev/null"], "vdso build: /dev/null: File exists: name another directory with -o"),
    ],
)  # fmt: skip
def test_mistakes_outside_of_run(words: list[str], message: str, tmp_path: Path) -> None:
    seen = run([*emulator()[:-1], *words], cwd=tmp_path)
    assert (seen.status, said(seen)) == (125, message)


def test_a_name_of_any_bytes_is_said_as_it_is(tmp_path: Path) -> None:
    seen = run([*emulator(), b"./a\xff\nb".decode("utf-8", "surrogateescape")], cwd=tmp_path)
    assert seen.status == 127
    assert seen.stderr == b"uabi-emu: ./a\xff b: no such file\n"


# -- how a run ends --------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("arch", ARCHES)
def test_the_guests_status_is_ours(arch: str, guests: dict[str, Path], tmp_path: Path) -> None:
    seen = uabi(guests[f"abi/exit_status/{arch}"], cwd=tmp_path)
    native = (Path(__file__).parents[2] / "guests" / "expected" / "abi" / "exit_status.txt").read_text()
    assert native.endswith(f"[status {seen.status}]\n")
    assert seen.status not in (0, 125, 126, 127)


@pytest.mark.parametrize("arch", ARCHES)
def test_a_fault_is_reported(arch: str, guests: dict[str, Path], tmp_path: Path) -> None:
    seen = uabi(guests[f"fault/read_null/{arch}"], cwd=tmp_path)
    assert seen.status == 128 + signal.SIGSEGV
    assert seen.stdout.endswith(b"ok\n")
    text = seen.stderr.decode()
    headline = " ".join(text.split("\n\n")[0].split())
    assert headline.endswith("killed by SIGSEGV: read of 0x4: nothing is mapped there (SEGV_MAPERR)")
    wide = [line for line in text.splitlines() if len(line) > 80]
    assert all(len(line.split()) == 1 for line in wide), wide  # a path that is longer than a line stands by itself
    assert "\x1b" not in text
    (marked,) = [line for line in text.splitlines() if line.startswith("  > ")]
    assert marked.split()[1] == text.split("\n  at 0x")[1].split()[0]
    registers = {"aarch64": ("x0", "x30", "sp", "pc", "pstate"), "x86_64": ("rax", "r15", "rsp", "rip", "rflags")}
    for name in registers[arch]:
        assert f" {name} 0" in text
    assert "  pc          " in text


@pytest.mark.parametrize("arch", ARCHES)
def test_a_handler_without_room_for_its_frame_is_reported(arch: str, guests: dict[str, Path], tmp_path: Path) -> None:
    seen = uabi("--abi", "seccomp", guests[f"breaks/small_stack/{arch}"], cwd=tmp_path)
    assert seen.status == 128 + signal.SIGSEGV
    headline = " ".join(seen.stderr.decode().split("\n\n")[0].split())
    assert headline.endswith("killed by SIGSEGV: no room on the stack for the frame of a handler of SIGSYS")


def test_a_name_that_would_write_to_the_terminal(guests: dict[str, Path], tmp_path: Path) -> None:
    program = tmp_path / "a\x0b\x1b[2Jb"
    program.write_bytes(guests["fault/stack_overflow/x86_64"].read_bytes())
    program.chmod(0o755)
    (tmp_path / "plain").symlink_to(program.name)
    text = uabi("./plain", cwd=tmp_path).stderr.decode()
    assert "killed by SIGSEGV" in text
    assert "/a\\x0b\\x1b[2Jb" in text
    assert text.replace("\n", "").isprintable()


def test_memory_that_is_not_enough_is_told(tmp_path: Path) -> None:
    source = tmp_path / "hog.c"
    source.write_bytes(HOG)
    hog = build(Guest("cli", "hog", "x86_64", source, flags=("-w",)))
    seen = uabi("--memory", "32M", hog, cwd=tmp_path)
    assert seen.status == 128 + signal.SIGKILL
    (line,) = seen.stderr.decode().splitlines()
    assert ": out of memory: killed process 1000 (hog" in line
    assert line.endswith(": --memory gives the guest more")


def test_a_full_stack_is_told_by_its_neighbour(guests: dict[str, Path], tmp_path: Path) -> None:
    text = uabi(guests["fault/stack_overflow/x86_64"], cwd=tmp_path).stderr.decode()
    assert text.rstrip().endswith("rw-p  [stack]")


def test_timeout(loop: Path, tmp_path: Path) -> None:
    seen = uabi("--timeout", "0.3", "--stats", "stats.json", loop, cwd=tmp_path)
    assert seen.status == 124
    assert said(seen) == f"{loop}: killed after 0.3 s, as --timeout says"
    assert json.loads((tmp_path / "stats.json").read_text())["exit_status"] == 124


@pytest.fixture(scope="module")
def loop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A program that computes for ever."""
    source = tmp_path_factory.mktemp("loop") / "loop.c"
    source.write_bytes(LOOP)
    return build(Guest("cli", "loop", "aarch64", source, flags=("-w",)))


@pytest.fixture
def computing(loop: Path, tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """The emulator with that program in full flight."""
    process = subprocess.Popen(
        [*emulator("--strace"), str(loop)], cwd=tmp_path, env={}, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL
    )
    try:
        assert process.stderr is not None
        assert process.stderr.readline().startswith(b"execve(")
        time.sleep(0.2)
        yield process
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_stops_a_computing_guest(number: int, computing: subprocess.Popen[bytes]) -> None:
    computing.send_signal(number)
    _, errors = computing.communicate(timeout=20)
    assert computing.returncode == 128 + number
    assert errors.decode().splitlines()[-1] == f"+++ killed by {signal.Signals(number).name} +++"


# -- streams -----------------------------------------------------------------------------------------------------------
def test_a_reader_that_leaves(tmp_path: Path) -> None:
    """What our own commands print into a closed pipe is no reason for a traceback."""
    text = shlex.join(emulator()[:-1])
    done = subprocess.run(
        ["bash", "-c", f"{text} syscalls | head -1"],
        capture_output=True,
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"]},
    )
    assert done.stdout.count(b"\n") == 1
    assert done.stderr == b""


def test_stdout_may_be_closed(tmp_path: Path) -> None:
    text = shlex.join(emulator("--help"))
    done = subprocess.run(["bash", "-c", f"{text} >&-"], capture_output=True, cwd=tmp_path, env={})
    assert b"Traceback" not in done.stderr


@pytest.mark.parametrize("words", [["--help"], ["syscalls"], ["run", "--help"]])
def test_a_full_disk_is_one_line(words: list[str], tmp_path: Path) -> None:
    text = shlex.join([*emulator()[:-1], *words])
    done = subprocess.run(["bash", "-c", f"{text} >/dev/full"], capture_output=True, cwd=tmp_path, env={})
    message = b"uabi-emu: what is to be printed can't be written: No space left on device\n"
    assert (done.returncode, done.stderr) == (125, message)


@pytest.mark.parametrize(
    ("option", "status", "message"),
    [
        ("--stats=/dev/full", 125, b"--stats: /dev/full: No space left on device: the counters are lost\n"),
        ("--strace=/dev/full", 0, b"/dev/full: No space left on device: the trace ends early\n"),
    ],
)
def test_a_full_disk_under_a_report(option: str, status: int, message: bytes, tmp_path: Path) -> None:
    seen = uabi(option, DEMO / "x86_64" / "getppid", cwd=tmp_path)
    assert (seen.status, seen.stderr) == (status, b"uabi-emu: " + message)


@pytest.mark.parametrize("columns", [20, 80])
def test_help_and_coverage_on_a_terminal(columns: int, tmp_path: Path) -> None:
    for words in (["run", "--help"], ["syscalls", "--only", "partial"]):
        lines = on_terminal([*emulator()[:-1], *words], columns, tmp_path).splitlines()
        assert len(lines) > 10


def test_tables_are_plain_where_no_colour_is_wanted(tmp_path: Path) -> None:
    for words in (["syscalls", "--only", "partial"], ["compare", str(DEMO / "x86_64" / "getppid")]):
        command = [*emulator()[:-1], *words]
        assert "\033" in on_terminal(command, 80, tmp_path)
        assert "\033" not in on_terminal(command, 80, tmp_path, {"NO_COLOR": "1"})


def on_terminal(command: list[str], columns: int, cwd: Path, more: dict[str, str] | None = None) -> str:
    """What a command prints on a terminal of so many columns; it must end with status 0. `more`: of environment."""
    ours, theirs = pty.openpty()
    env = {"TERM": "xterm", "COLUMNS": str(columns), "LINES": "24", **(more or {})}
    process = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, cwd=cwd, env=env)
    os.close(theirs)
    text = b""
    while select.select([ours], [], [], 30)[0]:
        try:
            piece = os.read(ours, 65536)
        except OSError:
            break
        if not piece:
            break
        text += piece
    os.close(ours)
    assert process.wait(30) == 0, text
    return text.decode()


# -- what the options do ---------------------------------------------------------------------------------------------
@pytest.mark.parametrize("arch", ARCHES)
def test_statistics(arch: str, tmp_path: Path) -> None:
    seen = uabi("--stats", "stats.json", DEMO / arch / "demo", cwd=tmp_path)
    assert seen.status == 0, seen
    stats = json.loads((tmp_path / "stats.json").read_text())
    assert (stats["arch"], stats["abi"], stats["exit_status"], stats["unknown_calls"]) == (arch, "bounce", 0, 0)
    assert stats["kernel_entries"] == stats["bounces"] + stats["real_syscalls"]
    assert sum(stats["syscalls"].values()) == stats["real_syscalls"] > 10
    assert stats["real_syscalls"] - 2 <= stats["redirected_returns"] == stats["bounces"] < stats["real_syscalls"]
    assert stats["bounce_frame_bytes"] == 32 * stats["bounces"]
    assert 32 <= stats["user_stack_bytes_max"] <= 175
    assert stats["syscalls"]["writev"] == 2
    assert stats["page_faults"] > 20
    assert 100_000 < stats["peak_memory_bytes"] < 64 << 20
    assert stats["cpu_s"] > 0
    assert stats["wall_s"] > 0


def test_unknown_calls_are_counted_and_traced(guests: dict[str, Path], tmp_path: Path) -> None:
    seen = uabi("--stats", "stats.json", "--strace=log", guests["abi/unknown/aarch64"], cwd=tmp_path)
    assert seen.status == 42, seen
    assert json.loads((tmp_path / "stats.json").read_text())["unknown_calls"] > 0
    log = (tmp_path / "log").read_text()
    assert "= -1 ENOSYS (Function not implemented)" in log
    assert "syscall_0x" in log


def test_argv0_is_what_was_typed(tmp_path: Path) -> None:
    program = DEMO / "x86_64" / "demo"
    seen = uabi("--strace=log", "demo", "x", cwd=tmp_path, env={"PATH": f"/none:{program.parent}"})
    assert seen.status == 0, seen
    first = (tmp_path / "log").read_text().splitlines()[0]
    assert first.startswith(f'execve("{program}", ["demo", "x"], 0x')
    assert first.endswith(" /* 1 var */) = 0")


def test_isolated_guests_see_their_program(tmp_path: Path) -> None:
    seen = run([*emulator("--isolate"), "./demo"], cwd=DEMO / "x86_64")
    assert seen.status == 0, seen
    assert f"I am {DEMO}/x86_64/demo".encode() in seen.stdout


def test_a_seed_repeats_a_run(tmp_path: Path) -> None:
    logs = []
    for seed in ("1", "1", "2"):
        words = ["--seed", seed, "--time", "virtual", "--strace=log", DEMO / "aarch64" / "demo"]
        assert uabi(*words, cwd=tmp_path).status == 0
        logs.append((tmp_path / "log").read_text())
    assert logs[0] == logs[1]
    assert logs[0] != logs[2]


def test_our_own_failure_is_one_line_too(tmp_path: Path) -> None:
    """Without --debug no traceback is shown; with it, it is."""
    launch = "import emu.cli.values as v; v.environment = None; from emu.cli.main import main; main()"
    path = {"PYTHONPATH": str(Path(__file__).parents[2])}
    command = [*emulator()[:1], "-c", launch, "run"]
    quiet = run([*command, "x"], cwd=tmp_path, env=path)
    assert quiet.status == 125
    assert said(quiet).startswith("internal error: TypeError: ")
    loud = run([*command, "--debug", "x"], cwd=tmp_path, env=path)
    assert b"Traceback" in loud.stderr
