"""What a page holds, and the order to read it in: rows of a page, or of its columns one by one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from stages.corpus.pdf.boxes import Box
from stages.corpus.pdf.glyphs import Piece, Row, rows_of

FULL = 10  # pieces on a page that can tell whether there are columns
COLUMNED = 0.35  # of the full pages that have to agree on a gutter
STEADY = 6.0  # points that the gutters of two pages may differ by
MIN_GUTTER = 7  # points


@dataclass(frozen=True, slots=True)
class Page:
    """What is on a page; `number` counts from 0, `height` and the heights of horizontal `rules` are in points."""

    number: int
    height: float
    pieces: tuple[Piece, ...]
    boxes: tuple[Box, ...]
    rules: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Flow:
    """A run of rows read from top to bottom: a page, or a column or full-width band of it."""

    page: int
    column: int
    rows: tuple[Row, ...]


def reading_order(pages: Sequence[Page]) -> list[Flow]:
    """All rows of the document as flows: the columns of a page one by one, full-width rows in between."""
    own = {page.number: gutter for page in pages if (gutter := _gutter(page)) is not None}
    shared = _shared_gutters(pages, own)
    flows: list[Flow] = []
    for page in pages:
        gutter = _gutter_of(page, own.get(page.number), shared)
        if gutter is not None:
            flows += _columns(page, gutter)
        elif page.pieces:
            flows.append(Flow(page.number, 0, tuple(rows_of(page.pieces))))
    return flows


def _shared_gutters(pages: Sequence[Page], gutters: Mapping[int, float]) -> list[float]:
    """The x of the gutters that many pages of the document have, the most common first."""
    full = [page for page in pages if len(page.pieces) >= FULL]
    own = {page.number: gutters[page.number] for page in full if page.number in gutters}
    if len(own) < max(1, COLUMNED * len(full)):
        return []
    votes = Counter(round(gutter) for gutter in own.values())
    near = {x: sum(count for y, count in votes.items() if abs(x - y) <= STEADY) for x in votes}
    return [x for x in sorted(near, key=near.__getitem__, reverse=True) if near[x] >= 0.2 * len(own)]


def _gutter_of(page: Page, own: float | None, shared: Sequence[float]) -> float | None:
    """The gutter of a page of a document in columns: its own where it has one, else one of the document's.

    A page without a gutter of its own may hold little text, or code that runs over the edge of its column.
    """
    if not shared:
        return None
    if own is not None and any(abs(own - x) <= STEADY for x in shared):
        return own
    rows = rows_of(page.pieces)
    crossed = {x: sum(_crosses(piece, x) for row in rows for piece in row.pieces) for x in shared[:4]}
    best = min(crossed, key=crossed.__getitem__)
    return best if crossed[best] <= 0.3 * len(rows) else own


def _crosses(piece: Piece, gutter: float) -> bool:
    return piece.x0 < gutter - 3 and piece.x1 > gutter + 3


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
        if end - start >= MIN_GUTTER and _column_edges(rows, start, end):
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
    """Bands of two columns between the rows that run across the gutter.

    A row that crosses it with text beside it in the right column is no such row: it is too long for its column.
    """
    flows: list[Flow] = []
    sides: tuple[list[Piece], list[Piece]] = ([], [])
    across: list[Piece] = []
    behind = [piece for piece in page.pieces if piece.x0 >= gutter - 3]

    def close(column: int, pieces: list[Piece]) -> None:
        if pieces:
            flows.append(Flow(page.number, column, tuple(rows_of(pieces))))
            pieces.clear()

    for row in rows_of(page.pieces):
        wide = any(_crosses(piece, gutter) for piece in row.pieces)
        if wide and not any(abs(piece.y - row.y) < 0.9 * piece.size for piece in behind):
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
