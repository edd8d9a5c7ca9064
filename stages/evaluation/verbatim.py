"""How much of a model's answers stands in the training text word for word."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

WINDOW = 50
FILES = ("train", "train_pairs")
CHUNK = 2**21  # tokens of the training text at a time
SHORT = 16
LEVELS = (32, 16, 8)  # lengths whose matches are kept, to look only there for longer ones
BASE = 0x9E3779B97F4A7C15  # of the rolling hash; odd, so that it has an inverse
SLAB = 2**22  # tokens that are compared at a time

Ids = NDArray[np.int64]
Hashes = NDArray[np.uint64]


@dataclass(frozen=True)
class Overlap:
    """What of an answer stands in the training text.

    `longest` tokens from `start` of the answer on are also in `file` from the token `position` on, within one document;
    for 0 tokens the places are -1. Of the answer's `windows` of 50 tokens `seen` are anywhere in the training text.
    """

    longest: int
    start: int
    file: str
    position: int
    windows: int
    seen: int


class Training:
    """The ids that a model was trained on: the folder of an artifact of tokenize."""

    def __init__(self, folder: Path) -> None:
        dtype = np.dtype(json.loads((folder / "meta.json").read_bytes())["dtype"]).newbyteorder("<")
        self.parts: list[tuple[str, NDArray[Any], Ids]] = []
        for name in FILES:
            path = folder / f"{name}.bin"
            if path.is_file() and path.stat().st_size:
                starts = np.fromfile(folder / f"{name}.idx", dtype="<i8").astype(np.int64)
                self.parts.append((path.name, np.memmap(path, dtype=dtype, mode="r"), starts))

    def overlap(self, ids: Sequence[int]) -> Overlap:
        """The overlap of one answer; of many at once `overlaps` is much faster."""
        return self.overlaps([ids])[0]

    def overlaps(self, answers: Sequence[Sequence[int]]) -> list[Overlap]:
        """The overlap of each answer, in token ids of the training text's own tokenizer.

        Rolling hashes (Karp and Rabin 1987) find what may be a match, and every match is then compared token by token.
        Takes a few hundred MB, however long the training text is.
        """
        needles = _Needles(answers)
        for file, tokens, starts in self.parts:
            for chunk in _chunks(file, tokens, starts, needles.longest_answer):
                needles.search(chunk)
        return needles.overlaps()


@dataclass
class _Chunk:
    """A stretch of the training text: matches start in its first `count` tokens; the rest is for them to go on."""

    file: str
    offset: int
    count: int
    tokens: Ids
    ends: Ids
    sums: Hashes

    def __post_init__(self) -> None:
        self.kept: dict[int, Ids] = {}

    def holds(self, places: Ids, length: int) -> NDArray[np.bool_]:
        """Whether from each place on a document goes on for so many tokens."""
        return np.asarray(places + length <= self.ends[np.searchsorted(self.ends, places, side="right")])


def _chunks(file: str, tokens: NDArray[Any], starts: Ids, reach: int) -> Iterator[_Chunk]:
    for offset in range(0, len(tokens), CHUNK):
        found = np.asarray(tokens[offset : offset + CHUNK + reach], dtype=np.int64)
        ends = starts[np.searchsorted(starts, offset, side="right") : np.searchsorted(starts, offset + len(found))]
        ends = np.append(ends - offset, len(found))
        yield _Chunk(file, offset, min(CHUNK, len(found)), found, ends, _sums(found))


def _powers(base: int, count: int) -> Hashes:
    powers = np.full(count, base, dtype=np.uint64)
    powers[:1] = 1
    return np.cumprod(powers, dtype=np.uint64)


def _sums(tokens: Ids) -> Hashes:
    """The sums of (token + 1) * BASE**place, modulo 2**64, over all tokens before each place."""
    sums = np.zeros(len(tokens) + 1, dtype=np.uint64)
    np.cumsum((tokens.astype(np.uint64) + np.uint64(1)) * _powers(BASE, len(tokens)), out=sums[1:])
    return sums


def _hashes(sums: Hashes, places: Ids, length: int, inverse: Hashes) -> Hashes:
    """The hashes of `length` tokens from each place on, which no longer depend on the place."""
    return (sums[places + length] - sums[places]) * inverse[places]


def _are_in(hashes: Hashes, known: Hashes) -> NDArray[np.bool_]:
    return np.asarray(known[np.minimum(np.searchsorted(known, hashes), len(known) - 1)] == hashes)


class _Needles:
    """The answers one after another, and for each the longest match found so far."""

    def __init__(self, answers: Sequence[Sequence[int]]) -> None:
        self.lengths = np.array([len(ids) for ids in answers], dtype=np.int64)
        self.longest_answer = int(self.lengths.max(initial=0))
        self.begins = np.cumsum(self.lengths) - self.lengths
        self.tokens = np.array([token for ids in answers for token in ids], dtype=np.int64)
        self.sums = _sums(self.tokens)
        self.inverse = _powers(pow(BASE, -1, 2**64), max(CHUNK, len(self.tokens)) + 1)
        self.longest = np.zeros(len(answers), dtype=np.int64)
        self.found = [(-1, "", -1)] * len(answers)
        self.seen = np.zeros(len(self.tokens), dtype=bool)

    def overlaps(self) -> list[Overlap]:
        windows = np.maximum(self.lengths - WINDOW + 1, 0)
        seen = [int(self.seen[begin : begin + count].sum()) for begin, count in zip(self.begins, windows, strict=True)]
        told = zip(self.longest, self.found, windows, seen, strict=True)
        return [Overlap(int(longest), *found, int(count), hits) for longest, found, count, hits in told]

    def search(self, chunk: _Chunk) -> None:
        every = np.arange(len(self.lengths))
        windows = self._windows(every[self.lengths >= WINDOW], WINDOW)
        windows = windows[~self.seen[windows]]
        self.seen[windows[self._places(chunk, windows, WINDOW) >= 0]] = True
        self._lengthen(chunk, every)

    def _lengthen(self, chunk: _Chunk, answers: Ids) -> None:
        """Find matches in the chunk that are longer than those found before.

        A match is followed as far as it goes, and then a token more is looked for anywhere. Short lengths, which match
        in too many places, are looked for by bisection, and only where none of `SHORT` tokens is found.
        """
        below, above = (
            self.longest.copy(),
            self.lengths + 1,
        )  # a match of `below` tokens exists, one of `above` does not
        waiting = answers[below + 1 < above]
        while len(waiting):
            middle = np.minimum((below + above) // 2, SHORT)
            trial = np.where(below < SHORT, middle, below + 1)[waiting]
            for length in np.unique(trial):
                tried = waiting[trial == length]
                windows = self._windows(tried, int(length))
                places = self._places(chunk, windows, int(length))
                hits = np.flatnonzero(places >= 0)
                owners, first = np.unique(np.searchsorted(self.begins, windows[hits], "right") - 1, return_index=True)
                above[np.setdiff1d(tried, owners)] = length
                for answer, hit in zip(owners, hits[first], strict=True):
                    below[answer] = self._extended(chunk, int(windows[hit]), int(places[hit]), int(answer))
            waiting = waiting[below[waiting] + 1 < above[waiting]]
        self.longest = below

    def _extended(self, chunk: _Chunk, window: int, place: int, answer: int) -> int:
        """The length of a match as far as it goes on; it is kept as the answer's longest."""
        stop = int(chunk.ends[np.searchsorted(chunk.ends, place, side="right")])
        room = min(int(self.begins[answer] + self.lengths[answer]) - window, stop - place)
        differ = self.tokens[window : window + room] != chunk.tokens[place : place + room]
        self.found[answer] = (window - int(self.begins[answer]), chunk.file, chunk.offset + place)
        return int(differ.argmax()) if differ.any() else room

    def _windows(self, answers: Ids, length: int) -> Ids:
        """Where the windows of so many tokens of these answers start."""
        found = [np.arange(self.begins[a], self.begins[a] + self.lengths[a] - length + 1) for a in answers]
        return np.concatenate(found) if found else np.zeros(0, dtype=np.int64)

    def _candidates(self, chunk: _Chunk, length: int) -> Ids:
        """Places of the chunk where a match of so many tokens can start: where one of fewer does."""
        level = next((level for level in LEVELS if level <= length), 0)
        if level not in chunk.kept:
            if not level:
                chunk.kept[0] = np.arange(chunk.count)
            else:
                places = self._candidates(chunk, level - 1)
                windows = self._windows(np.flatnonzero(self.lengths >= level), level)
                chunk.kept[level] = self._alike(chunk, places, windows, level)[0]
        return chunk.kept[level]

    def _alike(self, chunk: _Chunk, places: Ids, windows: Ids, length: int) -> tuple[Ids, Hashes, Hashes]:
        """The places whose hash is one of the windows', their hashes, and those of the windows."""
        wanted = _hashes(self.sums, windows, length, self.inverse)
        known = np.unique(wanted)
        table = np.zeros(2**22, dtype=bool)  # few of the hashes have to be looked up
        table[known >> np.uint64(42)] = True
        places = places[: np.searchsorted(places, len(chunk.tokens) - length, side="right")]
        hashes = _hashes(chunk.sums, places, length, self.inverse)
        hit = np.flatnonzero(table[hashes >> np.uint64(42)])
        hit = hit[_are_in(hashes[hit], known)] if len(known) else hit[:0]
        hit = hit[chunk.holds(places[hit], length)]
        return places[hit], hashes[hit], wanted

    def _places(self, chunk: _Chunk, windows: Ids, length: int) -> Ids:
        """For each window of so many tokens a place of the chunk that holds the same, or -1."""
        found = np.full(len(windows), -1, dtype=np.int64)
        if not len(windows):
            return found
        places, hashes, wanted = self._alike(chunk, self._candidates(chunk, length), windows, length)
        known, first = np.unique(hashes, return_index=True)
        if not len(known):
            return found
        at = np.minimum(np.searchsorted(known, wanted), len(known) - 1)
        alike = np.flatnonzero(known[at] == wanted)
        same = self._same(chunk, windows[alike], places[first[at[alike]]], length)
        found[alike[same]] = places[first[at[alike[same]]]]
        for number in alike[~same]:  # another text with the same hash: the place may be one of the others
            others = places[hashes == wanted[number]]
            same_others = self._same(chunk, np.full(len(others), windows[number]), others, length)
            found[number] = others[same_others][0] if same_others.any() else -1
        return found

    def _same(self, chunk: _Chunk, windows: Ids, places: Ids, length: int) -> NDArray[np.bool_]:
        """Whether so many tokens from each window and from the place beside it are the same."""
        same, step, reach = np.zeros(len(windows), dtype=bool), max(1, SLAB // length), np.arange(length)
        for start in range(0, len(windows), step):
            ours = self.tokens[windows[start : start + step, None] + reach]
            theirs = chunk.tokens[places[start : start + step, None] + reach]
            same[start : start + step] = (ours == theirs).all(axis=1)
        return same
