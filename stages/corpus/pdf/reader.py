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
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

from stages.corpus.pdf.boxes import read_boxes
from stages.corpus.pdf.code import Line, blocks_of, in_boxes, lines_of, measure, python_like
from stages.corpus.pdf.glyphs import Style, monospaced, read_pieces
from stages.corpus.pdf.layout import Page, reading_order, without_contents, without_furniture
from stages.corpus.pdf.numbers import without_numbers
from stages.corpus.pdf.prose import Paragraph, markdown, measure_body, paragraphs_of, texts_of, with_levels
from stages.corpus.pdf.typewriter import with_prose

if TYPE_CHECKING:
    import pymupdf

FEW_CHARS_PER_PAGE = 10  # below this on average a document has no text to speak of
NO_TITLE = re.compile(
    r"(table of )?contents|preface|index|untitled|unknown|document\d*|microsoft word.*|\S*\.[a-z]{2,4}",
    re.IGNORECASE,
)

Block = str | Paragraph  # a string is the text of a block of code


class UnreadablePdf(Exception):
    """A PDF that gives no text.

    `reason` is one of 'encrypted', 'damaged', 'empty', 'scanned'; the message says it in words.
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(reason, message)  # both, as an error that comes from another process is made of them
        self.reason = reason

    def __str__(self) -> str:
        return str(self.args[1])


@dataclass(frozen=True)
class PdfText:
    """A document as Markdown, its title if one is known, and how many pages and fenced code blocks it has."""

    markdown: str
    title: str | None
    pages: int
    code_blocks: int


def read_pdf(path: Path) -> PdfText:
    """Read a PDF as Markdown.

    Raises UnreadablePdf where no text can be had, and OSError where the file cannot be read at all.
    """
    with _opened(path) as document:
        pages = _pages(path, document)
        title = (document.metadata or {}).get("title") or ""
    glyphs = [glyph for page in pages for piece in page.pieces for glyph in piece.glyphs]
    mono = monospaced(glyphs)
    flows = reading_order(without_contents(without_furniture(pages)))
    lines = in_boxes(lines_of(flows, mono), {page.number: page.boxes for page in pages})
    lines, typewritten = with_prose(lines)
    blocks = blocks_in_order(lines, frozenset() if typewritten else mono)
    return PdfText(
        to_markdown(blocks),
        _title(title, blocks),
        len(pages),
        sum(isinstance(block, str) for block in blocks),
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
    count = document.page_count
    if count == 0 and document.is_repaired:
        raise UnreadablePdf("damaged", f"{path.name} is cut off or damaged: no page can be found in it")
    if count == 0:
        raise UnreadablePdf("empty", f"{path.name} has no pages")
    pages, broken, pictures = [], 0, 0
    for number in range(count):
        try:
            page = document[number]
            pieces = read_pieces(page, number)
            if sum(len(piece.glyphs) for piece in pieces) < FEW_CHARS_PER_PAGE:
                pictures += bool(page.get_images() or page.get_bboxlog())
            pages.append(Page(number, page.rect.height, tuple(pieces), tuple(read_boxes(page))))
        except Exception:  # as above; counted, and reported where nothing else is left
            broken += 1
            pages.append(Page(number, 0.0, (), ()))
    chars = sum(len(piece.glyphs) for page in pages for piece in page.pieces)
    if chars == 0 and broken:
        raise UnreadablePdf("damaged", f"{path.name}: none of its {count} pages can be read")
    if pictures and chars < FEW_CHARS_PER_PAGE * count:
        raise UnreadablePdf("scanned", f"{path.name}: {count} pages of images without text; they need OCR")
    if chars == 0 and document.is_repaired:
        raise UnreadablePdf("damaged", f"{path.name} is cut off or damaged: no text can be found in it")
    if chars == 0:
        raise UnreadablePdf("empty", f"{path.name}: its {count} pages hold no text")
    return pages


def blocks_in_order(lines: Sequence[Line], mono: frozenset[Style]) -> list[Block]:
    """The lines of the document as blocks of code and paragraphs, in reading order."""
    measures = measure(lines)
    body = measure_body(texts_of((line for line in lines if not line.code), mono))
    blocks: list[Block] = []
    for code, group in groupby(lines, key=lambda line: line.code):
        run = list(group)
        blocks += blocks_of(run, measures) if code else paragraphs_of(texts_of(run, mono), body)
    code_blocks = iter(without_numbers([block for block in blocks if isinstance(block, str)]))
    paragraphs = iter(with_levels([block for block in blocks if isinstance(block, Paragraph)]))
    return [next(code_blocks) if isinstance(block, str) else next(paragraphs) for block in blocks]


def to_markdown(blocks: Sequence[Block]) -> str:
    parts: list[str] = []
    before = ""
    for block in blocks:
        kind = "code" if isinstance(block, str) else block.kind
        if before:
            parts.append("\n" if kind == before and kind in ("item", "row") else "\n\n")
        parts.append(_fenced(block) if isinstance(block, str) else markdown(block))
        before = kind
    return "".join(parts) + "\n"


def _fenced(code: str) -> str:
    longest = max((len(run) for run in re.findall(r"`{3,}", code)), default=2)
    fence = "`" * (longest + 1)
    return f"{fence}{'python' if python_like(code) else ''}\n{code}\n{fence}"


def _title(metadata: str, blocks: Sequence[Block]) -> str | None:
    """The title by the metadata, unless that is a file's name; else the first of the largest headings."""
    headings = [block for block in blocks if isinstance(block, Paragraph) and block.kind == "heading"]
    largest = [heading.text.replace("`", "") for heading in headings if heading.level == 1]
    candidates = [" ".join(metadata.split()), *largest[:3]]
    return next((text for text in candidates if text and not NO_TITLE.fullmatch(text)), None)
