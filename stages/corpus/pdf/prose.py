"""Running text: lines to paragraphs, lists, table rows and headings, with hyphenation undone."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from stages.corpus.pdf.chars import BULLETS, DASHES, HYPHENS, INVISIBLE, LIGATURES
from stages.corpus.pdf.code import Line
from stages.corpus.pdf.glyphs import Style, text_of
from stages.corpus.pdf.grid import line_pitch

BULLET = re.compile(rf"(?:[{BULLETS}]\s*|[{DASHES}]\s+)(?=\S|$)")
ORDERED = re.compile(r"\(?(\d{1,3}|[a-z])[.)]\s+(?=\S)")
WORD = re.compile(r"[^\W\d_]+(?:['\u2019][^\W\d_]+)?")
COMPOUND = r"[^\W_]+(?:[-'\u2010\u2019][^\W_]+)*"
NUMBERED = re.compile(r"\d+(?:\.\d+)+\.?\s")
MAX_HEADING_LINES = 4
MAX_HEADING_CHARS = 200


@dataclass(frozen=True, slots=True)
class Text:
    """A line of running text and its look; `cells` if it is a table row, `plain` unless all of it is code."""

    line: Line
    text: str
    size: float
    bold: bool
    plain: bool
    cells: tuple[str, ...]
    marker: str  # "" none, "-" bullet, "1." ordered

    @property
    def x0(self) -> float:
        return self.line.row.x0 if self.line.row else 0.0

    @property
    def x1(self) -> float:
        return self.line.row.x1 if self.line.row else 0.0


@dataclass(frozen=True, slots=True)
class Paragraph:
    """Lines that belong together: a text, item, row or heading; items and headings have a level from 1."""

    kind: str
    text: str
    level: int
    size: float
    bold: bool


@dataclass(frozen=True, slots=True)
class Body:
    """What running text looks like: its size, its line pitches by size, its right edges, and its words."""

    size: float
    pitches: dict[float, float]
    rights: dict[tuple[int, int], float]
    words: Counter[str]


def texts_of(lines: Iterable[Line], mono: frozenset[Style]) -> list[Text]:
    texts = [_text(line, mono) for line in lines if line.row]
    return [
        text if not text.cells or any(_aligned(text, other) for other in around) else replace(text, cells=())
        for text, around in zip(texts, _neighbours(texts), strict=True)
    ]


def _neighbours(texts: Sequence[Text]) -> list[list[Text]]:
    return [[*texts[max(0, i - 1) : i], *texts[i + 1 : i + 2]] for i in range(len(texts))]


def _aligned(row: Text, other: Text) -> bool:
    """Whether two rows share the left edge of a cell after the first: tables do, justified lines do not."""
    edges = [piece.x0 for piece in other.line.row.pieces[1:]] if other.cells and other.line.row else []
    starts = [piece.x0 for piece in row.line.row.pieces[1:]] if row.line.row else []
    return row.line.flow == other.line.flow and any(abs(a - b) < 2 for a in starts for b in edges)


def _text(line: Line, mono: frozenset[Style]) -> Text:
    assert line.row is not None
    pieces = line.row.pieces
    text = text_of(line.row.glyphs, mono)
    if len(pieces) > 1 and ORDERED.match(pieces[0].text + " x"):
        text = text.replace(pieces[0].text, pieces[0].text + " ", 1).replace("  ", " ", 1)
    ink = [glyph.style for glyph in line.row.glyphs if not glyph.char.isspace()]
    marker = "-" if BULLET.match(text) else "1." if ORDERED.match(text) else ""
    cells: list[list[int]] = [[0]]
    for index, (left, right) in enumerate(pairwise(pieces), 1):
        first_gap_of_item = marker and index == 1
        if right.x0 - left.x1 > 2 * line.size and not first_gap_of_item:
            cells.append([])
        cells[-1].append(index)
    parts = tuple(text_of([g for i in cell for g in pieces[i].glyphs], mono) for cell in cells)
    bold = sum(style.bold for style in ink) > 0.9 * len(ink)
    plain = Counter(style.size for style in ink if style not in mono)
    size = plain.most_common(1)[0][0] if plain else line.size
    return Text(line, text, size, bold, bool(plain), parts if len(parts) > 1 else (), marker)


def measure_body(texts: Sequence[Text]) -> Body:
    sizes: Counter[float] = Counter()
    steps: dict[float, list[float]] = defaultdict(list)
    rights: dict[tuple[int, int], list[float]] = defaultdict(list)
    for text in texts:
        sizes[text.size] += len(text.text)
        rights[text.line.page, text.line.column].append(text.x1)
    for a, b in pairwise(texts):
        if a.line.flow == b.line.flow and a.size == b.size:
            steps[a.size].append(b.line.y - a.line.y)
    return Body(
        sizes.most_common(1)[0][0] if sizes else 0.0,
        {size: line_pitch(steps[size], size) for size in sizes},
        {key: max(values) for key, values in rights.items()},
        vocabulary(text.text for text in texts),
    )


def vocabulary(lines: Iterable[str]) -> Counter[str]:
    """The words of the document, and its words with a hyphen, as they stand within lines, in lower case."""
    words: Counter[str] = Counter()
    broken = False
    for line in lines:
        parts = re.findall(COMPOUND, line.lower())
        parts = parts[1:] if broken else parts
        broken = line[-1] in HYPHENS
        parts = parts[:-1] if broken else parts
        words.update(part.replace("\u2010", "-") for part in parts)
        words.update(word for part in parts for word in WORD.findall(part) if word != part)
    return words


def paragraphs_of(texts: Sequence[Text], body: Body) -> list[Paragraph]:
    """The paragraphs of lines that follow each other without code in between; headings carry level 0 yet."""
    groups: list[list[Text]] = []
    for text in texts:
        if groups and _continues(groups[-1], text, body):
            groups[-1].append(text)
        else:
            groups.append([text])
    paragraphs: list[Paragraph] = []
    lefts: list[float] = []
    for group in groups:
        first = group[0]
        joined = join_lines([text.text for text in group], body.words)
        kind, level = "text", 0
        if first.cells:
            kind, joined = "row", " | ".join(first.cells)
        elif _is_heading(group, joined, body):
            kind = "heading"
        elif first.marker:
            kind = "item"
            lefts = [left for left in lefts if left < first.x0 - 2] + [first.x0]
            level = len(lefts)
            if first.marker == "-":
                joined = BULLET.sub("", joined)
        if kind in ("heading", "text"):
            lefts = []
        if joined:
            paragraphs.append(Paragraph(kind, joined, level, first.size, first.bold))
    return paragraphs


def _continues(group: Sequence[Text], text: Text, body: Body) -> bool:
    """Whether a line goes on with the paragraph above it."""
    first, last = group[0], group[-1]
    if text.cells or last.cells or text.marker:
        return False
    if text.plain and last.plain and (abs(text.size - last.size) > 0.6 or text.bold != last.bold):
        return False
    if text.line.flow != last.line.flow:
        open_end = last.text[-1:] not in ".?!:;`" or last.text[-1:] in HYPHENS
        return open_end and text.text[:1].islower() and text.size <= 1.1 * body.size
    if text.line.y - last.line.y > 1.35 * body.pitches.get(last.size, 1.2 * last.size):
        return False
    if text.bold or text.size > 1.1 * body.size:
        return True
    right = body.rights.get((last.line.page, last.line.column), last.x1)
    if last.text[-1:] in ".:?!" and last.x1 < right - 0.25 * (right - first.x0) and not first.marker:
        return False
    if len(group) == 1:
        return text.x0 < last.x0 + 0.8 * text.size or bool(first.marker)
    return text.x0 < last.x0 + 0.8 * text.size


def _is_heading(group: Sequence[Text], joined: str, body: Body) -> bool:
    first = group[0]
    if len(group) > MAX_HEADING_LINES or len(joined) > MAX_HEADING_CHARS or not WORD.search(joined):
        return False
    if first.size >= 1.12 * body.size:
        return True
    return (
        first.bold
        and (first.size >= 0.98 * body.size or NUMBERED.match(joined) is not None)
        and len(group) <= 2
        and not first.marker
        and joined[-1] not in ".,;"
    )


def join_lines(lines: Sequence[str], words: Counter[str]) -> str:
    text = ""
    for line in lines:
        text = _join(text, line, words) if text else line
    return text.translate(INVISIBLE).translate(LIGATURES)


def _join(above: str, below: str, words: Counter[str]) -> str:
    if above.endswith("`") and below.startswith("`"):
        return above[:-1] + ("" if above[-2:-1] in HYPHENS else " ") + below[1:]
    if above[-1] not in HYPHENS or len(above) < 2 or not above[-2].isalpha() or not below[:1].isalpha():
        return f"{above} {below}"
    head = (re.findall(COMPOUND + "$", above[:-1]) or [""])[0].lower()
    tail = (re.findall("^" + COMPOUND, below) or [""])[0].lower()
    return above[:-1] + below if _is_broken_word(head, tail, words) else above[:-1] + "-" + below


def _is_broken_word(head: str, tail: str, words: Counter[str]) -> bool:
    """Whether a hyphen at a line's end is only there for the line's end."""
    joined, hyphened = words[head + tail], words[f"{head}-{tail}"]
    if joined or hyphened:
        return joined >= hyphened
    if not tail.islower():
        return False
    return not (words[head] > 1 and words[tail] > 1 and len(head) > 2 and len(tail) > 2)


def with_levels(paragraphs: Sequence[Paragraph]) -> list[Paragraph]:
    """Headings ranked: the largest have level 1, of one size bold goes before regular; at most six levels."""
    looks = sorted({(p.size, p.bold) for p in paragraphs if p.kind == "heading"}, reverse=True)
    ranks: dict[tuple[float, bool], int] = {}
    rank, previous = 0, None
    for look in looks:
        if previous is None or previous[0] - look[0] > 0.3 or previous[1] != look[1]:
            rank += 1
        ranks[look] = min(rank, 6)
        previous = look
    return [
        Paragraph(p.kind, p.text, ranks[p.size, p.bold], p.size, p.bold) if p.kind == "heading" else p
        for p in paragraphs
    ]


def markdown(paragraph: Paragraph) -> str:
    text = paragraph.text
    if paragraph.kind == "heading":
        return "#" * paragraph.level + " " + text.replace("`", "")
    if paragraph.kind == "item":
        return "  " * (paragraph.level - 1) + (text if ORDERED.match(text) else "- " + text)
    return re.sub(r"^(#|```|~~~)", r"\\\1", text)
