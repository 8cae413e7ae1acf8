"""Many programs, one after the other, each under several ABIs: which of them do what they do under the first.

A corpus is a text file with a command on each line. What became of the project's own corpus comes with the package.
"""

from __future__ import annotations

import json
import os
import shlex
from typing import TYPE_CHECKING, Final, NamedTuple

from emu.compare.costs import CallCost, total

if TYPE_CHECKING:
    from collections.abc import Sequence

    from emu.compare.differences import Difference
    from emu.compare.run import Run

KEPT: Final = os.path.join(os.path.dirname(__file__), "corpus.json")
"""What `python -m bench.corpus` has found."""
CALLS: Final = frozenset(
    (
        "call", "arguments", "result", "buffers", "registers", "flags", "floating-point", "tls", "stack", "missing",
        "extra",
    )
)  # fmt: skip
"""What may differ in a program that survives (`Difference.what`)."""
_MAX_BYTES: Final = 1 << 20


class BadCorpus(Exception):
    """The text says what is wrong: `where: what: what to do`, on one line."""


class Command(NamedTuple):
    """One line of a corpus."""

    words: tuple[str, ...]
    stdin: str
    """The file that it reads; /dev/null where the line names none."""
    text: str
    """As it stands there, without comments."""


def read(path: str) -> list[Command]:
    """The commands in a file; BadCorpus."""
    try:
        with open(path, "rb") as file:
            data = file.read(_MAX_BYTES + 1)
    except OSError as error:
        raise BadCorpus(f"{path}: {error.strerror}: name a file of commands") from None
    if len(data) > _MAX_BYTES:
        raise BadCorpus(f"{path}: it is too long: split it into files of at most 1 MiB")
    return parse(data.decode("utf-8", "surrogateescape"), path)


def parse(text: str, where: str) -> list[Command]:
    """The commands in `text`, which was read from `where`: words as in a shell, `< FILE` at the end; BadCorpus."""
    found = []
    for number, line in enumerate(text.splitlines(), 1):
        try:
            words = shlex.split(line, comments=True)
        except ValueError as error:
            raise BadCorpus(f"{where}: line {number}: {str(error).lower()}: write words as in a shell") from None
        if not words:
            continue
        text, stdin = shlex.join(words), os.devnull
        if "<" in words:
            at = words.index("<")
            if at != len(words) - 2 or not at:
                raise BadCorpus(f"{where}: line {number}: '<' stands in the wrong place: end the line with < FILE")
            stdin = words[-1]
            words = words[:-2]
            text = f"{shlex.join(words)} < {shlex.quote(stdin)}"
        if any("\0" in word for word in (*words, stdin)):
            raise BadCorpus(f"{where}: line {number}: a zero byte stands there: leave it away")
        found.append(Command(tuple(words), stdin, text))
    if not found:
        raise BadCorpus(f"{where}: there are no commands: write one on each line")
    return found


class Outcome(NamedTuple):
    """What became of one command: of each run what it cost, and in what it differs from the first."""

    command: Command
    arch: str
    verdicts: dict[str, str]
    """By ABI: same; calls (it survives, though not all its calls are the same); or what is not: stdout, stderr, status,
    file, time."""
    costs: dict[str, tuple[CallCost, CallCost]]
    """By ABI: all calls together, and with what libraries did at their start."""
    serving: frozenset[str]
    """ABIs whose vDSO does something without the kernel."""

    def survives(self, name: str) -> bool:
        """Does it print, return and leave what it does under the first ABI?"""
        return self.verdicts[name] in ("same", "calls")


def outcome(command: Command, runs: Sequence[Run], differences: Sequence[Difference]) -> Outcome:
    """That of a command whose runs are over."""
    verdicts = {}
    for run in runs:
        whats = [difference.what for difference in differences if difference.abi == run.name]
        ends = [what for what in whats if what not in CALLS]
        verdicts[run.name] = ends[0] if ends else "calls" if whats else "same"
    costs = {run.name: (run.costs.of_calls(), total(run.costs.values())) for run in runs}
    return Outcome(command, runs[0].arch, verdicts, costs, frozenset(run.name for run in runs if run.serves))


class Survival(NamedTuple):
    """What became of the project's corpus, when it was last run."""

    date: str
    arches: dict[str, dict[str, int]]
    """By architecture: how many programs survive, by ABI. There are as many programs as survive under bare."""

    def text(self, arch: str, name: str) -> str:
        """How many of how many survive under the ABI `name`; a dash when that is not known."""
        found = self.arches.get(arch, {})
        return f"{found[name]}/{found['bare']}" if name in found else "-"

    def words(self, arch: str) -> str:
        """Where the numbers are from."""
        return (
            f"corpus: of {self.arches.get(arch, {}).get('bare', 0)} programs, those that print, return and leave the "
            f"same as under bare ({self.date})"
        )


def kept() -> Survival | None:
    """What comes with the package; None where that was never made."""
    try:
        with open(KEPT, "rb") as file:
            document = json.load(file)
    except FileNotFoundError:
        return None
    return Survival(document["date"], document["survive"])
