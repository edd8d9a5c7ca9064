"""Where to cut the middle out of a program for fill-in-the-middle: what a person at an editor would want filled in."""

from __future__ import annotations

import ast
import random
import re
from collections.abc import Iterator

from stages.corpus.rewrite.texts import lines_of, parsed

MIN_CHARS, MAX_CHARS = 8, 400
MAX_STATEMENTS = 3
_STOP = re.compile(r"\w+|[^\w\s]")


def choose_gap(text: str, rng: random.Random) -> tuple[int, int] | None:
    """Offsets of a middle of 8 to 400 characters: some statements, some lines, or the rest of a line and what follows.

    Half of the gaps are whole statements, a sixth whole lines, a third begin or end inside a line. None for a text
    that has no such gap.
    """
    lines = lines_of(text)
    starts = [0]
    for line in lines:
        starts.append(starts[-1] + len(line))
    kind = rng.choice(("statements", "statements", "statements", "lines", "inside", "inside"))
    statements = _statements(text, len(lines)) if kind == "statements" else []
    whole = [span for span in statements if _fits(text, starts[span[0]], starts[span[1]])]
    if whole:
        first, last = rng.choice(whole)
        return starts[first], starts[last]
    for _ in range(20):
        first = rng.randrange(len(lines)) if lines else 0
        last = min(first + rng.randint(1, 6), len(lines))
        start, end = starts[first], starts[last]
        if kind == "inside" and lines:
            start, end = _inside(text, start, rng.choice((starts[first + 1], end)), rng)
        if _fits(text, start, end):
            return start, end
    return None


def _fits(text: str, start: int, end: int) -> bool:
    middle = text[start:end]
    return len(middle.strip()) >= MIN_CHARS and len(middle) <= MAX_CHARS and (start > 0 or end < len(text))


def _inside(text: str, start: int, end: int, rng: random.Random) -> tuple[int, int]:
    """From some word of the first line to the end of the last one, or to a word before it."""
    first_line = text[start : text.find("\n", start) if "\n" in text[start:] else len(text)]
    begins = [start + match.start() for match in _STOP.finditer(first_line)] or [start]
    begin = rng.choice(begins)
    end -= text[start:end].endswith("\n")
    if rng.random() < 0.3:
        end = rng.choice([begin + match.end() for match in _STOP.finditer(text[begin:end])] or [end])
    return begin, end


def _statements(text: str, count: int) -> list[tuple[int, int]]:
    """First line and line after the last, from 0, of every run of up to three statements of one block."""
    tree = parsed(text)
    if tree is None:
        return []
    spans = []
    for body in _bodies(tree):
        for first in range(len(body)):
            for last in range(first, min(first + MAX_STATEMENTS, len(body))):
                begin = min(node.lineno for node in (body[first], *getattr(body[first], "decorator_list", ())))
                spans.append((begin - 1, body[last].end_lineno or begin))
    return [(begin, end) for begin, end in spans if end <= count]


def _bodies(tree: ast.Module) -> Iterator[list[ast.stmt]]:
    for node in ast.walk(tree):
        for name in ("body", "orelse", "finalbody"):
            body = getattr(node, name, None)
            if isinstance(body, list) and body:
                yield body
