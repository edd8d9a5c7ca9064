"""Quantise a GGUF the way llama.cpp's own `llama-quantize` does, tensor for tensor and byte for byte."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from stages.release.architectures import POSITIONS
from stages.release.errors import ReleaseError
from stages.release.gguf import replacing, start_tensors
from stages.release.llamacpp import quantize_rows

if TYPE_CHECKING:
    from gguf import GGMLQuantizationType, GGUFReader, GGUFWriter, ReaderTensor


ARCHITECTURES = ("llama", "qwen3", "gpt2")  # those whose mixes are known to be llama-quantize's


@dataclass(frozen=True)
class Quant:
    """A named mix of tensor types."""

    file_type: int  # general.file_type of the GGUF (llama_ftype in llama.h)
    matrix: str  # type of most matrices
    sensitive: str  # type of attn_v (or attn_qkv) and ffn_down in the layers that `_is_sensitive` picks
    output: str  # type of the output matrix, or of the embedding that stands in for it


QUANTS: Mapping[str, Quant] = MappingProxyType(
    {
        "f32": Quant(0, "F32", "F32", "F32"),
        "f16": Quant(1, "F16", "F16", "F16"),
        "bf16": Quant(32, "BF16", "BF16", "BF16"),
        "q8_0": Quant(7, "Q8_0", "Q8_0", "Q8_0"),
        "q6_k": Quant(18, "Q6_K", "Q6_K", "Q6_K"),
        "q5_k_m": Quant(17, "Q5_K", "Q6_K", "Q6_K"),
        "q4_k_m": Quant(15, "Q4_K", "Q6_K", "Q6_K"),
        "q4_0": Quant(2, "Q4_0", "Q4_0", "Q6_K"),
    }
)

# A K-quant packs 256 values of a row. Rows that are no multiple of it take the next finer type that packs 32.
_SMALLER_BLOCKS = {"Q4_K": "Q5_0", "Q5_K": "Q5_1", "Q6_K": "Q8_0"}
# gguf-py writes these bit for bit as ggml does, so they need no llama.cpp.
_WITHOUT_RUNTIME = {"F32", "F16", "BF16", "Q8_0"}


@dataclass(frozen=True)
class Fallback:
    """A tensor that could not have the type its mix asks for."""

    wanted: str
    used: str


def known(quant: str) -> Quant:
    """The mix called `quant`. Raises ValueError, naming all of them, for a name that is none."""
    try:
        return QUANTS[quant]
    except KeyError:
        raise ValueError(f"unknown quantisation {quant!r}; known: {', '.join(QUANTS)}") from None


def fallbacks(shapes: Mapping[str, tuple[int, ...]], quant: str) -> dict[str, Fallback]:
    """The tensors, of those in `shapes`, whose rows do not fit the type that the mix has for them, by name.

    `shapes` is {name: (rows, columns)} with the names of a GGUF. Raises ValueError for an unknown `quant`.
    """
    wanted, used = _wanted_types(shapes, known(quant)), tensor_types(shapes, quant)
    return {name: Fallback(wanted[name], used[name]) for name in shapes if wanted[name] != used[name]}


def tensor_types(shapes: Mapping[str, tuple[int, ...]], quant: str) -> dict[str, str]:
    """The ggml type that each tensor gets; arguments and exceptions as in `fallbacks`."""
    wanted = _wanted_types(shapes, known(quant))
    return {name: _fitting(wanted[name], shape[-1]) for name, shape in shapes.items()}


def read_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """{name: (rows, columns)} of a GGUF's tensors, as `fallbacks` takes them."""
    return {tensor.name: _shape(tensor) for tensor in _open(path).tensors}


def quantize(source: Path, destination: Path, quant: str) -> None:
    """Write the F32, F16 or BF16 GGUF `source` to `destination`, its matrices quantised by the mix `quant`.

    All metadata is copied but `general.file_type`; vectors (norms, biases) and positions stay float32. One tensor at
    a time is in memory. Raises ValueError for an unknown `quant`, ReleaseError for a source that is quantised already
    or no GGUF of an architecture that is known here, and RuntimeUnavailable where the types need llama.cpp and it is
    missing.
    """
    from gguf import GGMLQuantizationType, GGUFWriter
    from gguf.quants import dequantize, quant_shape_to_byte_shape

    file_type = known(quant).file_type
    reader = _open(source)
    shapes = {tensor.name: _shape(tensor) for tensor in reader.tensors}
    types = {name: GGMLQuantizationType[kind] for name, kind in tensor_types(shapes, quant).items()}
    with replacing(destination) as partial, ThreadPoolExecutor(os.cpu_count()) as pool:
        writer = GGUFWriter(partial, _architecture(reader))
        try:
            _copy_metadata(reader, writer, file_type)
            for tensor in reader.tensors:
                if tensor.tensor_type.name not in ("F32", "F16", "BF16"):
                    raise ReleaseError(f"{source}: {tensor.name} is quantised already")
                shape = quant_shape_to_byte_shape(_shape(tensor), types[tensor.name])
                writer.add_tensor_info(tensor.name, shape, np.dtype(np.uint8), math.prod(shape), types[tensor.name])
            start_tensors(writer)
            for tensor in reader.tensors:
                kind = types[tensor.name]
                values = dequantize(tensor.data, tensor.tensor_type)
                limit = np.finfo(np.float32 if kind.name in ("F32", "BF16") else np.float16).max
                if not np.abs(values).max() <= limit:  # so written, NaN is caught as well
                    raise ReleaseError(f"{source}: {tensor.name} has values that {kind.name} cannot hold")
                writer.write_tensor_data(_encode(values, kind, pool))
        finally:
            writer.close()


def _encode(values: NDArray[np.float32], kind: GGMLQuantizationType, pool: ThreadPoolExecutor) -> NDArray[Any]:
    if kind.name in _WITHOUT_RUNTIME:
        from gguf.quants import quantize as encode

        with np.errstate(divide="ignore"):
            return np.asarray(encode(values, kind)).view(np.uint8)
    parts = np.array_split(values, min(len(values), os.cpu_count() or 1))
    return np.concatenate(list(pool.map(lambda rows: quantize_rows(rows, kind), parts)))


def _wanted_types(shapes: Mapping[str, tuple[int, ...]], mix: Quant) -> dict[str, str]:
    """The mix before anything is known of row lengths: {name: type}."""
    n_layers = sum(name.endswith(".ffn_down.weight") for name in shapes)
    last = "output.weight" if "output.weight" in shapes else "token_embd.weight"
    wanted = {}
    for name, shape in shapes.items():
        layer = re.fullmatch(r"blk\.(\d+)\.(?:attn_v|attn_qkv|ffn_down)\.weight", name)
        if len(shape) == 1 or name == POSITIONS:
            wanted[name] = "F32"
        elif name == last:
            wanted[name] = mix.output
        elif layer and _is_sensitive(int(layer[1]), n_layers):
            wanted[name] = mix.sensitive
        else:
            wanted[name] = mix.matrix
    return wanted


def _is_sensitive(layer: int, n_layers: int) -> bool:
    """Whether the _m mixes give this layer more bits: first and last eighth, each third between."""
    eighth = n_layers // 8
    return layer < eighth or layer >= 7 * n_layers // 8 or (layer - eighth) % 3 == 2


def _fitting(kind: str, columns: int) -> str:
    if kind.endswith("_K") and columns % 256:
        kind = _SMALLER_BLOCKS[kind]
    return "F16" if kind.startswith("Q") and not kind.endswith("_K") and columns % 32 else kind


def _shape(tensor: ReaderTensor) -> tuple[int, ...]:
    return tuple(reversed(tensor.shape.tolist()))


def _open(path: Path) -> GGUFReader:
    from gguf import GGUFReader

    try:
        reader = GGUFReader(path)
        architecture = _architecture(reader)
    except (OSError, ValueError, LookupError) as error:
        raise ReleaseError(f"{path}: not a readable GGUF: {error}") from None
    if architecture not in ARCHITECTURES:
        raise ReleaseError(f"{path}: architecture {architecture!r}; mixes are known for {', '.join(ARCHITECTURES)}")
    return reader


def _architecture(reader: GGUFReader) -> str:
    return str(reader.fields["general.architecture"].contents())


def _copy_metadata(reader: GGUFReader, writer: GGUFWriter, file_type: int) -> None:
    from gguf import GGML_QUANT_VERSION

    replaced = ("general.architecture", "general.file_type", "general.quantization_version")
    for name, field in reader.fields.items():
        if name.startswith("GGUF.") or name in replaced:  # GGUF.*: the reader's own names for the header
            continue
        value = field.contents()
        kind, *items = field.types
        if value != []:
            writer.add_key_value(name, value, kind, items[-1] if items else None)
    writer.add_file_type(file_type)
    writer.add_quantization_version(GGML_QUANT_VERSION)
