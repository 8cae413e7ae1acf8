"""Images whose sources were changed, for tests of what a change does."""

from __future__ import annotations

import re
import shutil
from typing import TYPE_CHECKING

from vdso_image.build import Built, build
from vdso_image.image import VdsoImage, parse
from vdso_image.source import SOURCES

if TYPE_CHECKING:
    from pathlib import Path


def built_image(arch: str, built: Built) -> VdsoImage:
    """What a kernel would load of a build."""
    return parse(arch, built.elf, built.description)


def edited(arch: str, scratch: Path, file: str, pattern: str, replacement: str) -> Built:
    """A build with every match of `pattern` in a source replaced; there must be one."""
    sources = scratch / "src"
    shutil.copytree(SOURCES, sources, dirs_exist_ok=True)
    path = sources / arch / file
    text, count = re.subn(pattern, replacement, path.read_text())
    assert count, f"nothing in {file} matches {pattern}"
    path.write_text(text)
    return build(arch, sources)
