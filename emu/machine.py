"""The machine: a CPU, its memory, a kernel and a first task, put together as a command line wants them."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING, Final, NamedTuple

import loader
from emu.cpu import create_cpu
from emu.cpu.engine import GuestRam
from emu.host.real import RealHost
from kernel_model import arch as architectures
from kernel_model.abi import errno
from kernel_model.abi.signal import IGNORE_MASK, SIG_DFL, SIG_IGN, STOP_MASK
from kernel_model.boot import NoWorkingDirectory, start_first_task
from kernel_model.bounce import BounceWishes, NoSuchBounce, bounce_options
from kernel_model.entry import EntryPath
from kernel_model.exec import ExecError
from kernel_model.fs.mount import Bind, TreeOptions, build_tree
from kernel_model.kernel import Kernel
from kernel_model.mm.frames import FrameAllocator
from kernel_model.timekeeping import Timekeeper
from kernel_model.types import PAGE_SIZE, SyscallError
from kernel_model.vdso import Vdso
from vdso_image.image import load as load_vdso
from vdso_image.vvar import pack_vvar

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from threading import Timer

    from emu.cpu.engine import UnicornCpu
    from kernel_model.task import Task

STATUS_TIMEOUT: Final = 124
"""It would have gone on: --timeout killed it, or every task waited for another."""
STATUS_OWN_FAILURE: Final = 125
STATUS_NOT_RUNNABLE: Final = 126
STATUS_NOT_FOUND: Final = 127


class StartError(Exception):
    """The program can't be started. `status` for the shell (126, 127), `message` one line for a person."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


class MachineOptions(NamedTuple):
    """What a run is asked for. Paths as typed; `binds` are (host, guest, writable).

    `time_ns`: the seconds that CLOCK_MONOTONIC and CLOCK_BOOTTIME are ahead in the guest's time namespace.
    """

    program: str
    argv: list[bytes]
    env: dict[bytes, bytes]
    cwd: str | None = None
    root: str | None = None
    isolate: bool = False
    binds: Sequence[tuple[str, str, bool]] = ()
    seed: int | None = None
    virtual_time: bool = False
    time_ns: tuple[int, int] | None = None
    cpus: int = 1
    memory_bytes: int = 4 << 30
    timeout_s: float | None = None
    abi: str = "bounce"
    bounce: BounceWishes = BounceWishes()
    vdso_data: str = "none"
    vdso_data_room_bytes: int = 0
    handler: str = "careful"
    debug: bool = False
    check_leaks: bool = False


class Machine:
    """One run: made with the program loaded, then `run` once.

    Attributes: `kernel` (whose events may be subscribed to before `run`), `task`, the first one, and `cpu`.
    """

    kernel: Kernel
    task: Task
    cpu: UnicornCpu

    def __init__(self, options: MachineOptions, host: RealHost | None = None) -> None:
        """`host`: another host boundary than the machine we are on. Raises StartError."""
        self.options = options
        self.host = host or RealHost()
        self.timed_out = False
        self._timer: Timer | None = None
        try:
            # The last page is the CPU's own (`X8664Cpu`), and no frame of the guest's, however much that takes.
            self._ram = GuestRam(options.memory_bytes + PAGE_SIZE)
            self._frames = FrameAllocator(
                self._ram.view, options.memory_bytes, release_range=self._ram.release
            )
            self.kernel = Kernel(
                host=self.host,
                frames=self._frames,
                clock=Timekeeper(self.host, options.virtual_time),
                seed=options.seed,
                cpu_count=options.cpus,
            )
            self.kernel.binfmt_elf = loader.load
            self._build_tree()
            self.task = self._start()
        except BaseException:
            self.host.close()
            raise

    def _build_tree(self) -> None:
        """Put the guest's files together."""
        options = self.options
        try:
            build_tree(
                self.kernel,
                TreeOptions(
                    root=options.root or "/",
                    isolate=options.isolate,
                    binds=[Bind(host, guest, writable) for host, guest, writable in options.binds],
                    program=options.program if options.isolate else None,
                ),
            )
        except OSError as error:
            raise StartError(STATUS_OWN_FAILURE, f"{error.filename or options.root}: {error.strerror}") from error
        except SyscallError as error:
            name = errno.errno_name(error.errno)
            raise StartError(STATUS_OWN_FAILURE, f"the guest's files can't be put together: {name}") from error

    def _start(self) -> Task:
        """Load the program."""
        options = self.options
        try:
            return start_first_task(
                self.kernel,
                path=os.fsencode(options.program),
                argv=options.argv,
                envp=[name + b"=" + value for name, value in options.env.items()],
                cwd=os.fsencode(options.cwd or self._default_cwd()),
                attach_cpu=self._attach_cpu,
            )
        except NoWorkingDirectory as error:
            raise StartError(STATUS_OWN_FAILURE, f"{options.program}: {error.reason}: see --cwd") from error
        except ExecError as error:
            status = STATUS_NOT_FOUND if error.errno in (errno.ENOENT, errno.ENOTDIR) else STATUS_NOT_RUNNABLE
            raise StartError(status, f"{options.program}: {error.reason}") from error

    def _default_cwd(self) -> str:
        """Where we are, as far as the guest has such a place."""
        if self.options.root or self.options.isolate:
            return "/"
        return os.getcwd()

    def _attach_cpu(self, arch: str) -> None:
        self.cpu = create_cpu(arch, self._ram, self._frames.code_frames)
        self._frames.flush_code = self.cpu.flush_code
        self.cpu.set_counter(self.kernel.clock.monotonic_ns)
        self.kernel.attach_cpu(architectures.get(arch), self.cpu)
        vdso = self.kernel.vdso = Vdso(self.kernel, load_vdso(arch, self._vdso_kind()), pack_vvar)
        vdso.data_room_bytes = self.options.vdso_data_room_bytes
        if self.options.time_ns is not None:
            self._enter_time_ns(*self.options.time_ns)
        if self.options.vdso_data != "none":
            self._make_data_pages(self.options.vdso_data)
        self.kernel.filters_see_vdso = self.options.abi in ("bounce", "seccomp")
        if self.options.abi == "bounce":
            try:
                self.kernel.bounce = bounce_options(self.options.bounce, arch, vdso.image.handlers)
            except NoSuchBounce as error:
                raise StartError(STATUS_OWN_FAILURE, f"{self.options.program}: {error}") from error
            if self.kernel.bounce.serves and self._variables_bounce(self.kernel.bounce.numbers):
                self._make_user_pages()
        elif self.options.abi != "bare" and self.options.handler != "none":
            from emu.hack1 import preload

            self.kernel.preload = preload(self.kernel, arch, self.options.abi, self.options.handler)

    def _variables_bounce(self, numbers: frozenset[int] | None) -> bool:
        """Does a call bounce that reads or writes a page of variables? `numbers`: those that do; None for all."""
        if numbers is None:
            return True
        from vdso_image.served import VARIABLES

        return not numbers.isdisjoint(self.kernel.table.numbers_of(*VARIABLES))

    def _vdso_kind(self) -> str:
        """Which image: whatever the ABI is, for its functions can be called under each."""
        return "libkernel" if self.options.bounce.vdso == "libkernel" else "plain"

    def _enter_time_ns(self, monotonic_s: int, boottime_s: int) -> None:
        """The first task begins in a time namespace of its own."""
        from kernel_model.ns.time import NoSuchTime, start_in_time_ns

        try:
            start_in_time_ns(self.kernel.current, monotonic_s, boottime_s)
        except NoSuchTime as error:
            raise StartError(STATUS_OWN_FAILURE, f"--time-ns: {error}") from error

    def _make_data_pages(self, kind: str) -> None:
        """`kind`: percpu | percpu-racy | perthread."""
        from kernel_model.data_pages import DataPages
        from vdso_image.data_pages import PER_CPU, PER_THREAD

        per_thread = kind == "perthread"
        self.kernel.data_pages = DataPages(
            self.kernel, PER_THREAD if per_thread else PER_CPU, per_thread=per_thread, racy=kind == "percpu-racy"
        )

    def _make_user_pages(self) -> None:
        from kernel_model.user_pages import UserPages
        from vdso_image.data_pages import PER_FS, PER_TASK

        self.kernel.user_pages = UserPages(self.kernel, PER_TASK, PER_FS)

    def run(self, between: Callable[[], None] | None = None) -> int:
        """Run the guest to its end; the exit status as a shell shows it.

        `between`: called whenever a reader of the run has paused the CPU, before it goes on.
        """
        self.begin()
        try:
            self.cpu.run()
            while self.cpu.paused and between is not None:
                between()
                self.cpu.run()
        finally:
            self.close()
        return self.status()

    def begin(self) -> None:
        """What comes before the first `cpu.run` of a guest that is run piece by piece (`UnicornCpu.pause`)."""
        self.cpu.handler = EntryPath(self.kernel, self.task)
        self.host.on_signal = self._on_signal
        self.host.on_timer = self._on_timer
        self.host.watch_signals()
        if self.options.timeout_s is not None:
            import threading

            self._timer = threading.Timer(self.options.timeout_s, self._time_is_up)
            self._timer.daemon = True
            self._timer.start()

    def close(self) -> None:
        """Give back what the host lent; after this only what the kernel has in its tables can be looked at."""
        if self._timer is not None:
            self._timer.cancel()
        self.host.close()

    def status(self) -> int:
        """The exit status of the guest, which is gone, as a shell shows it."""
        if self.timed_out or self.kernel.ended_stuck:
            return STATUS_TIMEOUT
        code = self.task.exit_code or 0
        return 128 + (code & 0x7F) if code & 0x7F else code >> 8 & 0xFF

    # -- from other host threads --------------------------------------------------------------------------------------
    def _on_signal(self, signum: int) -> None:
        """A signal came in: see that a computing guest notices at once."""
        from kernel_model.signal.timers import targets

        task = self.kernel.current
        bit = 1 << signum - 1
        if all(target.signal is not task.signal for target in targets(self.kernel, signum)):
            self._on_timer()
            return
        if task.blocked & bit and signum != signal.SIGKILL:
            return
        handler = task.sighand.get(signum).handler
        if handler == SIG_DFL and not (IGNORE_MASK | STOP_MASK) & bit:
            self.cpu.kill_from_thread()
        elif handler != SIG_IGN and self.cpu.preemptible:
            self.cpu.interrupt_from_thread()

    def _on_timer(self) -> None:
        """A timer of the guest's is due: see that it notices even if it only computes."""
        if self.cpu.preemptible:
            self.cpu.interrupt_from_thread()

    def _time_is_up(self) -> None:
        self.timed_out = True
        self.host.inject_signal(signal.SIGKILL)
