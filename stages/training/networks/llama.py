"""Llama: a decoder with RMSNorm, rotary positions, grouped-query attention and SwiGLU."""

from __future__ import annotations

from itertools import repeat

from torch import Tensor, nn

from stages.training.networks.kv_cache import Cache, Layer
from stages.training.networks.layers import Dropout, RMSNorm, attention, rotary_tables, rotate, swiglu
from stages.training.networks.network import Network, causal_mask
from stages.training.shape import ModelConfig


class Llama(Network):
    """A decoder of Llama's architecture (Touvron et al. 2023, arXiv 2302.13971; GQA: Ainslie et al. 2023, 2305.13245).

    Q, K and V are one matrix and so are gate and up: fewer, larger multiplications. `convert` splits them. With
    `qk_norm` it is Qwen3's (Yang et al. 2025, arXiv 2505.09388): the vector of each query and key head is normed.
    """

    def __init__(self, config: ModelConfig, vocab_size: int, context_length: int) -> None:
        super().__init__(config, vocab_size, context_length)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.n_layers))
        self.norm = RMSNorm(config.d_model, config.norm_eps)
        self.dropout = Dropout(config.dropout)
        self.cos: Tensor
        self.sin: Tensor
        cos, sin = rotary_tables(config.head_dim, context_length, config.rope_theta)
        self.register_buffer("cos", cos, persistent=False)
        self.register_buffer("sin", sin, persistent=False)
        self.draw_weights(residual=("attention.output.weight", "feed_forward.down.weight"))

    def hidden(self, tokens: Tensor, documents: Tensor | None = None, cache: Cache | None = None) -> Tensor:
        mask = None if documents is None else causal_mask(documents)
        x = self.dropout(self.embedding(tokens))
        places = slice(tokens.shape[1]) if cache is None else cache.positions
        cos, sin = self.cos[places], self.sin[places]
        for block, kept in zip(self.blocks, cache or repeat(None)):  # noqa: B905 (there is always one more None)
            x = block(x, cos, sin, mask, kept)
        normed: Tensor = self.norm(x)
        return normed

    def row_parts(self, name: str) -> tuple[int, ...]:
        shape = self.config
        if name.endswith("attention.qkv.weight"):
            return tuple(heads * shape.head_dim for heads in (shape.n_heads, shape.n_kv_heads, shape.n_kv_heads))
        if name.endswith("feed_forward.gate_up.weight"):
            return shape.d_ff, shape.d_ff
        return ()


class Block(nn.Module):
    """Pre-norm attention and feed-forward, each added to the residual stream, after dropout."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.attention_norm = RMSNorm(config.d_model, config.norm_eps)
        self.attention = Attention(config)
        self.feed_forward_norm = RMSNorm(config.d_model, config.norm_eps)
        self.feed_forward = FeedForward(config)
        self.dropout = Dropout(config.dropout)

    def forward(
        self, x: Tensor, cos: Tensor, sin: Tensor, mask: Tensor | None = None, kept: Layer | None = None
    ) -> Tensor:
        """(batch, time, d_model) to the same; `mask` says who sees whom, None: everything before, and what is kept."""
        x = x + self.dropout(self.attention(self.attention_norm(x), cos, sin, mask, kept))
        output: Tensor = x + self.dropout(self.feed_forward(self.feed_forward_norm(x)))
        return output


class Attention(nn.Module):
    """Causal self-attention; groups of query heads share a key and a value head."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.heads, self.head_dim = (config.n_heads, config.n_kv_heads, config.n_kv_heads), config.head_dim
        self.qkv = nn.Linear(config.d_model, sum(self.heads) * config.head_dim, bias=False)
        self.output = nn.Linear(config.n_heads * config.head_dim, config.d_model, bias=False)
        self.q_norm = RMSNorm(config.head_dim, config.norm_eps) if config.qk_norm else nn.Identity()
        self.k_norm = RMSNorm(config.head_dim, config.norm_eps) if config.qk_norm else nn.Identity()

    def forward(
        self, x: Tensor, cos: Tensor, sin: Tensor, mask: Tensor | None = None, kept: Layer | None = None
    ) -> Tensor:
        """(batch, time, d_model) to the same."""
        q, k, v = self.qkv(x).unflatten(-1, (-1, self.head_dim)).split(self.heads, dim=2)
        scale = self.head_dim**-0.5  # of the scores; here it costs no pass over them
        q, k = rotate(self.q_norm(q), cos * scale, sin * scale), rotate(self.k_norm(k), cos, sin)
        mixed = attention(q, k, v, mask) if kept is None else kept.attend(q, k, v)
        output: Tensor = self.output(mixed.flatten(2))
        return output


class FeedForward(nn.Module):
    """SwiGLU (Shazeer 2020, arXiv 2002.05202): down(silu(gate(x)) · up(x))."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.gate_up = nn.Linear(config.d_model, 2 * config.d_ff, bias=False)
        self.down = nn.Linear(config.d_ff, config.d_model, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, time, d_model) to the same."""
        output: Tensor = self.down(swiglu(self.gate_up(x)))
        return output
