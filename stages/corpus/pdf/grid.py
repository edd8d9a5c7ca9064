"""The measured grid that monospaced text stands on: characters to columns, lines to rows."""

from __future__ import annotations

import cmath
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import pairwise
from math import pi
from statistics import fmean, median

from stages.corpus.pdf.glyphs import Glyph

SAMPLE = 80  # lines measured for one font size
ENOUGH = 400  # glyphs in lines of one style, to measure those alone
OFF = 0.07  # of a column; what stands further from the grid than this is off it
MIN_SPREAD, MAX_SPREAD = 0.75, 1.45  # the column's width, as a multiple of the glyphs' advance width


def centres(glyphs: Iterable[Glyph]) -> list[float]:
    return [(glyph.x0 + glyph.x1) / 2 for glyph in glyphs if not glyph.char.isspace()]


def column_width(lines: Sequence[Sequence[Glyph]]) -> float:
    """The width of a column in points, for lines of one font size.

    It is the period that the glyphs' centres repeat with. Mostly that is the advance width; it is more in
    letter-spaced text and in LaTeX's listings, which spreads the letters of a token over its columns.
    """
    width = median(glyph.x1 - glyph.x0 for line in lines for glyph in line if not glyph.char.isspace())
    longest = sorted(lines, key=len, reverse=True)
    pure = [line for line in longest if len({glyph.style for glyph in line}) == 1]
    enough = sum(len(line) for line in pure) >= ENOUGH
    sample = [centres(line) for line in (pure if enough else longest)[:SAMPLE]]
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
    lines = [straight(line, width) for line in lines]
    points = [x - margin for line, margin in zip(lines, margins, strict=True) for x in centres(line)]
    if not points:
        return ["" for _ in lines]
    phase = cmath.phase(sum(cmath.exp(2j * pi * x / width) for x in points)) * width / (2 * pi)
    first = round((min(points) - phase) / width)
    origin = phase + first * width
    return [_snap_line(line, width, origin + margin) for line, margin in zip(lines, margins, strict=True)]


def straight(glyphs: Sequence[Glyph], width: float) -> list[Glyph]:
    """A line's glyphs without blanks from left to right, those put back onto its grid that were moved off it.

    A glyph of another face, such as a quote narrower than its column, moves what follows it, and so does the room that
    is left between slanted and upright letters, or within a frame around a word. There the grid starts anew: the next
    glyph has the next column, or one further to the right by the blanks that fit between them.
    """
    ink = sorted((glyph for glyph in glyphs if not glyph.char.isspace()), key=lambda glyph: glyph.x0 + glyph.x1)
    advances = [glyph.x1 - glyph.x0 for glyph in ink]
    if not ink or abs(median(advances) - width) > 0.03 * width:
        return ink
    if len({glyph.style for glyph in ink}) == 1:
        columns = [(glyph.x0 - ink[0].x0) / width for glyph in ink]
        if all(abs(column - round(column)) <= OFF for column in columns):
            return ink
    result: list[Glyph] = []
    waiting: list[Glyph] = []  # of other faces
    last: Glyph | None = None
    edge, shift = 0.0, 0.0  # the right edge of the last column on the grid, and how far that is from where it is drawn
    for glyph, advance in zip(ink, advances, strict=True):
        if advance < 0.1 * width:
            (waiting if waiting else result).append(_moved(glyph, shift))
            continue
        if abs(advance / width - max(1, round(advance / width))) > OFF:
            waiting.append(glyph)
            continue
        run = [*waiting, glyph]
        if last is None:
            anew = bool(waiting) and _fits(waiting[-1].x1, glyph.x0, width)
            edge, end = run[0].x0, run[0].x0
        else:
            anew = not _fits(edge, glyph.x0 + shift, width) or (bool(waiting) and _crowded(run, edge - shift, width))
            end = last.x1
        if anew:
            for other in run:
                edge += (1 + max(0, round((other.x0 - end) / width))) * width
                end = other.x1
                result.append(other._replace(x0=edge - width, x1=edge))
            shift = edge - glyph.x1
        else:
            result += [_moved(other, shift) for other in run]
            edge = glyph.x1 + shift
        waiting, last = [], glyph
    for other in waiting:
        if last and _fits(last.x1, other.x0, width):
            edge += (1 + round((other.x0 - last.x1) / width)) * width
            result.append(other._replace(x0=edge - width, x1=edge))
            last = other
        else:
            result.append(_moved(other, shift))
    return result


def _fits(end: float, start: float, width: float) -> bool:
    """Whether whole columns are between the right edge of one glyph and the left edge of another."""
    columns = (start - end) / width
    return abs(columns - round(columns)) <= OFF


def _crowded(glyphs: Sequence[Glyph], start: float, width: float) -> bool:
    """Whether two of the glyphs that follow each other would have the same column, the first one being at `start`."""
    columns = [int(((glyph.x0 + glyph.x1) / 2 - start) / width) for glyph in glyphs]
    return any(a == b for a, b in pairwise(columns))


def _moved(glyph: Glyph, shift: float) -> Glyph:
    return glyph._replace(x0=glyph.x0 + shift, x1=glyph.x1 + shift) if shift else glyph


def _snap_line(glyphs: Sequence[Glyph], width: float, origin: float) -> str:
    """One line in its columns. A ligature that has one column for several characters moves the rest to the right.

    A wide character, as of Chinese, moves it to the left by the second column that it takes.
    """
    text = ""
    before: Glyph | None = None
    moved, spare = 0, 0
    for glyph in glyphs:
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
