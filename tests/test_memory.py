"""The memory estimate against bytes that torch really holds."""

from __future__ import annotations

from contextlib import nullcontext

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from stages.training.memory import describe, parts
from stages.training.networks.llama import Llama
from stages.training.optim import make_optimizer
from stages.training.settings import TrainingConfig
from stages.training.shape import ModelConfig

SHAPES = [
    ModelConfig(d_model=128, n_layers=4, n_heads=4, n_kv_heads=2, d_ff=384),
    ModelConfig(d_model=192, n_layers=3, n_heads=4, n_kv_heads=4, d_ff=512, tie_embeddings=False),
]
VOCAB_SIZE, CONTEXT = 64, 128


@pytest.mark.parametrize("shape", SHAPES)
def test_weights_gradients_and_optimizer_take_the_bytes_that_are_told(shape: ModelConfig) -> None:
    model = Llama(shape, VOCAB_SIZE, CONTEXT)
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer = make_optimizer(model, learning_rate=1e-3, weight_decay=0.1, betas=(0.9, 0.95))
    optimizer.step()
    told = parts(shape, TrainingConfig(), VOCAB_SIZE, CONTEXT)
    assert told["weights"] == sum(parameter.nbytes for parameter in model.parameters())
    assert told["gradients"] == sum(
        parameter.grad.nbytes for parameter in model.parameters() if parameter.grad is not None
    )
    states = [tensor for values in optimizer.state.values() for name, tensor in values.items() if name != "step"]
    assert told["optimizer"] == sum(tensor.nbytes for tensor in states)


def held_for_backward(model: Llama, config: TrainingConfig) -> int:
    """Bytes of different memory that autograd keeps between the passes, weights aside."""
    own = {tensor.untyped_storage().data_ptr() for tensor in (*model.parameters(), *model.buffers())}
    kept: dict[int, Tensor] = {}

    def keep(tensor: Tensor) -> Tensor:
        address = tensor.untyped_storage().data_ptr()
        if address not in own:
            kept[address] = tensor
        return tensor

    tokens = torch.zeros((config.batch_size, CONTEXT), dtype=torch.long)
    half = torch.autocast("cpu", dtype=torch.bfloat16) if config.precision == "bf16-mixed" else nullcontext()
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        with half:
            logits = model(tokens)
        F.cross_entropy(logits.float().flatten(0, 1), tokens.flatten())
    return sum(tensor.untyped_storage().nbytes() for tensor in kept.values())


@pytest.mark.parametrize("precision", ["fp32", "bf16-mixed"])
@pytest.mark.parametrize("shape", SHAPES)
def test_the_activations_are_within_a_quarter_of_what_autograd_keeps(shape: ModelConfig, precision: str) -> None:
    config = TrainingConfig(precision=precision, batch_size=4)  # type: ignore[arg-type]
    told = parts(shape, config, VOCAB_SIZE, CONTEXT)
    assert told["activations"] == pytest.approx(held_for_backward(Llama(shape, VOCAB_SIZE, CONTEXT), config), rel=0.25)


def test_the_parts_grow_with_what_they_depend_on() -> None:
    shape, config = SHAPES[0], TrainingConfig(batch_size=4, gradient_accumulation=3)
    told = parts(shape, config, 1000, 128)
    twice = parts(shape, TrainingConfig(batch_size=8), 1000, 128)
    assert [twice[name] / told[name] for name in told] == [1, 1, 1, 2, 2]  # accumulation takes no memory
    assert told["logits"] == 10 * 4 * 128 * 1000


def test_the_estimate_is_told_in_words() -> None:
    """SmolLM2-135M with batches of 8 · 2048 tokens, four of them a step."""
    shape = ModelConfig(d_model=576, n_layers=30, n_heads=9, n_kv_heads=3, d_ff=1536)
    config = TrainingConfig(batch_size=8, gradient_accumulation=4, max_steps=20_000)
    first, second = describe(shape, config, 49_152, 2048)
    assert first == "134.5 M parameters, 65,536 tokens per step, 20,000 steps"
    assert second.startswith("memory about 23.6 GB: ")
    for part in ("weights 538.1 MB", "gradients 538.1 MB", "optimizer 1.1 GB", "activations 13.4 GB", "logits 8.1 GB"):
        assert part in second
