"""One run of a program: its machine made, watched, run and taken apart."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, NamedTuple

from emu.compare.calibration import TRAPPING
from emu.compare.differences import Checker, Difference, Reference, compare_ends
from emu.compare.files import changed_files
from emu.compare.handlers import of_image
from emu.compare.meter import Meter
from emu.compare.record import Recorder
from emu.compare.served import Served
from emu.compare.streams import CapturingHost
from emu.compare.traps import Traps
from emu.cpu.watch import InstructionCounter
from emu.machine import Machine
from kernel_model.bounce import SCRATCH_BYTES
from kernel_model.data_pages import THREAD_PAGES
from kernel_model.types import PAGE_SHIFT
from vdso_image.image import VdsoImage

if TYPE_CHECKING:
    from collections.abc import Sequence

    from emu.compare.costs import Costs
    from emu.compare.record import Sink
    from emu.compare.streams import Output, SharedInput
    from emu.machine import MachineOptions


class Run(NamedTuple):
    """What is known of a run that is over."""

    name: str
    abi: str
    arch: str
    status: int
    """As a shell shows it."""
    signal: int
    """What killed it, or 0."""
    timed_out: bool
    outputs: dict[int, Output]
    """Of streams 1 and 2."""
    files: dict[str, str]
    """What it left in the tree that the host does not have, by path."""
    costs: Costs
    """By system call."""
    signals: int
    """How many reached a task."""
    serves: bool
    """Its vDSO does something without the kernel."""
    instructions: int
    """How many were executed, handlers' too; 0 where they were not counted."""


class Check(Enum):
    """How closely runs are compared; each takes in those before it."""

    ENDS = "ends"
    """What was printed, how it ended, and which files it left."""
    CALLS = "calls"
    """Each task's calls and signals, with arguments, results, and what was read into buffers."""
    STATE = "state"
    """All registers, and the memory around SP and behind pointers, after each call."""


def run_all(
    machines: Sequence[tuple[str, MachineOptions]], given: SharedInput, check: Check, *,
    patient: bool = False, counting: bool = False,
) -> tuple[list[Run], list[Difference]]:
    """Run each of `machines`, by name, with the same input: the runs, and in what they differ from the first.

    A run that is killed for its time is the last, unless `patient`: then it is a difference. `counting`: the first
    run's instructions are counted, which takes time. Raises StartError, and KeyboardInterrupt when we are to stop.
    """
    serving = any(options.bounce.vdso == "userspace" for _, options in machines)
    data_pages = any(options.vdso_data != "none" for _, options in machines)
    room_bytes = THREAD_PAGES << PAGE_SHIFT if data_pages else 0
    how = Compared(check is Check.STATE, SCRATCH_BYTES if serving else 0, data_pages)
    reference = Reference()
    runs: list[Run] = []
    differences: list[Difference] = []
    for name, options in machines:
        checker = Checker(name, reference, runs[0].arch) if runs else None
        placed = options._replace(vdso_data_room_bytes=room_bytes)
        done = run(name, placed, given, checker or reference, how._replace(counting=counting and not runs))
        runs.append(done)
        if done.timed_out and not patient:
            break
        if done.timed_out:
            differences.append(Difference(name, "time", f"killed after {options.timeout_s:g} s"))
        elif checker is not None:
            differences += compare_ends(done, runs[0])
            if check is not Check.ENDS:
                checker.finish()
                differences += checker.differences
    return runs, differences


class Compared(NamedTuple):
    """What all runs that are compared have in common (see `Recorder`)."""

    deep: bool
    scratch_bytes: int = 0
    data_pages: bool = False
    counting: bool = False


def run(name: str, options: MachineOptions, given: SharedInput, sink: Sink, how: Compared) -> Run:
    """Run one machine, and tell `sink` what its tasks do."""
    host = CapturingHost(given)
    machine = Machine(options, host)
    kernel = machine.kernel
    image = None if kernel.vdso is None else kernel.vdso.image
    assert isinstance(image, VdsoImage)
    handlers = of_image(image)
    trapping = options.abi in TRAPPING
    recorder = Recorder(
        kernel, handlers, sink,
        deep=how.deep, frames=trapping, scratch_bytes=how.scratch_bytes, data_pages=how.data_pages,
    )  # fmt: skip
    meter: Meter | Traps
    if trapping:
        meter = Traps(machine, recorder)
    elif kernel.bounce is not None and kernel.bounce.serves:
        meter = Meter(machine, handlers, Served(machine, handlers, recorder).before)
    else:
        kernel.events.subscribe(recorder)
        meter = Meter(machine, handlers, recorder.before)
    counter = InstructionCounter(machine.cpu) if how.counting else None
    machine.begin()
    try:
        machine.cpu.run()
        files = changed_files(kernel)
    finally:
        machine.close()
    if host.interrupted is not None:
        raise KeyboardInterrupt
    killed_by = (machine.task.exit_code or 0) & 0x7F
    machine.cpu.ram.release(0, machine.cpu.ram.size_bytes)
    machine.cpu.engine.close()
    host.close_trees()
    return Run(
        name, options.abi, kernel.arch.NAME, machine.status(), killed_by, machine.timed_out, host.outputs, files,
        meter.costs, meter.signals, options.vdso_data != "none" or options.bounce.vdso != "plain",
        counter.count if counter else 0,
    )  # fmt: skip
