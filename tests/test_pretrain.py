"""Pretraining as a stage: it learns, it repeats itself bit for bit, and its metrics are what they say."""

from __future__ import annotations

import json
import math
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from test_data import write_tokens
from test_loop import Stand, outputs

from pipeline.stage import Section
from stages.tokens.tokenize import TokenizeConfig
from stages.tokens.tokenizer import TokenizerConfig
from stages.training import pretrain
from stages.training.model import load_model
from stages.training.pretrain import PretrainConfig
from stages.training.shape import ModelConfig

VOCAB_SIZE, CONTEXT = 30, 16
SHAPE = ModelConfig(d_model=32, n_layers=2, n_heads=4, n_kv_heads=2, d_ff=48)


def sentences(count: int, seed: int) -> list[int]:
    """A language of little choice: after each token come two others at most, all about equally common."""
    rng = np.random.default_rng(seed)
    tokens = [10]
    while len(tokens) < count:
        tokens.append(4 + (3 * tokens[-1] + int(rng.integers(2))) % (VOCAB_SIZE - 4))
    return tokens


def stand(folder: Path, name: str = "out", *, seed: int = 7, **config: Any) -> Stand:
    tokens = folder / "tokens"
    if not tokens.exists():
        write_tokens(tokens, sentences(2000, 0), sentences(300, 1), context_length=CONTEXT, vocab_size=VOCAB_SIZE)
    quick = dict(
        precision="fp32",
        optimizer="adamw",
        schedule="cosine",
        batch_size=8,
        learning_rate=0.01,
        min_lr=0.001,
        warmup_steps=5,
        eval_every=20,
    )
    sections: list[Section] = [SHAPE, PretrainConfig(**(quick | {"max_steps": 120} | config))]  # type: ignore[arg-type]
    return Stand(folder / name, {"tokenize": tokens}, sections, seed)


def test_the_validation_loss_falls_far_below_a_unigram_models_to_what_the_language_leaves_open(tmp_path: Path) -> None:
    here = stand(tmp_path)
    metrics = pretrain.run(here.context)
    train, val = sentences(2000, 0), sentences(300, 1)
    counts = Counter(train)
    unigram = -sum(math.log(counts[token] / len(train)) for token in val) / len(val)
    assert metrics["unigram_loss"] == pytest.approx(unigram, abs=0.01)
    assert unigram > 3.1
    assert math.log(2) - 0.15 < metrics["val_loss"] < math.log(2) + 0.25
    assert metrics["perplexity"] == pytest.approx(math.exp(metrics["val_loss"]), rel=1e-4)


def test_the_metrics_tell_what_was_done(tmp_path: Path) -> None:
    here = stand(tmp_path, max_steps=30, gradient_accumulation=3)
    metrics = pretrain.run(here.context)
    assert metrics["steps"] == 30 and metrics["tokens"] == 30 * 3 * 8 * CONTEXT
    assert metrics["epochs"] == round(30 * 3 * 8 / ((2000 - CONTEXT) // CONTEXT), 3)
    assert metrics["bits_per_byte"] == pytest.approx(metrics["val_loss"] / math.log(2) / 3, abs=1e-4)  # 3 bytes a token
    assert metrics["parameters"] == SHAPE.parameters(VOCAB_SIZE)
    assert (metrics["device"], metrics["precision"]) == ("cpu", "fp32")
    assert here.bar.done == 30


def test_the_weights_left_behind_have_the_loss_that_is_told(tmp_path: Path) -> None:
    here = stand(tmp_path, max_steps=40, validation_tokens=160)
    metrics = pretrain.run(here.context)
    model = load_model(here.out)
    assert (model.config, model.vocab_size, model.context_length) == (SHAPE, VOCAB_SIZE, CONTEXT)
    windows = torch.tensor(sentences(300, 1)[:161]).unfold(0, CONTEXT + 1, CONTEXT)
    assert len(windows) == 10
    with torch.no_grad():
        loss = F.cross_entropy(model(windows[:, :-1]).flatten(0, 1), windows[:, 1:].flatten())
    assert metrics["val_loss"] == pytest.approx(loss.item(), abs=1e-5)
    assert sorted(outputs(here.out)) == ["metrics.jsonl", "model.json", "model.safetensors"]


def test_the_same_seed_gives_the_same_files_and_another_others(tmp_path: Path) -> None:
    runs = []
    for name, seed in (("one", 7), ("two", 7), ("three", 8)):
        torch.rand(3)
        here = stand(tmp_path, name, seed=seed, max_steps=5)
        pretrain.run(here.context)
        runs.append(outputs(here.out))
    assert runs[0] == runs[1]
    assert runs[0]["model.safetensors"] != runs[2]["model.safetensors"]
    first, other = (json.loads(run["metrics.jsonl"].splitlines()[0])["loss"] for run in (runs[0], runs[2]))
    assert first != other


def test_the_estimate_for_the_plan_counts_the_weights_and_names_the_parts() -> None:
    sections: dict[str, Section] = {
        "model": SHAPE,
        "pretrain": PretrainConfig(batch_size=2, gradient_accumulation=3, max_steps=50),
        "tokenizer": TokenizerConfig(vocab_size=4096),
        "tokenize": TokenizeConfig(context_length=128),
    }
    first, second, *_ = pretrain.estimate(sections)
    assert first == f"{SHAPE.parameters(4096) / 1e6:.1f} M parameters, 768 tokens per step, 50 steps"
    assert all(part in second for part in ("weights", "gradients", "optimizer", "activations", "logits"))


def test_the_stage_resumes_and_depends_on_the_seed() -> None:
    assert pretrain.STAGE.resumable and pretrain.STAGE.seeded
    assert pretrain.STAGE.needs == ("tokenize", "tokenizer") and pretrain.STAGE.parallel
    assert set(pretrain.STAGE.sections) == {"model", "pretrain"}
