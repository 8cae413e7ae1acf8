"""What ways into the kernel cost on a real machine: calibrations, as `python -m bench.native_calibrate` writes them.

Some come with the package, by name. All are read as if somebody else had written them.
"""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable

FORMAT: Final = "uabi-emu calibration"
FORMAT_VERSION: Final = 1
SHIPPED: Final = "shipped"
"""The name that stands for the first of those that come with the package."""
_FIRST: Final = "elsewhere"
_FOLDER: Final = os.path.join(os.path.dirname(__file__), "calibrations")
_MAX_BYTES: Final = 1 << 16
_MAX_NS: Final = 1e9
ENTRIES: Final = 3
"""Of a call that is trapped and emulated: the call itself, the one that its handler makes, and rt_sigreturn."""
TRAPPING: Final = ("seccomp", "dispatch")
"""The ways that send a call to a handler of SIGSYS, by the name of their ABI."""


class BadCalibration(Exception):
    """The text says what is wrong: `where: what: what to do`, on one line."""


class Way(NamedTuple):
    """One of `TRAPPING`, and a bare call on the same machine at the same time. Nanoseconds a call."""

    source: str
    """The name of the calibration that measured it."""
    bare_ns: float
    allowed_ns: float | None
    """A call that is looked at and passes; None where only trapped ones were measured."""
    trapped_ns: float
    """One that is trapped, and made by the signal's handler."""

    @property
    def entry_ns(self) -> float:
        """One entry into the kernel that this way looks at."""
        return self.bare_ns if self.allowed_ns is None else self.allowed_ns

    @property
    def frame_ns(self) -> float:
        """What is left of a trapped call without its entries: the signal frame, put there and taken back."""
        return max(0.0, self.trapped_ns - ENTRIES * self.entry_ns)


class Calibration(NamedTuple):
    """One machine's. A way that could not be measured there is another calibration's, and says so (`Way.source`)."""

    name: str
    host: str
    """The machine, in words."""
    bare_ns: float
    ways: dict[str, Way]
    """By each of `TRAPPING`."""

    def borrowed(self, abis: Iterable[str]) -> list[tuple[str, str]]:
        """Those of `abis` that another calibration has measured, and which."""
        return [(abi, way.source) for abi, way in self.ways.items() if abi in abis and way.source != self.name]

    def entry_ns(self, abi: str) -> float:
        """One entry into the kernel under `abi` (bare, bounce, seccomp, dispatch)."""
        way = self.ways.get(abi)
        return self.bare_ns if way is None else way.entry_ns * self._scale(way)

    def frame_ns(self, abi: str) -> float:
        """One signal frame that a trapped call makes under `abi`; 0 where none is."""
        way = self.ways.get(abi)
        return 0.0 if way is None else way.frame_ns * self._scale(way)

    def _scale(self, way: Way) -> float:
        """Another machine's figures count by how many bare calls they take."""
        return self.bare_ns / way.bare_ns


def shipped_names() -> list[str]:
    """The calibrations that come with the package, the one first that `shipped` stands for."""
    names = sorted(name.removesuffix(".json") for name in os.listdir(_FOLDER) if name.endswith(".json"))
    return sorted(names, key=lambda name: name != _FIRST)


def load(wanted: str) -> Calibration:
    """The calibration that `wanted` names: shipped, one that comes with the package, or a file; BadCalibration."""
    names = shipped_names()
    name = names[0] if wanted == SHIPPED else wanted
    if name in names:
        return parse(_read(os.path.join(_FOLDER, f"{name}.json")), name)
    try:
        data = _read(wanted)
    except FileNotFoundError:
        known = ", ".join((SHIPPED, *names))
        raise BadCalibration(f"{wanted}: no such file: write one of {known}, or a file that is there") from None
    except OSError as error:
        raise BadCalibration(f"{wanted}: {error.strerror}: name a file that can be read") from None
    return parse(data, wanted)


def _read(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read(_MAX_BYTES + 1)


def parse(data: bytes, where: str) -> Calibration:
    """The calibration that is in `data`, which was read from `where`; BadCalibration."""
    try:
        document = json.loads(data) if len(data) <= _MAX_BYTES else None
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise BadCalibration(f"{where}: this is no calibration: make one with python -m bench.native_calibrate")
    if document.get("version") != FORMAT_VERSION:
        raise BadCalibration(
            f"{where}: its version is {json.dumps(document.get('version'))[:20]}, not {FORMAT_VERSION}: make it again "
            "with python -m bench.native_calibrate"
        )
    reader = _Reader(where)
    ways = {name: _way(reader, document.get(name), name) for name in TRAPPING}
    return Calibration(
        reader.text(document, "name", ""), reader.text(document, "host", ""), reader.time_ns(document, "bare_ns", ""),
        ways,
    )  # fmt: skip


def _way(reader: _Reader, found: Any, name: str) -> Way:
    if not isinstance(found, dict):
        raise reader.bad(name, "is not there")
    allowed_ns = None if found.get("allowed_ns") is None else reader.time_ns(found, "allowed_ns", name)
    return Way(
        reader.text(found, "source", name), reader.time_ns(found, "bare_ns", name), allowed_ns,
        reader.time_ns(found, "trapped_ns", name),
    )  # fmt: skip


class _Reader:
    """Takes fields out of an object, each of its kind."""

    def __init__(self, where: str) -> None:
        self._where = where

    def bad(self, field: str, what: str) -> BadCalibration:
        """What is wrong with a field."""
        return BadCalibration(f"{self._where}: {field} {what}: make it again with python -m bench.native_calibrate")

    def text(self, found: dict[str, Any], field: str, inside: str) -> str:
        """A text of a reasonable length on one line."""
        value = found.get(field)
        if not isinstance(value, str) or not 0 < len(value) <= 200 or not value.isprintable():
            raise self.bad(f"{inside}.{field}".lstrip("."), "is no line of text")
        return value

    def time_ns(self, found: dict[str, Any], field: str, inside: str) -> float:
        """A time above 0, which NaN is not."""
        value = found.get(field)
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= _MAX_NS:
            raise self.bad(f"{inside}.{field}".lstrip("."), "is no time in nanoseconds")
        return float(value)
