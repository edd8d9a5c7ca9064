"""What is printed on a page: glyphs, the pieces they form, the rows those lie on, which fonts are monospaced.

All lengths are in points (1/72 inch), x to the right and y downwards from the top left corner of the page.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING, Any, NamedTuple

from stages.corpus.pdf.chars import UNKNOWN

if TYPE_CHECKING:
    import pymupdf

BOLD_NAMES = ("bold", "black", "heavy", "demi")
NARROW = frozenset("ijltfrI.,:;'!|()[]")  # in every proportional face these differ in width from
WIDE = frozenset("mwMWGOQabdeghnopqu_=+#%@&")  # these
ITALIC_NAMES = ("italic", "oblique")


class Style(NamedTuple):
    """How a glyph looks: the font's name, its size in points, weight and slant."""

    font: str
    size: float
    bold: bool
    italic: bool


class Glyph(NamedTuple):
    """One character; `x0` is its origin and `x1 - x0` the advance width its font gives it."""

    char: str
    x0: float
    x1: float
    style: Style


@dataclass(frozen=True, slots=True)
class Piece:
    """Glyphs that stand together on one baseline, without a gap wider than their size."""

    page: int
    y: float
    glyphs: tuple[Glyph, ...]
    size: float

    @property
    def x0(self) -> float:
        return self.glyphs[0].x0

    @property
    def x1(self) -> float:
        return self.glyphs[-1].x1

    @property
    def text(self) -> str:
        return "".join([glyph[0] for glyph in self.glyphs])  # far faster than by name, and asked for most of all


@dataclass(frozen=True, slots=True)
class Row:
    """The pieces on one baseline from left to right: of the whole page, or of one of its columns."""

    page: int
    y: float
    pieces: tuple[Piece, ...]

    @property
    def x0(self) -> float:
        return self.pieces[0].x0

    @property
    def x1(self) -> float:
        return max(piece.x1 for piece in self.pieces)

    @property
    def glyphs(self) -> list[Glyph]:
        return [glyph for piece in self.pieces for glyph in piece.glyphs]

    @property
    def ink(self) -> list[Glyph]:
        """The glyphs that are not blanks."""
        return [glyph for piece in self.pieces for glyph in piece.glyphs if not glyph.char.isspace()]

    @property
    def size(self) -> float:
        """The size that most of its glyphs have, in points."""
        if len(self.pieces) == 1:
            return self.pieces[0].size
        sizes: Counter[float] = Counter()
        for piece in self.pieces:
            sizes[piece.size] += len(piece.glyphs)
        return sizes.most_common(1)[0][0]

    @property
    def text(self) -> str:
        return " ".join(piece.text for piece in self.pieces)


def read_pieces(page: pymupdf.Page, number: int) -> list[Piece]:
    """The pieces of horizontal text on a page; slanted and vertical text, such as watermarks, is left out."""
    import pymupdf

    flags = pymupdf.TEXT_PRESERVE_WHITESPACE | pymupdf.TEXT_MEDIABOX_CLIP
    pieces: list[Piece] = []
    for block in page.get_text("rawdict", flags=flags)["blocks"]:
        for line in block.get("lines", ()):
            if line["dir"][0] > 0.99:
                pieces += _pieces_of_line(line, number)
    return pieces


def _pieces_of_line(line: dict[str, Any], page: int) -> list[Piece]:
    pieces: list[Piece] = []
    current: list[Glyph] = []
    y, end = 0.0, 0.0  # the baseline, and where the ink ends
    for span in line["spans"]:
        style = _style(span)
        for char in span["chars"]:
            x0, _, x1, _ = char["bbox"]
            text = char["c"]
            if text.isspace():
                if current:
                    current.append(Glyph(text, x0, x1, style))
                continue
            if current and x0 - end > style.size:
                pieces.append(_piece(page, y, current))
                current = []
            if not current:
                y = char["origin"][1]
            current.append(Glyph(text, x0, x1, style))
            end = x1
    if current:
        pieces.append(_piece(page, y, current))
    return pieces


def _style(span: dict[str, Any]) -> Style:
    name = span["font"]
    low = name.lower()
    return Style(
        name,
        round(span["size"], 1),
        bool(span["flags"] & 16) or any(word in low for word in BOLD_NAMES),
        bool(span["flags"] & 2) or any(word in low for word in ITALIC_NAMES),
    )


def _piece(page: int, y: float, glyphs: list[Glyph]) -> Piece:
    while glyphs[-1].char.isspace():
        glyphs.pop()
    size = glyphs[0].style.size
    if any(glyph.style.size != size for glyph in glyphs):
        size = Counter(glyph.style.size for glyph in glyphs).most_common(1)[0][0]
    return Piece(page, y, tuple(glyphs), size)


def unreadable(piece: Piece) -> int:
    """How many glyphs of a piece have no character, or one that only their font gives a meaning."""
    text = piece.text
    if text.isascii():
        return 0
    return sum(char == UNKNOWN or "\ue000" <= char <= "\uf8ff" or char >= "\U000f0000" for char in text)


def rows_of(pieces: Iterable[Piece]) -> list[Row]:
    """Pieces grouped by baseline, top to bottom; a superscript belongs to the row it overlaps."""
    groups: list[list[Piece]] = []
    for piece in sorted(pieces, key=lambda piece: piece.y):
        home = next((group for group in reversed(groups[-3:]) if _same_row(group[0], piece)), None)
        if home is None:
            groups.append([piece])
        else:
            home.append(piece)
    rows = []
    for group in groups:
        largest = max(group, key=lambda piece: (piece.size, len(piece.glyphs)))
        rows.append(Row(largest.page, largest.y, tuple(sorted(group, key=lambda piece: piece.x0))))
    return sorted(rows, key=lambda row: row.y)


def _same_row(first: Piece, second: Piece) -> bool:
    small, large = sorted((first.size, second.size))
    if large > 2.2 * small:
        return False
    top = max(first.y - 0.7 * first.size, second.y - 0.7 * second.size)
    bottom = min(first.y + 0.2 * first.size, second.y + 0.2 * second.size)
    return bottom - top > 0.55 * small


def monospaced(glyphs: Iterable[Glyph]) -> frozenset[Style]:
    """The styles whose glyphs all have one measured advance width.

    Names and flags of fonts are not looked at: most real books carry neither. A style is judged by its own
    glyphs where they tell enough, else by all sizes of its font, else by agreeing with a monospaced
    font of the document to 2 %. Digits are no evidence: most proportional fonts give them one width
    too.
    """
    widths: dict[Style, dict[str, float]] = defaultdict(dict)
    outliers: Counter[Style] = Counter()
    seen: Counter[Style] = Counter()
    counts = Counter([(char, round(x1 - x0, 2), style) for char, x0, x1, style in glyphs])
    for (char, advance, style), count in counts.items():
        if char.isspace() or ord(char) > 0x24F or advance <= 0:
            continue
        width = advance / style.size if style.size else 0.0
        known = widths[style].setdefault(char, width)
        seen[style] += count
        outliers[style] += count * (abs(known - width) > 0.02 * known)
    fonts: dict[str, dict[str, float]] = defaultdict(dict)
    for style, table in widths.items():
        fonts[style.font].update(table)

    verdict = {}
    for style, table in widths.items():
        own = _one_width(table)
        if outliers[style] > 0.02 * seen[style]:
            own = False
        verdict[style] = own if own is not None else _one_width(fonts[style.font])
    accepted = [median(widths[style].values()) for style, mono in verdict.items() if mono]
    for style, mono in verdict.items():
        if mono is None:
            verdict[style] = _agrees(widths[style], accepted)
    return frozenset(style for style, mono in verdict.items() if mono)


def _one_width(table: dict[str, float]) -> bool | None:
    """Whether the advance widths by character are one and the same; None where there are too few to tell."""
    telling = [width for char, width in table.items() if not char.isdigit()]
    if len(telling) < 8 and not (NARROW & table.keys() and WIDE & table.keys()):
        return None
    middle = median(telling)
    return sum(abs(width - middle) < 0.02 * middle for width in telling) >= 0.95 * len(telling)


def _agrees(table: dict[str, float], accepted: list[float]) -> bool:
    telling = [width for char, width in table.items() if not char.isdigit()]
    if not telling:
        return False
    middle = median(telling)
    same = all(abs(width - middle) < 0.02 * middle for width in telling)
    return same and any(abs(middle - width) < 0.02 * width for width in accepted)


def text_of(glyphs: Sequence[Glyph], mono: frozenset[Style] = frozenset()) -> str:
    """The glyphs as running text: one blank where there is a gap, `backticks` around monospaced parts."""
    parts: list[str] = []
    code, end, gap = False, None, False
    for glyph in glyphs:
        if glyph.char.isspace():
            gap = True
            continue
        gap = gap or (end is not None and glyph.x0 - end > 0.25 * glyph.style.size)
        is_code = glyph.style in mono
        if code and not is_code:
            parts.append("`")
        if gap and parts:
            parts.append(" ")
        if is_code and not code:
            parts.append("`")
        parts.append(glyph.char)
        code, end, gap = is_code, glyph.x1, False
    return "".join(parts) + ("`" if code else "")
