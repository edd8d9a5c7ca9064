"""Blocks of code: where one ends and the next begins, and their text on the grid."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median, quantiles

from stages.corpus.pdf.chars import as_typed
from stages.corpus.pdf.code import Line
from stages.corpus.pdf.glyphs import Glyph
from stages.corpus.pdf.grid import column_width, line_pitch, snap
from stages.corpus.pdf.wrapped import unwrapped

MAX_BLANKS = 3  # blank lines within one block where neither line numbers nor a frame prove more
FEW_LINES = 5  # fewer tell nothing about a margin
ABOVE_BASELINE = 0.78  # line pitches; what a line of text takes above its baseline
SLACK = 0.1
MOST = 0.6  # of the lines of a block have a number, where one without is wrapped
ROOM_AT_FOOT = 4  # lines that may be left free below a block that goes on on the next page


@dataclass(frozen=True, slots=True)
class Measures:
    """What was measured of the document, in points.

    Column widths and line pitches of code by font size, left margins by side of the leaf and column, how far down the
    text of a full page reaches, how many line pitches below the top of its frame a listing begins, the right ends of
    the longest lines of code by side of the leaf and column, and where the footnotes of a flow begin.
    """

    widths: Mapping[float, float]
    pitches: Mapping[float, float]
    margins: Mapping[tuple[int, int], float]
    foot: float
    padding: float
    rights: Mapping[tuple[int, int], float]
    notes: Mapping[int, float]

    def at_foot(self, line: Line, pitch: float) -> bool:
        """Whether a line is so far down that what follows on the next page may go on with it."""
        note = self.notes.get(line.flow, 0.0)
        foot = min(self.foot, note - pitch) if note > line.y else self.foot
        return foot - line.y < ROOM_AT_FOOT * pitch

    def margin(self, line: Line) -> float:
        same_column = (margin for (_, column), margin in self.margins.items() if column == line.column)
        return self.margins.get((line.page % 2, line.column), next(same_column, 0.0))

    def room(self, line: Line, width: float) -> int:
        """How many columns a line of code has left before the rightmost end of any line of code in its place."""
        end = line.row.x1 if line.row else 0.0
        return int((self.rights[line.page % 2, line.column] - end) / width + 0.3)


def measure(lines: Sequence[Line], notes: Mapping[int, float]) -> Measures:
    """The measures of a document; `notes` are the heights that footnotes begin at in the flows that have any."""
    glyphs: dict[float, list[list[Glyph]]] = defaultdict(list)
    steps: dict[float, list[float]] = defaultdict(list)
    lefts: dict[tuple[int, int], Counter[int]] = defaultdict(Counter)
    feet: dict[int, float] = defaultdict(float)
    rights: dict[tuple[int, int], float] = defaultdict(float)
    for line in lines:
        feet[line.page] = max(feet[line.page], line.y)
        if line.row and line.code:
            glyphs[line.size].append(line.glyphs)
            rights[line.page % 2, line.column] = max(rights[line.page % 2, line.column], line.row.x1)
        elif line.row:
            lefts[line.page % 2, line.column][round(line.row.x0)] += 1
    for a, b in pairwise(lines):
        if a.code and b.code and a.flow == b.flow and a.size == b.size:
            steps[a.size].append(b.y - a.y)
    last = list(feet.values())
    pitches = {size: line_pitch(steps[size], size) for size in glyphs}
    tops = [
        (b.y - b.box.y0) / pitches[b.size]
        for a, b in pairwise(lines)
        if b.row and b.box and a.box != b.box and a.flow == b.flow
    ]
    return Measures(
        {size: column_width(rows) for size, rows in glyphs.items()},
        pitches,
        {side: _margin(xs) for side, xs in lefts.items() if xs.total() >= FEW_LINES},
        quantiles(last, n=20, method="inclusive")[-1] if len(last) > 1 else sum(last),
        median(tops) if tops else ABOVE_BASELINE,
        rights,
        notes,
    )


def _margin(lefts: Counter[int]) -> int:
    """The leftmost of the common left edges: most lines may be indented on the pages of one side."""
    few = 0.2 * max(lefts.values())
    return min(x for x, count in lefts.items() if count >= few)


@dataclass(frozen=True, slots=True)
class Listing:
    """A block of code and the page it begins on."""

    text: str
    page: int


def blocks_of(lines: Sequence[Line], measures: Measures) -> list[Listing]:
    """The blocks of code, from lines of code that follow each other in reading order."""
    groups: list[tuple[list[Line], list[int]]] = []
    for line in lines:
        gap = _blanks_between(groups[-1][0][-1], line, measures) if groups else None
        if gap is None or (gap > 0 and _stands_out(groups[-1][0], line, measures)):
            groups.append(([line], [0]))
        else:
            groups[-1][0].append(line)
            groups[-1][1].append(gap)
    listings = [Listing(_grid_text(group, blanks, measures), group[0].page) for group, blanks in groups]
    return [listing for listing in listings if listing.text]


def _stands_out(group: Sequence[Line], line: Line, measures: Measures) -> bool:
    """Whether a line after a gap is further to the left than a whole block, and neither number nor frame joins them."""
    if line.row is None or line.number is not None or (line.box and line.box == group[-1].box):
        return False
    lefts = [above.row.x0 - measures.margin(above) for above in group if above.row]
    return bool(lefts) and line.row.x0 - measures.margin(line) < min(lefts) - 0.5 * line.size


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
        if above.box and below.box and abs((above.box.x1 - above.box.x0) - (below.box.x1 - below.box.x0)) > 3:
            return None
        blanks = _blanks_at_break(below, pitch, measures.padding)
        return blanks if measures.at_foot(above, pitch) else None
    steps = (below.y - above.y) / pitch
    if count is not None:
        return count - 1 if count >= 1 and abs(steps - count) < 0.4 + 0.1 * count else None
    whole = max(1, round(steps))
    if above.box and above.box == below.box:
        return whole - 1
    if above.row and below.row and ((above.box is None) != (below.box is None) or (above.box and whole > 1)):
        return None
    if 0.5 < steps < 1:
        return 0  # closer than most of the code of this size
    return whole - 1 if abs(steps - whole) < 0.2 and whole <= MAX_BLANKS + 1 else None


def _blanks_at_break(below: Line, pitch: float, padding: float) -> int:
    """Blank lines at the beginning of a page, where the frame has room for them above the first line of code.

    A frame that goes on may be without the padding that it begins with. Blank lines at the end of the page before
    cannot be told: many programs stretch the frame to the foot of the page.
    """
    room = (below.y - below.box.y0) / pitch if below.box else 0.0
    return min(max(0, round(room - max(padding, ABOVE_BASELINE) + SLACK)), MAX_BLANKS)


def _grid_text(lines: Sequence[Line], blanks: Sequence[int], measures: Measures) -> str:
    size = next((line.size for line in lines if line.row), lines[0].size)
    width = measures.widths.get(size, 0.6 * size)
    grid = snap([line.glyphs for line in lines], width, [measures.margin(line) for line in lines])
    numbered = sum(line.number is not None for line in lines) > MOST * len(lines)
    text: list[str] = []
    room: list[int] = []
    goes_on: list[bool] = []
    for blank, line, columns in zip(blanks, lines, grid, strict=True):
        text += [""] * blank + [as_typed(columns).rstrip()]
        room += [0] * blank + [measures.room(line, width)]
        goes_on += [False] * blank + [numbered and line.number is None]
    return "\n".join(unwrapped(text, room, goes_on)).strip("\n")
