"""Documents in one monospaced face throughout: there the width of glyphs says nothing, so the words must."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

from stages.corpus.pdf.code import Line
from stages.corpus.pdf.glyphs import text_of
from stages.corpus.pdf.grid import line_pitch
from stages.corpus.pdf.language import KEYWORDS

MONO_SHARE = 0.85  # of all lines, above which the document counts as typewritten
PROSE_SHARE = 0.35  # of those, above which it is a text and not a printed program
WORD = re.compile(r"[(\"'\u201c\u2018]*[A-Za-z]+(?:['\u2019/-][A-Za-z]+)*[.,;:!?)\"'\u201d\u2019]*")


def with_prose(lines: Sequence[Line]) -> tuple[list[Line], bool]:
    """The lines, prose no longer marked as code, and whether the document is a typewritten text."""
    written = [line for line in lines if line.row]
    if sum(line.code for line in written) < MONO_SHARE * len(written):
        return list(lines), False
    judged = [(chunk, reads_as_prose([text_of(line.glyphs) for line in chunk])) for chunk in _chunks(lines)]
    if sum(len(chunk) for chunk, prose in judged if prose) < PROSE_SHARE * len(written):
        return list(lines), False
    return [replace(line, code=False) if prose else line for chunk, prose in judged for line in chunk], True


def _chunks(lines: Sequence[Line]) -> list[list[Line]]:
    """Lines in groups that stand clear of each other."""
    size = lines[0].size if lines else 10.0
    pitch = line_pitch((b.y - a.y for a, b in pairwise(lines) if a.flow == b.flow), size)
    chunks: list[list[Line]] = []
    for line in lines:
        last = chunks[-1][-1] if chunks else None
        if last and last.flow == line.flow and last.size == line.size and line.y - last.y < 1.3 * pitch:
            chunks[-1].append(line)
        else:
            chunks.append([line])
    return chunks


def reads_as_prose(lines: Sequence[str]) -> bool:
    """Whether lines are sentences: nearly all words, and none that begins like a program's."""
    tokens = " ".join(lines).split()
    words = sum(bool(WORD.fullmatch(token)) for token in tokens)
    if len(tokens) < 4 or words < 0.7 * len(tokens) or any(KEYWORDS.match(line) for line in lines):
        return False
    return not lines[0].lstrip().startswith(("#", "//", "/*", ">>>", "$")) and len(tokens) / len(lines) >= 3
