"""Texts of others in Markdown: whatever they hold, they stay text (CommonMark 0.31 and GitHub's tables)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

_SPECIAL = re.compile(r"[\\`*_\[\]~#$]")
_START = re.compile(r"^(\d*)([-+=.)])")  # of an item of a list, or of a rule
_ENTITIES = {"&": "&amp;", "<": "&lt;", ">": "&gt;", "|": "&#124;"}


def line(text: str) -> str:
    """The text on one line; blanks and what cannot be printed (controls, half characters) become one blank."""
    return " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())


def plain(text: str) -> str:
    """A text on one line that reads as it is, also in a table."""
    escaped = "".join(_ENTITIES.get(letter, letter) for letter in line(text))
    escaped = _SPECIAL.sub(r"\\\g<0>", escaped.replace("&#124;", "\0")).replace("\0", "&#124;")
    return _START.sub(r"\1\\\2", escaped)


def code(text: str, *, cell: bool = True) -> str:
    """A name or command in the letters of code; as plain text where it holds what code (in a table) cannot say."""
    text = line(text)
    return f"`{text}`" if text and not re.search(r"[`|\\]" if cell else "`", text) else plain(text)


def block(text: str, language: str = "") -> str:
    """Lines of code, whatever fences are in them."""
    longest = max(map(len, re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{text.strip()}\n{fence}"


def table(head: Sequence[str], rows: Iterable[Sequence[str]], *, numbers: int = 0) -> str:
    """A table of cells that are Markdown already; the last `numbers` columns are aligned to the right."""
    rule = ["---"] * (len(head) - numbers) + ["---:"] * numbers
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, rule, *rows))
