"""Fill-in-the-middle: how a text with a gap is said to the model, and how much of it is said.

A text is written as prefix, suffix, middle (PSM; Bavarian et al., arXiv:2207.14255), each announced by a marker of its
own, so that the model learns to write what fits between the two:

    <fim_prefix>prefix<fim_suffix>suffix<fim_middle>middle<eos>

The markers are those of StarCoder, which llama.cpp knows.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import zip_longest

_LINE = re.compile(r"[^\n]*\n|[^\n]+")


def near_middle(text: str, start: int, end: int, room: int, cost: Callable[[str], int]) -> tuple[str, str, str]:
    """Prefix, middle and suffix of `text[start:end]`, with the lines nearest to it; together they cost at most `room`.

    First come the rests of the middle's own lines, then a whole line from each side in turn, as an editor would send
    them. The middle is always whole, even where it costs more.
    """
    before, after = _LINE.findall(text[:start]), _LINE.findall(text[end:])
    spent = cost(text[start:end])
    above = below = 0
    for pair in zip_longest(reversed(before), after):
        spent += sum(cost(line) for line in pair if line)
        if spent > room:
            break
        above += pair[0] is not None
        below += pair[1] is not None
    return "".join(before[len(before) - above :]), text[start:end], "".join(after[:below])
