"""The `model:` section: the shape of the network, and what follows from it by arithmetic."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from pipeline.stage import Section, section_error


class ModelConfig(Section):
    """Dimensions of a decoder. Rows that are multiples of 256 keep K-quants from falling back."""

    architecture: Literal["llama", "gpt2", "microgpt"] = "llama"
    init_from: str = ""
    d_model: Annotated[int, Field(ge=8)] = 512
    n_layers: Annotated[int, Field(ge=1)] = 8
    n_heads: Annotated[int, Field(ge=1)] = 8
    n_kv_heads: Annotated[int, Field(ge=1)] = 4
    d_ff: Annotated[int, Field(ge=8)] = 1536
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    rope_theta: Annotated[float, Field(gt=1)] = 10_000.0
    norm_eps: Annotated[float, Field(gt=0)] = 1e-5
    tie_embeddings: bool = True
    qk_norm: bool = False
    bias: bool = True
    positions: Literal["learned", "rope"] = "learned"
    activation: Literal["relu", "relu2"] = "relu"
    init_std: Annotated[float, Field(gt=0, lt=1)] = 0.02
    zero_init: bool = False

    foreign_names: ClassVar[Mapping[str, str]] = {
        "n_embd": "d_model",
        "hidden_size": "d_model",
        "dim": "d_model",
        "n_layer": "n_layers",
        "num_hidden_layers": "n_layers",
        "n_head": "n_heads",
        "num_attention_heads": "n_heads",
        "num_key_value_heads": "n_kv_heads",
        "n_kv_head": "n_kv_heads",
        "intermediate_size": "d_ff",
        "ffn_dim": "d_ff",
        "rms_norm_eps": "norm_eps",
        "tie_word_embeddings": "tie_embeddings",
    }

    @model_validator(mode="after")
    def _heads_fit(self) -> Self:
        if self.d_model % self.n_heads:
            even = 2 * self.n_heads  # a head has to be of even width
            below = self.d_model // even * even
            near = [width for width in (below, below + even) if width >= 8]
            raise section_error(
                "d_model",
                f"{self.d_model} is not divisible by n_heads {self.n_heads}; "
                f"nearest: {' or '.join(str(value) for value in near)}",
            )
        if self.head_dim % 2:
            raise section_error("n_heads", f"d_model / n_heads = {self.head_dim} is odd; RoPE turns pairs of values")
        if self.n_heads % self.n_kv_heads:
            raise section_error(
                "n_kv_heads", f"n_heads {self.n_heads} is not divisible by n_kv_heads {self.n_kv_heads}"
            )
        return self

    @property
    def head_dim(self) -> int:
        return self.d_model // self.n_heads

    def parameters(self, vocab_size: int) -> int:
        """The number of weights; a tied embedding counts once."""
        embedding = vocab_size * self.d_model
        attention = self.d_model * self.head_dim * 2 * (self.n_heads + self.n_kv_heads)
        layer = attention + 3 * self.d_model * self.d_ff + 2 * self.d_model
        return embedding * (1 if self.tie_embeddings else 2) + self.n_layers * layer + self.d_model
