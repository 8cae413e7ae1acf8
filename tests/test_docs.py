"""The documents are true: examples are run, and what is collected from the source is up to date.

In a block marked `console` each line after `$ ` is given to bash in one session, in the repository's folder, and what
it prints must be what stands there. `...` stands for any text within a line, and a line of `...` for any lines.
"""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path

import pytest

from docs import collect
from tests.harness import ROOT, emulator

DOCUMENTS = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])


def examples(path: Path) -> list[tuple[str, str]]:
    """(name, text) of each block that can be run."""
    blocks = re.findall(r"^```console\n(.*?)^```$", path.read_text(), re.M | re.S)
    return [(f"{path.relative_to(ROOT)}:{i}", block) for i, block in enumerate(blocks)]


EXAMPLES = [example for path in DOCUMENTS for example in examples(path)]


def commands(block: str) -> list[tuple[str, str]]:
    """(command, what it prints) in turn."""
    assert block.startswith("$ ")
    return [
        (command, output)
        for part in block[2:].split("\n$ ")
        for command, _, output in [(part.rstrip("\n") + "\n").partition("\n")]
    ]


def pattern(output: str) -> str:
    """The regular expression of an output with `...` in it; each line ends with a newline."""
    return "".join(
        r"(?:.*\n)*?" if line == "..." else ".*".join(map(re.escape, line.split("..."))) + r"\n"
        for line in output.splitlines()
    )


@pytest.mark.parametrize(("name", "block"), EXAMPLES, ids=[name for name, _ in EXAMPLES])
def test_example(name: str, block: str) -> None:
    launch = shlex.join(emulator()[:-1])
    script = [f'uabi-emu() {{ {launch} "$@"; }}', "exec 2>&1"]
    for command, _ in commands(block):
        # between two commands a mark, and the status of the first for the second's $?
        script.append(f"{command}\n{{ status=$?; printf '\\001'; (exit $status); }}")
    done = subprocess.run(["bash", "-c", "\n".join(script)], cwd=ROOT, capture_output=True, text=True, timeout=120)
    seen = done.stdout.split("\001")[:-1]
    assert len(seen) == len(commands(block)), done
    for (command, wanted), output in zip(commands(block), seen, strict=True):
        assert re.fullmatch(pattern(wanted), output), f"$ {command}\n{output}"


def test_every_option_has_an_example_or_a_word() -> None:
    from emu.cli.run import run as command

    text = (ROOT / "README.md").read_text()
    for param in command.params:
        assert param.param_type_name == "argument" or f"`{param.opts[0]}" in text, param


def test_every_quirk_is_in_the_readme() -> None:
    text = (ROOT / "README.md").read_text()
    assert text == collect.readme(), "run `make docs`"
    for path, sentence in collect.quirks():
        assert sentence.endswith("."), f"{path}: a QUIRK comment is one complete sentence on one line: {sentence}"


def test_the_table_of_calls_is_up_to_date() -> None:
    assert collect.SYSCALLS.read_text() == collect.syscalls(), "run `make docs`"


def test_the_layouts_of_the_data_pages_are_up_to_date() -> None:
    assert collect.DATA_PAGES.read_text() == collect.data_pages(), "run `make docs`"
    assert collect.HACK3.read_text() == collect.hack3(), "run `make docs`"


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(path: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", path.read_text()):
        if "://" not in target:
            assert (path.parent / target).exists(), target
