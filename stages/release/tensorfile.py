"""Safetensors files: checked before anything is believed, and read and written one tensor at a time.

The format (github.com/huggingface/safetensors): the length of the head in eight bytes; the head, a JSON object with the
type, shape and place of each tensor; the values, little-endian and without gaps between them.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stages.release.errors import ReleaseError

Shape = tuple[int, ...]
# numpy has no bfloat16
DTYPES: dict[str, np.dtype[Any]] = {"F32": np.dtype("<f4"), "F16": np.dtype("<f2"), "BF16": np.dtype("<u2")}
MAX_HEAD = 100_000_000  # bytes; the library's own limit
FLOAT32 = DTYPES["F32"].itemsize


class TensorFile:
    """A safetensors file with the `shape` of each tensor; none of them is in memory."""

    def __init__(self, path: Path) -> None:
        """Raises ReleaseError for a file that is missing, cut short, or not what its head says."""
        self.path = path
        try:
            size = path.stat().st_size
            with path.open("rb") as file:
                start = file.read(8)
                length = struct.unpack("<Q", start)[0] if len(start) == 8 else MAX_HEAD + 1
                if length > min(MAX_HEAD, size - 8):
                    raise ReleaseError(f"{path}: no safetensors file, or cut short within its head ({size:,} bytes)")
                head = _head(path, file.read(length))
        except OSError as error:
            raise ReleaseError(f"{path}: {error.strerror}") from None
        self._dtype = {name: str(entry["dtype"]) for name, entry in head.items()}
        self._start = {name: 8 + length + entry["data_offsets"][0] for name, entry in head.items()}
        self.shape: dict[str, Shape] = {name: tuple(entry["shape"]) for name, entry in head.items()}
        wanted = 8 + length + _check_places(path, head)
        if wanted != size:
            raise ReleaseError(f"{path}: {'cut short' if size < wanted else 'too long'}: {size:,} of {wanted:,} bytes")

    def read(self, name: str) -> NDArray[np.float32]:
        """A tensor as float32. Raises ReleaseError for a type that is not read here, and NaN or infinite values."""
        kind, shape = self._dtype[name], self.shape[name]
        if kind not in DTYPES:
            raise ReleaseError(f"{self.path}: {name} is of type {kind}; read are {', '.join(DTYPES)}")
        try:
            stored = np.fromfile(self.path, DTYPES[kind], math.prod(shape), offset=self._start[name])
        except OSError as error:
            raise ReleaseError(f"{self.path}: {name} cannot be read: {error}") from None
        if stored.size != math.prod(shape):
            raise ReleaseError(f"{self.path}: {name} is cut short")
        values = _widened(stored) if kind == "BF16" else stored.astype(np.float32, copy=False)
        if not is_finite(values):
            raise ReleaseError(f"{self.path}: {name} has values that are not finite")
        return values.reshape(shape)


def is_finite(values: NDArray[np.float32]) -> bool:
    """Whether no value is NaN or infinite, found out without a second array of that size."""
    with np.errstate(invalid="ignore"):
        return not values.size or (math.isfinite(values.min()) and math.isfinite(values.max()))


def write_tensors(path: Path, shapes: Mapping[str, Shape], values: Iterable[NDArray[np.float32]]) -> None:
    """Write float32 `values` in the order of `shapes`, each as it comes. Raises ValueError where one does not fit."""
    head: dict[str, Any] = {"__metadata__": {"format": "pt"}}  # without it transformers refuses the file
    end = 0
    for name, shape in shapes.items():
        start, end = end, end + FLOAT32 * math.prod(shape)
        head[name] = {"dtype": "F32", "shape": list(shape), "data_offsets": [start, end]}
    told = json.dumps(head, separators=(",", ":")).encode()
    told += b" " * (-len(told) % 8)
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(told)) + told)
        for (name, shape), array in zip(shapes.items(), values, strict=True):
            if array.shape != shape or array.dtype != np.float32:
                raise ValueError(f"{name} is {array.dtype} {array.shape} instead of float32 {shape}")
            file.write(np.ascontiguousarray(array, DTYPES["F32"]).data)


def _widened(stored: NDArray[np.uint16]) -> NDArray[np.float32]:
    """bfloat16 is the upper half of a float32."""
    wide = stored.astype(np.uint32)
    wide <<= 16
    return wide.view(np.float32)


def _head(path: Path, told: bytes) -> dict[str, Any]:
    try:
        head = json.loads(told)
        head.pop("__metadata__", None)
        for name, entry in head.items():
            start, end = entry["data_offsets"]
            numbers = (start, end, *entry["shape"])
            if not all(type(number) is int and number >= 0 for number in numbers):
                raise ValueError(name)
            entry["dtype"].upper()
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise ReleaseError(f"{path}: no safetensors file, or its head is damaged") from None
    return dict(head)


def _check_places(path: Path, head: Mapping[str, Any]) -> int:
    """Where the last tensor ends, after making sure that each follows the one before and is as long as its shape."""
    end = 0
    for name, entry in sorted(head.items(), key=lambda item: item[1]["data_offsets"]):
        start, stop = entry["data_offsets"]
        kind = DTYPES.get(entry["dtype"])
        if start != end or stop < start or (kind and stop - start != kind.itemsize * math.prod(entry["shape"])):
            raise ReleaseError(f"{path}: {name} does not lie where its shape says")
        end = stop
    return end
