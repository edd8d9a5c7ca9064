"""Listings: which lines are code, where one block ends and the next begins, and their text on the grid."""

from __future__ import annotations

import ast
import re
import warnings
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby, pairwise
from statistics import median, quantiles

from stages.corpus.pdf.boxes import Box, code_boxes
from stages.corpus.pdf.chars import BULLETS, as_typed
from stages.corpus.pdf.glyphs import Glyph, Row, Style
from stages.corpus.pdf.grid import column_width, line_pitch, snap
from stages.corpus.pdf.layout import Flow
from stages.corpus.pdf.numbers import leading, number_styles

MAX_BLANKS = 3  # blank lines within one block where neither line numbers nor a frame prove more
MAX_RATIO = 1.35  # above this many times the usual size of code, a line is a heading or a signature
FEW_LINES = 5  # fewer tell nothing about a margin
ROOM_AT_FOOT = 4  # lines that may be left free below a block that goes on on the next page
KEYWORDS = re.compile(
    r"\s*(?:>>> |import \w|from \w[\w.]* import |(?:async )?def \w+\(|class \w+[(:]|@\w"
    r"|(?:if|elif|while|for|with) .*:|(?:else|try|finally):|except\b.*:|return\b|print\()"
)
PLAIN = re.compile(r"\s*(?:#|[\w.\[\]]+ (?:[-+*/|&%]|//|<<|>>)?= .*[^;{]$|[\w.]+\(.*[^;{]$)")


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
    styles = number_styles(flows, mono)
    size = _code_size(flows, mono)
    lines = [[_line(i, flow, row, mono, styles, size) for row in flow.rows] for i, flow in enumerate(flows)]
    prose = [(a, b) for here in lines for a, b in pairwise(here) if not a.code and not b.code]
    pitch = line_pitch((b.y - a.y for a, b in prose), median([a.size for a, _ in prose] or [10.0]))
    return [line for flow, here in zip(flows, lines, strict=True) for line in _in_context(flow, here, mono, pitch)]


def _line(index: int, flow: Flow, row: Row, mono: frozenset[Style], styles: frozenset[Style], code_size: float) -> Line:
    lead = leading(row)
    if lead and lead.style in styles and (lead.rest is None or is_code(lead.rest, mono, code_size)):
        size = lead.rest.size if lead.rest else code_size
        return Line(index, flow.page, flow.column, row.y, size, lead.rest, lead.value, True)
    return Line(index, flow.page, flow.column, row.y, row.size, row, None, is_code(row, mono, code_size))


def is_code(row: Row, mono: frozenset[Style], code_size: float) -> bool:
    """Whether a row reads as code: monospaced, in one size, not as large as a heading, no item of a list."""
    ink = row.ink
    sizes = Counter(glyph.style.size for glyph in ink if glyph.style in mono)
    count = sum(sizes.values())
    if count < 0.85 * len(ink) or ink[0].char in BULLETS:
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


def _in_context(flow: Flow, lines: Sequence[Line], mono: frozenset[Style], prose_pitch: float) -> list[Line]:
    """The lines of a flow with their verdicts corrected by their neighbours'."""
    result: list[Line] = []
    right = max((line.row.x1 for line in lines if line.row), default=0.0)
    for index, line in enumerate(lines):
        above = lines[index - 1] if index else None
        below = lines[index + 1] if index + 1 < len(lines) else None
        if line.row is None and not _counts_on(above, line, below):
            result.append(replace(line, row=flow.rows[index], number=None, code=False))
        elif line.code and above and _ends_paragraph(above, line, below, right, prose_pitch):
            result.append(replace(line, code=False))
        elif above and below and _is_between(above, line, below, mono):
            result.append(replace(line, code=True, size=above.size))
        else:
            result.append(line)
    return result


def _counts_on(above: Line | None, line: Line, below: Line | None) -> bool:
    """Whether a number alone on its row continues the line numbers above or below it."""
    numbers = [other.number for other in (above, below) if other and other.number is not None]
    return line.number is not None and any(abs(number - line.number) == 1 for number in numbers)


def _ends_paragraph(above: Line, line: Line, below: Line | None, right: float, prose_pitch: float) -> bool:
    """Whether a line all in code is still a part of the full line of prose above it."""
    if above.code or (below and below.code) or line.number is not None or not (above.row and line.row):
        return False
    return (
        line.y - above.y < 1.08 * prose_pitch
        and above.row.x1 > right - 8 * above.size
        and above.row.text[-1] not in ":.?!;"
        and abs(line.row.x0 - above.row.x0) < 2 * above.size
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
    return result


@dataclass(frozen=True, slots=True)
class Measures:
    """What was measured of the document, in points.

    Column widths and line pitches of code by font size, left margins by side of the leaf and column, and how
    far down the text of a full page reaches.
    """

    widths: Mapping[float, float]
    pitches: Mapping[float, float]
    margins: Mapping[tuple[int, int], float]
    foot: float

    def margin(self, line: Line) -> float:
        same_column = (margin for (_, column), margin in self.margins.items() if column == line.column)
        return self.margins.get((line.page % 2, line.column), next(same_column, 0.0))


def measure(lines: Sequence[Line]) -> Measures:
    glyphs: dict[float, list[list[Glyph]]] = defaultdict(list)
    steps: dict[float, list[float]] = defaultdict(list)
    lefts: dict[tuple[int, int], Counter[int]] = defaultdict(Counter)
    feet: dict[int, float] = defaultdict(float)
    for line in lines:
        feet[line.page] = max(feet[line.page], line.y)
        if line.row and line.code:
            glyphs[line.size].append(line.glyphs)
        elif line.row:
            lefts[line.page % 2, line.column][round(line.row.x0)] += 1
    for a, b in pairwise(lines):
        if a.code and b.code and a.flow == b.flow and a.size == b.size:
            steps[a.size].append(b.y - a.y)
    last = list(feet.values())
    return Measures(
        {size: column_width(rows) for size, rows in glyphs.items()},
        {size: line_pitch(steps[size], size) for size in glyphs},
        {side: xs.most_common(1)[0][0] for side, xs in lefts.items() if xs.total() >= FEW_LINES},
        quantiles(last, n=20, method="inclusive")[-1] if len(last) > 1 else sum(last),
    )


def blocks_of(lines: Sequence[Line], measures: Measures) -> list[str]:
    """The text of each block of code, from lines of code that follow each other in reading order."""
    groups: list[tuple[list[Line], list[int]]] = []
    for line in lines:
        gap = _blanks_between(groups[-1][0][-1], line, measures) if groups else None
        if gap is None:
            groups.append(([line], [0]))
        else:
            groups[-1][0].append(line)
            groups[-1][1].append(gap)
    texts = [_grid_text(group, blanks, measures) for group, blanks in groups]
    return [text for text in texts if text]


def _blanks_between(above: Line, below: Line, measures: Measures) -> int | None:
    """How many blank lines were between two lines of code; None where a new block begins."""
    if above.row and below.row and above.size != below.size:
        return None
    size = above.size if above.row else below.size
    pitch = measures.pitches.get(size, 1.2 * size)
    count = below.number - above.number if above.number is not None and below.number is not None else None
    if above.flow != below.flow:
        if count is not None:
            return count - 1 if 1 <= count <= 2 * ROOM_AT_FOOT else None
        blanks = _blanks_at_break(below, pitch)
        return blanks if measures.foot - above.y < ROOM_AT_FOOT * pitch else None
    steps = (below.y - above.y) / pitch
    if count is not None:
        return count - 1 if count >= 1 and abs(steps - count) < 0.4 + 0.1 * count else None
    whole = max(1, round(steps))
    if above.box and above.box == below.box:
        return whole - 1
    if above.box and below.box and whole > 1:
        return None
    return whole - 1 if abs(steps - whole) < 0.2 and whole <= MAX_BLANKS + 1 else None


def _blanks_at_break(below: Line, pitch: float) -> int:
    """Blank lines at the beginning of a page, where the frame has room for them above the first line of code.

    In a line of text about 0.78 of the pitch is above the baseline. Blank lines at the end of the page before
    cannot be told: many programs stretch the frame to the foot of the page.
    """
    room = (below.y - below.box.y0) / pitch if below.box else 0.0
    return min(max(0, round(room - 0.78)), MAX_BLANKS)


def _grid_text(lines: Sequence[Line], blanks: Sequence[int], measures: Measures) -> str:
    size = next((line.size for line in lines if line.row), lines[0].size)
    width = measures.widths.get(size, 0.6 * size)
    grid = snap([line.glyphs for line in lines], width, [measures.margin(line) for line in lines])
    text: list[str] = []
    for blank, line in zip(blanks, grid, strict=True):
        text += [""] * blank + [as_typed(line).rstrip()]
    return "\n".join(text).strip("\n")


def python_like(text: str) -> bool:
    """Whether a block is Python: many of its lines begin like it, or all of it parses and does something."""
    lines = [line for line in text.split("\n") if line.strip()]
    sure = sum(bool(KEYWORDS.match(line)) for line in lines)
    likely = sum(bool(PLAIN.match(line)) for line in lines)
    if text.startswith(">>> ") or sure >= 0.25 * len(lines) > 0 or likely > max(2, 0.5 * len(lines)):
        return True
    try:
        with warnings.catch_warnings(action="ignore"):
            tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return any(not _is_word(node) for node in tree.body) or text.startswith("# ")


def _is_word(node: ast.stmt) -> bool:
    """Whether a statement calls nothing and changes nothing: plain words and numbers parse too."""
    return isinstance(node, ast.Expr) and not any(isinstance(part, ast.Call) for part in ast.walk(node))
