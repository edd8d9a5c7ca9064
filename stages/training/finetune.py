"""Teach the pretrained model to answer: conversations in the chat format, with the loss on the answers alone."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from pipeline import launch
from pipeline.stage import Context, Metrics, Section, Stage
from stages.training.sample import speaker
from stages.training.settings import OptimizerName, TrainingConfig


class FinetuneConfig(TrainingConfig):
    """Finetuning on instruction pairs; `max_steps: 0` passes the pretrained model on as it is."""

    max_steps: Annotated[int, Field(ge=0)] = 800
    optimizer: OptimizerName = "adamw"
    schedule: Literal["cosine", "wsd"] = "cosine"
    learning_rate: Annotated[float, Field(gt=0, lt=1)] = 5e-5
    min_lr: Annotated[float, Field(ge=0, lt=1)] = 5e-6
    warmup_steps: Annotated[int, Field(ge=0)] = 20
    by_optimizer: ClassVar[Mapping[str, Mapping[str, Any]]] = {}


def run(context: Context) -> Metrics:
    import torch

    from stages.training import loop
    from stages.training.data import PairBatches, read_meta
    from stages.training.model import SHAPE, WEIGHTS, load_model

    config = context.section(FinetuneConfig)
    meta = read_meta(context.inputs["tokenize"])
    sequences = config.sequences_per_step(meta.context_length)
    batches = PairBatches(context.inputs["tokenize"], seed=context.seed, sequences_per_step=sequences)
    if not batches.train or not config.max_steps:
        context.say("no instruction pairs: the pretrained model is passed on" if config.max_steps else "max_steps is 0")
        for name in (SHAPE, WEIGHTS) if launch.rank() == 0 else ():
            shutil.copyfile(context.inputs["pretrain"] / name, context.out / name)
        return {"steps": 0}
    model = load_model(context.inputs["pretrain"])
    torch.manual_seed(context.seed)
    epochs = batches.epochs(config.max_steps * sequences)
    context.say(f"{len(batches.train)} conversations, {epochs:.1f} epochs")
    speak = None
    if config.sample_prompts:
        speak = speaker(
            context.inputs["tokenizer"],
            config.sample_prompts,
            chat=True,
            max_tokens=config.sample_tokens,
            seed=context.seed,
            system=meta.system,
        )
    metrics = loop.train(context, model, batches, config, speak=speak)
    measured = "validation loss" if batches.val else "no conversation is held back; training loss"
    context.say(f"{measured} {metrics['val_loss']:.3f} on the answers, perplexity {metrics['perplexity']:.2f}")
    return {**metrics, "epochs": round(epochs, 3)}


def spared(sections: Mapping[str, Section]) -> frozenset[str]:
    """Without prompts to answer nobody reads the tokenizer."""
    config = sections["finetune"]
    assert isinstance(config, FinetuneConfig)
    return frozenset() if config.sample_prompts else frozenset({"tokenizer"})


STAGE = Stage(
    name="finetune",
    version=2,
    module=__name__,
    run=run,
    sections={"finetune": FinetuneConfig},
    needs=("pretrain", "tokenize", "tokenizer"),
    spared=spared,
    seeded=True,
    resumable=True,
    parallel=True,
    command="pipeline sample",
)
