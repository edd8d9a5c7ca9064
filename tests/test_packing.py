"""Best-fit packing against the one-by-one algorithm, and spans against what they were made from."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.training.packing import Documents, Spans, best_fit, by_epoch, counting


def one_by_one(lengths: list[int], capacity: int) -> list[int]:
    """What is left in each bin when each item, the longest first, goes where the least would be left."""
    left: list[int] = []
    for length in lengths:
        fitting = [room for room in left if room >= length]
        if fitting:
            left[left.index(min(fitting))] -= length
        else:
            left.append(capacity - length)
    return sorted(left)


@settings(max_examples=300, deadline=None)
@given(st.integers(1, 40).flatmap(lambda most: st.tuples(st.lists(st.integers(1, most), max_size=120), st.just(most))))
def test_best_fit_fills_bins_as_going_one_by_one_does(given: tuple[list[int], int]) -> None:
    lengths, capacity = sorted(given[0], reverse=True), given[1]
    bins = best_fit(np.array(lengths, dtype=np.int64), capacity)
    filled = np.bincount(bins, weights=lengths).astype(int).tolist() if lengths else []
    assert sorted(capacity - full for full in filled) == one_by_one(lengths, capacity)


def test_many_documents_are_packed_in_no_time_and_with_little_padding() -> None:
    """Lengths as those of programs: 200,000 of them, many longer than a row."""
    rng = np.random.default_rng(0)
    lengths = np.exp(rng.normal(5.5, 1.2, 200_000)).astype(np.int64) + 1
    packed = Documents(np.cumsum(lengths) - lengths, lengths, 1024, seed=1)
    assert packed.padding < 0.001
    assert packed.cut == (lengths > 1024).mean()
    assert packed.rows * 1024 * (1 - packed.padding) == pytest.approx(lengths.sum())


def test_documents_move_between_rows_from_epoch_to_epoch() -> None:
    lengths = np.array([3, 5, 2, 6, 4, 4, 7, 1, 8, 8, 3, 5] * 4)
    packed = Documents(np.cumsum(lengths) - lengths, lengths, 8, seed=1)
    mates = []
    for epoch in range(2):
        spans = packed.spans(epoch, np.arange(packed.rows))
        assert (np.bincount(spans.row, weights=spans.length) == 8).all()
        mates.append({frozenset(spans.start[spans.row == row].tolist()) for row in range(packed.rows)})
    assert mates[0] != mates[1]


def test_short_documents_stand_anywhere_in_their_row() -> None:
    """At the end of each they would be learnt only at late positions."""
    lengths = np.array([6, 2] * 200)
    spans = Documents(np.cumsum(lengths) - lengths, lengths, 8, seed=1).spans(0, np.arange(200))
    leading = [int(spans.length[spans.row == row][0]) for row in range(200)]
    assert 60 < leading.count(2) < 140


@given(st.integers(0, 50), st.integers(0, 30), st.integers(1, 9))
def test_numbers_are_split_into_epochs(first: int, count: int, rows: int) -> None:
    found = [(epoch, row) for epoch, some in by_epoch(first, count, rows) for row in some.tolist()]
    assert found == [divmod(number, rows) for number in range(first, first + count)]


def test_counting_and_joining_and_grouping() -> None:
    assert counting(np.array([2, 0, 3])).tolist() == [0, 1, 0, 1, 2]
    assert counting(np.array([], dtype=np.int64)).tolist() == []
    one = Spans(np.array([0, 0, 1]), np.array([5, 6, 7]), np.array([1, 2, 3]))
    joined = Spans.joined([one, one])
    assert joined.row.tolist() == [0, 0, 1, 2, 2, 3] and joined.rows == 4
    assert joined.start.tolist() == [5, 6, 7] * 2 and joined.length.tolist() == [1, 2, 3] * 2
    parts = joined.groups(3)
    assert [part.row.tolist() for part in parts] == [[0, 0, 1, 2, 2], [0]]
    assert [part.start.tolist() for part in parts] == [[5, 6, 7, 5, 6], [7]]
