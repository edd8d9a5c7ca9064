"""Blocks to Markdown."""

from __future__ import annotations

import re
from collections.abc import Sequence

from stages.corpus.pdf.language import language
from stages.corpus.pdf.outline import Block
from stages.corpus.pdf.prose import Paragraph
from stages.corpus.pdf.tables import markdown_table
from stages.corpus.pdf.texts import ORDERED


def to_markdown(blocks: Sequence[Block], pages: int) -> tuple[str, tuple[int, ...]]:
    """The blocks as Markdown, and where in it the first block of each page, or of a later one, starts."""
    parts: list[str] = []
    starts: list[int] = []
    before, length = "", 0
    for block in blocks:
        kind = block.kind if isinstance(block, Paragraph) else "code"
        if before:
            parts.append("\n" if kind == before == "item" else "\n\n")
            length += len(parts[-1])
        starts += [length] * (block.page + 1 - len(starts))
        parts.append(_paragraph(block) if isinstance(block, Paragraph) else _fenced(block.text))
        length += len(parts[-1])
        before = kind
    starts += [length + 1] * (pages - len(starts))
    return "".join(parts) + "\n", tuple(starts)


def _fenced(code: str) -> str:
    longest = max((len(run) for run in re.findall(r"`{3,}", code)), default=2)
    fence = "`" * (longest + 1)
    return f"{fence}{language(code)}\n{code}\n{fence}"


def _paragraph(paragraph: Paragraph) -> str:
    text = paragraph.text
    if paragraph.table:
        return markdown_table(paragraph.table)
    if paragraph.kind == "heading":
        return "#" * paragraph.level + " " + text.replace("`", "")
    if paragraph.kind == "item":
        return "  " * (paragraph.level - 1) + (text if ORDERED.match(text) else "- " + text)
    return re.sub(r"^(#|```|~~~)", r"\\\1", text)
