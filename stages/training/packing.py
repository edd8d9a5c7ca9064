"""Which tokens stand in which row of an epoch: rows are made of spans of a token file.

A span is what a row learns to predict, tokens start … start+length-1 of the file; its input is the token before each.
An epoch is drawn from (seed, epoch), so the rows of any step can be had without those before it.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Any, Protocol

import numpy as np

Ints = np.ndarray[Any, np.dtype[np.int64]]


@dataclass(frozen=True)
class Spans:
    """Spans in the order of their rows: `row` counts up from 0 by at most 1, `start` and `length` are in tokens."""

    row: Ints
    start: Ints
    length: Ints

    @staticmethod
    def one_a_row(start: Ints, length: Ints) -> Spans:
        return Spans(np.arange(len(start)), start, length)

    @staticmethod
    def joined(parts: Sequence[Spans]) -> Spans:
        """The rows of one after the rows of the other."""
        if len(parts) == 1:
            return parts[0]
        before = np.cumsum([0, *(part.rows for part in parts)])
        row = np.concatenate([part.row + count for part, count in zip(parts, before, strict=False)])
        return Spans(row, np.concatenate([p.start for p in parts]), np.concatenate([p.length for p in parts]))

    @property
    def rows(self) -> int:
        return int(self.row[-1]) + 1 if len(self.row) else 0

    def groups(self, size: int) -> list[Spans]:
        """The same, `size` rows at a time."""
        edges = np.searchsorted(self.row, np.arange(0, self.rows + size, size))
        return [
            Spans(self.row[a:b] - self.row[a], self.start[a:b], self.length[a:b]) for a, b in pairwise(edges.tolist())
        ]


class Packing(Protocol):
    """A way to make rows of a token file; every epoch has the same number of them."""

    rows: int

    def spans(self, epoch: int, rows: Ints) -> Spans:
        """The spans of those rows of an epoch."""


class Stream:
    """Windows of the whole file, whatever documents they cut.

    Each epoch cuts the file into windows at an offset of its own and visits them in an order of its own. So no token is
    learnt twice in an epoch; less than two windows' worth at the ends is left out.
    """

    def __init__(self, tokens: int, width: int, seed: int) -> None:
        self.tokens, self.width, self.seed = tokens, width, seed
        self.rows = max((tokens - width) // width, 1)
        self._epoch = lru_cache(maxsize=2)(self._draw)

    def spans(self, epoch: int, rows: Ints) -> Spans:
        order, offset = self._epoch(epoch)
        return Spans.one_a_row(order[rows] * self.width + offset + 1, np.full(len(rows), self.width))

    def _draw(self, epoch: int) -> tuple[Ints, int]:
        rng = np.random.default_rng([self.seed, epoch])
        spare = self.tokens - 1 - self.rows * self.width
        return rng.permutation(self.rows), int(rng.integers(0, spare + 1))


class Single:
    """One document a row, in an order of its own each epoch; what is beyond the width is cut off."""

    def __init__(self, starts: Ints, lengths: Ints, width: int, seed: int) -> None:
        self.starts, self.lengths, self.seed = starts, np.minimum(lengths, width), seed
        self.rows = len(starts)
        self._epoch = lru_cache(maxsize=2)(lambda epoch: np.random.default_rng([seed, epoch]).permutation(len(starts)))

    def spans(self, epoch: int, rows: Ints) -> Spans:
        documents = self._epoch(epoch)[rows]
        return Spans.one_a_row(self.starts[documents], self.lengths[documents])


class Documents:
    """Whole documents, several to a row where they fit (best-fit packing: Ding et al. 2024, arXiv 2404.10830).

    Only a document longer than a row is cut: into as few pieces as possible, all as long as a row but one, which stands
    at a place of its own each epoch, so that the cuts move. The lengths of the pieces are those of every epoch, and so
    the way that lengths are packed is found once; an epoch draws which piece of a length goes where, the order within a
    row and the order of the rows.
    """

    def __init__(self, starts: Ints, lengths: Ints, width: int, seed: int) -> None:
        self.starts, self.width, self.seed = starts, width, seed
        self.pieces = -(-lengths // width)
        self.rest = lengths - (self.pieces - 1) * width
        whole = int((self.pieces - 1).sum())
        self.bins = best_fit(np.concatenate([np.full(whole, width), np.sort(self.rest)[::-1]]), width)
        self.rows = int(self.bins.max()) + 1
        self.padding = 1 - float(lengths.sum()) / (self.rows * width)
        self.cut = float((self.pieces > 1).mean())
        self._epoch = lru_cache(maxsize=2)(self._draw)

    def spans(self, epoch: int, rows: Ints) -> Spans:
        start, length, first = self._epoch(epoch)
        counts = first[rows + 1] - first[rows]
        chosen = np.repeat(first[rows], counts) + counting(counts)
        return Spans(np.repeat(np.arange(len(rows)), counts), start[chosen], length[chosen])

    def _draw(self, epoch: int) -> tuple[Ints, Ints, Ints]:
        """Start and length of the spans of an epoch by row, and where each row's begin."""
        rng = np.random.default_rng([self.seed, epoch])
        piece, short = counting(self.pieces), np.repeat(rng.integers(0, self.pieces), self.pieces)
        rest = np.repeat(self.rest, self.pieces)
        offset = np.where(piece <= short, piece * self.width, (piece - 1) * self.width + rest)
        start = np.repeat(self.starts, self.pieces) + offset
        length = np.where(piece == short, rest, self.width)
        by_length = np.lexsort((rng.random(len(length)), -length))
        row = rng.permutation(self.rows)[self.bins]
        by_row = np.lexsort((rng.random(len(row)), row))
        order = by_length[by_row]
        return start[order], length[order], np.concatenate([[0], np.cumsum(np.bincount(row, minlength=self.rows))])


def best_fit(lengths: Ints, capacity: int) -> Ints:
    """The bin of each item, by best-fit decreasing: each goes where the least room is left over.

    `lengths` are 1 … capacity in falling order. Items of a length and bins with the same room left are dealt with
    together, so this takes time in proportion to the capacity and the items, with few steps of Python.
    """
    bins = np.empty(len(lengths), dtype=np.int64)
    opened: dict[int, list[Ints]] = {}  # the bins by what still fits into them
    rooms: list[int] = []  # the keys of `opened`, rising
    used = 0

    def put_back(room: int, some: Ints) -> None:
        if room and len(some):
            if room not in opened:
                insort(rooms, room)
            opened.setdefault(room, []).append(some)

    sizes, firsts, counts = np.unique(-lengths, return_index=True, return_counts=True)
    for size, item, count in zip((-sizes).tolist(), firsts.tolist(), counts.tolist(), strict=True):
        end = item + count
        while item < end:
            tightest = bisect_left(rooms, size)
            if tightest < len(rooms):
                room = rooms[tightest]
                found = opened[room].pop()
                if not opened[room]:
                    del opened[room], rooms[tightest]
            else:
                room = capacity
                found = np.arange(used, used + -(-(end - item) // (capacity // size)))
                used += len(found)
            each = room // size  # once in a bin, items of a size go on there: it is the tightest
            full = min(len(found), (end - item) // each)
            bins[item : item + full * each] = np.repeat(found[:full], each)
            item += full * each
            put_back(room - each * size, found[:full])
            if full < len(found) and item < end:  # too few are left to fill the next bin
                bins[item:end] = found[full]
                put_back(room - (end - item) * size, found[full : full + 1])
                item, full = end, full + 1
            put_back(room, found[full:])
    return bins


def by_epoch(first: int, count: int, rows: int) -> Iterator[tuple[int, Ints]]:
    """Sequences number `first` … `first + count - 1` as epochs of so many rows, and rows of them."""
    while count > 0:
        epoch, row = divmod(first, rows)
        some = min(count, rows - row)
        yield epoch, np.arange(row, row + some)
        first, count = first + some, count - some


def counting(counts: Ints) -> Ints:
    """0 … counts[0]-1, 0 … counts[1]-1, …"""
    total = np.cumsum(counts)
    return np.arange(total[-1] if len(total) else 0) - np.repeat(total - counts, counts)
