"""The one door to the networks: make one or start from another's, save it, load it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from pipeline.errors import StageError, UsageError
from pipeline.store import write_atomic
from stages.training.hub import grow_vocabulary, read_pretrained
from stages.training.networks.gpt2 import GPT2
from stages.training.networks.llama import Llama
from stages.training.networks.microgpt import MicroGPT
from stages.training.networks.network import Network
from stages.training.shape import ModelConfig

WEIGHTS, SHAPE = "model.safetensors", "model.json"
NETWORKS: dict[str, type[Network]] = {"llama": Llama, "gpt2": GPT2, "microgpt": MicroGPT}


def make_model(config: ModelConfig, vocab_size: int, context_length: int) -> Network:
    """A freshly initialised network of the configured architecture."""
    return NETWORKS[config.architecture](config, vocab_size, context_length)


def start_model(config: ModelConfig, vocab_size: int, context_length: int, base: Path = Path()) -> Network:
    """The network that training starts from: a fresh one, or with `init_from` that of a HuggingFace model.

    The latter's shape takes the place of the config's, but for dropout; its vocabulary is fitted to ours, and of its
    learned positions those of our context stay. Relative folders are relative to `base`. Raises UsageError or
    StageError where it cannot be had or does not fit.
    """
    if not config.init_from:
        return make_model(config, vocab_size, context_length)
    found = read_pretrained(config.init_from, base)
    if vocab_size < 0.9 * found.vocab_size:  # theirs may have some spare rows
        raise UsageError(
            f"model.init_from: {config.init_from} knows {found.vocab_size:,} pieces, the tokenizer has {vocab_size:,}",
            hint=f"take its tokenizer: --set tokenizer.kind=byte_level --set tokenizer.init_from={config.init_from}",
        )
    tensors = grow_vocabulary(found.tensors, vocab_size)
    if "positions.weight" in tensors:
        if context_length > found.context_length:
            raise UsageError(
                f"tokenize.context_length: {context_length} is more than the {found.context_length} positions that "
                f"{config.init_from} has learned"
            )
        tensors["positions.weight"] = tensors["positions.weight"][:context_length]
    shape = found.config.model_copy(update={"init_from": config.init_from, "dropout": config.dropout})
    model = make_model(shape, vocab_size, context_length)
    try:
        fill(model, tensors)
    except ValueError as error:
        raise StageError(f"model.init_from: {config.init_from} is not what its config.json says: {error}") from None
    return model


def save_model(folder: Path, model: Network, tensors: Mapping[str, Tensor] | None = None) -> None:
    """Write `model.safetensors` (of other tensors than the model's own if given) and the shape that it fits."""
    from safetensors.torch import save_file

    temporary = folder / f".{WEIGHTS}"
    save_file(dict(tensors or weights(model)), temporary)
    temporary.replace(folder / WEIGHTS)
    shape = {
        "model": model.config.model_dump(mode="json", exclude={"preset"}),  # all that it gives is told
        "vocab_size": model.vocab_size,
        "context_length": model.context_length,
    }
    write_atomic(folder / SHAPE, json.dumps(shape, indent=1).encode())


def load_model(folder: Path, *, mapped: bool = False) -> Network:
    """The model that `save_model` wrote, in evaluation mode. Raises ValueError where shape and weights differ.

    With `mapped` its weights are those in the file, which the system brings into memory as they are used and drops
    again when it is short.
    """
    with torch.device("meta" if mapped else "cpu"):
        model = shaped_model(folder)
    load_weights(model, folder / WEIGHTS, assign=mapped)
    return model.eval()


def shaped_model(folder: Path) -> Network:
    """A model of the shape that `save_model` wrote, with other weights."""
    told = json.loads((folder / SHAPE).read_bytes())
    config = ModelConfig.model_validate_json(json.dumps(told["model"]))
    return make_model(config, told["vocab_size"], told["context_length"])


def load_weights(model: Network, path: Path, *, assign: bool = False) -> None:
    """Fill a model from a safetensors file. Raises ValueError where it is damaged, or names or shapes differ.

    With `assign` the tensors of the file take the place of the model's.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        fill(model, load_file(path), assign=assign)
    except (SafetensorError, ValueError) as error:
        raise ValueError(f"{path} does not fit the model: {error}") from error


def fill(model: Network, tensors: Mapping[str, Tensor], *, assign: bool = False) -> None:
    """Copy tensors, named as `weights` names them, into a model. Raises ValueError where names or shapes differ."""
    require_fit(model, tensors)
    given = {name: tensor.float() if assign else tensor for name, tensor in tensors.items()}
    model.load_state_dict(given, strict=False, assign=assign)  # a tied output matrix is the embedding
    if assign and model.config.tie_embeddings:
        model.output.weight = model.embedding.weight


def require_fit(model: Network, tensors: Mapping[str, Tensor]) -> None:
    """Raise ValueError, naming what differs, unless the tensors are the weights of such a model."""
    wanted = held(model)
    differences = [
        *(f"{name} is missing" for name in wanted if name not in tensors),
        *(f"{name} is not part of it" for name in tensors if name not in wanted),
        *(
            f"{name} is {_times(tensors[name])} instead of {_times(tensor)}"
            for name, tensor in wanted.items()
            if name in tensors and tensors[name].shape != tensor.shape
        ),
    ]
    if differences:
        more = f" and {len(differences) - 3} more differences" if len(differences) > 3 else ""
        raise ValueError("; ".join(differences[:3]) + more)


def _times(tensor: Tensor) -> str:
    return "×".join(str(size) for size in tensor.shape) or "a number"


def weights(model: Network) -> dict[str, Tensor]:
    """The weights by name, contiguous and on the CPU, a tied embedding once: what is saved."""
    return {name: tensor.detach().cpu().contiguous() for name, tensor in held(model).items()}


def held(model: Network) -> dict[str, Tensor]:
    """The weights by name as they lie in the model, a tied embedding once."""
    tensors = model.state_dict()
    if model.config.tie_embeddings:
        del tensors["output.weight"]
    return tensors
