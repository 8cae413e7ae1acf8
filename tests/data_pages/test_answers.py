"""What the vDSO's functions say under `--vdso-data`, in a trace: the kernel's answers, without the kernel."""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path

import pytest

from guests.build import ARCHES, Guest, build, discover
from tests.bounce.injection import program
from tests.harness import EXPECTED, emulator, run

ABIS = ("bare", "bounce")
VARIANTS = ("percpu", "perthread")
MARK_BEGIN, MARK_END = "write(-1001,", "write(-1002,"
each_arch = pytest.mark.parametrize("arch", ARCHES)
each_abi = pytest.mark.parametrize("abi", ABIS)
each_variant = pytest.mark.parametrize("variant", VARIANTS)


def guest(name: str, arch: str) -> Guest:
    (found,) = (guest for guest in discover() if guest.id == f"vdso/{name}" and guest.arch == arch)
    return found


def between_marks(trace: str) -> list[list[str]]:
    """The calls that each task made between its two marks, time after time."""
    found: list[list[str]] = []
    inside: dict[str, list[str]] = {}
    alone = ""
    for line in trace.splitlines():
        pid, call = re.fullmatch(r"(?:\[pid +(\d+)\] )?(.*)", line).groups()  # type: ignore[union-attr]
        pid = pid or alone
        if call.startswith(MARK_BEGIN):
            inside[pid] = []
        elif call.startswith(MARK_END):
            found.append(inside.pop(pid))
        elif pid in inside:
            inside[pid].append(call)
    assert not inside
    return found


@each_variant
@each_abi
@each_arch
def test_as_the_kernel_says_and_without_a_call(arch: str, abi: str, variant: str, tmp_path: Path) -> None:
    program = guest("identity", arch)
    trace = tmp_path / "trace"
    command = emulator("--abi", abi, "--vdso-data", variant, "--cpus", "4", "--check-leaks", f"--strace={trace}")
    seen = run([*command, build(program)], cwd=tmp_path)
    assert seen.text() == (EXPECTED / "vdso" / "identity.txt").read_text(), str(seen)
    stretches = between_marks(trace.read_text())
    assert len(stretches) > 400
    assert [calls for calls in stretches if calls] == []


@each_arch
def test_without_data_they_make_the_real_calls(arch: str, tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    command = emulator("--cpus", "4", f"--strace={trace}")
    assert run([*command, build(guest("identity", arch))], cwd=tmp_path).status == 0
    wanted = ["getpid", "gettid", "getppid", "getuid", "geteuid", "getgid", "getegid"]
    for calls in between_marks(trace.read_text()):
        assert [call.partition("(")[0] for call in calls if not call.startswith("---")] == wanted


@each_arch
def test_more_threads_than_there_is_room_for(arch: str, tmp_path: Path) -> None:
    command = emulator("--vdso-data", "perthread", "--cpus", "2", "--check-leaks")
    seen = run([*command, build(guest("identity", arch)), "many"], cwd=tmp_path)
    assert seen.text() == "many_bad = 0\nwhen they are gone: the same\nok\n[status 0]\n", str(seen)


@pytest.mark.parametrize("variant", [*VARIANTS, "none"])
@each_abi
@each_arch
def test_where_they_are_unmapped_or_moved(arch: str, abi: str, variant: str, tmp_path: Path) -> None:
    command = emulator("--abi", abi, "--vdso-data", variant, "--check-leaks")
    seen = run([*command, build(guest("identity", arch)), "moved"], cwd=tmp_path)
    assert seen.status == 0, str(seen)
    assert seen.stdout.count(b": the same\n") == (3 if variant == "none" else 11)


@each_variant
@each_abi
@each_arch
def test_an_attack(arch: str, abi: str, variant: str, tmp_path: Path) -> None:
    command = emulator("--abi", abi, "--vdso-data", variant, "--check-leaks")
    seen = run([*command, build(guest("pages", arch))], cwd=tmp_path)
    assert seen.text() == (EXPECTED / "vdso" / "pages.txt").read_text(), str(seen)


@pytest.mark.parametrize("name", ["vtask", "vfs"])
@each_arch
def test_an_attack_on_variables(arch: str, name: str, tmp_path: Path) -> None:
    """What they say between marks needs no call: the umask that is shared goes both ways without the kernel."""
    trace = tmp_path / "trace"
    command = emulator("--vdso", "userspace", "--cpus", "2", "--check-leaks", f"--strace={trace}")
    seen = run([*command, build(guest(name, arch))], cwd=tmp_path)
    assert seen.text() == (EXPECTED / "vdso" / f"{name}.txt").read_text(), str(seen)
    stretches = between_marks(trace.read_text())
    assert len(stretches) > 20
    assert [calls for calls in stretches if calls] == []


RIGHTS = {"[vcpu]": "r--p", "[vthread]": "r--p", "[vvar]": "r--p", "[vdso]": "r-xp", "[vfs]": "rw-s", "[vtask]": "rw-s"}


@pytest.mark.parametrize("data", ["none", *VARIANTS])
@pytest.mark.parametrize("options", [("--vdso", "userspace"), (), ("--abi", "bare")], ids=["served", "bounced", "bare"])
@each_arch
def test_where_they_are(arch: str, options: tuple[str, ...], data: str, tmp_path: Path) -> None:
    path = program(Path(__file__).parent / "maps.c", arch)
    seen = run([*emulator(*options, "--vdso-data", data, "--cpus", "2"), path], cwd=tmp_path)
    assert seen.status == 0, str(seen)
    found: dict[str, list[tuple[str, str, int, int]]] = {}
    for line in seen.stdout.decode().splitlines():
        whose, area, rights, *_, name = line.split()
        start, end = (int(word, 16) for word in area.split("-"))
        found.setdefault(whose, []).append((name, rights, start, end))
    data_page = {"none": [], "percpu": ["[vcpu]"], "perthread": ["[vthread]"]}[data]
    variables = ["[vfs]", "[vtask]"] if options and options[0] == "--vdso" else []
    assert list(found) == ["first", "thread", "after", "fork", "execve", "vfork"]
    for whose, mappings in found.items():
        names = [name for name, *_ in mappings]
        more = {"thread": ["[vtask]"], "vfork": ["[vtask]", "[vfs]"]}.get(whose, [])  # of who shares the memory
        own = variables + more if variables else []
        assert sorted(names) == sorted([*data_page, "[vvar]", "[vdso]", *own]), whose
        assert all(rights == RIGHTS[name] for name, rights, *_ in mappings), mappings
        together = [mapping for mapping in mappings if mapping[0] not in ("[vfs]", "[vtask]")]
        assert [name for name, *_ in together] == [*data_page, "[vvar]", "[vdso]"], "in that order"
        assert all(low[3] == high[2] for low, high in pairwise(together)), "without a gap"
        sizes = {name: (end - start) // 4096 for name, _, start, end in mappings if name != "[vdso]"}
        assert sizes == {name: 16 if name == "[vthread]" else 1 for name in sizes}


@each_arch
def test_every_seed_gives_the_same_answers(arch: str, tmp_path: Path) -> None:
    """Chance moves tasks from CPU to CPU, and takes the CPU from them anywhere."""
    program = build(guest("identity", arch))
    for seed in range(4):
        seen = run([*emulator("--vdso-data", "percpu", "--cpus", "4", "--seed", str(seed)), program], cwd=tmp_path)
        assert seen.text() == (EXPECTED / "vdso" / "identity.txt").read_text(), f"--seed {seed}\n{seen}"
