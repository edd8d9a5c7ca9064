"""Fill-in-the-middle: how a text with a gap is said to the model, and how much of it is said.

A text is written as prefix, suffix, middle (PSM; Bavarian et al., arXiv:2207.14255), each announced by a marker of its
own, so that the model learns to write what fits between the two:

    <fim_prefix>prefix<fim_suffix>suffix<fim_middle>middle<eos>

The markers are those of StarCoder, which llama.cpp knows. A gap starts a text, so every runtime puts `<bos>` before it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING

from stages.tokens.interface import FIM_MIDDLE, FIM_PREFIX, FIM_SUFFIX

if TYPE_CHECKING:
    from stages.tokens.interface import Encoding

OLLAMA_FIM_TEMPLATE = FIM_PREFIX + "{{ .Prompt }}" + FIM_SUFFIX + "{{ .Suffix }}" + FIM_MIDDLE
CHUNK = 1 << 24
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


def trained_with_gaps(tokens: Path, encoding: Encoding) -> bool:
    """Whether a `tokenize` artifact's training texts have gaps: whether the marker before a middle is among their ids.

    It never comes out of ordinary text, so this holds whatever made the texts, nanoGPT's own files among them.
    """
    import numpy as np

    if not encoding.fills:
        return False
    marker = encoding.token_id(FIM_MIDDLE)
    dtype = json.loads((tokens / "meta.json").read_bytes())["dtype"]
    ids = np.memmap(tokens / "train.bin", dtype=np.dtype(dtype).newbyteorder("<"), mode="r")
    return any(bool((ids[start : start + CHUNK] == marker).any()) for start in range(0, len(ids), CHUNK))
