"""Questions with a broken program and its symptom; answers with the mistake named and the program mended."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator, Sequence

from stages.corpus.rewrite.compiler import compiles
from stages.corpus.rewrite.docpairs import Pair
from stages.corpus.rewrite.excerpts import Program
from stages.corpus.rewrite.hardware_mistakes import HARDWARE_MISTAKES
from stages.corpus.rewrite.mistakes import MISTAKES, Bug
from stages.corpus.rewrite.texts import Code, edited, fenced_python, lines_of, parse

MIN_LINES, MAX_LINES, MAX_CHARS = 4, 32, 1000

_ASKED = (
    "What is wrong with this code? {}",
    "{} What is the mistake?",
    "{} Why?",
    "{} How do I mend this?",
    "Find the bug. {}",
    "Please fix this program. {}",
)


def bugfix_pairs(text: str, rng: random.Random, limit: int) -> list[Pair]:
    """Up to `limit` questions with their answers, made of a program or of the fenced Python of a conversation.

    Each puts one mistake into a small program, or into a function with all that it needs; rare kinds of mistakes come
    first, so that not every pair is about an import. The answer holds the code as it was, which compiles.
    """
    found: list[tuple[Bug, str]] = []
    for source in _small_programs(text):
        code = parse(0, 0, source)
        if code is not None and not code.head and compiles(source):
            found += [(bug, source) for bug in bugs_in(code)]
    rng.shuffle(found)
    how_many = Counter(bug.kind for bug, _ in found)
    found.sort(key=lambda each: how_many[each[0].kind])
    pairs: list[Pair] = []
    kinds: set[str] = set()
    for bug, source in found:
        if bug.kind not in kinds and len(pairs) < limit:
            kinds.add(bug.kind)
            pairs.append(_pair(bug, source, rng))
    return pairs


def bugs_in(code: Code) -> Iterator[Bug]:
    """Every mistake that can be made in a program."""
    for mistake in (*HARDWARE_MISTAKES, *MISTAKES):
        yield from mistake(code)


def _pair(bug: Bug, source: str, rng: random.Random) -> Pair:
    broken = edited([source], [bug.edit])[0].lstrip("\n")
    asked = rng.choice(_ASKED).format(bug.symptom)
    return f"{asked}\n\n```python\n{_ended(broken)}```", f"{bug.cause}\n\n```python\n{_ended(source)}```"


def _small_programs(text: str) -> Iterator[str]:
    """The text itself if it is a small program, else its functions; or the small programs in its fences."""
    blocks: Sequence[str] = fenced_python(text)
    for block in blocks or [text]:
        if _is_small(block):
            yield block
        elif not blocks and (code := parse(0, 0, block)) and not code.head:
            program = Program(code)
            alone = (program.alone(function) for function in program.functions())
            yield from (source for source in alone if source and _is_small(source))


def _is_small(source: str) -> bool:
    return MIN_LINES <= len(lines_of(source)) <= MAX_LINES and len(source) <= MAX_CHARS


def _ended(source: str) -> str:
    return source if source.endswith("\n") else source + "\n"
