"""Calibrations: what is measured on a real host, what is shipped, and what a file may not say."""

from __future__ import annotations

import json
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench import native_calibrate
from emu.compare.calibration import TRAPPING, BadCalibration, load, parse, shipped_names
from tests.harness import ROOT

NATIVE = (platform.system(), platform.machine()) == ("Linux", "x86_64")
QUICK = ("--calls", "100", "--runs", "3")
# Forbids seccomp(2) and prctl(PR_SET_SYSCALL_USER_DISPATCH), as a sandbox does, and then measures.
SANDBOX = """
import ctypes, struct, sys
code = [
    (0x20, 0, 0, 0), (0x15, 3, 0, 317), (0x15, 0, 3, 157), (0x20, 0, 0, 16), (0x15, 0, 1, 59),
    (0x06, 0, 0, 0x00050001), (0x06, 0, 0, 0x7FFF0000),
]
insns = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *one) for one in code))
program = struct.pack("=H6xQ", len(code), ctypes.addressof(insns))
libc = ctypes.CDLL(None, use_errno=True)
assert libc.prctl(38, 1, 0, 0, 0) == 0
assert libc.prctl(22, 2, program, 0, 0) == 0, ctypes.get_errno()
from bench.native_calibrate import main
sys.exit(main(sys.argv[1:]))
"""


def calibrate(*words: str | Path, script: str = "") -> subprocess.CompletedProcess[str]:
    how = ["-c", script] if script else ["-m", "bench.native_calibrate"]
    command = [sys.executable, *how, *words]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)


@pytest.mark.skipif(not NATIVE, reason="it measures an x86-64 Linux host")
def test_a_host_is_measured(tmp_path: Path) -> None:
    done = calibrate(*QUICK, "--output", tmp_path / "host.json")
    assert done.returncode == 0, done
    calibration = load(str(tmp_path / "host.json"))
    assert "bare call " in done.stdout and "call trapped by seccomp and emulated " in done.stdout
    for name, way in calibration.ways.items():
        if way.source == calibration.name:
            assert way.trapped_ns > way.entry_ns > 0
            assert calibration.frame_ns(name) > 0
        else:
            assert f"{name} is refused (" in done.stdout


@pytest.mark.skipif(not NATIVE, reason="it measures an x86-64 Linux host")
def test_a_sandbox_is_named_and_the_shipped_calibration_takes_its_place(tmp_path: Path) -> None:
    done = calibrate(*QUICK, "--output", tmp_path / "host.json", script=SANDBOX)
    assert done.returncode == 0, done
    for way, trapped in (("seccomp", 3579), ("dispatch", 3436)):
        wanted = f"the shipped calibration 'elsewhere' takes its place: {trapped} ns, where a bare call takes 345"
        assert [line for line in done.stdout.splitlines() if line.startswith(f"{way} is refused (") and wanted in line]
    calibration = load(str(tmp_path / "host.json"))
    shipped = load("shipped")
    assert calibration.ways == shipped.ways
    # another machine's figures count in bare calls
    assert calibration.frame_ns("seccomp") == pytest.approx((3579 / 345 - 3) * calibration.bare_ns)
    assert calibration.entry_ns("dispatch") == pytest.approx(calibration.bare_ns)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--runs", "0"], "'0': write a number from 1 to 1000"),
        (["--calls", "many"], "'many': write a number from 1 to 10000000"),
        ([*QUICK, "--output", "/none/there"], "/none/there: No such file or directory: name a file"),
    ],
)
@pytest.mark.skipif(not NATIVE, reason="it measures an x86-64 Linux host")
def test_mistakes_of_the_command(words: list[str], message: str) -> None:
    done = calibrate(*words)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_what_is_shipped() -> None:
    names = shipped_names()
    assert names[0] == "elsewhere" and len(names) >= 2
    assert load("shipped") == load("elsewhere")
    for name in names:
        calibration = load(name)
        assert calibration.name == name
        assert calibration.entry_ns("bare") == calibration.entry_ns("bounce") == calibration.bare_ns
        assert calibration.frame_ns("bare") == calibration.frame_ns("bounce") == 0
        for abi in TRAPPING:
            total_ns = 3 * calibration.entry_ns(abi) + calibration.frame_ns(abi)
            assert total_ns == pytest.approx(calibration.ways[abi].trapped_ns)


def document(**changes: Any) -> dict[str, Any]:
    way = {"source": "x", "bare_ns": 1, "allowed_ns": None, "trapped_ns": 9}
    whole = {"format": "uabi-emu calibration", "version": 1, "name": "x", "host": "y", "bare_ns": 1}
    return whole | {"seccomp": way, "dispatch": way} | changes


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "this is no calibration"),
        (b"\xff\xfe", "this is no calibration"),
        (b"[" * 60_000, "this is no calibration"),
        (b"[1]", "this is no calibration"),
        (b"{}", "this is no calibration"),
        (b" " * 70_000 + b"{}", "this is no calibration"),
        (document(version=2), "its version is 2, not 1"),
        (document(version=None), "its version is null, not 1"),
        (document(name="two\nlines"), "name is no line of text"),
        (document(host=7), "host is no line of text"),
        (document(bare_ns=0), "bare_ns is no time in nanoseconds"),
        (document(bare_ns=-1), "bare_ns is no time in nanoseconds"),
        (document(bare_ns=True), "bare_ns is no time in nanoseconds"),
        (document(bare_ns="345"), "bare_ns is no time in nanoseconds"),
        (document(bare_ns=float("nan")), "bare_ns is no time in nanoseconds"),
        (document(bare_ns=float("inf")), "bare_ns is no time in nanoseconds"),
        (document(bare_ns=10**300), "bare_ns is no time in nanoseconds"),
        (document(seccomp=None), "seccomp is not there"),
        (document(dispatch={}), "dispatch.source is no line of text"),
        (document(dispatch=document()["seccomp"] | {"allowed_ns": 0}), "dispatch.allowed_ns is no time"),
    ],
    ids=range(20),
)
def test_files_that_are_no_calibration(data: bytes | dict[str, Any], message: str) -> None:
    data = data if isinstance(data, bytes) else json.dumps(data).encode()
    with pytest.raises(BadCalibration, match=r"^there: ") as caught:
        parse(data, "there")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@given(st.sampled_from(("version", "name", "host", "bare_ns", "seccomp", "dispatch")), JSON)
def test_any_value_in_any_place(field: str, value: Any) -> None:
    data = json.dumps(document(**{field: value})).encode()
    try:
        calibration = parse(data, "there")
    except BadCalibration as error:
        assert str(error).startswith("there: ")
    else:
        assert calibration.frame_ns("seccomp") >= 0


def test_refusals_are_told_with_their_errno() -> None:
    readings = native_calibrate.read(
        "bare ns 100.0 101.0\ndispatch-trapped refused 22 prctl(X)\nsignal refused 0 killed\n"
    )
    assert readings["bare"].fastest_ns == 100
    assert readings["dispatch-trapped"].refused == "prctl(X): EINVAL, Invalid argument"
    assert readings["signal"].refused == "killed"
