"""What people see, on stderr: messages, tables, and progress as a bar on a terminal or as a line now and then."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress, TaskID

    from pipeline.stage import ProgressBar

LINE_SECONDS = 5.0


def _console() -> Console:
    from rich.console import Console

    width = None if sys.stderr.isatty() else 160
    return Console(stderr=True, highlight=False, soft_wrap=True, width=width)


def say(message: str, style: str | None = None) -> None:
    """Print a message on stderr, exactly as it is."""
    _console().print(message, style=style, markup=False, emoji=False)


def warn(message: str) -> None:
    say(f"warning: {message}", "yellow")


def fail(message: str, hint: str | None) -> None:
    """Print an error and the next command."""
    for line in message.splitlines() or [""]:
        say(f"error: {line}", "bold red")
    if hint:
        say(f"hint: {hint}", "cyan")


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print rows under headings on stderr; columns that are all numbers are aligned to the right."""
    from rich.table import Table
    from rich.text import Text

    cells = [[str(cell) for cell in row] for row in rows]
    drawn = Table(box=None, pad_edge=False, header_style="bold", show_edge=False, padding=(0, 2, 0, 0))
    for index, column in enumerate(columns):
        numeric = bool(cells) and all(row[index][:1].isdigit() or row[index] in ("", "-") for row in cells)
        drawn.add_column(column, justify="right" if numeric else "left", overflow="fold")
    for row in cells:
        drawn.add_row(*(Text(cell) for cell in row))
    _console().print(drawn, soft_wrap=False)


def count(number: int) -> str:
    """How many, such as 4,192 or 25.1 M."""
    return f"{number:,}" if number < 100_000 else f"{number / 1e6:.1f} M"


def duration(seconds: float) -> str:
    """Seconds as people say them: 0.4 s, 12 s, 3 min 05 s, 2 h 10 min."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def size(count: float) -> str:
    """Bytes as people say them, in powers of 1000."""
    for unit in ("B", "kB", "MB", "GB"):
        if round(count, 1) < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


@contextmanager
def progress(name: str, total: float, unit: str) -> Iterator[ProgressBar]:
    """A progress bar with rate and remaining time; `total` in `unit`s."""
    if sys.stderr.isatty():
        with _rich_progress() as bars:
            yield _Bar(bars, bars.add_task(name, total=total or None, note="", unit=unit))
    else:
        lines = _Lines(name, total, unit)
        yield lines
        lines.finish()


def _rich_progress() -> Progress:
    from rich import progress as rich_progress

    class Rate(rich_progress.ProgressColumn):
        def render(self, task: rich_progress.Task) -> str:
            return f"{task.finished_speed or task.speed or 0:,.1f} {task.fields['unit']}/s"

    return rich_progress.Progress(
        rich_progress.TextColumn("  {task.description}"),
        rich_progress.BarColumn(bar_width=24),
        rich_progress.MofNCompleteColumn(),
        Rate(),
        rich_progress.TimeRemainingColumn(compact=True),
        rich_progress.TextColumn("{task.fields[note]}", markup=False),
        console=_console(),
        transient=True,
    )


class _Bar:
    def __init__(self, bars: Progress, task: TaskID) -> None:
        self.bars, self.task = bars, task

    def advance(self, amount: float = 1, note: str | None = None) -> None:
        if note is None:
            self.bars.update(self.task, advance=amount)
        else:
            self.bars.update(self.task, advance=amount, note=note)


class _Lines:
    """Progress where no terminal is: one line every few seconds."""

    def __init__(self, name: str, total: float, unit: str) -> None:
        self.name, self.total, self.unit = name, total, unit
        self.done = self.told = 0.0
        self.note = ""
        self.started = self.printed = time.monotonic()
        self.resumed = 0.0

    def advance(self, amount: float = 1, note: str | None = None) -> None:
        if not self.done:
            self.resumed = amount if amount > 1 else 0.0
        self.done += amount
        self.note = self.note if note is None else note
        if time.monotonic() - self.printed >= LINE_SECONDS:
            self._print()

    def finish(self) -> None:
        if self.printed > self.started and self.done != self.told:
            self._print()

    def _print(self) -> None:
        now = time.monotonic()
        self.printed, self.told = now, self.done
        rate = (self.done - self.resumed) / max(now - self.started, 1e-9)
        left = f", {duration((self.total - self.done) / rate)} left" if rate and self.total > self.done else ""
        note = f"  {self.note}" if self.note else ""
        say(f"  {self.name} {self.done:,.0f}/{self.total:,.0f} {self.unit}, {rate:,.1f} {self.unit}/s{left}{note}")
