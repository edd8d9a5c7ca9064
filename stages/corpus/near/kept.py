"""The documents that passed one by one, in scratch files, for the passes that compare them with each other."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from stages.corpus.documents import Document, from_json
from stages.corpus.near.pairs import BANDS, signatures
from stages.corpus.near.shelf import Shelf, ShelfWriter
from stages.corpus.near.shingles import Hashes, Numbers, Words
from stages.corpus.near.split import KINDS, Table


@dataclass(frozen=True)
class Entry:
    """A document that passed: its line, and what other passes need to know. `order` is a seeded hash of the id."""

    line: bytes
    id: str
    source: str
    path: str
    kind: int
    size: int
    order: int
    digest: bytes
    license: str


@dataclass(frozen=True)
class Sketched:
    """The shingles of some documents (up to `ends` for each), and their signatures."""

    hashes: Hashes
    ends: Numbers
    bands: Words

    @classmethod
    def of(cls, hashes: Hashes, ends: Numbers) -> Sketched:
        return cls(hashes, ends, signatures(hashes, ends))

    def only(self, wanted: Sequence[bool]) -> Sketched:
        """The same without some of the documents."""
        if all(wanted):
            return self
        mask, sizes = np.array(wanted, np.bool_), np.diff(self.ends, prepend=0)
        return Sketched(self.hashes[np.repeat(mask, sizes)], np.cumsum(sizes[mask]), self.bands[mask])


class Kept:
    """Writes documents down and gives them back by number; `shelf` is the folder of their shingles."""

    def __init__(self, folder: Path) -> None:
        self.shelf = folder / ".shelf"
        self._lines = (folder / ".kept.jsonl").open("w+b")
        self._writer = ShelfWriter(self.shelf)
        self._bounds = array("q", [0])
        self._kinds, self._sources, self._sizes, self._order = array("q"), array("q"), array("q"), array("Q")
        self._names: dict[str, int] = {}
        self._origins: list[tuple[str, str]] = []
        self._shared: dict[tuple[str, str], tuple[str, str]] = {}
        self._bands = [np.zeros((0, BANDS), np.uint64)]

    def __enter__(self) -> Kept:
        return self

    def __exit__(self, *_: object) -> None:
        self._lines.close()
        self._writer.close()

    def add(self, entries: Sequence[Entry], sketched: Sketched) -> None:
        for entry in entries:
            self._bounds.append(self._bounds[-1] + self._lines.write(entry.line))
            self._kinds.append(entry.kind)
            self._sources.append(self._names.setdefault(entry.source, len(self._names)))
            origin = (entry.source, entry.license)
            self._origins.append(self._shared.setdefault(origin, origin))
            self._sizes.append(entry.size)
            self._order.append(entry.order)
        self._writer.append(sketched.hashes, sketched.ends)
        self._bands.append(sketched.bands)

    def finish(self) -> Words:
        """Make the shelf readable; the signatures of all documents, which are given away."""
        self._writer.close()
        bands, self._bands = np.concatenate(self._bands), []
        return bands

    def with_shingles(self) -> Numbers:
        """The numbers of the documents that have any."""
        with Shelf(self.shelf) as shelf:
            return np.flatnonzero(shelf.sizes)

    def line(self, number: int) -> bytes:
        self._lines.seek(self._bounds[number])
        return self._lines.read(self._bounds[number + 1] - self._bounds[number])

    def document(self, number: int) -> Document:
        return from_json(self.line(number).decode())

    def kind(self, number: int) -> str:
        return KINDS[self._kinds[number]]

    def size(self, number: int) -> int:
        return self._sizes[number]

    def origin(self, number: int) -> tuple[str, str]:
        """Source and licence."""
        return self._origins[number]

    def table(self) -> Table:
        """What the split has to know; sources are numbered in the order of their names."""
        rank = {name: place for place, name in enumerate(sorted(self._names))}
        ranks = np.array([rank[name] for name in self._names], np.int64)
        sources = ranks[np.array(self._sources, np.int64)]
        sizes, order = np.array(self._sizes, np.int64), np.array(self._order, np.uint64)
        return Table(np.array(self._kinds, np.int64), sources, sizes, order)
