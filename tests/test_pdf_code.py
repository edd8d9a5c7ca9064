"""Code that is hard to tell or to place: quotes of another face, terms and items in code, tables, parts far apart."""

from __future__ import annotations

from pathlib import Path

import pymupdf
import pytest
from test_pdf_structure import CODE, SENTENCE, Pages, block

from stages.corpus.pdf.glyphs import Glyph, Style
from stages.corpus.pdf.grid import snap

LONG = [f"value_{i} = read(pin={i})" for i in range(60)]
MONO = Style("Mono", 10.0, False, False)
SLANTED = Style("Mono-Italic", 10.0, False, True)
SERIF = Style("Serif", 10.0, False, False)


def quoted(pages: Pages, line: str, x: float = 90) -> None:
    """Draws a line of code in Courier whose quotes are glyphs of Times, with the width that they have there."""
    for char in line:
        font = "tiro" if char == "'" else "cour"
        pages.put(char, x, 8, font)
        x += pymupdf.get_text_length(char, fontname=font, fontsize=8)
    pages.y += 9.6


def test_quotes_of_another_face_do_not_move_what_follows(tmp_path: Path) -> None:
    lines = [
        "def limit():",
        "    '''Return the limit.'''",
        "    # don't change the 'raw' one",
        "    names = ['boot.py', 'main.py', '', 'x']",
        "    return {'a': 'b', 'c': 'd'}['a']  # it's b",
    ]
    pages = Pages()
    for _ in range(3):
        pages.prose()
        pages.code(CODE)
        pages.prose()
        for line in lines:
            quoted(pages, line)
        pages.y += 10
    assert pages.read(tmp_path).count(block(lines)) == 3


@pytest.mark.parametrize("correction", [0.0, 1.9, -0.8])
@pytest.mark.parametrize("quote", [6.0, 2.0, 3.4])
def test_the_grid_starts_anew_where_the_style_changes(correction: float, quote: float) -> None:
    """Room after slanted letters, and quotes of any width, shift the rest of a line that has columns of 6 points."""
    lines = ["    x = ['a', 'bc']  # don't", "try(Error, Other) as e", "'''quoted'''  # all"]
    drawn = []
    for line in lines:
        x, before, glyphs = 50.0, MONO, []
        for char in line:
            style = SERIF if char == "'" and quote != 6.0 else SLANTED if char.isalpha() else MONO
            x += correction if before == SLANTED and style != SLANTED else 0
            width = quote if char == "'" else 6.0
            glyphs.append(Glyph(char, x, x + width, style))
            x, before = x + width, style
        drawn.append(glyphs)
    assert snap(drawn, 6.0, [0.0, 0.0, 0.0]) == lines


def test_a_narrow_glyph_in_the_middle_of_its_column_moves_nothing() -> None:
    line = [Glyph(char, 6.0 * i, 6.0 * i + 6, MONO) for i, char in enumerate("a = ?b? + c")]
    drawn = [Glyph("'", g.x0 + 2, g.x0 + 4, SERIF) if g.char == "?" else g for g in line]
    assert snap([drawn], 6.0, [0.0]) == ["a = 'b' + c"]


def test_terms_in_the_size_of_code_within_prose_are_no_listings(tmp_path: Path) -> None:
    pages = Pages()
    for turn in range(4):
        for _ in range(3):
            pages.put("The call")
            pages.put("clamp()", 112, 9.5, "cour")
            pages.put("keeps the value of a sensor within the bounds that it has.", 158)
            pages.y += 13
        pages.y += 10
        pages.code(LONG[turn * 9 : turn * 9 + 9])
        if turn % 2:
            pages.put("clamp()", 72, 9.5, "cour")
            pages.y += 24
            pages.lines([SENTENCE], 100)
            pages.y += 14
    text = pages.read(tmp_path)
    assert text.count("```") == 8 and text.count("\n`clamp()`\n") == 2


def test_items_in_step_with_the_prose_are_no_listings(tmp_path: Path) -> None:
    """The bullets may be drawn, and so no characters."""
    pages = Pages()
    for _ in range(3):
        pages.prose(3)
        pages.code(CODE)
        pages.lines(["A frame around the picture.", "A line below it."], 86)
        pages.y += 10
        pages.prose(1)
        pages.lines(["UPDATE_SLOW = 0", "UPDATE_FAST = 1"], 86, 8, "cour")
        pages.y += 10
    text = pages.read(tmp_path)
    assert text.count(block(CODE)) == text.count("```") / 2 == 3


def test_a_table_whose_cells_are_all_code_below_its_head_is_a_table(tmp_path: Path) -> None:
    rows = [("pinMode(5, OUTPUT)", "Pin(5, Pin.OUT)"), ("delay(500)", "sleep_ms(500)"), ("micros()", "ticks_us()")]
    pages = Pages()
    pages.prose()
    pages.code(CODE)
    pages.prose()
    pages.put("Arduino")
    pages.put("MicroPython", 260)
    for row in rows:
        pages.y += 18
        for x, cell in zip((72, 260), row, strict=True):
            pages.put(cell, x, 7, "cour")
    pages.y += 30
    pages.prose()
    text = pages.read(tmp_path)
    table = ["| Arduino | MicroPython |", "| --- | --- |", *(f"| `{left}` | `{right}` |" for left, right in rows)]
    assert "\n".join(table) in text and text.count("```") == 2


def test_a_footnote_below_the_first_part_does_not_end_a_listing(tmp_path: Path) -> None:
    pages = Pages()
    pages.prose(26)
    pages.lines(LONG[:30], 90, 8, "cour", 9.6)
    pages.y += 16
    pages.put("1", 72, 5)
    pages.put("A remark about the bus that is rather long.", 76, 7)
    pages.y += 9
    pages.lines(["It goes on here."] * 4, 72, 7, pitch=9)
    pages.turn()
    pages.code(LONG[30:])
    pages.prose(4)
    pages.turn()
    pages.prose(52)
    assert block(LONG) in pages.read(tmp_path)


def test_a_number_left_behind_at_the_foot_belongs_to_the_line_on_the_next_page(tmp_path: Path) -> None:
    pages = Pages()
    pages.prose()
    for number, line in enumerate(LONG, 1):
        if number != 41:
            pages.put(str(number), 72, 5)
        pages.lines([line], 90, 8, "cour", 11)
        if number == 40:
            pages.y -= 8
            pages.put("41", 72, 5)
            pages.turn()
    pages.y += 20
    pages.prose()
    assert block(LONG) in pages.read(tmp_path)


def test_a_line_of_code_that_ends_in_the_pages_number_stays(tmp_path: Path) -> None:
    pages = Pages()
    for page in range(1, 9):
        pages.lines([SENTENCE] * (47 if page == 5 else 50))
        if page == 5:
            pages.y += 20
            pages.lines(["if buffer > 5:"], 90, 8, "cour")
        pages.y = 800
        pages.put(str(page), 290)
        if page < 8:
            pages.turn()
    assert block(["if buffer > 5:"]) in pages.read(tmp_path)
