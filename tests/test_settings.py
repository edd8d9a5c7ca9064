"""The keys that pretraining and finetuning share."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from stages.training.finetune import FinetuneConfig
from stages.training.pretrain import PretrainConfig
from stages.training.settings import TrainingConfig

KINDS: list[type[TrainingConfig]] = [TrainingConfig, PretrainConfig, FinetuneConfig]


@pytest.mark.parametrize("kind", KINDS)
def test_the_defaults_fit_together(kind: type[TrainingConfig]) -> None:
    config = kind()
    assert config.min_lr <= config.learning_rate
    assert config.warmup_steps < config.max_steps


@pytest.mark.parametrize("kind", KINDS)
def test_a_floor_above_the_peak_is_refused_at_min_lr(kind: type[TrainingConfig]) -> None:
    with pytest.raises(ValidationError) as caught:
        kind(learning_rate=1e-4, min_lr=2e-4)
    (error,) = caught.value.errors()
    assert error["ctx"]["key"] == "min_lr"
    assert error["msg"] == "0.0002 is above learning_rate 0.0001"
    assert kind(learning_rate=1e-4, min_lr=1e-4).min_lr == 1e-4


@pytest.mark.parametrize(
    "wrong",
    [
        {"precision": "fp16"},
        {"batch_size": 0},
        {"batch_size": 2.5},
        {"batch_size": True},
        {"gradient_accumulation": 0},
        {"learning_rate": 0.0},
        {"learning_rate": "6e-4"},
        {"learning_rate": float("nan")},
        {"beta2": 1.0},
        {"grad_clip": -0.1},
        {"optimizer": "sgd"},
        {"schedule": "linear"},
        {"ema": 1.0},
        {"decay_fraction": 0.0},
        {"keep_checkpoints": 1},
        {"batch_size": "some"},
        {"checkpoint_every_minutes": 0.0},
        {"warmup_steps": -1},
        {"lr": 1e-3},
    ],
)
@pytest.mark.parametrize("kind", KINDS)
def test_wrong_types_values_and_keys_are_refused(kind: type[TrainingConfig], wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        kind(**wrong)


def broken_at(**values: Any) -> str:
    with pytest.raises(ValidationError) as caught:
        TrainingConfig(**values)
    (error,) = caught.value.errors()
    return str(error["ctx"]["key"])


def test_an_automatic_batch_keeps_the_tokens_of_a_step_and_a_stated_one_is_them() -> None:
    assert broken_at(batch_size="auto") == "batch_size"
    assert broken_at(batch_size=8, tokens_per_step=4096) == "tokens_per_step"
    assert broken_at(batch_size="auto", tokens_per_step=4096, gradient_accumulation=2) == "gradient_accumulation"
    assert TrainingConfig(batch_size="auto", tokens_per_step=4096).sequences_per_step(512) == 8
    assert TrainingConfig(batch_size="auto", tokens_per_step=10).sequences_per_step(512) == 1
    assert TrainingConfig(batch_size=6, gradient_accumulation=5).sequences_per_step(512) == 30


@pytest.mark.parametrize("optimizer", ["muon", "adamw", "adafactor"])
def test_bf16_weights_are_for_the_optimizer_that_rounds_at_random(optimizer: str) -> None:
    assert broken_at(precision="bf16", optimizer=optimizer) == "precision"
    assert TrainingConfig(precision="bf16", optimizer="adamw-8bit").precision == "bf16"


def test_only_finetuning_may_take_no_step() -> None:
    assert FinetuneConfig(max_steps=0).max_steps == 0
    with pytest.raises(ValidationError):
        PretrainConfig(max_steps=0)


def test_every_foreign_name_leads_to_a_key_that_exists() -> None:
    assert set(TrainingConfig.foreign_names.values()) <= set(TrainingConfig.model_fields)
    assert not set(TrainingConfig.foreign_names) & set(TrainingConfig.model_fields)
