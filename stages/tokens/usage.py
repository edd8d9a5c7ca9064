"""How documents look to a tokenizer: how long they are, whose their tokens are, which pieces they never use."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from stages.corpus.documents import Document
from stages.tokens.characters import CharacterEncoding
from stages.tokens.interface import Encoding

KINDS = ("code", "docs", "pair")
SHORTEST = 16  # upper edge of the first bar; each edge after it is twice the one before
LONGEST_PIECES = 20


class Usage:
    """Counts documents as they are written as ids."""

    def __init__(self, encoding: Encoding) -> None:
        self._seen = np.zeros(encoding.vocab_size, np.bool_)
        self._lengths: dict[str, Counter[int]] = {kind: Counter() for kind in KINDS}
        self._documents: Counter[tuple[str, str, str]] = Counter()
        self._tokens: Counter[tuple[str, str, str]] = Counter()
        self._learnt = learnt_pieces(encoding)

    def see(self, ids: Sequence[int] | np.ndarray[Any, Any]) -> None:
        """Take note that these ids occur."""
        self._seen[np.asarray(ids, np.int64)] = True

    def add(self, document: Document, ids: Sequence[int], *, learnt: bool = True) -> None:
        """Count a document, or a conversation of one, as these ids; one that is not learnt from has only a length."""
        self._lengths[document.kind][len(ids)] += 1
        if learnt:
            self.see(ids)
            of = (document.kind, document.source, document.license)
            self._documents[of] += 1
            self._tokens[of] += len(ids)

    def pieces(self) -> dict[str, Any]:
        """How many pieces stand for text of their own (`learnt_pieces`), and how many of these training never meets."""
        learnt = int(self._learnt.sum())
        unused = int((self._learnt & ~self._seen).sum())
        return {"learnt": learnt, "unused": unused, "unused_share": round(unused / learnt, 4) if learnt else 0.0}

    def metrics(self, context_length: int) -> dict[str, Any]:
        """What was counted of documents; lengths in tokens, a bar from each edge to below the next."""
        longest = max((length for counts in self._lengths.values() for length in counts), default=0)
        edges = [0, SHORTEST]
        while edges[-1] <= longest:
            edges.append(2 * edges[-1])
        bars = {kind: _histogram(counts, edges) for kind, counts in self._lengths.items()}
        longer = {kind: _longer(self._lengths[kind], context_length) for kind in ("code", "docs")}
        return {
            "lengths": {"edges": edges, **bars},
            "longer_than_context": longer,
            "composition": [
                {"kind": of[0], "source": of[1], "license": of[2], "documents": self._documents[of], "tokens": tokens}
                for of, tokens in sorted(self._tokens.items(), key=lambda item: (-item[1], item[0]))
            ],
        }


def learnt_pieces(encoding: Encoding) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Which ids stand for text: no special tokens and, where others can be made of them, no single bytes."""
    shortest = 1 if isinstance(encoding, CharacterEncoding) else 2
    return np.asarray(encoding.sizes()) >= shortest


def longest_pieces(encoding: Encoding) -> list[str]:
    """The texts of the pieces with the most bytes, the longest first."""
    sizes = encoding.sizes()
    ranked = sorted(range(len(sizes)), key=lambda token: (-sizes[token], token))
    return [encoding.decode([token]) for token in ranked[:LONGEST_PIECES] if sizes[token]]


def _histogram(counts: Counter[int], edges: list[int]) -> list[int]:
    bars = [0] * (len(edges) - 1)
    for length, count in counts.items():
        bars[int(np.searchsorted(edges, length, "right")) - 1] += count
    return bars


def _longer(counts: Counter[int], context_length: int) -> int:
    return sum(count for length, count in counts.items() if length > context_length)
