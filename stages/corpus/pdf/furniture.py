"""Running heads and feet, page numbers, and notices that a listing or table goes on."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from math import inf
from statistics import median

from stages.corpus.pdf.glyphs import Piece, Row, rows_of
from stages.corpus.pdf.layout import Page

TOP, BOTTOM = 0, -1  # the index of the outermost row
OUTER_ROWS = 3  # how many rows at the top and the bottom of a page may be running heads and feet
OUTER_ZONE = 0.15  # and how far into the page those may reach, as a share of its height
MIN_REPEATS = 3
MAX_NOTICE = 80  # characters
NOTICE = re.compile(
    r"[(\[]?(?:table [\w.-]+\W+)?continue[sd] (?:on|from) (?:the )?(?:next|previous) (?:page|column)[)\]]?",
    re.IGNORECASE,
)


def without_notices(pages: Sequence[Page]) -> list[Page]:
    """The pages without notices such as "continues on next page"."""
    return [replace(page, pieces=tuple(piece for piece in page.pieces if not _is_notice(piece))) for page in pages]


def _is_notice(piece: Piece) -> bool:
    return len(piece.glyphs) < MAX_NOTICE and NOTICE.fullmatch(piece.text.strip()) is not None


def without_furniture(pages: Sequence[Page]) -> list[Page]:
    """The pages without running heads, feet and page numbers.

    A row in the outer zone is furniture where its text (numbers aside) comes again at its place on other
    pages, or where its place, outside of the running text, is taken on many pages by a row that stands clear
    of the rest and is no larger. The outermost rows go one by one, so that a head of two lines goes too.
    """
    left = {page.number: rows_of(page.pieces) for page in pages}
    height = {page.number: page.height for page in pages}
    offset = _page_offset(left)
    limit = 1.1 * _text_size(left.values())
    for end in (TOP, BOTTOM):
        told: set[int] = set()  # pages whose number was found at this end
        for _ in range(OUTER_ROWS):
            rows = {number: rows for number, rows in left.items() if rows}
            outer = {
                number: rows[number][end]
                for number in rows
                if _from_edge(rows[number][end], height[number], end) < OUTER_ZONE * height[number]
            }
            clear = {number for number in outer if _stands_clear(rows[number], end)}
            found = _repeated(outer, clear, len(rows)) | (clear & _outside(outer, clear, rows, end, limit))
            says = {number for number, row in outer.items() if _says_page(row, number, offset, number in clear)}
            found |= says - told
            told |= says
            for number in found:
                left[number] = left[number][1:] if end == TOP else left[number][:-1]
    return [replace(page, pieces=tuple(p for row in left[page.number] for p in row.pieces)) for page in pages]


def _page_offset(pages: Mapping[int, list[Row]]) -> int | None:
    """The printed number of a page less its place in the file, where most pages agree on it."""
    votes: Counter[int] = Counter()
    for number, rows in pages.items():
        outer = [*rows[:2], *rows[-2:]]
        votes.update({value - number for row in outer for value in _ends(row.text)})
    if not votes:
        return None
    offset, count = votes.most_common(1)[0]
    return offset if count >= max(MIN_REPEATS, 0.4 * sum(bool(rows) for rows in pages.values())) else None


def _ends(text: str) -> list[int]:
    """The numbers of at most four digits that a text begins or ends with."""
    return [
        int(word) for word in re.findall(r"^\W*(\d{1,4})(?!\S*\w)|(?<!\S)(\d{1,4})\W*$", text) for word in word if word
    ]


def _says_page(row: Row, number: int, offset: int | None, clear: bool) -> bool:
    """Whether a row is nothing but the page's number, or begins or ends with it and stands clear of the text."""
    if offset is None or number + offset not in _ends(row.text):
        return False
    return clear or not re.search(r"[^\W\d_]", row.text)


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


def _outside(
    outer: Mapping[int, Row], clear: set[int], rows: Mapping[int, list[Row]], end: int, limit: float
) -> set[int]:
    """Pages whose outermost row, smaller than `limit`, is at a place outside of the text that such rows often take."""
    edge = _text_edge(list(rows.values()), end)
    sign = 1 if end == TOP else -1
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
            sizes[row.size] += sum(len(piece.glyphs) for piece in row.pieces)
    if not sizes:
        return 0.0
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
