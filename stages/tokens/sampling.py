"""How the next token is drawn from logits; one rule for torch, llama.cpp and every command."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Sampling:
    """`temperature` 0 takes the likeliest token; `top_k` 0, `top_p` 1, `min_p` 0 and `repeat_penalty` 1 are off.

    The logits of the last `repeat_last_n` tokens are divided by the penalty, or multiplied where negative (Keskar et
    al. 2019, arXiv:1909.05858). Then softmax(logits / temperature) is cut to the `top_k` likeliest, to the fewest that
    reach the probability `top_p` (Holtzman et al. 2019, arXiv:1904.09751), and to those at least `min_p` times as
    likely as the likeliest (Nguyen et al. 2024, arXiv:2407.01082). Raises ValueError for values out of range.
    """

    temperature: float = 0.8
    top_k: int = 50
    top_p: float = 1.0
    min_p: float = 0.0
    repeat_penalty: float = 1.0
    repeat_last_n: int = 64

    def __post_init__(self) -> None:
        if not (self.temperature >= 0 and self.top_k >= 0 and self.repeat_last_n >= 0 and self.repeat_penalty > 0):
            raise ValueError("temperature, top_k and repeat_last_n must not be negative, repeat_penalty above 0")
        if not 0 < self.top_p <= 1 or not 0 <= self.min_p <= 1:
            raise ValueError("0 < top_p <= 1 and 0 <= min_p <= 1")


@dataclass(frozen=True)
class Generated:
    """New token ids, and whether the model ended them by itself (the end is not among them)."""

    ids: tuple[int, ...]
    ended: bool


def choose(logits: NDArray[np.float32], sampling: Sampling, recent: Sequence[int], random: np.random.Generator) -> int:
    """One token id from `logits` (vocab_size,), after the ids `recent`, of which the last `repeat_last_n` count."""
    if sampling.repeat_penalty != 1 and sampling.repeat_last_n and len(recent):
        seen = np.unique(np.asarray(recent[-sampling.repeat_last_n :]))
        logits = logits.copy()
        found = logits[seen]
        logits[seen] = np.where(found > 0, found / sampling.repeat_penalty, found * sampling.repeat_penalty)
    if sampling.temperature == 0:
        return int(logits.argmax())
    order = _likeliest(logits, sampling.top_k)
    below_best = logits[order].astype(np.float64) - float(logits[order[0]])
    weights = np.exp(below_best / sampling.temperature)
    cumulative = np.cumsum(weights / weights.sum())
    kept = int(np.searchsorted(cumulative, sampling.top_p)) + 1
    kept = max(1, min(kept, int(np.count_nonzero(weights >= sampling.min_p))))  # of a broken model all may be NaN
    cumulative = cumulative[:kept] / cumulative[:kept][-1]
    return int(order[np.searchsorted(cumulative, random.random(), side="right")])


def _likeliest(logits: NDArray[np.float32], count: int) -> NDArray[np.intp]:
    """The ids of the `count` highest logits (0: of all), the highest first, of equal ones the lowest id."""
    ids = np.arange(len(logits))
    if 0 < count < len(logits):  # sorting all would take several times as long
        ids = np.flatnonzero(~(logits < np.partition(logits, -count)[-count]))
    return ids[np.argsort(-logits[ids], kind="stable")][: count or None]
