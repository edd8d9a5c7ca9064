"""A shelf: shingles on disk, whole or in ranges."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from test_pairs import shelved, texts_of

from stages.corpus.near.shelf import Shelf
from stages.corpus.near.shingles import shingles


def test_a_shelf_gives_back_what_was_put_on_it(tmp_path: Path) -> None:
    texts = [*texts_of(1, 20), "", "one", *texts_of(2, 9)]
    folder, _ = shelved(tmp_path / "shelf", texts)
    with Shelf(folder) as shelf:
        assert len(shelf) == len(texts)
        for number, text in enumerate(texts):
            assert shelf.read(number).tolist() == shingles([text])[0].tolist()
        ranges = list(shelf.ranges(200))
        assert [first for first, _ in ranges] == [0, *(last for _, last in ranges[:-1])]
        assert ranges[-1][1] == len(texts) and len(ranges) > 5
        assert all(shelf.sizes[first:last].sum() <= 200 or last == first + 1 for first, last in ranges)
        whole = np.concatenate([shelf.read(first, last) for first, last in ranges])
    assert whole.tolist() == np.concatenate([shingles([text])[0] for text in texts]).tolist()
