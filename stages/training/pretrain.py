"""Train a new model on the training texts."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated

from pydantic import Field

from pipeline.stage import Context, Metrics, Section, Stage
from stages.training.settings import TrainingConfig
from stages.training.shape import ModelConfig


class PretrainConfig(TrainingConfig):
    """Pretraining on texts; `validation_tokens` bounds the validation text that is scored."""

    validation_tokens: Annotated[int, Field(ge=1)] = 100_000


def run(context: Context) -> Metrics:
    import torch

    from stages.training import loop
    from stages.training.data import TextBatches
    from stages.training.model import make_model

    config, shape = context.section(PretrainConfig), context.section(ModelConfig)
    batches = TextBatches(
        context.inputs["tokenize"],
        batch_size=int(config.batch_size),
        seed=context.seed,
        validation_tokens=config.validation_tokens,
    )
    torch.manual_seed(context.seed)
    model = make_model(shape, batches.meta.vocab_size, batches.meta.context_length)
    epochs = batches.epochs(config.max_steps * config.gradient_accumulation)
    context.say(f"{shape.parameters(model.vocab_size) / 1e6:.1f} M parameters, {epochs:.1f} epochs")
    metrics = loop.train(context, model, batches, config)
    side = batches.meta.sides["val"]
    bits = metrics["val_loss"] / math.log(2) * side["tokens"] / side["bytes"]
    unigram = batches.unigram_loss()
    context.say(
        f"validation loss {metrics['val_loss']:.3f}, by frequency alone {unigram:.3f}; {bits:.3f} bits per byte"
    )
    return {
        **metrics,
        "unigram_loss": round(unigram, 6),
        "bits_per_byte": round(bits, 4),
        "epochs": round(epochs, 3),
    }


def estimate(sections: Mapping[str, Section]) -> list[str]:
    """Parameters and memory by part, for `plan`."""
    from stages.training.memory import describe

    shape, config = sections["model"], sections["pretrain"]
    assert isinstance(shape, ModelConfig) and isinstance(config, PretrainConfig)
    vocab_size = sections["tokenizer"].model_dump()["vocab_size"]
    context_length = sections["tokenize"].model_dump()["context_length"]
    return describe(shape, config, vocab_size, context_length)


STAGE = Stage(
    name="pretrain",
    version=1,
    module=__name__,
    run=run,
    sections={"model": ModelConfig, "pretrain": PretrainConfig},
    needs=("tokenize",),
    seeded=True,
    resumable=True,
    estimate=estimate,
)
