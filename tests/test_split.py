"""Holding back: whole clusters, the right share of each kind and source, and something of each kind in training."""

from __future__ import annotations

import random
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.corpus.near.split import KINDS, PAIR, Clusters, Table, choose

Given = tuple[int, int, int]  # kind, source, size
DOCUMENTS = st.lists(st.tuples(st.integers(0, 2), st.integers(0, 3), st.integers(1, 400)), min_size=2, max_size=40)
FRACTION, SEED = st.floats(0.01, 0.49), st.integers(0, 2**32 - 1)


def table(documents: Sequence[Given], seed: int = 0) -> Table:
    kinds, sources, sizes = (np.array(values, np.int64) for values in zip(*documents, strict=True))
    return Table(kinds, sources, sizes, np.random.default_rng(seed).integers(0, 2**63, len(documents), dtype=np.uint64))


def alone(documents: Sequence[Given]) -> np.ndarray:
    return np.arange(len(documents))


def none(documents: Sequence[Given]) -> np.ndarray:
    return np.zeros(len(documents), np.bool_)


def clustered(documents: Sequence[Given], links: Sequence[tuple[int, int]]) -> np.ndarray:
    clusters = Clusters(len(documents))
    for first, second in links:
        clusters.join(first % len(documents), second % len(documents))
    return clusters.labels()


LINKS = st.lists(st.tuples(st.integers(0, 39), st.integers(0, 39)), max_size=30)


@given(DOCUMENTS, LINKS, FRACTION, SEED)
def test_no_cluster_is_on_both_sides(documents: list[Given], links: list[tuple[int, int]], f: float, seed: int) -> None:
    labels = clustered(documents, links)
    chosen = choose(table(documents, seed), labels, none(documents), f)
    for label in set(labels.tolist()):
        assert len(set(chosen[labels == label].tolist())) == 1
    assert not chosen.all() and chosen.any() == (len(set(labels.tolist())) > 1)


@given(DOCUMENTS, LINKS, FRACTION, SEED, st.sets(st.integers(0, 39)))
def test_what_is_barred_is_not_held_back(
    documents: list[Given], links: list[tuple[int, int]], f: float, seed: int, barred: set[int]
) -> None:
    mask = np.isin(np.arange(len(documents)), list(barred))
    assert not (choose(table(documents, seed), clustered(documents, links), mask, f) & mask).any()


@given(DOCUMENTS, FRACTION, SEED)
def test_training_keeps_every_kind_and_most_of_it(documents: list[Given], f: float, seed: int) -> None:
    chosen = choose(table(documents, seed), alone(documents), none(documents), f)
    counts = [sum(kind == of for of, _, _ in documents) for kind in range(3)]
    for kind in range(3):
        own = [(size, bool(held)) for (of, _, size), held in zip(documents, chosen, strict=True) if of == kind]
        held = sum(size for size, is_held in own if is_held)
        if counts[kind] > 1 or (counts[kind] and max(counts) > 1):
            assert not all(is_held for _, is_held in own)
        assert held <= 2 * f * sum(size for size, _ in own) or sum(is_held for _, is_held in own) == 1


@given(DOCUMENTS, LINKS, FRACTION, SEED, st.randoms(use_true_random=False))
def test_the_choice_does_not_depend_on_the_order(
    documents: list[Given], links: list[tuple[int, int]], f: float, seed: int, shuffle: random.Random
) -> None:
    given, labels = table(documents, seed), clustered(documents, links)
    order = list(range(len(documents)))
    shuffle.shuffle(order)
    _, mixed_labels = np.unique(labels[order], return_inverse=True)
    mixed = choose(given.only(np.array(order)), mixed_labels, none(documents), f)
    assert mixed.tolist() == choose(given, labels, none(documents), f)[order].tolist()


def test_the_share_is_that_of_the_characters_of_each_kind_and_source() -> None:
    rng = random.Random(0)
    documents = [(kind, source, rng.randint(50, 150)) for kind in range(3) for source in range(4) for _ in range(400)]
    given = table(documents, 7)
    chosen = choose(given, alone(documents), none(documents), 0.05)
    for kind in range(3):
        for source in range(4):
            of = (given.kinds == kind) & (given.sources == source)
            assert given.sizes[of & chosen].sum() / given.sizes[of].sum() == pytest.approx(0.05, abs=0.005)


def test_small_sources_share_what_none_of_them_has_alone() -> None:
    """Each of 100 sources would hold back a quarter of a document."""
    documents = [(0, source, 100) for source in range(100) for _ in range(5)]
    chosen = choose(table(documents, 3), alone(documents), none(documents), 0.05)
    assert chosen.sum() == 25


def test_another_seed_chooses_others_and_a_new_document_moves_few() -> None:
    documents = [(0, 0, 100)] * 200
    first, again = table(documents, 1), table(documents, 2)
    chosen = choose(first, alone(documents), none(documents), 0.1)
    assert chosen.sum() == 20 and (choose(again, alone(documents), none(documents), 0.1) != chosen).any()
    more = Table(
        *(np.append(values, value) for values, value in zip(vars(first).values(), (0, 0, 100, 5), strict=True))
    )
    moved = choose(more, np.arange(201), np.zeros(201, np.bool_), 0.1)[:200] != chosen
    assert moved.sum() <= 2


def test_a_document_of_many_times_the_share_is_not_held_back() -> None:
    documents = [(0, 0, 10_000), *[(0, 0, 100)] * 100]
    for seed in range(20):
        assert not choose(table(documents, seed), alone(documents), none(documents), 0.05)[0]


@pytest.mark.parametrize("books", [2, 3, 8])
def test_books_beside_many_conversations_still_leave_a_text_for_validation(books: int) -> None:
    docs = KINDS.index("docs")
    documents = [(docs, 0, 1000 + number) for number in range(books)] + [(PAIR, 1, 50)] * 100
    chosen = choose(table(documents, 1), alone(documents), none(documents), 0.05)
    assert np.flatnonzero(chosen[:books]).tolist() == [0]


def test_clusters_join_through_others_and_are_named_by_their_first() -> None:
    clusters = Clusters(6)
    for first, second in ((4, 2), (5, 4), (0, 3)):
        clusters.join(first, second)
    assert clusters.labels().tolist() == [0, 1, 2, 0, 2, 2]


def test_a_program_with_many_conversations_about_it_stays_in_training() -> None:
    """Held back it would take half of all conversations along."""
    documents = [(0, 0, 100)] * 40 + [(PAIR, 1, 50)] * 40
    labels = np.array([*range(40), *[0] * 20, *range(60, 80)])
    for seed in range(200):
        chosen = choose(table(documents, seed), labels, none(documents), 0.05)
        assert not chosen[0] and 1 <= chosen[:40].sum() <= 3 and chosen[40:].sum() <= 4
