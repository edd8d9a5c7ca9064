"""The head of a GGUF file: its keys, kept as the bytes they are, and where its tensors lie.

gguf's own reader makes several arrays of each token of the vocabulary, which takes longer than quantising a small
model. The layout is that of the specification (github.com/ggml-org/ggml, docs/gguf.md), version 3, little-endian.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from mmap import ACCESS_READ, mmap
from pathlib import Path

from stages.release.errors import ReleaseError

ALIGNMENT = 32  # of each tensor's data
_MAGIC, _VERSION = b"GGUF", 3
_UINT32, _STRING, _ARRAY = 4, 8, 9
_SIZES = {0: 1, 1: 1, 2: 2, 3: 2, _UINT32: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}  # of the numbers' types


@dataclass(frozen=True)
class TensorInfo:
    """A tensor as the head describes it."""

    name: str
    shape: tuple[int, ...]  # (rows, columns) or (size,)
    kind: str  # ggml type
    offset: int  # of its data in the file

    @property
    def end(self) -> int:
        return self.offset + nbytes(self.kind, self.shape)


@dataclass(frozen=True)
class Header:
    """`keys` has each key's type and value as bytes, in the order of the file."""

    keys: Mapping[str, bytes]
    tensors: tuple[TensorInfo, ...]

    def text(self, key: str) -> str:
        """The string under `key`. Raises KeyError where there is none."""
        return self._value(key, _STRING)[8:].decode()

    def number(self, key: str) -> int:
        """The unsigned 32-bit number under `key`. Raises KeyError where there is none."""
        return int.from_bytes(self._value(key, _UINT32), "little")

    def _value(self, key: str, kind: int) -> bytes:
        value = self.keys[key]
        if int.from_bytes(value[:4], "little") != kind:
            raise KeyError(key)
        return value[4:]


def read_header(path: Path) -> Header:
    """Raises ReleaseError for a file that is missing, no GGUF, of a form not known here or shorter than it says."""
    try:
        with path.open("rb") as file, mmap(file.fileno(), 0, access=ACCESS_READ) as data:
            header = _read(_Cursor(data))
            if len(data) < max((tensor.end for tensor in header.tensors), default=0):
                raise EOFError("it ends too early")
    except (OSError, EOFError, ValueError, KeyError) as error:
        raise ReleaseError(f"{path}: not a readable GGUF: {error}") from None
    return header


def packed(value: str | int) -> bytes:
    """A string or an unsigned 32-bit number as `Header.keys` has it."""
    return struct.pack("<II", _UINT32, value) if isinstance(value, int) else struct.pack("<I", _STRING) + _text(value)


def header_bytes(keys: Mapping[str, bytes], tensors: Iterable[tuple[str, tuple[int, ...], str]]) -> bytes:
    """All that comes before the data of `tensors` (name, shape, ggml type), each of which is padded to ALIGNMENT."""
    from gguf import GGMLQuantizationType

    infos, offset = [], 0
    for name, shape, kind in tensors:
        dimensions = struct.pack(f"<I{len(shape)}Q", len(shape), *reversed(shape))
        infos.append(_text(name) + dimensions + struct.pack("<IQ", GGMLQuantizationType[kind], offset))
        offset += padded(nbytes(kind, shape))
    head = struct.pack("<4sIQQ", _MAGIC, _VERSION, len(infos), len(keys))
    head += b"".join(_text(key) + value for key, value in keys.items()) + b"".join(infos)
    return head.ljust(padded(len(head)), b"\0")


def nbytes(kind: str, shape: tuple[int, ...]) -> int:
    """How many bytes a tensor takes. Raises ValueError where its rows do not fill the blocks of the ggml type."""
    from gguf import GGML_QUANT_SIZES, GGMLQuantizationType

    block, size = GGML_QUANT_SIZES[GGMLQuantizationType[kind]]
    if shape[-1] % block:
        raise ValueError(f"rows of {shape[-1]} do not fill the blocks of {block} of {kind}")
    return math.prod(shape) // int(block) * int(size)


def padded(size: int) -> int:
    """`size` rounded up to ALIGNMENT."""
    return -(-size // ALIGNMENT) * ALIGNMENT


class _Cursor:
    """A place in the bytes of a file."""

    def __init__(self, data: mmap) -> None:
        self.data, self.place = data, 0

    def take(self, size: int) -> bytes:
        """The next `size` bytes. Raises EOFError where there are fewer."""
        start, self.place = self.place, self.place + size
        if self.place > len(self.data):
            raise EOFError("it ends too early")
        return self.data[start : self.place]

    def number(self, size: int) -> int:
        return int.from_bytes(self.take(size), "little")

    def text(self) -> str:
        return self.take(self.number(8)).decode()

    def value(self) -> bytes:
        """The type and the value that follow, as they are."""
        start = self.place
        self._skip(self.number(4))
        return self.data[start : self.place]

    def _skip(self, kind: int) -> None:
        if kind == _STRING:
            self.take(self.number(8))
        elif kind == _ARRAY:
            item, count = self.number(4), self.number(8)
            if item == _STRING:
                for _ in range(count):
                    self.take(self.number(8))
            else:
                self.take(_SIZES[item] * count)
        else:
            self.take(_SIZES[kind])


def _read(cursor: _Cursor) -> Header:
    from gguf import GGMLQuantizationType

    magic, version = cursor.take(4), cursor.number(4)
    if magic != _MAGIC or version != _VERSION:
        raise ValueError(f"it starts with {magic!r}, version {version}")
    n_tensors, n_keys = cursor.number(8), cursor.number(8)
    keys = {cursor.text(): cursor.value() for _ in range(n_keys)}
    if keys.get("general.alignment", packed(ALIGNMENT)) != packed(ALIGNMENT):
        raise ValueError(f"its tensors are not aligned to {ALIGNMENT} bytes")
    found = []
    for _ in range(n_tensors):
        name, dimensions = cursor.text(), cursor.number(4)
        shape = tuple(cursor.number(8) for _ in range(min(dimensions, 5)))[::-1]
        if dimensions > 4 or not math.prod(shape) or not shape:
            raise ValueError(f"{name} has shape {shape}")
        found.append(TensorInfo(name, shape, GGMLQuantizationType(cursor.number(4)).name, cursor.number(8)))
    start = padded(cursor.place)
    return Header(keys, tuple(TensorInfo(each.name, each.shape, each.kind, start + each.offset) for each in found))


def _text(text: str) -> bytes:
    encoded = text.encode()
    return struct.pack("<Q", len(encoded)) + encoded
