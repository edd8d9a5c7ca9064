"""Cross-entropy over a vocabulary, a few rows at a time: the logits never exist whole."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from stages.training.networks.network import Network

IGNORED = -100
CPU_ROWS, CUDA_LOGITS = 512, 2**25  # of a chunk: what runs fastest, what keeps a card busy within 0.3 GB


def chunk_loss(logits: Tensor, targets: Tensor, with_gradient: bool) -> tuple[Tensor, Tensor]:
    """The summed loss of some rows, and its gradient with respect to their logits (empty if not wanted)."""
    wide = logits.to(torch.promote_types(logits.dtype, torch.float32))
    log_probabilities = F.log_softmax(wide, dim=-1)
    loss = F.nll_loss(log_probabilities, targets, reduction="sum", ignore_index=IGNORED)
    if not with_gradient:
        return loss, logits.new_empty(0)
    counted = (targets != IGNORED).unsqueeze(1)
    gradient = log_probabilities.exp_().mul_(counted)
    gradient.scatter_add_(1, targets.clamp_min(0).unsqueeze(1), -counted.to(gradient.dtype))
    return loss, gradient.to(logits.dtype)


ChunkLoss = Callable[[Tensor, Tensor, bool], tuple[Tensor, Tensor]]


def cross_entropy_sum(network: Network, hidden: Tensor, targets: Tensor, *, chunk: ChunkLoss = chunk_loss) -> Tensor:
    """Cross-entropy in nats, summed over the targets that are not -100, of the output matrix applied to `hidden`.

    `hidden` is (batch, time, d_model), `targets` (batch, time); the sum is float32 (float64 for float64 weights). Under
    autocast the matrix products are in its type; probabilities and sums are at least float32. `chunk` may be a
    compiled `chunk_loss`.
    """
    weight = network.output.weight
    kind = hidden.device.type
    dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else weight.dtype
    learning = torch.is_grad_enabled()
    total: Tensor = _ChunkedCrossEntropy.apply(  # type: ignore[no-untyped-call]
        hidden.flatten(0, -2), weight, targets.flatten(), dtype, chunk, learning
    )
    return total


class _ChunkedCrossEntropy(torch.autograd.Function):
    """The gradients of a chunk are computed while its logits are in the cache; backward only scales them."""

    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, weight: Tensor, targets: Tensor, dtype: torch.dtype, chunk: ChunkLoss, learning: bool
    ) -> Tensor:
        wide = torch.promote_types(dtype, torch.float32)
        matrix, rows = weight.to(dtype), hidden.to(dtype)
        to_hidden, to_weight = (learning and needed for needed in ctx.needs_input_grad[:2])
        hidden_grad = torch.empty_like(rows) if to_hidden else None
        weight_grad = torch.zeros_like(weight, dtype=wide) if to_weight else None
        total = torch.zeros((), dtype=wide, device=hidden.device)
        size = CPU_ROWS if hidden.device.type == "cpu" else max(CUDA_LOGITS // weight.shape[0], 256)
        with torch.autocast(hidden.device.type, enabled=False):
            for first in range(0, rows.shape[0], size):
                part = rows[first : first + size]
                loss, logits_grad = chunk(part @ matrix.t(), targets[first : first + size], to_hidden or to_weight)
                total += loss
                if hidden_grad is not None:
                    torch.mm(logits_grad, matrix, out=hidden_grad[first : first + size])
                if weight_grad is not None:
                    weight_grad += logits_grad.t() @ part
        ctx.hidden_type, ctx.weight_type = hidden.dtype, weight.dtype
        ctx.save_for_backward(hidden_grad, weight_grad)
        return total

    @staticmethod
    def backward(ctx: Any, scale: Tensor) -> tuple[Tensor | None, ...]:
        hidden_grad, weight_grad = ctx.saved_tensors
        return (
            None if hidden_grad is None else (hidden_grad * scale).to(ctx.hidden_type),
            None if weight_grad is None else (weight_grad * scale).to(ctx.weight_type),
            None,
            None,
            None,
            None,
        )
