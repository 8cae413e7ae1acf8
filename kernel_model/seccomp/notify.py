"""Listeners: who is asked when a filter says USER_NOTIF (kernel/seccomp.c)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kernel_model.abi import errno
from kernel_model.types import SyscallError

if TYPE_CHECKING:
    from kernel_model.seccomp.filter import SeccompFilter
    from kernel_model.task import Task


class Notification:
    """What a filter with a listener has (`struct notification`)."""

    def orphaned(self) -> None:
        """Nobody has the filter any more."""


def prepare_listener(task: Task, new: SeccompFilter) -> int:
    """Give a filter that is about to be installed its `notif`; the descriptor that its listener will have. EMFILE."""
    raise SyscallError(errno.EINVAL)


def install_listener(task: Task, new: SeccompFilter, fd: int) -> None:
    """The filter is installed: open the descriptor."""
