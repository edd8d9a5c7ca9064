"""Typeset drivers_notebook.txt, beside this file, as a book of two columns in US letter format.

    python typeset_notebook.py [output.pdf]

Needs ReportLab (BSD licence; the PDF that ships was made by 5.1), which nothing else here needs. The same source and
the same version give the same bytes. Prose and code are set in the standard fonts of every PDF reader, headings in
Bitstream Vera, which comes with ReportLab.
"""

from __future__ import annotations

import html
import io
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from notebook_pieces import (
    BODY,
    CODE_SIZE,
    COLUMN,
    GUTTER,
    HEIGHT,
    MARGIN,
    NUMBERS,
    RULE,
    STYLES,
    TOP,
    WIDTH,
    Block,
    Code,
    Column,
    Piece,
    Text,
    Waves,
    balanced,
    highlighted,
)
from reportlab.lib.colors import HexColor
from reportlab.pdfbase.pdfmetrics import stringWidth
from reportlab.pdfgen.canvas import Canvas
from reportlab.platypus import Paragraph, Table

HYPHENS: dict[str, str] = {}


def markup(text: str) -> str:
    """Inline marks of the source in the markup of ReportLab, with the quotes of print."""
    parts = re.split(r"`([^`]+)`", text)
    for i, part in enumerate(parts):
        part = html.escape(part, quote=False)
        if i % 2:
            parts[i] = f'<font name="Courier" size="9">{part}</font>'
            continue
        part = re.sub(r"(?<![\w.,;!?)\]*])\"", "\u201c", part).replace('"', "\u201d").replace("'", "\u2019")
        part = re.sub(r"\*\*(.+?)\*\*", r"<b>\1</b>", part)
        part = re.sub(r"\*(.+?)\*", r"<i>\1</i>", part)
        part = re.sub(r"\[\^(\d+)\]", r'<super rise="3.5" size="7">\1</super>', part)
        # ReportLab loses the space between a word with soft hyphens and a change of font.
        parts[i] = re.sub(r"[A-Za-z]{5,}(?=[^\s<]*\s[^<])", lambda m: HYPHENS.get(m[0], m[0]), part)
    return "".join(parts)


def table(rows: list[list[str]]) -> Table:
    """A table as wide as the column, its columns as wide as their text asks for."""
    cells = [[Paragraph(markup(t), STYLES["cell" if r else "head"]) for t in row] for r, row in enumerate(rows)]
    wanted = [
        max(stringWidth(rows[0][c], "VeraBd", 7.2) + 8, *(stringWidth(row[c], "Times-Roman", 9.2) + 9 for row in rows))
        for c in range(len(rows[0]))
    ]
    while sum(wanted) > COLUMN:  # the text of the widest is broken into lines
        wanted[wanted.index(max(wanted))] -= 3
    scale = COLUMN / sum(wanted)
    style = [
        ("LINEABOVE", (0, 0), (-1, 0), 0.9, RULE),
        ("LINEBELOW", (0, 0), (-1, 0), 0.5, RULE),
        ("LINEBELOW", (0, -1), (-1, -1), 0.9, RULE),
        ("VALIGN", (0, 0), (-1, -1), "TOP"),
        ("LEFTPADDING", (0, 0), (-1, -1), 3),
        ("RIGHTPADDING", (0, 0), (-1, -1), 4),
        ("TOPPADDING", (0, 0), (-1, -1), 1.6),
        ("BOTTOMPADDING", (0, 0), (-1, -1), 2.2),
    ]
    return Table(cells, colWidths=[w * scale for w in wanted], style=style)


@dataclass
class Chapter:
    title: str
    pieces: list[Piece] = field(default_factory=list)
    columns: list[Column] = field(default_factory=list)


def parse(source: str) -> tuple[dict[str, str], list[Chapter]]:
    """The head of the source and its chapters."""
    head, _, body = source.partition("\n\n")
    meta = dict(line.split(": ", 1) for line in head.split("\n"))
    HYPHENS.update((word.replace("-", ""), word.replace("-", "\u00ad")) for word in meta["hyphens"].split())
    HYPHENS.update([(word.capitalize(), parts[0].upper() + parts[1:]) for word, parts in HYPHENS.items()])
    chapters: list[Chapter] = []
    notes = dict(re.findall(r"^\[\^(\d+)\]: (.*)$", body, re.MULTILINE))
    for block in split(body):
        if block.startswith("# "):
            chapters.append(Chapter(block[2:]))
        elif not block.startswith("[^"):
            done = chapters[-1].pieces
            new = list(pieces(block, notes))
            if done and not isinstance(done[-1], Text):  # listings and tables stand free
                new[0].before = max(new[0].before, 10)
            done += new
    return meta, chapters


def split(body: str) -> Iterator[str]:
    """Paragraphs, lists, tables and fenced blocks; a caption is a block of its own."""
    lines: list[str] = []
    fenced = False
    for line in [*body.split("\n"), ""]:
        fenced ^= line.startswith("```")
        if line or fenced:
            lines.append(line)
        if lines and ((not line and not fenced) or line.startswith("Caption: ")):
            yield "\n".join(lines)
            lines = []


def pieces(block: str, notes: dict[str, str]) -> Iterator[Piece]:
    """What a block of the source is on paper."""
    first = block.split("\n", 1)[0]
    if first.startswith("## "):
        yield Text(15, True, paragraph=Paragraph(markup(block[3:]), STYLES["h2"]))
    elif first.startswith("Caption: "):
        label, text = re.findall(r"Caption: (\w+ [\d.]+)\. (.*)", block)[0]
        content = f'<font name="VeraBd">{label}.</font> {markup(text)}'
        yield Text(9, True, paragraph=Paragraph(content, STYLES["caption"]))
    elif first == "```wave":
        signals = [line.split(":", 1) for line in block.split("\n")[1:-1]]
        yield Waves(4, signals=[(name, levels.strip()) for name, levels in signals])
    elif first.startswith("```"):
        code = "\n".join(block.split("\n")[1:-1])
        plain = "python" not in first or code.startswith(">>>")
        lines = [[("Courier", t)] if t else [] for t in code.split("\n")] if plain else highlighted(code)
        widest = max(len(line) for line in code.split("\n"))
        if 4 + NUMBERS + widest * CODE_SIZE * 0.6 > COLUMN:
            raise ValueError(f"a listing of {widest} characters is too wide: {code}")
        yield Code(4, lines=lines, first=1 if "numbered" in first else None)
    elif first.startswith("|"):
        rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in block.split("\n")]
        yield Block(4, flowable=table([rows[0], *rows[2:]]))
    elif re.match(r"\d+\. ", first):
        for line in block.split("\n"):
            number, text = line.split(" ", 1)
            yield Text(3, paragraph=Paragraph(markup(text), STYLES["item"], bulletText=number))
    else:
        text = block.replace("\n", " ")
        numbers = re.findall(r"\[\^(\d+)\]", text)
        below = [Paragraph(f"<super>{n}</super> {markup(notes[n])}", STYLES["note"]) for n in numbers]
        yield Text(6.5, notes=below, paragraph=Paragraph(markup(text), BODY))


Entry = tuple[int, str, int]  # of the table of contents: level, title, page
OPENING = 96.0  # height of a chapter's title, over both columns


@dataclass
class Press:
    """Puts pages on paper."""

    canvas: Canvas
    meta: dict[str, str]
    page: int = 0

    def furniture(self, chapter: str, opening: bool) -> None:
        self.canvas.setFont("VeraIt", 7.4)
        if opening:
            self.canvas.drawCentredString(WIDTH / 2, 30, str(self.page))
            return
        y = HEIGHT - TOP + 18
        left = self.page % 2 == 0
        name = self.meta["title"].replace("'", "\u2019") if left else chapter
        draw, x, inwards = (
            (self.canvas.drawString, MARGIN, 24) if left else (self.canvas.drawRightString, WIDTH - MARGIN, -24)
        )
        draw(x, y, str(self.page))
        draw(x + inwards, y, name)
        self.canvas.setStrokeColor(RULE)
        self.canvas.setLineWidth(0.5)
        self.canvas.line(MARGIN, y - 5, WIDTH - MARGIN, y - 5)

    def column(self, column: Column, side: int, top: float) -> None:
        x = MARGIN + side * (COLUMN + GUTTER)
        for below, piece in column.placed:
            piece.draw(self.canvas, x, top - below)
        if column.notes:
            heights = [note.wrap(COLUMN, 9999)[1] for note in column.notes]
            y = top - column.room + sum(heights)
            self.canvas.setStrokeColor(RULE)
            self.canvas.line(x, y + 4, x + 60, y + 4)
            for note, height in zip(column.notes, heights, strict=True):
                y -= height
                note.drawOn(self.canvas, x, y)

    def chapter(self, number: int, chapter: Chapter) -> list[Entry]:
        """Set a chapter; return the entries for its headings."""
        found = [(1, f"{number} {chapter.title}", self.page + 1)]
        for i in range(0, len(chapter.columns), 2):
            self.page += 1
            opening = i == 0
            self.furniture(found[0][1], opening)
            top = HEIGHT - TOP
            if opening:
                self.mark(found[0][1], 0)
                self.canvas.setFont("Vera", 11)
                self.canvas.setFillColor(RULE)
                self.canvas.drawString(MARGIN, top - 8, f"CHAPTER {number}")
                self.canvas.setFillColor(HexColor(0))
                self.canvas.setFont("VeraBd", 24)
                self.canvas.drawString(MARGIN, top - 38, chapter.title)
                self.canvas.setLineWidth(1.6)
                self.canvas.setStrokeColor(RULE)
                self.canvas.line(MARGIN, top - 56, WIDTH - MARGIN, top - 56)
                top -= OPENING - 18
            for side, column in enumerate(chapter.columns[i : i + 2]):
                self.column(column, side, top)
                for _, piece in column.placed:
                    if isinstance(piece, Text) and piece.paragraph.style.name == "h2":
                        title = piece.paragraph.getPlainText().replace("\u00ad", "")
                        found.append((2, title, self.page))
                        self.mark(title, 1)
            self.canvas.showPage()
        return found

    def mark(self, title: str, level: int) -> None:
        key = f"{self.page}-{title}"
        self.canvas.bookmarkPage(key)
        self.canvas.addOutlineEntry(title, key, level)

    def front(self, headings: Sequence[Entry]) -> None:
        """The title page, and the contents on a page of their own."""
        c = self.canvas
        c.setFont("VeraBd", 30)
        for i, line in enumerate(("The Driver", "Writer\u2019s", "Notebook")):
            c.drawString(MARGIN + 40, 560 - 38 * i, line)
        c.setFont("Times-Italic", 15)
        c.drawString(MARGIN + 40, 440, self.meta["subtitle"])
        c.setFont("Times-Roman", 12)
        c.drawString(MARGIN + 40, 410, self.meta["author"])
        c.setFont("Times-Roman", 9)
        c.drawString(MARGIN + 40, 110, "Text and listings were written for this project.")
        c.drawString(MARGIN + 40, 98, self.meta["license"] + ".")
        c.showPage()
        c.setFont("VeraBd", 18)
        c.drawString(MARGIN + 40, HEIGHT - 96, "Contents")
        y = HEIGHT - 108
        for level, title, page in headings:
            y -= 18 if level == 1 else 11.8
            c.setFont("VeraBd" if level == 1 else "Times-Roman", 9.2 if level == 1 else 10)
            x = MARGIN + (40 if level == 1 else 54)
            c.drawString(x, y, title)
            right = WIDTH - MARGIN - 40
            c.drawRightString(right, y, str(page))
            if level == 2:
                room = right - 22 - x - stringWidth(title, "Times-Roman", 10)
                c.drawRightString(right - 18, y, " ." * int(room / stringWidth(" .", "Times-Roman", 10)))
        c.showPage()
        self.page = 2


def typeset(source: str, headings: Sequence[Entry]) -> tuple[bytes, int, list[Entry]]:
    """The book with the given table of contents, its number of pages, and the headings it really has."""
    meta, chapters = parse(source)
    out = io.BytesIO()
    canvas = Canvas(out, pagesize=(WIDTH, HEIGHT), invariant=1, pageCompression=1)
    canvas.setTitle(meta["title"])
    canvas.setAuthor(meta["author"])
    canvas.setSubject(meta["license"])
    press = Press(canvas, meta)
    press.front(headings)
    found: list[Entry] = []
    for number, chapter in enumerate(chapters, 1):
        chapter.columns = balanced(chapter.pieces, OPENING - 18)
        found += press.chapter(number, chapter)
    canvas.save()
    return out.getvalue(), press.page, found


def main(output: Path) -> None:
    source = Path(__file__).with_name("drivers_notebook.txt").read_text(encoding="utf-8")
    _, _, headings = typeset(source, [])
    data, pages, _ = typeset(source, headings)
    output.write_bytes(data)
    print(f"{output}: {pages} pages")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).with_name("drivers_notebook.pdf"))
