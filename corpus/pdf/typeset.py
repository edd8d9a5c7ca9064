"""Typeset sensors_and_signals.html, beside this file, as an A4 book.

    python typeset.py [output.pdf]

Needs PyMuPDF only. The same source and the same PyMuPDF give the same bytes.
"""

from __future__ import annotations

import html
import io
import sys
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pymupdf

PAGE = pymupdf.paper_rect("a4")  # all lengths are in points
LEFT, RIGHT, TOP, BOTTOM = 72.0, 72.0, 74.0, 66.0
WIDTH = PAGE.width - LEFT - RIGHT
FLOOR = PAGE.height - BOTTOM
MIN_LINES = 4  # of a listing, on either side of a page break
SPLIT_FROM = 12  # a shorter listing moves to the next page as a whole
PROSE_LINE = 13.5  # height of a line of text, with its leading
CODE_TOP = 4.5  # padding and border above the first line of a listing
CODE_BELOW = 10.0  # margin below a listing, not needed at the foot of a page


@dataclass
class Block:
    """One top-level element of the source, laid out on its own."""

    tag: str
    css_class: str
    text: str
    story: pymupdf.Story
    height: float  # including its margins

    @property
    def ink(self) -> float:
        """Height without the margin that may fall off the page."""
        return self.height - (CODE_BELOW if self.tag == "pre" else 0)

    def splits(self) -> list[int]:
        """Numbers of lines after which a listing may break: not beside an empty line, which would be lost."""
        lines = self.text.split("\n")
        if len(lines) < SPLIT_FROM:
            return []
        return [n for n in range(MIN_LINES, len(lines) - MIN_LINES + 1) if lines[n - 1] and lines[n]]


@dataclass
class Heading:
    level: int
    title: str
    page: int


@dataclass
class Book:
    """Fills pages from top to bottom."""

    title: str
    css: str
    out: io.BytesIO = field(default_factory=io.BytesIO)
    headings: list[Heading] = field(default_factory=list)
    page: int = 0
    y: float = TOP

    def __post_init__(self) -> None:
        self.writer = pymupdf.DocumentWriter(self.out)
        self.device: pymupdf.DeviceWrapper | None = None
        one, two = (self.measure(self.story(f"<pre>{text}</pre>")) for text in ("x", "x\nx"))
        self.code_line = two - one

    def story(self, markup: str) -> pymupdf.Story:
        return pymupdf.Story(f'<body lang="en">{markup}</body>', user_css=self.css)

    def furniture(self, text: str, css_class: str, y: float, align: str) -> None:
        style = f'class="{css_class}" style="text-align: {align}"'
        line = self.story(f"<p {style}>{html.escape(text)}</p>")
        line.place(pymupdf.Rect(LEFT, y, PAGE.width - RIGHT, y + 30))
        line.draw(self.device)

    def new_page(self) -> None:
        """Close the page with head and foot, which name the chapter it ends in, and begin another."""
        self.close_page()
        self.page += 1
        self.y = TOP
        self.device = self.writer.begin_page(PAGE)

    def close_page(self) -> None:
        if self.device is None:
            return
        chapters = [h for h in self.headings if h.level == 1]
        opening = any(h.page == self.page for h in chapters)
        if chapters and not opening:
            left = self.page % 2 == 0
            title, align = (self.title, "left") if left else (chapters[-1].title, "right")
            self.furniture(title, "head", 46, align)
        if self.page > 1:
            self.furniture(str(self.page), "foot", PAGE.height - 52, "center")
        self.writer.end_page()
        self.device = None

    def put(self, block: Block, room: float) -> bool:
        """Draw as much of the block as fits into room; True if some of it is left."""
        more, filled = block.story.place(pymupdf.Rect(LEFT, self.y, LEFT + WIDTH, self.y + room))
        block.story.draw(self.device)
        self.y = max(self.y, pymupdf.Rect(filled).y1)
        return bool(more)

    def measure(self, story: pymupdf.Story) -> float:
        _, filled = story.place(pymupdf.Rect(LEFT, 0, LEFT + WIDTH, 9000))
        story.reset()
        return float(pymupdf.Rect(filled).height)

    def begin_height(self, block: Block) -> float:
        """Height that must be free for the block to begin here and, if it has to, break well."""
        if block.ink <= self.free():
            return block.ink
        if block.tag == "pre":
            splits = block.splits()
            return CODE_TOP + (splits[0] + 0.5) * self.code_line if splits else block.ink
        return 2 * PROSE_LINE if block.tag == "p" else block.ink

    def free(self) -> float:
        return float(FLOOR - self.y)

    def room(self, block: Block) -> float:
        """Height to offer to a block: all that is free, or less where it should break earlier."""
        free = self.free()
        if block.ink <= free:
            return free
        if block.tag != "pre":
            return min(free, block.height - 2 * PROSE_LINE)
        heights = [CODE_TOP + (n + 0.5) * self.code_line for n in block.splits()]
        return max(height for height in heights if height <= free)

    def place(self, block: Block) -> None:
        room = self.room(block)
        while self.put(block, room):
            self.new_page()
            room = self.free()

    def finish(self) -> None:
        self.close_page()
        self.writer.close()


def needed(book: Book, blocks: list[Block], i: int) -> float:
    """Height for block i to begin here; a heading or a caption takes along what follows it."""
    block = blocks[i]
    glued = block.tag in ("h1", "h2") or block.css_class == "caption"
    if not glued:
        return book.begin_height(block)
    y = book.y
    book.y += block.height
    total = block.height + needed(book, blocks, i + 1)
    book.y = y
    return total


def blocks_of(book: Book, body: ET.Element) -> Iterator[Block]:
    for element in body:
        element.tail = None
        markup = ET.tostring(element, encoding="unicode", method="html")
        story = book.story(markup)
        text = "".join(element.itertext()).strip()
        yield Block(element.tag, element.get("class", ""), text, story, book.measure(story))


def contents(headings: list[Heading]) -> str:
    rows = [f'<p class="toc{h.level}">{html.escape(h.title)}&#8195;{h.page}</p>' for h in headings]
    return '<p class="tochead">Contents</p>' + "".join(rows)


def layout(source: ET.Element, known: list[Heading]) -> Book:
    """Lay out the whole book; known are the headings and pages for the contents page."""
    title = source.findtext("head/title", "")
    book = Book(title, source.findtext("head/style", ""))
    body = source.find("body")
    assert body is not None
    blocks = list(blocks_of(book, body))
    book.new_page()
    for i, block in enumerate(blocks):
        if block.tag == "h1":
            if not book.headings:
                book.new_page()
                page = book.story(contents(known))
                page.place(pymupdf.Rect(LEFT, TOP, LEFT + WIDTH, FLOOR))
                page.draw(book.device)
            book.new_page()
        elif needed(book, blocks, i) > book.free():
            book.new_page()
        if block.tag in ("h1", "h2"):
            book.headings.append(Heading(int(block.tag[1]), block.text, book.page))
        book.place(block)
    book.finish()
    return book


def main(output: Path) -> None:
    source = ET.parse(Path(__file__).with_name("sensors_and_signals.html")).getroot()
    draft = layout(source, [])
    book = layout(source, draft.headings)
    meta = {m.get("name"): m.get("content") for m in source.iterfind("head/meta")}
    with pymupdf.open("pdf", book.out.getvalue()) as pdf:
        pdf.subset_fonts()
        pdf.set_toc([[h.level, h.title, h.page] for h in book.headings])
        pdf.set_metadata({"title": book.title, "author": meta["author"], "subject": meta["description"]})
        pdf.save(output, garbage=3, deflate=True, no_new_id=True)
    print(f"{output}: {book.page} pages")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).with_name("sensors_and_signals.pdf"))
