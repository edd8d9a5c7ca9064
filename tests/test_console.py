"""What people see: messages as they are, sizes and times as people say them, progress with and without a terminal."""

from __future__ import annotations

import io
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline import console


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0, "0.0 s"), (0.44, "0.4 s"), (9.94, "9.9 s"), (10, "10 s"), (59.4, "59 s"), (59.6, "1 min 00 s"),
        (185, "3 min 05 s"), (3599.6, "1 h 00 min"), (7800, "2 h 10 min"), (360_000, "100 h 00 min"),
    ],
)  # fmt: skip
def test_durations(seconds: float, said: str) -> None:
    assert console.duration(seconds) == said


@pytest.mark.parametrize(
    ("count", "said"),
    [
        (0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (1536, "1.5 kB"), (999_940, "999.9 kB"), (999_960, "1.0 MB"),
        (5 * 10**9, "5.0 GB"), (12_345 * 10**9, "12.3 TB"), (5 * 10**15, "5000.0 TB"),
    ],
)  # fmt: skip
def test_sizes(count: int, said: str) -> None:
    assert console.size(count) == said


@given(count=st.integers(0, 10**15))
def test_a_size_is_right_to_its_last_figure(count: int) -> None:
    number, unit = console.size(count).split()
    step = {"B": 1, "kB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}[unit]
    assert abs(float(number) * step - count) <= 0.0501 * step
    assert float(number) < 1000 or unit == "TB"


def test_messages_come_out_as_they_are_on_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    told = "[bold]not bold[/] :smile: [link=x] " + "long " * 60 + "é→"
    console.say(told)
    console.warn("careful [red]")
    console.fail("one\ntwo", "do [this]")
    console.fail("", None)
    captured = capsys.readouterr()
    assert captured.err == f"{told}\nwarning: careful [red]\nerror: one\nerror: two\nhint: do [this]\nerror: \n"
    assert captured.out == ""


def test_a_table_aligns_numbers_right_and_keeps_every_cell_whole(capsys: pytest.CaptureFixture[str]) -> None:
    console.table(("name", "n", "why"), [("[a]", "5", "x" * 30), ("bb", "1200", ""), ("c", "-", "z")])
    lines = capsys.readouterr().err.splitlines()
    assert [line.split() for line in lines[1:]] == [["[a]", "5", "x" * 30], ["bb", "1200"], ["c", "-", "z"]]
    end = lines[0].index("n", 4) + 1
    assert [line[:end].rstrip()[-1] for line in lines] == ["n", "5", "0", "-"]
    assert {len(line[:end].rstrip()) for line in lines} == {end}
    assert lines[0].index("why") == lines[1].index("xxx")


def test_a_cell_wider_than_the_screen_is_folded_and_not_cut(capsys: pytest.CaptureFixture[str]) -> None:
    console.table(("a", "b"), [("x" * 300, "y" * 20)])
    told = capsys.readouterr().err
    assert (told.count("x"), told.count("y")) == (300, 20)
    assert all(len(line) <= 160 for line in told.splitlines())


def test_an_empty_table_has_its_headings(capsys: pytest.CaptureFixture[str]) -> None:
    console.table(("name", "why"), [])
    assert capsys.readouterr().err.split() == ["name", "why"]


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [100.0]
    monkeypatch.setattr("pipeline.console.time.monotonic", lambda: now[0])
    return now


def test_without_a_terminal_progress_is_a_line_now_and_then(
    clock: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    with console.progress("pretrain", 100, "steps") as bar:
        for _ in range(20):
            bar.advance(note="loss 3.2")
            clock[0] += 0.5
        clock[0] += 2
    assert capsys.readouterr().err.splitlines() == [
        "  pretrain 11/100 steps, 2.2 steps/s, 40 s left  loss 3.2",
        "  pretrain 20/100 steps, 1.7 steps/s, 48 s left  loss 3.2",
    ]


def test_a_line_that_was_told_last_is_not_told_again(clock: list[float], capsys: pytest.CaptureFixture[str]) -> None:
    with console.progress("pretrain", 2, "steps") as bar:
        bar.advance(note="loss 3.2")
        clock[0] += 8
        bar.advance(note="loss 3.1")
        clock[0] += 4
    assert capsys.readouterr().err.splitlines() == ["  pretrain 2/2 steps, 0.2 steps/s  loss 3.1"]


def test_the_rate_does_not_count_what_was_there_before_a_resume(
    clock: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    with console.progress("pretrain", 100, "steps") as bar:
        bar.advance(40)
        clock[0] += 5
        bar.advance(10)
    assert capsys.readouterr().err.splitlines()[0] == "  pretrain 50/100 steps, 2.0 steps/s, 25 s left"


def test_quick_work_shows_no_progress(clock: list[float], capsys: pytest.CaptureFixture[str]) -> None:
    with console.progress("clean", 3, "files") as bar:
        for _ in range(3):
            bar.advance()
    assert capsys.readouterr().err == ""


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("total", [3, 0])
def test_on_a_terminal_progress_is_a_bar(monkeypatch: pytest.MonkeyPatch, total: int) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    with console.progress("clean", total, "files") as bar:
        for _ in range(total):
            bar.advance(note="[a].py")
        bar.advance(0)
        bar.bars.refresh()  # type: ignore[attr-defined]
    shown = terminal.getvalue()
    assert "clean" in shown and "files/s" in shown
    assert not total or ("3/3" in shown and "[a].py" in shown)
