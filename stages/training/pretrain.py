"""Train a model on the training texts: a new one, or one that somebody else began."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from pipeline.console import count
from pipeline.stage import Context, Metrics, Section, Stage
from stages.training.sample import speaker
from stages.training.settings import TrainingConfig
from stages.training.shape import ModelConfig


class PretrainConfig(TrainingConfig):
    """Pretraining on texts; `validation_tokens` bounds the validation text that is scored."""

    packing: Literal["stream", "documents", "single"] = "stream"
    validation_tokens: Annotated[int, Field(ge=1)] = 100_000


def run(context: Context) -> Metrics:
    import torch

    from stages.training import loop
    from stages.training.data import TextBatches
    from stages.training.model import start_model

    config, shape = context.section(PretrainConfig), context.section(ModelConfig)
    batches = TextBatches(
        context.inputs["tokenize"],
        seed=context.seed,
        validation_tokens=config.validation_tokens,
        packing=config.packing,
    )
    torch.manual_seed(context.seed)
    network = start_model(shape, batches.meta.vocab_size, batches.meta.context_length, context.base)
    epochs = batches.epochs(config.max_steps * config.sequences_per_step(network.context_length))
    parameters = sum(parameter.numel() for parameter in network.parameters())
    context.say(f"{count(parameters)} parameters, {epochs:.{1 if epochs >= 1 else 2}f} epochs")
    speak = None
    if config.sample_prompts:
        folder, tokens = context.inputs["tokenizer"], config.sample_tokens
        speak = speaker(folder, config.sample_prompts, chat=False, max_tokens=tokens, seed=context.seed)
    side = batches.meta.sides["val"]
    bytes_per_token = side["bytes"] / side["tokens"]
    metrics = loop.train(context, network, batches, config, bytes_per_token=bytes_per_token, speak=speak)
    bits = metrics["val_loss"] / math.log(2) / bytes_per_token
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


def spared(sections: Mapping[str, Section]) -> frozenset[str]:
    """Without prompts to go on from nobody reads the tokenizer."""
    config = sections["pretrain"]
    assert isinstance(config, PretrainConfig)
    return frozenset() if config.sample_prompts else frozenset({"tokenizer"})


def fingerprint(sections: Mapping[str, Section], base: Path) -> Any:
    """Name, size and time of change of each file to start from, where it lies in a folder; the hub is not asked."""
    shape = sections["model"]
    assert isinstance(shape, ModelConfig)
    folder = base / Path(shape.init_from).expanduser()
    if not shape.init_from or not folder.is_dir():
        return None
    files = sorted([*folder.glob("*.safetensors"), *folder.glob("config.json")])
    return [[path.name, path.stat().st_size, path.stat().st_mtime_ns] for path in files]


def estimate(sections: Mapping[str, Section]) -> list[str]:
    """Parameters and memory by part, for `plan`."""
    from stages.training.memory import describe

    shape, config = sections["model"], sections["pretrain"]
    assert isinstance(shape, ModelConfig) and isinstance(config, PretrainConfig)
    tokenizer = sections["tokenizer"].model_dump()
    context_length = sections["tokenize"].model_dump()["context_length"]
    lines = describe(shape, config, tokenizer["vocab_size"], context_length)
    if shape.init_from:
        lines.append(f"weights, shape and size are those of {shape.init_from}")
    if shape.init_from and tokenizer["init_from"] != shape.init_from:
        lines.append("warning: its pieces mean something else to another tokenizer; set tokenizer.init_from as well")
    return lines


STAGE = Stage(
    name="pretrain",
    version=2,
    module=__name__,
    run=run,
    sections={"model": ModelConfig, "pretrain": PretrainConfig},
    needs=("tokenize", "tokenizer"),
    spared=spared,
    fingerprint=fingerprint,
    seeded=True,
    resumable=True,
    parallel=True,
    command="pipeline sample",
    estimate=estimate,
)
