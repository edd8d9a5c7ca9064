"""Lines of running text and their look, and what the document's running text looks like as a whole."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from stages.corpus.pdf.chars import BULLETS, DASHES
from stages.corpus.pdf.code import Line
from stages.corpus.pdf.glyphs import Piece, Style, text_of
from stages.corpus.pdf.grid import line_pitch
from stages.corpus.pdf.words import vocabulary

BULLET = re.compile(rf"(?:[{BULLETS}]\s*|[{DASHES}]\s+)(?=\S|$)")
ORDERED = re.compile(r"\(?(\d{1,3}|[a-z])[.)]\s+(?=\S)")
CELL_GAP = 1.05  # em between two cells of a table
FEW_INDENTS = 0.05  # of the lines of a document
QUAD = 0.75  # em; a gap this wide after bold words sets a heading off from the text that it runs into


@dataclass(frozen=True, slots=True)
class Text:
    """A line of running text and its look.

    `plain` unless all of it is code; `cells` are its parts between wide gaps; `marker` is "-" for a bullet, "1." for
    the number of an item, "" for none; `run_in` is how many of its first glyphs are a heading that the text follows.
    """

    line: Line
    text: str
    size: float
    font: str
    bold: bool
    plain: bool
    cells: tuple[tuple[Piece, ...], ...]
    marker: str
    run_in: int = 0

    @property
    def x0(self) -> float:
        return self.line.row.x0 if self.line.row else 0.0

    @property
    def x1(self) -> float:
        return self.line.row.x1 if self.line.row else 0.0


@dataclass(frozen=True, slots=True)
class Body:
    """What running text looks like: size, line pitches by size, right edges, words, faces of code within it."""

    size: float
    pitches: dict[float, float]
    rights: dict[tuple[int, int], float]
    words: Counter[str]
    mono: frozenset[Style]
    indented: bool  # paragraphs begin with an indented line

    def pitch(self, size: float) -> float:
        return self.pitches.get(size, 1.2 * size)


def texts_of(lines: Iterable[Line], mono: frozenset[Style]) -> list[Text]:
    return [_text(line, mono) for line in lines if line.row]


def _text(line: Line, mono: frozenset[Style]) -> Text:
    assert line.row is not None
    pieces = line.row.pieces
    text = text_of(line.row.glyphs, mono)
    if len(pieces) > 1 and ORDERED.match(pieces[0].text + " x"):
        text = text.replace(pieces[0].text, pieces[0].text + " ", 1).replace("  ", " ", 1)
    marker = "-" if BULLET.match(text) else "1." if ORDERED.match(text) else ""
    cells: list[list[Piece]] = [[pieces[0]]]
    for index, (left, right) in enumerate(pairwise(pieces), 1):
        first_gap_of_item = marker and index == 1
        if right.x0 - left.x1 > CELL_GAP * line.size and not first_gap_of_item:
            cells.append([])
        cells[-1].append(right)
    ink = [glyph.style for glyph in line.row.ink]
    bold = sum(style.bold for style in ink) > 0.9 * len(ink)
    plain = Counter(style for style in ink if style not in mono)
    look = plain.most_common(1)[0][0] if plain else ink[0]
    size = look.size if plain else line.size
    run_in = 0 if bold or marker else _run_in(line)
    return Text(line, text, size, look.font, bold, bool(plain), tuple(map(tuple, cells)), marker, run_in)


def _run_in(line: Line) -> int:
    """How many glyphs of a line are bold words with a gap of about an em between them and the text after them."""
    glyphs = line.glyphs
    head = next((i for i, glyph in enumerate(glyphs) if not glyph.style.bold and not glyph.char.isspace()), 0)
    ink = [glyph for glyph in glyphs[:head] if not glyph.char.isspace()]
    if len(ink) < 3 or not any(glyph.char.isalpha() for glyph in ink):
        return 0
    return head if glyphs[head].x0 - ink[-1].x1 > QUAD * ink[-1].style.size else 0


def measure_body(texts: Sequence[Text], mono: frozenset[Style]) -> Body:
    sizes: Counter[float] = Counter()
    steps: dict[float, list[float]] = defaultdict(list)
    rights: dict[tuple[int, int], list[float]] = defaultdict(list)
    for text in texts:
        sizes[text.size] += len(text.text)
        rights[text.line.page, text.line.column].append(text.x1)
    indents = 0
    for a, b in pairwise(texts):
        if a.line.flow == b.line.flow and a.size == b.size:
            steps[a.size].append(b.line.y - a.line.y)
            indents += 0.8 * a.size < a.x0 - b.x0 < 4 * a.size and b.line.y - a.line.y < 1.5 * a.size and not a.marker
    return Body(
        sizes.most_common(1)[0][0] if sizes else 0.0,
        {size: line_pitch(steps[size], size) for size in sizes},
        {key: max(values) for key, values in rights.items()},
        vocabulary(text.text for text in texts),
        mono,
        indents > FEW_INDENTS * len(texts),
    )
