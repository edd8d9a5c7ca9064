"""Lines of code that the page was too narrow for: what was wrapped is put back onto its line."""

from __future__ import annotations

import io
import re
import tokenize
from collections.abc import Sequence

from stages.corpus.pdf.chars import WRAP_MARKS
from stages.corpus.pdf.language import KEYWORDS, does_something, parses

LEADING = re.compile(rf"\s*[{WRAP_MARKS}]+\s?")
TRAILING = re.compile(rf"\s?[{WRAP_MARKS}]+$")
CLOSING = (")", "]", "}")


def unwrapped(lines: Sequence[str], room: Sequence[int], goes_on: Sequence[bool]) -> list[str]:
    """The lines of a block as they were written.

    `room` says how many columns a line had left at its right, `goes_on` whether a line is known to go on with the one
    above it, as where it alone has no line number. Without a number or a mark a line is put back only where its first
    word had no room on the line above, Python cannot mean it as a line of its own, and the block then is Python.
    """
    certain = [known or _marked(above, line) for above, line, known in zip(["", *lines], lines, goes_on, strict=False)]
    joined = _joined(lines, certain)
    if parses("\n".join(joined)):
        return joined
    guess = list(certain)
    for index, line in enumerate(lines):
        if index and line.strip() and not certain[index] and not line.startswith(CLOSING):
            guess[index] = room[index - 1] < len(line.split()[0]) + 1 and _belongs(lines[:index], line)
    trial = _joined(lines, guess)
    return trial if parses("\n".join(trial)) else joined


def _marked(above: str, line: str) -> bool:
    return bool(above.strip() and line.strip() and (LEADING.match(line) or TRAILING.search(above)))


def _joined(lines: Sequence[str], goes_on: Sequence[bool]) -> list[str]:
    result: list[str] = []
    for line, known in zip(lines, goes_on, strict=True):
        if not known or not result or not result[-1].strip() or not line.strip():
            result.append(line)
            continue
        mark, end = LEADING.match(line), TRAILING.search(result[-1])
        head = result[-1][: end.start()] if end else result[-1]
        tail = line[mark.end() :] if mark else line.lstrip()
        result[-1] = head + ("" if (mark or end) and _close(head, tail) else " ") + tail
    return result


def _close(head: str, tail: str) -> bool:
    """Whether no blank was where a line was broken: Python's own style decides."""
    return not (head[-1:] in ",=+-*/%<>|&:#" or (head[-1:].isalnum() and tail[:1].isalnum()))


def _belongs(above: Sequence[str], line: str) -> bool:
    """Whether a line further to the left than it should be can only be the rest of the line above it."""
    last = above[-1]
    indent, before = len(line) - len(line.lstrip()), len(last) - len(last.lstrip())
    state = _state_after(above)
    if state == "comment":
        return indent == 0 and not line.startswith(("#", "@")) and not KEYWORDS.match(line) and not does_something(line)
    if state == "open":
        return indent < before or (indent == 0 and not parses(last))
    if last.endswith((":", "\\")) or indent > before:
        return False
    return not parses(last.strip()) and parses(f"{last.strip()} {line.strip()}")


def _state_after(lines: Sequence[str]) -> str:
    """How Python code stands at its end: within a "comment", with "open" brackets or quotes, or ""."""
    state = ""
    try:
        for token in tokenize.generate_tokens(io.StringIO("\n".join(lines) + "\n").readline):
            if token.type == tokenize.COMMENT and token.start[0] == len(lines):
                state = "comment"
    except tokenize.TokenError:
        return state or "open"
    except SyntaxError:
        return "comment" if "#" in lines[-1] else ""
    return state
