"""Near-duplicate pairs: MinHash against its theory, and what it finds against a comparison of all with all."""

from __future__ import annotations

import itertools
import random
import tempfile
from pathlib import Path

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.corpus.near.pairs import BANDS, NEIGHBOURS, ROWS, likely_pairs, signatures, similarities
from stages.corpus.near.shelf import ShelfWriter
from stages.corpus.near.shingles import shingles


def texts_of(seed: int, count: int, words: int = 80, share: float = 0.1) -> list[str]:
    """Texts of which each is made of an earlier one with a share of its words changed, or new."""
    rng = random.Random(seed)
    found: list[list[str]] = []
    for _ in range(count):
        text = list(rng.choice(found)) if found and rng.random() < 0.6 else rng.choices(range(9999), k=words)
        for place in range(len(text)):
            if rng.random() < share * rng.random() ** 2:
                text[place] = rng.randrange(9999)
        found.append(text)
    return [" ".join(map(str, text)) for text in found]


def shelved(folder: Path, texts: list[str]) -> tuple[Path, np.ndarray]:
    writer = ShelfWriter(folder)
    bands = []
    for start in range(0, len(texts), 7):
        hashes, ends = shingles(texts[start : start + 7])
        writer.append(hashes, ends)
        bands.append(signatures(hashes, ends))
    writer.close()
    return folder, np.concatenate(bands)


def all_similar(texts: list[str], least: float) -> dict[tuple[int, int], float]:
    """By comparing all with all, as sets of tuples of words."""
    sets = [{tuple(text.split()[i : i + 5]) for i in range(len(text.split()) - 4)} for text in texts]
    found = {}
    for (i, first), (j, second) in itertools.combinations(enumerate(sets), 2):
        similarity = len(first & second) / len(first | second)
        if similarity >= least:
            found[i, j] = similarity
    return found


def test_the_share_of_equal_minima_is_the_similarity() -> None:
    """Over many pairs: the probability that a band agrees is the similarity to the power of the rows."""
    rng = np.random.default_rng(0)
    for shared, own in ((300, 50), (100, 100), (40, 10)):
        agreed = 0
        for _ in range(400):
            hashes = rng.choice(2**32, shared + 2 * own, replace=False).astype(np.uint32)
            first, second = np.sort(hashes[: shared + own]), np.sort(np.delete(hashes, np.s_[shared : shared + own]))
            ends = np.array([len(first), len(first) + len(second)])
            bands = signatures(np.concatenate([first, second]), ends)
            agreed += int((bands[0] == bands[1]).sum())
        similarity = shared / (shared + 2 * own)
        assert abs(agreed / (400 * BANDS) - similarity**ROWS) < 0.04


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**32), st.sampled_from([12, 40, 150]))
def test_nearly_all_near_duplicates_are_found_with_their_exact_similarity(seed: int, words: int) -> None:
    texts = texts_of(seed, 120, words)
    with tempfile.TemporaryDirectory() as folder:
        shelf, bands = shelved(Path(folder) / "shelf", texts)
        pairs = likely_pairs(bands, np.arange(len(texts)))
        found = dict(zip(map(tuple, pairs.tolist()), similarities((shelf, pairs)).tolist(), strict=True))
    to_drop = {later for _, later in all_similar(texts, 0.8)}
    missed = to_drop - {later for (_, later), similarity in found.items() if similarity >= 0.8}
    assert len(missed) <= 1 + 0.02 * len(to_drop)
    exact = all_similar(texts, 0)
    assert all(abs(exact[pair] - similarity) < 1e-9 for pair, similarity in found.items())


def test_a_crowd_of_equals_makes_few_pairs() -> None:
    bands = np.zeros((1000, BANDS), np.uint64)
    pairs = likely_pairs(bands, np.arange(1000))
    assert len(pairs) < 1000 * (NEIGHBOURS + 1)
    assert {tuple(pair) for pair in pairs.tolist()} >= {(0, last) for last in range(1, 1000)}
    assert (pairs[:, 0] < pairs[:, 1]).all()


def test_texts_without_shingles_and_other_texts_are_left_out() -> None:
    hashes, ends = shingles(["...", "a b c d e f", "!", "a b c d e f"])
    bands = signatures(hashes, ends)
    assert likely_pairs(bands, np.array([1, 3])).tolist() == [[1, 3]]
    assert likely_pairs(bands, np.array([1])).tolist() == likely_pairs(bands, np.array([], np.int64)).tolist() == []
    assert signatures(*shingles(["", "."])).shape == (2, BANDS)
