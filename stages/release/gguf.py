"""From a Hugging Face directory of a Llama model to one GGUF file that llama.cpp and Ollama read.

Keys and tensor names follow the GGUF specification (github.com/ggml-org/ggml, docs/gguf.md). Written are the
keys that llama.cpp insists on and those that it would silently replace by a default wrong for our models.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import StageError

if TYPE_CHECKING:
    from gguf import GGUFWriter

# What llama.cpp calls the kinds of token.
NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = range(1, 7)
END_OF_TURN = "<|im_end|>"
FIM = {"FIM_PRE_ID": "<fim_prefix>", "FIM_SUF_ID": "<fim_suffix>", "FIM_MID_ID": "<fim_middle>"}  # names in gguf.Keys


class ReleaseError(StageError):
    """A model cannot be released as asked; the message names the file and what is wrong with it."""


@dataclass(frozen=True)
class Dataset:
    """A source of the training data, as the model file names it."""

    name: str
    url: str = ""
    description: str = ""


@dataclass(frozen=True)
class GgufMetadata:
    """What the file says about the model apart from its numbers; empty values are left out."""

    name: str
    license: str = ""  # an SPDX expression
    description: str = ""
    author: str = ""
    version: str = ""
    url: str = ""  # of the model's own page
    source_url: str = ""  # of what it was made with
    tags: tuple[str, ...] = ()
    languages: tuple[str, ...] = ()
    datasets: tuple[Dataset, ...] = ()


@dataclass(frozen=True)
class LlamaShape:
    """The numbers of a Llama model that a GGUF states."""

    vocab_size: int
    d_model: int
    n_layers: int
    n_heads: int
    n_kv_heads: int
    head_dim: int
    d_ff: int
    context_length: int
    rms_norm_eps: float
    rope_theta: float
    tied: bool


@dataclass(frozen=True)
class _Tensor:
    source: str
    shape: tuple[int, ...]
    heads: int = 0  # heads whose rows change from halves to pairs; 0: rows stay


@dataclass(frozen=True)
class _Vocabulary:
    pieces: list[str]
    scores: list[float]
    kinds: list[int]
    ids: dict[str, int]  # bos, eos, unk, pad: those that there are
    space_prefix: bool


def read_config(huggingface: Path) -> LlamaShape:
    """The shape in `config.json` of transformers 4 or 5. Raises ReleaseError for what is not plain Llama."""
    path = huggingface / "config.json"
    config = _read_json(path)
    architectures = config.get("architectures")
    if architectures != ["LlamaForCausalLM"]:
        raise ReleaseError(f"{path}: architectures {architectures}; only LlamaForCausalLM can be written")
    # transformers 5 keeps theta in rope_parameters; 4 has it at the top and scaling, if any, in rope_scaling.
    rope = config.get("rope_parameters") or config.get("rope_scaling") or {}
    plain = {
        "attention_bias": not config.get("attention_bias"),
        "mlp_bias": not config.get("mlp_bias"),
        "hidden_act": config.get("hidden_act", "silu") == "silu",
        "rope_type": rope.get("rope_type", rope.get("type", "default")) == "default",
        "partial_rotary_factor": rope.get("partial_rotary_factor", 1.0) == 1.0,
    }
    if unusual := [name for name, is_plain in plain.items() if not is_plain]:
        raise ReleaseError(f"{path}: values that cannot be written here: {', '.join(unusual)}")
    try:
        d_model, n_heads = int(config["hidden_size"]), int(config["num_attention_heads"])
        shape = LlamaShape(
            vocab_size=int(config["vocab_size"]),
            d_model=d_model,
            n_layers=int(config["num_hidden_layers"]),
            n_heads=n_heads,
            n_kv_heads=int(config.get("num_key_value_heads") or n_heads),
            head_dim=int(config.get("head_dim") or d_model // n_heads),
            d_ff=int(config["intermediate_size"]),
            context_length=int(config["max_position_embeddings"]),
            rms_norm_eps=float(config["rms_norm_eps"]),
            rope_theta=float(rope.get("rope_theta") or config.get("rope_theta") or 10000.0),
            tied=bool(config.get("tie_word_embeddings", False)),
        )
    except KeyError as missing:
        raise ReleaseError(f"{path}: {missing} is missing") from None
    if shape.head_dim % 2:
        raise ReleaseError(f"{path}: head_dim is {shape.head_dim}; rotary embeddings need an even number")
    return shape


def write_gguf(
    huggingface: Path, destination: Path, *, file_type: Literal["f32", "f16"], metadata: GgufMetadata
) -> None:
    """Write the model in `huggingface` to `destination`, matrices as `file_type`, vectors as float32.

    Reads config.json, model.safetensors (or its shards), the SentencePiece BPE tokenizer.model, and the chat
    template if there is one. One tensor at a time is in memory. The file appears whole or not at all. Raises
    ReleaseError for anything that llama.cpp would refuse or, worse, accept and compute wrongly.
    """
    from gguf import GGUFWriter

    shape = read_config(huggingface)
    vocabulary = _read_vocabulary(huggingface / "tokenizer.model")
    if (count := len(vocabulary.pieces)) != shape.vocab_size:
        raise ReleaseError(f"{huggingface}: {count} tokens in tokenizer.model, vocab_size {shape.vocab_size}")
    weights = _Weights(huggingface)
    layout = _layout(shape)
    weights.check(layout, tied=shape.tied)
    with replacing(destination) as partial:
        writer = GGUFWriter(partial, "llama")
        try:
            _add_metadata(writer, metadata, sum(math.prod(tensor.shape) for tensor in layout.values()))
            _add_shape(writer, shape, file_type)
            _add_vocabulary(writer, vocabulary, _read_chat_template(huggingface))
            for name, tensor in layout.items():
                dtype = _stored(tensor, file_type)
                writer.add_tensor_info(name, tensor.shape, dtype, math.prod(tensor.shape) * dtype.itemsize)
            start_tensors(writer)
            for tensor in layout.values():
                writer.write_tensor_data(_converted(weights, tensor, _stored(tensor, file_type)))
        finally:
            writer.close()


@contextmanager
def replacing(destination: Path) -> Iterator[Path]:
    """A temporary name beside `destination`: takes its place if the block succeeds, goes if it fails."""
    partial = destination.with_name(f".{destination.name}.partial")
    try:
        yield partial
        partial.replace(destination)
    finally:
        partial.unlink(missing_ok=True)


def start_tensors(writer: GGUFWriter) -> None:
    """Write all that comes before the tensors' data."""
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()


def pair_rows(weight: NDArray[np.float32], heads: int) -> NDArray[np.float32]:
    """Reorder the rows (heads x head_dim) of a Q or K projection for llama.cpp.

    Rotary embedding turns the plane of two rows of a head: Hugging Face pairs row i with i + head_dim / 2,
    llama.cpp's llama architecture (like RoFormer, arXiv:2104.09864) row 2i with 2i + 1.
    """
    rows, columns = weight.shape
    return weight.reshape(heads, 2, rows // heads // 2, columns).swapaxes(1, 2).reshape(rows, columns)


def _layout(shape: LlamaShape) -> dict[str, _Tensor]:
    d_model, d_ff = shape.d_model, shape.d_ff
    q_rows, kv_rows = shape.n_heads * shape.head_dim, shape.n_kv_heads * shape.head_dim
    layout = {"token_embd.weight": _Tensor("model.embed_tokens.weight", (shape.vocab_size, d_model))}
    for layer in range(shape.n_layers):
        block = {
            "attn_norm": _Tensor("input_layernorm", (d_model,)),
            "attn_q": _Tensor("self_attn.q_proj", (q_rows, d_model), shape.n_heads),
            "attn_k": _Tensor("self_attn.k_proj", (kv_rows, d_model), shape.n_kv_heads),
            "attn_v": _Tensor("self_attn.v_proj", (kv_rows, d_model)),
            "attn_output": _Tensor("self_attn.o_proj", (d_model, q_rows)),
            "ffn_norm": _Tensor("post_attention_layernorm", (d_model,)),
            "ffn_gate": _Tensor("mlp.gate_proj", (d_ff, d_model)),
            "ffn_up": _Tensor("mlp.up_proj", (d_ff, d_model)),
            "ffn_down": _Tensor("mlp.down_proj", (d_model, d_ff)),
        }
        for name, tensor in block.items():
            source = f"model.layers.{layer}.{tensor.source}.weight"
            layout[f"blk.{layer}.{name}.weight"] = replace(tensor, source=source)
    layout["output_norm.weight"] = _Tensor("model.norm.weight", (d_model,))
    if not shape.tied:
        layout["output.weight"] = _Tensor("lm_head.weight", (shape.vocab_size, d_model))
    return layout


class _Weights:
    """The tensors of a Hugging Face directory, read one at a time."""

    def __init__(self, folder: Path) -> None:
        from safetensors import safe_open

        index = folder / "model.safetensors.index.json"
        names = set(_read_json(index)["weight_map"].values()) if index.exists() else {"model.safetensors"}
        self.folder = folder
        self.file: dict[str, Path] = {}
        self.shape: dict[str, tuple[int, ...]] = {}
        self.dtype: dict[str, str] = {}
        for path in (folder / name for name in sorted(names)):
            if not path.is_file():
                raise ReleaseError(f"{path}: no such file")
            with safe_open(path, framework="np") as tensors:
                for name in tensors.keys():  # noqa: SIM118 (not a mapping)
                    view = tensors.get_slice(name)
                    self.file[name] = path
                    self.shape[name] = tuple(view.get_shape())
                    self.dtype[name] = view.get_dtype()

    def check(self, layout: Mapping[str, _Tensor], *, tied: bool) -> None:
        """Raise ReleaseError unless there is exactly what `layout` needs, in its shapes."""
        wanted = {tensor.source: tensor.shape for tensor in layout.values()}
        if missing := sorted(wanted.keys() - self.shape.keys()):
            raise ReleaseError(f"{self.folder}: tensors are missing: {', '.join(missing)}")
        for name, shape in wanted.items():
            if (found := self.shape[name]) != shape:
                raise ReleaseError(f"{self.folder}: {name} has shape {found}, by config.json it is {shape}")
        extra = self.shape.keys() - wanted.keys()
        if tied and "lm_head.weight" in extra:
            if not np.array_equal(self.read("lm_head.weight"), self.read("model.embed_tokens.weight")):
                raise ReleaseError(f"{self.folder}: lm_head.weight is not the embedding, as config.json says")
            extra -= {"lm_head.weight"}
        if extra:
            raise ReleaseError(f"{self.folder}: llama.cpp would refuse tensors {', '.join(sorted(extra))}")

    def read(self, name: str) -> NDArray[np.float32]:
        """One tensor as float32. Raises ReleaseError for NaN or infinite values."""
        from safetensors import safe_open

        if self.dtype[name] == "BF16":  # numpy has no such type, so torch widens it
            with safe_open(self.file[name], framework="pt") as tensors:
                values = tensors.get_tensor(name).float().numpy()
        else:
            with safe_open(self.file[name], framework="np") as tensors:
                values = tensors.get_tensor(name).astype(np.float32, copy=False)
        if not np.isfinite(values).all():
            raise ReleaseError(f"{self.file[name]}: {name} has values that are not finite")
        return np.asarray(values)


def _stored(tensor: _Tensor, file_type: Literal["f32", "f16"]) -> np.dtype[Any]:
    return np.dtype(np.float16 if file_type == "f16" and len(tensor.shape) > 1 else np.float32)


def _converted(weights: _Weights, tensor: _Tensor, dtype: np.dtype[Any]) -> NDArray[Any]:
    values = weights.read(tensor.source)
    if tensor.heads:
        values = pair_rows(values, tensor.heads)
    if dtype == np.float16 and np.abs(values).max() > np.finfo(np.float16).max:
        raise ReleaseError(f"{weights.folder}: {tensor.source} has values beyond float16; write f32 instead")
    return np.ascontiguousarray(values, dtype=dtype)


def _read_vocabulary(path: Path) -> _Vocabulary:
    import sentencepiece

    if not path.is_file():
        raise ReleaseError(f"{path}: missing; transformers does not write it, so copy it into the directory")
    try:
        model = sentencepiece.SentencePieceProcessor(model_file=str(path))
    except (OSError, RuntimeError) as error:
        raise ReleaseError(f"{path}: not a SentencePiece model: {error}") from None
    # llama.cpp does not normalise: it only puts a space in front, if told so, and turns spaces into U+2581.
    sample, spaced = " \ufb01  x\u3000\u00b2 ", "\u2581\ufb01\u2581\u2581x\u3000\u00b2\u2581"
    normalised = model.normalize(sample)
    if normalised not in (spaced, "\u2581" + spaced):
        raise ReleaseError(f"{path}: normalises {sample!r} to {normalised!r}, as llama.cpp would not")
    tokens = range(model.get_piece_size())
    kinds = [
        UNKNOWN
        if model.is_unknown(token)
        else CONTROL
        if model.is_control(token)
        else BYTE
        if model.is_byte(token)
        else UNUSED
        if model.is_unused(token)
        else NORMAL
        for token in tokens
    ]
    scores = [float(model.get_score(token)) for token in tokens]
    learned = [score for score, kind in zip(scores, kinds, strict=True) if kind == NORMAL]
    if learned != [-float(rank) for rank in range(len(learned))]:
        raise ReleaseError(f"{path}: not plain BPE; only that is split alike by llama.cpp")
    ids = {"bos": model.bos_id(), "eos": model.eos_id(), "unk": model.unk_id(), "pad": model.pad_id()}
    return _Vocabulary(
        pieces=[model.id_to_piece(token) for token in tokens],
        scores=scores,
        kinds=kinds,
        ids={name: token for name, token in ids.items() if token >= 0},
        space_prefix=normalised != spaced,
    )


def _read_chat_template(huggingface: Path) -> str:
    path = huggingface / "chat_template.jinja"
    if path.is_file():
        return path.read_text(encoding="utf-8")
    path = huggingface / "tokenizer_config.json"
    template = _read_json(path).get("chat_template", "") if path.is_file() else ""
    if isinstance(template, list):  # several by name
        template = next((entry["template"] for entry in template if entry["name"] == "default"), "")
    return str(template)


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ReleaseError(f"{path}: {error}") from None
    if not isinstance(content, dict):
        raise ReleaseError(f"{path}: not a JSON object")
    return content


def _add_metadata(writer: GGUFWriter, metadata: GgufMetadata, parameters: int) -> None:
    from gguf import size_label

    writer.add_type("model")
    writer.add_name(metadata.name)
    writer.add_size_label(size_label(parameters, 0, 0, 0))
    writer.add_license(metadata.license)
    writer.add_description(metadata.description)
    writer.add_author(metadata.author)
    writer.add_version(metadata.version)
    writer.add_url(metadata.url)
    writer.add_source_url(metadata.source_url)
    writer.add_tags(metadata.tags)
    writer.add_languages(metadata.languages)
    if metadata.datasets:
        writer.add_dataset_count(len(metadata.datasets))
    for place, dataset in enumerate(metadata.datasets):
        writer.add_dataset_name(place, dataset.name)
        writer.add_dataset_url(place, dataset.url)
        writer.add_dataset_description(place, dataset.description)


def _add_shape(writer: GGUFWriter, shape: LlamaShape, file_type: Literal["f32", "f16"]) -> None:
    from gguf import GGML_QUANT_VERSION, LlamaFileType

    writer.add_file_type(LlamaFileType.ALL_F32 if file_type == "f32" else LlamaFileType.MOSTLY_F16)
    writer.add_quantization_version(GGML_QUANT_VERSION)
    writer.add_vocab_size(shape.vocab_size)
    writer.add_context_length(shape.context_length)
    writer.add_embedding_length(shape.d_model)
    writer.add_block_count(shape.n_layers)
    writer.add_feed_forward_length(shape.d_ff)
    writer.add_head_count(shape.n_heads)
    writer.add_head_count_kv(shape.n_kv_heads)
    writer.add_key_length(shape.head_dim)
    writer.add_value_length(shape.head_dim)
    writer.add_rope_dimension_count(shape.head_dim)
    writer.add_rope_freq_base(shape.rope_theta)
    writer.add_layer_norm_rms_eps(shape.rms_norm_eps)


def _add_vocabulary(writer: GGUFWriter, vocabulary: _Vocabulary, chat_template: str) -> None:
    from gguf import Keys

    writer.add_tokenizer_model("llama")  # SentencePiece BPE; pre-tokenisers belong to "gpt2"
    writer.add_tokenizer_pre("default")
    writer.add_token_list(vocabulary.pieces)
    writer.add_token_scores(vocabulary.scores)
    writer.add_token_types(vocabulary.kinds)
    add_id = {
        "bos": writer.add_bos_token_id,
        "eos": writer.add_eos_token_id,
        "unk": writer.add_unk_token_id,
        "pad": writer.add_pad_token_id,
    }
    for name, token in vocabulary.ids.items():
        add_id[name](token)
    if END_OF_TURN in vocabulary.pieces:
        writer.add_eot_token_id(vocabulary.pieces.index(END_OF_TURN))
    for key, piece in FIM.items():
        if piece in vocabulary.pieces:
            writer.add_uint32(getattr(Keys.Tokenizer, key), vocabulary.pieces.index(piece))
    writer.add_add_space_prefix(vocabulary.space_prefix)
    writer.add_add_bos_token("bos" in vocabulary.ids)
    writer.add_add_eos_token(False)
    if chat_template:
        writer.add_chat_template(chat_template)
