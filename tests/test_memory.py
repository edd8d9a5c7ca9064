"""The planner against the bytes that torch's allocator hands out in a real step, event by event."""

from __future__ import annotations

import gc
import subprocess
import sys
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.profiler import ProfilerActivity, profile

from pipeline import hardware
from pipeline.hardware import Gpu
from stages.training import memory
from stages.training.compiling import prepare
from stages.training.memory import Step, blocked_keys, describe, plan
from stages.training.model import make_model
from stages.training.networks import layers
from stages.training.optim import make_optimizer
from stages.training.recompute import recompute_blocks
from stages.training.settings import TrainingConfig
from stages.training.shape import ModelConfig

CPU = torch.device("cpu")


@dataclass(frozen=True)
class Case:
    """A training step to measure: a shape, and what it learns from."""

    model: dict[str, Any]
    vocab_size: int = 4096
    context: int = 256
    rows: int = 4
    accumulation: int = 1
    training: dict[str, Any] = field(default_factory=dict)

    @property
    def shape(self) -> ModelConfig:
        return ModelConfig(**self.model)

    @property
    def config(self) -> TrainingConfig:
        return TrainingConfig(**{"precision": "bf16-mixed", "optimizer": "adamw", **self.training})

    @property
    def step(self) -> Step:
        again = self.config.activation_checkpointing is True
        return Step(self.shape, self.config, self.vocab_size, self.context, self.rows, self.accumulation, again)


def nothing(message: str) -> None:
    pass


def measured(case: Case) -> tuple[float, dict[str, float]]:
    """Bytes at the peak of a step after the first, and those of weights and optimizer, as torch's allocator tells.

    The profiler notes each allocation and each release with its size; their running sum is what a step takes besides
    what was there before it.
    """
    config, shape = case.config, case.shape
    torch.manual_seed(0)
    network = make_model(shape, case.vocab_size, case.context).train()
    if config.precision == "bf16":
        network = network.bfloat16()
    if config.activation_checkpointing is True:
        recompute_blocks(network)
    optimizer = make_optimizer(network, config)
    loss = prepare(network, False, device=CPU, precision=config.precision, warn=nothing, say=nothing)
    tokens = torch.randint(0, case.vocab_size, (2, case.rows, case.context))

    def step() -> None:
        for _ in range(case.accumulation):
            loss(tokens[0], tokens[1], None).backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()

    step()
    gc.collect()
    gc.disable()
    try:
        with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiled:
            step()
    finally:
        gc.enable()
    assert profiled.profiler is not None
    events = [event for event in profiled.profiler.kineto_results.events() if event.name() == "[memory]"]
    now = peak = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        now += event.nbytes()
        peak = max(peak, now)
    held = {
        "weights": sum(weight.nbytes for weight in network.parameters()),
        "optimizer": sum(
            value.nbytes for member in optimizer.members for state in member.state.values() for value in state.values()
        ),
    }
    gc.collect()
    return peak + sum(held.values()) + tokens.nbytes, held


GPT2 = {"architecture": "gpt2", "d_model": 320, "n_layers": 6, "n_heads": 5}
CASES = {
    "5 M, grouped queries": Case({"preset": "nano-5m"}, rows=8),
    "5 M, accumulated and computed twice": Case(
        {"preset": "nano-5m"}, accumulation=2, training={"activation_checkpointing": True, "optimizer": "muon"}
    ),
    "7 M, a head for each query, untied, float32": Case(
        {"d_model": 256, "n_layers": 4, "n_heads": 4, "n_kv_heads": 4, "d_ff": 768, "tie_embeddings": False},
        training={"precision": "fp32"},
    ),
    "9 M, qk-norm, dropout, beyond blocked attention": Case(
        {"d_model": 320, "n_layers": 5, "n_heads": 5, "n_kv_heads": 5, "qk_norm": True, "dropout": 0.1},
        context=1040, rows=1,
    ),
    "9 M, GPT-2": Case(GPT2, rows=6),
    "9 M, GPT-2, float32, computed twice, accumulated": Case(
        GPT2, accumulation=3, training={"precision": "fp32", "activation_checkpointing": True}
    ),
    "9 M, GPT-2, dropout": Case({**GPT2, "dropout": 0.1}, rows=3),
    "1 M, microgpt": Case({"architecture": "microgpt", "d_model": 128, "n_layers": 4, "n_heads": 4}, 512, 128, 8),
    "25 M, bf16 and 8-bit": Case(
        {"preset": "tiny-25m"}, 8192, 512, 2, training={"precision": "bf16", "optimizer": "adamw-8bit"}
    ),
    "25 M, factored": Case({"preset": "tiny-25m"}, 8192, 512, 1, training={"optimizer": "adafactor"}),
    "50 M, muon": Case({"preset": "small-50m"}, 8192, 256, 2, training={"optimizer": "muon"}),
    "80 M, computed twice": Case(
        {"preset": "medium-80m"}, 8192, 256, 4, training={"activation_checkpointing": True}
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", [
    pytest.param(case, id=name, marks=[pytest.mark.slow] if name[:2] in ("25", "50", "80") else [])
    for name, case in CASES.items()
])  # fmt: skip
def test_the_peak_is_within_a_twentieth_of_what_the_allocator_hands_out(case: Case) -> None:
    total, held = measured(case)
    told = case.step.parts()
    print(f"planned {sum(told.values()) / 1e6:.1f} MB, measured {total / 1e6:.1f} MB")
    assert sum(told.values()) == pytest.approx(total, rel=0.05)
    assert told["weights"] == held["weights"]
    states = case.step.states(case.shape.parameters(case.vocab_size, case.context))
    assert states == pytest.approx(held["optimizer"], rel=0.02, abs=0.01 * held["weights"])


def test_blocked_attention_is_planned_as_it_is_cut() -> None:
    for context in (8, 63, 64, 256, 300, 511, 512, 777, 1024):
        cut = layers._blocks(context)
        assert blocked_keys(context) == sum((end - first) * end for first, end in cut) / context
    assert blocked_keys(layers.LONGEST_BLOCKED) > 0 == blocked_keys(layers.LONGEST_BLOCKED + 1)


SHAPES = {
    "tiny": ModelConfig(preset="tiny-25m"),
    "large": ModelConfig(preset="large-350m"),
    "half a billion": ModelConfig(d_model=1280, n_layers=24, n_heads=20, n_kv_heads=5, d_ff=3584),
    "a billion": ModelConfig(d_model=2048, n_layers=20, n_heads=32, n_kv_heads=8, d_ff=5632),
}


def automatic(tokens: int = 131_072, **changes: Any) -> TrainingConfig:
    return TrainingConfig(batch_size="auto", tokens_per_step=tokens, **changes)


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(sorted(SHAPES)), st.sampled_from([256, 512, 1024]), st.integers(1, 512), st.floats(1e9, 8e10),
    st.sampled_from(["cpu", "cuda"]), st.sampled_from(["muon", "adamw", "adamw-8bit", "adafactor"]), st.integers(1, 4),
)  # fmt: skip
def test_auto_takes_the_largest_micro_batch_that_divides_the_step_and_fits(
    name: str, context: int, sequences: int, room: float, device: str, optimizer: Any, processes: int
) -> None:
    shape, config = SHAPES[name], automatic(sequences * context, optimizer=optimizer)
    found = plan(shape, config, 8192, context, room, device=device, processes=processes)
    share = max(sequences // processes, 1)
    assert found.micro_batch * found.accumulation == share
    assert found.micro_batch * context <= max(memory.WANTED_TOKENS[device], context)
    within = memory.USABLE * room
    assert (found.total <= within) == (not found.advice)
    if found.advice:
        smallest = Step(shape, memory.resolved(config, device), 8192, context, 1, share, True, device)
        assert smallest.peak > within and found.total <= smallest.peak
        return
    precise = memory.resolved(config, device)
    larger = [rows for rows in range(found.micro_batch + 1, share + 1) if share % rows == 0]
    for rows in larger:
        step = Step(shape, precise, 8192, context, rows, share // rows, found.activation_checkpointing, device)
        assert step.peak > within or rows * context > memory.WANTED_TOKENS[device]
    if found.activation_checkpointing:  # without, only small micro-batches would have fitted
        plain = plan(
            shape, config.model_copy(update={"activation_checkpointing": False}), 8192, context, room,
            device=device, processes=processes,
        )  # fmt: skip
        tokens = plain.micro_batch * context
        assert plain.advice or (tokens < memory.FEWEST_TOKENS[device] and plain.micro_batch <= found.micro_batch)


def test_half_a_billion_with_float32_masters_and_a_billion_in_bf16_fit_into_12_gb() -> None:
    for name, changes in (
        ("half a billion", {"optimizer": "adamw"}),
        ("half a billion", {"optimizer": "muon"}),
        ("a billion", {"optimizer": "adamw-8bit", "precision": "bf16"}),
    ):
        found = plan(SHAPES[name], automatic(**changes), 32_768, 1024, 12e9, device="cuda", compiled=True)
        assert not found.advice and found.total < 11.1e9


def test_what_is_configured_is_kept_and_what_would_fit_is_said() -> None:
    shape = SHAPES["large"]
    asked = TrainingConfig(batch_size=64, gradient_accumulation=2, activation_checkpointing=False, optimizer="adamw")
    found = plan(shape, asked, 32_768, 1024, 16e9, device="cuda")
    assert (found.micro_batch, found.accumulation, found.activation_checkpointing) == (64, 2, False)
    assert "GB are needed and 14.7 GB are there; batch_size: auto with tokens_per_step would fit" in found.advice
    free = asked.model_copy(update={"activation_checkpointing": "auto"})
    assert plan(shape, free, 32_768, 1024, 28e9, device="cuda").activation_checkpointing
    for room, told in (
        (9.8e9, "batch_size: auto with activation_checkpointing: true would fit"),
        (7.5e9, "precision: bf16 with optimizer: adamw-8bit would fit"),
        (1.5e9, "even with bf16 weights and 8-bit Adam only about"),
    ):
        one = plan(shape, asked.model_copy(update={"batch_size": 1}), 32_768, 1024, room, device="cuda")
        assert told in one.advice
    assert not plan(shape, asked, 32_768, 1024, None, device="cuda").advice


def test_parts_grow_with_what_they_depend_on() -> None:
    shape, config = SHAPES["tiny"], TrainingConfig(precision="bf16-mixed")
    one, twice = (Step(shape, config, 8192, 512, rows).parts() for rows in (4, 8))
    assert twice["activations"] == 2 * one["activations"]
    assert [twice[name] / one[name] for name in ("weights", "optimizer", "copies")] == [1, 1, 1]
    shared = Step(shape, config, 8192, 512, 4, shards=2).parts()
    assert [one[name] / shared[name] for name in ("weights", "optimizer")] == [2, 2]
    averaged = Step(shape, config.model_copy(update={"ema": 0.99}), 8192, 512, 4).parts()
    assert averaged["averages"] == averaged["weights"] == 4 * shape.parameters(8192, 512)
    assert Step(shape, config, 8192, 512, 4, device="cuda").parts()["framework"] > memory.FRAMEWORK


@pytest.fixture
def card(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hardware, "cuda_devices", lambda: [Gpu("RTX 3060", 12 * 2**30)])
    monkeypatch.setattr(hardware, "torch_version", lambda: "2.13.0+cu130")


def test_the_plan_is_told_in_words(card: None) -> None:
    first, second, third = describe(SHAPES["tiny"], automatic(max_steps=2000), 8192, 512)
    assert first == "25.2 M parameters, 131,072 tokens per step, 2,000 steps"
    assert second.startswith("memory about ") and "GB: weights 100.7 MB" in second
    assert third == "micro-batches of 64 sequences, 4 to a step"


def test_a_model_that_is_too_large_is_warned_of(card: None) -> None:
    last = describe(SHAPES["a billion"], TrainingConfig(optimizer="adamw", batch_size=4), 32_768, 1024)[-1]
    assert last.startswith("warning: this does not fit: ")


def test_planning_does_not_load_torch() -> None:
    code = "import sys; from stages.training import memory; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
