"""Footnotes: smaller lines at the foot of a page that begin with a number or a mark."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import groupby

from stages.corpus.pdf.prose import Paragraph
from stages.corpus.pdf.texts import Body, Text
from stages.corpus.pdf.words import join_lines

SMALLER = 0.93  # times the size of the running text
MARK = re.compile(r"\[?\^?\[?(\d{1,3}|[*\u2020\u2021\u00a7]+)\]?\.?:?\s*(?=\S)")


def split_footnotes(
    texts: Sequence[Text], body: Body, code_ends: Mapping[int, float]
) -> tuple[set[int], list[Paragraph]]:
    """The flows' last lines that are footnotes, as indices into the texts, and the footnotes.

    `code_ends` is how far down code reaches in the flows that have any.
    """
    taken: set[int] = set()
    notes: list[Paragraph] = []
    start = 0
    for flow, group in groupby(texts, key=lambda text: text.line.flow):
        here = list(group)
        first = _first_note(here, body, code_ends.get(flow))
        if first is not None:
            taken |= set(range(start + first, start + len(here)))
            notes += _notes(here[first:], body)
        start += len(here)
    return taken, notes


def _first_note(texts: Sequence[Text], body: Body, code_end: float | None) -> int | None:
    """Where the footnotes of a page begin: the first of its last, smaller lines, if that has a mark."""
    first = len(texts)
    while first and texts[first - 1].size < SMALLER * body.size and len(texts[first - 1].cells) == 1:
        first -= 1
    while first < len(texts) and not _mark(texts[first]):
        first += 1
    if first == len(texts) or (first == 0 and code_end is None):
        return None
    above = texts[first - 1].line.y if first else code_end or 0.0
    return first if texts[first].line.y - above > 1.25 * body.pitch(texts[first].size) else None


def _mark(text: Text) -> re.Match[str] | None:
    """The mark that a footnote begins with: smaller than the rest of the line, or in brackets."""
    ink = text.line.row.ink if text.line.row else []
    raised = bool(ink) and ink[0].style.size < 0.85 * text.size
    match = MARK.match(text.text)
    return match if match and (raised or text.text.startswith("[")) else None


def _notes(texts: Sequence[Text], body: Body) -> list[Paragraph]:
    groups: list[list[Text]] = []
    for text in texts:
        if _mark(text) or not groups:
            groups.append([text])
        else:
            groups[-1].append(text)
    notes = []
    for group in groups:
        match = _mark(group[0])
        assert match
        rest = replace(group[0], text=group[0].text[match.end() :])
        joined = join_lines([text.text for text in [rest, *group[1:]] if text.text], body.words)
        mark = f"[^{match[1]}]: "
        notes.append(Paragraph("note", mark + joined, group[0].line.page, group[0].x0, group[0].size, False))
    return notes
