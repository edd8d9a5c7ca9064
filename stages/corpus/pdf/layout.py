"""From pieces on pages to rows in reading order: running heads and feet go, columns are read one by one."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from math import inf
from statistics import median

from stages.corpus.pdf.boxes import Box
from stages.corpus.pdf.glyphs import Piece, Row, rows_of

TOP, BOTTOM = 0, -1  # the index of the outermost row
OUTER_ROWS = 3  # how many rows at the top and the bottom of a page may be running heads and feet
OUTER_ZONE = 0.15  # and how far into the page those may reach, as a share of its height
MIN_REPEATS = 3
LEADER = re.compile(r"(?:\.\s?|\u2026\s?|\u00b7\s?){4,}\s*(?:\d+|[ivxlc]+)$")
PAGE_NUMBER = re.compile(r"(?:\D\s+|\.)(?:\d+|[ivxlc]+)$")


@dataclass(frozen=True, slots=True)
class Page:
    """What is on a page; `number` counts from 0, `height` is in points."""

    number: int
    height: float
    pieces: tuple[Piece, ...]
    boxes: tuple[Box, ...]


@dataclass(frozen=True, slots=True)
class Flow:
    """A run of rows read from top to bottom: a page, or a column or full-width band of it."""

    page: int
    column: int
    rows: tuple[Row, ...]


def without_furniture(pages: Sequence[Page]) -> list[Page]:
    """The pages without running heads, feet and page numbers.

    A row in the outer zone is furniture where its text (numbers aside) comes again at its place on other
    pages, or where its place, outside of the running text, is taken on many pages by a row that stands clear
    of the rest and is no larger. The outermost rows go one by one, so that a head of two lines goes too.
    """
    left = {page.number: rows_of(page.pieces) for page in pages}
    height = {page.number: page.height for page in pages}
    for end in (TOP, BOTTOM):
        for _ in range(OUTER_ROWS):
            rows = {number: rows for number, rows in left.items() if rows}
            outer = {
                number: rows[number][end]
                for number in rows
                if _from_edge(rows[number][end], height[number], end) < OUTER_ZONE * height[number]
            }
            clear = {number for number in outer if _stands_clear(rows[number], end)}
            found = _repeated(outer, clear, len(rows)) | (clear & _outside(outer, clear, rows, end))
            for number in found:
                left[number] = left[number][1:] if end == TOP else left[number][:-1]
    return [replace(page, pieces=tuple(p for row in left[page.number] for p in row.pieces)) for page in pages]


def _from_edge(row: Row, height: float, end: int) -> float:
    return row.y if end == TOP else height - row.y


def _places(row: Row) -> tuple[int, int]:
    """Where a row is, in two overlapping bins, so that no place is cut in half by the border of a bin."""
    return int(row.y // 3), int(row.y // 3) + 1


def _repeated(outer: Mapping[int, Row], clear: set[int], total: int) -> set[int]:
    """Pages whose outermost row says the same as those of other pages."""
    texts: dict[tuple[int, str], set[int]] = defaultdict(set)
    for number, row in outer.items():
        for place in _places(row):
            texts[place, pattern(row.text)].add(number)
    found: set[int] = set()
    for (_, text), numbers in texts.items():
        few = MIN_REPEATS if text.strip("# ") else max(MIN_REPEATS, 0.1 * total)
        steady = len(numbers & clear) >= 0.6 * len(numbers) and _in_a_row(numbers)
        if len(numbers) >= few and (steady or len(numbers) > 0.2 * total):
            found |= numbers
    return found


def _outside(outer: Mapping[int, Row], clear: set[int], rows: Mapping[int, list[Row]], end: int) -> set[int]:
    """Pages whose outermost row is at a place outside of the running text that such rows often take."""
    edge = _text_edge(list(rows.values()), end)
    sign = 1 if end == TOP else -1
    limit = 1.1 * _text_size(rows.values())
    beyond = {n for n, row in outer.items() if sign * (edge - row.y) > 0.5 * row.size and row.size < limit}
    places: dict[int, set[int]] = defaultdict(set)
    for number, row in outer.items():
        for place in _places(row):
            places[place].add(number)
    found: set[int] = set()
    for numbers in places.values():
        free = numbers & clear & beyond
        if len(numbers) >= max(MIN_REPEATS, 0.15 * len(rows)) and len(free) >= 0.8 * len(numbers):
            found |= free
    return found


def _text_size(pages: Iterable[list[Row]]) -> float:
    """The largest size in points that a good part of the text has."""
    sizes: Counter[float] = Counter()
    for rows in pages:
        for row in rows:
            sizes[row.size] += len(row.text)
    enough = min(0.15 * sizes.total(), max(sizes.values()))
    return max(size for size, count in sizes.items() if count >= enough)


def _in_a_row(numbers: set[int]) -> bool:
    """Whether most pages of a set have another one close by, as the pages of a chapter do."""
    near = [number for number in numbers if any(number + step in numbers for step in (-3, -2, -1, 1, 2, 3))]
    return len(near) >= 0.6 * len(numbers)


def _text_edge(pages: Sequence[list[Row]], end: int) -> float:
    """The y where running text begins (TOP) or ends (BOTTOM) on most full pages: its outermost close rows."""
    edges = []
    for rows in pages:
        rest = rows
        while len(rest) > 1 and _stands_clear(rest, end):
            rest = rest[1:] if end == TOP else rest[:-1]
        if len(rest) > 1:
            edges.append(rest[end].y)
    if not edges:
        return inf if end == TOP else -inf
    edges.sort(reverse=end == BOTTOM)
    return edges[len(edges) // 10]


def _stands_clear(rows: list[Row], end: int) -> bool:
    """Whether the outermost row is further from its neighbour than rows of the page are from each other."""
    if len(rows) < 2:
        return True
    gap = rows[1].y - rows[0].y if end == TOP else rows[-1].y - rows[-2].y
    steps = [below.y - above.y for above, below in pairwise(rows)]
    return gap > 1.4 * median(steps) and gap > 1.6 * rows[end].size


def pattern(text: str) -> str:
    """A row's text with every number, Arabic or Roman, replaced by `#`."""
    return re.sub(r"\b(?:\d+|[ivxlc]+|[IVXLC]+)\b", "#", " ".join(text.split()))


def reading_order(pages: Sequence[Page]) -> list[Flow]:
    """All rows of the document as flows: the columns of a page one by one, full-width rows in between."""
    gutters = {page.number: _gutter(page) for page in pages}
    full = [page for page in pages if len(page.pieces) >= 10]
    columned = sum(gutters[page.number] is not None for page in full)
    if columned < max(1, 0.35 * len(full)):
        gutters = {}
    flows: list[Flow] = []
    for page in pages:
        gutter = gutters.get(page.number)
        if gutter is None:
            if page.pieces:
                flows.append(Flow(page.number, 0, tuple(rows_of(page.pieces))))
        else:
            flows += _columns(page, gutter)
    return flows


def _gutter(page: Page) -> float | None:
    """The x of the empty strip between two columns of text, None where the page has no such strip."""
    rows = rows_of(page.pieces)
    if len(rows) < 8:
        return None
    left, right = min(row.x0 for row in rows), max(row.x1 for row in rows)
    width = right - left
    cover: Counter[int] = Counter()
    for row in rows:
        cover.update({x for piece in row.pieces for x in range(int(piece.x0), int(piece.x1) + 1)})
    few = 0.15 * len(rows)
    strips: list[tuple[int, int]] = []
    start: int | None = None
    for x in range(int(left + 0.3 * width), int(left + 0.7 * width) + 1):
        if cover[x] <= few:
            start = x if start is None else start
        elif start is not None:
            strips.append((start, x))
            start = None
    for start, end in sorted(strips, key=lambda strip: strip[0] - strip[1]):
        if end - start >= 7 and _column_edges(rows, start, end):
            return (start + end) / 2
    return None


def _column_edges(rows: Sequence[Row], start: int, end: int) -> bool:
    """Whether text lines up on the right of the strip and fills the column on its left."""
    pieces = [piece for row in rows for piece in row.pieces]
    behind = [piece for piece in pieces if end - 2 <= piece.x0]
    before = [piece for piece in pieces if piece.x1 <= start + 2]
    edge = [piece for piece in behind if piece.x0 < end + 6]
    long = [piece for piece in (*edge, *before) if len(piece.glyphs) >= 15]
    return (
        len(edge) >= 5
        and len(before) >= 5
        and len(edge) >= 0.25 * len(rows)
        and len(before) >= 0.25 * len(rows)
        and len(long) >= 0.4 * (len(edge) + len(before))
    )


def _columns(page: Page, gutter: float) -> list[Flow]:
    """Bands of two columns between the rows that run across the gutter."""
    flows: list[Flow] = []
    sides: tuple[list[Piece], list[Piece]] = ([], [])
    across: list[Piece] = []

    def close(column: int, pieces: list[Piece]) -> None:
        if pieces:
            flows.append(Flow(page.number, column, tuple(rows_of(pieces))))
            pieces.clear()

    for row in rows_of(page.pieces):
        if any(piece.x0 < gutter - 3 and piece.x1 > gutter + 3 for piece in row.pieces):
            close(1, sides[0])
            close(2, sides[1])
            across += row.pieces
        else:
            close(0, across)
            for piece in row.pieces:
                sides[piece.x0 >= gutter - 3].append(piece)
    close(1, sides[0])
    close(2, sides[1])
    close(0, across)
    return flows


def without_contents(pages: Sequence[Page]) -> list[Page]:
    """The pages without the entries of tables of contents: rows that lead with dots to a page number."""
    return [_without_contents(page) for page in pages]


def _without_contents(page: Page) -> Page:
    rows = rows_of(page.pieces)
    leaders = sum(bool(LEADER.search(row.text)) for row in rows)
    entries = [row for row in rows if PAGE_NUMBER.search(row.text)]
    if leaders < 3 or len(entries) < 0.5 * len(rows):
        return page
    kept = [row for row in rows if not PAGE_NUMBER.search(row.text)]
    return replace(page, pieces=tuple(piece for row in kept for piece in row.pieces))
