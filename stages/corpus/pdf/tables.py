"""Tables: lines whose parts stand in columns, as Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median

from stages.corpus.pdf.glyphs import Piece, text_of
from stages.corpus.pdf.texts import Body, Text
from stages.corpus.pdf.words import join_lines

NEAR = 2.5  # points that left edges, right edges or centres of cells in one column may differ by
MAX_STEP = 4.0  # line pitches between two lines of a table


@dataclass(frozen=True, slots=True)
class Column:
    """From the left edge of a column's leftmost text to the right edge of its rightmost, in points."""

    x0: float
    x1: float


@dataclass(frozen=True, slots=True)
class Table:
    """The cells of a table, row by row, the header first; `lefts` are the left edges of its columns."""

    rows: tuple[tuple[str, ...], ...]
    lefts: tuple[float, ...]

    def continues(self, above: Table) -> bool:
        """Whether it goes on with a table that ended on the page or in the column before."""
        return len(self.lefts) == len(above.lefts) and all(
            abs((a - self.lefts[0]) - (b - above.lefts[0])) < 3 * NEAR
            for a, b in zip(self.lefts, above.lefts, strict=True)
        )

    def after(self, above: Table) -> Table:
        """Both as one; a header said again goes."""
        return Table(above.rows + self.rows[self.rows[0] == above.rows[0] :], above.lefts)


def markdown_table(table: Table) -> str:
    lines = ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in table.rows]
    return "\n".join([lines[0], "|" + " --- |" * len(table.lefts), *lines[1:]])


def table_at(texts: Sequence[Text], start: int, body: Body, rules: Sequence[float]) -> tuple[Table, int] | None:
    """The table that begins at a line, and how many lines it takes; None where none does.

    `rules` are the heights of the horizontal lines on the page.
    """
    end = _end(texts, start, body)
    lines = texts[start:end]
    if sum(len(text.cells) > 1 for text in lines) < 2:
        return None
    columns = _columns(lines)
    if len(columns) < 2:
        return None
    kept = []
    for text in lines:
        if any(_column(cell, columns) is None for cell in text.cells):
            break
        kept.append(text)
    while kept and len(kept[-1].cells) == 1 and not _belongs(kept, columns, body, rules):
        kept.pop()
    if sum(len(text.cells) > 1 for text in kept) < 2:
        return None
    rows = [_cells(row, columns, body) for row in _rows(kept, columns, body, rules)]
    return Table(tuple(rows), tuple(column.x0 for column in columns)), len(kept)


def _end(texts: Sequence[Text], start: int, body: Body) -> int:
    """How far lines go on that may be one table, to the last one with more than one cell and those wrapped below it."""
    first = texts[start]
    end = start + 1
    for index in range(start + 1, len(texts)):
        above, text = texts[index - 1], texts[index]
        if text.line.flow != first.line.flow or text.line.y - above.line.y > MAX_STEP * body.pitch(above.size):
            break
        if text.size > 1.15 * first.size or text.size < (0.8 if text.plain else 0.6) * first.size:
            break
        if len(text.cells) > 1:
            if not any(_aligned(text, other) for other in texts[max(start, index - 8) : index] if len(other.cells) > 1):
                break
        elif index - end > 7:
            break
        else:
            continue
        end = index + 1
    while end < len(texts) and len(texts[end].cells) == 1 and texts[end].line.flow == first.line.flow:
        if texts[end].line.y - texts[end - 1].line.y > 1.35 * body.pitch(first.size):
            break
        end += 1
    return end


def _aligned(row: Text, other: Text) -> bool:
    """Whether two lines share an edge or the centre of a cell after the first: tables do, justified lines do not."""
    mine, theirs = [_span(cell) for cell in row.cells[1:]], [_span(cell) for cell in other.cells[1:]]
    return any(
        min(abs(a.x0 - b.x0), abs(a.x1 - b.x1), abs(a.x0 + a.x1 - b.x0 - b.x1) / 2) < NEAR for a in mine for b in theirs
    )


def _span(cell: Sequence[Piece]) -> Column:
    return Column(cell[0].x0, max(piece.x1 for piece in cell))


def _columns(texts: Sequence[Text]) -> list[Column]:
    """The columns: what the cells of those lines cover that have the most cells."""
    most = max(len(text.cells) for text in texts)
    spans = sorted(
        (_span(cell) for text in texts if len(text.cells) == most for cell in text.cells), key=lambda s: s.x0
    )
    columns: list[Column] = []
    for span in spans:
        if columns and span.x0 < columns[-1].x1 + 1:
            columns[-1] = Column(columns[-1].x0, max(columns[-1].x1, span.x1))
        else:
            columns.append(span)
    return columns


def _column(cell: Sequence[Piece], columns: Sequence[Column]) -> int | None:
    """The column that a cell stands in, None where it reaches from one into the next."""
    span = _span(cell)
    overlaps = [min(span.x1, column.x1) - max(span.x0, column.x0) for column in columns]
    best = max(range(len(columns)), key=overlaps.__getitem__)
    if overlaps[best] <= 0:
        best = max((i for i, column in enumerate(columns) if column.x0 <= span.x0 + NEAR), default=0)
    before = columns[best - 1].x1 if best else None
    behind = columns[best + 1].x0 if best + 1 < len(columns) else None
    free = (before is None or span.x0 > before - NEAR) and (behind is None or span.x1 < behind - NEAR)
    return best if free else None


def _belongs(kept: Sequence[Text], columns: Sequence[Column], body: Body, rules: Sequence[float]) -> bool:
    """Whether the last line, of one cell, is still in the table: within its rules, or wrapped in a later column."""
    above, last = kept[-2], kept[-1]
    if any(above.line.y < y < last.line.y for y in rules):
        return any(last.line.y < y < last.line.y + 2 * body.pitch(last.size) for y in rules)
    return _column(last.cells[0], columns) != 0 or any(
        last.line.y < y < last.line.y + 1.2 * body.pitch(last.size) for y in rules
    )


def _rows(texts: Sequence[Text], columns: Sequence[Column], body: Body, rules: Sequence[float]) -> list[list[Text]]:
    """The lines of each row: what stands between two rules, or clear of the rest, or begins in the first column."""
    inner = [y for y in rules if texts[0].line.y < y < texts[-1].line.y]
    between = [any(a.line.y < y < b.line.y for y in inner) for a, b in pairwise(texts)]
    starts = [_column(text.cells[0], columns) == 0 for text in texts]
    firsts = [text for text, start in zip(texts, starts, strict=True) if start]
    steps = [b.line.y - a.line.y for a, b in pairwise(firsts)]
    padded = bool(steps) and median(steps) > 1.15 * body.pitch(texts[0].size)
    rows = [[texts[0]]]
    for above, text, ruled, start in zip(texts, texts[1:], between, starts[1:], strict=False):
        if sum(between) >= 2 and 4 * sum(between) >= len(texts) - 1:
            new = ruled
        elif padded:
            new = text.line.y - above.line.y > 1.15 * body.pitch(text.size) or ruled
        else:
            new = start or ruled
        if new:
            rows.append([])
        rows[-1].append(text)
    return rows


def _cells(row: Sequence[Text], columns: Sequence[Column], body: Body) -> tuple[str, ...]:
    lines: list[list[str]] = [[] for _ in columns]
    for text in row:
        for cell in text.cells:
            index = _column(cell, columns) or 0
            lines[index].append(text_of([glyph for piece in cell for glyph in piece.glyphs], body.mono))
    return tuple(join_lines(cell, body.words) if cell else "" for cell in lines)
