"""From a Hugging Face directory to one GGUF file that llama.cpp and Ollama read.

Keys and tensor names follow the GGUF specification (github.com/ggml-org/ggml, docs/gguf.md). Written are the
keys that llama.cpp insists on and those that it would silently replace by a default wrong for our models.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from stages.release.architectures import POSITIONS, Tensor, add_shape, read_config, tensors
from stages.release.errors import ReleaseError
from stages.release.folder import Weights, replacing
from stages.release.vocabulary import add_vocabulary, read_chat_template, read_vocabulary

if TYPE_CHECKING:
    from gguf import GGMLQuantizationType, GGUFWriter

# What the files of an architecture (of all: "") say otherwise than llama.cpp's own converter would
# (benchmarks/converter.py prints each).
DIFFERENCES = (
    ("", "general.* tell the name, licence, description and sources of this release, not the folder's name"),
    ("", "tokenizer.ggml.eot_token_id and fim_…_token_id are stated, so that no runtime has to guess them"),
    ("qwen3", "vocab_size, add_space_prefix and rope.dimension_count are stated"),
    ("gpt2", "vocab_size and add_space_prefix are stated"),
    ("", "add_sep_token is false"),
    ("gpt2", "a SentencePiece vocabulary, if it has one, keeps its scores and token types"),
)
FileType = Literal["f32", "f16", "bf16"]
LARGEST = {"F16": ("float16", 65504.0), "BF16": ("bfloat16", 3.3895313892515355e38)}
BLOCK = 2**22  # values that are rounded at a time: what is needed besides a tensor stays small


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


def write_gguf(huggingface: Path, destination: Path, *, file_type: FileType, metadata: GgufMetadata) -> None:
    """Write the model in `huggingface` to `destination`, matrices as `file_type`, vectors and positions as float32.

    Reads config.json, model.safetensors (or its shards), the tokenizer (tokenizer.model of SentencePiece BPE, or
    tokenizer.json of byte-level BPE), and the chat template if there is one. One tensor at a time is in memory. The
    file appears whole or not at all. Raises ReleaseError for anything that llama.cpp would refuse or, worse, accept
    and compute wrongly.
    """
    from gguf import GGUFWriter

    shape = read_config(huggingface)
    vocabulary = read_vocabulary(huggingface)
    if (count := len(vocabulary.pieces)) != shape.vocab_size:
        raise ReleaseError(f"{huggingface}: {count} tokens in the tokenizer, vocab_size {shape.vocab_size}")
    weights = Weights(huggingface)
    layout = tensors(shape)
    _check(weights, layout, tied=shape.tied)
    counts = {name: math.prod(tensor.shape) for name, tensor in layout.items()}
    stored = {name: _stored(name, tensor, file_type) for name, tensor in layout.items()}
    needed = {name: counts[name] * (4 if kind.name == "F32" else 2) for name, kind in stored.items()}
    with replacing(destination, sum(needed.values())) as partial:
        writer = GGUFWriter(partial, shape.architecture)
        try:
            _add_metadata(writer, metadata, sum(counts.values()))
            add_shape(writer, shape)
            add_vocabulary(writer, vocabulary, read_chat_template(huggingface))
            _add_file_type(writer, file_type)
            for name, tensor in layout.items():
                writer.add_tensor_info(name, tensor.shape, np.dtype(np.float32), needed[name], stored[name])
            start_tensors(writer)
            for name, tensor in layout.items():
                writer.write_tensor_data(_converted(weights, tensor, stored[name]))
        finally:
            writer.close()


def start_tensors(writer: GGUFWriter) -> None:
    """Write all that comes before the tensors' data."""
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()


def _check(weights: Weights, layout: Mapping[str, Tensor], *, tied: bool) -> None:
    """Raise ReleaseError unless there is exactly what `layout` needs, in its shapes."""
    folder, wanted = weights.folder, {tensor.source: tensor.source_shape for tensor in layout.values()}
    if missing := sorted(wanted.keys() - weights.shape.keys()):
        raise ReleaseError(f"{folder}: tensors are missing: {', '.join(missing)}")
    for name, shape in wanted.items():
        if (found := weights.shape[name]) != shape:
            raise ReleaseError(f"{folder}: {name} has shape {found}, by config.json it is {shape}")
    extra = weights.shape.keys() - wanted.keys()
    if tied and "lm_head.weight" in extra:
        if not np.array_equal(weights.read("lm_head.weight"), weights.read(layout["token_embd.weight"].source)):
            raise ReleaseError(f"{folder}: lm_head.weight is not the embedding, as config.json says")
        extra -= {"lm_head.weight"}
    if extra:
        raise ReleaseError(f"{folder}: llama.cpp would refuse tensors {', '.join(sorted(extra))}")


def _stored(name: str, tensor: Tensor, file_type: FileType) -> GGMLQuantizationType:
    from gguf import GGMLQuantizationType

    exact = len(tensor.shape) == 1 or name == POSITIONS
    return GGMLQuantizationType["F32" if exact else file_type.upper()]


def _converted(weights: Weights, tensor: Tensor, kind: GGMLQuantizationType) -> NDArray[Any]:
    values = tensor.arranged(weights.read(tensor.source))
    if kind.name == "F32":
        return np.ascontiguousarray(values)
    called, largest = LARGEST[kind.name]
    if max(values.max(), -values.min()) > largest:
        raise ReleaseError(
            f"{weights.folder}: {tensor.source} has values beyond {called}: a training that went astray",
            hint="train again with a lower learning_rate; export proves and quantises files by way of F16",
        )
    rounded = np.empty(values.shape, np.float16 if kind.name == "F16" else np.uint16)
    rows = max(1, BLOCK // values.shape[-1])
    for start in range(0, len(values), rows):
        rounded[start : start + rows] = _rounded(values[start : start + rows], kind)
    return rounded


def _rounded(values: NDArray[np.float32], kind: GGMLQuantizationType) -> NDArray[Any]:
    """Values as float16, or as the bits of bfloat16, rounded to the nearest, ties to even."""
    if kind.name == "F16":
        return values.astype(np.float16)
    from gguf.quants import quantize

    return np.asarray(quantize(np.ascontiguousarray(values), kind)).view(np.uint16)


def _add_file_type(writer: GGUFWriter, file_type: FileType) -> None:
    """The keys that llama-quantize writes last: a copy made by it, as Ollama does, has the same bytes."""
    from gguf import GGML_QUANT_VERSION, LlamaFileType

    writer.add_quantization_version(GGML_QUANT_VERSION)
    writer.add_file_type(LlamaFileType["ALL_F32" if file_type == "f32" else f"MOSTLY_{file_type.upper()}"])


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
