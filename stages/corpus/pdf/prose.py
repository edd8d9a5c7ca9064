"""Running text: lines to paragraphs, items of lists, tables, captions and headings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from stages.corpus.pdf.chars import HYPHENS
from stages.corpus.pdf.glyphs import text_of
from stages.corpus.pdf.headings import CAPTION, is_heading
from stages.corpus.pdf.tables import Table, table_at
from stages.corpus.pdf.texts import BULLET, Body, Text
from stages.corpus.pdf.words import join_lines


@dataclass(frozen=True, slots=True)
class Paragraph:
    """Lines that belong together: a text, item, table, caption, heading or note.

    `page` is where it begins and `left` its left edge there. Items and headings have a level from 1, known only when
    the whole document is read.
    """

    kind: str
    text: str
    page: int
    left: float
    size: float
    bold: bool
    level: int = 0
    table: Table | None = None


def paragraphs_of(texts: Sequence[Text], body: Body, rules: Mapping[int, Sequence[float]]) -> list[Paragraph]:
    """The paragraphs of lines that follow each other without code in between; `rules` are lines drawn, by page."""
    found: list[Paragraph] = []
    groups: list[list[Text]] = []
    clear: list[bool] = []

    def close() -> None:
        for index, (group, room) in enumerate(zip(groups, clear, strict=True)):
            below = groups[index + 1] if index + 1 < len(groups) else None
            found.extend(_paragraphs(group, room and not _is_term(group, below, body), body))
        groups.clear()
        clear.clear()

    index = 0
    while index < len(texts):
        text = texts[index]
        if len(text.cells) > 1 and (hit := table_at(texts, index, body, rules.get(text.line.page, ()))):
            close()
            table, count = hit
            found.append(Paragraph("table", "", text.line.page, text.x0, text.size, False, table=table))
            index += count
            continue
        if groups and _continues(groups[-1], text, body):
            groups[-1].append(text)
        else:
            above = texts[index - 1] if index else None
            clear.append(above is None or _stands_clear(above, text, body))
            groups.append([text])
        index += 1
    close()
    return found


def _stands_clear(above: Text, text: Text, body: Body) -> bool:
    return above.line.flow != text.line.flow or text.line.y - above.line.y > 1.15 * body.pitch(body.size)


def _is_term(group: Sequence[Text], below: Sequence[Text] | None, body: Body) -> bool:
    """Whether a line is a term, and what is below it, further to the right, says what it means."""
    if below is None or below[0].marker or below[0].line.flow != group[-1].line.flow or len(group) > 1:
        return False
    ink = below[0].line.row.ink if below[0].line.row else []
    if sum(glyph.style in body.mono for glyph in ink) > 0.8 * len(ink):
        return False
    if len(below) == 1 and body.indented:
        return False
    return min(text.x0 for text in below[1:] or below) > group[0].x0 + 0.8 * group[0].size


def _continues(group: Sequence[Text], text: Text, body: Body) -> bool:
    """Whether a line goes on with the paragraph above it."""
    first, last = group[0], group[-1]
    if text.marker or text.run_in:
        return False
    if text.plain and last.plain and (abs(text.size - last.size) > 0.6 or text.bold != last.bold):
        return False
    if text.line.flow != last.line.flow:
        open_end = last.text[-1:] not in ".?!:;`" or last.text[-1:] in HYPHENS
        return open_end and text.text[:1].islower() and text.size <= 1.1 * body.size
    if text.line.y - last.line.y > 1.35 * body.pitch(last.size):
        return False
    if text.bold or text.size > 1.1 * body.size:
        return True
    if CAPTION.match(text.text) and last.text[-1:] in ".:?!":
        return False
    right = body.rights.get((last.line.page, last.line.column), last.x1)
    if last.text[-1:] in ".:?!" and last.x1 < right - 0.25 * (right - first.x0) and not first.marker:
        return False
    return text.x0 < last.x0 + 0.8 * text.size or (len(group) == 1 and bool(first.marker))


def _paragraphs(group: Sequence[Text], clear: bool, body: Body) -> list[Paragraph]:
    """A group of lines as one paragraph, or as a heading and the paragraph that runs on from it."""
    first = group[0]

    def paragraph(kind: str, text: str) -> list[Paragraph]:
        return [Paragraph(kind, text, first.line.page, first.x0, first.size, first.bold)] if text else []

    if first.run_in and clear:
        glyphs = first.line.glyphs
        head = text_of(glyphs[: first.run_in])
        if not CAPTION.match(head) and head[-1] not in ":,;":
            rest = replace(first, text=text_of(glyphs[first.run_in :], body.mono), run_in=0)
            heading = Paragraph("heading", head, first.line.page, first.x0, first.size, True)
            return [heading, *_paragraphs([rest, *group[1:]], False, body)]
    joined = join_lines([text.text for text in group], body.words)
    if is_heading(group, joined, body, clear):
        return paragraph("heading", joined)
    if first.marker:
        return paragraph("item", BULLET.sub("", joined) if first.marker == "-" else joined)
    return paragraph("caption" if CAPTION.match(joined) else "text", joined)
