"""The run itself, the same for every command that runs a program to its end."""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING

from emu.cli.errors import STATUS_FAILED, complain

if TYPE_CHECKING:
    from collections.abc import Callable

    from emu.machine import Machine


def run_to_its_end(machine: Machine, program: str, between: Callable[[], None] | None = None) -> int:
    """Run the guest, tell what killed it, and give the exit status; `program`: what the person called it.

    `between`: see `Machine.run`.
    """
    from emu.report import FaultReporter

    report = FaultReporter(machine.kernel, program)
    gc.freeze()
    gc.enable()
    status = machine.run(between)
    report.print()
    if machine.timed_out:
        complain(f"{program}: killed after {machine.options.timeout_s:g} s, as --timeout says")
    if machine.options.check_leaks:
        status = _check_leaks(machine, program) or status
    return status


def _check_leaks(machine: Machine, program: str) -> int:
    """Tell what the kernel model did not give back; STATUS_FAILED if there is any."""
    from kernel_model.audit import find_leaks

    leaks = find_leaks(machine.kernel)
    for leak in leaks:
        complain(f"{program}: {leak}, although the guest has gone: please report it")
    return STATUS_FAILED if leaks else 0
