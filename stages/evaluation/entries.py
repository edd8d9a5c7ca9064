"""What is typed into a chat: lines, and texts of several lines between triple quotes."""

from __future__ import annotations

import contextlib
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self, TextIO

from pipeline.hardware import cache_folder

QUOTES = '"""'
COMMAND = re.compile(r"(/[a-z?]+)(?:\s|$)")
KEPT = 1000  # lines that can be called back


@dataclass(frozen=True)
class Typed:
    """A turn; or a command such as `/set`, and what follows it. `block`: it was between triple quotes."""

    text: str
    command: str = ""
    block: bool = False


class Entries:
    """Reads entries from a terminal, with line editing where Python has readline, or from a pipe.

    A context manager: it keeps what was typed for the next chat, in the file `kept`, if it can.
    """

    def __init__(self, stdin: TextIO, stdout: TextIO) -> None:
        self.interactive = stdin.isatty()
        self._stdin, self._stdout = stdin, stdout
        # input() edits lines only where both are the terminal
        self.kept: Path | None = None
        self._edits = self.interactive and stdout.isatty() and stdin is sys.stdin and stdout is sys.stdout

    def __enter__(self) -> Self:
        if self._edits:
            with contextlib.suppress(ImportError, OSError, RuntimeError):  # of readline, of a file, of a home
                import readline

                readline.set_history_length(KEPT)
                self.kept = _history()
                readline.read_history_file(self.kept)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.kept:
            with contextlib.suppress(OSError):  # a read-only home is no reason to fail
                import readline

                self.kept.parent.mkdir(parents=True, exist_ok=True)
                self.kept.touch(mode=0o600)
                readline.write_history_file(self.kept)

    def read(self) -> Typed | None:
        """The next entry; None at the end of the input. Raises KeyboardInterrupt at Ctrl-C."""
        line = self._line(">>> ")
        if line is None:
            return None
        found = COMMAND.match(line)
        command, rest = (found[1], line[found.end(1) :].lstrip()) if found else ("", line)
        if not rest.lstrip().startswith(QUOTES):
            return Typed(rest, command)
        lines = [rest.lstrip().removeprefix(QUOTES)]
        while not lines[-1].rstrip().endswith(QUOTES):
            following = self._line("... ")
            if following is None:
                return Typed("\n".join(lines), command, block=True)
            lines.append(following)
        lines[-1] = lines[-1].rstrip().removesuffix(QUOTES)
        return Typed("\n".join(lines).strip("\n"), command, block=True)

    def _line(self, prompt: str) -> str | None:
        if self._edits:
            try:
                return input(prompt)
            except EOFError:
                print()
                return None
        if self.interactive:
            print(prompt, end="", file=sys.stderr, flush=True)
        line = self._stdin.readline()
        return line.rstrip("\r\n") if line else None


def _history() -> Path:
    return cache_folder() / "chat-history"
