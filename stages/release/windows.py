"""Validation text as windows of token ids: some to prove a release with, others to calibrate its quantisation with."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Literal

from stages.corpus.documents import read_documents
from stages.release.errors import ReleaseError
from stages.tokens.encoding import Encoding

Window = list[int]  # `<bos>`, then at most as many ids as the context holds: the last is there to be foretold only
MORE = "raise clean.val_fraction, or add documents"
Unit = Literal["documents", "windows", "nothing"]


@dataclass(frozen=True)
class Validation:
    """Windows to prove with and to calibrate with, and what the two have apart.

    `documents`: none is in both. `windows`: there is one document, of which each has its own windows. `nothing`: there
    is too little text, and both are the same.
    """

    proof: tuple[Window, ...]
    calibration: tuple[Window, ...]
    apart: Unit


def validation_windows(
    folder: Path, encoding: Encoding, context_length: int, *, tokens: int, calibration: int = 0
) -> Validation:
    """About `tokens` of validation text to prove with, and about `calibration` of other text to calibrate with.

    Documents are taken in the order of their ids, which mixes the sources. Where there is enough text, that of the
    proof is the same whatever `calibration` is; where there is too little for both, each gets its share of it, and the
    proof's depends on both numbers. Conversations count only where there is nothing else. Raises ReleaseError where
    there is no text at all.
    """
    found: list[list[Window]] = []
    goal = enough = None
    taken = 0
    for text in _texts(folder):
        ids = [*encoding.encode(text), encoding.eos_id]
        found.append([[encoding.bos_id, *ids[at : at + context_length]] for at in range(0, len(ids), context_length)])
        taken += len(ids)
        if goal is None and taken >= tokens:
            goal, enough = len(found), taken + calibration
        if enough is not None and taken >= enough:
            break
    if not found:
        raise ReleaseError(f"{folder} holds no text", hint=MORE)
    if not calibration:
        return Validation(tuple(_first(chain.from_iterable(found), tokens)), (), "documents")
    apart: Unit = "documents" if len(found) > 1 else "windows"
    groups = found if len(found) > 1 else [[window] for window in found[0]]
    if len(groups) == 1:
        return Validation(tuple(groups[0]), tuple(groups[0]), "nothing")
    if enough is None or taken < enough or goal == len(groups):
        tokens = min(tokens, taken * tokens // (tokens + calibration))
        goal = _whole(groups, tokens)
    proof, rest = (chain.from_iterable(part) for part in (groups[:goal], groups[goal:]))
    return Validation(tuple(_first(proof, max(tokens, 1))), tuple(_first(rest, calibration)), apart)


def _texts(folder: Path) -> list[str]:
    documents = sorted(read_documents(folder), key=lambda each: each.id)
    return [each.text for each in documents if each.kind != "pair"] or [each.text for each in documents]


def _whole(groups: Sequence[Sequence[Window]], tokens: int) -> int:
    """How many groups have so many tokens; at least one, and all but one if there are more."""
    taken, number = 0, 0
    while number < len(groups) and taken < tokens:
        taken += tokens_in(groups[number])
        number += 1
    return max(1, min(number, len(groups) - 1))


def _first(windows: Iterable[Window], tokens: int) -> Iterator[Window]:
    """Windows until there are so many tokens."""
    taken = 0
    for window in windows:
        if taken >= tokens:
            return
        yield window
        taken += len(window) - 1


def tokens_in(windows: Iterable[Sequence[int]]) -> int:
    """How many tokens of windows are foretold: all but the first of each."""
    return sum(len(window) - 1 for window in windows)
