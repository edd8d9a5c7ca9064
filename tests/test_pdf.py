"""PDF to Markdown, against the text that was drawn."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pymupdf
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stages.corpus.pdf import PdfText, UnreadablePdf, read_pdf
from stages.corpus.pdf.glyphs import Glyph, Style, monospaced
from stages.corpus.pdf.grid import column_width, snap

STORY = """
The board has pins that can be set high or low by a program and read back by it again . A timer calls a
function at a steady rate while the main loop sleeps . Sensors on the bus answer with two bytes each .
"""
WORDS = STORY.split()
CODE = """\
from machine import Pin
import time

led = Pin(25, Pin.OUT)


def blink(count):
    for _ in range(count):
        led.toggle()

        time.sleep_ms(100)   # short


if __name__ == "__main__":
    blink(10)"""


class Sheet:
    """Draws lines of text on pages, from top to bottom, the left edge at 72 points."""

    def __init__(self, bottom: float = 740) -> None:
        self.document = pymupdf.open()
        self.bottom = bottom
        self.new_page()

    def new_page(self) -> None:
        self.page = self.document.new_page(width=595, height=842)
        self.y = 90.0

    def line(self, text: str, size: float = 10, font: str = "helv", x: float = 72, pitch: float = 1.3) -> None:
        if self.y > self.bottom:
            self.new_page()
        self.page.insert_text((x, self.y), text, fontsize=size, fontname=font)
        self.y += pitch * size

    def prose(self, text: str, width: int = 90, x: float = 72) -> None:
        self.y += 8
        for line in textwrap.wrap(text, width):
            self.line(line, x=x)
        self.y += 8

    def heading(self, text: str, size: float = 16) -> None:
        self.y += 16
        self.line(text, size, "hebo")

    def code(self, text: str, size: float = 8, x: float = 84) -> None:
        self.y += 8
        for line in text.split("\n"):
            self.line(line, size, "cour", x, pitch=1.2)
        self.y += 8

    def read(self, folder: Path, **options: Any) -> PdfText:
        path = folder / "sheet.pdf"
        self.document.save(path, **options)
        return read_pdf(path)


def sentences(start: int, count: int) -> str:
    return " ".join(WORDS[(start + i) % len(WORDS)] for i in range(count)).replace(" .", ".")


def fences(markdown: str) -> list[str]:
    return [match[2] for match in re.finditer(r"^(`{3,})\w*\n(.*?)\n\1$", markdown, re.DOTALL | re.MULTILINE)]


def prose(markdown: str) -> list[str]:
    parts = re.sub(r"(?ms)^```.*?^```$", "", markdown).split("\n\n")
    return [part.strip() for part in parts if part.strip()]


def test_code_keeps_indentation_and_blank_lines(tmp_path: Path) -> None:
    sheet = Sheet()
    sheet.heading("Blinking")
    sheet.prose(sentences(0, 60))
    sheet.code(CODE)
    sheet.prose(sentences(7, 40))
    sheet.code("$ mpremote run blink.py")
    text = sheet.read(tmp_path)
    assert fences(text.markdown) == [CODE, "$ mpremote run blink.py"]
    assert prose(text.markdown) == ["# Blinking", sentences(0, 60), sentences(7, 40)]
    assert "```python\nfrom machine" in text.markdown and "```console\n$ mpremote" in text.markdown
    assert (text.title, text.pages, text.code_blocks) == ("Blinking", 1, 2)


def test_two_listings_are_two_blocks(tmp_path: Path) -> None:
    sheet = Sheet()
    sheet.prose(sentences(0, 40))
    sheet.code(CODE)
    sheet.y += 6  # the gap is then no whole number of lines
    sheet.code("print(led.value())")
    assert fences(sheet.read(tmp_path).markdown) == [CODE, "print(led.value())"]


def test_listing_over_a_page_break_is_one_block(tmp_path: Path) -> None:
    code = "\n".join(f"{'    ' * (i % 4)}value_{i} = read(pin={i})" for i in range(90))
    sheet = Sheet()
    sheet.prose(sentences(0, 60))
    sheet.code(code)
    sheet.prose(sentences(5, 60))
    text = sheet.read(tmp_path)
    assert text.pages == 2
    assert fences(text.markdown) == [code]


def test_frames_tell_blocks_and_blank_lines_apart(tmp_path: Path) -> None:
    sheet = Sheet()
    sheet.prose(sentences(0, 60))
    for number, text in ((0, "first = 1"), (5, "last = 2"), (8, "print(first)")):
        sheet.page.insert_text((84, 300 + 9.6 * number), text, fontsize=8, fontname="cour")
    unframed = "first = 1\n\n\n\n\nlast = 2\n\n\nprint(first)"
    for top, bottom in ((290, 352), (367, 381)):
        sheet.page.draw_rect(pymupdf.Rect(78, top, 400, bottom))
    assert fences(sheet.read(tmp_path).markdown) == unframed.rsplit("\n\n\n", 1)


@pytest.mark.parametrize("style", ["small", "same"])
def test_line_numbers_go_and_prove_blank_lines(tmp_path: Path, style: str) -> None:
    long = CODE + "\n\n" + "\n\n".join(f"step_{i}(led)" for i in range(30))
    sheet = Sheet()
    for block in (CODE, "import time", long):
        sheet.prose(sentences(len(block), 50))
        for number, line in enumerate(block.split("\n"), 1):
            if style == "same":
                sheet.line(f"{number:3d} {line}", 8, "cour", pitch=1.2)
            else:
                sheet.line(f"{number:2d}", 5, "cour", 70, pitch=0)
                sheet.line(line, 8, "cour", 84, pitch=1.2)
    text = sheet.read(tmp_path)
    assert text.pages > 1
    assert fences(text.markdown) == [CODE, "import time", long]


def test_letter_spaced_code(tmp_path: Path) -> None:
    sheet = Sheet()
    sheet.prose(sentences(0, 60))
    for line in CODE.split("\n"):
        for column, char in enumerate(line):
            sheet.page.insert_text((84 + 5.3 * column, sheet.y), char, fontsize=8, fontname="cour")
        sheet.y += 10
    assert fences(sheet.read(tmp_path).markdown) == [CODE]


def test_curly_quotes_are_folded_in_code_only(tmp_path: Path) -> None:
    sheet = Sheet()
    for name in ("helv", "cour"):  # as files: the built-in ones have no curly quotes
        sheet.page.insert_font(fontname=f"my{name}", fontbuffer=pymupdf.Font(name).buffer)
    sheet.line("He said \u201chello\u201d to the board and it didn\u2019t answer.", font="myhelv")
    sheet.y += 10
    sheet.line("print(\u2018a\u2019, \u201cb\u201d)  # ```", 8, "mycour")
    text = sheet.read(tmp_path).markdown
    assert "````python\nprint('a', \"b\")  # ```\n````" in text
    assert "\u201chello\u201d" in text and "didn\u2019t" in text


def test_running_heads_and_feet_go(tmp_path: Path) -> None:
    sheet = Sheet()
    for chapter in range(12):
        if chapter:
            sheet.new_page()
        sheet.page.insert_text((72, 40), "The Book of Pins", fontsize=9, fontname="heit")
        sheet.page.insert_text((400, 40), f"{chapter + 1} | Chapter on {WORDS[chapter]}", fontsize=9)
        sheet.page.insert_text((290, 810), str(chapter + 1), fontsize=9)
        sheet.heading(f"Section {WORDS[chapter]}")
        for part in range(6):
            sheet.prose(sentences(chapter + part, 100))
    text = sheet.read(tmp_path).markdown
    assert "Book of Pins" not in text and "Chapter on" not in text
    assert not re.search(r"^\d+$", text, re.MULTILINE)
    assert re.findall(r"^# (.*)$", text, re.MULTILINE) == [f"Section {word}" for word in WORDS[:12]]
    drawn = " ".join(sentences(chapter + part, 100) for chapter in range(12) for part in range(6))
    assert text.count("The board has pins") == drawn.count("The board has pins")


def test_hyphens_at_line_ends_by_the_words_of_the_document(tmp_path: Path) -> None:
    sheet = Sheet()
    sheet.prose("A microcontroller has a real-time clock, and the clock keeps time.")
    sheet.y += 10
    for line in ("This is about a micro-", "controller that has a real-", "time clock inside it."):
        sheet.line(line)
    text = " ".join(sheet.read(tmp_path).markdown.split())
    assert "This is about a microcontroller that has a real-time clock inside it." in text


def test_two_columns_are_read_one_after_the_other(tmp_path: Path) -> None:
    left, right = sentences(0, 180), "Now " + sentences(11, 180)
    code = 'if pin.value():\n    print("high")\n\nelse:\n    print("low")'
    sheet = Sheet()
    for x, text in ((72, left), (320, right)):
        sheet.y = 90 if x < 100 else 93
        sheet.prose(text, 44, x)
        sheet.code(code, 7, x)
        sheet.prose("Then " + text, 44, x)
    result = sheet.read(tmp_path).markdown
    assert prose(result) == [left, f"Then {left}", right, f"Then {right}"]
    assert fences(result) == [code, code]


def test_lists_tables_of_contents_and_inline_code(tmp_path: Path) -> None:
    sheet = Sheet()
    sheet.heading("Contents")
    for number in range(1, 9):
        sheet.line(f"{number}. Chapter {WORDS[number]} " + ". " * 30 + f" {number * 7}")
    sheet.new_page()
    sheet.prose(sentences(0, 60))
    for item in ("first thing", "second thing"):
        sheet.line("\u00b7 " + item)
    sheet.line("1. one step")
    sheet.y += 12
    sheet.line("Call the function")
    sheet.page.insert_text((155, sheet.y - 13), "sleep_ms(", fontsize=10, fontname="cour")
    sheet.page.insert_text((220, sheet.y - 13), "with a number.", fontsize=10)
    sheet.code(CODE)
    text = sheet.read(tmp_path).markdown
    assert "Chapter" not in text
    assert "- first thing\n- second thing\n1. one step\n" in text
    assert "Call the function `sleep_ms(` with a number." in text


def test_headings_are_ranked_by_size_and_may_wrap(tmp_path: Path) -> None:
    sheet = Sheet()
    sheet.heading("A title that is too long to", 24)
    sheet.line("stand on one line", 24, "hebo")
    for section in ("First", "Second"):
        sheet.heading(section, 14)
        sheet.prose(sentences(0, 80))
        sheet.heading("Details of it", 12)
        sheet.prose(sentences(9, 80))
    text = sheet.read(tmp_path)
    found = re.findall(r"^(#+) (.*)$", text.markdown, re.MULTILINE)
    title = "A title that is too long to stand on one line"
    details = ("###", "Details of it")
    assert found == [("#", title), ("##", "First"), details, ("##", "Second"), details]
    assert text.title == title


def test_page_starts_point_at_the_first_block_of_each_page(tmp_path: Path) -> None:
    sheet = Sheet()
    sheet.prose(sentences(0, 60))
    sheet.code("\n".join(f"value_{i} = read(pin={i})" for i in range(160)))
    sheet.prose("Afterwards " + sentences(5, 60))
    sheet.new_page()
    sheet.new_page()
    sheet.heading("The last")
    sheet.new_page()
    text = sheet.read(tmp_path)
    assert text.pages == 6
    begun = [text.markdown[start:].partition(" ")[0] for start in text.page_starts]
    assert begun == ["The", "Afterwards", "Afterwards", "#", "#", ""]
    assert text.page_starts[-1] == len(text.markdown)


def test_typewritten_text_is_prose_and_a_printed_program_is_code(tmp_path: Path) -> None:
    sheet = Sheet()
    for start in range(5):
        for line in textwrap.wrap(sentences(start, 100), 80):
            sheet.line(line, 9, "cour")
        sheet.y += 10
    sheet.code(CODE, 9)
    text = sheet.read(tmp_path).markdown
    assert prose(text) == [sentences(start, 100) for start in range(5)]
    assert fences(text) == [CODE]
    program = Sheet()
    program.code(CODE)
    assert program.read(tmp_path).markdown == f"```python\n{CODE}\n```\n"


def page_of_code(document: Any) -> None:
    document.new_page().insert_text((72, 90), "print('hello, world')  # a program", fontname="cour")


def save_encrypted(path: Path, user: str) -> None:
    document = pymupdf.open()
    page_of_code(document)
    document.save(path, encryption=pymupdf.PDF_ENCRYPT_AES_256, user_pw=user, owner_pw="owner")


def save_truncated(path: Path) -> None:
    document = pymupdf.open()
    page_of_code(document)
    path.write_bytes(document.tobytes(deflate=True)[:150])


def save_picture(path: Path) -> None:
    document = pymupdf.open()
    for _ in range(3):
        picture = pymupdf.Pixmap(pymupdf.csGRAY, pymupdf.IRect(0, 0, 50, 50))
        page = document.new_page()
        page.insert_image(pymupdf.Rect(50, 50, 500, 700), pixmap=picture)
    document[0].insert_text((300, 800), "1")
    document.save(path)


def save_without_pages(path: Path) -> None:
    objects = [b"<</Type/Catalog/Pages 2 0 R>>", b"<</Type/Pages/Kids[]/Count 0>>"]
    body = b"%PDF-1.4\n"
    places = []
    for number, content in enumerate(objects, 1):
        places.append(len(body))
        body += b"%d 0 obj\n%s\nendobj\n" % (number, content)
    table = b"0000000000 65535 f \n" + b"".join(b"%010d 00000 n \n" % place for place in places)
    start = len(body)
    trailer = b"trailer\n<</Size 3/Root 1 0 R>>\nstartxref\n%d\n%%%%EOF\n" % start
    path.write_bytes(body + b"xref\n0 3\n" + table + trailer)


@pytest.mark.parametrize(
    ("reason", "save"),
    [
        ("encrypted", lambda path: save_encrypted(path, "secret")),
        ("damaged", save_truncated),
        ("damaged", lambda path: path.write_bytes(b"no PDF at all")),
        ("damaged", lambda path: path.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(100))),
        ("empty", lambda path: path.write_bytes(b"")),
        ("empty", save_without_pages),
        ("scanned", save_picture),
    ],
)
def test_what_gives_no_text_says_why(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], reason: str, save: Callable[[Path], None]
) -> None:
    path = tmp_path / "bad.pdf"
    save(path)
    with pytest.raises(UnreadablePdf, match=r"bad\.pdf") as caught:
        read_pdf(path)
    assert caught.value.reason == reason
    assert capfd.readouterr() == ("", "")


def test_an_empty_password_and_a_lost_tail_are_no_hindrance(tmp_path: Path) -> None:
    path = tmp_path / "open.pdf"
    save_encrypted(path, "")
    expected = "```python\nprint('hello, world')  # a program\n```\n"
    assert read_pdf(path).markdown == expected
    document = pymupdf.open()
    page_of_code(document)
    data = document.tobytes()
    path.write_bytes(data[: data.rindex(b"xref")])
    assert read_pdf(path).markdown == expected


def test_a_missing_file_is_an_os_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_pdf(tmp_path / "none.pdf")


WORD = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=12)
LINE = st.tuples(
    st.integers(0, 6),
    st.sampled_from("abcxyz@#_("),
    st.lists(WORD, min_size=1, max_size=4),
    st.integers(1, 3),
)
LINES = st.lists(LINE, min_size=1, max_size=40)
BLANKS = st.lists(st.sampled_from([0, 0, 0, 1, 2]), min_size=40, max_size=40)


def as_code(lines: Sequence[tuple[int, str, list[str], int]], blanks: Sequence[int]) -> str:
    """Lines with indentation, inner runs of blanks, and up to two blank lines after each, flush left.

    The first has enough different letters to tell the face by: a listing of `a0` alone could be in any.
    """
    text = "import time\n"
    for (indent, first, words, gap), blank in zip(lines, blanks, strict=False):
        text += "    " * indent + first + (" " * gap).join(words) + "\n" * (1 + blank)
    return text.strip("\n")


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(LINES, BLANKS, st.sampled_from([7.0, 8.5, 10.0]))
def test_any_code_in_courier_comes_back_byte_for_byte(
    tmp_path: Path, lines: list[tuple[int, str, list[str], int]], blanks: list[int], size: float
) -> None:
    code = as_code(lines, blanks)
    sheet = Sheet(bottom=2000)
    sheet.page.set_mediabox(pymupdf.Rect(0, 0, 900, 2000))
    sheet.y = 90
    sheet.prose(sentences(0, 60))
    sheet.code(code, size)
    sheet.prose(sentences(5, 60))
    assert fences(sheet.read(tmp_path).markdown) == [code]


def glyphs(text: str, xs: Sequence[float], widths: Sequence[float], style: Style) -> list[Glyph]:
    return [Glyph(c, x, x + w, style) for c, x, w in zip(text, xs, widths, strict=True)]


def test_monospaced_is_measured_not_named() -> None:
    liar = Style("Courier-Mono", 9.0, False, False)
    honest = Style("ABCDEF+T3", 9.0, False, False)
    bold = Style("ABCDEF+T4", 9.0, True, False)
    digits = Style("Figures", 6.0, False, False)
    found = monospaced(
        glyphs("willing", range(7), [6.5, 2.5, 2.5, 2.5, 2.5, 5.0, 5.0], liar)
        + glyphs("million = 1", range(11), [5.4] * 11, honest)
        + glyphs("is", range(2), [5.35] * 2, bold)
        + glyphs("0123456789", range(10), [3.6] * 10, digits)
    )
    assert found == {honest, bold}


def test_letters_spread_over_the_columns_of_their_token() -> None:
    """LaTeX's listings sets a token of n letters in n columns, with equal glue before, between and after."""
    style = Style("LMMono8", 8.0, False, False)
    column, width = 5.085, 4.232
    text = [*CODE.split("\n")[:4], "async def main(index):", "    await asyncio.sleep(index)"]
    lines = []
    for line in text:
        row: list[Glyph] = []
        for token in re.finditer(r"\w+|[^\w\s]", line):
            glue = len(token[0]) * (column - width) / (len(token[0]) + 1)
            for i, char in enumerate(token[0]):
                x = 70 + token.start() * column + glue + i * (width + glue)
                row.append(Glyph(char, x, x + width, style))
        lines.append(row)
    measured = column_width(lines)
    assert measured == pytest.approx(column, rel=0.004)
    assert snap(lines, measured, [0.0] * len(lines)) == text
