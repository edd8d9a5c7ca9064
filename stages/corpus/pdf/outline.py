"""What only the whole document tells: the levels of headings and items, tables over pages, where footnotes go."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from stages.corpus.pdf.headings import is_label, levels
from stages.corpus.pdf.listings import Listing
from stages.corpus.pdf.prose import Paragraph

Block = Listing | Paragraph


def outlined(blocks: Sequence[Block]) -> list[Block]:
    """The blocks with levels, tables that go on over pages as one, and without labels such as "Chapter one"."""
    kept = [block for block in blocks if not (_is(block, "heading") and is_label(block.text))]
    ranks = levels(
        {(block.size, block.bold) for block in kept if isinstance(block, Paragraph) and block.kind == "heading"}
    )
    result: list[Block] = []
    lefts: list[float] = []
    for block in kept:
        if isinstance(block, Paragraph):
            above = result[-1] if result else None
            if block.table and isinstance(above, Paragraph) and above.table and block.table.continues(above.table):
                result[-1] = replace(above, table=block.table.after(above.table))
                continue
            lefts = _lefts(lefts, block)
            if block.kind == "item":
                block = replace(block, level=len(lefts))
            elif block.kind == "heading":
                block = replace(block, level=ranks[block.size, block.bold])
        result.append(block)
    return result


def _is(block: Block, kind: str) -> bool:
    return isinstance(block, Paragraph) and block.kind == kind


def _lefts(lefts: Sequence[float], block: Paragraph) -> list[float]:
    """The left edges of the items that are open at a block, itself among them if it is one."""
    if block.kind == "item":
        return [left for left in lefts if left < block.left - 2] + [block.left]
    if block.kind in ("note", "caption"):
        return list(lefts)
    return [left for left in lefts if left < block.left - 2] if block.kind == "text" else []


def with_notes(blocks: Sequence[Block], notes: Sequence[Paragraph]) -> list[Block]:
    """The footnotes of a page after the last block that begins on it."""
    result: list[Block] = []
    waiting = sorted(notes, key=lambda note: note.page)
    for block in blocks:
        while waiting and waiting[0].page < block.page:
            result.append(waiting.pop(0))
        result.append(block)
    return result + waiting
