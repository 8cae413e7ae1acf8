"""Reports on stderr: when the guest dies of a fault, when it runs out of memory, and when it can't go on.

The text is made at the moment of the fault, while the address space is still there, by `emu.fault_report`, which is
imported only then; it is printed when the run is over and the terminal is a person's again.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Final

from emu.printable import printable
from kernel_model.abi.signal import (
    SA_IMMUTABLE,
    SIGBUS,
    SIGFPE,
    SIGILL,
    SIGSEGV,
    SIGSYS,
    SIGTRAP,
    SYS_SECCOMP,
    SYS_USER_DISPATCH,
)
from kernel_model.events import Event, Fault, OomKilled, SeccompVerdict, SignalDelivered, SignalFrameRefused, Stuck

if TYPE_CHECKING:
    from kernel_model.kernel import Kernel

_REPORTS_KEPT: Final = 4
"""A program whose children all die tells no more by the fifth."""
_FAULT_SIGNALS: Final = frozenset((SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGTRAP, SIGSYS))


def _out_of_memory(program: str, event: OomKilled) -> str:
    """One line."""
    mib, of = event.rss_pages >> 8, event.total_pages >> 8
    name = printable(event.task.comm)
    return (
        f"uabi-emu: {program}: out of memory: killed process {event.task.tgid} ({name}), which had {mib} of {of} MiB: "
        "--memory gives the guest more\n"
    )


class FaultReporter:
    """A listener to rare events that keeps the reports of deadly faults for `print`."""

    def __init__(self, kernel: Kernel, program: str) -> None:
        """`program`: what to call it, as the person did."""
        self._kernel = kernel
        self._program = program
        self._fault: Fault | SignalFrameRefused | None = None
        self._texts: list[str] = []
        kernel.events.subscribe_rare(self)

    def __call__(self, event: Event) -> None:
        """Remember a fault; make its report when it turns out to be deadly."""
        if isinstance(event, (Fault, SignalFrameRefused)):
            self._fault = event
        elif isinstance(event, Stuck):
            from emu.stuck_report import describe as describe_tasks

            self._texts.append(describe_tasks(self._kernel, self._program, event))
            if not event.ends:
                self.print()
        elif isinstance(event, SeccompVerdict):
            self._describe(event)
        elif isinstance(event, OomKilled):
            self._texts.append(_out_of_memory(self._program, event))
        elif isinstance(event, SignalDelivered) and not event.handler and event.info.code > 0:
            fault = self._fault
            caused = SIGSEGV if isinstance(fault, SignalFrameRefused) else fault and fault.signal
            if fault is not None and fault.task is event.task and caused == event.signal in _FAULT_SIGNALS:
                self._fault = None
                self._describe(fault)
            elif event.signal == SIGSYS and not event.task.sighand.get(SIGSYS).flags & SA_IMMUTABLE:
                if event.info.code in (SYS_SECCOMP, SYS_USER_DISPATCH) and not event.info.raw:
                    self._describe(event)

    def _describe(self, event: Fault | SeccompVerdict | SignalDelivered | SignalFrameRefused) -> None:
        """Make the report of what ends a task."""
        if len(self._texts) < _REPORTS_KEPT:
            from emu.fault_report import describe

            self._texts.append(describe(self._kernel, self._program, event))

    def print(self) -> None:
        """Write the reports that there are to stderr: with colour to a terminal."""
        if not self._texts:
            return
        text = "\n".join(self._texts)
        self._texts.clear()
        try:
            if sys.stderr.isatty():
                from emu.fault_report import highlighted

                text = highlighted(text)
            sys.stderr.buffer.write(text.encode("utf-8", "surrogateescape"))
            sys.stderr.flush()
        except (OSError, ValueError, AttributeError):
            pass  # nobody can read it; the status still tells
