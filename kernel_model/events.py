"""Everything worth seeing, as typed events on one stream.

strace text, statistics, reports and tests are readers of this stream. When nobody listens an event costs one test of
`stream.active`: the code that would emit does not even build it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from kernel_model.signal.sighand import SigInfo
    from kernel_model.task import Task


class SyscallEnter(NamedTuple):
    """A real system call is about to be carried out. `args`: six raw registers, unsigned 64-bit."""

    task: Task
    number: int
    name: str
    args: tuple[int, int, int, int, int, int]
    pc: int


class SyscallExit(NamedTuple):
    """It is done. `result`: what the guest sees, signed; None when the registers were replaced or the task is gone."""

    task: Task
    number: int
    name: str
    args: tuple[int, int, int, int, int, int]
    result: int | None


class CallWaits(NamedTuple):
    """The call that was made last can't go on yet: its task sleeps, and others run."""

    task: Task
    number: int


class Bounced(NamedTuple):
    """An old-style call made at `site` was sent to the handler; its frame's four `words` lie at `frame`."""

    task: Task
    number: int
    site: int
    frame: int
    words: tuple[int, ...]


class RedirectedReturn(NamedTuple):
    """A flagged call at `site` ended a bounce: `words` of the frame at `frame` are the registers again."""

    task: Task
    site: int
    frame: int
    words: tuple[int, ...]


class FrameRefused(NamedTuple):
    """The frame at `frame` of a call made at `site` could not be pushed (`write`), or not be popped: SIGSEGV follows.

    `address`: the first byte that was in the way; of a frame that can be read, its own, since its flags are bad.
    """

    task: Task
    site: int
    frame: int
    address: int
    write: bool


class Rewound(NamedTuple):
    """A signal found the task at `pc` of a bounce's handler: by the `words` of the frame it is back at `site`.

    `finished`: the call had been served, so `site` is behind the instruction, and the result stays. `preempted`: it was
    no signal yet, but a look from outside, or the end of a time slice.
    """

    task: Task
    pc: int
    site: int
    frame: int
    words: tuple[int, ...]
    finished: bool = False
    preempted: bool = False


class ServingGivenUp(NamedTuple):
    """The instruction at `pc` of the handler that serves calls faulted; the handler makes the call instead."""

    task: Task
    pc: int


class BeganAgain(NamedTuple):
    """A task had read where its data are, and not yet the data, at `pc` of one of the vDSO's functions: it begins again
    at `start`. It has lost its CPU, or (`signalled`) a handler is about to run, after which it may be on another one.
    """

    task: Task
    pc: int
    start: int
    signalled: bool


class UnknownSyscall(NamedTuple):
    """A number that the table lacks; the guest got ENOSYS."""

    task: Task
    number: int
    pc: int


class Fault(NamedTuple):
    """A synchronous exception became a signal: `address` is si_addr, `access` a PROT_* bit or 0."""

    task: Task
    signal: int
    code: int
    address: int
    access: int
    pc: int


class SeccompVerdict(NamedTuple):
    """A filter is against a call made at `pc` (after the instruction), or wants it logged. Rare where it kills for it.

    `action`: LOG | TRACE | ERRNO | TRAP | KILL_PROCESS | KILL_THREAD | STRICT (the mode). `data`: RET_DATA.
    """

    task: Task
    number: int
    name: str
    action: str
    data: int
    pc: int


class SignalSent(NamedTuple):
    """`signal` was queued for, or forced on, the task."""

    task: Task
    signal: int
    code: int


class SignalDelivered(NamedTuple):
    """A signal reached its handler (`handler` is its address) or took its default action (`handler` 0)."""

    task: Task
    signal: int
    handler: int
    info: SigInfo


class SignalFrameRefused(NamedTuple):
    """There is no room, at `sp` or on the alternate stack, for the frame of a handler of `signal`: SIGSEGV instead."""

    task: Task
    signal: int
    sp: int
    pc: int


class Stuck(NamedTuple):
    """Every task waits for another, for ever. `ends`: the machine ends for it; `task`: who ran last."""

    task: Task
    sleepers: list[Task]
    ends: bool


class OomKilled(NamedTuple):
    """No memory is left: `task` was the largest, and is killed. `rss_pages` of `total_pages` were its."""

    task: Task
    rss_pages: int
    total_pages: int


class MappingChanged(NamedTuple):
    """The address space changed: `what` is mmap | munmap | mprotect | mremap | brk, over [start, end)."""

    task: Task
    what: str
    start: int
    end: int


class Execve(NamedTuple):
    """A program image was put in place."""

    task: Task
    filename: bytes
    argv: list[bytes]


class TaskExited(NamedTuple):
    """The task is gone. `code` is its wait status."""

    task: Task
    code: int


Event = (
    Bounced
    | RedirectedReturn
    | FrameRefused
    | Rewound
    | ServingGivenUp
    | BeganAgain
    | SyscallEnter
    | SyscallExit
    | CallWaits
    | UnknownSyscall
    | Fault
    | SeccompVerdict
    | SignalSent
    | SignalDelivered
    | SignalFrameRefused
    | Stuck
    | OomKilled
    | MappingChanged
    | Execve
    | TaskExited
)
RareEvent = Fault | SeccompVerdict | SignalDelivered | SignalFrameRefused | Stuck | OomKilled
Listener = Callable[[Event], None]


class EventStream:
    """The one stream. `active` is true while anybody listens to all of it; test it before building an event.

    Faults, and signals that take their default action or find no stack, are rare: they may be listened to alone
    (`watched`), which costs calls and handlers of signals nothing.
    """

    def __init__(self) -> None:
        self.active = False
        self.watched = False
        self._listeners: list[Listener] = []
        self._rare_listeners: list[Listener] = []

    def subscribe(self, listener: Listener) -> None:
        """Call `listener` with every event from now on, in the order they happen."""
        self._listeners.append(listener)
        self.active = True
        self.subscribe_rare(listener)

    def subscribe_rare(self, listener: Listener) -> None:
        """Call `listener` with every `RareEvent` from now on."""
        self._rare_listeners.append(listener)
        self.watched = True

    def unsubscribe(self, listener: Listener) -> None:
        """No more events for `listener`; it may say so while it is being told of one."""
        self._listeners = [other for other in self._listeners if other is not listener]
        self._rare_listeners = [other for other in self._rare_listeners if other is not listener]
        self.active = bool(self._listeners)
        self.watched = bool(self._rare_listeners)

    def emit(self, event: Event) -> None:
        """Hand `event` to every listener to all."""
        for listener in self._listeners:
            listener(event)

    def emit_rare(self, event: RareEvent) -> None:
        """Hand one of the rare events to every listener."""
        for listener in self._rare_listeners:
            listener(event)
