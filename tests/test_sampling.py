"""How a token is drawn: each as often as transformers' warpers say, ties and windows as one counts them by hand."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from stages.tokens.sampling import Sampling, choose

POINTS = 200


class Told(np.random.Generator):
    """A source of random numbers that gives the one it was told."""

    def __init__(self, number: float) -> None:
        super().__init__(np.random.PCG64(0))
        self.number = number

    def random(self, *_: Any, **__: Any) -> Any:
        return self.number


def often(logits: Sequence[float], sampling: Sampling, recent: Sequence[int] = ()) -> np.ndarray[Any, Any]:
    """How many of the evenly spread random numbers draw each token."""
    given = np.array(logits, dtype=np.float32)
    drawn = [choose(given, sampling, recent, Told((point + 0.5) / POINTS)) for point in range(POINTS)]
    return np.bincount(drawn, minlength=len(logits))


def by_transformers(logits: Sequence[float], sampling: Sampling, recent: Sequence[int] = ()) -> np.ndarray[Any, Any]:
    """The probabilities from which transformers' generate draws, in float64."""
    from transformers import generation

    steps = [generation.RepetitionPenaltyLogitsProcessor(sampling.repeat_penalty)]
    if not recent:
        steps = []
    steps.append(generation.TemperatureLogitsWarper(sampling.temperature))
    if sampling.top_k:
        steps.append(generation.TopKLogitsWarper(sampling.top_k))
    if sampling.top_p < 1:
        steps.append(generation.TopPLogitsWarper(sampling.top_p))
    if sampling.min_p:
        steps.append(generation.MinPLogitsWarper(sampling.min_p))
    scores = torch.tensor([logits], dtype=torch.float64)
    for step in steps:
        scores = step(torch.tensor([recent], dtype=torch.long), scores)
    found: np.ndarray[Any, Any] = scores.softmax(-1)[0].numpy()
    return found


def assert_drawn_so(found: np.ndarray[Any, Any], expected: np.ndarray[Any, Any]) -> None:
    """A token that has a stretch of the random numbers gets all points in it: right to one point."""
    assert np.abs(found - expected * POINTS).max() <= 1 + 1e-3
    assert not found[expected == 0].any()


LOGITS = [2.0, -1.0, 0.5, 1.5, 0.25, 1.0, -3.0]
SAMPLINGS = [
    Sampling(1.0, 0),
    Sampling(0.5, 0),
    Sampling(2.0, 3),
    Sampling(1.0, 0, 0.7),
    Sampling(1.5, 4, 0.8),
    Sampling(1.0, 99, 0.999),
    Sampling(0.8, 1),
    Sampling(1.0, 0, 0.01),
    Sampling(1.0, 0, min_p=0.3),
    Sampling(3.0, 5, 0.9, 0.5),
    Sampling(1.0, 0, min_p=1.0),
    Sampling(1.0, 0, repeat_penalty=2.0),
    Sampling(0.7, 4, 0.95, 0.05, repeat_penalty=0.5),
]


@pytest.mark.parametrize("sampling", SAMPLINGS, ids=str)
def test_each_token_is_drawn_as_often_as_transformers_says(sampling: Sampling) -> None:
    assert_drawn_so(often(LOGITS, sampling, [0, 6, 0]), by_transformers(LOGITS, sampling, [0, 6, 0]))


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.integers(-40, 40).filter(bool), min_size=2, max_size=14, unique=True),
    st.floats(0.2, 4),
    st.integers(0, 16),
    st.floats(0.05, 1),
    st.floats(0, 1),
    st.floats(0.5, 2),
    st.data(),
)
def test_so_it_is_for_any_settings_together(
    eighths: list[int], temperature: float, top_k: int, top_p: float, min_p: float, penalty: float, data: st.DataObject
) -> None:
    logits = [value / 8 for value in eighths]
    recent = data.draw(st.lists(st.integers(0, len(logits) - 1), max_size=5))
    sampling = Sampling(temperature, top_k, top_p, min_p, penalty)
    # What float32 rounds to one or the other side of an edge is neither right nor wrong.
    whole = by_transformers(logits, Sampling(temperature, top_k, repeat_penalty=penalty), recent)
    ranked = np.sort(whole)[::-1]
    assume(len(recent) == 0 or np.diff(np.sort(np.log(whole[whole > 0]))).min(initial=1) > 1e-4)
    assume(np.abs(ranked.cumsum() - top_p).min() > 1e-5 and np.abs(ranked / ranked[0] - min_p).min() > 1e-5)
    assert_drawn_so(often(logits, sampling, recent), by_transformers(logits, sampling, recent))


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(-3, 3), min_size=1, max_size=30), st.integers(0, 32))
def test_of_equal_tokens_the_first_are_left_in(values: list[int], top_k: int) -> None:
    ranked = sorted(range(len(values)), key=lambda token: (-values[token], token))
    found = often(values, Sampling(1000.0, top_k))
    assert set(np.flatnonzero(found)) == set(ranked[: top_k or None])
    assert choose(np.array(values, dtype=np.float32), Sampling(0), (), Told(0.9)) == ranked[0]


def test_the_smallest_and_the_largest_random_number_draw_a_token_that_is_left_in() -> None:
    logits = np.array([-np.inf, 3, -np.inf, 1, 2], dtype=np.float32)
    for sampling in (Sampling(1.0, 0), Sampling(1.0, 2), Sampling(1.0, 0, 0.9), Sampling(1.0, 4, min_p=0.2)):
        assert choose(logits, sampling, (), Told(0.0)) == 1
        assert choose(logits, sampling, (), Told(np.nextafter(1, 0))) in (3, 4)
    assert choose(logits, Sampling(1e-4, 0), (), Told(0.5)) == 1


def test_only_the_last_tokens_are_penalised_and_none_twice() -> None:
    logits = np.array([4.0, 3.0, 2.0], dtype=np.float32)
    greedy = Sampling(0, repeat_penalty=1.5, repeat_last_n=2)
    assert choose(logits, greedy, [0, 1, 2], Told(0)) == 0
    assert choose(logits, greedy, [2, 1, 0], Told(0)) == 0
    assert choose(logits, greedy, [1, 2, 0], Told(0)) == 1 == choose(logits, greedy, [0], Told(0))
    assert choose(logits, Sampling(0, repeat_penalty=1.2, repeat_last_n=9), [0, 0, 0], Told(0)) == 0
    assert choose(logits, Sampling(0, repeat_penalty=9.0, repeat_last_n=0), [0], Told(0)) == 0
    negative = np.array([-1.0, -1.4], dtype=np.float32)
    assert choose(negative, greedy, [0], Told(0)) == 1


@pytest.mark.parametrize("sampling", [Sampling(0), Sampling(1.0, 0), Sampling(1.0, 2, 0.9, 0.1)], ids=str)
def test_a_broken_model_draws_something(sampling: Sampling) -> None:
    assert 0 <= choose(np.full(5, np.nan, dtype=np.float32), sampling, [1], Told(0.5)) < 5


def test_drawing_changes_neither_the_logits_nor_the_seed_s_numbers() -> None:
    logits = np.array(LOGITS, dtype=np.float32)
    logits.flags.writeable = False
    settings = Sampling(0.9, 5, 0.9, 0.01, 1.3)
    one, two = (np.random.default_rng(7) for _ in range(2))
    assert [choose(logits, settings, [0, 3], one) for _ in range(50)] == [
        choose(logits, settings, [0, 3], two) for _ in range(50)
    ]
    choose(logits, Sampling(0), (), one)
    assert one.random() == two.random()


@pytest.mark.parametrize(
    "wrong",
    [
        {"temperature": -0.1},
        {"top_k": -1},
        {"top_p": 0.0},
        {"top_p": 1.1},
        {"min_p": -0.1},
        {"min_p": 1.1},
        {"repeat_penalty": 0.0},
        {"repeat_last_n": -1},
        {"temperature": float("nan")},
        {"repeat_penalty": float("nan")},
    ],
    ids=str,
)
def test_settings_out_of_range_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"temperature|top_p"):
        Sampling(**wrong)
