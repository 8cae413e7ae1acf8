"""busybox of both architectures gives what the native one gives: output, status, and files left behind."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.harness import HOST_ARCH, judge, listed, qemu
from tests.real.cases import ABIS, ARCHES, Case, load, run_case

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(HOST_ARCH != "x86_64", reason="the reference is the native x86-64 build"),
]

APPLETS = load("applets.tsv")
SINGLE = load("applets_single.tsv")


def _name(case: Case) -> str:
    return case.name


@pytest.mark.parametrize("abi", ABIS)
@pytest.mark.parametrize("arch", ARCHES)
@pytest.mark.parametrize("case", APPLETS, ids=_name)
def test_applet(case: Case, arch: str, abi: str, base: Path) -> None:
    wanted = run_case(case, HOST_ARCH, "native", base, more=False)
    judge("applets", case.name, run_case(case, arch, abi, base, more=False), wanted)


@pytest.mark.parametrize("abi", ABIS)
@pytest.mark.parametrize("arch", ARCHES)
@pytest.mark.parametrize("case", SINGLE, ids=_name)
def test_single_process_applet(case: Case, arch: str, abi: str, base: Path) -> None:
    wanted = run_case(case, HOST_ARCH, "native", base, more=True)
    judge("applets_single", case.name, run_case(case, arch, abi, base, more=True), wanted)


@pytest.mark.parametrize(
    "case",
    [case for case in SINGLE if qemu("aarch64") and case.name not in listed("applets_qemu")],
    ids=_name,
)
def test_reference_holds_for_aarch64(case: Case, base: Path) -> None:
    """The AArch64 build under qemu-user agrees with the native one, so that the comparison is a fair one."""
    wanted = run_case(case, HOST_ARCH, "native", base, more=True)
    assert run_case(case, "aarch64", "qemu", base, more=True) == wanted


def test_lists_name_cases() -> None:
    assert set(listed("applets")) <= {case.name for case in APPLETS}
    assert set(listed("applets_single")) | set(listed("applets_qemu")) <= {case.name for case in SINGLE}
    assert len(SINGLE) >= 60
