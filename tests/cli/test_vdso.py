"""`uabi-emu vdso build`, `show`, `check`."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.harness import ROOT
from vdso_image.build import BUILT

LAUNCH = f"import sys; sys.path.insert(0, {str(ROOT)!r}); from emu.cli.main import main; sys.exit(main())"


def vdso(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-P", "-c", LAUNCH, "vdso", *arguments], capture_output=True, text=True, timeout=60
    )


def test_build(tmp_path: Path) -> None:
    done = vdso("build", "-o", tmp_path / "new")
    assert (done.returncode, done.stderr) == (0, "")
    assert {path.name: path.read_bytes() for path in (tmp_path / "new").iterdir()} == {
        path.name: path.read_bytes() for path in BUILT.glob("*.*")
    }


def test_build_where_nothing_can_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = vdso("build", "-o", tmp_path / "file" / "below")
    assert done.returncode == 125
    where = f"{tmp_path}/file/below"
    assert done.stderr == f"uabi-emu: vdso build: {where}: Not a directory: name another directory with -o\n"


def test_without_keystone() -> None:
    """A plain installation can show the images, and says what building them needs."""
    code = "import sys; sys.modules['keystone'] = None; " + LAUNCH
    for words, status in ((["show"], 0), (["build"], 125), (["check"], 125)):
        done = subprocess.run([sys.executable, "-P", "-c", code, "vdso", *words], capture_output=True, text=True)
        assert done.returncode == status
        assert ("pip install keystone-engine" in done.stderr) == bool(status)
        assert done.stderr.count("\n") == bool(status)


def test_check() -> None:
    done = vdso("check")
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    headings = [line for line in lines if not line.startswith(" ")]
    assert headings == ["aarch64:", "aarch64-libkernel:", "x86_64:", "x86_64-libkernel:"]
    assert "  the built files equal a fresh build: yes" in lines
    assert "NO" not in done.stdout


def test_show() -> None:
    done = vdso("show")
    assert (done.returncode, done.stderr) == (0, "")
    for line in (
        "vDSO of aarch64: 8192 bytes, build id",
        "LINUX_2.6.39  __kernel_clock_gettime",
        "LINUX_2.6     __vdso_clock_gettime (also clock_gettime)",
        "-- a bounce begins here (redirect)",
        "-- the call is made as the program made it",
        "-- a call that was made in its place comes back here",
        "-- unwind: cfa=*(sp+8) x17=*(sp+16) pc=*(sp+16) x8=*(sp)",
        "-- unwind: cfa=*(rsp+8) rip=*(rsp+16) rax=*(rsp) rcx=undefined r11=undefined",
        "iretq                                     ; rip, rflags and rsp at once",
        "clock_mode      0: make a real call",
        "struct vdso_per_cpu_data, one every 64 bytes of [vcpu], before the data page",
    ):
        assert line in done.stdout
    assert [line for line in done.stdout.splitlines() if line != line.rstrip()] == []
    notes = [line for line in done.stdout.splitlines() if line.startswith("    -- ")]
    assert len(notes) > 80 and max(map(len, notes)) <= 80


SAVED = "beside the frame:"
SERVED_NOTES = {
    "aarch64": [
        f"a signal before * finds the task at its own instruction; {SAVED} x0=32 x1=40 x2=48 x3=56",
        "unwind: cfa=*(sp+8) x17=*(sp+16) pc=*(sp+16) x8=*(sp) x3=*(sp+56) x0=*(sp+32) x1=*(sp+40) x2=*(sp+48)",
        f"a signal before * finds the task behind its own instruction; {SAVED} x1=40 x2=48 x3=56",
        f"a signal before * finds the task at its own instruction; {SAVED} x0=32 x1=40 x2=48 x3=56",
        f"a signal before * finds the task behind its own instruction; {SAVED} x1=40 x2=48 x3=56",
    ],
    "x86_64": [
        "a signal before * finds the task at its own instruction",
        "unwind: cfa=*(rsp+8) rip=*(rsp+16) rax=*(rsp) rcx=undefined r11=undefined",
        "a signal before * finds the task behind its own instruction",
        "a signal before * finds the task at its own instruction",
        "a signal before * finds the task behind its own instruction",
    ],
}


@pytest.mark.parametrize("arch", SERVED_NOTES)
def test_show_says_what_a_signal_does_to_a_served_call(arch: str) -> None:
    """The last part of the handler: what a data page answers."""
    shown = vdso("show", "--arch", arch, "__kernel_bounce_userspace").stdout.replace("\n     ", " ")
    notes = re.findall(r"^  -- (.*)", re.sub("before 0x[0-9a-f]+", "before *", shown), re.MULTILINE)
    assert notes[-5:] == SERVED_NOTES[arch]


def test_show_one_function() -> None:
    done = vdso("show", "--arch", "aarch64", "__kernel_getcpu")
    assert (done.returncode, done.stderr) == (0, "")
    first, again, rules = done.stdout.splitlines()[:3]
    assert (first, rules) == ("__kernel_getcpu@UABI_1:", "  -- unwind: cfa=sp+0")
    assert again.endswith(" begins here again")
    assert done.stdout.rstrip().endswith("; done without a call")


def test_show_a_function_of_one_architecture_only() -> None:
    assert vdso("show", "__kernel_bounce_user").stdout.startswith("__kernel_bounce_user@UABI_1:\n")


def test_show_what_is_not_there() -> None:
    done = vdso("show", "nothing")
    assert (done.returncode, done.stdout) == (125, "")
    assert done.stderr == "uabi-emu: vdso show: nothing: no such function: see 'uabi-emu vdso show'\n"


def test_show_the_other_image() -> None:
    done = vdso("show", "--image", "libkernel", "--arch", "aarch64", "__kernel_brk@UABI_1", "__kernel_brk")
    assert (done.returncode, done.stderr) == (0, "")
    old, new = done.stdout.split("\n\n")
    assert old.startswith("__kernel_brk@UABI_1:\n") and "; the call; the arguments are" in old
    assert new.startswith("__kernel_brk@UABI_2:\n") and "mov x0, #-0xc" in new
    done = vdso("show", "--image", "libkernel")
    for line in ("vDSO of x86_64, libkernel: ", "__vdso_clock_gettime (also __kernel_clock_gettime@UABI_1)"):
        assert line in done.stdout


def test_the_header() -> None:
    done = vdso("header")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == (ROOT / "guests" / "libkernel" / "include" / "uabi" / "kernel.h").read_text()
