"""The architectures that a GGUF can hold: what `config.json` says of each, and which tensor goes where.

Names of keys and tensors are llama.cpp's (github.com/ggml-org/llama.cpp, gguf-py/gguf/constants.py).
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from stages.release.errors import ReleaseError
from stages.release.folder import read_json

if TYPE_CHECKING:
    from gguf import GGUFWriter

Config = Mapping[str, Any]
POSITIONS = "position_embd.weight"  # a table of vectors to be added: llama.cpp keeps it in float32 in every file


@dataclass(frozen=True)
class Shape:
    """The numbers of a model that a GGUF states."""

    architecture: str  # llama.cpp's name
    vocab_size: int
    d_model: int
    n_layers: int
    n_heads: int
    n_kv_heads: int
    head_dim: int
    d_ff: int
    context_length: int
    norm_eps: float
    rope_theta: float | None  # None: learned positions
    tied: bool


@dataclass(frozen=True)
class Tensor:
    """Where a tensor of the file comes from."""

    source: str
    shape: tuple[int, ...]  # in the file: (rows, columns) or (size,)
    heads: int = 0  # heads whose rows change from halves to pairs; 0: rows stay
    transposed: bool = False  # the source has the columns first

    @property
    def source_shape(self) -> tuple[int, ...]:
        return self.shape[::-1] if self.transposed else self.shape

    def arranged(self, values: NDArray[np.float32]) -> NDArray[np.float32]:
        """The source's values in the order of the file."""
        values = values.T if self.transposed else values
        return pair_rows(values, self.heads) if self.heads else values


def read_config(huggingface: Path) -> Shape:
    """The shape in `config.json` of transformers 4 or 5. Raises ReleaseError for what cannot be written."""
    path = huggingface / "config.json"
    config = read_json(path)
    architectures = config.get("architectures")
    read = _READERS.get(architectures[0]) if isinstance(architectures, list) and len(architectures) == 1 else None
    if read is None:
        raise ReleaseError(f"{path}: architectures {architectures}; only {', '.join(_READERS)} can be written")
    try:
        shape = read(config)
    except KeyError as missing:
        raise ReleaseError(f"{path}: {missing} is missing") from None
    except ReleaseError as error:
        raise ReleaseError(f"{path}: {error}") from None
    except (TypeError, ValueError, AttributeError, ZeroDivisionError, OverflowError) as error:
        raise ReleaseError(f"{path}: some value is not what it should be: {error}") from None
    sizes = {name: value for name, value in vars(shape).items() if type(value) in (int, float)}
    if wrong := [name for name, value in sizes.items() if not 0 < value < math.inf]:
        raise ReleaseError(f"{path}: {', '.join(wrong)} must be positive")
    if shape.n_heads % shape.n_kv_heads:
        raise ReleaseError(f"{path}: {shape.n_heads} heads cannot share {shape.n_kv_heads} key heads")
    if shape.rope_theta is not None and shape.head_dim % 2:
        raise ReleaseError(f"{path}: head_dim is {shape.head_dim}; rotary embeddings need an even number")
    return shape


def tensors(shape: Shape) -> dict[str, Tensor]:
    """The tensors of the file in their order, {name: where it comes from}."""
    found = _gpt2_tensors(shape) if shape.architecture == "gpt2" else _llama_tensors(shape)
    return {name: found[name] for name in sorted(found, key=file_order)}


def file_order(name: str) -> tuple[int, str]:
    """Where llama-quantize puts a tensor: those of no layer first, all by name."""
    layer = re.match(r"blk\.(\d+)\.", name)
    return int(layer[1]) if layer else -1, name


def add_shape(writer: GGUFWriter, shape: Shape) -> None:
    """Write the keys that say how to compute with the tensors."""
    writer.add_vocab_size(shape.vocab_size)
    writer.add_context_length(shape.context_length)
    writer.add_embedding_length(shape.d_model)
    writer.add_block_count(shape.n_layers)
    writer.add_feed_forward_length(shape.d_ff)
    writer.add_head_count(shape.n_heads)
    if shape.rope_theta is None:
        writer.add_layer_norm_eps(shape.norm_eps)
        return
    writer.add_head_count_kv(shape.n_kv_heads)
    writer.add_key_length(shape.head_dim)
    writer.add_value_length(shape.head_dim)
    writer.add_rope_dimension_count(shape.head_dim)
    writer.add_rope_freq_base(shape.rope_theta)
    writer.add_layer_norm_rms_eps(shape.norm_eps)


def pair_rows(weight: NDArray[np.float32], heads: int) -> NDArray[np.float32]:
    """Reorder the rows (heads x head_dim) of a Q or K projection for llama.cpp.

    Rotary embedding turns the plane of two rows of a head: Hugging Face pairs row i with i + head_dim / 2,
    llama.cpp's llama architecture (like RoFormer, arXiv:2104.09864) row 2i with 2i + 1, its qwen3 as Hugging Face.
    """
    rows, columns = weight.shape
    return weight.reshape(heads, 2, rows // heads // 2, columns).swapaxes(1, 2).reshape(rows, columns)


def _read_llama(config: Config) -> Shape:
    d_model, n_heads = int(config["hidden_size"]), int(config["num_attention_heads"])
    return _read_rotary(config, "llama", head_dim=int(config.get("head_dim") or d_model // n_heads))


def _read_qwen3(config: Config) -> Shape:
    kinds = config.get("layer_types") or ["full_attention"]
    _refuse(use_sliding_window=config.get("use_sliding_window", False), layer_types=set(kinds) != {"full_attention"})
    return _read_rotary(config, "qwen3", head_dim=int(config["head_dim"]))


def _read_rotary(config: Config, architecture: str, *, head_dim: int) -> Shape:
    # transformers 5 keeps theta in rope_parameters; 4 has it at the top and scaling, if any, in rope_scaling.
    rope = config.get("rope_parameters") or config.get("rope_scaling") or {}
    _refuse(
        attention_bias=config.get("attention_bias"),
        mlp_bias=config.get("mlp_bias"),
        hidden_act=config.get("hidden_act", "silu") != "silu",
        rope_type=rope.get("rope_type", rope.get("type", "default")) != "default",
        partial_rotary_factor=rope.get("partial_rotary_factor", 1.0) != 1.0,
    )
    n_heads = int(config["num_attention_heads"])
    return Shape(
        architecture=architecture,
        vocab_size=int(config["vocab_size"]),
        d_model=int(config["hidden_size"]),
        n_layers=int(config["num_hidden_layers"]),
        n_heads=n_heads,
        n_kv_heads=int(config.get("num_key_value_heads") or n_heads),
        head_dim=head_dim,
        d_ff=int(config["intermediate_size"]),
        context_length=int(config["max_position_embeddings"]),
        norm_eps=float(config["rms_norm_eps"]),
        rope_theta=float(rope.get("rope_theta") or config.get("rope_theta") or 10000.0),
        tied=bool(config.get("tie_word_embeddings", False)),
    )


def _read_gpt2(config: Config) -> Shape:
    _refuse(
        activation_function=config.get("activation_function", "gelu_new") not in ("gelu_new", "gelu_pytorch_tanh"),
        scale_attn_weights=not config.get("scale_attn_weights", True),
        scale_attn_by_inverse_layer_idx=config.get("scale_attn_by_inverse_layer_idx"),
        add_cross_attention=config.get("add_cross_attention"),
    )
    d_model, n_heads = int(config["n_embd"]), int(config["n_head"])
    return Shape(
        architecture="gpt2",
        vocab_size=int(config["vocab_size"]),
        d_model=d_model,
        n_layers=int(config["n_layer"]),
        n_heads=n_heads,
        n_kv_heads=n_heads,
        head_dim=d_model // n_heads,
        d_ff=int(config.get("n_inner") or 4 * d_model),
        context_length=int(config["n_positions"]),
        norm_eps=float(config["layer_norm_epsilon"]),
        rope_theta=None,
        tied=bool(config.get("tie_word_embeddings", True)),
    )


_READERS: Mapping[str, Callable[[Config], Shape]] = {
    "LlamaForCausalLM": _read_llama,
    "Qwen3ForCausalLM": _read_qwen3,
    "GPT2LMHeadModel": _read_gpt2,
}


def _refuse(**unusual: Any) -> None:
    if found := [name for name, value in unusual.items() if value]:
        raise ReleaseError(f"values that cannot be written here: {', '.join(found)}")


def _llama_tensors(shape: Shape) -> dict[str, Tensor]:
    d_model, d_ff = shape.d_model, shape.d_ff
    q_rows, kv_rows = shape.n_heads * shape.head_dim, shape.n_kv_heads * shape.head_dim
    in_pairs = shape.architecture == "llama"
    block = {
        "attn_norm": Tensor("input_layernorm", (d_model,)),
        "attn_q": Tensor("self_attn.q_proj", (q_rows, d_model), shape.n_heads if in_pairs else 0),
        "attn_k": Tensor("self_attn.k_proj", (kv_rows, d_model), shape.n_kv_heads if in_pairs else 0),
        "attn_v": Tensor("self_attn.v_proj", (kv_rows, d_model)),
        "attn_output": Tensor("self_attn.o_proj", (d_model, q_rows)),
        "ffn_norm": Tensor("post_attention_layernorm", (d_model,)),
        "ffn_gate": Tensor("mlp.gate_proj", (d_ff, d_model)),
        "ffn_up": Tensor("mlp.up_proj", (d_ff, d_model)),
        "ffn_down": Tensor("mlp.down_proj", (d_model, d_ff)),
    }
    if shape.architecture == "qwen3":
        block["attn_q_norm"] = Tensor("self_attn.q_norm", (shape.head_dim,))
        block["attn_k_norm"] = Tensor("self_attn.k_norm", (shape.head_dim,))
    layout = {"token_embd.weight": Tensor("model.embed_tokens.weight", (shape.vocab_size, d_model))}
    for layer in range(shape.n_layers):
        for name, tensor in block.items():
            source = f"model.layers.{layer}.{tensor.source}.weight"
            layout[f"blk.{layer}.{name}.weight"] = replace(tensor, source=source)
    layout["output_norm.weight"] = Tensor("model.norm.weight", (d_model,))
    return layout | _output(shape)


def _gpt2_tensors(shape: Shape) -> dict[str, Tensor]:
    d_model, d_ff = shape.d_model, shape.d_ff
    block = {  # GPT-2's "Conv1D" keeps matrices with the inputs as rows
        "attn_norm": Tensor("ln_1", (d_model,)),
        "attn_qkv": Tensor("attn.c_attn", (3 * d_model, d_model), transposed=True),
        "attn_output": Tensor("attn.c_proj", (d_model, d_model), transposed=True),
        "ffn_norm": Tensor("ln_2", (d_model,)),
        "ffn_up": Tensor("mlp.c_fc", (d_ff, d_model), transposed=True),
        "ffn_down": Tensor("mlp.c_proj", (d_model, d_ff), transposed=True),
    }
    layout = {
        "token_embd.weight": Tensor("transformer.wte.weight", (shape.vocab_size, d_model)),
        POSITIONS: Tensor("transformer.wpe.weight", (shape.context_length, d_model)),
    }
    for layer in range(shape.n_layers):
        for name, tensor in block.items():
            ours, theirs = f"blk.{layer}.{name}", f"transformer.h.{layer}.{tensor.source}"
            layout[f"{ours}.weight"] = replace(tensor, source=f"{theirs}.weight")
            layout[f"{ours}.bias"] = Tensor(f"{theirs}.bias", tensor.shape[:1])
    for kind in ("weight", "bias"):
        layout[f"output_norm.{kind}"] = Tensor(f"transformer.ln_f.{kind}", (d_model,))
    return layout | _output(shape)


def _output(shape: Shape) -> dict[str, Tensor]:
    return {} if shape.tied else {"output.weight": Tensor("lm_head.weight", (shape.vocab_size, shape.d_model))}
