"""What stands in the columns of the notebook, and how columns are filled: for typeset_notebook.py."""

from __future__ import annotations

import io
import keyword
import tokenize
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from reportlab.lib.colors import HexColor
from reportlab.lib.enums import TA_JUSTIFY, TA_LEFT
from reportlab.lib.styles import ParagraphStyle
from reportlab.pdfbase.pdfmetrics import registerFont
from reportlab.pdfbase.ttfonts import TTFont
from reportlab.pdfgen.canvas import Canvas
from reportlab.platypus import Paragraph

WIDTH, HEIGHT = 612.0, 792.0  # all lengths are in points
MARGIN, GUTTER, TOP, BOTTOM = 43.0, 20.0, 64.0, 52.0
COLUMN = (WIDTH - 2 * MARGIN - GUTTER) / 2
CODE_SIZE, CODE_LINE, CODE_PAD = 7.0, 8.9, 5.0
NUMBERS = 13.0  # width of the line numbers
MIN_LINES = 4  # of a listing, on either side of a break
SPLIT_FROM = 11  # a shorter listing stays in one piece
RULE, TINT, GREY = HexColor(0x8C7B6B), HexColor(0xF5F1EA), HexColor(0x777777)

for face, file in (("Vera", "Vera.ttf"), ("VeraBd", "VeraBd.ttf"), ("VeraIt", "VeraIt.ttf")):
    registerFont(TTFont(face, file))

BODY = ParagraphStyle(
    "body", fontName="Times-Roman", fontSize=10, leading=13.2, alignment=TA_JUSTIFY, allowWidows=0, allowOrphans=0
)
STYLES = {
    "body": BODY,
    "item": ParagraphStyle(
        "item", BODY, leftIndent=13, bulletIndent=1, bulletFontName="Times-Roman", bulletFontSize=10
    ),
    "note": ParagraphStyle("note", BODY, fontSize=8, leading=9.6),
    "caption": ParagraphStyle("caption", BODY, fontName="Vera", fontSize=7.6, leading=10, alignment=TA_LEFT),
    "h2": ParagraphStyle("h2", BODY, fontName="VeraBd", fontSize=10.6, leading=13.5, alignment=TA_LEFT),
    "cell": ParagraphStyle("cell", BODY, fontSize=8.8, leading=10.6, alignment=TA_LEFT),
    "head": ParagraphStyle("head", BODY, fontName="VeraBd", fontSize=7.2, leading=10.6, alignment=TA_LEFT),
}


class TooTall(Exception):
    """A piece that cannot be split does not fit into an empty column."""


@dataclass
class Piece:
    """Something that stands in a column."""

    before: float = 0.0  # space above, dropped at the top of a column
    glued: bool = False  # has to stand on one column with the beginning of what follows
    notes: list[Paragraph] = field(default_factory=list)
    height: float = 0.0

    @property
    def least(self) -> float:
        """The height that is enough for it to begin."""
        return self.height

    def split(self, room: float) -> tuple[Piece, Piece] | None:
        return None

    def draw(self, canvas: Canvas, x: float, y: float) -> None:
        """Draw it with its upper left corner at x, y."""
        raise NotImplementedError


@dataclass
class Text(Piece):
    paragraph: Any = None

    def __post_init__(self) -> None:
        self.height = self.paragraph.wrap(COLUMN, 9999)[1]

    @property
    def least(self) -> float:
        leading = float(self.paragraph.style.leading)
        return self.height if self.notes or self.glued or self.height < 4 * leading else 2 * leading

    def split(self, room: float) -> tuple[Piece, Piece] | None:
        if self.notes or self.glued:
            return None
        parts = self.paragraph.split(COLUMN, room)
        if len(parts) != 2:
            return None
        return Text(self.before, paragraph=parts[0]), Text(paragraph=parts[1])

    def draw(self, canvas: Canvas, x: float, y: float) -> None:
        self.paragraph.wrap(COLUMN, 9999)
        self.paragraph.drawOn(canvas, x, y - self.height)


@dataclass
class Block(Piece):
    """A table, or anything else that ReportLab draws in one piece."""

    flowable: Any = None

    def __post_init__(self) -> None:
        self.height = self.flowable.wrap(COLUMN, 9999)[1]

    def draw(self, canvas: Canvas, x: float, y: float) -> None:
        self.flowable.drawOn(canvas, x, y - self.height)


Run = tuple[str, str]  # a font and text in it


def highlighted(code: str) -> list[list[Run]]:
    """The lines of Python in runs of one font; comments are slanted, keywords bold."""
    lines: list[list[Run]] = []
    marks: dict[tuple[int, int], tuple[int, str]] = {}
    for token in tokenize.generate_tokens(io.StringIO(code).readline):
        if token.type == tokenize.COMMENT:
            marks[token.start] = (token.end[1], "Courier-Oblique")
        elif token.type == tokenize.NAME and keyword.iskeyword(token.string):
            marks[token.start] = (token.end[1], "Courier-Bold")
    for row, line in enumerate(code.split("\n"), 1):
        runs: list[Run] = []
        at = 0
        for start in sorted(column for number, column in marks if number == row):
            end, font = marks[row, start]
            runs += [("Courier", line[at:start]), (font, line[start:end])]
            at = end
        lines.append([run for run in [*runs, ("Courier", line[at:])] if run[1]])
    return lines


@dataclass
class Code(Piece):
    lines: list[list[Run]] = field(default_factory=list)
    first: int | None = None  # number of the first line, if they are numbered
    opens: bool = True  # its frame has an upper and a lower edge
    closes: bool = True

    def __post_init__(self) -> None:
        self.height = len(self.lines) * CODE_LINE + 2 * CODE_PAD

    def breaks(self) -> list[int]:
        """Numbers of lines after which it may break: an empty line beside a break would be lost."""
        count = len(self.lines)
        if count < SPLIT_FROM and self.opens and self.closes:
            return []
        return [n for n in range(MIN_LINES, count - MIN_LINES + 1) if self.lines[n - 1] and self.lines[n]]

    @property
    def least(self) -> float:
        possible = self.breaks()
        return possible[0] * CODE_LINE + 2 * CODE_PAD if possible else self.height

    def split(self, room: float) -> tuple[Piece, Piece] | None:
        fitting = [n for n in self.breaks() if n * CODE_LINE + 2 * CODE_PAD <= room]
        if not fitting:
            return None
        n = fitting[-1]
        upper = Code(self.before, lines=self.lines[:n], first=self.first, opens=self.opens, closes=False)
        second = None if self.first is None else self.first + n
        return upper, Code(lines=self.lines[n:], first=second, opens=False, closes=self.closes)

    def draw(self, canvas: Canvas, x: float, y: float) -> None:
        bottom = y - self.height
        canvas.setFillColor(TINT)
        canvas.rect(x, bottom, COLUMN, self.height, stroke=0, fill=1)
        canvas.setStrokeColor(RULE)
        canvas.setLineWidth(0.6)
        for wanted, level in ((self.opens, y), (self.closes, bottom)):
            if wanted:
                canvas.line(x, level, x + COLUMN, level)
        left = x + 4 + (NUMBERS if self.first is not None else 0)
        for i, line in enumerate(self.lines):
            base = y - CODE_PAD - (i + 1) * CODE_LINE + 2.4
            if self.first is not None:
                canvas.setFillColor(GREY)
                canvas.setFont("Helvetica", 5.2)
                canvas.drawRightString(x + NUMBERS - 1, base, str(self.first + i))
            pen = canvas.beginText(left, base)
            pen.setFillColor(HexColor(0))
            for font, text in line:
                pen.setFont(font, CODE_SIZE)
                pen.textOut(text)
            canvas.drawText(pen)
        canvas.setFillColor(HexColor(0))


@dataclass
class Waves(Piece):
    """Signals over time: - is high, _ is low."""

    signals: list[tuple[str, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.height = 19.0 * len(self.signals) + 4

    def draw(self, canvas: Canvas, x: float, y: float) -> None:
        canvas.setStrokeColor(HexColor(0))
        canvas.setLineWidth(0.8)
        step = (COLUMN - 34) / max(len(levels) for _, levels in self.signals)
        for row, (name, levels) in enumerate(self.signals):
            base = y - 19 * (row + 1) + 2
            canvas.setFont("Helvetica", 7.5)
            canvas.drawString(x + 2, base + 2, name)
            path = canvas.beginPath()
            for i, level in enumerate(levels):
                height = base + (10 if level == "-" else 0)
                (path.lineTo if i else path.moveTo)(x + 32 + i * step, height)
                path.lineTo(x + 32 + (i + 1) * step, height)
            canvas.drawPath(path)


@dataclass
class Column:
    room: float
    placed: list[tuple[float, Piece]] = field(default_factory=list)  # the distance from the top
    notes: list[Paragraph] = field(default_factory=list)
    used: float = 0.0

    def free(self, piece: Piece) -> float:
        """Room for the piece when its space above and its footnotes are taken off."""
        notes = [*self.notes, *piece.notes]
        below = sum(note.wrap(COLUMN, 9999)[1] for note in notes) + (12 if notes else 0)
        return self.room - self.used - (piece.before if self.placed else 0) - below

    def add(self, piece: Piece) -> None:
        if self.placed:
            self.used += piece.before
        self.placed.append((self.used, piece))
        self.used += piece.height
        self.notes += piece.notes


def fill(pieces: Sequence[Piece], room_of: Callable[[int], float]) -> list[Column]:
    """Distribute the pieces of a chapter over columns; room_of gives their heights by number."""
    columns = [Column(room_of(0))]
    queue = deque(pieces)
    while queue:
        column, piece = columns[-1], queue.popleft()
        needed = piece.height
        if piece.glued and queue:
            needed += queue[0].before + queue[0].least
            if queue[0].glued and len(queue) > 1:
                needed += queue[0].height - queue[0].least + queue[1].before + queue[1].least
        if needed <= column.free(piece):
            column.add(piece)
            continue
        halves = piece.split(column.free(piece))
        if halves:
            column.add(halves[0])
            queue.appendleft(halves[1])
        elif column.placed:
            queue.appendleft(piece)
        else:
            raise TooTall
        columns.append(Column(room_of(len(columns))))
    return columns


def balanced(pieces: Sequence[Piece], opening: float) -> list[Column]:
    """The columns of a chapter, those of its last page about equally long."""
    full = HEIGHT - TOP - BOTTOM

    def room(i: int, last: int, height: float) -> float:
        here = full - opening if i < 2 else full
        return min(here, height) if i >= last else here

    columns = fill(pieces, lambda i: room(i, 9999, full))
    last = (len(columns) - 1) // 2 * 2
    for height in range(60, int(full), 6):
        try:
            trial = fill(pieces, lambda i, height=height: room(i, last, height))
        except TooTall:
            continue
        if len(trial) <= last + 2:
            return trial
    return columns
