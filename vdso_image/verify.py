"""Whether a built image is what the sources say and what other people's tools accept."""

from __future__ import annotations

import shutil
import subprocess
from typing import TYPE_CHECKING, Final, NamedTuple

from vdso_image.build import BUILT, Built, build
from vdso_image.cfi import parse_row
from vdso_image.image import file_name, load
from vdso_image.listing import functions, unwind_rows

if TYPE_CHECKING:
    from pathlib import Path

_PREFIXES: Final = {"aarch64": "aarch64-linux-gnu-", "x86_64": "x86_64-linux-gnu-"}


class Finding(NamedTuple):
    """One thing that was looked at. `good` is None where it could not be (`detail` says why)."""

    what: str
    good: bool | None
    detail: str = ""


def verify(arch: str, directory: Path = BUILT, kind: str = "plain") -> list[Finding]:
    """Everything there is to check of the files in `directory`; what a tool is missing for is said."""
    fresh = build(arch, kind=kind)
    name = file_name(arch, kind)
    file = directory / f"{name}.so"
    findings = [Finding("each instruction, read back by Capstone, is the one in the source", True)]
    same = file.read_bytes() == fresh.elf and (directory / f"{name}.txt").read_text() == fresh.description
    findings.append(Finding("the built files equal a fresh build", same, "" if same else "run 'uabi-emu vdso build'"))
    findings.append(_symbols(arch, kind))
    findings.append(_unwinding(arch, fresh))
    findings.append(_tool(["readelf"], ["-a", "-W", str(file)]))
    findings.append(_tool([_PREFIXES[arch] + "objdump", "objdump"], ["-d", str(file)]))
    return findings


def _symbols(arch: str, kind: str) -> Finding:
    """The symbols as pyelftools finds them are the description's."""
    image = load(arch, kind)
    found = {name: function.start for function in functions(image.elf) for name in function.names}
    return Finding("the description names the symbols that are there", found == dict(image.symbols))


def _unwinding(arch: str, fresh: Built) -> Finding:
    """The rules as pyelftools decodes them are the sources'."""
    wanted = {at: row for frame in fresh.frames for at, row in frame.rows}
    what = "the unwind rules, decoded by pyelftools, are those of the sources"
    try:
        got = {at: parse_row(arch, text) for at, text in unwind_rows(arch, fresh.elf).items() if text}
    except ValueError as error:
        return Finding(what, False, str(error))
    return Finding(what, got == wanted)


def _tool(names: list[str], arguments: list[str]) -> Finding:
    """The first of these tools that is there and knows the architecture takes the file without a warning."""
    for name in names:
        if shutil.which(name):
            run = subprocess.run([name, *arguments], capture_output=True, text=True, check=False)
            if "can't disassemble" in run.stderr:
                continue
            lines = [*run.stderr.splitlines(), *(line for line in run.stdout.splitlines() if "arning:" in line)]
            good = run.returncode == 0 and not lines
            return Finding(f"{name} {arguments[0]} reads it without a warning", good, lines[0] if lines else "")
    return Finding(f"{names[-1]} {arguments[0]} reads it without a warning", None, "not installed")
