"""Checkpoints of a training run: weights, optimizer, random state and counters, written whole or not at all."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from pipeline.store import canonical, sha256_file, write_atomic
from stages.training.model import load_weights, weights
from stages.training.networks.network import Network

KEEP = 2


@dataclass
class State:
    """Where a run stands: steps done, tokens learnt from, seconds spent, best validation loss (nats per token)."""

    step: int = 0
    tokens: int = 0
    seconds: float = 0.0
    best_loss: float = float("inf")
    best_step: int = 0


def save(folder: Path, model: Network, optimizer: torch.optim.Optimizer, state: State) -> Path:
    """Write `step-001500/` below the folder and remove all but the newest checkpoints."""
    final = folder / f"step-{state.step:06d}"
    partial = folder / f".{final.name}"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    save_file(weights(model), partial / "model.safetensors")
    save_file(_optimizer_tensors(optimizer), partial / "optimizer.safetensors")
    sums = {path.name: sha256_file(path) for path in sorted(partial.glob("*.safetensors"))}
    told = {"state": asdict(state), "sha256": {"state": _state_sum(asdict(state)), **sums}}
    write_atomic(partial / "state.json", json.dumps(told, indent=1).encode())
    shutil.rmtree(final, ignore_errors=True)
    partial.rename(final)
    for old in _by_step(folder)[:-KEEP]:
        shutil.rmtree(old)
    return final


def load_newest(folder: Path, model: Network, optimizer: torch.optim.Optimizer, warn: Callable[[str], None]) -> State:
    """Put a run back to its newest whole checkpoint; a damaged one is named and passed over. A fresh State if none."""
    for path in reversed(_by_step(folder)):
        try:
            told = json.loads((path / "state.json").read_bytes())
            for name, digest in told["sha256"].items():
                if digest != (_state_sum(told["state"]) if name == "state" else sha256_file(path / name)):
                    raise ValueError(f"{name} does not match its checksum")
            load_weights(model, path / "model.safetensors")
            _restore_optimizer(optimizer, load_file(path / "optimizer.safetensors"))
            return State(**told["state"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            warn(f"{path.name} is damaged ({error}); trying the one before")
    return State()


def _by_step(folder: Path) -> list[Path]:
    """The checkpoints, oldest first; a name grows beyond its six digits after 999,999 steps."""
    return sorted(folder.glob("step-*"), key=lambda path: (len(path.name), path.name))


def _state_sum(state: Mapping[str, Any]) -> str:
    return hashlib.sha256(canonical(state)).hexdigest()


def _optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, torch.Tensor]:
    """The optimizer's state and the random state as named tensors."""
    found = {"random.cpu": torch.get_rng_state()}
    for index, cuda in enumerate(torch.cuda.get_rng_state_all() if torch.cuda.is_available() else ()):
        found[f"random.cuda.{index}"] = cuda
    for number, values in optimizer.state_dict()["state"].items():
        found |= {f"{number}.{name}": value.detach().cpu().contiguous() for name, value in values.items()}
    return found


def _restore_optimizer(optimizer: torch.optim.Optimizer, tensors: dict[str, torch.Tensor]) -> None:
    state: dict[int, dict[str, torch.Tensor]] = {}
    cuda = []
    for name, tensor in sorted(tensors.items()):
        head, _, rest = name.partition(".")
        if head != "random":
            state.setdefault(int(head), {})[rest] = tensor
        elif rest == "cpu":
            torch.set_rng_state(tensor)
        else:
            cuda.append(tensor)
    if cuda and torch.cuda.device_count() == len(cuda):
        torch.cuda.set_rng_state_all(cuda)
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
