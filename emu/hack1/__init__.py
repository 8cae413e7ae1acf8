"""The library of Hack #1 as `--abi seccomp` and `--abi dispatch` inject it, built for each architecture.

Its source is `guests/hack1`; `guests/build.py --library` builds the files here, which are kept in git because a user's
machine has no compiler.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from kernel_model.preload import DISPATCH, HIDE, SLIDE, Preload

if TYPE_CHECKING:
    from kernel_model.kernel import Kernel

HANDLERS: Final = {"careful": 0, "slide": SLIDE, "hiding": HIDE}
"""What the handler of SIGSYS does, by the names of `--handler`."""


def preload(kernel: Kernel, arch: str, abi: str, handler: str) -> Preload:
    """The library for a kernel of `arch`; `abi`: seccomp or dispatch, `handler`: one of HANDLERS."""
    with open(os.path.join(os.path.dirname(__file__), f"{arch}.so"), "rb") as file:
        elf = file.read()
    return Preload(kernel, elf, HANDLERS[handler] | (DISPATCH if abi == "dispatch" else 0))
