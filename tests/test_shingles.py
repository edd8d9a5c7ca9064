"""Shingles: against sets of tuples of words, made by a regular expression, and against similarities found by hand."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.corpus.near import shingles as module
from stages.corpus.near.shingles import common, find, heads_of, jaccard, shingles

TEXT = st.text(st.one_of(st.sampled_from("aAbZ09_ .,\n\t'é中"), st.characters(codec="utf-8")), max_size=80)
SETS = st.sets(st.integers(0, 2**32 - 1), max_size=60)


def by_hand(text: str) -> set[tuple[bytes, ...]]:
    words = [word.lower() for word in re.findall(rb"[A-Za-z0-9_\x80-\xff]+", text.encode())]
    return {tuple(words[i : i + 5]) for i in range(max(len(words) - 4, 1))} if words else set()


def of(text: str) -> np.ndarray:
    return shingles([text])[0]


@given(st.lists(TEXT, max_size=8))
def test_each_text_has_as_many_shingles_as_it_has_different_runs_of_five_words(texts: list[str]) -> None:
    hashes, ends = shingles(texts)
    assert len(ends) == len(texts) and (not texts or ends[-1] == len(hashes))
    for text, own in zip(texts, np.split(hashes, ends[:-1]), strict=bool(texts)):
        assert len(own) == len(by_hand(text)) and (np.diff(own.astype(np.int64)) > 0).all()
        assert own.tolist() == of(text).tolist()  # whatever stands beside it


@given(st.lists(st.sampled_from("abcdef"), max_size=30), st.lists(st.sampled_from("abc"), max_size=30))
def test_shared_shingles_are_shared_runs_of_words(first: list[str], second: list[str]) -> None:
    one, other = " ".join(first), "\n".join(second)
    assert common(of(one), of(other)) == len(by_hand(one) & by_hand(other))


def test_a_similarity_by_hand() -> None:
    one, other = "one two three four five six seven", "one two three four five six eight"
    first, second = of(one), of(other)
    assert (len(first), len(second), common(first, second)) == (3, 3, 2)
    assert jaccard(2, 3, 3) == 0.5 and jaccard(0, 0, 0) == 0
    assert jaccard(common(first, first), 3, 3) == 1


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("led = Pin(15, Pin.OUT)  # red", "LED=pin (15,\n\tPin . out) // red", True),
        ("a b c d e", "a b c d f", False),
        ("a bc d e f", "ab c d e f", False),
        ("a a b c d", "a b a c d", False),
        ("a b", "A, B.", True),
        ("a b", "b a", False),
        ("à", "á", False),
        ("x1 x2 x3 x4 x5", "x1 x2 x3 x4 x6", False),
        ("aaaa", "aaa", False),
    ],
)
def test_what_counts_for_a_word(one: str, other: str, same: bool) -> None:
    assert (of(one).tolist() == of(other).tolist()) is same


def test_words_do_not_depend_on_where_the_work_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    text = " ".join(f"word{number * number}" for number in range(3000))
    whole = of(text).tolist()
    monkeypatch.setattr(module, "_PIECE", 5000)
    module._tables.cache_clear()
    assert of(text).tolist() == whole
    module._tables.cache_clear()


def test_a_word_longer_than_a_piece_of_work_is_hashed_all_the_same() -> None:
    blob = "x" * (2 * module._PIECE)
    assert len(of(f"a {blob} b c d e f")) == len(of(f"a {blob} b c d e f")) > 0


def test_hashes_are_spread_evenly() -> None:
    """Else one-permutation hashing would not see similarity: a chi-squared test over the first eight bits."""
    hashes = of(" ".join(f"n{number}" for number in range(100_000)))
    counts = np.bincount(hashes >> np.uint32(24), minlength=256)
    expected = len(hashes) / 256
    assert len(hashes) == 99_996 and ((counts - expected) ** 2 / expected).sum() < 350  # 255 degrees: p < 0.0001


@given(SETS, SETS)
def test_finding_is_intersecting(some: set[int], held: set[int]) -> None:
    hashes, ordered = (np.array(sorted(values), np.uint32) for values in (some, held))
    which, where = find(hashes, ordered, heads_of(ordered))
    assert hashes[which].tolist() == sorted(some & held) == ordered[where].tolist()
