"""What of some documents stands in others: those held back for validation, compared exactly with all the rest."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from pipeline.stage import OrderedMap
from stages.corpus.near.pairs import SIMILAR, Pairs
from stages.corpus.near.shelf import Shelf
from stages.corpus.near.shingles import Hashes, Numbers, common, find, heads_of, jaccard
from stages.corpus.near.split import Clusters, Mask, Table, choose

CONTAINED = 0.5  # of the distinctive shingles of one text, the other has
OF_ITS_OWN = 20  # a text with fewer distinctive shingles may stand in another by chance
COMMON = 16  # a shingle in more documents than that is an idiom or boilerplate, such as a licence header
BOILERPLATE = 1 / 3  # a document with more common shingles than that tells little about unseen text

AT_ONCE = 2**21  # shingles: of those looked for, and of those looked through


def hold_back(
    spread: OrderedMap, shelf: Path, scratch: Path, table: Table, clusters: Clusters, present: Mask, fraction: float
) -> Mask:
    """Which documents are held back so that none of them is similar to, contained in, or contains one that is not.

    What `choose` takes is compared with all the rest; what belongs together joins one cluster, a document that is
    largely boilerplate is not taken, and the choice is made again, until it stands. What was compared once is not
    compared again. Where all documents are largely boilerplate, nothing counts as such. `present` tells which documents
    of the shelf count.
    """
    numbers = np.flatnonzero(present)
    table = table.only(numbers)
    barred, often = np.zeros(len(numbers), np.bool_), COMMON
    before = np.zeros(len(present), np.bool_)
    while True:
        _, labels = np.unique(clusters.labels()[numbers], return_inverse=True)
        held_back = np.zeros(len(present), np.bool_)
        held_back[numbers] = choose(table, labels, barred, fraction)
        if barred.any() and not held_back.any():
            barred[:], before[:], often = False, False, len(present)
            continue
        new, given_back = held_back & ~before, before & ~held_back
        related, boilerplate = overlaps(spread, shelf, scratch, new, present & ~held_back, often)
        others, idle = overlaps(spread, shelf, scratch, given_back, present & ~given_back, often)
        idle_ones = _mask(idle, len(present))
        missed, more = overlaps(spread, shelf, scratch, held_back & before, idle_ones, often, contained=False)
        for first, second in [*related.tolist(), *others.tolist(), *missed.tolist()]:
            clusters.join(first, second)
        barred |= np.isin(numbers, np.concatenate([boilerplate, more]))
        if np.array_equal(held_back, before):
            return held_back
        before = held_back


def _mask(numbers: Numbers, count: int) -> Mask:
    mask = np.zeros(count, np.bool_)
    mask[numbers] = True
    return mask


@dataclass(frozen=True)
class Task:
    """A range of a shelf to look through for what an index holds, passing over what is not in `others`."""

    shelf: Path
    index: Path
    first: int
    last: int
    others: Mask
    contained: bool

    @property
    def notes(self) -> Path:
        return self.index / f"found-{self.first}.npy"


@dataclass(frozen=True)
class Index:
    """The shingles of some documents: `hashes` once each, `owners[starts[i] : starts[i + 1]]` have the i-th.

    `sizes` and `common` count the shingles of each owner, all and the common ones; `numbers` are its numbers on the
    shelf. `is_common` tells which hashes are common; `heads` are those of `heads_of`.
    """

    hashes: Hashes
    heads: Mask
    starts: Numbers
    owners: Numbers
    numbers: Numbers
    sizes: Numbers
    common: Numbers
    is_common: Mask

    def save(self, folder: Path) -> None:
        """Write it down; one that is there may be in use, so that its files are left to whoever has them open."""
        folder.mkdir(exist_ok=True)
        for name, values in vars(self).items():
            (folder / f"{name}.npy").unlink(missing_ok=True)
            np.save(folder / f"{name}.npy", values)

    @classmethod
    def load(cls, folder: Path) -> Index:
        """The same, not read before it is looked at."""
        files = {name: np.load(folder / f"{name}.npy", mmap_mode="r") for name in cls.__dataclass_fields__}
        return cls(**{name: np.asarray(values) for name, values in files.items()})


def overlaps(
    spread: OrderedMap,
    shelf_folder: Path,
    scratch: Path,
    wanted: Mask,
    others: Mask,
    often: int | None = None,
    *,
    contained: bool = True,
) -> tuple[Pairs, Numbers]:
    """The pairs of a wanted document and another that are related, and the wanted ones that are mostly boilerplate.

    Related are texts whose similarity is SIMILAR or more, or of which one has CONTAINED of the distinctive shingles of
    the other: those that are not common, which can be known only of what the wanted documents have. No pair is missed
    but of boilerplate: two similar texts share a shingle that is not common, if the wanted one is not boilerplate.
    `contained` false leaves it at similarity. A shingle in more than `often` documents, by default
    COMMON, is common.
    """
    related, boilerplate = [np.zeros((0, 2), np.int64)], [np.zeros(0, np.int64)]
    with Shelf(shelf_folder) as shelf:
        for numbers in _blocks(shelf, np.flatnonzero(wanted & others.any())):
            index = _index(shelf, numbers)
            index.save(scratch)
            tasks = [
                Task(shelf_folder, scratch, first, last, others[first:last], contained)
                for first, last in shelf.ranges(AT_ONCE)
                if others[first:last].any()
            ]
            through = spread if len(tasks) > 2 else map
            times = np.zeros(len(index.hashes), np.int32)
            for places in through(places_found, tasks):
                times += np.bincount(places, minlength=len(times)).astype(np.int32)
            index = _with_common(index, times > (COMMON if often is None else often))
            index.save(scratch)
            related += through(related_pairs, tasks)
            boilerplate.append(index.numbers[index.common > BOILERPLATE * index.sizes])
    return np.concatenate(related), np.concatenate(boilerplate)


def places_found(task: Task) -> Numbers:
    """Where in the index the shingles of the range are, a place once for each document that has it.

    Whose shingles they are is noted for `related_pairs`.
    """
    index = Index.load(task.index)
    with Shelf(task.shelf) as shelf:
        where, places = find(shelf.read(task.first, task.last), index.hashes, index.heads)
        texts = np.searchsorted(shelf.bounds[task.first : task.last + 1] - shelf.bounds[task.first], where, "right") - 1
    counted = task.others[texts]
    np.save(task.notes, np.stack([texts[counted], places[counted]]))
    return places[counted]


def related_pairs(task: Task) -> Pairs:
    """The documents of the index and those of the range that belong together."""
    index = Index.load(task.index)
    with Shelf(task.shelf) as shelf:
        texts, places = np.load(task.notes)
        is_common = index.is_common[places]
        commons = np.bincount(texts[is_common], minlength=task.last - task.first)
        texts, places = texts[~is_common], places[~is_common]
        counts = index.starts[places + 1] - index.starts[places]
        steps = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        owners = index.owners[np.repeat(index.starts[places], counts) + steps]
        pairs, shared = np.unique(np.repeat(texts, counts) * len(index.numbers) + owners, return_counts=True)
        text, owner = np.divmod(pairs, len(index.numbers))
        sizes = shelf.sizes[task.first + text], index.sizes[owner]
        distinctive = np.minimum(sizes[0] - commons[text], sizes[1] - index.common[owner])
        related = task.contained & (distinctive >= OF_ITS_OWN) & (shared >= CONTAINED * distinctive)
        most = shared + np.minimum(commons[text], index.common[owner])
        for place in np.flatnonzero(~related & (most >= SIMILAR * (sizes[0] + sizes[1] - most))).tolist():
            first, second = shelf.read(int(index.numbers[owner[place]])), shelf.read(task.first + int(text[place]))
            related[place] = jaccard(common(first, second), len(first), len(second)) >= SIMILAR
        return np.stack([index.numbers[owner[related]], task.first + text[related]], axis=1)


def _blocks(shelf: Shelf, numbers: Numbers) -> Iterator[Numbers]:
    """The documents in groups of about AT_ONCE shingles, so that an index is never larger than that."""
    blocks = np.cumsum(shelf.sizes[numbers]) // AT_ONCE
    for block in np.unique(blocks):
        yield numbers[blocks == block]


def _index(shelf: Shelf, numbers: Numbers) -> Index:
    sizes = shelf.sizes[numbers]
    hashes = np.concatenate([np.zeros(0, np.uint32), *(shelf.read(int(number)) for number in numbers)])
    keys = (hashes.astype(np.uint64) << np.uint64(32)) | np.repeat(np.arange(len(numbers), dtype=np.uint64), sizes)
    keys.sort()
    heads = (keys >> np.uint64(32)).astype(np.uint32)
    starts = np.flatnonzero(np.diff(heads, prepend=~heads[:1]))
    none = np.zeros(len(numbers), np.int64)
    owners = (keys & np.uint64(0xFFFFFFFF)).astype(np.int64)
    is_common = np.zeros(len(starts), np.bool_)
    return Index(
        heads[starts], heads_of(heads[starts]), np.append(starts, len(keys)), owners, numbers, sizes, none, is_common
    )


def _with_common(index: Index, is_common: Mask) -> Index:
    of_owners = index.owners[np.repeat(is_common, np.diff(index.starts))]
    common = np.bincount(of_owners, minlength=len(index.numbers))
    return replace(index, common=common, is_common=is_common)
