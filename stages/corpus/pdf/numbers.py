"""Line numbers beside listings: in a look of their own, or set like the code itself."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from stages.corpus.pdf.glyphs import Row, Style
from stages.corpus.pdf.layout import Flow

SHOWN = 3  # how many numbers in a row it takes to tell that lines are numbered
MAX_STEP = 10  # the largest step between the numbers of listings where not every line has one
TIGHT_SHARE = 0.5  # of the lines of code that have numbers like the code and close to it
SAME_GAP = 0.8  # em between a number and the code, where both look the same


@dataclass(frozen=True, slots=True)
class Leading:
    """Digits at the head of a row that are set apart from the `rest` of it, and so may be a line number."""

    value: int
    style: Style
    x1: float
    y: float
    rest: Row | None
    tight: bool  # the rest looks the same and is close by


def leading(row: Row) -> Leading | None:
    """The number at the head of a row, if it looks different from what follows it, stands clear of it, or alone."""
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
    gap = others[0].x0 - end if others else SAME_GAP * style.size
    same = bool(others) and others[0].glyphs[0].style == style
    if gap < 0.2 * style.size:
        return None
    rest = replace(row, pieces=others) if others else None
    value = int("".join(glyph.char for glyph in digits))
    return Leading(value, style, end, row.y, rest, same and gap < SAME_GAP * style.size)


@dataclass(frozen=True, slots=True)
class Gutters:
    """Where line numbers are: the styles that nothing else has, and for other styles the right edges they end at."""

    styles: frozenset[Style]
    edges: frozenset[tuple[Style, int]]
    tight: bool  # numbers may look like the code and be close to it

    def __contains__(self, lead: Leading) -> bool:
        if lead.tight and not self.tight:
            return False
        edge = round(lead.x1)
        return lead.style in self.styles or any((lead.style, x) in self.edges for x in (edge - 1, edge, edge + 1))


def gutters(flows: Sequence[Flow], mono: frozenset[Style]) -> Gutters:
    """The gutters of line numbers: those seen counting up beside code, in step with its lines.

    Every line may have its number, or only each fifth or tenth. Numbers that look like the code and are close to it may
    be what a program printed: such are line numbers only where most of the code has them.
    """
    seen: Counter[tuple[Style, int]] = Counter()
    tight: Counter[tuple[Style, int]] = Counter()
    shared: set[Style] = set()
    rows = 0
    for flow in flows:
        run: list[Leading] = []
        for row in [*flow.rows, None]:
            lead = leading(row) if row else None
            code = row is not None and is_mono(row, mono)
            rows += code
            if lead is None and row and code and run and row.x0 > run[-1].x1:
                continue
            if lead and run and _follows(run, lead):
                run.append(lead)
                continue
            if len(run) >= SHOWN and _beside_code(run, mono):
                place = run[0].style, round(run[0].x1)
                seen[place] += len(run)
                tight[place] += sum(lead.tight for lead in run)
                shared |= {glyph.style for lead in run if lead.rest for glyph in lead.rest.ink}
            run = [lead] if lead else []
    close = {place for place in seen if tight[place] > 0.05 * seen[place]}
    most = sum(seen[place] for place in close) >= TIGHT_SHARE * rows > 0
    edges = set(seen) if most else set(seen) - close
    return Gutters(frozenset(style for style, _ in edges if style not in shared), frozenset(edges), most)


def is_mono(row: Row, mono: frozenset[Style]) -> bool:
    ink = row.ink
    return sum(glyph.style in mono for glyph in ink) > 0.8 * len(ink)


def _follows(run: Sequence[Leading], lead: Leading) -> bool:
    """Whether a number counts on: aligned, and as many more as there are lines in between."""
    above = run[-1]
    step = lead.value - above.value
    if abs(lead.x1 - above.x1) >= lead.style.size or lead.style != above.style or not 1 <= step <= MAX_STEP:
        return False
    if len(run) == 1 or step == 1:
        return True
    pitch = (above.y - run[0].y) / (above.value - run[0].value)
    return abs((lead.y - above.y) / step - pitch) < 0.1 * pitch


def _beside_code(run: Sequence[Leading], mono: frozenset[Style]) -> bool:
    styles = [glyph.style for lead in run if lead.rest for glyph in lead.rest.ink]
    return bool(styles) and sum(style in mono for style in styles) > 0.7 * len(styles)
