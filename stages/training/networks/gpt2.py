"""GPT-2: a decoder with LayerNorm, learned positions, multi-head attention, GELU and biases."""

from __future__ import annotations

from itertools import repeat

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stages.training.networks.kv_cache import Cache, Layer
from stages.training.networks.layers import Dropout, attention
from stages.training.networks.network import Network, causal_mask, places
from stages.training.shape import ModelConfig


class GPT2(Network):
    """A decoder of GPT-2's architecture (Radford et al. 2019, Language Models are Unsupervised Multitask Learners).

    Without `bias` neither the matrices nor the norms have one.
    """

    def __init__(self, config: ModelConfig, vocab_size: int, context_length: int) -> None:
        super().__init__(config, vocab_size, context_length)
        self.positions = nn.Embedding(context_length, config.d_model)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.n_layers))
        self.norm = nn.LayerNorm(config.d_model, config.norm_eps, bias=config.bias)
        self.dropout = Dropout(config.dropout)
        self.draw_weights(residual=("attention.output.weight", "feed_forward.down.weight"))

    def hidden(self, tokens: Tensor, documents: Tensor | None = None, cache: Cache | None = None) -> Tensor:
        if cache is not None:
            mask, position = None, cache.positions
        elif documents is None:
            mask, position = None, torch.arange(tokens.shape[1], device=tokens.device)
        else:
            mask, position = causal_mask(documents), places(documents)
        x = self.dropout(self.embedding(tokens) + self.positions(position))
        for block, kept in zip(self.blocks, cache or repeat(None)):  # noqa: B905 (there is always one more None)
            x = block(x, mask, kept)
        normed: Tensor = self.norm(x)
        return normed

    def row_parts(self, name: str) -> tuple[int, ...]:
        return (self.config.d_model,) * 3 if name.endswith("attention.qkv.weight") else ()


class Block(nn.Module):
    """Pre-norm attention and feed-forward, each added to the residual stream."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(config.d_model, config.norm_eps, bias=config.bias)
        self.attention = Attention(config)
        self.feed_forward_norm = nn.LayerNorm(config.d_model, config.norm_eps, bias=config.bias)
        self.feed_forward = FeedForward(config)
        self.dropout = Dropout(config.dropout)

    def forward(self, x: Tensor, mask: Tensor | None, kept: Layer | None = None) -> Tensor:
        """(batch, time, d_model) to the same; `mask` says who sees whom, None: everything before, and what is kept."""
        x = x + self.dropout(self.attention(self.attention_norm(x), mask, kept))
        output: Tensor = x + self.dropout(self.feed_forward(self.feed_forward_norm(x)))
        return output


class Attention(nn.Module):
    """Causal self-attention with a key and a value head for each query head, all three in one matrix."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.n_heads, self.attention_dropout = config.n_heads, config.dropout
        self.qkv = nn.Linear(config.d_model, 3 * config.d_model, bias=config.bias)
        self.output = nn.Linear(config.d_model, config.d_model, bias=config.bias)

    def forward(self, x: Tensor, mask: Tensor | None, kept: Layer | None = None) -> Tensor:
        """(batch, time, d_model) to the same."""
        q, k, v = self.qkv(x).unflatten(-1, (3, self.n_heads, -1)).unbind(2)
        if self.attention_dropout and self.training:
            q, k, v = (heads.transpose(1, 2) for heads in (q, k, v))
            mixed = F.scaled_dot_product_attention(
                q, k, v, attn_mask=mask, dropout_p=self.attention_dropout, is_causal=mask is None
            ).transpose(1, 2)
        else:
            q = q * q.shape[-1] ** -0.5
            mixed = attention(q, k, v, mask) if kept is None else kept.attend(q, k, v)
        output: Tensor = self.output(mixed.flatten(2))
        return output


class FeedForward(nn.Module):
    """down(gelu(up(x))), with the tanh approximation of GELU (Hendrycks & Gimpel 2016, arXiv 1606.08415)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.up = nn.Linear(config.d_model, config.d_ff, bias=config.bias)
        self.down = nn.Linear(config.d_ff, config.d_model, bias=config.bias)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, time, d_model) to the same."""
        output: Tensor = self.down(F.gelu(self.up(x), approximate="tanh"))
        return output
