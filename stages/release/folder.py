"""What lies in a Hugging Face directory, its tensors one at a time; and how a file gets to its place whole."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.console import size
from pipeline.hardware import free_bytes
from stages.release.errors import ReleaseError
from stages.release.tensorfile import Shape, TensorFile

WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"
SPARE_BYTES = 2**20  # of the disk, beyond what a file takes


def read_text(path: Path) -> str:
    """A text in UTF-8. Raises ReleaseError, naming the file, where it cannot be read."""
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise ReleaseError(f"{path}: {error.strerror}") from None
    except ValueError as error:
        raise ReleaseError(f"{path}: not UTF-8: {error}") from None


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file. Raises ReleaseError, naming the file, for anything else, and for two equal keys."""
    try:
        content = json.loads(read_text(path), object_pairs_hook=_without_doubles)
    except (ValueError, RecursionError) as error:
        raise ReleaseError(f"{path}: {error}") from None
    if not isinstance(content, dict):
        raise ReleaseError(f"{path}: not a JSON object")
    return content


def _without_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"{next(name for name in names if names.count(name) > 1)!r} is there twice")
    return found


class Weights:
    """The tensors in `model.safetensors` or its shards: their shapes, and each to be read by its name."""

    def __init__(self, folder: Path) -> None:
        """Raises ReleaseError for a file that is missing or damaged, and for shards that are not what the index says.

        So it does for a tensor that is in two of them.
        """
        self.folder = folder
        self._file: dict[str, TensorFile] = {}
        places = _places(folder)
        for file in map(TensorFile, [folder / name for name in sorted(set(places.values()))] or [folder / WEIGHTS]):
            if doubles := sorted(file.shape.keys() & self._file.keys()):
                raise ReleaseError(f"{file.path}: {doubles[0]} is in {self._file[doubles[0]].path.name} as well")
            self._file |= dict.fromkeys(file.shape, file)
        if lacking := [name for name, place in places.items() if name not in self._file]:
            raise ReleaseError(f"{folder / places[lacking[0]]}: lacks {lacking[0]}, which {INDEX} says is there")
        self.shape: dict[str, Shape] = {name: file.shape[name] for name, file in self._file.items()}

    def read(self, name: str) -> NDArray[np.float32]:
        """One tensor as float32. Raises ReleaseError for NaN or infinite values and types that are not read here."""
        return self._file[name].read(name)


def _places(folder: Path) -> dict[str, str]:
    """Which shard holds each tensor, by the index; empty where there is none."""
    path = folder / INDEX
    if not path.exists():
        return {}
    found = read_json(path).get("weight_map")
    if not isinstance(found, dict) or not found:
        raise ReleaseError(f"{path}: has no weight_map")
    for name, place in found.items():
        if not isinstance(place, str) or Path(place).name != place:
            raise ReleaseError(f"{path}: the place of {name} is no name of a file")
    return found


@contextmanager
def replacing(destination: Path, needed: int = 0) -> Iterator[Path]:
    """A temporary name beside `destination`: takes its place if the block succeeds, goes if it fails.

    `needed` is how many bytes will be written, where that is known. Raises ReleaseError, with what was there left as it
    is, where the disk has no room, at once or later, and for any other OSError.
    """
    partial = destination.with_name(f".{destination.name}.partial")
    try:
        with writing(destination, needed):
            yield partial
            partial.replace(destination)
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def writing(destination: Path, needed: int = 0) -> Iterator[None]:
    """Raise ReleaseError, naming `destination`, where the disk has no room for `needed` bytes or a write fails."""
    free = free_bytes(destination.parent)
    if free < needed + SPARE_BYTES:
        raise _unwritten(destination, "no room on the disk", needed)
    try:
        yield
    except OSError as error:
        raise _unwritten(destination, error.strerror or f"the disk took no more ({error})", needed) from None


def _unwritten(destination: Path, reason: str, needed: int) -> ReleaseError:
    told = f"it needs {size(needed)} and {size(SPARE_BYTES)} to spare; " if needed else ""
    free = size(free_bytes(destination.parent))
    return ReleaseError(
        f"{destination}: cannot be written: {reason}; {told}{free} are free", hint="pipeline gc  frees old artifacts"
    )
