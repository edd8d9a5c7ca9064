"""Whether the weights of a quantised file are those of the file that it was made from, but for honest rounding."""

from __future__ import annotations

from math import prod
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from stages.release.errors import ReleaseError
from stages.release.header import Header, TensorInfo, nbytes

ROWS = 16  # of each tensor
# Rounding to b bits changes weights by about two of 2⁻ᵇ of their size, whatever the type; other weights by more than 1.
FACTOR, LEAST, MOST = 10.0, 0.01, 0.9


def bits(tensor: TensorInfo) -> float:
    """How many bits a weight takes."""
    return 8 * nbytes(tensor.kind, tensor.shape) / prod(tensor.shape)


def bits_per_weight(header: Header) -> float:
    """Of all tensors together."""
    stored = sum(nbytes(tensor.kind, tensor.shape) for tensor in header.tensors)
    return 8 * stored / sum(prod(tensor.shape) for tensor in header.tensors)


def coarsest(header: Header) -> float:
    """The bits of the matrix with the fewest."""
    return min(bits(tensor) for tensor in header.tensors if len(tensor.shape) > 1)


def check_rounding(path: Path, header: Header, base: Path, base_header: Header) -> float:
    """The largest error of a tensor in some of its rows, as a share of the size of its weights.

    Raises ReleaseError where a tensor is missing, has another shape, or differs by more than its bits explain.
    """
    theirs = {tensor.name: tensor for tensor in base_header.tensors}
    ours = {tensor.name: tensor for tensor in header.tensors}
    if different := sorted(name for name in ours.keys() | theirs.keys() if _shape(ours, name) != _shape(theirs, name)):
        raise ReleaseError(f"export: {path.name} has other tensors than the F16 file: {', '.join(different[:3])}")
    largest = 0.0
    for name, tensor in ours.items():
        rounded, exact = _rows(path, tensor).astype(np.float64), _rows(base, theirs[name]).astype(np.float64)
        size = float(np.linalg.norm(exact))
        error = float(np.linalg.norm(rounded - exact)) / (size or 1.0)
        if not error <= min(MOST, max(LEAST, FACTOR * 2 ** -bits(tensor))):
            raise ReleaseError(
                f"export: {name} of {path.name} is {error:.1%} off the F16 file's, "
                f"which {bits(tensor):.2f} bits a weight do not explain"
            )
        largest = max(largest, error)
    return largest


def _shape(tensors: dict[str, TensorInfo], name: str) -> tuple[int, ...]:
    return tensors[name].shape if name in tensors else ()


def _rows(path: Path, tensor: TensorInfo) -> NDArray[np.float32]:
    import gguf

    count = prod(tensor.shape[:-1])
    stored = np.memmap(path, np.uint8, "r", tensor.offset, (count, nbytes(tensor.kind, tensor.shape) // count))
    picked = np.linspace(0, count - 1, min(ROWS, count)).astype(np.int64)
    values: NDArray[np.float32] = gguf.dequantize(np.array(stored[picked]), gguf.GGMLQuantizationType[tensor.kind])
    return values
