"""How much memory training takes, by part."""

from __future__ import annotations

from pipeline.console import size
from stages.training.settings import TrainingConfig
from stages.training.shape import ModelConfig

ADAMW_BYTES = {"weights": 4, "gradients": 4, "optimizer": 8}


def parts(shape: ModelConfig, config: TrainingConfig, vocab_size: int, context_length: int) -> dict[str, float]:
    """Bytes at the peak of a step, by part, for fp32 master weights with AdamW.

    Activations are those of an uncompiled step with fused attention: per layer and token 5·d_model for norms and
    residuals, the attention's inputs and outputs, and 3·d_ff, in 2 bytes under bf16-mixed, with 1.45 for what eager
    mode keeps besides. Not yet measured on a GPU. Logits are kept whole, with their gradient.
    """
    parameters = shape.parameters(vocab_size)
    tokens = int(config.batch_size) * context_length
    width = 4 if config.precision == "fp32" else 2
    attention = 2 * (1 + 2 * shape.n_kv_heads / shape.n_heads) * shape.d_model
    layer = 5 * shape.d_model + attention + 3 * shape.d_ff
    return {
        **{name: float(count * parameters) for name, count in ADAMW_BYTES.items()},
        "activations": 1.45 * shape.n_layers * width * tokens * layer,
        "logits": 10.0 * tokens * vocab_size,
    }


def describe(shape: ModelConfig, config: TrainingConfig, vocab_size: int, context_length: int) -> list[str]:
    """The parts as lines for people."""
    sizes = parts(shape, config, vocab_size, context_length)
    listed = ", ".join(f"{name} {size(value)}" for name, value in sizes.items())
    tokens = config.sequences_per_step(context_length) * context_length
    millions = shape.parameters(vocab_size) / 1e6
    return [
        f"{millions:.1f} M parameters, {tokens:,} tokens per step, {config.max_steps:,} steps",
        f"memory about {size(sum(sizes.values()))}: {listed}",
    ]
