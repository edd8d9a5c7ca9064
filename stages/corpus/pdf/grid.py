"""The measured grid that monospaced text stands on: characters to columns, lines to rows."""

from __future__ import annotations

import cmath
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from math import pi
from statistics import fmean, median

from stages.corpus.pdf.glyphs import Glyph

SAMPLE = 80  # lines measured for one font size
MIN_SPREAD, MAX_SPREAD = 0.75, 1.45  # the column's width, as a multiple of the glyphs' advance width


def centres(glyphs: Iterable[Glyph]) -> list[float]:
    return [(glyph.x0 + glyph.x1) / 2 for glyph in glyphs if not glyph.char.isspace()]


def column_width(lines: Sequence[Sequence[Glyph]]) -> float:
    """The width of a column in points, for lines of one font size.

    It is the period that the glyphs' centres repeat with. Mostly that is the advance width; it is more in
    letter-spaced text and in LaTeX's listings, which spreads the letters of a token over its columns.
    """
    width = median(glyph.x1 - glyph.x0 for line in lines for glyph in line if not glyph.char.isspace())
    sample = [centres(line) for line in sorted(lines, key=len, reverse=True)[:SAMPLE]]
    if all(len(line) < 2 for line in sample) or _alignment(sample, width) > 0.985:
        return width
    coarse = [width * (MIN_SPREAD + 0.004 * step) for step in range(int((MAX_SPREAD - MIN_SPREAD) / 0.004))]
    best = max(coarse, key=lambda period: _alignment(sample, period))
    fine = [best * (1 + 0.0002 * step) for step in range(-25, 26)]
    return max(fine, key=lambda period: _alignment(sample, period))


def _alignment(lines: Sequence[Sequence[float]], period: float) -> float:
    """How well points repeat with a period, each line with its own phase: 1 perfectly, about 0 not at all.

    It is the mean resultant length of circular statistics (Mardia and Jupp, Directional Statistics, 2000).
    """
    total = sum(len(line) for line in lines)
    return sum(abs(sum(cmath.exp(2j * pi * x / period) for x in line)) for line in lines) / max(1, total)


def snap(lines: Sequence[Sequence[Glyph]], width: float, margins: Sequence[float]) -> list[str]:
    """The lines as text, every character in its column, the leftmost column of all lines being the first.

    `margins` holds the left edge of the text for each line: it differs where a block runs over pages,
    columns.
    """
    points = [x - margin for line, margin in zip(lines, margins, strict=True) for x in centres(line)]
    if not points:
        return ["" for _ in lines]
    phase = cmath.phase(sum(cmath.exp(2j * pi * x / width) for x in points)) * width / (2 * pi)
    first = round((min(points) - phase) / width)
    origin = phase + first * width
    return [_snap_line(line, width, origin + margin) for line, margin in zip(lines, margins, strict=True)]


def _snap_line(glyphs: Sequence[Glyph], width: float, origin: float) -> str:
    """One line in its columns. A ligature that has one column for several characters moves the rest to the right.

    A wide character, as of Chinese, moves it to the left by the second column that it takes.
    """
    text = ""
    ink = sorted((glyph for glyph in glyphs if not glyph.char.isspace()), key=lambda glyph: glyph.x0 + glyph.x1)
    before: Glyph | None = None
    moved, spare = 0, 0
    for glyph in ink:
        if before and glyph.char == before.char and glyph.x1 > glyph.x0 and abs(glyph.x0 - before.x0) < 0.2 * width:
            continue  # drawn twice to look bold
        if glyph.x1 - glyph.x0 < 0.1 * width:  # a combining mark, or the rest of a ligature
            text += glyph.char
            if unicodedata.combining(glyph.char) == 0:
                moved, spare = moved + (spare == 0), max(0, spare - 1)
            continue
        cells = max(1, round((glyph.x1 - glyph.x0) / width)) if glyph.char in "fijtl" else 1
        column = round(((glyph.x0 + glyph.x1) / 2 - origin - (cells - 1) * width / 2) / width) + moved
        text = text.ljust(column) + glyph.char
        before, spare = glyph, cells - 1
        if unicodedata.east_asian_width(glyph.char) in "WF":
            moved -= max(0, round((glyph.x1 - glyph.x0) / width) - 1)
    return text


def line_pitch(steps: Iterable[float], size: float) -> float:
    """The distance in points of lines that follow each other, from the steps down between lines.

    It is the smallest of the common steps of a plausible length: longer ones may hold blank lines.
    """
    taken = [round(step, 1) for step in steps if step >= 0.85 * size]
    plausible = Counter(step for step in taken if step <= 2.0 * size)
    if plausible:
        few = 0.1 * max(plausible.values())
        common = min(step for step, count in plausible.items() if count >= few)
        return fmean(step for step in plausible.elements() if abs(step - common) < 0.25)
    usual = 1.2 * size
    return min(taken) / max(1, round(min(taken) / usual)) if taken else usual
