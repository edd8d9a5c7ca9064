"""Which lines of a document are code."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby, pairwise
from statistics import median
from typing import NamedTuple

from stages.corpus.pdf.boxes import Box, code_boxes
from stages.corpus.pdf.chars import BULLETS, WRAP_MARKS
from stages.corpus.pdf.glyphs import Glyph, Row, Style
from stages.corpus.pdf.grid import line_pitch
from stages.corpus.pdf.layout import Flow
from stages.corpus.pdf.numbers import Gutters, gutters, leading

OFTEN = 5  # lines of prose that make a left edge
RARELY = 0.1  # of the listings may have the size that code has within prose
FRAMED = 0.8  # of the lines of code, above which a single line without a frame is none
QUOTES = "'\""  # may come from another face, too, where that of the code has curly ones in their place
FOREIGN = 0x250  # characters from here on may come from another face than the code around them
MAX_RATIO = 1.35  # above this many times the usual size of code, a line is a heading or a signature


class Look(NamedTuple):
    """What lines look like: faces of code, line pitches in points, sizes only of code in prose, left edges of prose."""

    mono: frozenset[Style]
    prose_pitch: float
    code_pitch: float
    inline: frozenset[float]
    edges: frozenset[tuple[int, int]]

    def is_edge(self, line: Line) -> bool:
        """Whether a line begins where prose does."""
        return line.row is not None and (line.column, round(2 * line.row.x0)) in self.edges


@dataclass(frozen=True, slots=True)
class Line:
    """One line in reading order. `row` is without the line number, None where nothing else was on the row."""

    flow: int
    page: int
    column: int
    y: float
    size: float
    row: Row | None
    number: int | None
    code: bool
    box: Box | None = None  # the frame or background of the listing it stands in

    @property
    def glyphs(self) -> list[Glyph]:
        return self.row.glyphs if self.row else []


def lines_of(flows: Sequence[Flow], mono: frozenset[Style]) -> list[Line]:
    """The document's lines with code and line numbers recognised."""
    numbers = gutters(flows, mono)
    size = _code_size(flows, mono)
    lines = [[_line(i, flow, row, mono, numbers, size) for row in flow.rows] for i, flow in enumerate(flows)]
    pairs = [pair for here in lines for pair in pairwise(here)]
    prose = [(a, b) for a, b in pairs if not a.code and not b.code]
    code = [(a, b) for a, b in pairs if a.code and b.code]
    look = Look(
        mono,
        line_pitch((b.y - a.y for a, b in prose), median([a.size for a, _ in prose] or [10.0])),
        line_pitch((b.y - a.y for a, b in code if a.size == b.size == size), size or 10.0),
        _inline_sizes(lines, mono),
        _edges(lines),
    )
    judged = [_in_context(flow, here, look) for flow, here in zip(flows, lines, strict=True)]
    return [line for here in _with_their_numbers(judged, look.code_pitch) for line in here]


def _with_their_numbers(flows: Sequence[Sequence[Line]], pitch: float) -> list[list[Line]]:
    """The lines of the flows, a number at the foot of a flow whose line went to the top of the next one put beside it.

    It stands closer to the line above it than lines do.
    """
    result = [list(lines) for lines in flows]
    for here, following in pairwise(result):
        last = next((index for index in reversed(range(len(here))) if here[index].code), 0)
        lone = here[last] if last else None
        if lone is None or lone.row or lone.y - here[last - 1].y > 0.6 * pitch or not following[0].code:
            continue
        if following[0].number is None:
            following[0] = replace(following[0], number=lone.number)
            del here[last]
    return result


def _edges(flows: Sequence[Sequence[Line]]) -> frozenset[tuple[int, int]]:
    """The left edges that lines of prose often have, in half points, by column."""
    seen = Counter(
        (line.column, round(2 * line.row.x0)) for lines in flows for line in lines if line.row and not line.code
    )
    return frozenset(edge for edge, count in seen.items() if count >= OFTEN)


def _inline_sizes(flows: Sequence[Sequence[Line]], mono: frozenset[Style]) -> frozenset[float]:
    """The sizes that code has within prose, where nearly all of the listings have another."""
    within: Counter[float] = Counter()
    alone: Counter[float] = Counter()
    for lines in flows:
        for line in lines:
            if line.code:
                alone[line.size] += 1
            elif line.row:
                within.update({glyph.style.size for glyph in line.row.ink if glyph.style in mono})
    few = RARELY * max(alone.values(), default=0)
    return frozenset(size for size, count in within.items() if alone[size] < few and 2 * alone[size] < count)


def _line(index: int, flow: Flow, row: Row, mono: frozenset[Style], numbers: Gutters, code_size: float) -> Line:
    lead = leading(row)
    if lead and lead in numbers and (lead.rest is None or is_code(lead.rest, mono, code_size)):
        size = lead.rest.size if lead.rest else code_size
        return Line(index, flow.page, flow.column, row.y, size, lead.rest, lead.value, True)
    return Line(index, flow.page, flow.column, row.y, row.size, row, None, is_code(row, mono, code_size))


def is_code(row: Row, mono: frozenset[Style], code_size: float) -> bool:
    """Whether a row reads as code: monospaced, in one size, not as large as a heading, no item of a list."""
    ink = row.ink
    while ink and ink[0].char in WRAP_MARKS:
        ink = ink[1:]
    sizes = Counter(glyph.style.size for glyph in ink if glyph.style in mono)
    count = sum(sizes.values())
    latin = sum(glyph.style in mono or (ord(glyph.char) < FOREIGN and glyph.char not in QUOTES) for glyph in ink)
    if not ink or count < 0.85 * latin or count < 0.5 * len(ink) or ink[0].char in BULLETS:
        return False
    if ink[0].style not in mono and ink[0].char.isalnum():
        return False
    size, most = sizes.most_common(1)[0]
    return most >= 0.95 * count and size <= MAX_RATIO * code_size


def _code_size(flows: Sequence[Flow], mono: frozenset[Style]) -> float:
    """The size in points that most of the monospaced rows have."""
    sizes: Counter[float] = Counter()
    for flow in flows:
        for row in flow.rows:
            ink = row.ink
            if sum(glyph.style in mono for glyph in ink) > 0.8 * len(ink):
                sizes[row.size] += len(ink)
    return sizes.most_common(1)[0][0] if sizes else 0.0


def _in_context(flow: Flow, lines: Sequence[Line], look: Look) -> list[Line]:
    """The lines of a flow with their verdicts corrected by their neighbours'."""
    result: list[Line] = []
    right = max((line.row.x1 for line in lines if line.row), default=0.0)
    for index, line in enumerate(lines):
        above = lines[index - 1] if index else None
        below = lines[index + 1] if index + 1 < len(lines) else None
        if line.row is None and not _counts_on(above, line, below):
            result.append(replace(line, row=flow.rows[index], number=None, code=False))
        elif line.code and (
            (above and _ends_paragraph(above, line, below, right, look.prose_pitch))
            or (not (above and above.code) and _is_term(line, below, look))
            or _is_inline(above, line, below, look)
        ):
            result.append(replace(line, code=False))
        elif above and below and _is_between(above, line, below, look.mono):
            result.append(replace(line, code=True, size=above.size))
        else:
            result.append(line)
    return result


def _is_inline(above: Line | None, line: Line, below: Line | None, look: Look) -> bool:
    """Whether a line all in code, with no other line of code right above or below it, is part of prose.

    It has the size that only code in prose has, or is in step with the lines of prose or items of a list that it is
    among: a listing stands clear of those.
    """
    if line.number is not None or line.row is None:
        return False
    near = [other for other in (above, below) if other and other.row]
    steps = [abs(other.y - line.y) for other in near]
    if any(other.code and step < 1.12 * look.code_pitch for other, step in zip(near, steps, strict=True)):
        return False
    if line.size in look.inline:
        return True
    left = line.row.x0
    aligned = [
        other
        for other, step in zip(near, steps, strict=True)
        if other.row and abs(other.row.x0 - left) < 1.5 and abs(step - look.prose_pitch) < 0.08 * look.prose_pitch
    ]
    if look.prose_pitch < 1.12 * look.code_pitch or not look.is_edge(line):
        return False
    return len(aligned) == 2 or any(other.code and other.size == line.size for other in aligned)


def _counts_on(above: Line | None, line: Line, below: Line | None) -> bool:
    """Whether a number alone on its row belongs to the line numbers or the code above or below it."""
    near = [other for other in (above, below) if other and other.code]
    numbers = [other.number for other in near if other.number is not None]
    if line.number is None or not near:
        return False
    return any(abs(number - line.number) == 1 for number in numbers) or len(numbers) < len(near)


def _ends_paragraph(above: Line, line: Line, below: Line | None, right: float, prose_pitch: float) -> bool:
    """Whether a line all in code goes on with the line of prose above it, which had no room for its first word."""
    if above.code or (below and below.code) or line.number is not None or not (above.row and line.row):
        return False
    glyphs = line.glyphs
    word = next((glyphs[i - 1].x1 for i, glyph in enumerate(glyphs) if i and glyph.char.isspace()), glyphs[-1].x1)
    return (
        line.y - above.y < 1.08 * prose_pitch
        and above.row.x1 + (word - line.row.x0) > right - 0.5 * above.size
        and above.row.text[-1] not in ":?!;"
        and abs(line.row.x0 - above.row.x0) < 2 * above.size
    )


def _is_term(line: Line, below: Line | None, look: Look) -> bool:
    """Whether a line all in code is a term that the prose below it, further to the right, explains."""
    if below is None or below.code or line.number is not None or not (below.row and line.row):
        return False
    return (
        below.y - line.y < 1.5 * look.prose_pitch
        and below.row.x0 > line.row.x0 + 0.8 * line.size
        and below.size >= line.size
    )


def _is_between(above: Line, line: Line, below: Line, mono: frozenset[Style]) -> bool:
    """Whether a line amid code begins as code, and goes on in another face: so some books set comments."""
    if line.code or not above.code or not below.code:
        return False
    return line.glyphs[0].style in mono and below.y - above.y < 3.2 * above.size


def in_boxes(lines: Sequence[Line], boxes: Mapping[int, Sequence[Box]]) -> list[Line]:
    """The lines of code with the frame or background they stand in, where their page has such boxes."""
    result: list[Line] = []
    for page, group in groupby(lines, key=lambda line: line.page):
        here = list(group)
        rows = [(line.code, Box(line.row.x0, line.y, line.row.x1, line.y)) for line in here if line.row]
        code = [span for is_code, span in rows if is_code]
        prose = [span for is_code, span in rows if not is_code]
        found = code_boxes(boxes[page], code, prose)
        for line in here:
            x = line.row.x0 if line.row and line.code else None
            home = next((box for box in found if x is not None and box.holds(x, line.y)), None)
            result.append(replace(line, box=home) if home else line)
    return _without_strays(result)


def _without_strays(lines: Sequence[Line]) -> list[Line]:
    """The lines, where listings are framed those outside of any frame and alone no longer marked as code."""
    code = [line for line in lines if line.code]
    if sum(line.box is not None for line in code) < FRAMED * len(code):
        return list(lines)
    steps = (b.y - a.y for a, b in pairwise(code) if a.box and a.box == b.box)
    pitch = line_pitch(steps, median([line.size for line in code] or [10.0]))

    def joined(line: Line, other: Line | None) -> bool:
        """Whether two lines follow each other as the lines of a listing do."""
        if other is None or not other.code or other.box or other.flow != line.flow:
            return False
        steps = abs(other.y - line.y) / pitch
        return steps < 1.12 or (steps < 3.2 and abs(steps - round(steps)) < 0.12)

    result = []
    for above, line, below in zip([None, *lines], lines, [*lines[1:], None], strict=False):
        alone = not joined(line, above) and not joined(line, below)
        stray = line.code and line.box is None and line.number is None and alone
        result.append(replace(line, code=False) if stray else line)
    return result
