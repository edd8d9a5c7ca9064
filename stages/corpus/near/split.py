"""Which documents are held back for validation: whole clusters of similar ones, about the same share of each source."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from stages.corpus.documents import Kind
from stages.corpus.near.shingles import Numbers, Words

Mask = npt.NDArray[np.bool_]

KINDS: tuple[Kind, ...] = ("code", "docs", "pair")
PAIR = KINDS.index("pair")  # the kind that is no text


@dataclass(frozen=True)
class Table:
    """What the split has to know of each document: an array of one value per document in each field.

    `kinds` are places in KINDS, `sources` are places among the sorted names of the sources, `sizes` are in characters,
    and `order` is a seeded hash of the id: the order in which documents are taken.
    """

    kinds: Numbers
    sources: Numbers
    sizes: Numbers
    order: Words

    def only(self, numbers: Numbers) -> Table:
        return Table(self.kinds[numbers], self.sources[numbers], self.sizes[numbers], self.order[numbers])


class Clusters:
    """Numbers that belong together, by union and find (Galler and Fischer 1964); each starts alone."""

    def __init__(self, count: int) -> None:
        self._parents = list(range(count))

    def join(self, first: int, second: int) -> None:
        first, second = self.find(first), self.find(second)
        self._parents[max(first, second)] = min(first, second)

    def find(self, number: int) -> int:
        """The smallest number of the cluster."""
        parents = self._parents
        while parents[number] != number:
            parents[number] = parents[parents[number]]
            number = parents[number]
        return number

    def labels(self) -> Numbers:
        """For each number the smallest one of its cluster."""
        return np.fromiter(map(self.find, range(len(self._parents))), np.int64, len(self._parents))


def choose(table: Table, labels: Numbers, barred: Mask, fraction: float) -> Mask:
    """Which documents are held back, `labels` telling clusters apart; clusters with a `barred` document never are.

    Of each source, about `fraction` of the characters of each kind: its clusters come in the order of the hash of their
    first document, and one is taken where at least half of it still fits. What a source is over or under its share, the
    next makes up for. Training keeps a document of each kind of which there are two. If no text would be held back, the
    smallest cluster with one is, since the loss is measured on texts. Nothing is held back only where there is but one
    cluster, or all are barred.
    """
    count, kinds = len(labels), int(table.kinds.max(initial=0)) + 1
    sizes = np.bincount(labels * kinds + table.kinds, table.sizes, count * kinds).reshape(count, kinds)
    counts = np.bincount(labels * kinds + table.kinds, minlength=count * kinds).reshape(count, kinds)
    shares = fraction * sizes.sum(axis=0)
    passed = _passed(table, kinds) * fraction
    taken, left = np.zeros(kinds), counts.sum(axis=0)
    chosen = np.zeros(count, np.bool_)
    waiting = _firsts(table, labels, barred)

    def spares(label: int) -> bool:
        return bool(np.all((left > counts[label]) | (counts[label] == 0)))

    def take(label: int) -> None:
        nonlocal taken, left
        chosen[label] = True
        taken, left = taken + sizes[label], left - counts[label]

    for first in waiting:
        label, kind = int(labels[first]), table.kinds[first]
        if taken[kind] + sizes[label, kind] / 2 > passed[kind, table.sources[first]]:
            continue
        others = (counts[label] > 0) & (np.arange(kinds) != kind)
        if spares(label) and np.all(taken[others] + sizes[label, others] <= 2 * shares[others]):
            take(label)
    texts = [kind for kind in range(kinds) if kind != PAIR]
    if not counts[chosen][:, texts].any():
        rest = [label for label in labels[waiting].tolist() if not chosen[label] and counts[label].sum() < count]
        suited = [label for label in rest if spares(label) and counts[label, texts].any()]
        if not chosen.any():
            suited = suited or [label for label in rest if spares(label)] or rest
        if suited:
            take(min(suited, key=lambda label: sizes[label].sum()))
    held_back: Mask = chosen[labels]
    return held_back


def _passed(table: Table, kinds: int) -> npt.NDArray[np.float64]:
    """By kind and source: the characters of the kind in this source and those before it."""
    sources = int(table.sources.max(initial=0)) + 1
    sizes = np.bincount(table.kinds * sources + table.sources, table.sizes, kinds * sources)
    return np.cumsum(sizes.reshape(kinds, sources), axis=1)


def _firsts(table: Table, labels: Numbers, barred: Mask) -> Numbers:
    """The first document of each cluster that may be held back, by kind, source and hash."""
    order = np.argsort(table.order, kind="stable")
    _, where = np.unique(labels[order], return_index=True)
    firsts = order[where]
    firsts = firsts[~np.isin(labels[firsts], labels[barred])]
    return firsts[np.lexsort((table.order[firsts], table.sources[firsts], table.kinds[firsts]))]
