"""The proof of a split: for each document held back, the most similar one in training, computed from what was written.

It has the shingles in common with the search for duplicates, and nothing else: no MinHash, no clusters, no index of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from pipeline.stage import OrderedMap
from stages.corpus.documents import Chunk, Document, chunks, read_chunk
from stages.corpus.near.shingles import Hashes, Numbers, common, find, heads_of, jaccard, shingles

AT_ONCE = 2**23  # shingles of documents held back that are looked for at once
CHUNK = 2**22  # bytes of training documents in one piece of work
OFTEN = 32  # a shingle in more of the documents held back is not followed to each, but allowed for
NOTABLE = 0.3  # similarities from this on are exact; lower ones leave out the shingles that are not followed


@dataclass(frozen=True)
class Closest:
    """The most similar documents across a split, by name; how many were held back, and with how many compared."""

    similarity: float
    held_back: str
    training: str
    compared: tuple[int, int]


@dataclass(frozen=True)
class _Sought:
    """Documents held back: the shingles of each (up to `ends`), and all of them sorted, with their `owners`.

    `often` counts those of each document that are not followed.
    """

    hashes: Hashes
    ends: Numbers
    ordered: Hashes
    heads: npt.NDArray[np.bool_]
    owners: npt.NDArray[np.int32]
    often: Numbers

    def of(self, number: int) -> Hashes:
        return self.hashes[self.ends[number - 1] if number else 0 : self.ends[number]]

    def sizes(self) -> Numbers:
        return np.diff(self.ends, prepend=0)


def closest(spread: OrderedMap, train: Path, val: Path, scratch: Path) -> Closest:
    """The highest similarity between a document of one folder of shards and one of the other."""
    best, held_back, compared = (0.0, "", ""), 0, 0
    waiting = list(chunks(val))
    scratch.mkdir(exist_ok=True)
    while waiting:
        names, waiting = _seek(waiting, scratch)
        tasks = [(chunk, scratch) for chunk in chunks(train, CHUNK)]
        held_back, compared = held_back + len(names), 0
        for similarity, number, name, count in (spread if len(tasks) > 2 else map)(closest_in, tasks):
            compared += count
            if similarity > best[0]:
                best = similarity, names[number], name
    return Closest(*best, (held_back, compared))


def closest_in(task: tuple[Chunk, Path]) -> tuple[float, int, str, int]:
    """Of a chunk of training documents: the highest similarity, to which document sought and whose; and how many."""
    chunk, scratch = task
    files = {name: np.load(scratch / f"{name}.npy", mmap_mode="r") for name in _Sought.__dataclass_fields__}
    sought = _Sought(**{name: np.asarray(values) for name, values in files.items()})
    names, texts = [], []
    for document, _ in read_chunk(chunk):
        names.append(name_of(document))
        texts.append(document.text)
    hashes, ends = shingles(texts)
    sizes, theirs = np.diff(ends, prepend=0), sought.sizes()
    text, owner, shared, often = _shared(sought, hashes, ends)
    whole, unfollowed = sizes[text] + theirs[owner], np.minimum(often[text], sought.often[owner])
    found = shared / np.maximum(whole - shared, 1)
    most = shared + unfollowed
    for place in np.flatnonzero((unfollowed > 0) & (most >= NOTABLE * (whole - most))).tolist():
        mine, other = int(text[place]), int(owner[place])
        own = hashes[ends[mine] - sizes[mine] : ends[mine]]
        found[place] = jaccard(common(own, sought.of(other)), int(sizes[mine]), int(theirs[other]))
    if not len(found):
        return 0.0, 0, "", len(texts)
    top = int(np.argmax(found))
    return float(found[top]), int(owner[top]), names[int(text[top])], len(texts)


def name_of(document: Document) -> str:
    return f"{document.source}/{document.path} ({document.id})"


def _shared(sought: _Sought, hashes: Hashes, ends: Numbers) -> tuple[Numbers, Numbers, Numbers, Numbers]:
    """Pairs of a text and a document sought, the followed shingles that they share, and how many more each text has.

    Without such a shingle only those pairs come in which most of either is not followed: no others can be similar.
    """
    places, starts = find(hashes, sought.ordered, sought.heads)
    texts = np.searchsorted(ends, places, "right")
    counts = np.searchsorted(sought.ordered, hashes[places], "right") - starts
    often = np.bincount(texts[counts > OFTEN], minlength=len(ends))
    texts, starts, counts = texts[counts <= OFTEN], starts[counts <= OFTEN], counts[counts <= OFTEN]
    steps = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    owners = sought.owners[np.repeat(starts, counts) + steps]
    pairs = np.repeat(texts, counts) * len(sought.ends) + owners
    mostly = np.flatnonzero(often > NOTABLE * np.diff(ends, prepend=0))
    sought_mostly = np.flatnonzero(sought.often > NOTABLE * sought.sizes())
    unseen = (mostly[:, None] * len(sought.ends) + sought_mostly).ravel()
    pairs, shared = np.unique(np.concatenate([pairs, unseen]), return_counts=True)
    shared -= np.isin(pairs, unseen)
    text, owner = np.divmod(pairs, len(sought.ends))
    return text, owner, shared, often


def _seek(waiting: list[Chunk], scratch: Path) -> tuple[list[str], list[Chunk]]:
    """Write down what is sought of the first chunks; the names of their documents, and the chunks for another time."""
    names: list[str] = []
    hashes, ends = [np.zeros(0, np.uint32)], [np.zeros(1, np.int64)]
    while waiting and ends[-1][-1] < AT_ONCE:
        documents = [document for document, _ in read_chunk(waiting.pop(0))]
        names += map(name_of, documents)
        found, where = shingles([document.text for document in documents])
        hashes.append(found)
        ends.append(where + ends[-1][-1])
    every, bounds = np.concatenate(hashes), np.concatenate(ends)[1:]
    owners = np.repeat(np.arange(len(bounds), dtype=np.int32), np.diff(bounds, prepend=0))
    order = np.argsort(every, kind="stable")
    ordered = every[order]
    starts = np.flatnonzero(np.diff(ordered, prepend=~ordered[:1]))
    counts = np.repeat(np.diff(starts, append=len(ordered)), np.diff(starts, append=len(ordered)))
    often = np.bincount(owners[order][counts > OFTEN], minlength=len(bounds))
    for name, values in vars(_Sought(every, bounds, ordered, heads_of(ordered), owners[order], often)).items():
        (scratch / f"{name}.npy").unlink(missing_ok=True)  # the last may still be open
        np.save(scratch / f"{name}.npy", values)
    return names, waiting
