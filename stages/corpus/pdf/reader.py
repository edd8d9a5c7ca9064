"""PDF to Markdown by geometry: headings, paragraphs, lists, and code with indentation and blank lines intact.

What counts is measured, not named: code is text whose glyphs have one advance width, its characters are
snapped to the grid they stand on, its blank lines come from line numbers, frames or the line pitch. The
road is:

    glyphs, pieces and rows (glyphs, boxes)
    → rows in reading order, without running heads (layout)
    → lines of code and of prose (code, numbers, typewriter)
    → blocks of code (code, grid) and paragraphs (prose)
    → Markdown (here)
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

from stages.corpus.pdf.boxes import read_boxes
from stages.corpus.pdf.cells import without_cells
from stages.corpus.pdf.code import Line, in_boxes, lines_of
from stages.corpus.pdf.contents import without_contents
from stages.corpus.pdf.footnotes import split_footnotes
from stages.corpus.pdf.furniture import without_furniture, without_notices
from stages.corpus.pdf.glyphs import Style, monospaced, read_pieces, unreadable
from stages.corpus.pdf.layout import Page, reading_order
from stages.corpus.pdf.listings import Listing, blocks_of, measure
from stages.corpus.pdf.markdown import to_markdown
from stages.corpus.pdf.outline import Block, outlined, with_notes
from stages.corpus.pdf.prose import Paragraph, paragraphs_of
from stages.corpus.pdf.texts import Text, measure_body, texts_of
from stages.corpus.pdf.typewriter import with_prose

if TYPE_CHECKING:
    import pymupdf

MAX_PAGES = 20_000  # the longest manuals have some thousand
EMPTY_START = 2_000  # pages without any text, after which the rest is not looked at
MAX_UNKNOWN = 0.3  # of all characters may be unknown
FEW_CHARS_PER_PAGE = 10  # below this on average a document has no text to speak of
NO_TITLE = re.compile(
    r"(table of )?contents|preface|index|untitled|unknown|document\d*|microsoft word.*|\S*\.[a-z]{2,4}",
    re.IGNORECASE,
)


class UnreadablePdf(Exception):
    """A PDF that gives no text.

    `reason` is 'encrypted', 'damaged', 'empty', 'scanned', 'no-unicode' or 'too-long'; the message says it in words.
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(reason, message)  # both, as an error that comes from another process is made of them
        self.reason = reason

    def __str__(self) -> str:
        return str(self.args[1])


@dataclass(frozen=True)
class PdfText:
    """A document as Markdown, its title if one is known, and how many pages and fenced code blocks it has.

    `page_starts` has for each page the offset in `markdown` of the first block that begins there or later.
    """

    markdown: str
    title: str | None
    pages: int
    code_blocks: int
    page_starts: tuple[int, ...]


def read_pdf(path: Path) -> PdfText:
    """Read a PDF as Markdown.

    Raises UnreadablePdf where no text can be had, and OSError where the file cannot be read at all.
    """
    with _opened(path) as document:
        pages = _pages(path, document)
        title = (document.metadata or {}).get("title") or ""
    glyphs = [glyph for page in pages for piece in page.pieces for glyph in piece.glyphs]
    mono = monospaced(glyphs)
    flows = reading_order(without_contents(without_furniture(without_notices(pages))))
    rules = {page.number: page.rules for page in pages}
    lines = without_cells(lines_of(flows, mono), mono, rules)
    lines = in_boxes(lines, {page.number: page.boxes for page in pages})
    lines, typewritten = with_prose(lines)
    blocks = blocks_in_order(lines, frozenset() if typewritten else mono, rules)
    text, starts = to_markdown(blocks, len(pages))
    return PdfText(
        text,
        _title(title, blocks),
        len(pages),
        sum(isinstance(block, Listing) for block in blocks),
        starts,
    )


@contextmanager
def _opened(path: Path) -> Iterator[pymupdf.Document]:
    import pymupdf

    pymupdf.TOOLS.mupdf_display_errors(False)
    pymupdf.TOOLS.mupdf_display_warnings(False)
    if path.stat().st_size == 0:
        raise UnreadablePdf("empty", f"{path.name} has zero bytes")
    try:
        document = pymupdf.open(path, filetype="pdf")
    except Exception as error:  # MuPDF raises many kinds, RuntimeError among them
        raise UnreadablePdf("damaged", f"{path.name} cannot be opened as a PDF: {error}") from error
    with document:
        if not document.is_pdf:
            raise UnreadablePdf("damaged", f"{path.name} is not a PDF")
        if document.needs_pass and not document.authenticate(""):
            raise UnreadablePdf("encrypted", f"{path.name} needs a password")
        yield document


def _pages(path: Path, document: pymupdf.Document) -> list[Page]:
    """The pages with their text. Pages that cannot be read are empty, as long as others hold text."""
    count = _page_count(path, document)
    pages, broken, pictures, chars, unknown = [], 0, 0, 0, 0
    for number in range(count):
        page, has_picture = _page(document, number)
        broken += page is None
        pictures += has_picture
        pages.append(page or Page(number, 0.0, (), (), ()))
        chars += sum(len(piece.glyphs) for piece in pages[-1].pieces)
        unknown += sum(unreadable(piece) for piece in pages[-1].pieces)
        if chars == 0 and number + 1 == EMPTY_START:
            break
    if chars == 0 and broken:
        raise UnreadablePdf("damaged", f"{path.name}: none of its {count} pages can be read")
    if pictures and chars < FEW_CHARS_PER_PAGE * len(pages):
        raise UnreadablePdf("scanned", f"{path.name}: {count} pages of images without text; they need OCR")
    if chars == 0 and document.is_repaired:
        raise UnreadablePdf("damaged", f"{path.name} is cut off or damaged: no text can be found in it")
    if chars == 0:
        raise UnreadablePdf("empty", f"{path.name}: no text on the {len(pages)} pages that were looked at, of {count}")
    if unknown > MAX_UNKNOWN * chars:
        raise UnreadablePdf("no-unicode", f"{path.name}: its fonts do not say which characters their glyphs are")
    return pages


def _page_count(path: Path, document: pymupdf.Document) -> int:
    try:
        count: int = document.page_count
    except Exception as error:  # as in _opened
        raise UnreadablePdf("damaged", f"{path.name}: its pages cannot be counted: {error}") from error
    if count == 0 and document.is_repaired:
        raise UnreadablePdf("damaged", f"{path.name} is cut off or damaged: no page can be found in it")
    if count == 0:
        raise UnreadablePdf("empty", f"{path.name} has no pages")
    if count > MAX_PAGES:
        raise UnreadablePdf("too-long", f"{path.name} has {count} pages, more than the {MAX_PAGES} that are read")
    return count


def _page(document: pymupdf.Document, number: int) -> tuple[Page | None, bool]:
    """A page, None where it cannot be read; and whether it shows something, but next to no text."""
    try:
        page = document[number]
        pieces = read_pieces(page, number)
        boxes, rules = read_boxes(page)
        few = sum(len(piece.glyphs) for piece in pieces) < FEW_CHARS_PER_PAGE
        has_picture = few and bool(page.get_images() or page.get_bboxlog())
    except Exception:  # as in _opened; counted, and reported where nothing else is left
        return None, False
    return Page(number, page.rect.height, tuple(pieces), boxes, rules), has_picture


def blocks_in_order(lines: Sequence[Line], mono: frozenset[Style], rules: Mapping[int, Sequence[float]]) -> list[Block]:
    """The lines of the document as blocks of code and paragraphs, in reading order."""
    prose = texts_of((line for line in lines if not line.code), mono)
    body = measure_body(prose, mono)
    taken, notes = split_footnotes(prose, body, {line.flow: line.y for line in lines if line.code})
    tops: dict[int, float] = {}
    for index in sorted(taken):
        tops.setdefault(prose[index].line.flow, prose[index].line.y)
    measures = measure(lines, tops)
    texts = iter([None if index in taken else text for index, text in enumerate(prose)])
    items = [line if line.code else next(texts) for line in lines]
    blocks: list[Block] = []
    for _, group in groupby((item for item in items if item), key=type):
        run = list(group)
        blocks += blocks_of([line for line in run if isinstance(line, Line)], measures)
        blocks += paragraphs_of([text for text in run if isinstance(text, Text)], body, rules)
    return with_notes(outlined(blocks), notes)


def _title(metadata: str, blocks: Sequence[Block]) -> str | None:
    """The title by the metadata, unless that is a file's name; else the first of the largest headings."""
    headings = [block for block in blocks if isinstance(block, Paragraph) and block.kind == "heading"]
    largest = [heading.text.replace("`", "") for heading in headings if heading.level == 1]
    candidates = [" ".join(metadata.split()), *largest[:3]]
    return next((text for text in candidates if text and not NO_TITLE.fullmatch(text)), None)
