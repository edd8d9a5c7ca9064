"""Counted and measured speed against sums by hand."""

from __future__ import annotations

import time

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from stages.training.model import make_model
from stages.training.shape import ModelConfig
from stages.training.speed import Pace, flops_per_token, peak_flops

CPU = torch.device("cpu")


def test_a_llama_counted_by_hand() -> None:
    config = ModelConfig(d_model=8, n_layers=2, n_heads=2, n_kv_heads=1, d_ff=16)
    weights = 2 * (8 * 8 + 2 * 8 * 4 + 8 * 8 + 3 * 8 * 16) + 10 * 8
    assert flops_per_token(config, 10, 32) == 6 * weights + 12 * 2 * 32 * 8
    assert flops_per_token(config.model_copy(update={"tie_embeddings": False}), 10, 32) == 6 * weights + 12 * 2 * 32 * 8


@pytest.mark.parametrize("architecture", ["llama", "gpt2", "microgpt"])
def test_matrix_products_are_as_many_as_torch_counts(architecture: str) -> None:
    time_steps, vocab_size = 8, 50
    config = ModelConfig(architecture=architecture, d_model=16, n_layers=3, n_heads=2, n_kv_heads=2, d_ff=40)
    model = make_model(config, vocab_size, time_steps)
    with FlopCounterMode(display=False) as counter:
        model(torch.zeros(1, time_steps, dtype=torch.long))
    counted = counter.get_flop_counts()["Global"]
    products = sum(counted.get(getattr(torch.ops.aten, name), 0) for name in ("mm", "addmm"))
    attention = 12 * config.n_layers * time_steps * config.n_heads * config.head_dim
    assert flops_per_token(config, vocab_size, time_steps) - attention == 3 * products / time_steps


def test_the_peak_is_measured_in_a_moment_and_once() -> None:
    began = time.monotonic()
    peak = peak_flops(CPU, torch.float32)
    assert time.monotonic() - began < 10
    assert 1e8 < peak < 1e15
    began = time.monotonic()
    assert peak_flops(CPU, torch.float32) == peak
    assert time.monotonic() - began < 0.01


def test_the_share_of_the_peak_is_told_where_it_can_be_one() -> None:
    pace = Pace(CPU, flops=2e6, peak=1e10)
    assert pace.of(1000, 0.5)["mfu"] == 0.4 and "  MFU 40%  " in pace.told(1000, 0.5)
    assert pace.of(5000, 1)["mfu"] == 1.0
    assert "mfu" not in pace.of(5001, 1) and "MFU" not in pace.told(5001, 1)
    assert pace.told(5001, 1).startswith("5,001 tok/s  ")
    unknown = Pace(CPU, flops=2e6, peak=None)
    assert "mfu" not in unknown.of(1000, 0.5) and "MFU" not in unknown.told(1000, 0.5)


def test_the_peak_of_a_short_run_is_not_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stages.training.speed.peak_flops", lambda device, dtype: {torch.bfloat16: 3.0}[dtype])
    assert Pace.expected(CPU, 5.0, 1e11, "bf16-mixed", 2) == Pace(CPU, 5.0, None)
    assert Pace.expected(CPU, 5.0, 1e13, "bf16-mixed", 2) == Pace(CPU, 5.0, 6.0)
