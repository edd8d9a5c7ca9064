"""Tables of contents, lists of figures and indexes: pages to find things by, not to read."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from stages.corpus.pdf.glyphs import rows_of
from stages.corpus.pdf.layout import Page

LEADER = re.compile(r"(?:\.\s?|\u2026\s?|\u00b7\s?){4,}\s*(?:\d+|[ivxlc]+)$")
ENTRY = re.compile(r",\s?\d{1,4}(?:\s?[\u2013-]\s?\d{1,4})?$")  # "name, 12, 34"
LATE = 0.75  # the share of a document before its index
LAST_NUMBER = re.compile(r"(?:^|\s|\.)(?:\d+|[ivxlc]+)$")
TITLES = (
    "contents",
    "table of contents",
    "brief contents",
    "list of figures",
    "list of tables",
    "list of listings",
    "figures",
    "tables",
)
PAGE_NUMBER = re.compile(r"(?:\D\s+|\.)(?:\d+|[ivxlc]+)$")


def without_contents(pages: Sequence[Page]) -> list[Page]:
    """The pages without the entries of tables of contents, and the pages of an index without text."""
    kept: list[Page] = []
    in_index = False
    for page in pages:
        in_index = page.number > LATE * len(pages) and _is_index(page, in_index)
        kept.append(replace(page, pieces=()) if in_index else _without_contents(page))
    return kept


def _is_index(page: Page, goes_on: bool) -> bool:
    """Whether many pieces of a page end with page numbers after a comma: fewer do where the page says what it is."""
    entries = sum(bool(ENTRY.search(piece.text)) for piece in page.pieces)
    titled = any(piece.text.strip().lower() in ("index", "subject index") for piece in page.pieces[:6])
    return entries >= (2 if titled or goes_on else 8) and entries >= (0.2 if titled or goes_on else 0.4) * len(
        page.pieces
    )


def _without_contents(page: Page) -> Page:
    rows = rows_of(page.pieces)
    leaders = sum(bool(LEADER.search(row.text)) for row in rows)
    entries = [row for row in rows if PAGE_NUMBER.search(row.text)]
    if leaders < 3 or len(entries) < 0.5 * len(rows):
        return page
    kept = [row for row in rows if not LAST_NUMBER.search(row.text) and row.text.strip().lower() not in TITLES]
    return replace(page, pieces=tuple(piece for row in kept for piece in row.pieces))
