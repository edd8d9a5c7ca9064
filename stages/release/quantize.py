"""Quantise a GGUF the way llama.cpp's own `llama-quantize` does, byte for byte."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from io import FileIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.hardware import usable_cores
from stages.release.architectures import file_order
from stages.release.errors import ReleaseError
from stages.release.folder import replacing
from stages.release.header import Header, TensorInfo, header_bytes, nbytes, packed, padded, read_header
from stages.release.llamacpp import RuntimeUnavailable, quantize_rows, widen_halves
from stages.release.mixes import FAMILIES, Fallback, fallbacks, known, tensor_types

_SOURCES: Mapping[str, np.dtype[Any]] = {"F32": np.dtype("<f4"), "F16": np.dtype("<f2"), "BF16": np.dtype("<u2")}
_WITHOUT_RUNTIME = ("BF16", "Q8_0")  # gguf-py writes these bit for bit as ggml does
_CHUNK = 1 << 18  # values that a thread takes at once: 1 MiB of float32, which stays in its cache


def read_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """{name: (rows, columns)} of a GGUF's tensors. Raises ReleaseError for a file that is no readable GGUF."""
    return {tensor.name: tensor.shape for tensor in read_header(path).tensors}


def quantize(
    source: Path,
    destination: Path,
    quant: str,
    *,
    importance: Mapping[str, NDArray[np.float32]] | None = None,
    types: Mapping[str, str] | None = None,
    notes: Mapping[str, str | int] | None = None,
) -> dict[str, Fallback]:
    """Write the F32, F16 or BF16 GGUF `source` to `destination`, its matrices quantised by the mix `quant`.

    `importance` has the mean square input of each column of a matrix, by the tensor's name; matrices that it does not
    name are quantised without. `types` names ggml types for tensors that shall not have that of the mix. All metadata
    is copied but `general.file_type`; `notes` are keys to be added. Vectors (norms, biases) and positions stay
    float32. Memory holds some rows at a time. Returns the tensors whose rows do not fit the type of the mix.

    Raises ValueError for an unknown `quant` or `types` that do not fit, ReleaseError for a source that is quantised
    already or no GGUF of an architecture that is known here, for values that a type cannot hold and an importance
    that is none of this model, and RuntimeUnavailable where the types need llama.cpp and it is missing.
    """
    header, importance, types = read_header(source), importance or {}, types or {}
    model = _model(source, header) | {"importance": bool(importance)}
    shapes = {tensor.name: tensor.shape for tensor in header.tensors}
    if unknown := types.keys() - shapes.keys():
        raise ValueError(f"{source} has no tensor {', '.join(sorted(unknown))}")
    kinds = {**tensor_types(shapes, quant, **model), **types}
    tensors = sorted(header.tensors, key=lambda tensor: file_order(tensor.name))
    head = header_bytes(
        _keys(header.keys, known(quant).file_type, notes or {}),
        [(tensor.name, tensor.shape, kinds[tensor.name]) for tensor in tensors],
    )
    weights = _weights(importance, shapes)
    size = len(head) + sum(padded(nbytes(kinds[name], shape)) for name, shape in shapes.items())
    with replacing(destination, size) as partial, source.open("rb", buffering=0) as file, partial.open("wb") as out:
        out.write(head)
        for part in _quantized(file, tensors, kinds, weights):
            out.write(part.data)
    fallen = fallbacks(shapes, quant, **model)
    return {name: fallback for name, fallback in fallen.items() if name not in types}


def _quantized(
    file: FileIO,
    tensors: list[TensorInfo],
    kinds: Mapping[str, str],
    weights: Mapping[str, NDArray[np.float32]],
) -> Iterator[NDArray[Any]]:
    """The tensors' data one after the other, each padded, made by a thread for each core."""
    threads = usable_cores()
    pending: deque[Future[NDArray[Any]]] = deque()
    with ThreadPoolExecutor(threads) as pool:
        try:
            for tensor in tensors:
                kind = kinds[tensor.name]
                for rows in _chunks(file, tensor):
                    pending.append(pool.submit(_encode, rows, tensor, kind, weights.get(tensor.name)))
                    if len(pending) > 2 * threads:
                        yield pending.popleft().result()
                size = nbytes(kind, tensor.shape)
                pending.append(pool.submit(np.zeros, padded(size) - size, np.uint8))
            while pending:
                yield pending.popleft().result()
        finally:
            for future in pending:
                future.cancel()


def _chunks(file: FileIO, tensor: TensorInfo) -> Iterator[NDArray[Any]]:
    """The tensor's rows as they are in the file, some at a time: (rows, columns)."""
    dtype, columns = _SOURCES[tensor.kind], tensor.shape[-1]
    count, step = nbytes(tensor.kind, tensor.shape) // dtype.itemsize // columns, max(1, _CHUNK // columns)
    file.seek(tensor.offset)
    for start in range(0, count, step):
        rows = np.empty((min(step, count - start), columns), dtype)
        if file.readinto(rows.data.cast("B")) != rows.nbytes:
            raise ReleaseError(f"{file.name}: {tensor.name} ends too early")
        yield rows


def _encode(rows: NDArray[Any], tensor: TensorInfo, kind: str, weights: NDArray[np.float32] | None) -> NDArray[Any]:
    from gguf import GGMLQuantizationType
    from gguf import quants as quantisers

    if tensor.kind == "BF16":
        values = (rows.astype(np.uint32) << 16).view(np.float32)
    else:
        values = widen_halves(rows) if tensor.kind == "F16" else rows
    limit = np.finfo(np.float32 if kind in ("F32", "BF16") else np.float16).max
    if not (-limit <= values.min() and values.max() <= limit):  # so written, NaN is caught as well
        raise ReleaseError(f"{tensor.name} has values that {kind} cannot hold")
    if kind == tensor.kind:
        return rows
    if kind in ("F32", "F16"):
        return values.astype(_SOURCES[kind], copy=False)
    try:
        return quantize_rows(values, GGMLQuantizationType[kind], weights)
    except RuntimeUnavailable:
        if kind not in _WITHOUT_RUNTIME:
            raise
    with np.errstate(divide="ignore"):
        return np.ascontiguousarray(quantisers.quantize(values, GGMLQuantizationType[kind]))


def _keys(keys: Mapping[str, bytes], file_type: int, notes: Mapping[str, str | int]) -> dict[str, bytes]:
    """The keys of the source with what is new at the end, as llama-quantize writes them."""
    from gguf import GGML_QUANT_VERSION

    new = {"general.quantization_version": GGML_QUANT_VERSION, "general.file_type": file_type, **notes}
    kept = {key: value for key, value in keys.items() if key not in new}
    return kept | {key: packed(value) for key, value in new.items()}


def _weights(
    importance: Mapping[str, NDArray[np.float32]], shapes: Mapping[str, tuple[int, ...]]
) -> dict[str, NDArray[np.float32]]:
    """The importance of this model's matrices."""
    weights = {}
    for name, values in importance.items():
        if not np.isfinite(values).all():
            raise ReleaseError(f"the importance of {name} has values that are no numbers")
        if name in shapes and values.shape == shapes[name][-1:]:
            weights[name] = values
        elif name in shapes and name != "token_embd.weight":  # that one llama-quantize passes over
            raise ReleaseError(f"importance of shape {values.shape} for {name}, which has {shapes[name][-1]} columns")
    return weights


def _model(path: Path, header: Header) -> dict[str, Any]:
    """The model's shape as `tensor_types` takes it. Raises ReleaseError for a file that is not for quantising."""
    try:
        architecture = header.text("general.architecture")
        if architecture not in FAMILIES:
            choice = ", ".join(FAMILIES)
            raise ReleaseError(f"{path}: architecture {architecture!r}; mixes are known for {choice}")
        n_heads = header.number(f"{architecture}.attention.head_count")
        shared = f"{architecture}.attention.head_count_kv"
        n_kv_heads = header.number(shared) if shared in header.keys else n_heads
    except KeyError as key:
        raise ReleaseError(f"{path}: not a readable GGUF: no key {key}") from None
    for tensor in header.tensors:
        if tensor.kind not in _SOURCES:
            raise ReleaseError(f"{path}: {tensor.name} is quantised already")
    return {"architecture": architecture, "n_heads": n_heads, "n_kv_heads": n_kv_heads}
