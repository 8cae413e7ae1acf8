"""Programs whose calls are served in user space, by other calls or with data pages do what they do natively.

Each case once: the lists are dealt out to the variants, so that every one has a part of them on both architectures.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.harness import HOST_ARCH, judge
from tests.real.cases import ARCHES, VARIANTS, Case, load, run_case
from tests.real.test_runtimes import SCRIPTS, native, ours

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(HOST_ARCH != "x86_64", reason="the reference is the native x86-64 build"),
]

LISTS = ("applets.tsv", "real.tsv")
SLOW = {"bash_loop", "bash_regex", "bash_assoc", "bb_gzip", "bb_shloop"}
"""They compute, and make hardly any calls."""


def _dealt() -> list[tuple[str, Case, str, str]]:
    """(list, case, architecture, variant)."""
    found = []
    for name in LISTS:
        cases = [case for case in load(name) if case.name not in SLOW]
        for number, case in enumerate(cases):
            for place, arch in enumerate(ARCHES):
                # the first variant has every second case: of the handler that serves calls there is most to see
                turn = number + place
                variant = list(VARIANTS)[0 if turn % 2 else 1 + turn // 2 % (len(VARIANTS) - 1)]
                found.append((name, case, arch, variant))
    return found


@pytest.mark.parametrize(
    ("name", "case", "arch", "variant"),
    [pytest.param(*one, id=f"{one[1].name}-{one[2]}-{one[3]}") for one in _dealt()],
)
def test_case(name: str, case: Case, arch: str, variant: str, base: Path) -> None:
    wanted = run_case(case, HOST_ARCH, "native", base, more=False)
    judge(name.removesuffix(".tsv"), case.name, run_case(case, arch, variant, base, more=False), wanted)


@pytest.mark.parametrize("variant", ["userspace", "userspace+legacy+perthread"])
@pytest.mark.parametrize("arch", ARCHES)
@pytest.mark.parametrize("script", SCRIPTS)
def test_runtime(script: str, arch: str, variant: str) -> None:
    """bash and Python, dynamic and out of a sysroot; time passes only where all wait, however busy this host is."""
    wanted = native(script)
    seen = ours(script, arch, *VARIANTS[variant], "--time", "virtual", "--seed", "7")
    assert seen == wanted, f"{seen}\n--- wanted\n{wanted}"


def test_every_variant_has_its_part() -> None:
    for arch in ARCHES:
        programs = {(one[3], one[1].program) for one in _dealt() if one[2] == arch}
        assert {(variant, program) for variant in VARIANTS for program in ("busybox", "bash-static", "rg")} <= programs
