"""`uabi-emu trace` of calls that are served in user space, and of the vDSO's functions."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import pytest

from emu.trace import story as outcomes
from guests.build import ARCHES, FLAGS, compile_to
from tests.harness import ROOT, emulator, run
from tests.trace.told import DEMO, GOLDEN, records, trace


@pytest.mark.parametrize("arch", ARCHES)
@pytest.mark.parametrize("program", ["served", "getppid"])
def test_a_call_that_is_served_is_one_story(arch: str, program: str) -> None:
    """What changes with the handler's code is not compared: addresses, numbers of instructions, instructions."""
    stories = []
    for options in ((), ("--whole-handler",)):
        seen = run(trace("--vdso", "userspace", *options, f"guests/demo/{arch}/{program}"), cwd=ROOT)
        text = re.sub(r"\b\d+ instructions", "N instructions", seen.stderr.decode())
        stories.append(re.sub(r"0x(7f|ffff)\w+", r"0x\1...", text))
    stories[0] = re.sub(r"^ {11}0x(7f|ffff)\.\.\.  [a-z.]+ .*\n", "", stories[0], flags=re.M)
    path = GOLDEN / f"{arch}-userspace-{program}.txt"
    if os.environ.get("RECORD"):
        path.write_text(stories[0])
    assert stories[0] == path.read_text()
    for told, whole in zip(stories[0].split("\n\n"), stories[1].split("\n\n"), strict=True):
        parts = re.findall(r" (\w+): N instructions", told)
        assert all(f" {part}:\n" in whole for part in parts)
        lines = r"^  (?!handler|cost|so far)[a-z].*"
        assert re.findall(lines, told, re.M) == re.findall(lines, whole, re.M)


SERVED = """
#define _GNU_SOURCE
#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <unistd.h>
static void on_alarm(int number) { (void)number; }
int main(void)
{
    struct sigaction action = { .sa_handler = on_alarm };
    struct itimerval soon = { .it_value = { 0, 1000 } };
    static char entries[4096];
    int number;

    syscall(SYS_umask, 027L);
    syscall(SYS_prctl, PR_GET_PDEATHSIG, &number, 0L, 0L, 0L);
    syscall(SYS_prctl, PR_GET_PDEATHSIG, 8L, 0L, 0L, 0L);
    syscall(SYS_prctl, PR_SET_PDEATHSIG, 99L, 0L, 0L, 0L);
#ifdef SYS_open
    syscall(SYS_open, "/", O_RDONLY | O_DIRECTORY, 0L);
    syscall(SYS_open, "/none", O_RDONLY, 0L);
    syscall(SYS_getdents, 3L, entries, sizeof entries);
    if (!syscall(SYS_fork))
        _exit(0);
    sigaction(SIGALRM, &action, 0);
    setitimer(ITIMER_REAL, &soon, 0);
    syscall(SYS_pause);
#else
    (void)action, (void)soon, (void)entries;
#endif
    return 0;
}
"""


def served_records(arch: str, folder: Path, *options: str) -> list[dict[str, Any]]:
    """What is told of that program."""
    (folder / "served.c").write_text(SERVED)
    compile_to(folder / "served.c", f"{arch}-linux-musl", FLAGS, folder / "served")
    out = folder / "out"
    command = trace("--format", "jsonl", "--vdso", "userspace", *options, "-o", out, folder / "served")
    assert run(command, cwd=folder).status == 0
    return records(out)


@pytest.mark.parametrize("arch", ARCHES)
def test_records_of_calls_that_are_served(arch: str, tmp_path: Path) -> None:
    found = served_records(arch, tmp_path, "--only", "umask,prctl,open,getdents,fork,pause")
    calls = [record["served"] for record in found if "served" in record]
    told = [(f"{call['text'].partition(', 0x')[0]} = {call['result_text']}", call["by"]) for call in calls]
    found = [record for record in found if record["type"] == "bounce"]
    enoent, eintr = "-1 ENOENT (No such file or directory)", "-1 EINTR (Interrupted system call)"
    by_call = [
        ('open("/", O_RDONLY|O_DIRECTORY) = 3', "openat"),
        (f'open("/none", O_RDONLY) = {enoent}', "openat"),
        ("getdents(3 = ...", "getdents64"),
        ("fork() = 1001", "clone"),
        (f"pause() = {eintr}", "ppoll"),
    ]
    variables: list[tuple[str, str | None]] = [("umask(027) = 022", None), ("prctl(PR_GET_PDEATHSIG, [0]) = 0", None)]
    has_open = arch == "x86_64"
    told = [(re.sub(r"^(getdents.* = )\d+$", r"\1...", call), by) for call, by in told]
    assert told == variables + by_call * has_open
    entries = [record["cost"]["kernel_entries"] for record in found]
    assert entries == ([1, 1] + [2] * 7 if has_open else [2] * 4)
    assert ["back" in record for record in found[:2]] == [not has_open] * 2
    bad = found[2]
    assert [step["faulted"] for step in bad["handler"] if "faulted" in step] == [True]
    assert bad["call"]["result_text"] == "-1 EFAULT (Bad address)"
    assert all("served" not in record and record["call"]["name"] == "prctl" for record in found[2:4])
    for record in found:
        assert {step["part"] for step in record["handler"]} >= {"__kernel_bounce_userspace"}
        assert record["return"]["address"] == record["frame"]["words"]["pc"]
    if has_open:
        pause = found[-1]
        assert (pause["outcome"], pause["call"]["name"], pause["call"]["waited"]) == (outcomes.FINISHED, "ppoll", True)
        assert pause["served"]["result"] == -4
        entries_read = found[-3]
        kept = len(entries_read["handler"]) + sum(step.get("more", 0) for step in entries_read["handler"])
        assert kept == entries_read["cost"]["instructions"]


def test_a_signal_that_ends_a_call_by_another_is_told_as_documented(tmp_path: Path) -> None:
    served_records("x86_64", tmp_path)
    seen = run(trace("--vdso", "userspace", "--only", "pause", tmp_path / "served"), cwd=tmp_path).stderr.decode()
    (told,) = re.findall(r"^```text\n(  call .*?)\n```$", (ROOT / "docs" / "signals.md").read_text(), re.M | re.S)

    def words(text: str) -> str:
        return re.sub(r"0x\w+", "...", " ".join(text.split()))

    assert words(told) in words(seen)


@pytest.mark.parametrize("arch", ARCHES)
def test_only_goes_by_the_call_of_the_program(arch: str, tmp_path: Path) -> None:
    found = served_records(arch, tmp_path, "--only", "openat,ppoll")
    assert [record for record in found if record["type"] == "bounce"] == []


@pytest.mark.parametrize("visible", ["real", "origin"])
@pytest.mark.parametrize("arch", ARCHES)
def test_a_tracer_sees_the_calls_that_are_real(arch: str, visible: str, tmp_path: Path) -> None:
    """As ptrace(2) would: what needs no call is not there, and of glue it is the newer call."""
    (tmp_path / "served.c").write_text(SERVED)
    compile_to(tmp_path / "served.c", f"{arch}-linux-musl", FLAGS, tmp_path / "served")
    options = ("--vdso", "userspace", "--visible", visible, "--strace", "--time", "virtual")
    seen = run([*emulator(*options), tmp_path / "served"], cwd=tmp_path)
    assert seen.status == 0
    names = re.findall(r"^(?:\[pid +\d+\] )?(\w+)\(", seen.stderr.decode(), re.M)
    assert names.count("prctl") == 2  # those with bad arguments
    assert not {"umask", "open", "getdents", "fork", "pause"} & set(names)
    if arch == "x86_64":
        assert {"openat", "getdents64", "clone", "ppoll"} <= set(names)
        assert names.count("openat") == 2


@pytest.mark.parametrize("abi", ["bounce", "bare"])
@pytest.mark.parametrize("arch", ARCHES)
def test_functions_of_the_vdso_are_told_with_their_callers(arch: str, abi: str, tmp_path: Path) -> None:
    out, program = tmp_path / "out", DEMO / arch / "newstyle"
    options = ("--vdso", "libkernel", "--abi", abi)
    assert run(trace("--format", "jsonl", *options, "-o", out, program), cwd=tmp_path).status == 0
    calls = [record for record in records(out) if record["type"] == "call"]
    assert [record["function"] for record in calls] == [
        f"__kernel_{name}@UABI_1" for name in ("getppid", "write", "exit_group")
    ]
    assert {record["caller"]["file"] for record in calls} == {"newstyle"}
    assert {record["caller"]["symbol"] for record in calls} <= {"begin", "_start"}
    limited = run(trace(*options, "--limit", "2", program), cwd=tmp_path).stderr.decode()
    assert limited.count("  function __kernel_") == 2
    assert limited.endswith("(--limit: the program runs on, and no more calls are told)\n")
