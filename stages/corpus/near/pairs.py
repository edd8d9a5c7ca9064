"""Which texts of many are near-duplicates: likely pairs by MinHash, then the exact similarity of each pair."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from stages.corpus.near.shelf import Shelf
from stages.corpus.near.shingles import Hashes, Numbers, Words, common, jaccard

BANDS, ROWS = 16, 4  # a pair of similarity s becomes a candidate with probability 1 − (1 − sᴿᴼᵂˢ)ᴮᴬᴺᴰˢ: 0.9998 at 0.8
NEIGHBOURS = 8  # in a group of likely duplicates each is compared with so many before it, and with the first
SIMILAR = 0.4  # two texts so similar belong to one cluster: far below 0.7, so that other shingles see no more

Pairs = npt.NDArray[np.int64]  # (n, 2), the smaller number first


def signatures(hashes: Hashes, ends: Numbers) -> Words:
    """For each text of `shingles(…)` one number per band; that of a band is equal where its MinHashes are.

    One-permutation hashing with rotation (Li, Owen and Zhang 2012; Shrivastava and Li 2014): the hashes are a random
    permutation already, and the first shingle at or after each of 64 fixed points, going round, is the same in two
    texts with a probability that is their similarity.
    """
    starts = np.concatenate([np.zeros(1, np.int64), ends[:-1]])
    counts = ends - starts
    owners = np.repeat(np.arange(len(ends), dtype=np.uint64), counts) << np.uint64(32)
    points = np.arange(BANDS * ROWS, dtype=np.uint64) << np.uint64(26)
    wanted = (np.arange(len(ends), dtype=np.uint64) << np.uint64(32))[:, None] + points
    found = np.searchsorted(owners + hashes, wanted)
    found = np.where(found < ends[:, None], found, starts[:, None])
    if not len(hashes):
        return np.zeros((len(ends), BANDS), np.uint64)
    minima = hashes[np.minimum(found, len(hashes) - 1)].astype(np.uint64).reshape(-1, ROWS, BANDS)
    bands = np.zeros((len(ends), BANDS), np.uint64)
    for row in range(ROWS):
        bands = (bands + minima[:, row]) * np.uint64(0x9E3779B97F4A7C15)
        bands ^= bands >> np.uint64(29)
    return bands


def likely_pairs(bands: Words, texts: Numbers) -> Pairs:
    """The pairs among the texts with the given numbers that agree in a band, in order.

    Where many agree, each is paired with the few before it and the first, so that there are not quadratically many.
    """
    found = np.zeros(0, np.int64)
    for band in bands[texts].T:
        order = np.argsort(band, kind="stable")
        sorted_band, numbers = band[order], texts[order]
        starts = np.flatnonzero(np.diff(sorted_band, prepend=~sorted_band[:1]))
        first = np.repeat(starts, np.diff(starts, append=len(order)))
        mates = [first, *(np.arange(len(order)) - distance for distance in range(1, NEIGHBOURS + 1))]
        for mate in mates:
            later = np.flatnonzero((mate >= first) & (mate < np.arange(len(order))))
            found = np.union1d(found, (numbers[mate[later]] << 32) | numbers[later])
    return np.stack([found >> 32, found & 0xFFFFFFFF], axis=1)


def similarities(task: tuple[Path, Pairs]) -> npt.NDArray[np.float64]:
    """The exact similarity of each pair of texts on a shelf."""
    folder, pairs = task
    found = np.zeros(len(pairs))
    with Shelf(folder) as shelf:
        sizes = shelf.sizes.tolist()
        held, mine = -1, np.zeros(0, np.uint32)
        for number, (first, second) in enumerate(pairs.tolist()):
            if first != held:
                held, mine = first, shelf.read(first)
            found[number] = jaccard(common(mine, shelf.read(second)), sizes[first], sizes[second])
    return found
