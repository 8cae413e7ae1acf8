"""A person at a terminal: Ctrl-C, Ctrl-D, Enter, history, completion, narrow windows, colours."""

from __future__ import annotations

import pytest

from guests.build import ARCHES
from tests.step.driver import QUIET, Terminal, getppid, walk

each_arch = pytest.mark.parametrize("arch", ARCHES)
CTRL_C, CTRL_D, UP, TAB = "\003", "\004", "\033[A", "\t"


def interrupted(terminal: Terminal, where: str) -> str:
    """Press Ctrl-C until the guest is found there; what is said. It may still be on its way."""
    while True:
        terminal.type(CTRL_C)
        seen = terminal.prompt()
        if where in seen:
            return seen
        terminal.type("c\n")
        terminal.expect("c\n")


@each_arch
def test_ctrl_c_stops_a_computing_guest_and_it_can_go_on(arch: str) -> None:
    with Terminal(walk(arch), "spin") as terminal:
        terminal.prompt()
        terminal.command("break spin")
        terminal.command("continue")
        terminal.type("c\n")
        terminal.expect("spinning\n")
        assert "interrupted\n" in interrupted(terminal, "spin")
        assert "#1" in terminal.command("bt")
        assert "spin" in terminal.command("s")
        terminal.type("q\n")
        assert terminal.status() == 0


@each_arch
def test_ctrl_c_while_every_task_sleeps(arch: str) -> None:
    with Terminal(walk(arch), "sleep") as terminal:
        terminal.prompt()
        terminal.type("c\n")
        terminal.expect("sleeping\n")
        seen = interrupted(terminal, "every task waits")
        assert "waits in " in seen
        terminal.type(CTRL_D)
        assert terminal.status() == 0


def test_ctrl_c_at_the_prompt_forgets_the_line() -> None:
    with Terminal(getppid("x86_64")) as terminal:
        terminal.prompt()
        terminal.type("contin" + CTRL_C)
        terminal.prompt()
        assert "main+0x8" in terminal.command("p main + 8")
        terminal.type(CTRL_D)
        assert terminal.status() == 0


def test_enter_repeats_what_moved_the_program() -> None:
    with Terminal(getppid("aarch64")) as terminal:
        terminal.prompt()
        assert "_start+0x4" in terminal.command("step")
        assert "_start+0x8" in terminal.command("")
        terminal.command("registers x30")
        assert "main" not in terminal.command("")
        terminal.type("q\n")
        assert terminal.status() == 0


def test_history_and_completion() -> None:
    pytest.importorskip("readline")
    with Terminal(getppid("aarch64")) as terminal:
        terminal.prompt()
        terminal.command("print 40 + 2")
        terminal.type(UP + "\n")
        assert "0x2a" in terminal.prompt()
        terminal.type("backt" + TAB + "\n")
        assert "_start" in terminal.prompt()
        terminal.type("q\n")
        assert terminal.status() == 0


@each_arch
@pytest.mark.parametrize("columns", [60, 100])
def test_lines_fit_the_window(arch: str, columns: int) -> None:
    with Terminal(*QUIET, getppid(arch), columns=columns) as terminal:
        seen = terminal.prompt()
        for command in "bounce,info,stack,registers,bt,maps,memory sp,disassemble,step,help".split(","):
            seen += terminal.command(command)
        for line in seen.splitlines():
            assert len(line) <= columns, line
        terminal.type("q\n")
        assert terminal.status() == 0


@pytest.mark.parametrize(("env", "coloured"), [({"NO_COLOR": "1"}, False), ({"NO_COLOR": ""}, True)])
def test_colour_is_for_those_who_want_it(env: dict[str, str], coloured: bool) -> None:
    with Terminal(getppid("aarch64"), env=env) as terminal:
        assert ("\033[1m" in terminal.prompt()) == coloured
        terminal.type("q\n")
        assert terminal.status() == 0


@each_arch
def test_what_the_guest_closes_stays_open_for_us(arch: str) -> None:
    with Terminal(walk(arch), "close") as terminal:
        terminal.prompt()
        assert "exited with status 0" in terminal.command("c")
        terminal.type("q\n")
        assert terminal.status() == 0
