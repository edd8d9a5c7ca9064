"""The learning rate by hand, and its bounds and steps for any setting."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.training.schedule import learning_rate_at
from stages.training.settings import TrainingConfig

settings = st.builds(
    lambda peak, share, **rest: TrainingConfig(learning_rate=peak, min_lr=peak * share, **rest),
    st.floats(1e-6, 0.9),
    st.floats(0, 1),
    schedule=st.sampled_from(["cosine", "wsd"]),
    warmup_steps=st.integers(0, 50),
    max_steps=st.integers(1, 200),
    decay_fraction=st.floats(0.01, 1),
)


def rates(count: int, **keys: Any) -> list[float]:
    usual = {"schedule": "cosine", "learning_rate": 0.5, "min_lr": 0.1, "warmup_steps": 4, "max_steps": 12}
    config = TrainingConfig(**usual | keys)
    return [learning_rate_at(step, config) for step in range(count)]


def test_the_cosine_is_the_one_computed_by_hand() -> None:
    """Peak 0.5, floor 0.1, 4 steps of warmup, 12 steps: eighths up, then 0.3 + 0.2·cos(π·k/8)."""
    half = math.sqrt(0.5)
    by_hand = [0.125, 0.25, 0.375, 0.5, 0.5]
    by_hand += [0.3 + 0.2 * math.cos(math.pi / 8), 0.3 + 0.2 * half, 0.3 + 0.2 * math.cos(3 * math.pi / 8), 0.3]
    by_hand += [0.3 - 0.2 * math.cos(3 * math.pi / 8), 0.3 - 0.2 * half, 0.3 - 0.2 * math.cos(math.pi / 8), 0.1, 0.1]
    assert rates(14) == pytest.approx(by_hand, abs=1e-15)


def test_warmup_stable_decay_is_the_one_computed_by_hand() -> None:
    """The last third of 12 steps falls by quarters of 0.4."""
    by_hand = [0.125, 0.25, 0.375] + [0.5] * 6 + [0.4, 0.3, 0.2, 0.1, 0.1]
    assert rates(14, schedule="wsd", decay_fraction=1 / 3) == pytest.approx(by_hand, abs=1e-15)


def test_a_decay_fraction_of_one_is_a_straight_line_after_the_warmup() -> None:
    by_hand = [0.125, 0.25, 0.375, 0.5, 0.5, 0.45, 0.4, 0.35, 0.3, 0.25, 0.2, 0.15, 0.1]
    assert rates(13, schedule="wsd", decay_fraction=1.0) == pytest.approx(by_hand, abs=1e-15)


@pytest.mark.parametrize("schedule", ["cosine", "wsd"])
def test_without_warmup_the_first_step_has_the_peak_even_if_it_is_the_only_one(schedule: str) -> None:
    for steps in (1, 100):
        assert rates(1, schedule=schedule, warmup_steps=0, max_steps=steps, decay_fraction=1.0) == [0.5]


@pytest.mark.parametrize("schedule", ["cosine", "wsd"])
def test_a_warmup_longer_than_the_training_only_rises(schedule: str) -> None:
    by_hand = [0.5 * (step + 1) / 100 for step in range(10)]
    assert rates(10, schedule=schedule, warmup_steps=100, max_steps=10) == pytest.approx(by_hand)


@given(settings)
def test_the_rate_rises_then_falls_and_stays_between_floor_and_peak(config: TrainingConfig) -> None:
    found = [learning_rate_at(step, config) for step in range(config.max_steps)]
    warmup, peak = config.warmup_steps, config.learning_rate
    assert all(0 < rate <= peak * (1 + 1e-12) for rate in found)
    assert found[:warmup] == sorted(found[:warmup])
    assert found[warmup:] == sorted(found[warmup:], reverse=True)
    assert all(rate >= config.min_lr * (1 - 1e-12) for rate in found[warmup:])


@given(settings)
def test_the_rate_never_jumps_and_ends_at_the_floor(config: TrainingConfig) -> None:
    """A step changes it by no more than a warmup, or a fall of π/2 times the straight line's, would."""
    found = [learning_rate_at(step, config) for step in range(config.max_steps + 2)]
    falling = config.max_steps - config.warmup_steps
    if config.schedule == "wsd":
        falling = min(max(round(config.decay_fraction * config.max_steps), 1), falling)
    fall = math.pi / 2 * (config.learning_rate - config.min_lr) / max(falling, 1)
    largest = max(config.learning_rate / max(config.warmup_steps, 1), fall) * (1 + 1e-9)
    if config.warmup_steps < config.max_steps:
        assert all(abs(after - before) <= largest for before, after in pairwise(found))
        assert found[-2:] == pytest.approx([config.min_lr] * 2)
