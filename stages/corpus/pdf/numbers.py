"""Line numbers beside listings: in a look of their own, or set like the code itself."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from textwrap import dedent

from stages.corpus.pdf.glyphs import Row, Style
from stages.corpus.pdf.layout import Flow

SHOWN = 3  # how many numbers in a row it takes to tell that lines are numbered
NUMBER = re.compile(r" *(\d{1,4})(?: |$)")


@dataclass(frozen=True, slots=True)
class Leading:
    """Digits at the head of a row that are set apart from the `rest` of it, and so may be a line number."""

    value: int
    style: Style
    x1: float
    rest: Row | None


def leading(row: Row) -> Leading | None:
    """The number at the head of a row, if it looks different from what follows it, or stands alone."""
    first = row.pieces[0].glyphs
    count = next((i for i, glyph in enumerate(first) if not glyph.char.isdigit()), len(first))
    if not 1 <= count <= 4:
        return None
    digits, remains = first[:count], first[count:]
    while remains and remains[0].char.isspace():
        remains = remains[1:]
    others = row.pieces[1:]
    if remains:
        others = (replace(row.pieces[0], glyphs=remains, size=remains[0].style.size), *others)
    style, end = digits[0].style, digits[-1].x1
    if others and (others[0].glyphs[0].style == style or others[0].x0 - end < 0.2 * style.size):
        return None
    rest = replace(row, pieces=others) if others else None
    return Leading(int("".join(glyph.char for glyph in digits)), style, end, rest)


def number_styles(flows: Sequence[Flow], mono: frozenset[Style]) -> frozenset[Style]:
    """The styles of line numbers: those seen counting up by one, one below the other, beside code."""
    styles: Counter[Style] = Counter()
    for flow in flows:
        run: list[Leading] = []
        for lead in [*map(leading, flow.rows), None]:
            if lead and run and _follows(run[-1], lead):
                run.append(lead)
                continue
            if len(run) >= SHOWN and _beside_code(run, mono):
                styles[run[0].style] += len(run)
            run = [lead] if lead else []
    return frozenset(styles)


def _follows(above: Leading, below: Leading) -> bool:
    aligned = abs(below.x1 - above.x1) < below.style.size
    return aligned and below.style == above.style and below.value == above.value + 1


def _beside_code(run: Sequence[Leading], mono: frozenset[Style]) -> bool:
    styles = [glyph.style for lead in run if lead.rest for glyph in lead.rest.ink]
    return bool(styles) and sum(style in mono for style in styles) > 0.7 * len(styles)


def without_numbers(blocks: Sequence[str]) -> list[str]:
    """Blocks of code, without line numbers set like the code itself, if most of the longer blocks have such.

    Every line has one, counting up by one. A short block loses them only where they begin at 1: a row of
    numbers may also be what a program printed.
    """
    long = [block for block in blocks if block.count("\n") >= SHOWN]
    if sum(_first_number(block) is not None for block in long) < 0.6 * len(long) or not long:
        return list(blocks)
    return [_without_numbers(block) for block in blocks]


def _without_numbers(block: str) -> str:
    first = _first_number(block)
    if first is None or (first != 1 and block.count("\n") < SHOWN):
        return block
    lines = block.split("\n")
    edge = max(match.end(1) for match in map(NUMBER.match, lines) if match)
    return dedent("\n".join(line[edge:].rstrip() for line in lines)).strip("\n")


def _first_number(block: str) -> int | None:
    """The number of a block's first line, where all its lines are numbered, else None."""
    lines = block.split("\n")
    values = [int(match[1]) for match in map(NUMBER.match, lines) if match]
    if len(values) < len(lines) or any(b != a + 1 for a, b in pairwise(values)):
        return None
    return values[0]
