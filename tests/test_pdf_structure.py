"""Tables, footnotes, line numbers, columns, wrapped lines: what pages hold beside plain text and code."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pymupdf
import pytest

from stages.corpus.pdf import UnreadablePdf, read_pdf
from stages.corpus.pdf.language import language
from stages.corpus.pdf.words import join_lines
from stages.corpus.pdf.wrapped import unwrapped

SENTENCE = "The board has pins that can be set high or low by a program and read back by it again."
CODE = ["from machine import Pin", "", "led = Pin(25, Pin.OUT)", "for turn in range(10):", "    led.toggle()"]


class Pages:
    """Draws lines of text; `y` is the next baseline."""

    def __init__(self) -> None:
        self.document = pymupdf.open()
        self.turn()

    def turn(self) -> None:
        self.page = self.document.new_page(width=595, height=842)
        self.y = 90.0

    def put(self, text: str, x: float = 72, size: float = 10, font: str = "helv") -> None:
        self.page.insert_text((x, self.y), text, fontsize=size, fontname=font)

    def lines(
        self, texts: Sequence[str], x: float = 72, size: float = 10, font: str = "helv", pitch: float = 13
    ) -> None:
        for text in texts:
            self.put(text, x, size, font)
            self.y += pitch

    def prose(self, count: int = 4) -> None:
        self.lines([SENTENCE] * count)
        self.y += 10

    def code(self, lines: Sequence[str], x: float = 90) -> None:
        self.lines(lines, x, 8, "cour", 9.6)
        self.y += 10

    def read(self, folder: Path) -> str:
        path = folder / "pages.pdf"
        self.document.save(path)
        return read_pdf(path).markdown


def block(lines: Sequence[str], name: str = "python") -> str:
    return f"```{name}\n" + "\n".join(lines) + "\n```"


def test_a_table_of_aligned_cells_is_a_markdown_table(tmp_path: Path) -> None:
    pages = Pages()
    pages.prose()
    for row in (("Name", "Pin", "Meaning"), ("led", "25", "a|b"), ("relay", "3", "on board")):
        for x, cell in zip((72, 160, 230), row, strict=True):
            pages.put(cell, x, font="hebo" if row[0] == "Name" else "helv")
        pages.y += 18
    pages.put("clock", 72, font="cour")  # a cell that is set like code
    pages.put("7", 160, font="cour")
    pages.put("in two lines", 230)
    pages.y += 12
    pages.put("of text", 230)
    pages.y += 30
    pages.prose()
    pages.code(CODE)
    text = pages.read(tmp_path)
    rows = ["| Name | Pin | Meaning |", "| --- | --- | --- |", "| led | 25 | a\\|b |", "| relay | 3 | on board |"]
    assert "\n".join([*rows, "| `clock` | `7` | in two lines of text |"]) in text


def test_a_footnote_stands_after_the_paragraph_that_goes_on(tmp_path: Path) -> None:
    pages = Pages()
    pages.prose(40)
    pages.y -= 10
    pages.lines(["This sentence goes on without"])
    pages.y += 20
    pages.put("1", 72, 5)
    pages.put("A remark.", 76, 7)
    pages.turn()
    pages.lines(["a break on the next page."])
    text = pages.read(tmp_path)
    assert "This sentence goes on without a break on the next page.\n\n[^1]: A remark." in text


@pytest.mark.parametrize("every", [1, 5])
def test_line_numbers_that_look_like_the_code_or_count_in_fives(tmp_path: Path, every: int) -> None:
    lines = [f"value_{i} = read(pin={i})" if i % 7 else "" for i in range(1, 40)]
    pages = Pages()
    pages.prose()
    for number, line in enumerate(lines, 1):
        if number == 1 or number % every == 0:
            pages.put(f"{number:2d}", 60, 8, "cour") if every == 1 else pages.put(str(number), 60, 5)
        pages.lines([line], 90, 8, "cour", 9.6)
    assert block(lines) in pages.read(tmp_path)


def test_code_that_is_too_wide_for_its_column_stays_in_it(tmp_path: Path) -> None:
    wide = "result = sensor.measure(channel=3, samples=64, timeout=100)"
    pages = Pages()
    for x in (72, 320):
        pages.y = 90
        for _ in range(4):
            pages.lines(["The board has pins that are set by a", "program and are read back by it again."] * 4, x)
            pages.y += 10
            pages.code([*CODE[2:], wide if x == 72 else "pass"], x)
    assert pages.read(tmp_path).count(wide) == 4


def test_a_notice_that_a_listing_goes_on_does_not_end_it(tmp_path: Path) -> None:
    lines = [f"value_{i} = read(pin={i})" for i in range(80)]
    pages = Pages()
    pages.prose()
    pages.lines(lines[:60], 90, 8, "cour", 9.6)
    pages.put("(continues on next page)", 400, 7)
    pages.turn()
    pages.put("(continued from previous page)", 72, 7)
    pages.y += 12
    pages.lines(lines[60:], 90, 8, "cour", 9.6)
    pages.y += 10
    pages.prose()
    text = pages.read(tmp_path)
    assert block(lines) in text and "contin" not in text


def test_bold_words_before_a_gap_are_a_heading_and_a_lone_note_is_none(tmp_path: Path) -> None:
    pages = Pages()
    pages.prose()
    pages.put("Reading", font="hebo")
    pages.put("A pin is read with one call and no more.", 125)
    pages.y += 30
    pages.prose()
    pages.lines(["Note"], font="hebo", pitch=20)
    pages.prose()
    text = pages.read(tmp_path)
    assert "# Reading\n\nA pin is read with one call and no more." in text
    assert "\n\nNote\n\n" in text


def test_page_numbers_go_wherever_they_stand(tmp_path: Path) -> None:
    pages = Pages()
    for number in range(17, 29):
        pages.prose(45)
        pages.y = 40 if number % 3 else 800
        pages.put(f"Pins and timers {number}" if number % 3 else str(number), 72 if number % 2 else 480)
        if number < 28:
            pages.turn()
    text = pages.read(tmp_path)
    assert not any(str(number) in text for number in range(17, 29))


def test_a_ligature_without_a_character_is_found_by_the_words() -> None:
    words = Counter({"different": 2, "office": 1})
    assert join_lines(["a di\ufffderent o\ufffdce bu\ufffder"], words) == "a different office buffer"


@pytest.mark.parametrize(
    ("lines", "room", "expected"),
    [
        (
            ["x = 1  # a comment that is", "wrapped here", "y = 2"],
            [0, 20, 22],
            ["x = 1  # a comment that is wrapped here", "y = 2"],
        ),
        (["call(first, second) + ", "third"], [3, 20], ["call(first, second) +  third"]),
        (["for x in y:", "    z()"], [0, 4], ["for x in y:", "    z()"]),
        (["# a comment as wide as that", "run()"], [0, 20], ["# a comment as wide as that", "run()"]),
        (["print(one,", "\u21aa two)"], [9, 9], ["print(one, two)"]),
    ],
)
def test_wrapped_lines_are_put_back(lines: list[str], room: list[int], expected: list[str]) -> None:
    assert unwrapped(lines, room, [False] * len(lines)) == expected


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("pycon", ">>> 1 + 1\n2"),
        ("console", "$ mpremote run main.py"),
        ("console", "pi@raspberrypi:~ $ ls"),
        ("sh", "pip install mpremote\nmpremote ls"),
        ("json", '{"name": "x", "pins": [1, 2]}'),
        ("c", "#include <stdio.h>\nint main(void) {\n    return 0;\n}"),
        ("ini", "[wifi]\nname = x\nretries = 3"),
        ("html", "<html>\n<body>"),
        ("python", "led.on()\nled.off()"),
        ("", "MPY: soft reboot"),
    ],
)
def test_the_language_is_named_where_it_is_evident(name: str, code: str) -> None:
    assert language(code) == name


def test_fonts_without_characters_are_a_reason(tmp_path: Path) -> None:
    path = tmp_path / "private.pdf"
    document = pymupdf.open()
    page = document.new_page()
    page.insert_font(fontname="cjk", fontbuffer=pymupdf.Font("cjk").buffer)
    page.insert_text((72, 90), "\ue000\ue001\ue002" * 20, fontname="cjk")
    document.save(path)
    with pytest.raises(UnreadablePdf) as caught:
        read_pdf(path)
    assert caught.value.reason == "no-unicode"


def test_thousands_of_empty_pages_are_not_all_looked_at(tmp_path: Path) -> None:
    path = tmp_path / "pages.pdf"
    document = pymupdf.open()
    for _ in range(2100):
        document.new_page()
    document.save(path)
    with pytest.raises(UnreadablePdf, match="2000 pages that were looked at, of 2100") as caught:
        read_pdf(path)
    assert caught.value.reason == "empty"
