"""`uabi-emu trace`: stories as text and as JSON Lines, and what ends them."""

from __future__ import annotations

import fcntl
import json
import os
import re
import signal
import struct
import subprocess
import termios
from itertools import pairwise
from pathlib import Path

import pytest

from emu.machine import Machine, MachineOptions
from emu.trace import jsonl
from emu.trace import story as outcomes
from emu.trace.instructions import InstructionTrace
from emu.trace.output import Output
from guests.build import ARCHES, FLAGS, build, compile_to, discover
from kernel_model import arch as architectures
from tests.harness import ROOT, emulator, run
from tests.trace.told import DEMO, GOLDEN, records, trace

TASKS = """
#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
static void on_signal(int number) { (void)number; }
static void *thread(void *nothing) { usleep(1000); return nothing; }
int main(int argc, char **argv)
{
    char *const words[] = { argv[0], "again", 0 };
    pthread_t id;
    int status;

    if (argc > 1)
        return 7;
    signal(SIGUSR1, on_signal);
    kill(getpid(), SIGUSR1);
    pthread_create(&id, 0, thread, 0);
    pthread_join(id, 0);
    if (!fork())
        execv(argv[0], words);
    wait(&status);
    return !(WIFEXITED(status) && WEXITSTATUS(status) == 7);
}
"""


@pytest.fixture(scope="module", params=ARCHES)
def tasks(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A program with a signal, a thread, a child and an execve, and with symbols."""
    folder = tmp_path_factory.mktemp("tasks")
    (folder / "tasks.c").write_text(TASKS)
    flags = [flag for flag in FLAGS if flag not in ("-s", "-Werror")]
    compile_to(folder / "tasks.c", f"{request.param}-linux-musl", flags, folder / "tasks")
    return folder / "tasks"


# -- text --------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("arch", ARCHES)
@pytest.mark.parametrize(
    "options",
    [
        "", "--bounce-frame task-page", "--bounce-return user", "--abi bare", "--bounce-check slide",
        "--bounce-set legacy",
    ],
)  # fmt: skip
def test_the_story_is(arch: str, options: str) -> None:
    """The addresses are fixed by the seed. With RECORD=1 in the environment the stories are written anew."""
    if arch == "aarch64" and options == "--bounce-return user":
        pytest.skip("AArch64 has no such return")
    seen = run(trace(*options.split(), f"guests/demo/{arch}/getppid"), cwd=ROOT)
    name = "-".join([arch, *(word.strip("-") for word in options.split())])
    path = GOLDEN / f"{name}.txt"
    if os.environ.get("RECORD"):
        path.write_bytes(seen.stderr)
    assert seen.stderr.decode() == path.read_text()
    assert (seen.status, seen.stdout) == (0, b"")


def test_the_program_says_what_it_says_without(tasks: Path, tmp_path: Path) -> None:
    seen = run(trace("-o", tmp_path / "out", "./tasks"), cwd=tasks.parent)
    wanted = run([*emulator("--seed", "1", "--time", "virtual", "--clear-env"), "./tasks"], cwd=tasks.parent)
    assert str(seen) == str(wanted)
    assert max(map(len, (tmp_path / "out").read_text().splitlines())) <= 80


def test_tasks_are_told_apart(tasks: Path, tmp_path: Path) -> None:
    assert run(trace("-o", tmp_path / "out", tasks), cwd=tmp_path).status == 0
    text = (tmp_path / "out").read_text()
    titles = re.findall(r"^bounce (\d+): (\w+), task (\d+) \(\w+\)( goes on)?$", text, re.M)
    assert {task for _, _, task, _ in titles} == {"1000", "1001", "1002"}
    first = [int(number) for number, _, _, again in titles if not again]
    assert sorted(first) == list(range(1, len(first) + 1))
    # who waits is told before others' calls, and again when it goes on
    waited = [number for number, _, _, again in titles if again]
    assert waited
    for number in waited:
        one, two = (match.start() for match in re.finditer(rf"^bounce {number}:", text, re.M))
        assert "it has to wait" in text[one:two]
        assert "  return   " in text[two:].partition("\n\n")[0]
    assert re.search(r"and in the new task, 1001, the same with 0", text)
    assert re.search(r"^signal SIGUSR1, task 1000: its handler, 0x\w+  on_signal \(tasks\)$", text, re.M)
    assert re.search(r"call     rt_sigreturn.*\n  return   0x\w+ .*, with registers of its own", text)
    assert re.search(r"^task 1002 exited with 7$", text, re.M)
    assert text.index("call     execve") < text.index("task 1002 runs ")


def on_a_terminal(command: list[str], env: dict[str, str], cwd: Path, columns: int = 0) -> str:
    """What a trace writes to a terminal of so many columns."""
    master, slave = os.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("4H", 0, columns, 0, 0))
    subprocess.run(command, stderr=slave, cwd=cwd, env=env, timeout=60, check=True)
    os.close(slave)
    text = b""
    try:
        while piece := os.read(master, 4096):
            text += piece
    except OSError:
        pass  # EIO: everybody has closed the other end
    os.close(master)
    return text.decode().replace("\r\n", "\n")


@pytest.mark.parametrize("arch", ARCHES)
def test_lines_fit_the_terminal(arch: str, tmp_path: Path) -> None:
    seen = {}
    for columns in (0, 20, 60, 80, 200):
        seen[columns] = on_a_terminal(trace(DEMO / arch / "getppid"), {"TERM": "dumb"}, tmp_path, columns)
    assert seen[0] == seen[80]  # a terminal that does not say how wide it is
    assert seen[20] == seen[60]  # as narrow as can be read
    widest = {columns: max(map(len, text.splitlines())) for columns, text in seen.items()}
    assert widest[60] <= 60 < widest[80] <= 80
    assert widest[200] <= 200
    assert seen[60].split() == seen[80].split() == seen[200].split()


def test_a_trace_to_stdout(tmp_path: Path) -> None:
    words = ("--limit", "1", DEMO / "aarch64" / "getppid")
    seen = run(trace("-o", "-", *words), cwd=tmp_path)
    assert (seen.stdout, seen.stderr) == (run(trace(*words), cwd=tmp_path).stderr, b"")
    assert seen.stdout.startswith(b"bounce 1: getppid")
    assert os.listdir(tmp_path) == []


def test_colour_is_for_terminals(tmp_path: Path) -> None:
    seen = {}
    for name, env in (("plain", {"NO_COLOR": "1", "TERM": "xterm"}), ("dumb", {"TERM": "dumb"}), ("colour", {})):
        seen[name] = on_a_terminal(trace("--limit", "1", DEMO / "x86_64" / "getppid"), env, tmp_path)
    assert seen["plain"] == seen["dumb"]
    assert "\033" not in seen["plain"]
    assert "\033[1mbounce 1" in seen["colour"]
    assert re.sub(r"\033\[\d*m", "", seen["colour"]) == seen["plain"]


def test_names_that_would_write_to_the_terminal(tmp_path: Path) -> None:
    (tmp_path / "names.c").write_text(
        "#include <sys/prctl.h>\n#include <unistd.h>\n"
        'int main(void) { prctl(PR_SET_NAME, "a\\033[2J\\nb"); return getppid() < 0; }\n'
    )
    compile_to(tmp_path / "names.c", "x86_64-linux-musl", FLAGS, tmp_path / "names")
    seen = run(trace("--only", "getppid", tmp_path / "names"), cwd=tmp_path)
    assert seen.status == 0
    assert b"bounce 1: getppid, task 1000 (a\\x1b[2J\\nb)\n" in seen.stderr
    assert b"\033" not in seen.stderr


def test_why_a_number_does_not_bounce(tmp_path: Path) -> None:
    (tmp_path / "numbers.c").write_text(
        "#include <unistd.h>\n#include <sys/syscall.h>\n"
        "int main(void) { syscall(0x1fffffff); syscall(SYS_getppid | 0x20000000); return 0; }\n"
    )
    compile_to(tmp_path / "numbers.c", "x86_64-linux-musl", FLAGS, tmp_path / "numbers")
    out = tmp_path / "out"
    assert run(trace("--format", "jsonl", "-o", out, tmp_path / "numbers"), cwd=tmp_path).status == 0
    calls = [record["reason"] for record in records(out) if record["type"] == "call"]
    assert calls == ["no-call", "flag", "exit"]


def test_every_option_has_a_word() -> None:
    from emu.cli.machine_options import machine_options_of
    from emu.cli.trace import trace as command

    @machine_options_of
    def machine() -> None: ...

    text = (ROOT / "docs" / "trace.md").read_text() + (ROOT / "README.md").read_text()
    machine_options = {name for param in machine.__click_params__ for name in param.opts}  # type: ignore[attr-defined]
    for param in command.params:
        if param.param_type_name != "argument" and not machine_options & set(param.opts):
            assert f"`{param.opts[0]}" in text, param


# -- JSON Lines --------------------------------------------------------------------------------------------------------
def test_records_agree_with_the_run(tasks: Path, tmp_path: Path) -> None:
    stats = tmp_path / "stats"
    assert run(trace("--format", "jsonl", "-o", tmp_path / "out", tasks), cwd=tmp_path).status == 0
    options = ("--seed", "1", "--time", "virtual", "--clear-env", "--stats", str(stats))
    assert run([*emulator(*options), tasks], cwd=tmp_path).status == 0
    found = records(tmp_path / "out")
    counted = json.loads(stats.read_text())
    bounces = [record for record in found if record["type"] == "bounce"]
    assert found[0]["version"] == jsonl.VERSION
    assert found[-1] == {"type": "end", "told": len(bounces) + 3, "limited": False}
    assert len(bounces) == counted["bounces"]
    assert sum(record["cost"]["kernel_entries"] for record in bounces) == 2 * len(bounces)
    assert bounces[-1]["so_far"]["user_stack_bytes"] == counted["user_stack_bytes_max"]
    # every part of a bounce fits the others
    arch = architectures.get(found[0]["arch"])
    parts = ("red_zone_bytes", "scratch_bytes", "alignment_bytes")
    for record in bounces:
        site, frame, real = record["site"], record["frame"], record["real"]
        start, end = (int(bound, 16) for bound in record["check"]["vdso"])
        assert not start <= int(site["address"], 16) < end
        assert start <= int(real["site"], 16) < end
        words = {name: int(word, 16) for name, word in frame["words"].items()}
        assert words["pc"] == int(site["address"], 16) + arch.SYSCALL_INSTRUCTION_BYTES
        assert words["sp"] - int(frame["address"], 16) == sum(frame[part] for part in parts) + 32
        assert int(frame["address"], 16) % 16 == 0
        assert real["popped"] == frame["words"]
        assert int(real["number"], 16) == record["call"]["number"] | 1 << 29
        assert record["handler"][-1]["address"] == real["site"]
        assert any(line["address"] == site["address"] for line in site["code"])
        if record["outcome"] == outcomes.RETURNED:
            assert record["return"]["address"] == frame["words"]["pc"]


@pytest.mark.parametrize("name", ["attacks", "accidents"])
@pytest.mark.parametrize("arch", ARCHES)
def test_programs_that_mean_no_good_are_told_too(arch: str, name: str, tmp_path: Path) -> None:
    guest = next(guest for guest in discover() if (guest.id, guest.arch) == (f"bounce/{name}", arch))
    assert run(trace("--format", "jsonl", "-o", tmp_path / "out", build(guest)), cwd=tmp_path).status == 0
    found = records(tmp_path / "out")
    assert found[-1]["type"] == "end"
    if name == "attacks":
        ends = {record["outcome"] for record in found if record["type"] in ("bounce", "forged")}
        assert ends >= {outcomes.REFUSED, outcomes.FAULT, outcomes.RETURNED}
        assert {"bounce", "forged", "call", "signal"} <= {record["type"] for record in found}
        assert {"exit", "flag", "no-vdso", "vdso"} <= {record["reason"] for record in found if record["type"] == "call"}


# -- choosing ----------------------------------------------------------------------------------------------------------
def test_only_and_limit(tasks: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert run(trace("--format", "jsonl", "--only", "getpid,kill", "-o", out, tasks), cwd=tmp_path).status == 0
    found = records(out)
    assert [record["call"]["name"] for record in found if record["type"] in ("bounce", "call")] == ["getpid", "kill"]
    assert run(trace("--format", "jsonl", "--limit", "3", "-o", out, tasks), cwd=tmp_path).status == 0
    found = records(out)
    assert [record["bounce"] for record in found if record["type"] == "bounce"] == [1, 2, 3]
    assert found[-1] == {"type": "end", "told": 3, "limited": True}
    assert run(trace("--format", "jsonl", "--abi", "bare", "--limit", "2", "-o", out, tasks), cwd=tmp_path).status == 0
    assert [record["type"] for record in records(out)] == ["start", "call", "call", "end"]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ("--limit 0", "--limit: '0' is no count: write a whole number from 1"),
        ("--limit x", "--limit: 'x' is no count: write a whole number from 1"),
        ("--only frobnicate", "--only: 'frobnicate' is no call: write all, legacy, or a list such as read,openat,64"),
        ("--format xml", "--format: 'xml' is no choice: write text or jsonl"),
        ("--registers", "--registers: it is for --instructions: give both, or none"),
        ("--instructions --only read", "--only: it is for bounces: leave it or --instructions away"),
        ("--instructions --format jsonl", "--format: it is for bounces: leave it or --instructions away"),
        ("--instructions --whole-handler", "--whole-handler: it is for bounces: leave it or --instructions away"),
        ("-o /nowhere/file", "-o: /nowhere/file: No such file or directory: name a file that can be written"),
        ("-o /", "-o: /: Is a directory: name a file that can be written"),
        ("--lmit 3", "trace: no such option '--lmit', did you mean --limit?: see 'uabi-emu trace --help'"),
    ],
)
def test_mistakes(options: str, says: str, tmp_path: Path) -> None:
    seen = run(trace(*options.split(), DEMO / "x86_64" / "getppid"), cwd=tmp_path)
    assert (seen.status, seen.stderr.decode()) == (125, f"uabi-emu: {says}\n")


def test_no_program(tmp_path: Path) -> None:
    assert run(trace(), cwd=tmp_path).status == 125
    assert run(trace("./none"), cwd=tmp_path).status == 127


# -- ends --------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("options", [(), ("--format", "jsonl"), ("--instructions",)])
def test_nobody_reads_the_trace(options: tuple[str, ...], tmp_path: Path) -> None:
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        trace(*options, DEMO / "x86_64" / "demo"), stdout=subprocess.PIPE, stderr=write, cwd=tmp_path, timeout=60
    )
    os.close(write)
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, b"ok")


def test_the_disk_is_full(tmp_path: Path) -> None:
    seen = run(trace("-o", "/dev/full", DEMO / "x86_64" / "demo"), cwd=tmp_path)
    assert (seen.status, seen.stdout.splitlines()[-1]) == (0, b"ok")
    assert seen.stderr == b"uabi-emu: /dev/full: No space left on device: the trace ends early\n"


@pytest.mark.parametrize("options", [(), ("--instructions",)])
def test_control_c_ends_the_guest_and_the_trace_is_whole(options: tuple[str, ...], tmp_path: Path) -> None:
    (tmp_path / "wait.c").write_text('#include <unistd.h>\nint main(void) { write(1, "!", 1); for (;;) pause(); }\n')
    compile_to(tmp_path / "wait.c", "x86_64-linux-musl", FLAGS, tmp_path / "wait")
    command = [*emulator()[:-1], "trace", *options, "-o", str(tmp_path / "out"), str(tmp_path / "wait")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=tmp_path) as process:
        assert process.stdout is not None
        assert process.stdout.read(1) == b"!"
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 130
    text = (tmp_path / "out").read_text()
    if options:
        assert re.search(r"^ *[0-9a-f]+ {2}\S+ +\S.*\n\Z", text, re.M)
    else:
        assert re.search(r"^signal SIGINT, task 1000: the default action$", text, re.M)
        assert text.endswith("task 1000 killed by SIGINT\n")


def test_a_signal_in_the_handler_is_told_as_rewound(tasks: Path, tmp_path: Path) -> None:
    """The signal comes between two instructions of the handler, at the machine's own hands."""
    from emu.cpu.watch import InstructionWatch
    from emu.machine import Machine, MachineOptions
    from emu.trace.output import Output
    from emu.trace.recorder import Recorder
    from kernel_model.signal.send import send_signal
    from kernel_model.signal.sighand import SigInfo

    machine = Machine(MachineOptions(str(tasks), [b"tasks"], {}, seed=1))
    output = Output(str(tmp_path / "out"))
    recorder = Recorder(machine, jsonl.JsonTeller(output.write), output)
    recorder.attach()
    sent: list[int] = []

    def before(pc: int, _size_bytes: int) -> None:
        if not sent and pc > machine.task.mm.vdso_handler and machine.task.sighand.get(signal.SIGUSR1).handler:
            sent.append(pc)
            send_signal(machine.kernel, machine.task, SigInfo(signal.SIGUSR1))
            watch.interrupt()

    mm = machine.task.mm
    watch = InstructionWatch(machine.cpu, before, mm.vdso, mm.vdso_end)
    machine.run()
    recorder.close()
    output.flush()
    found = records(tmp_path / "out")
    at = next(i for i, record in enumerate(found) if record.get("outcome") == outcomes.REWOUND)
    bounce, told, back = found[at : at + 3]
    assert bounce["return"]["address"] == bounce["site"]["address"]
    assert int(bounce["details"], 16) in sent
    assert bounce["cost"]["kernel_entries"] == 1
    assert told["type"] == "signal"
    assert told["handler"]["symbol"] == "on_signal"
    assert back["call"]["name"] == "rt_sigreturn"
    # the call is made again, from the same place
    assert found[at + 3]["site"] == bounce["site"]
    assert found[at + 3]["outcome"] == outcomes.RETURNED


# -- instructions ------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("arch", ARCHES)
def test_every_instruction(arch: str, tmp_path: Path) -> None:
    seen = run(trace("--instructions", "--registers", f"guests/demo/{arch}/getppid"), cwd=ROOT)
    path = GOLDEN / f"{arch}-instructions.txt"
    if os.environ.get("RECORD"):
        path.write_bytes(seen.stderr)
    assert seen.stderr.decode() == path.read_text()
    plain = run(trace("--instructions", f"guests/demo/{arch}/getppid"), cwd=ROOT).stderr.decode().splitlines()
    assert [line.split()[:3] for line in plain] == [line.split()[:3] for line in seen.stderr.decode().splitlines()]
    limited = run(trace("--instructions", "--limit", "3", f"guests/demo/{arch}/getppid"), cwd=ROOT).stderr.decode()
    assert limited.splitlines() == plain[:3]


@pytest.mark.parametrize("registers", [False, True])
@pytest.mark.parametrize("arch", ARCHES)
def test_behind_the_limit_nothing_is_watched(arch: str, registers: bool) -> None:
    """The CPU is paused once, before the program's next instruction, and so before its first call."""
    words = (b"getppid",)
    options = MachineOptions(str(DEMO / arch / "getppid"), list(words), {}, seed=1, virtual_time=True)
    machine = Machine(options)
    output = Output(os.devnull)
    tracer = InstructionTrace(machine, output, 3, registers=registers)
    seen: list[str] = []
    tracer.attach()
    machine.kernel.events.subscribe(lambda event: seen.append(type(event).__name__))

    def between() -> None:
        seen.append("paused")
        tracer.paused()

    assert machine.run(between) == 0
    tracer.close()
    os.close(output.fd)
    assert seen.index("paused") < seen.index("Bounced")
    assert seen.count("paused") == 1


def test_registers_of_other_tasks_are_not_told(tasks: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert run(trace("--instructions", "--registers", "-o", out, tasks), cwd=tmp_path).status == 0
    lines = out.read_text().splitlines()
    last = [before for before, line in pairwise(lines) if line.startswith("-- task")]
    assert len(last) > 3
    assert [line for line in last if "=0x" in line] == []


@pytest.mark.parametrize("arch", ARCHES)
def test_the_last_instruction_before_the_limit_changed_what_it_changed(arch: str) -> None:
    """It is a system call, in which enough has been told."""
    words = ("--instructions", "--registers", f"guests/demo/{arch}/getppid")
    whole = run(trace(*words), cwd=ROOT).stderr.decode().splitlines()
    call = next(at for at, line in enumerate(whole) if line.split()[2] in ("syscall", "svc"))
    assert run(trace("--limit", str(call + 1), *words), cwd=ROOT).stderr.decode().splitlines() == whole[: call + 1]


@pytest.mark.parametrize("arch", ARCHES)
def test_rewritten_code_is_told_as_it_runs(arch: str, tmp_path: Path) -> None:
    """A function is written, run, written anew at the same place and run again."""
    codes = {"aarch64": ("20008052c0035fd6", "40008052c0035fd6"), "x86_64": ("b801000000c3", "b802000000c3")}[arch]
    source = """
        #include <string.h>
        #include <sys/mman.h>
        int main(void)
        {
            static const char codes[2][9] = { "CODE", "CODE" };
            char *page = mmap((void *)0x600000000, 4096, 7, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
            int sum = 0;
            for (int i = 0; i < 2; i++) {
                memcpy(page, codes[i], 8);
                __builtin___clear_cache(page, page + 8);
                sum += ((int (*)(void))page)();
            }
            return sum;
        }
    """
    for code in codes:
        source = source.replace("CODE", "".join(f"\\x{byte:02x}" for byte in bytes.fromhex(code)), 1)
    (tmp_path / "code.c").write_text(source)
    flags = [flag for flag in FLAGS if flag != "-Werror"]
    compile_to(tmp_path / "code.c", f"{arch}-linux-musl", flags, tmp_path / "code")
    assert run(trace("--instructions", "-o", tmp_path / "out", tmp_path / "code"), cwd=tmp_path).status == 3
    lines = [line.split(maxsplit=2)[2] for line in (tmp_path / "out").read_text().splitlines() if "600000000 " in line]
    first = {"aarch64": ["mov w0, #1", "mov w0, #2"], "x86_64": ["mov eax, 1", "mov eax, 2"]}[arch]
    assert lines == first
