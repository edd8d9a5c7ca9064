"""KL, agreement and loss against torch in float64 and numbers worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from stages.release.divergence import Distribution, Tally, significant


def drawn(seed: int, spread: float = 3.0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    first = rng.normal(0, spread, (40, 300)).astype(np.float32)
    return first, (first + rng.normal(0, 0.1, first.shape)).astype(np.float32), rng.integers(0, 300, 40)


def tallied(first: np.ndarray, second: np.ndarray, targets: np.ndarray) -> Tally:
    tally = Tally()
    tally.add(Distribution(first), second, targets)
    return tally


def test_two_coins() -> None:
    """P = (1/2, 1/2), Q = (3/4, 1/4): KL = log 2 − log(3)/2; a target of Q's 1/4 costs log 4."""
    first, second = np.zeros((1, 2), np.float32), np.log(np.array([[3, 1]], np.float32)) + 7
    told = tallied(first, second, np.array([1])).told(1)
    assert told["kl"] == told["kl_99"] == pytest.approx(math.log(2) - math.log(3) / 2, rel=1e-3)
    assert told["loss"] == pytest.approx(math.log(4), abs=1e-6) and told["perplexity"] == 4.0
    assert told["bits_per_byte"] == 2.0 and told["tokens"] == 1 and told["top1"] == 1.0


@pytest.mark.parametrize("spread", [0.01, 3.0, 300.0])
def test_all_figures_are_torch_s_in_float64(spread: float) -> None:
    first, second, targets = drawn(1, spread)
    told = tallied(first, second, targets).told(77)
    p, q = (torch.from_numpy(rows).double() for rows in (first, second))
    kl = F.kl_div(q.log_softmax(-1), p.log_softmax(-1), reduction="none", log_target=True).sum(-1)
    loss = float(F.cross_entropy(q, torch.from_numpy(targets)))
    assert told["kl"] == pytest.approx(float(kl.mean()), rel=2e-3, abs=1e-7)
    assert told["kl_99"] == pytest.approx(float(kl.quantile(0.99)), rel=2e-3, abs=1e-7)
    assert told["loss"] == pytest.approx(loss, rel=1e-6, abs=1e-6)
    assert told["perplexity"] == pytest.approx(math.exp(min(loss, 700)), rel=1e-4)
    assert told["bits_per_byte"] == pytest.approx(loss * 40 / math.log(2) / 77, abs=1e-4)
    assert told["top1"] == float((p.argmax(-1) == q.argmax(-1)).double().mean())


def test_a_tiny_divergence_does_not_drown_in_rounding() -> None:
    rng = np.random.default_rng(2)
    first = rng.normal(0, 2, (64, 8192)).astype(np.float32)
    second = first + rng.normal(0, 1e-3, first.shape).astype(np.float32)
    found = tallied(first, second, np.zeros(64, np.int64)).mean
    p, q = (torch.from_numpy(rows).double().log_softmax(-1) for rows in (first, second))
    assert found == pytest.approx(float((p.exp() * (p - q)).sum(-1).mean()), rel=0.05)
    assert 4e-7 < found < 6e-7  # half the variance of the noise


def test_steps_add_up_to_the_whole() -> None:
    first, second, targets = drawn(3)
    tally = Tally()
    for part in (slice(0, 1), slice(1, 17), slice(17, 40)):
        tally.add(Distribution(first[part]), second[part], targets[part])
    assert tally.told(9) == tallied(first, second, targets).told(9)


def test_the_reference_is_nothing_from_itself_and_has_its_own_loss() -> None:
    first, _, targets = drawn(4)
    tally = Tally()
    tally.add_reference(Distribution(first), targets)
    same, own = tallied(first, first + 5, targets).told(9), tally.told(9)
    assert own["kl"] == own["kl_99"] == 0 and same["kl"] < 1e-6 and own["top1"] == same["top1"] == 1
    assert own["loss"] == pytest.approx(same["loss"], abs=1e-5)


def test_the_reference_keeps_nothing_of_memory_that_changes() -> None:
    first, second, targets = drawn(5)
    wanted, changing = tallied(first, second, targets).told(9), first.copy()
    reference = Distribution(changing)
    changing[:] = 0
    tally = Tally()
    tally.add(reference, second, targets)
    assert tally.told(9) == wanted


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_logits_that_are_not_finite_are_refused(value: float) -> None:
    first, second, targets = drawn(6)
    second[20, 7] = value
    with pytest.raises(FloatingPointError, match="not finite"):
        tallied(first, second, targets)
    with pytest.raises(FloatingPointError, match="not finite"):
        Distribution(second)


def test_four_digits_stay_of_any_number() -> None:
    assert [significant(x) for x in (0.0, 1.23456e-7, 12.34567, 99999.0)] == [0.0, 1.235e-7, 12.35, 100000.0]
