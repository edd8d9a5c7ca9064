"""Estimates from samples, and how far they may be off."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

Z = 1.959963984540054  # 95 % of a normal distribution lie within so many standard deviations


@dataclass(frozen=True)
class Interval:
    """An estimate, and the bounds between which the true value lies with a confidence of 95 %."""

    value: float
    low: float
    high: float


def pass_at_k(n: int, c: int, k: int) -> float:
    """The chance that at least one of `k` answers is right, where `c` of `n` were: 1 - C(n-c, k) / C(n, k).

    The unbiased estimator of Chen et al. 2021 (arXiv:2107.03374), in whole numbers, so rounded only once. Raises
    ValueError unless 0 <= c <= n and 1 <= k <= n.
    """
    if not 0 <= c <= n or not 1 <= k <= n:
        raise ValueError(f"pass@{k} of {c} right among {n}")
    ways = math.comb(n, k)
    return (ways - math.comb(n - c, k)) / ways


def mean_with_interval(values: Sequence[float]) -> Interval:
    """The mean of values from 0 to 1, one for each task, with the score interval of Wilson 1927.

    The number of tasks is taken as the number of throws of a coin. That is on the safe side: of all things between 0
    and 1 with the same mean, a coin varies most. Without a value anything between 0 and 1 is possible.
    """
    return _wilson(math.fsum(values) / len(values), len(values)) if values else _wilson(0.0, 0)


def share(successes: int, n: int) -> Interval:
    """How many of `n` succeeded, with the score interval of Wilson 1927."""
    return _wilson(successes / n if n else 0.0, n)


def _wilson(p: float, n: int) -> Interval:
    if not n:
        return Interval(0.0, 0.0, 1.0)
    p = min(1.0, max(0.0, p))
    spread = Z * math.sqrt(p * (1 - p) / n + Z * Z / (4 * n * n))
    low, high = ((p + Z * Z / (2 * n) + side) / (1 + Z * Z / n) for side in (-spread, spread))
    return Interval(p, min(p, max(0.0, low)), max(p, min(1.0, high)))
