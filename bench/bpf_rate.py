"""How often a second the talk's filter is evaluated for calls that it allows: their way through it is the longest.

    python bench/bpf_rate.py         prints that number, the best of some rounds
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from kernel_model.abi.seccomp import SECCOMP_RET_ALLOW
from kernel_model.seccomp.bpf import compile_filter
from tests.seccomp.programs import slide

EVALUATIONS = 200_000
ROUNDS = 5
AUDIT_ARCH_AARCH64 = 0xC000_00B7
VDSO, VDSO_END = 0xFFFF_94D8_D000, 0xFFFF_94D8_F000


def main() -> None:
    """Measure."""
    evaluate = compile_filter(slide(AUDIT_ARCH_AARCH64))
    args = (1, 2, 3, 4, 5, 6)
    best_s = float("inf")
    for _ in range(ROUNDS):
        start = time.process_time()
        for _ in range(EVALUATIONS):
            action = evaluate(173, AUDIT_ARCH_AARCH64, VDSO + 8, args, VDSO, VDSO_END)
        best_s = min(best_s, time.process_time() - start)
        if action != SECCOMP_RET_ALLOW:
            raise SystemExit("the filter does not allow the call")
    print(f"{EVALUATIONS / best_s:.0f}")


if __name__ == "__main__":
    main()
