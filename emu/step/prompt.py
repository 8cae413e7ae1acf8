"""Where commands come from, a terminal or a script, and the reader that carries them out at each stop."""

from __future__ import annotations

import os
import shutil
import signal
import sys
from typing import TYPE_CHECKING, Final, Protocol

from emu.step.commands import RESUMING, CommandError, Commands, completions, find
from emu.step.session import Happening, Quit, Resume, Session, Stop
from emu.step.view import View

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TextIO

    from emu.step.host import StepHost

PROMPT: Final = "(step) "
_WIDTH: Final = 80
"""Where nobody says how wide it is; a transcript is the same everywhere."""
_DEADLY_AT_PROMPT: Final = (signal.SIGTERM, signal.SIGHUP)


class Source(Protocol):
    """Where commands come from. `interactive`: a person types them."""

    interactive: bool

    def line(self) -> str | None:
        """The next one; None at the end."""


class Script:
    """Commands from a file or a pipe, each shown as if it had been typed."""

    interactive = False

    def __init__(self, file: TextIO) -> None:
        self._file = file

    def line(self) -> str | None:
        """See `Source`."""
        text = self._file.readline()
        if not text:
            return None
        text = text.strip()
        if text:
            print(PROMPT + text.encode("utf-8", "backslashreplace").decode(), flush=True)
        return text


class Keyboard:
    """Commands from a terminal, with history and completion by readline where Python has it."""

    interactive = True

    def __init__(self, complete: Callable[[str, str], list[str]]) -> None:
        try:
            import readline
        except ImportError:
            return
        found: list[str] = []

        def completer(word: str, state: int) -> str | None:
            if not state:
                found[:] = complete(readline.get_line_buffer(), word)
            return found[state] if state < len(found) else None

        readline.set_completer(completer)
        readline.set_completer_delims(" ,+-*/&|<>()[]")
        readline.parse_and_bind("tab: complete")
        readline.set_auto_history(True)

    def line(self) -> str | None:
        """See `Source`."""
        try:
            return input(PROMPT).strip()
        except EOFError:
            print()
            return None


class Prompt:
    """The reader of a session (`emu.step.session.Reader`): shows stops, carries out commands. `failed`: one did not
    succeed."""

    def __init__(self, host: StepHost, program: str) -> None:
        self.failed = False
        self._host = host
        self._program = program
        self._sources: list[Source] = []
        self._last = ""
        self._commands: Commands
        self._view: View
        self._colour = sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
        self._interruptible = False
        """A line is being read, which Ctrl-C ends."""
        self._interrupted = False

    def attach(self, session: Session, script: TextIO | None) -> None:
        """Read about `session`: the commands of `script` first; after it, or without one, standard input's."""
        self._view = View(session, _WIDTH, colour=self._colour)
        self._commands = Commands(session, self._view, self._say)
        if script is not None:
            self._sources.append(Script(script))
        if sys.stdin is not None and sys.stdin.isatty():
            self._sources.append(Keyboard(lambda line, word: list(completions(self._commands, line, word))))
        elif script is None and sys.stdin is not None:
            self._sources.append(Script(sys.stdin))

    @staticmethod
    def _say(lines: list[str]) -> None:
        for line in lines:
            print(line.encode("utf-8", "backslashreplace").decode())
        sys.stdout.flush()

    def tell(self, happening: Happening) -> None:
        """See `Reader`."""
        self._say(self._view.tell(happening))

    def ask(self, stop: Stop) -> Resume:
        """See `Reader`."""
        interactive = bool(self._sources) and self._sources[0].interactive
        if stop.why in ("interrupted", "asleep") and not interactive:
            raise KeyboardInterrupt
        self._host.at_prompt = True
        handlers = [(signal.SIGINT, signal.signal(signal.SIGINT, self._on_sigint))]
        handlers += [(number, signal.signal(number, signal.SIG_DFL)) for number in _DEADLY_AT_PROMPT]
        terminal = _Terminal() if interactive else None
        try:
            self._measure()
            self._introduce(stop)
            self._say(self._view.stop(stop))
            while True:
                self._host.at_prompt = True
                resume = self._commands_until_resume()
                self._host.at_prompt = False  # from here on Ctrl-C is for the guest, and seen by the host's watcher
                if not self._interrupted:
                    return resume
                self._say(["interrupted"])
        finally:
            if terminal is not None:
                terminal.give_back()
            self._host.at_prompt = False
            for number, handler in handlers:
                signal.signal(number, handler)

    def _on_sigint(self, _signum: int, _frame: object) -> None:
        """Ctrl-C at the prompt: not where it would leave things half done."""
        self._host.sigint_seen = True
        if self._interruptible:
            raise KeyboardInterrupt
        self._interrupted = True

    def _measure(self) -> None:
        if sys.stdout.isatty():
            self._view.width = max(shutil.get_terminal_size((_WIDTH, 24)).columns - 1, 39)

    def _introduce(self, stop: Stop) -> None:
        if stop.why == "start":
            arch = stop.task.kernel.arch.NAME
            text = f"{self._program}, {arch}: before its first instruction. 'help' lists the commands."
            self._say(self._view.wrapped(text, ""))

    def _commands_until_resume(self) -> Resume:
        self._interrupted = False
        while self._sources:
            source = self._sources[0]
            try:
                self._interruptible = True
                line = source.line()
                self._interruptible = False
            except KeyboardInterrupt:
                self._interruptible = False
                if not source.interactive:
                    raise
                print()  # what was typed so far is forgotten
                continue
            if line is None:
                self._sources.pop(0)
                continue
            resume = self._carry_out(line, source)
            if resume is not None:
                return resume
        raise Quit

    def _carry_out(self, line: str, source: Source) -> Resume | None:
        """One line; an empty one of a person's repeats what moved the program last."""
        if not line and source.interactive:
            line = self._last
        if not line or line.startswith("#"):
            return None
        try:
            resume = self._commands.execute(line)
            self._last = line if resume is not None and find(line.partition(" ")[0]).name in RESUMING else ""
            return resume
        except CommandError as error:
            self.failed = True
            self._say(self._view.wrapped(str(error), ""))
        return None


class _Terminal:
    """The terminal as a person needs it at the prompt, whatever the guest has made of it."""

    def __init__(self) -> None:
        import termios

        self._termios = termios
        self._fd = sys.stdin.fileno()
        self._guests = termios.tcgetattr(self._fd)
        mode = termios.tcgetattr(self._fd)
        mode[0] |= termios.ICRNL
        mode[1] |= termios.OPOST
        mode[3] |= termios.ICANON | termios.ECHO | termios.ISIG
        if mode != self._guests:
            termios.tcsetattr(self._fd, termios.TCSADRAIN, mode)

    def give_back(self) -> None:
        """The guest's settings again."""
        try:
            if self._termios.tcgetattr(self._fd) != self._guests:
                self._termios.tcsetattr(self._fd, self._termios.TCSADRAIN, self._guests)
        except self._termios.error:
            pass  # the terminal is gone
