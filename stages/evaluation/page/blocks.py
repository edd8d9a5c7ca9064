"""What a page is made of: sections of blocks, each of which the template knows how to write."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

Cells = Sequence[str]


@dataclass(frozen=True)
class Note:
    """A paragraph; `quiet` where it only says that something is not there. `command` can be copied."""

    text: str
    quiet: bool = False
    command: str = ""
    kind: str = "note"


@dataclass(frozen=True)
class Heading:
    text: str
    kind: str = "heading"


@dataclass(frozen=True)
class Table:
    """Cells as texts; the last `numbers` columns are aligned to the right, `best` are the (row, column) to mark."""

    head: Cells
    rows: Sequence[Cells]
    numbers: int = 0
    caption: str = ""
    best: frozenset[tuple[int, int]] = frozenset()
    folded: str = ""
    code: bool = False
    kind: str = "table"


@dataclass(frozen=True)
class Bar:
    """One row of bars: where it starts and how far it goes in percent of the width."""

    label: str
    value: str
    start: float
    width: float
    tone: str = "keep"
    detail: str = ""


@dataclass(frozen=True)
class Bars:
    title: str
    bars: Sequence[Bar]
    caption: str = ""
    kind: str = "bars"


@dataclass(frozen=True)
class Key:
    """An entry of a legend: the number of a colour, and whether the line is dashed."""

    label: str
    colour: int = 0
    dashed: bool = False
    dot: bool = False


@dataclass(frozen=True)
class Figure:
    """A drawing (SVG of our own making, every text in it escaped) with its legend and its numbers."""

    title: str
    svg: str
    caption: str = ""
    legend: Sequence[Key] = ()
    numbers: Table | None = None
    kind: str = "figure"


@dataclass(frozen=True)
class Grid:
    """Blocks beside each other where there is room."""

    blocks: Sequence[Figure | Bars]
    kind: str = "grid"


@dataclass(frozen=True)
class Text:
    """What was written and, inside, what was asked for it, with a line about it; `open` shows it at once."""

    title: str
    written: str
    asked: str = ""
    tag: str = ""
    tone: str = ""
    open: bool = False


@dataclass(frozen=True)
class Texts:
    """Texts, folded one by one; above them what was `asked` for all, and those to see `beside` each other."""

    texts: Sequence[Text]
    asked: str = ""
    code: bool = False
    beside: Sequence[Text] = ()
    kind: str = "texts"


Block = Note | Heading | Table | Bars | Figure | Grid | Texts


@dataclass(frozen=True)
class Section:
    anchor: str
    title: str
    blocks: Sequence[Block] = field(default_factory=tuple)
    lead: str = ""


def bars_of(title: str, amounts: Sequence[tuple[str, float, str]], *, caption: str = "", most: int = 12) -> Bars:
    """A bar for each (label, amount, text), the largest the widest; the rest are put together in words."""
    widest = max((amount for _, amount, _ in amounts), default=0.0) or 1.0
    told = [Bar(label, text, 0.0, 100 * amount / widest) for label, amount, text in amounts[:most]]
    more = f"and {len(amounts) - most:,} more" if len(amounts) > most else ""
    return Bars(title, told, " · ".join(filter(None, (caption, more))))
