"""Weights to start from: a HuggingFace folder or a name on its hub, never a pickle."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from pydantic import ValidationError

from pipeline.errors import StageError, UsageError
from stages.training.huggingface import our_config, our_tensors
from stages.training.shape import ModelConfig

if TYPE_CHECKING:
    from torch import Tensor

HUB_NAME = re.compile(r"[\w.-]+(/[\w.-]+)?(@[\w./-]+)?")


class Pretrained(NamedTuple):
    """A model of theirs as ours: its shape, and its tensors (float32) by our names, a tied output matrix left out."""

    config: ModelConfig
    vocab_size: int
    context_length: int
    tensors: dict[str, Tensor]


def read_pretrained(name: str, base: Path = Path()) -> Pretrained:
    """A model from a HuggingFace folder (relative to `base`) or from the hub, `user/model` or `user/model@revision`.

    Only safetensors are read: a pickle can run code. Raises UsageError where there is no such model or its architecture
    is not ours, and StageError where its files are not what its config says.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    folder = find_pretrained(name, base)
    config, vocab_size, context_length = _read_config(folder)
    tensors: dict[str, Tensor] = {}
    for file in _weight_files(folder):
        try:
            tensors |= load_file(file)
        except (SafetensorError, OSError) as error:
            raise StageError(f"{file}: {error}", hint="fetch the file again: it is cut short or damaged") from None
    try:
        return Pretrained(config, vocab_size, context_length, our_tensors(config, tensors))
    except ValueError as error:
        raise StageError(f"{folder}: {error}") from None


def read_shape(name: str, base: Path = Path()) -> tuple[ModelConfig, int, int]:
    """The shape, vocabulary size and context length that `read_pretrained` would give, from the config alone."""
    return _read_config(find_pretrained(name, base, ("config.json",)))


def find_pretrained(name: str, base: Path = Path(), patterns: tuple[str, ...] = ("*.json", "*.safetensors")) -> Path:
    """The folder of a model: a local one, or a snapshot from the hub of the files that match. Raises UsageError."""
    folder = base / Path(name).expanduser()
    if folder.is_dir():
        return folder
    if not HUB_NAME.fullmatch(name):
        raise UsageError(f"model.init_from: no folder {folder.absolute()}, and `{name}` is no name on the hub either")
    from huggingface_hub import snapshot_download

    repository, _, revision = name.partition("@")
    try:
        found = snapshot_download(
            repository, revision=revision or None, allow_patterns=list(patterns), ignore_patterns=["*/*"]
        )
    except Exception as error:  # its client lets through the errors of several libraries
        reason = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise UsageError(
            f"model.init_from: no folder {folder.absolute()}, and the hub does not give `{name}`: {reason}",
            hint=f"hf download {repository} --local-dir FOLDER  where there is a network, then init_from: FOLDER",
        ) from None
    return Path(found)


def grow_vocabulary(tensors: Mapping[str, Tensor], vocab_size: int) -> dict[str, Tensor]:
    """The tensors for a vocabulary of another size: rows that are new are the mean of the old, and spare ones are cut.

    So the logit of a new piece is the mean of theirs, and its probability at most one of vocab_size: what the model has
    learnt stays (Hewitt 2021, "Initializing New Word Embeddings for Pretrained Language Models").
    """
    import torch

    grown = dict(tensors)
    for name in ("embedding.weight", "output.weight"):
        if name in grown:
            rows = grown[name]
            added = rows.mean(dim=0, keepdim=True).expand(max(vocab_size - len(rows), 0), -1)
            grown[name] = torch.cat([rows[:vocab_size], added])
    return grown


def _read_config(folder: Path) -> tuple[ModelConfig, int, int]:
    path = folder / "config.json"
    try:
        said = json.loads(path.read_bytes())
        if not isinstance(said, dict):
            raise ValueError("no JSON object")
        return our_config(said)
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}; that is where a model tells its shape") from None
    except ValidationError as error:
        reasons = (f"{'.'.join(map(str, detail['loc']))} {detail['msg']}" for detail in error.errors())
        raise UsageError(f"{path}: {'; '.join(reasons)}") from None
    except (ValueError, TypeError) as error:
        raise UsageError(f"{path}: {error}") from None


def _weight_files(folder: Path) -> list[Path]:
    """The safetensors of a model, in one file or, told by an index, in several."""
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        try:
            names = sorted(set(json.loads(index.read_bytes())["weight_map"].values()))
        except (ValueError, KeyError, TypeError, AttributeError):
            raise StageError(f"{index}: no index of safetensors") from None
        missing = [name for name in names if Path(name).name != name or not (folder / name).is_file()]
        if missing:
            raise StageError(f"{index}: {missing[0]} is not in the folder", hint="fetch the model again, whole")
        return [folder / name for name in names]
    files = sorted(folder.glob("*.safetensors"))
    if len(files) != 1:
        files = [folder / "model.safetensors"]
    if not files[0].is_file():
        pickles = sorted(path.name for path in folder.glob("*.bin"))
        others = f"; {pickles[0]} is a pickle, which could run code" if pickles else ""
        raise UsageError(
            f"{folder}: no model.safetensors{others}",
            hint="AutoModelForCausalLM.from_pretrained(…).save_pretrained(…)  in transformers writes one",
        )
    return files
