"""What passed one by one: its lines, its shingles, and what the split has to know of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from stages.corpus.documents import Document, to_json
from stages.corpus.near.kept import Entry, Kept, Sketched
from stages.corpus.near.shelf import Shelf
from stages.corpus.near.shingles import shingles
from stages.corpus.near.split import KINDS

TEXTS = ["a b c d e f", "...", "one two three four five six seven", "a b c d e g", "é ü"]


def document(number: int) -> Document:
    source = ["b", "a", "c", "a", "b"][number]
    return Document(
        f"id{number}", TEXTS[number], KINDS[number % 3], source, f"{number}.md", ["MIT", "0BSD"][number % 2]
    )


def entry(number: int) -> Entry:
    given = document(number)
    kind, size = KINDS.index(given.kind), len(given.text)
    return Entry(
        to_json(given).encode(), given.id, given.source, given.path, kind, size, 2**64 - 1 - number, b"", given.license
    )


def test_documents_come_back_by_number(tmp_path: Path) -> None:
    with Kept(tmp_path) as kept:
        for numbers in ([0, 1, 2], [], [3, 4]):
            texts = [TEXTS[number] for number in numbers]
            kept.add([entry(number) for number in numbers], Sketched.of(*shingles(texts)))
        bands = kept.finish()
        assert [kept.document(number) for number in (4, 0, 3, 1, 2)] == [document(n) for n in (4, 0, 3, 1, 2)]
        assert [kept.kind(number) for number in range(5)] == ["code", "docs", "pair", "code", "docs"]
        assert [kept.size(number) for number in range(5)] == [len(text) for text in TEXTS]
        assert [kept.origin(number) for number in range(5)] == [
            ("b", "MIT"), ("a", "0BSD"), ("c", "MIT"), ("a", "0BSD"), ("b", "MIT"),
        ]  # fmt: skip
        assert kept.with_shingles().tolist() == [0, 2, 3, 4] and bands.shape[0] == 5
        table = kept.table()
        assert table.sources.tolist() == [1, 0, 2, 0, 1] and table.sizes.tolist() == [len(text) for text in TEXTS]
        assert table.order.tolist() == [2**64 - 1 - number for number in range(5)]
        with Shelf(kept.shelf) as shelf:
            assert [shelf.read(n).tolist() for n in range(5)] == [shingles([text])[0].tolist() for text in TEXTS]


def test_some_documents_are_left_out_with_their_shingles() -> None:
    whole = Sketched.of(*shingles(TEXTS))
    wanted = [True, False, False, True, True]
    some, alone = whole.only(wanted), Sketched.of(*shingles([t for t, keep in zip(TEXTS, wanted, strict=True) if keep]))
    for name in ("hashes", "ends", "bands"):
        assert np.array_equal(getattr(some, name), getattr(alone, name))
    assert whole.only([True] * 5) is whole and len(whole.only([False] * 5).hashes) == 0
