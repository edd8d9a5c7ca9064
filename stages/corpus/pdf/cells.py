"""Cells of tables that are set like code: they are no listings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from stages.corpus.pdf.code import Line
from stages.corpus.pdf.glyphs import Style
from stages.corpus.pdf.tables import table_at
from stages.corpus.pdf.texts import measure_body, texts_of


def without_cells(lines: Sequence[Line], mono: frozenset[Style], rules: Mapping[int, Sequence[float]]) -> list[Line]:
    """The lines, those that belong to a table no longer marked as code. A table has a line that is not all code."""
    result = list(lines)
    places = [index for index, line in enumerate(lines) if line.row]
    texts = texts_of(lines, mono)
    body = measure_body([text for text in texts if not text.line.code], mono)
    at = 0
    while at < len(texts):
        text = texts[at]
        hit = None
        if len(text.cells) > 1 and not text.line.code:
            hit = table_at(texts, at, body, rules.get(text.line.page, ()))
        for index in places[at : at + hit[1]] if hit else ():
            result[index] = replace(result[index], code=False)
        at += hit[1] if hit else 1
    return result
