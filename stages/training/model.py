"""The network: a Llama-style decoder with RMSNorm, rotary positions, grouped-query attention and SwiGLU."""

from __future__ import annotations

import json
import math
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipeline.store import write_atomic
from stages.training.shape import ModelConfig

WEIGHTS, SHAPE = "model.safetensors", "model.json"


class Llama(nn.Module):
    """A decoder of Llama's architecture (Touvron et al. 2023, arXiv 2302.13971; GQA: Ainslie et al. 2023, 2305.13245).

    Q, K and V are one matrix and so are gate and up: fewer, larger multiplications. `convert` splits them.
    """

    def __init__(self, config: ModelConfig, vocab_size: int, context_length: int) -> None:
        super().__init__()
        self.config, self.vocab_size, self.context_length = config, vocab_size, context_length
        self.embedding = nn.Embedding(vocab_size, config.d_model)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.n_layers))
        self.norm = RMSNorm(config.d_model, config.norm_eps)
        self.output = nn.Linear(config.d_model, vocab_size, bias=False)
        if config.tie_embeddings:
            self.output.weight = self.embedding.weight
        self.dropout = nn.Dropout(config.dropout)
        self.cos: Tensor
        self.sin: Tensor
        cos, sin = rotary_tables(config.head_dim, context_length, config.rope_theta)
        self.register_buffer("cos", cos, persistent=False)
        self.register_buffer("sin", sin, persistent=False)
        self._initialise()

    def _initialise(self) -> None:
        """N(0, 0.02); matrices that write to the residual stream are scaled by 1/√(2·n_layers) (GPT-2)."""
        for name, parameter in self.named_parameters():
            if parameter.dim() < 2:
                continue
            residual = name.endswith(("attention.output.weight", "feed_forward.down.weight"))
            std = 0.02 / math.sqrt(2 * self.config.n_layers) if residual else 0.02
            nn.init.normal_(parameter, mean=0.0, std=std)

    def forward(self, tokens: Tensor) -> Tensor:
        """Logits (batch, time, vocab_size) for token ids (batch, time); time is at most `context_length`."""
        length = tokens.shape[1]
        x = self.dropout(self.embedding(tokens))
        cos, sin = self.cos[:length], self.sin[:length]
        for block in self.blocks:
            x = block(x, cos, sin)
        logits: Tensor = self.output(self.norm(x))
        return logits


class Block(nn.Module):
    """Pre-norm attention and feed-forward, each added to the residual stream."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.attention_norm = RMSNorm(config.d_model, config.norm_eps)
        self.attention = Attention(config)
        self.feed_forward_norm = RMSNorm(config.d_model, config.norm_eps)
        self.feed_forward = FeedForward(config)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        """(batch, time, d_model) to the same."""
        x = x + self.dropout(self.attention(self.attention_norm(x), cos, sin))
        output: Tensor = x + self.dropout(self.feed_forward(self.feed_forward_norm(x)))
        return output


class Attention(nn.Module):
    """Causal self-attention; groups of query heads share a key and a value head."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.n_heads, self.n_kv_heads, self.head_dim = config.n_heads, config.n_kv_heads, config.head_dim
        self.attention_dropout = config.dropout
        rows = (config.n_heads + 2 * config.n_kv_heads) * config.head_dim
        self.qkv = nn.Linear(config.d_model, rows, bias=False)
        self.output = nn.Linear(config.n_heads * config.head_dim, config.d_model, bias=False)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        """(batch, time, d_model) to the same."""
        batch, time, _ = x.shape
        heads = self.qkv(x).view(batch, time, -1, self.head_dim).transpose(1, 2)
        q, k, v = heads.split([self.n_heads, self.n_kv_heads, self.n_kv_heads], dim=1)
        q, k = rotate(q, cos, sin), rotate(k, cos, sin)
        if self.n_kv_heads != self.n_heads:
            k, v = (t.repeat_interleave(self.n_heads // self.n_kv_heads, dim=1) for t in (k, v))
        dropout = self.attention_dropout if self.training else 0.0
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True, dropout_p=dropout)
        output: Tensor = self.output(mixed.transpose(1, 2).reshape(batch, time, -1))
        return output


class FeedForward(nn.Module):
    """SwiGLU (Shazeer 2020, arXiv 2002.05202): down(silu(gate(x)) · up(x))."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.gate_up = nn.Linear(config.d_model, 2 * config.d_ff, bias=False)
        self.down = nn.Linear(config.d_ff, config.d_model, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, time, d_model) to the same."""
        gate, up = self.gate_up(x).chunk(2, dim=-1)
        output: Tensor = self.down(F.silu(gate) * up)
        return output


class RMSNorm(nn.Module):
    """x / √(mean(x²) + eps) · weight over the last dimension (Zhang & Sennrich 2019, arXiv 1910.07467)."""

    def __init__(self, size: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        """(…, size) to the same."""
        return F.rms_norm(x, (x.shape[-1],), self.weight, self.eps)


def rotary_tables(head_dim: int, length: int, theta: float) -> tuple[Tensor, Tensor]:
    """cos and sin, (length, head_dim) each, of RoPE's angles t·theta^(−2i/head_dim) (Su et al. 2021, arXiv 2104.09864).

    The frequencies are laid out twice in a row, as HuggingFace's Llama pairs value i with value i + head_dim/2.
    """
    frequencies = theta ** -(torch.arange(0, head_dim, 2, dtype=torch.float32) / head_dim)
    angles = torch.outer(torch.arange(length, dtype=torch.float32), frequencies)
    angles = torch.cat([angles, angles], dim=-1)
    return angles.cos(), angles.sin()


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turn (batch, heads, time, head_dim) by the angles of each position, in float32."""
    first, second = x.float().chunk(2, dim=-1)
    turned = torch.cat([-second, first], dim=-1)
    return (x.float() * cos + turned * sin).to(x.dtype)


def save_model(folder: Path, model: Llama) -> None:
    """Write `model.safetensors` and the shape that it fits, `model.json`, each in one rename."""
    from safetensors.torch import save_file

    temporary = folder / f".{WEIGHTS}"
    save_file(weights(model), temporary)
    temporary.replace(folder / WEIGHTS)
    shape = {
        "model": model.config.model_dump(mode="json"),
        "vocab_size": model.vocab_size,
        "context_length": model.context_length,
    }
    write_atomic(folder / SHAPE, json.dumps(shape, indent=1).encode())


def load_model(folder: Path) -> Llama:
    """The model that `save_model` wrote, in evaluation mode. Raises ValueError where shape and weights differ."""
    told = json.loads((folder / SHAPE).read_bytes())
    config = ModelConfig.model_validate_json(json.dumps(told["model"]))
    model = Llama(config, told["vocab_size"], told["context_length"])
    load_weights(model, folder / WEIGHTS)
    return model.eval()


def load_weights(model: Llama, path: Path) -> None:
    """Fill a model from a safetensors file. Raises ValueError where names or shapes differ."""
    from safetensors.torch import load_file

    tensors = load_file(path)
    if model.config.tie_embeddings:
        tensors["output.weight"] = tensors["embedding.weight"]
    try:
        model.load_state_dict(tensors, strict=True)
    except RuntimeError as error:
        raise ValueError(f"{path} does not fit the model: {error}") from error


def weights(model: Llama) -> dict[str, Tensor]:
    """The weights by name, contiguous and on the CPU, a tied embedding once: what is saved."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    if model.config.tie_embeddings:
        del tensors["output.weight"]
    return tensors
