"""The config keys that pretraining and finetuning share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from pipeline.stage import Section, section_error

Positive = Annotated[int, Field(ge=1)]
Share = Annotated[float, Field(ge=0, lt=1)]
Rate = Annotated[float, Field(gt=0, lt=1)]
Precision = Literal["bf16-mixed", "bf16", "fp32"]
OptimizerName = Literal["muon", "adamw", "adamw-8bit", "adafactor"]


class TrainingConfig(Section):
    """`batch_size` counts the sequences of a micro-step; `auto` fits it to the memory and keeps `tokens_per_step`.

    `keep` says which weights are left at the end: those of the best validation loss, or the last. It is that of a step;
    under `ema` the better of its weights and their average.
    The defaults were chosen by experiment: docs/decisions.md.
    """

    precision: Literal["auto"] | Precision = "auto"
    compile: Literal["auto"] | bool = "auto"
    distributed: Literal["auto", "ddp", "fsdp"] = "auto"
    batch_size: Literal["auto"] | Positive = 16
    gradient_accumulation: Positive = 1
    tokens_per_step: Positive | None = None
    activation_checkpointing: Literal["auto"] | bool = "auto"
    max_steps: Positive = 1000

    optimizer: OptimizerName = "muon"
    schedule: Literal["cosine", "wsd"] = "wsd"
    learning_rate: Rate = 5e-3
    embedding_learning_rate: Rate | None = None
    min_lr: Annotated[float, Field(ge=0, lt=1)] = 0.0
    warmup_steps: Annotated[int, Field(ge=0)] = 20
    decay_fraction: Annotated[float, Field(gt=0, le=1)] = 1.0
    weight_decay: Annotated[float, Field(ge=0)] = 0.1
    momentum: Share = 0.9
    beta1: Share = 0.9
    beta2: Share = 0.95
    ema: Share = 0.0
    grad_clip: Annotated[float, Field(ge=0)] = 1.0

    eval_every: Positive = 250
    keep: Literal["best", "last"] = "best"
    sample_prompts: Annotated[tuple[str, ...], Field(strict=False)] = ()
    sample_tokens: Positive = 64
    checkpoint_every_minutes: Annotated[float, Field(gt=0)] = 10.0
    checkpoint_every_steps: Annotated[int, Field(ge=0)] = 0
    keep_checkpoints: Annotated[int, Field(ge=2)] = 2

    foreign_names: ClassVar[Mapping[str, str]] = {
        "lr": "learning_rate",
        "embedding_lr": "embedding_learning_rate",
        "max_iters": "max_steps",
        "num_train_steps": "max_steps",
        "num_iterations": "max_steps",
        "warmup_iters": "warmup_steps",
        "num_warmup_steps": "warmup_steps",
        "eval_interval": "eval_every",
        "gradient_accumulation_steps": "gradient_accumulation",
        "micro_batch_size": "batch_size",
        "per_device_train_batch_size": "batch_size",
        "device_batch_size": "batch_size",
        "total_batch_size": "tokens_per_step",
        "max_grad_norm": "grad_clip",
        "min_learning_rate": "min_lr",
        "dtype": "precision",
        "optim": "optimizer",
        "lr_scheduler_type": "schedule",
        "gradient_checkpointing": "activation_checkpointing",
        "save_steps": "checkpoint_every_steps",
        "save_total_limit": "keep_checkpoints",
    }

    by_optimizer: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        name: {"learning_rate": 1e-3, "warmup_steps": 100} for name in ("adamw", "adamw-8bit", "adafactor")
    }

    @model_validator(mode="before")
    @classmethod
    def _suit_the_optimizer(cls, given: Any) -> Any:
        """What is not stated follows from the optimizer."""
        if not isinstance(given, dict):
            return given
        return {**cls.by_optimizer.get(str(given.get("optimizer")), {}), **given}

    @model_validator(mode="after")
    def _rates_fit(self) -> Self:
        if self.min_lr > self.learning_rate:
            raise section_error("min_lr", f"{self.min_lr:g} is above learning_rate {self.learning_rate:g}")
        return self

    @model_validator(mode="after")
    def _batch_fits(self) -> Self:
        automatic = self.batch_size == "auto"
        if automatic and self.tokens_per_step is None:
            raise section_error("batch_size", "auto needs tokens_per_step, which says how much a step learns from")
        if automatic and self.gradient_accumulation != 1:
            raise section_error("gradient_accumulation", "follows from tokens_per_step where batch_size is auto")
        if not automatic and self.tokens_per_step is not None:
            raise section_error(
                "tokens_per_step", "is for batch_size: auto; else batch_size × gradient_accumulation sequences are it"
            )
        return self

    @model_validator(mode="after")
    def _updates_arrive(self) -> Self:
        if self.precision == "bf16" and self.optimizer != "adamw-8bit":
            raise section_error(
                "precision",
                f"bf16 weights would lose most updates of {self.optimizer}; adamw-8bit rounds them at random, and "
                "bf16-mixed keeps fp32 weights",
            )
        return self

    @property
    def embedding_scale(self) -> float:
        """The embedding's learning rate over that of the rest: under muon four times, unless stated."""
        if self.embedding_learning_rate is None:
            return 4.0 if self.optimizer == "muon" else 1.0
        return self.embedding_learning_rate / self.learning_rate

    def sequences_per_step(self, context_length: int) -> int:
        """How many sequences a step learns from, whatever the micro-batches and processes they are cut into."""
        if self.batch_size == "auto":
            assert self.tokens_per_step is not None
            return max(round(self.tokens_per_step / context_length), 1)
        return self.batch_size * self.gradient_accumulation
