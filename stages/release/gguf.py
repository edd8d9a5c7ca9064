"""From a Hugging Face directory to one GGUF file that llama.cpp and Ollama read.

Keys and tensor names follow the GGUF specification (github.com/ggml-org/ggml, docs/gguf.md). Written are the
keys that llama.cpp insists on and those that it would silently replace by a default wrong for our models.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from stages.release.architectures import POSITIONS, Tensor, add_shape, read_config, tensors
from stages.release.errors import ReleaseError
from stages.release.folder import Weights
from stages.release.vocabulary import add_vocabulary, read_chat_template, read_vocabulary

if TYPE_CHECKING:
    from gguf import GGUFWriter

FileType = Literal["f32", "f16"]


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
    with replacing(destination) as partial:
        writer = GGUFWriter(partial, shape.architecture)
        try:
            _add_metadata(writer, metadata, file_type, sum(math.prod(tensor.shape) for tensor in layout.values()))
            add_shape(writer, shape)
            add_vocabulary(writer, vocabulary, read_chat_template(huggingface))
            for name, tensor in layout.items():
                dtype = _stored(name, tensor, file_type)
                writer.add_tensor_info(name, tensor.shape, dtype, math.prod(tensor.shape) * dtype.itemsize)
            start_tensors(writer)
            for name, tensor in layout.items():
                writer.write_tensor_data(_converted(weights, tensor, _stored(name, tensor, file_type)))
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


def _stored(name: str, tensor: Tensor, file_type: FileType) -> np.dtype[Any]:
    exact = len(tensor.shape) == 1 or name == POSITIONS
    return np.dtype(np.float16 if file_type == "f16" and not exact else np.float32)


def _converted(weights: Weights, tensor: Tensor, dtype: np.dtype[Any]) -> NDArray[Any]:
    values = tensor.arranged(weights.read(tensor.source))
    if dtype == np.float16 and np.abs(values).max() > np.finfo(np.float16).max:
        raise ReleaseError(f"{weights.folder}: {tensor.source} has values beyond float16; write f32 instead")
    return np.ascontiguousarray(values, dtype=dtype)


def _add_metadata(writer: GGUFWriter, metadata: GgufMetadata, file_type: FileType, parameters: int) -> None:
    from gguf import GGML_QUANT_VERSION, LlamaFileType, size_label

    writer.add_file_type(LlamaFileType.ALL_F32 if file_type == "f32" else LlamaFileType.MOSTLY_F16)
    writer.add_quantization_version(GGML_QUANT_VERSION)
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
