"""What every network here is: token ids in, logits out, with the last hidden state to be had before the logits."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor, nn

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
    def hidden(self, tokens: Tensor, documents: Tensor | None = None) -> Tensor:
        """What the output matrix is applied to, (batch, time, d_model), for token ids (batch, time).

        time is at most `context_length`. `documents` (batch, time) numbers the documents that share a row: a token sees
        only its own. None: a row is one document.
        """

    def forward(self, tokens: Tensor, documents: Tensor | None = None) -> Tensor:
        """Logits (batch, time, vocab_size) for token ids (batch, time)."""
        logits: Tensor = self.output(self.hidden(tokens, documents))
        return logits

    def row_parts(self, name: str) -> tuple[int, ...]:
        """The rows of each matrix that lie stacked in the parameter of that name; empty where it is one matrix."""
        return ()
