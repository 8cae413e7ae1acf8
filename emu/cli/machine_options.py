"""The options that say how the machine is made, the same for every command that runs a program.

A command takes them with `@machine_options_of`, turns their values into `MachineOptions` with `machine_options`, and
has its machine from `start`.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, TypeVar

import click

from emu.cli import values
from emu.cli.errors import CliError, Debug
from emu.cli.options import OneOf

if TYPE_CHECKING:
    from collections.abc import Callable

    from emu.host.real import RealHost
    from emu.machine import Machine, MachineOptions

_OPTIONS = (
    click.option(
        "--abi",
        type=OneOf(("bare", "bounce", "seccomp", "dispatch")),
        default="bounce",
        metavar="bare|bounce|seccomp|dispatch",
        help="How calls reach the kernel: bounced to the vDSO (default); bare, the plain instruction; or by a SIGSYS "
        "that a seccomp filter, or Syscall User Dispatch, sends.",
    ),
    click.option(
        "--handler",
        type=OneOf(("careful", "slide", "hiding", "none")),
        metavar="careful|slide|hiding|none",
        help="What the injected handler of SIGSYS does: all it can (default), no more than the slide's, or also refuse "
        "the program seccomp of its own. With none nothing is injected: the program has a handler.",
    ),
    click.option(
        "--bounce-check",
        type=OneOf(("site", "slide")),
        metavar="site|slide",
        help="What is compared with the vDSO's bounds: the instruction's own address (default), or PC, as the slide "
        "has it.",
    ),
    click.option(
        "--bounce-frame",
        type=OneOf(("stack", "task-page")),
        metavar="stack|task-page",
        help="Where the frame of a bounce goes: the user's stack (default), or a page of the task's own.",
    ),
    click.option(
        "--bounce-return",
        type=OneOf(("redirect", "user")),
        metavar="redirect|user",
        help="Who ends a bounce: the kernel, by a flagged call (default), or on x86-64 the handler, by iretq.",
    ),
    click.option(
        "--vdso",
        type=OneOf(("plain", "userspace", "libkernel")),
        metavar="plain|userspace|libkernel",
        help="What the vDSO does: make the calls that bounce (default); serve them in user space if it can; or have a "
        "function for each call beside it, for programs that make none themselves.",
    ),
    click.option(
        "--bounce-set",
        metavar="all|legacy|CALLS",
        help="Which calls bounce: all (default), those that newer ones replace, or a list of names and numbers.",
    ),
    click.option(
        "--visible",
        type=OneOf(("real", "origin")),
        default="real",
        metavar="real|origin",
        help="Which instruction a bounced call is said to be made by: the vDSO's (default), or the program's.",
    ),
    click.option(
        "--vdso-data",
        type=OneOf(("none", "percpu", "percpu-racy", "perthread")),
        default="none",
        metavar="none|percpu|percpu-racy|perthread",
        help="What tasks may read of themselves without a call: nothing (default), or a page of each CPU's, or of each "
        "thread's; percpu-racy is percpu with the race that it had at first.",
    ),
    click.option(
        "--root", metavar="DIR", help="Use DIR as the guest's / (a sysroot); what the guest writes stays in memory."
    ),
    click.option("--isolate", is_flag=True, help="Show the guest nothing of the host but PROGRAM."),
    click.option(
        "--bind",
        multiple=True,
        metavar="HOST:GUEST[:ro|rw]",
        help="Show the host's HOST at GUEST; with rw what the guest writes there reaches the host. Repeatable.",
    ),
    click.option(
        "--env",
        multiple=True,
        metavar="NAME[=VALUE]",
        help="Set a variable, or take the host's after --clear-env. Repeatable.",
    ),
    click.option("--clear-env", is_flag=True, help="Start from an empty environment instead of the host's."),
    click.option("--cwd", metavar="DIR", help="The guest's working directory (default: the one you are in)."),
    click.option("--seed", metavar="N", help="Make random bytes, addresses and tasks' turns the same in each run."),
    click.option(
        "--time",
        type=OneOf(("host", "virtual")),
        default="host",
        metavar="host|virtual",
        help="Whose clock the guest sees (default: host); on the virtual one sleeping takes no time.",
    ),
    click.option(
        "--time-ns",
        metavar="MONOTONIC_S[:BOOTTIME_S]",
        help="Start the guest in a time namespace, with CLOCK_MONOTONIC and CLOCK_BOOTTIME so many seconds ahead.",
    ),
    click.option(
        "--cpus",
        default="1",
        metavar="N",
        help="How many CPUs the guest sees (default: 1, for in truth one runs all its tasks in turn).",
    ),
    click.option(
        "--memory", default="4G", metavar="SIZE", help="The most memory the guest gets, as 512M or 4G (default: 4G)."
    ),
    click.option("--check-leaks", is_flag=True, help="Look for what the kernel model forgot to give back (for tests)."),
    click.option("--timeout", metavar="SECONDS", help="Kill the guest after that time; the status is 124."),
)
_Command = TypeVar("_Command", bound="Callable[..., Any]")
_BOUNCE = ("bounce_check", "bounce_frame", "bounce_return", "vdso", "bounce_set")


def machine_options_of(command: _Command) -> _Command:
    """Give a command's function these options; it gets their values by keyword, for `machine_options`."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def machine_options(
    words: tuple[str, ...],
    *,
    abi: str,
    handler: str | None,
    bounce_check: str | None,
    bounce_frame: str | None,
    bounce_return: str | None,
    vdso: str | None,
    bounce_set: str | None,
    visible: str,
    vdso_data: str,
    root: str | None,
    isolate: bool,
    bind: tuple[str, ...],
    env: tuple[str, ...],
    clear_env: bool,
    cwd: str | None,
    seed: str | None,
    time: str,
    time_ns: str | None,
    check_leaks: bool,
    cpus: str,
    memory: str,
    timeout: str | None,
) -> MachineOptions:
    """What the command line means for the machine; `words` are PROGRAM and its arguments, of which there is one."""
    from emu.machine import MachineOptions
    from kernel_model.bounce import BounceWishes

    if root is not None and isolate:
        raise CliError("--isolate: it leaves nothing of --root to show: give one of the two")
    wishes = {
        "check": bounce_check, "frame": bounce_frame, "leave_by": bounce_return, "vdso": vdso, "calls": bounce_set,
    }  # fmt: skip
    given = {field: value for field, value in wishes.items() if value is not None}
    of_bounces = given.keys() - ({"vdso"} if vdso == "libkernel" else ())
    if of_bounces and abi != "bounce":
        name = next(name for name, field in zip(_BOUNCE, wishes, strict=True) if field in of_bounces).replace("_", "-")
        raise CliError(f"--{name}: nothing bounces under --abi {abi}: leave one of the two away")
    if handler is not None and abi not in ("seccomp", "dispatch"):
        raise CliError(f"--handler: nothing is injected under --abi {abi}: leave one of the two away")
    if bounce_frame == "task-page" and bounce_return == "user":
        raise CliError("--bounce-return: a plain call forgets where a task-page frame is: give one of the two")
    if vdso == "userspace" and (bounce_frame == "task-page" or bounce_return == "user"):
        other = "--bounce-frame task-page" if bounce_frame == "task-page" else "--bounce-return user"
        raise CliError(f"--vdso: the handler that serves calls has its frame on the stack: leave {other} away")
    if bounce_set is not None:
        values.check_calls(bounce_set)
    variables = values.environment(env, values.host_environment(), clear=clear_env)
    if root is not None:
        root = values.directory("--root", root)
    elif cwd is not None and not isolate:
        cwd = os.path.join(os.getcwd(), cwd)  # the guest has the host's tree, and so the place we mean
    wanted = MachineOptions(
        program=words[0],
        argv=[os.fsencode(word) for word in words],
        env=variables,
        cwd=cwd,
        root=root,
        isolate=isolate,
        binds=[values.bind(text) for text in bind],
        seed=None if seed is None else values.seed(seed),
        virtual_time=time == "virtual",
        time_ns=None if time_ns is None else values.time_ns(time_ns),
        cpus=values.cpus(cpus),
        memory_bytes=values.memory_size(memory),
        timeout_s=None if timeout is None else values.timeout_seconds(timeout),
        abi=abi,
        vdso_data=vdso_data,
        bounce=BounceWishes(**given, visible=visible),
        handler=handler or "careful",
        debug=Debug.wanted,
        check_leaks=check_leaks,
    )
    start_at = cwd or ("/" if root else os.getcwd())
    program = values.program(wanted.program, variables.get(b"PATH"), root or "/", start_at)
    return wanted._replace(program=os.path.abspath(program) if isolate else program)


def start(wanted: MachineOptions, host: RealHost | None = None) -> Machine:
    """The machine with its program loaded, on `host`; CliError with the status that README's table says."""
    from emu.machine import Machine, StartError

    try:
        return Machine(wanted, host)
    except StartError as error:
        raise CliError(error.message, error.status) from error
