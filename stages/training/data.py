"""Batches from token files, each a function of its number alone: to resume, a run needs only that number."""

from __future__ import annotations

import json
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class Batch:
    """`inputs` and `targets` (batch, time) int64; `mask` (batch, time) bool says which targets count, None for all."""

    inputs: Tensor
    targets: Tensor
    mask: Tensor | None = None

    @property
    def counted(self) -> int:
        """How many targets count in the loss."""
        return self.targets.numel() if self.mask is None else int(self.mask.sum())


class Batches(Protocol):
    """A source of training batches and a fixed validation set."""

    def batch(self, number: int) -> Batch:
        """The training batch of that number, from 0."""

    def validation(self) -> list[Batch]:
        """The validation batches, the same at each call."""


@dataclass(frozen=True)
class TokenMeta:
    """What `tokenize` wrote beside the token files."""

    vocab_size: int
    context_length: int
    dtype: str
    bos_id: int
    eos_id: int
    pad_id: int
    system: str
    sides: dict[str, dict[str, int]]


def read_meta(folder: Path) -> TokenMeta:
    return TokenMeta(**json.loads((folder / "meta.json").read_text(encoding="utf-8")))


class TextBatches:
    """Windows of a flat token file.

    Each epoch cuts the file into windows at an offset of its own and visits them in an order of its own, both drawn
    from (seed, epoch). So no token is learnt twice in an epoch; less than two windows' worth at the ends is left out.
    The `<eos>` that ends a document is read as the `<bos>` of the next: as a target the model learns to say `<eos>`, as
    an input it meets `<bos>` where a text starts, just as every runtime will present it.
    """

    def __init__(self, folder: Path, *, batch_size: int, seed: int, validation_tokens: int) -> None:
        self.meta = read_meta(folder)
        self.length, self.batch_size, self.seed = self.meta.context_length, batch_size, seed
        self.train = np.memmap(folder / "train.bin", dtype=self.meta.dtype, mode="r")
        self.val = np.memmap(folder / "val.bin", dtype=self.meta.dtype, mode="r")[: validation_tokens + 1]
        self.windows = max((len(self.train) - self.length) // self.length, 1)
        self._order: tuple[int, np.ndarray[Any, Any], int] | None = None

    def epochs(self, batches: int) -> float:
        """How many times that many batches go through the training tokens."""
        return batches * self.batch_size / self.windows

    def unigram_loss(self) -> float:
        """Validation loss, nats per token, of guessing by frequency in training alone: what a network has to beat."""
        counts = np.bincount(self.train, minlength=self.meta.vocab_size) + 1.0
        return float(-np.log(counts / counts.sum())[self.val[1:]].mean())

    def batch(self, number: int) -> Batch:
        first = number * self.batch_size
        return self._cut(
            self.train, [self._start(index) for index in range(first, first + self.batch_size)], self.length
        )

    def validation(self) -> list[Batch]:
        length = min(self.length, len(self.val) - 1)
        starts = range(0, len(self.val) - length, length)
        groups = [starts[i : i + self.batch_size] for i in range(0, len(starts), self.batch_size)]
        return [self._cut(self.val, list(group), length) for group in groups]

    def _start(self, index: int) -> int:
        epoch, position = divmod(index, self.windows)
        if self._order is None or self._order[0] != epoch:
            rng = np.random.default_rng([self.seed, epoch])
            spare = len(self.train) - 1 - self.windows * self.length
            self._order = epoch, rng.permutation(self.windows), int(rng.integers(0, spare + 1))
        return int(self._order[1][position]) * self.length + self._order[2]

    def _cut(self, tokens: np.ndarray[Any, Any], starts: list[int], length: int) -> Batch:
        rows = torch.from_numpy(np.stack([tokens[s : s + length + 1].astype(np.int64) for s in starts]))
        inputs, targets = rows[:, :-1].clone(), rows[:, 1:].clone()
        inputs[inputs == self.meta.eos_id] = self.meta.bos_id
        return Batch(inputs, targets)


class PairBatches:
    """Whole conversations, padded to the longest of the batch; only what the assistant says counts."""

    def __init__(self, folder: Path, *, batch_size: int, seed: int) -> None:
        self.meta = read_meta(folder)
        self.batch_size, self.seed = batch_size, seed
        self.train = self._read(folder, "train_pairs")
        self.val = self._read(folder, "val_pairs")
        self._order: tuple[int, np.ndarray[Any, Any]] | None = None

    def epochs(self, batches: int) -> float:
        return batches * self.batch_size / max(len(self.train), 1)

    def batch(self, number: int) -> Batch:
        first = number * self.batch_size
        return self._pad([self._pick(index) for index in range(first, first + self.batch_size)])

    def validation(self) -> list[Batch]:
        return [self._pad(self.val[i : i + self.batch_size]) for i in range(0, len(self.val), self.batch_size)]

    def _pick(self, index: int) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
        epoch, position = divmod(index, len(self.train))
        if self._order is None or self._order[0] != epoch:
            self._order = epoch, np.random.default_rng([self.seed, epoch]).permutation(len(self.train))
        return self.train[int(self._order[1][position])]

    def _read(self, folder: Path, name: str) -> list[tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]]:
        tokens = np.fromfile(folder / f"{name}.bin", dtype=self.meta.dtype).astype(np.int64)
        mask = np.fromfile(folder / f"{name}.mask", dtype=np.uint8).astype(bool)
        starts = np.fromfile(folder / f"{name}.idx", dtype="<i8")
        return [(tokens[a:b], mask[a:b]) for a, b in pairwise([*starts, len(tokens)])]

    def _pad(self, rows: list[tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]]) -> Batch:
        width = max(len(tokens) for tokens, _ in rows)
        ids = np.full((len(rows), width), self.meta.pad_id, dtype=np.int64)
        counts = np.zeros((len(rows), width), dtype=bool)
        for row, (tokens, mask) in enumerate(rows):
            ids[row, : len(tokens)] = tokens
            counts[row, : len(tokens)] = mask
        whole, counted = torch.from_numpy(ids), torch.from_numpy(counts)
        return Batch(whole[:, :-1].contiguous(), whole[:, 1:].contiguous(), counted[:, 1:].contiguous())
