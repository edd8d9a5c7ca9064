"""What a network keeps of the tokens it has read, so that the next one costs a pass over that token alone."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from stages.training.networks.layers import attention, stack_groups, unstack_groups

GROWTH = 64  # tokens; room is made for so many at once


class Cache:
    """Keys and values of rows of tokens, each with its own length; the rows' first tokens lie side by side.

    `Network.read` fills it. What lies behind a row's length, such as padding, is seen by no query and written over.
    """

    def __init__(self, layers: int) -> None:
        self.lengths: list[int] = []
        self.layers = tuple(Layer(self) for _ in range(layers))
        self.positions: Tensor  # of the tokens being read, (rows, time), and behind the last of them:
        self.end = 0
        self.later: Tensor | None  # (rows, time, end): true for a key that a query must not see

    def __iter__(self) -> Iterator[Layer]:
        return iter(self.layers)

    def place(self, tokens: Tensor) -> None:
        """Make the tokens (rows, time) the next that are read: they follow those that the rows have."""
        rows, time = tokens.shape
        self.lengths = self.lengths or [0] * rows
        if len(self.lengths) != rows:
            raise ValueError(f"{rows} rows of tokens for a cache of {len(self.lengths)}")
        self.end = max(self.lengths) + time
        reach = torch.arange(self.end, device=tokens.device)
        self.positions = torch.tensor(self.lengths, device=tokens.device)[:, None] + reach[:time]
        self.later = None if self.even and time == 1 else reach > self.positions[:, :, None]

    @property
    def even(self) -> bool:
        """Whether all rows have the same length."""
        return len(set(self.lengths)) == 1

    def advance(self, counts: Sequence[int]) -> None:
        """Keep the first so many of the tokens just read, for each row."""
        self.lengths = [length + count for length, count in zip(self.lengths, counts, strict=True)]

    def take(self, rows: Sequence[int]) -> None:
        """Let these rows, in this order, be all there are; one that is named twice is doubled."""
        self.lengths = [self.lengths[row] for row in rows]
        for layer in self.layers:
            layer.take(rows)

    def drop(self, rows: Collection[int]) -> list[int]:
        """Let go of rows, whose places the last ones take. Returns which row of before is where."""
        left = [row for row in range(len(self.lengths)) if row not in rows]
        last = (row for row in left if row >= len(left))
        order = [next(last) if row in rows else row for row in range(len(left))]
        self.take(order)
        return order

    def join(self, other: Cache) -> None:
        """Add another's rows behind these."""
        self.lengths = self.lengths + other.lengths
        for layer, its in zip(self.layers, other.layers, strict=True):
            layer.join(its)


class Layer:
    """The part of a cache that belongs to one block."""

    def __init__(self, cache: Cache) -> None:
        self.cache = cache
        self.kept: tuple[Tensor, ...] = ()  # keys and values, (rows, heads, room, head_dim)

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """`layers.attention` of new tokens, (batch, time, heads, head_dim), to themselves and those before them."""
        cache, (rows, time, heads, _) = self.cache, q.shape
        self._keep(k, v)
        if not any(cache.lengths):
            return attention(q, k, v)
        keys, values = (kept[:, :, : cache.end].flatten(0, 1) for kept in self.kept)
        scores = torch.bmm(stack_groups(q, k.shape[2]), keys.transpose(1, 2))
        if cache.later is not None:
            scores.view(rows, heads, time, cache.end).masked_fill_(cache.later[:, None], -torch.inf)
        return unstack_groups(torch.bmm(scores.softmax(-1), values), q)

    def _keep(self, k: Tensor, v: Tensor) -> None:
        cache = self.cache
        self._grow(k, cache.end)
        rows = torch.arange(k.shape[0], device=k.device)[:, None]
        for kept, new in zip(self.kept, (k, v), strict=True):
            if cache.even:
                kept[:, :, cache.end - k.shape[1] : cache.end] = new.transpose(1, 2)
            else:
                kept[rows, :, cache.positions] = new

    def _grow(self, like: Tensor, end: int) -> None:
        if not self.kept:
            empty = like.new_zeros(like.shape[0], like.shape[2], 0, like.shape[3])
            self.kept = empty, empty
        missing = end - self.kept[0].shape[2]
        if missing > 0:  # zeros, since what is hidden is still multiplied, by 0
            self.kept = tuple(F.pad(kept, (0, 0, 0, -(-missing // GROWTH) * GROWTH)) for kept in self.kept)

    @torch.inference_mode()
    def take(self, rows: Sequence[int]) -> None:
        moved = [(to, row) for to, row in enumerate(rows) if to != row]
        if len(rows) > len(self.kept[0]):
            self.kept = tuple(kept[list(rows)] for kept in self.kept)
            return
        for kept in self.kept if moved else ():
            kept[[to for to, _ in moved]] = kept[[row for _, row in moved]]
        self.kept = tuple(kept[: len(rows)] for kept in self.kept)

    @torch.inference_mode()
    def join(self, other: Layer) -> None:
        if not self.kept:
            self.kept = other.kept
            return
        room = max(self.kept[0].shape[2], other.kept[0].shape[2])
        ours, theirs = (
            [F.pad(kept, (0, 0, 0, room - kept.shape[2])) for kept in layer.kept] for layer in (self, other)
        )
        self.kept = tuple(torch.cat(pair) for pair in zip(ours, theirs, strict=True))
