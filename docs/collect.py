"""Renew what the documents collect from the source: the quirks in README.md, docs/syscalls.md, and the layouts in
docs/data-pages.md and docs/hack3.md. And what else is made of the calls' declarations: the C header of libkernel.

`make docs` runs it; a test compares.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("emu", "kernel_model", "loader", "vdso_image")
README = ROOT / "README.md"
SYSCALLS = ROOT / "docs" / "syscalls.md"
DATA_PAGES = ROOT / "docs" / "data-pages.md"
HACK3 = ROOT / "docs" / "hack3.md"
LIBKERNEL_HEADER = ROOT / "guests" / "libkernel" / "include" / "uabi" / "kernel.h"
_QUIRK = re.compile(r"^\s*# QUIRK: (.*)$")


def quirks() -> Iterator[tuple[Path, str]]:
    """(file, sentence) of each `# QUIRK:` comment, by file."""
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            for line in path.read_text().splitlines():
                found = _QUIRK.match(line)
                if found:
                    yield path.relative_to(ROOT), found[1].strip()


def replaced(text: str, name: str, contents: str) -> str:
    """`text` with `contents` between the marks called `name`."""
    begin, end = f"<!-- {name}: begin -->\n", f"<!-- {name}: end -->"
    before, _, rest = text.partition(begin)
    _, _, after = rest.partition(end)
    return f"{before}{begin}{contents}{end}{after}"


def readme() -> str:
    """README.md as it should be."""
    lines = "".join(f"- {sentence} ([{path.stem}]({path}))\n" for path, sentence in quirks())
    return replaced(README.read_text(), "quirks", f"\n{lines}\n")


def syscalls() -> str:
    """docs/syscalls.md as it should be."""
    from emu.cli.syscalls import markdown

    return (
        "# System calls\n\n"
        "Collected from `syscalls.tbl` and the declarations by `make docs`; `uabi-emu syscalls` prints the same.\n\n"
        + markdown()
    )


def data_pages() -> str:
    """docs/data-pages.md as it should be: with the structs' layouts."""
    from vdso_image.data_pages import LAYOUTS

    heads = [f"`struct {layout.name}` of `{layout.mapping}`" for layout in LAYOUTS]
    rows = ["| offset | " + " | ".join(heads) + " | |", "|---|" + "---|" * (len(heads) + 1)]
    for fields in zip(*(layout.fields for layout in LAYOUTS), strict=True):
        places = {layout.offsets()[field.name] for layout, field in zip(LAYOUTS, fields, strict=True)}
        names = [f"`{'s' if field.code == 'i' else 'u'}32 {field.name}`" for field in fields]
        rows.append(f"| {places.pop()} | {' | '.join(names)} | {fields[0].text} |")
    return replaced(DATA_PAGES.read_text(), "layout", "\n" + "\n".join(rows) + "\n\n")


def hack3() -> str:
    """docs/hack3.md as it should be: with the layouts of the pages of variables."""
    from struct import calcsize

    from vdso_image.data_pages import VARIABLES

    rows = ["| page | offset | bytes | field | |", "|---|---|---|---|---|"]
    for layout in VARIABLES:
        places = layout.offsets()
        rows += [
            f"| `{layout.mapping}` | {places[field.name]} | {calcsize(field.code)} | `{field.name}` | {field.text} |"
            for field in layout.fields
        ]
    return replaced(HACK3.read_text(), "layout", "\n" + "\n".join(rows) + "\n\n")


def main() -> None:
    """Write them."""
    README.write_text(readme())
    SYSCALLS.write_text(syscalls())
    DATA_PAGES.write_text(data_pages())
    HACK3.write_text(hack3())
    from vdso_image.libkernel import header

    LIBKERNEL_HEADER.write_text(header())


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    main()
