"""`--stats FILE`: counters of a run as JSON, written when the guest is gone, however it went."""

from __future__ import annotations

import json
import os
import time
from typing import TYPE_CHECKING

from kernel_model.bounce import FRAME_BYTES, USER_RETURN_BYTES

if TYPE_CHECKING:
    from emu.machine import Machine
    from kernel_model.kernel import Kernel


class StatisticsFile:
    """Opened before the run, so that a bad path is known at once; `write` ends it. Raises OSError."""

    def __init__(self, path: str) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
        self._fd = 2 if path == "-" else os.open(path, flags, 0o666)
        self._wall_s = time.monotonic()
        self._cpu_s = time.process_time()

    def write(self, machine: Machine, status: int) -> None:
        """The counters of `machine`, which has run; `status` is what the shell gets."""
        data = (json.dumps(self._collect(machine, status), indent=2) + "\n").encode()
        while data:
            data = data[os.write(self._fd, data) :]

    def _collect(self, machine: Machine, status: int) -> dict[str, object]:
        kernel = machine.kernel
        counts = {kernel.table.name(number): count for number, count in enumerate(kernel.stats.calls) if count}
        return {
            "program": machine.options.program,
            "arch": kernel.arch.NAME,
            "abi": machine.options.abi,
            "exit_status": status,
            "wall_s": round(time.monotonic() - self._wall_s, 6),
            "cpu_s": round(time.process_time() - self._cpu_s, 6),
            "peak_memory_bytes": kernel.frames.peak_bytes,
            "kernel_entries": kernel.stats.kernel_entries + kernel.stats.bounces,
            "bounces": kernel.stats.bounces,
            "real_syscalls": sum(kernel.stats.calls) + kernel.stats.unknown_calls,
            "redirected_returns": kernel.stats.redirected_returns,
            "served_in_user_space": kernel.stats.served(),
            "served_by_another_call": kernel.stats.served_calls,
            "bounce_frame_bytes": kernel.stats.bounces * FRAME_BYTES,
            "user_stack_bytes_max": user_stack_bytes_max(kernel),
            "page_faults": kernel.frames.faults,
            "unknown_calls": kernel.stats.unknown_calls,
            "syscalls": dict(sorted(counts.items(), key=lambda item: (-item[1], item[0]))),
        }


def user_stack_bytes_max(kernel: Kernel) -> int:
    """The most that one bounce took of the user's stack: frame, red zone, alignment, and what a handler pushes."""
    stats = kernel.stats
    if kernel.bounce is None or kernel.bounce.in_task_page or not stats.bounces:
        return 0
    by_itself = kernel.bounce.handler == "user" and stats.bounces > stats.redirected_returns
    pushed = USER_RETURN_BYTES if by_itself else 0
    return kernel.bounce.size_bytes + kernel.arch.RED_ZONE_BYTES + stats.alignment_bytes_max + pushed
