"""What lies in a Hugging Face directory: its JSON files, and its tensors one at a time."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stages.release.errors import ReleaseError


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file. Raises ReleaseError, naming the file, for anything else."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ReleaseError(f"{path}: {error}") from None
    if not isinstance(content, dict):
        raise ReleaseError(f"{path}: not a JSON object")
    return content


class Weights:
    """The tensors in `model.safetensors` or its shards: their shapes, and each to be read by its name."""

    def __init__(self, folder: Path) -> None:
        from safetensors import safe_open

        index = folder / "model.safetensors.index.json"
        names = set(read_json(index)["weight_map"].values()) if index.exists() else {"model.safetensors"}
        self.folder = folder
        self.shape: dict[str, tuple[int, ...]] = {}
        self._file: dict[str, Path] = {}
        self._dtype: dict[str, str] = {}
        for path in (folder / name for name in sorted(names)):
            if not path.is_file():
                raise ReleaseError(f"{path}: no such file")
            with safe_open(path, framework="np") as tensors:
                for name in tensors.keys():  # noqa: SIM118 (not a mapping)
                    view = tensors.get_slice(name)
                    self._file[name] = path
                    self.shape[name] = tuple(view.get_shape())
                    self._dtype[name] = view.get_dtype()

    def read(self, name: str) -> NDArray[np.float32]:
        """One tensor as float32. Raises ReleaseError for NaN or infinite values."""
        from safetensors import safe_open

        if self._dtype[name] == "BF16":  # numpy has no such type, so torch widens it
            with safe_open(self._file[name], framework="pt") as tensors:
                values = tensors.get_tensor(name).float().numpy()
        else:
            with safe_open(self._file[name], framework="np") as tensors:
                values = tensors.get_tensor(name).astype(np.float32, copy=False)
        if not np.isfinite(values).all():
            raise ReleaseError(f"{self._file[name]}: {name} has values that are not finite")
        return np.asarray(values)
