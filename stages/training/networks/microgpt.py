"""microgpt: the smallest decoder that still is one, without biases, without weights in its norms."""

from __future__ import annotations

from itertools import repeat

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stages.training.networks.kv_cache import Cache, Layer
from stages.training.networks.layers import attention, rotate
from stages.training.networks.network import Network, causal_mask, places
from stages.training.shape import ModelConfig


class MicroGPT(Network):
    """The decoder of Karpathy's microgpt (2026), as one computes it with matrices; `tests/reference/` has the scalars.

    Tokens and positions are added and normed, each block attends and feeds forward, and the logits come straight from
    the last residual stream. With `positions: rope` queries and keys are turned instead of positions added.
    """

    def __init__(self, config: ModelConfig, vocab_size: int, context_length: int) -> None:
        super().__init__(config, vocab_size, context_length)
        learned = config.positions == "learned"
        self.positions = nn.Embedding(context_length, config.d_model) if learned else None
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.n_layers))
        self.draw_weights(residual=("attention.output.weight", "feed_forward.down.weight"), scaled=False)

    def hidden(self, tokens: Tensor, documents: Tensor | None = None, cache: Cache | None = None) -> Tensor:
        mask = None if documents is None else causal_mask(documents)
        x: Tensor = self.embedding(tokens)
        if self.positions is not None:
            time = torch.arange(tokens.shape[1], device=tokens.device) if cache is None else cache.positions
            x = x + self.positions(time if documents is None else places(documents))
        x = norm(x, self.config.norm_eps)
        for block, kept in zip(self.blocks, cache or repeat(None)):  # noqa: B905 (there is always one more None)
            x = block(x, mask, kept)
        return x

    def row_parts(self, name: str) -> tuple[int, ...]:
        return (self.config.d_model,) * 3 if name.endswith("attention.qkv.weight") else ()


class Block(nn.Module):
    """Pre-norm attention and feed-forward, each added to the residual stream."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.attention = Attention(config)
        self.feed_forward = FeedForward(config)
        self.eps = config.norm_eps

    def forward(self, x: Tensor, mask: Tensor | None, kept: Layer | None = None) -> Tensor:
        """(batch, time, d_model) to the same; `mask` says who sees whom, None: everything before, and what is kept."""
        x = x + self.attention(norm(x, self.eps), mask, kept)
        output: Tensor = x + self.feed_forward(norm(x, self.eps))
        return output


class Attention(nn.Module):
    """Causal self-attention with a key and a value head for each query head, all three in one matrix."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.n_heads = config.n_heads
        self.theta = config.rope_theta if config.positions == "rope" else None
        self.qkv = nn.Linear(config.d_model, 3 * config.d_model, bias=False)
        self.output = nn.Linear(config.d_model, config.d_model, bias=False)

    def forward(self, x: Tensor, mask: Tensor | None, kept: Layer | None = None) -> Tensor:
        """(batch, time, d_model) to the same."""
        q, k, v = self.qkv(x).unflatten(-1, (3, self.n_heads, -1)).unbind(2)
        if self.theta is not None:
            places = None if kept is None else kept.cache.positions
            q, k = turned(q, self.theta, places), turned(k, self.theta, places)
        q = q * q.shape[-1] ** -0.5
        mixed = attention(q, k, v, mask) if kept is None else kept.attend(q, k, v)
        output: Tensor = self.output(mixed.flatten(2))
        return output


class FeedForward(nn.Module):
    """down(relu(up(x))), or down(relu(up(x))²) (So et al. 2021, Primer, arXiv 2109.08668)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.up = nn.Linear(config.d_model, config.d_ff, bias=False)
        self.down = nn.Linear(config.d_ff, config.d_model, bias=False)
        self.squared = config.activation == "relu2"

    def forward(self, x: Tensor) -> Tensor:
        """(batch, time, d_model) to the same."""
        up = F.relu(self.up(x))
        output: Tensor = self.down(up.square() if self.squared else up)
        return output


def norm(x: Tensor, eps: float) -> Tensor:
    """x / √(mean(x²) + eps) over the last dimension: RMSNorm (Zhang & Sennrich 2019, 1910.07467) without a weight."""
    return F.rms_norm(x, (x.shape[-1],), None, eps)


def turned(x: Tensor, theta: float, positions: Tensor | None = None) -> Tensor:
    """Rotary positions (Su et al. 2021, arXiv 2104.09864) for (batch, time, heads, head_dim), exact in float64.

    The `positions` (batch, time) are from 0 on by default.
    """
    dtype, half = torch.promote_types(x.dtype, torch.float32), x.shape[-1] // 2
    time, index = (torch.arange(count, dtype=torch.float64, device=x.device) for count in (x.shape[1], half))
    angles = (time if positions is None else positions)[..., None] * theta ** -(index / half)
    return rotate(x, angles.cos().to(dtype), angles.sin().to(dtype))
