"""/proc/sys/kernel/seccomp: which actions there are, and which of them are logged (kernel/seccomp.c)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from kernel_model.abi import errno
from kernel_model.abi.seccomp import ACTION_NAMES
from kernel_model.cred import CAP_SYS_ADMIN
from kernel_model.types import SyscallError

if TYPE_CHECKING:
    from kernel_model.task import Task

_NAMES: Final = tuple(name.encode() for name in ACTION_NAMES.values())
_TEXT_BYTES: Final = len(b" ".join(_NAMES))
"""No more of what is written is looked at."""


def actions_avail() -> bytes:
    """All actions, on one line."""
    return b" ".join(_NAMES) + b"\n"


def actions_logged(task: Task) -> bytes:
    """Those that are logged, on one line; at first all but ALLOW."""
    logged = task.kernel.seccomp_actions_logged
    return b" ".join(name for name in _NAMES[:-1] if logged is None or name in logged) + b"\n"


# QUIRK: There is no audit log: what seccomp does is an event on the stream, whatever actions_logged in /proc/sys says.
def set_actions_logged(task: Task, data: bytes) -> None:
    """A line of names; what follows two spaces is not looked at. EPERM; EINVAL for ALLOW and unknown names."""
    if not task.cred.capable(CAP_SYS_ADMIN):
        raise SyscallError(errno.EPERM)
    line = data.split(b"\n", 1)[0].split(b"\0", 1)[0][:_TEXT_BYTES]
    names = line.split(b" ")
    if b"" in names:
        names = names[: names.index(b"")]
    if not set(names) <= set(_NAMES[:-1]):
        raise SyscallError(errno.EINVAL)
    task.kernel.seccomp_actions_logged = frozenset(names)
