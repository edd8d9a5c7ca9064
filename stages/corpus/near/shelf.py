"""The shingles of many texts on disk, read piece by piece, so that no more of them is in memory than is asked for."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np

from stages.corpus.near.shingles import Hashes, Numbers


class ShelfWriter:
    """Puts the shingles of texts one after the other into `<folder>/hashes`; `close` writes where each begins."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self._file: BinaryIO = (folder / "hashes").open("wb")
        self._bounds = [np.zeros(1, np.int64)]
        self._written = 0

    def append(self, hashes: Hashes, ends: Numbers) -> None:
        """Add texts, as `shingles(…)` returns them."""
        self._file.write(hashes.tobytes())
        self._bounds.append(ends + self._written)
        self._written += len(hashes)

    def close(self) -> None:
        self._file.close()
        np.concatenate(self._bounds).tofile(self.folder / "bounds")


class Shelf:
    """Reads what a ShelfWriter wrote; text `i` has the shingles `bounds[i]` to `bounds[i + 1]`."""

    def __init__(self, folder: Path) -> None:
        self.bounds: Numbers = np.fromfile(folder / "bounds", np.int64)
        self.sizes: Numbers = np.diff(self.bounds)
        self._file = (folder / "hashes").open("rb")

    def __len__(self) -> int:
        return len(self.sizes)

    def __enter__(self) -> Shelf:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def read(self, first: int, last: int | None = None) -> Hashes:
        """The shingles of a text, or of those from `first` up to, but without, `last`."""
        start, stop = self.bounds[first], self.bounds[first + 1 if last is None else last]
        self._file.seek(4 * int(start))
        return np.fromfile(self._file, np.uint32, int(stop - start))

    def ranges(self, shingles: int) -> Iterator[tuple[int, int]]:
        """The texts in ranges of about so many shingles each."""
        first = 0
        while first < len(self):
            last = int(np.searchsorted(self.bounds, self.bounds[first] + shingles, "right")) - 1
            last = max(last, first + 1)
            yield first, last
            first = last
