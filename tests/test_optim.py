"""The learning rate by hand, and AdamW against its formula written out in numpy."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from stages.training.networks.llama import Llama
from stages.training.optim import learning_rate_at, make_optimizer
from stages.training.shape import ModelConfig


def test_the_schedule_is_the_one_computed_by_hand() -> None:
    """Peak 1, floor 0.2, 4 steps of warmup, 12 steps: quarters up, then 0.6 + 0.4·cos(π·k/8)."""
    half = math.sqrt(0.5)
    by_hand = [0.25, 0.5, 0.75, 1.0, 1.0]
    by_hand += [0.6 + 0.4 * math.cos(math.pi / 8), 0.6 + 0.4 * half, 0.6 + 0.4 * math.cos(3 * math.pi / 8), 0.6]
    by_hand += [0.6 - 0.4 * math.cos(3 * math.pi / 8), 0.6 - 0.4 * half, 0.6 - 0.4 * math.cos(math.pi / 8), 0.2, 0.2]
    rates = [learning_rate_at(step, peak=1.0, minimum=0.2, warmup_steps=4, max_steps=12) for step in range(14)]
    assert rates == pytest.approx(by_hand, abs=1e-15)


def test_without_warmup_the_schedule_starts_at_the_peak_and_a_single_step_has_it() -> None:
    assert learning_rate_at(0, peak=3e-4, minimum=0.0, warmup_steps=0, max_steps=1) == 3e-4
    assert learning_rate_at(0, peak=3e-4, minimum=0.0, warmup_steps=0, max_steps=100) == 3e-4


def test_a_warmup_longer_than_the_training_only_rises() -> None:
    rates = [learning_rate_at(step, peak=1.0, minimum=0.0, warmup_steps=100, max_steps=10) for step in range(10)]
    assert rates == pytest.approx([(step + 1) / 100 for step in range(10)])


@given(st.integers(0, 50), st.integers(1, 200), st.floats(1e-6, 0.9), st.floats(0, 1))
def test_the_rate_rises_then_falls_and_stays_between_floor_and_peak(
    warmup: int, steps: int, peak: float, share: float
) -> None:
    rates = [
        learning_rate_at(step, peak=peak, minimum=peak * share, warmup_steps=warmup, max_steps=steps)
        for step in range(steps)
    ]
    assert all(0 < rate <= peak * (1 + 1e-12) for rate in rates)
    assert rates[:warmup] == sorted(rates[:warmup])
    assert rates[warmup:] == sorted(rates[warmup:], reverse=True)
    assert all(rate >= peak * share * (1 - 1e-12) for rate in rates[warmup:])


def test_only_matrices_decay_and_a_tied_one_decays_once() -> None:
    config = ModelConfig(d_model=32, n_layers=2, n_heads=4, n_kv_heads=2, d_ff=48, tie_embeddings=True)
    model = Llama(config, 50, 16)
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    make_optimizer(model, learning_rate=0.01, weight_decay=0.5, betas=(0.9, 0.95)).step()
    for name, parameter in model.named_parameters():
        kept = 1.0 if "norm" in name else 1 - 0.01 * 0.5
        torch.testing.assert_close(parameter.detach(), before[name] * kept, rtol=1e-6, atol=0, msg=name)


def adamw(
    weight: np.ndarray[Any, Any], gradients: list[np.ndarray[Any, Any]], rates: list[float], decay: float
) -> np.ndarray[Any, Any]:
    """Algorithm 2 of Loshchilov & Hutter in float64, with β = (0.9, 0.95) and ε = 1e-8."""
    first = second = np.zeros_like(weight)
    for step, (gradient, rate) in enumerate(zip(gradients, rates, strict=True), 1):
        first = 0.9 * first + 0.1 * gradient
        second = 0.95 * second + 0.05 * gradient**2
        update = (first / (1 - 0.9**step)) / (np.sqrt(second / (1 - 0.95**step)) + 1e-8)
        weight = weight - rate * (update + decay * weight)
    return weight


def test_the_updates_are_those_of_the_paper() -> None:
    model = torch.nn.Linear(5, 3)
    rng = np.random.default_rng(0)
    rates = [1e-2, 2e-2, 5e-3, 1e-3]
    gradients = {"weight": [rng.normal(size=(3, 5)) for _ in rates], "bias": [rng.normal(size=3) for _ in rates]}
    start = {name: parameter.detach().double().numpy() for name, parameter in model.named_parameters()}
    optimizer = make_optimizer(model, learning_rate=1.0, weight_decay=0.1, betas=(0.9, 0.95))
    for step, rate in enumerate(rates):
        for group in optimizer.param_groups:
            group["lr"] = rate
        for name, parameter in model.named_parameters():
            parameter.grad = torch.tensor(gradients[name][step], dtype=torch.float32)
        optimizer.step()
    for name, parameter in model.named_parameters():
        expected = adamw(start[name], gradients[name], rates, decay=0.1 if name == "weight" else 0.0)
        np.testing.assert_allclose(parameter.detach().numpy(), expected, rtol=1e-5, atol=1e-6)
