"""The one door to the networks: make one, save it, load it."""

from __future__ import annotations

import json
from pathlib import Path

from torch import Tensor

from pipeline.store import write_atomic
from stages.training.networks.llama import Llama
from stages.training.networks.network import Network
from stages.training.shape import ModelConfig

WEIGHTS, SHAPE = "model.safetensors", "model.json"


def make_model(config: ModelConfig, vocab_size: int, context_length: int) -> Network:
    """A freshly initialised network of the configured architecture."""
    return Llama(config, vocab_size, context_length)


def save_model(folder: Path, model: Network) -> None:
    """Write `model.safetensors` and the shape that it fits, `model.json`, each in one rename."""
    from safetensors.torch import save_file

    temporary = folder / f".{WEIGHTS}"
    save_file(weights(model), temporary)
    temporary.replace(folder / WEIGHTS)
    shape = {
        "model": model.config.model_dump(mode="json"),
        "vocab_size": model.vocab_size,
        "context_length": model.context_length,
    }
    write_atomic(folder / SHAPE, json.dumps(shape, indent=1).encode())


def load_model(folder: Path) -> Network:
    """The model that `save_model` wrote, in evaluation mode. Raises ValueError where shape and weights differ."""
    told = json.loads((folder / SHAPE).read_bytes())
    config = ModelConfig.model_validate_json(json.dumps(told["model"]))
    model = make_model(config, told["vocab_size"], told["context_length"])
    load_weights(model, folder / WEIGHTS)
    return model.eval()


def load_weights(model: Network, path: Path) -> None:
    """Fill a model from a safetensors file. Raises ValueError where names or shapes differ."""
    from safetensors.torch import load_file

    tensors = load_file(path)
    if model.config.tie_embeddings:
        tensors["output.weight"] = tensors["embedding.weight"]
    try:
        model.load_state_dict(tensors, strict=True)
    except RuntimeError as error:
        raise ValueError(f"{path} does not fit the model: {error}") from error


def weights(model: Network) -> dict[str, Tensor]:
    """The weights by name, contiguous and on the CPU, a tied embedding once: what is saved."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    if model.config.tie_embeddings:
        del tensors["output.weight"]
    return tensors
