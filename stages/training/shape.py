"""The `model:` section: the shape of the network, and what follows from it by arithmetic."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from pipeline.stage import Section, section_error

Architecture = Literal["llama", "gpt2", "microgpt"]

# Llamas with heads 64 wide and every row a multiple of 256, which K-quants need. The name tells the number of weights
# with 8,192 pieces (nano: 4,096), one embedding.
PRESETS: Mapping[str, Mapping[str, int]] = {
    "nano-5m": {"d_model": 256, "n_layers": 5, "n_heads": 4, "n_kv_heads": 2, "d_ff": 768},
    "tiny-25m": {"d_model": 512, "n_layers": 8, "n_heads": 8, "n_kv_heads": 2, "d_ff": 1280},
    "small-50m": {"d_model": 768, "n_layers": 8, "n_heads": 12, "n_kv_heads": 3, "d_ff": 1792},
    "medium-80m": {"d_model": 768, "n_layers": 12, "n_heads": 12, "n_kv_heads": 3, "d_ff": 2048},
    "large-350m": {"d_model": 1024, "n_layers": 28, "n_heads": 16, "n_kv_heads": 4, "d_ff": 3072},
}

# What a key is where it is not stated.
DEFAULTS: Mapping[str, Mapping[str, Any]] = {
    "llama": {"positions": "rope", "activation": "swiglu", "bias": False},
    "gpt2": {"positions": "learned", "activation": "gelu", "bias": True},
    "microgpt": {
        "positions": "learned",
        "activation": "relu",
        "bias": False,
        "tie_embeddings": False,
        "init_std": 0.08,
    },
}

# The values that a key may have, and why no other.
ALLOWED: Mapping[str, Mapping[str, tuple[tuple[Any, ...], str]]] = {
    "llama": {
        "positions": (("rope",), "turns its queries and keys"),
        "activation": (("swiglu",), "has a SwiGLU"),
        "bias": ((False,), "has no biases"),
    },
    "gpt2": {
        "positions": (("learned",), "learns its positions"),
        "activation": (("gelu",), "has a GELU"),
        "qk_norm": ((False,), "norms no queries and keys"),
    },
    "microgpt": {
        "activation": (("relu", "relu2"), "has a ReLU, or its square"),
        "bias": ((False,), "has no biases"),
        "qk_norm": ((False,), "norms no queries and keys"),
        "dropout": ((0.0,), "drops nothing"),
    },
}


class ModelConfig(Section):
    """Dimensions of a decoder. What is not stated follows from the preset, the architecture, the width or the heads."""

    architecture: Architecture = "llama"
    preset: Literal["", "nano-5m", "tiny-25m", "small-50m", "medium-80m", "large-350m"] = ""
    init_from: str = ""
    d_model: Annotated[int, Field(ge=8)] = 512
    n_layers: Annotated[int, Field(ge=1)] = 8
    n_heads: Annotated[int, Field(ge=1)] = 8
    n_kv_heads: Annotated[int, Field(ge=1)] = 4
    head_dim: Annotated[int, Field(ge=1)] = 0
    d_ff: Annotated[int, Field(ge=8)] = 1536
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    rope_theta: Annotated[float, Field(gt=1)] = 10_000.0
    norm_eps: Annotated[float, Field(gt=0)] = 1e-5
    tie_embeddings: bool = True
    qk_norm: bool = False
    bias: bool = False
    positions: Literal["learned", "rope"] = "rope"
    activation: Literal["swiglu", "gelu", "relu", "relu2"] = "swiglu"
    init_std: Annotated[float, Field(gt=0, lt=1)] = 0.02
    zero_init: bool = False

    foreign_names: ClassVar[Mapping[str, str]] = {
        "model_type": "architecture",
        "n_embd": "d_model",
        "hidden_size": "d_model",
        "dim": "d_model",
        "embedding_dim": "d_model",
        "n_layer": "n_layers",
        "num_layers": "n_layers",
        "depth": "n_layers",
        "num_hidden_layers": "n_layers",
        "n_head": "n_heads",
        "num_heads": "n_heads",
        "num_attention_heads": "n_heads",
        "num_key_value_heads": "n_kv_heads",
        "n_kv_head": "n_kv_heads",
        "n_query_groups": "n_kv_heads",
        "head_size": "head_dim",
        "intermediate_size": "d_ff",
        "ffn_dim": "d_ff",
        "n_inner": "d_ff",
        "resid_pdrop": "dropout",
        "embd_pdrop": "dropout",
        "attn_pdrop": "dropout",
        "attention_dropout": "dropout",
        "rope_base": "rope_theta",
        "rms_norm_eps": "norm_eps",
        "layer_norm_epsilon": "norm_eps",
        "layer_norm_eps": "norm_eps",
        "norm_epsilon": "norm_eps",
        "tie_word_embeddings": "tie_embeddings",
        "tied_embeddings": "tie_embeddings",
        "weight_tying": "tie_embeddings",
        "use_qk_norm": "qk_norm",
        "norm_qk": "qk_norm",
        "use_bias": "bias",
        "attention_bias": "bias",
        "hidden_act": "activation",
        "activation_function": "activation",
        "initializer_range": "init_std",
        "block_size": "tokenize.context_length",
        "n_ctx": "tokenize.context_length",
        "n_positions": "tokenize.context_length",
        "max_position_embeddings": "tokenize.context_length",
        "max_seq_len": "tokenize.context_length",
        "sequence_length": "tokenize.context_length",
        "padded_vocab_size": "tokenizer.vocab_size",
    }

    @model_validator(mode="before")
    @classmethod
    def _fill_in(cls, stated: Any) -> Any:
        if not isinstance(stated, Mapping):
            return stated
        preset = PRESETS.get(str(stated.get("preset", "")), {})
        if preset and preset.keys() <= stated.keys() and any(stated[key] != value for key, value in preset.items()):
            raise section_error(
                "preset", f"gives {', '.join(preset)}, which are all stated here as well; leave out those it shall give"
            )
        architecture = str(stated.get("architecture", "llama"))
        values = {**DEFAULTS.get(architecture, {}), **preset, **stated}
        sizes = [values.get(key, cls.model_fields[key].default) for key in ("d_model", "n_heads")]
        if any(type(size) is not int or size < 1 for size in sizes):
            return values  # an error to be told of
        d_model, n_heads = sizes
        llama = architecture == "llama"
        values.setdefault("n_kv_heads", 4 if llama and n_heads % 4 == 0 else n_heads)
        values.setdefault("d_ff", (3 if llama else 4) * d_model)
        if d_model % n_heads == 0:
            values.setdefault("head_dim", d_model // n_heads)
        return values

    @model_validator(mode="after")
    def _heads_fit(self) -> Self:
        if not self.head_dim:
            even = 2 * self.n_heads  # a head has to be of even width
            below = self.d_model // even * even
            near = [width for width in (below, below + even) if width >= 8]
            raise section_error(
                "d_model",
                f"{self.d_model} is not divisible by n_heads {self.n_heads}; "
                f"nearest: {' or '.join(str(value) for value in near)}",
            )
        if self.positions == "rope" and self.head_dim % 2:
            raise section_error("n_heads", f"d_model / n_heads = {self.head_dim} is odd; RoPE turns pairs of values")
        if self.d_model % self.n_heads and not self.qk_norm:
            raise section_error(
                "d_model",
                f"{self.d_model} is not divisible by n_heads {self.n_heads}, which a Llama without qk_norm needs",
            )
        if self.n_heads % self.n_kv_heads:
            raise section_error(
                "n_kv_heads", f"n_heads {self.n_heads} is not divisible by n_kv_heads {self.n_kv_heads}"
            )
        return self

    @model_validator(mode="after")
    def _architecture_fits(self) -> Self:
        name = self.architecture
        if name != "llama" and self.preset:
            raise section_error("preset", f"{self.preset} is a Llama; state d_model, n_layers and n_heads for {name}")
        for key, (values, why) in ALLOWED[name].items():
            value = getattr(self, key)
            if value not in values:
                shown = str(value).lower()
                raise section_error(key, f"{shown} does not go with the architecture {name}, which {why}")
        if name != "llama" and self.n_kv_heads != self.n_heads:
            raise section_error(
                "n_kv_heads",
                f"{name} has a key head for each of its {self.n_heads} query heads; leave n_kv_heads out",
            )
        if name != "llama" and self.head_dim != self.d_model // self.n_heads:
            raise section_error("head_dim", f"{name} has heads of d_model / n_heads values; leave head_dim out")
        if self.positions != "rope" and self.rope_theta != type(self).model_fields["rope_theta"].default:
            raise section_error("rope_theta", "is of rotary positions, and these are learned; leave rope_theta out")
        if self.preset and self.init_from:
            raise section_error("preset", f"init_from {self.init_from} brings its own shape; leave preset out")
        return self

    @classmethod
    def replaced_by(cls, key: str, value: Any) -> frozenset[str]:
        return frozenset(PRESETS.get(str(value), ())) if key == "preset" else frozenset()

    def unstated(self, key: str) -> str:
        return f"preset {self.preset}" if key in PRESETS.get(self.preset, ()) else "default"

    def parameters(self, vocab_size: int, context_length: int = 0) -> int:
        """The number of weights; a tied embedding counts once, learned positions one row for each of the context."""
        d_model, query, keys = self.d_model, self.n_heads * self.head_dim, self.n_kv_heads * self.head_dim
        positions = context_length * d_model if self.positions == "learned" else 0
        norm = 0 if self.architecture == "microgpt" else d_model * (2 if self.bias else 1)
        attention = d_model * 2 * (query + keys) + (2 * self.head_dim if self.qk_norm else 0)
        feed_forward = d_model * self.d_ff * (3 if self.activation == "swiglu" else 2)
        biases = query + 2 * keys + d_model + self.d_ff + d_model if self.bias else 0
        layer = attention + feed_forward + biases + 2 * norm
        embeddings = vocab_size * d_model * (1 if self.tie_embeddings else 2)
        return embeddings + positions + self.n_layers * layer + norm
