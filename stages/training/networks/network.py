"""What every network here is: token ids in, logits out, with the last hidden state to be had before the logits."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Collection, Sequence

import torch
from torch import Tensor, nn

from stages.training.networks.kv_cache import Cache
from stages.training.shape import ModelConfig


class Network(nn.Module, ABC):
    """A decoder with an embedding and an output matrix, which are one where `tie_embeddings` says so."""

    def __init__(self, config: ModelConfig, vocab_size: int, context_length: int) -> None:
        super().__init__()
        self.config, self.vocab_size, self.context_length = config, vocab_size, context_length
        self.embedding = nn.Embedding(vocab_size, config.d_model)
        self.output = nn.Linear(config.d_model, vocab_size, bias=False)
        if config.tie_embeddings:
            self.output.weight = self.embedding.weight

    @abstractmethod
    def hidden(self, tokens: Tensor, documents: Tensor | None = None, cache: Cache | None = None) -> Tensor:
        """What the output matrix is applied to, (batch, time, d_model), for token ids (batch, time).

        time is at most `context_length`. `documents` (batch, time) numbers the documents that share a row: a token sees
        only its own, as if it stood in a row alone. None: a row is one document. A `cache` in which the tokens have
        their places adds those before them.
        """

    def forward(self, tokens: Tensor, documents: Tensor | None = None) -> Tensor:
        """Logits (batch, time, vocab_size) for token ids (batch, time)."""
        logits: Tensor = self.output(self.hidden(tokens, documents))
        return logits

    @torch.inference_mode()
    def read(self, rows: Sequence[Sequence[int]], cache: Cache) -> Tensor:
        """Logits (rows, vocab_size) of what follows each row of token ids, which go on from those in the cache.

        In a new cache the rows may differ in length, later they may not; none is empty. Raises ValueError for such, and
        for more than `context_length` tokens.
        """
        counts = [len(row) for row in rows]
        longest = max(counts)
        if min(counts) == 0 or (cache.lengths and min(counts) < longest):
            raise ValueError(f"rows of {min(counts)} to {longest} tokens")
        if longest + max(cache.lengths, default=0) > self.context_length:
            raise ValueError(f"more than {self.context_length} tokens")
        device = self.embedding.weight.device
        tokens = torch.tensor([[*row, *[0] * (longest - len(row))] for row in rows], device=device)
        cache.place(tokens)
        hidden = self.hidden(tokens, cache=cache)
        cache.advance(counts)
        last = torch.tensor(counts, device=device) - 1
        logits: Tensor = self.output(hidden[torch.arange(len(rows), device=device), last])
        return logits

    def new_cache(self) -> Cache:
        """An empty one for `read`."""
        return Cache(self.config.n_layers)

    def row_parts(self, name: str) -> tuple[int, ...]:
        """The rows of each matrix that lie stacked in the parameter of that name; empty where it is one matrix."""
        return ()

    def draw_weights(self, *, residual: Collection[str] = (), scaled: bool = True) -> None:
        """Matrices N(0, init_std), biases zero.

        The matrices whose names end with one of `residual` write to the residual stream, which grows with each: their
        spread is divided by √(2·n_layers) if `scaled` (Radford et al. 2019, GPT-2), or they are zero by `zero_init`.
        """
        config = self.config
        for name, parameter in self.named_parameters():
            writes = name.endswith(tuple(residual))
            if name.endswith("bias") or (writes and config.zero_init):
                nn.init.zeros_(parameter)
            elif parameter.dim() >= 2:
                layers = 2 * config.n_layers if writes and scaled else 1
                nn.init.normal_(parameter, mean=0.0, std=config.init_std / math.sqrt(layers))


def causal_mask(documents: Tensor) -> Tensor:
    """Which token sees which, (batch, 1, time, time): those of its own document up to itself."""
    same = documents[:, None, :, None] == documents[:, None, None, :]
    return same.tril()


def places(documents: Tensor) -> Tensor:
    """How far each token of (batch, time) stands from the start of its document."""
    time = torch.arange(documents.shape[1], device=documents.device).expand_as(documents)
    starts = torch.zeros_like(time)
    starts[:, 1:] = time[:, 1:] * (documents[:, 1:] != documents[:, :-1])
    return time - starts.cummax(dim=1).values
