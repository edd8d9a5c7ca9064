"""The proof of a split: the closest pair across it, against a comparison of all with all by sets of words."""

from __future__ import annotations

import random
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.shards import map_ordered
from stages.corpus.documents import Document, document_id, write_documents
from stages.corpus.near import leak
from stages.corpus.near.leak import NOTABLE, closest, name_of


def texts_of(rng: random.Random, count: int) -> list[str]:
    """Versions of a few texts, many with the same header."""
    base = [[f"w{rng.randrange(400)}" for _ in range(rng.randint(1, 60))] for _ in range(6)]
    header = [f"h{number}" for number in range(25)]
    found = []
    for _ in range(count):
        share = rng.choice([0, 0.02, 0.1, 0.5])
        words = [f"w{rng.randrange(400)}" if rng.random() < share else word for word in rng.choice(base)]
        found.append(" ".join(header + words if rng.random() < 0.6 else words))
    return found


def documents(texts: Sequence[str], side: str) -> list[Document]:
    return [
        Document(document_id(side, str(number)), text, "docs", side, str(number), "MIT")
        for number, text in enumerate(texts)
    ]


def shingles_of(text: str) -> set[tuple[str, ...]]:
    words = text.split()
    return {tuple(words[i : i + 5]) for i in range(max(len(words) - 4, 1))}


def similarity(one: Document, other: Document) -> float:
    first, second = shingles_of(one.text), shingles_of(other.text)
    return len(first & second) / len(first | second)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32), st.sampled_from([1, 3, 32]))
def test_the_closest_pair_is_found_and_its_similarity_is_exact(seed: int, often: int) -> None:
    rng = random.Random(seed)
    train, val = documents(texts_of(rng, 25), "train"), documents(texts_of(rng, 8), "val")
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory() as name:
        for constant, value in (("OFTEN", often), ("AT_ONCE", 100), ("CHUNK", 2_000)):
            patch.setattr(leak, constant, value)
        folder = Path(name)
        write_documents(folder / "train", train)
        write_documents(folder / "val", val)
        found = closest(map, folder / "train", folder / "val", folder / "scratch")
    truth = {(name_of(one), name_of(other)): similarity(one, other) for one in val for other in train}
    highest = max(truth.values())
    assert found.compared == (8, 25)
    assert found.similarity <= highest + 1e-9
    if highest >= NOTABLE:
        assert found.similarity == pytest.approx(highest)
        assert truth[found.held_back, found.training] == pytest.approx(highest)


def test_two_workers_find_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leak, "CHUNK", 1_000)
    rng = random.Random(1)
    write_documents(tmp_path / "train", documents(texts_of(rng, 60), "train"))
    write_documents(tmp_path / "val", documents(texts_of(rng, 9), "val"))
    both = [
        closest(partial(map_ordered, workers=workers), tmp_path / "train", tmp_path / "val", tmp_path / "scratch")
        for workers in (1, 2)
    ]
    assert both[0] == both[1] and both[0].similarity > 0.5


def test_a_side_without_words_is_like_nothing(tmp_path: Path) -> None:
    write_documents(tmp_path / "train", documents(["...", "a b c d e f g"], "train"))
    write_documents(tmp_path / "val", documents(["...", "!"], "val"))
    found = closest(map, tmp_path / "train", tmp_path / "val", tmp_path / "scratch")
    assert (found.similarity, found.compared) == (0.0, (2, 2))
