"""Checkpoints of a training run: weights, averages, optimizer and counters, written whole or not at all.

A step's random numbers are drawn from (seed, step), so that there is no random state to keep.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file
from torch import Tensor

from pipeline.console import size
from pipeline.errors import StageError
from pipeline.hardware import free_bytes
from pipeline.store import canonical, sha256_file, write_atomic

SPARE_BYTES = 16 * 2**20
Parts = Mapping[str, Mapping[str, Tensor]]


@dataclass
class State:
    """Where a run stands.

    `tokens` learnt from, `seconds` spent, `best_loss` (nats per token) at `best_step`; `micro_batch` is smaller than
    configured after running out of memory, 0 before the first step; `skipped` are the last steps passed over and
    `rollbacks` how often the run went back; `shift` steps of data are passed over since; `loss_mean` and
    `loss_variance` follow the training loss.
    """

    step: int = 0
    tokens: int = 0
    seconds: float = 0.0
    best_loss: float = float("inf")
    best_step: int = 0
    micro_batch: int = 0
    skipped: list[int] = field(default_factory=list)
    rollbacks: int = 0
    shift: int = 0
    losses: int = 0
    loss_mean: float = 0.0
    loss_variance: float = 0.0


def save(folder: Path, parts: Parts, state: State, *, keep: int = 2) -> Path:
    """Write `step-001500/` with a safetensors file for each part, and remove all but the newest `keep` checkpoints.

    Raises StageError, with the older checkpoints untouched, where the disk has no room for it.
    """
    final = folder / f"step-{state.step:06d}"
    partial = folder / f".{final.name}"
    for leftover in folder.glob(".step-*"):
        shutil.rmtree(leftover)
    partial.mkdir(parents=True)
    require_space(folder, sum(tensor.nbytes for tensors in parts.values() for tensor in tensors.values()))
    for name, tensors in parts.items():
        save_file(dict(tensors), partial / f"{name}.safetensors")
    sums = {path.name: sha256_file(path) for path in sorted(partial.glob("*.safetensors"))}
    told = {"state": asdict(state), "sha256": {"state": _state_sum(asdict(state)), **sums}}
    write_atomic(partial / "state.json", json.dumps(told, indent=1).encode())
    shutil.rmtree(final, ignore_errors=True)
    partial.rename(final)
    for old in _by_step(folder)[:-keep]:
        shutil.rmtree(old)
    return final


def load_newest(folder: Path, load: Callable[[Parts], None], warn: Callable[[str], None]) -> State | None:
    """Give the parts of the newest whole checkpoint to `load` and return its state; None where there is none.

    A checkpoint that is damaged, or that `load` refuses with ValueError, is named and passed over for the one before.
    """
    for path in reversed(_by_step(folder)):
        try:
            told = json.loads((path / "state.json").read_bytes())
            for name, digest in told["sha256"].items():
                if digest != (_state_sum(told["state"]) if name == "state" else sha256_file(path / name)):
                    raise ValueError(f"{name} does not match its checksum")
            state = State(**told["state"])
            load({Path(name).stem: load_file(path / name) for name in told["sha256"] if name != "state"})
            return state
        except (OSError, ValueError, KeyError, TypeError) as error:
            warn(f"{path.name} is damaged ({error}); trying the one before")
    return None


def forget_after(folder: Path, step: int) -> None:
    """Remove the checkpoints of later steps: the run goes on from this one in another way."""
    for path in _by_step(folder):
        if int(path.name.removeprefix("step-")) > step:
            shutil.rmtree(path)


def require_space(folder: Path, needed: int) -> None:
    """Raise StageError where the disk of a folder has not so many bytes free, and some to spare."""
    free = free_bytes(folder)
    if free < needed + SPARE_BYTES:
        raise StageError(
            f"no room for a checkpoint of {size(needed)} in {folder.parent.resolve()}: {size(free)} are free",
            hint="pipeline gc  frees old artifacts; the same command then goes on from the last checkpoint",
        )


def _by_step(folder: Path) -> list[Path]:
    """The checkpoints, oldest first; a name grows beyond its six digits after 999,999 steps."""
    return sorted(folder.glob("step-*"), key=lambda path: (len(path.name), path.name))


def _state_sum(state: Mapping[str, Any]) -> str:
    return hashlib.sha256(canonical(state)).hexdigest()
