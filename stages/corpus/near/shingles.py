"""The shingles of a text: hashes of each five words in a row, so that texts can be compared as sets of numbers.

A word is a run of ASCII letters (in either case), digits, underscores and anything beyond ASCII. The rest only
separates words: layout, punctuation and comment marks count for nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache

import numpy as np
import numpy.typing as npt

Hashes = npt.NDArray[np.uint32]
Numbers = npt.NDArray[np.int64]
Words = npt.NDArray[np.uint64]

WIDTH = 5  # words in a shingle

_PIECE = 2**17  # bytes hashed at once: what fits a processor's cache
_BASE = 0x9E3779B97F4A7C15  # odd, so that it has an inverse modulo 2⁶⁴
_LETTERS = bytes(  # what a byte counts in its word; 0 separates words
    byte if byte >= 128 else ord(chr(byte).lower()) if chr(byte).isalnum() or byte == ord("_") else 0
    for byte in range(256)
)


def shingles(texts: Sequence[str]) -> tuple[Hashes, Numbers]:
    """The different shingles of each text, sorted, one text after the other, and where each text ends in them.

    A text of one to four words has one shingle of them all; a text without words has none.
    """
    words, ends = _words(texts)
    padded = np.concatenate([words, np.zeros(WIDTH - 1, np.uint64)])
    hashes = padded[: len(words)].copy()
    for place in range(1, WIDTH):
        hashes *= np.uint64(_BASE)
        hashes += padded[place : place + len(words)]
    hashes = (_mixed(hashes) >> np.uint64(32)).astype(np.uint32)
    new = np.ones(len(hashes), np.bool_)  # the last words of a text begin no window, and its shingles count once
    start = 0
    for end in ends.tolist():
        if end == start:
            continue
        last = max(end - WIDTH + 1, start + 1)
        if end - start < WIDTH:
            hashes[start] = _brief(words[start:end])
        hashes[start:last].sort()
        new[start + 1 : last] = hashes[start + 1 : last] != hashes[start : last - 1]
        new[last:end] = False
        start = end
    return hashes[new], np.cumsum(np.concatenate([[False], new]))[ends]


def heads_of(ordered: Hashes) -> npt.NDArray[np.bool_]:
    """Which first bits any of some sorted hashes has: what is in none of them is mostly passed over by this alone."""
    heads = np.zeros(2 ** min(25, 4 + len(ordered).bit_length()), np.bool_)
    heads[ordered >> np.uint32(33 - len(heads).bit_length())] = True
    return heads


def find(hashes: Hashes, ordered: Hashes, heads: npt.NDArray[np.bool_]) -> tuple[Numbers, Numbers]:
    """Which of the hashes are among the sorted ones, and where the first that is equal stands."""
    likely = np.flatnonzero(heads[hashes >> np.uint32(33 - len(heads).bit_length())])
    places = np.searchsorted(ordered, hashes[likely])
    found = ordered[np.minimum(places, len(ordered) - 1)] == hashes[likely]
    return likely[found], places[found]


def common(first: Hashes, second: Hashes) -> int:
    """How many shingles two texts share."""
    merged = np.concatenate([first, second])
    merged.sort(kind="stable")  # merges two sorted runs
    return int(np.count_nonzero(merged[1:] == merged[:-1]))


def jaccard(shared: float, first: float, second: float) -> float:
    """The similarity of two sets of the given sizes (Jaccard 1901): what they share of what either has."""
    return shared / max(first + second - shared, 1)


def _mixed(hashes: Words) -> Words:
    """Every bit of the input in every bit of the output (finaliser of SplitMix64, Steele, Lea and Flood 2014)."""
    hashes = (hashes ^ (hashes >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    hashes = (hashes ^ (hashes >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed: Words = hashes ^ (hashes >> np.uint64(31))
    return mixed


def _brief(words: Words) -> np.uint32:
    """The shingle of a text that is too short for a window."""
    value = np.zeros(1, np.uint64)
    for word in words:
        value = value * np.uint64(_BASE) + word
    return np.uint32(_mixed(value)[0] >> np.uint64(32))


def _words(texts: Sequence[str]) -> tuple[Words, Numbers]:
    """The hashes of all words, and how many words there are up to the end of each text."""
    encoded = [text.encode("utf-8", "replace") for text in texts]
    bounds = np.cumsum([0, *(len(text) + 1 for text in encoded)])[1:]
    data = b"\n".join([*encoded, b""]).translate(_LETTERS)
    hashes, starts = [np.zeros(0, np.uint64)], [np.zeros(0, np.int64)]
    for offset, piece in _pieces(data):
        found, where = _word_hashes(piece)
        hashes.append(found)
        starts.append(where + offset)
    ends: Numbers = np.searchsorted(np.concatenate(starts), bounds).astype(np.int64)
    return np.concatenate(hashes), ends


def _pieces(data: bytes) -> Iterator[tuple[int, npt.NDArray[np.uint8]]]:
    """Parts of the data that no word reaches across, unless it is longer than a part."""
    whole = np.frombuffer(data, np.uint8)
    start = 0
    while start < len(whole):
        piece = whole[start : start + _PIECE]
        if start + _PIECE < len(whole):
            gaps = np.flatnonzero(piece[-4096:] == 0)
            if len(gaps):
                piece = piece[: len(piece) - min(4096, len(piece)) + int(gaps[-1]) + 1]
        yield start, piece
        start += len(piece)


def _word_hashes(piece: npt.NDArray[np.uint8]) -> tuple[Words, Numbers]:
    """Σ byteᵢ·baseⁱ over each word, by differences of running sums moved to a common power; and where words start."""
    powers, inverses = _tables()
    edges = np.flatnonzero(np.diff(piece != 0, prepend=False, append=False))
    starts, stops = edges[0::2], edges[1::2]
    sums = np.zeros(len(piece) + 1, np.uint64)
    np.cumsum(piece * powers[: len(piece)], out=sums[1:])
    return _mixed((sums[stops] - sums[starts]) * inverses[starts]), starts.astype(np.int64)


@cache
def _tables() -> tuple[Words, Words]:
    """The powers of the base and of its inverse."""
    bases = np.full((2, _PIECE), [[_BASE], [pow(_BASE, -1, 2**64)]], np.uint64)
    bases[:, 0] = 1
    powers, inverses = np.multiply.accumulate(bases, axis=1)
    return powers, inverses
