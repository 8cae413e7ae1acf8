"""A built vDSO image: the file that a kernel maps, and what a kernel must know of it.

Loading reads two small files that are kept in git (`built/`); nothing is assembled, and a plain run pays well under a
millisecond. All offsets are from the start of the image. The `[vvar]` page (`vdso_image.vvar`) is mapped right
before it, at `vdso - vvar.VVAR_BYTES`: the code finds the page by that distance.

Handlers (`VdsoImage.handlers`), and what each expects when the kernel enters it:

- `redirect`: the frame at SP. It flags the number and makes the call, which ends the bounce.
- `task-page`: the frame in a page of the task's own, on a 64 KiB boundary of an address below 2**48. The user's SP is
  untouched. AArch64: x8 = frame << 16 | number (32 bits), so that the number and the frame's address can both be
  told at each instruction, the last one included. x86-64: rcx = frame, eax = number, r11 = rflags.
- `user` (x86-64): the frame at SP. A plain call, then back in user space by one iretq, whose words are built over the
  frame and need 8 bytes below it. Calls that may take the frame's memory away, or need the program's own registers,
  are flagged as by `redirect`.
- `userspace`: the frame at SP, and room for `SCRATCH_BYTES` behind it. It serves what it can (docs/hack3.md), and does
  as `redirect` with the rest.

For a handler that made no real call there are two more places, which no bounce begins at (`symbols`):
`__kernel_bounce_return` (frame at SP; AArch64: the result in x0, ends by the number-less return; x86-64: the result
in rax, ends by iretq) and `__kernel_bounce_return_task_page` (AArch64: x8 as at entry, the result in x0; x86-64: rcx as
at entry, the result in rax, which it stores in word 0 of the frame before the number-less return).
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

ARCHITECTURES: Final = ("aarch64", "x86_64")
KINDS: Final = ("plain", "libkernel")
"""`libkernel` is `plain` and, behind it, a function for each call (`vdso_image.libkernel`)."""
TASK_PAGE_ALIGN_BYTES: Final = 1 << 16
"""Where a frame of `task-page` may begin."""


class RestartRange(NamedTuple):
    """PCs from `start` up to but not with `commit`, at which `handler` has not changed anything yet.

    A task there goes back to the old-style instruction as if there had been no bounce: what differs is SP, PC and x8;
    on x86-64 SP, PC, rax, rcx, r11 and the flags.
    """

    start: int
    commit: int
    handler: str


class UndoRange(NamedTuple):
    """PCs from `start` up to but not with `end` of the handler that serves calls, and what a signal does there.

    Not `finished`: the task goes back to the old-style instruction. `finished`: the result is where it belongs, and the
    bounce ends. The frame is at SP + `frame_at`; `saved`: registers that are beside it, and where, in bytes from it.
    """

    start: int
    end: int
    finished: bool
    frame_at: int
    saved: tuple[tuple[str, int], ...]


class VdsoImage(NamedTuple):
    """One architecture's image. `elf` is a whole number of pages, mapped as it is, readable and executable."""

    arch: str
    elf: bytes
    symbols: Mapping[str, int]
    """All of the dynamic symbols, by name (aliases too); hidden ones as `name@VERSION`."""
    handlers: Mapping[str, int]
    """Where a bounce begins, by kind: see the module's text."""
    restart_ranges: tuple[RestartRange, ...]
    data_ranges: tuple[tuple[int, int], ...]
    """(start, done): a task that loses its CPU or meets a signal at a PC between the two begins again at `start`.

    It has read where its data are, and nothing of them yet (docs/data-pages.md)."""
    undo_ranges: tuple[UndoRange, ...]
    """Of the handler `userspace`, all of whose instructions are in one."""
    plain: int
    """Where that handler makes the call after all, as `redirect` does; registers are the program's there."""
    glue_returns: frozenset[int]
    """Where the calls come back to that it makes in place of others."""
    sigreturn: int
    """The return address of a signal handler (AArch64); 0 where the program brings its own."""
    text: tuple[int, int]
    """Start and end of .text."""
    build_id: bytes
    table: int = 0
    """The table of entry points (`vdso_image.entry_table`); 0 where there is none."""
    label_words: tuple[str, ...] = ()
    """Names and places in turn, as described."""
    tails: tuple[tuple[int, int], ...] = ()
    """(start, end): of that handler, what a signal waits for. The call has been made, and its results are on their way
    to the program's memory."""
    fault_exits: tuple[tuple[int, int, int], ...] = ()
    """(start, end, target): an instruction from `start` up to but not with `end` that can't reach memory leads to
    `target`. Elsewhere in that handler it leads to `plain`."""
    untimed: frozenset[int] = frozenset()
    """Behind number-less returns after such a call, which has taken the time that the program's would have."""
    restores: Mapping[int, tuple[tuple[str, int], ...]] = MappingProxyType({})
    """Behind a flagged call of that handler: registers that are the program's again besides those of the frame, and
    where they are, in bytes from it."""
    carried: frozenset[int] = frozenset()
    """The calls, by number, that it makes by others, whatever their arguments: it needs them in no table."""

    @property
    def labels(self) -> dict[str, int]:
        """The parts of the handler that serves calls, by their names in the source. Only views of a run need them."""
        words = self.label_words
        return {name: int(place, 16) for name, place in zip(words[::2], words[1::2], strict=True)}

    @property
    def kind(self) -> str:
        """plain | libkernel."""
        return "libkernel" if self.table else "plain"


def file_name(arch: str, kind: str) -> str:
    """What the files of an image are called, without their suffixes. `kind`: plain | libkernel."""
    return arch if kind == "plain" else f"{arch}-{kind}"


def load(arch: str, kind: str = "plain") -> VdsoImage:
    """The built image of `arch`. ValueError for an architecture that there is none for."""
    if arch not in ARCHITECTURES:
        raise ValueError(f"no vDSO for {arch}")
    stem = f"{__file__.rpartition('/')[0]}/built/{file_name(arch, kind)}"
    with open(stem + ".so", "rb") as file:
        elf = file.read()
    with open(stem + ".txt", encoding="ascii") as file:
        return parse(arch, elf, file.read())


def _saved(words: list[str]) -> dict[str, int]:
    """What a range says of registers: `rdi=32`; and of other places, `at=-32`, `fault=0x10`."""
    return {name: int(value, 0) for name, _, value in (word.partition("=") for word in words)}


def parse(arch: str, elf: bytes, description: str) -> VdsoImage:
    """An image from its file and the description beside it: lines of a word and its values."""
    symbols: dict[str, int] = {}
    handlers: dict[str, int] = {}
    ranges: list[RestartRange] = []
    data_ranges: list[tuple[int, int]] = []
    undo: list[UndoRange] = []
    labels: tuple[str, ...] = ()
    text = (0, 0)
    sigreturn = plain = table = 0
    tails: list[tuple[int, int]] = []
    faults: list[tuple[int, int, int]] = []
    returns: set[int] = set()
    untimed: set[int] = set()
    restores: dict[int, tuple[tuple[str, int], ...]] = {}
    carried: set[int] = set()
    build_id = b""
    for line in description.splitlines():
        word, *values = line.split() or ("#",)
        if word == "symbol":
            symbols[values[0]] = int(values[1], 16)
        elif word == "handler":
            handlers[values[0]] = int(values[1], 16)
        elif word == "restart":
            ranges.append(RestartRange(int(values[1], 16), int(values[2], 16), values[0]))
        elif word == "again":
            data_ranges.append((int(values[0], 16), int(values[1], 16)))
        elif word in ("rewind", "finish", "tail"):
            start, end = int(values[0], 16), int(values[1], 16)
            saved = _saved(values[2:])
            if "fault" in saved:
                faults.append((start, end, saved.pop("fault")))
            frame_at = saved.pop("at", 0)
            if word == "tail":
                tails.append((start, end))
            else:
                undo.append(UndoRange(start, end, word == "finish", frame_at, tuple(saved.items())))
        elif word == "labels":
            labels = tuple(values)
        elif word == "plain":
            plain = int(values[0], 16)
        elif word == "returns":
            returns.add(int(values[0], 16))
        elif word == "untimed":
            untimed.add(int(values[0], 16))
        elif word == "restores":
            restores[int(values[0], 16)] = tuple(_saved(values[1:]).items())
        elif word == "carries":
            carried.add(int(values[0]))
        elif word == "text":
            text = (int(values[0], 16), int(values[1], 16))
        elif word == "sigreturn":
            sigreturn = int(values[0], 16)
        elif word == "table":
            table = int(values[0], 16)
        elif word == "build-id":
            build_id = bytes.fromhex(values[0])
    return VdsoImage(
        arch, elf, symbols, handlers, tuple(ranges), tuple(data_ranges), tuple(undo), plain, frozenset(returns),
        sigreturn, text, build_id, table, labels, tuple(tails), tuple(faults), frozenset(untimed),
        restores, frozenset(carried),
    )  # fmt: skip
