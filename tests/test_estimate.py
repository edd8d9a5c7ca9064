"""Estimates against exact fractions, enumeration of all draws, and Wilson's interval worked out by hand."""

from __future__ import annotations

from fractions import Fraction
from itertools import combinations
from math import comb, sqrt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.evaluation.estimate import Interval, mean_with_interval, pass_at_k, share


@pytest.mark.parametrize("n", range(1, 8))
def test_pass_at_k_is_the_share_of_draws_with_a_right_answer(n: int) -> None:
    for c in range(n + 1):
        right = [True] * c + [False] * (n - c)
        for k in range(1, n + 1):
            draws = [any(draw) for draw in combinations(right, k)]
            assert pass_at_k(n, c, k) == sum(draws) / len(draws)


@given(st.integers(1, 3000), st.data())
def test_pass_at_k_is_the_formula_of_chen_et_al_in_exact_fractions(n: int, data: st.DataObject) -> None:
    c, k = data.draw(st.integers(0, n)), data.draw(st.integers(1, n))
    assert pass_at_k(n, c, k) == float(1 - Fraction(comb(n - c, k), comb(n, k)))


@given(st.integers(2, 300), st.data())
def test_pass_at_k_grows_with_the_right_answers_and_with_the_draws(n: int, data: st.DataObject) -> None:
    c, k = data.draw(st.integers(0, n - 1)), data.draw(st.integers(1, n - 1))
    assert 0 <= pass_at_k(n, c, k) <= pass_at_k(n, c + 1, k) <= 1
    assert pass_at_k(n, c, k) <= pass_at_k(n, c, k + 1)
    assert pass_at_k(n, c, 1) == c / n


@pytest.mark.parametrize(("n", "c", "k"), [(5, 6, 1), (5, -1, 1), (5, 2, 0), (5, 2, 6), (0, 0, 1)])
def test_draws_that_cannot_be_are_refused(n: int, c: int, k: int) -> None:
    with pytest.raises(ValueError, match=f"pass@{k} of {c} right among {n}"):
        pass_at_k(n, c, k)


@pytest.mark.parametrize(
    ("successes", "n", "low", "high"),
    [
        # Newcombe 1998, Statistics in Medicine 17, table I, method 3
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0000, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_the_interval_is_wilsons_as_published(successes: int, n: int, low: float, high: float) -> None:
    found = share(successes, n)
    assert (round(found.low, 4), round(found.high, 4)) == (low, high)
    assert found.value == successes / n


@given(st.integers(1, 500), st.data())
def test_the_bounds_are_where_the_true_share_would_be_just_that_far_off(n: int, data: st.DataObject) -> None:
    """Wilson's bounds solve (p - s)² = z² s (1 - s) / n for the true share s."""
    found = share(data.draw(st.integers(0, n)), n)
    for bound in (found.low, found.high):
        off = abs(found.value - bound)
        assert off == pytest.approx(1.959963984540054 * sqrt(bound * (1 - bound) / n), abs=1e-7)
    assert 0 <= found.low <= found.value <= found.high <= 1


@given(st.lists(st.floats(0, 1), min_size=1, max_size=60))
def test_the_interval_of_a_mean_holds_it_and_narrows_with_more_tasks(values: list[float]) -> None:
    few, many = mean_with_interval(values), mean_with_interval(values * 4)
    assert 0 <= few.low <= few.value <= few.high <= 1
    assert few.value == pytest.approx(sum(values) / len(values), abs=1e-12)
    assert many.high - many.low < few.high - few.low
    assert few.low - 1e-9 <= many.low and many.high <= few.high + 1e-9


def test_the_mean_of_zeros_and_ones_has_the_interval_of_their_share() -> None:
    assert mean_with_interval([1, 0, 0, 1, 1]) == share(3, 5)


def test_of_nothing_nothing_is_known() -> None:
    assert mean_with_interval([]) == share(0, 0) == Interval(0.0, 0.0, 1.0)
