"""The config keys that pretraining and finetuning share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from pipeline.stage import Section, section_error

Positive = Annotated[int, Field(ge=1)]


class TrainingConfig(Section):
    """`batch_size` counts sequences per micro-step; `auto` precision is bf16-mixed where the device is fast at it."""

    precision: Literal["auto", "bf16-mixed", "fp32"] = "auto"
    compile: bool = False
    batch_size: Positive = 16
    gradient_accumulation: Positive = 1
    max_steps: Positive = 1000
    learning_rate: Annotated[float, Field(gt=0, lt=1)] = 6e-4
    min_lr: Annotated[float, Field(ge=0, lt=1)] = 6e-5
    warmup_steps: Annotated[int, Field(ge=0)] = 100
    weight_decay: Annotated[float, Field(ge=0)] = 0.1
    beta1: Annotated[float, Field(ge=0, lt=1)] = 0.9
    beta2: Annotated[float, Field(ge=0, lt=1)] = 0.95
    grad_clip: Annotated[float, Field(gt=0)] = 1.0
    eval_every: Positive = 250
    checkpoint_every_minutes: Annotated[float, Field(gt=0)] = 10.0

    foreign_names: ClassVar[Mapping[str, str]] = {
        "lr": "learning_rate",
        "max_iters": "max_steps",
        "num_train_steps": "max_steps",
        "warmup_iters": "warmup_steps",
        "num_warmup_steps": "warmup_steps",
        "eval_interval": "eval_every",
        "gradient_accumulation_steps": "gradient_accumulation",
        "micro_batch_size": "batch_size",
        "per_device_train_batch_size": "batch_size",
        "max_grad_norm": "grad_clip",
        "min_learning_rate": "min_lr",
        "dtype": "precision",
    }

    @model_validator(mode="after")
    def _rates_fit(self) -> Self:
        if self.min_lr > self.learning_rate:
            raise section_error("min_lr", f"{self.min_lr:g} is above learning_rate {self.learning_rate:g}")
        return self
