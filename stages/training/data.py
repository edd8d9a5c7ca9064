"""Batches from token files, by sequence number: to resume, a run needs only the number of its step."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import torch
from torch import Tensor

from pipeline.errors import StageError
from stages.training.packing import Documents, Ints, Packing, Single, Spans, Stream, by_epoch, counting

UNCOUNTED = -100
WIDTHS = 32  # conversations are padded to a multiple of this many tokens, so that compiled code meets few shapes
CHUNK = 1 << 24

Ids = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True)
class Batch:
    """`inputs` and `targets` (rows, time) int64, targets −100 where they do not count in the loss.

    `documents` (rows, time) int64 numbers the documents that share a row, from 0; None where a row is one text to the
    network. `counted` is the number of targets that count, known without asking the device.
    """

    inputs: Tensor
    targets: Tensor
    documents: Tensor | None = None
    counted: int = -1

    def __post_init__(self) -> None:
        if self.counted < 0:
            object.__setattr__(self, "counted", int((self.targets != UNCOUNTED).sum()))

    def to(self, device: torch.device) -> Batch:
        """The batch on a device; from pinned memory the copy runs beside what the device is doing."""
        return self._each(lambda tensor: tensor.to(device, non_blocking=True))

    def pinned(self) -> Batch:
        """The batch in memory that a CUDA device can read by itself."""
        return self._each(Tensor.pin_memory)

    def _each(self, change: Callable[[Tensor], Tensor]) -> Batch:
        documents = None if self.documents is None else change(self.documents)
        return replace(self, inputs=change(self.inputs), targets=change(self.targets), documents=documents)


class Batches(Protocol):
    """An endless series of training sequences and a fixed validation set."""

    def rows(self, first: int, count: int) -> Batch:
        """Training sequences number `first` … `first + count - 1`: a function of the numbers alone."""

    def epochs(self, sequences: int) -> float:
        """How many times that many sequences go through the training data."""

    def validation(self, batch_size: int) -> list[Batch]:
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
    """Sequences of `context_length` tokens from the texts, packed as `packing` says (see packing.py).

    The `<eos>` that ends a document is read as the `<bos>` of the next: as a target the model learns to say `<eos>`, as
    an input it meets `<bos>` where a text starts, just as every runtime will present it. So a row of whole documents
    starts with `<bos>`. The later pieces of a document that is cut do not: they start with the token before them, for a
    `<bos>` there would teach that a text may begin in the middle of a sentence.
    """

    def __init__(
        self,
        folder: Path,
        *,
        seed: int,
        validation_tokens: int,
        packing: Literal["stream", "documents", "single"] = "stream",
    ) -> None:
        self.meta = meta = read_meta(folder)
        self.width, self.packing = meta.context_length, packing
        self.train, self.val = read_tokens(folder, "train", meta), read_tokens(folder, "val", meta)
        self.val_width = self.width
        if packing == "stream":
            for name, tokens, fewest in (("train", self.train, self.width + 1), ("val", self.val, 2)):
                if len(tokens) < fewest:
                    raise StageError(f"{folder / name}.bin: {len(tokens)} tokens are too few for rows of {self.width}")
            self.series: Packing = Stream(len(self.train), self.width, seed)
            self.val = self.val[: validation_tokens + 1]
            self.val_width = min(self.width, len(self.val) - 1)
            starts = np.arange(1, len(self.val) - self.val_width + 1, self.val_width)
            self.held_back = Spans.one_a_row(starts, np.full(len(starts), self.val_width))
        else:
            kind = Documents if packing == "documents" else Single
            self.series = kind(*read_documents(folder, "train", len(self.train)), self.width, seed)
            starts, lengths = read_documents(folder, "val", len(self.val))
            some = max(int(np.searchsorted(np.cumsum(lengths), validation_tokens, "right")), 1)
            held_back = kind(starts[:some], lengths[:some], self.width, seed)
            self.held_back = held_back.spans(0, np.arange(held_back.rows))
            self.val = self.val[: int(lengths[:some].sum())]

    def rows(self, first: int, count: int) -> Batch:
        parts = [self.series.spans(epoch, rows) for epoch, rows in by_epoch(first, count, self.series.rows)]
        return self._batch(self.train, Spans.joined(parts), self.width)

    def epochs(self, sequences: int) -> float:
        return sequences / self.series.rows

    def validation(self, batch_size: int) -> list[Batch]:
        groups = self.held_back.groups(batch_size)
        return [self._batch(self.val, group, self.val_width) for group in groups]

    def unigram_loss(self) -> float:
        """Validation loss, nats per token, of guessing by frequency in training alone: what a network has to beat."""
        counts = np.ones(self.meta.vocab_size)
        for start in range(0, len(self.train), CHUNK):
            counts += np.bincount(self.train[start : start + CHUNK], minlength=self.meta.vocab_size)
        return float(-np.log(counts / counts.sum())[self.val[1:]].mean())

    def _batch(self, tokens: Ids, spans: Spans, width: int) -> Batch:
        laid = LaidOut(tokens, spans, width, self.meta)
        inputs = laid.inputs
        inputs[inputs == self.meta.eos_id] = self.meta.bos_id
        return laid.batch(laid.documents() if self.packing == "documents" else None)


class PairBatches:
    """Conversations up to an answer, padded; only that answer counts.

    The conversations of a step stand in it by length, the longest first: its gradient is a sum in which their order is
    nothing, and its micro-batches are padded little. Which conversations a step has is drawn without regard to length.
    """

    def __init__(self, folder: Path, *, seed: int, sequences_per_step: int = 1) -> None:
        self.meta = read_meta(folder)
        self.seed, self.sequences_per_step = seed, sequences_per_step
        self.train = Conversations(folder, "train_pairs", self.meta)
        self.val = Conversations(folder, "val_pairs", self.meta)
        self._epoch = lru_cache(maxsize=2)(
            lambda epoch: np.random.default_rng([seed, epoch]).permutation(len(self.train))
        )
        self._step = lru_cache(maxsize=4)(self._sorted)

    def rows(self, first: int, count: int) -> Batch:
        parts = [self._step(step)[rows] for step, rows in by_epoch(first, count, self.sequences_per_step)]
        return self.train.batch(np.concatenate(parts))

    def epochs(self, sequences: int) -> float:
        return sequences / max(len(self.train), 1)

    def validation(self, batch_size: int) -> list[Batch]:
        by_length = np.argsort(-self.val.lengths, kind="stable")
        return [self.val.batch(by_length[i : i + batch_size]) for i in range(0, len(self.val), batch_size)]

    def _sorted(self, step: int) -> Ints:
        """The conversations of a step, the longest first."""
        size = self.sequences_per_step
        parts = [self._epoch(epoch)[rows] for epoch, rows in by_epoch(step * size, size, len(self.train))]
        chosen = np.concatenate(parts)
        return chosen[np.argsort(-self.train.lengths[chosen], kind="stable")]


class Conversations:
    """The conversations of a file: tokens, and a mask of the answers."""

    def __init__(self, folder: Path, name: str, meta: TokenMeta) -> None:
        self.meta = meta
        self.tokens = read_tokens(folder, name, meta)
        self.mask = read_array(folder / f"{name}.mask", np.dtype(np.uint8), len(self.tokens))
        self.starts, self.lengths = read_documents(folder, name, len(self.tokens))
        if len(self.lengths) and not 2 <= self.lengths.min() <= self.lengths.max() <= meta.context_length + 1:
            raise StageError(
                f"{folder / name}.idx: conversations of {self.lengths.min()} to {self.lengths.max()} tokens"
                f" do not fit context_length {meta.context_length}"
            )

    def __len__(self) -> int:
        return len(self.starts)

    def batch(self, chosen: Ints) -> Batch:
        """Those conversations, padded to one width: that of the longest, rounded up to a multiple of WIDTHS."""
        spans = Spans.one_a_row(self.starts[chosen] + 1, self.lengths[chosen] - 1)
        width = min(-(-int(spans.length.max()) // WIDTHS) * WIDTHS, self.meta.context_length)
        laid = LaidOut(self.tokens, spans, width, self.meta)
        laid.targets.reshape(-1)[laid.place[self.mask[laid.source] == 0]] = UNCOUNTED
        return laid.batch()


class LaidOut:
    """Spans of tokens in rows of `width`: `inputs` and `targets` (rows, width), padded with pad_id and UNCOUNTED.

    `source` says which token of the file each target is, `place` where in the flattened rows it stands.
    Raises StageError where an id is outside of the vocabulary.
    """

    def __init__(self, tokens: Ids, spans: Spans, width: int, meta: TokenMeta) -> None:
        self.spans, shape = spans, (spans.rows, width)
        leader = np.searchsorted(spans.row, spans.row)  # the first span of each span's row
        before = np.cumsum(spans.length) - spans.length
        within = counting(spans.length)
        self.number = np.arange(len(leader)) - leader
        self.place = np.repeat(spans.row * width + before - before[leader], spans.length) + within
        self.source = np.repeat(spans.start, spans.length) + within
        self.inputs, self.targets = np.full(shape, meta.pad_id), np.full(shape, UNCOUNTED)
        read = tokens[self.source - 1].astype(np.int64)
        read[self.source == 0] = meta.bos_id  # nothing stands before the file's first token
        self.inputs.reshape(-1)[self.place] = read
        self.targets.reshape(-1)[self.place] = tokens[self.source]
        highest = max(int(self.inputs.max()), int(self.targets.max()))
        if highest >= meta.vocab_size:
            raise StageError(f"the token files hold id {highest}; the vocabulary has {meta.vocab_size}")

    def documents(self) -> Ints:
        """The number of the span at each place, counted within its row; the padding is one more."""
        numbers = np.repeat(np.bincount(self.spans.row), self.inputs.shape[1])
        numbers[self.place] = np.repeat(self.number, self.spans.length)
        return numbers.reshape(self.inputs.shape)

    def batch(self, documents: Ints | None = None) -> Batch:
        numbers = None if documents is None else torch.from_numpy(documents)
        return Batch(torch.from_numpy(self.inputs), torch.from_numpy(self.targets), numbers)


def read_tokens(folder: Path, name: str, meta: TokenMeta) -> Ids:
    """The ids of `<name>.bin`, mapped and not read. Raises StageError where the file is not what meta.json tells."""
    if meta.dtype not in ("uint16", "uint32"):
        raise StageError(f"{folder}/meta.json: dtype {meta.dtype!r} is neither uint16 nor uint32")
    path = folder / f"{name}.bin"
    dtype = np.dtype(meta.dtype).newbyteorder("<")
    return read_array(path, dtype, meta.sides.get(name, {}).get("tokens"))


def read_documents(folder: Path, name: str, tokens: int) -> tuple[Ints, Ints]:
    """Start and length of each document of `<name>.bin`, in tokens, from `<name>.idx`."""
    path = folder / f"{name}.idx"
    starts = np.asarray(read_array(path, np.dtype("<i8")), dtype=np.int64)
    lengths = np.diff(starts, append=tokens)
    if (tokens and not len(starts)) or starts[:1].any() or (lengths < 1).any():
        raise StageError(f"{path} does not fit {name}.bin: starts have to rise from 0 to below {tokens}")
    return starts, lengths


def read_array(path: Path, dtype: np.dtype[Any], count: int | None = None) -> Ids:
    """A flat file as an array, mapped and not read; `count` is how many values it has to have."""
    size = path.stat().st_size
    if size % dtype.itemsize or count not in (None, size // dtype.itemsize):
        wanted = f"{count:,} values" if count is not None else "whole values"
        raise StageError(f"{path} has {size:,} bytes, which are not {wanted} of {dtype.name}: is it cut short?")
    return np.asarray(np.memmap(path, dtype=dtype, mode="r")) if size else np.empty(0, dtype=dtype)
