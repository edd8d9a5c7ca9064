"""How far the next-token probabilities of a model are from another's, and how well it foretells a text."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.float32]  # logits (places, vocab_size)
Places = NDArray[np.int64]  # token ids (places,)


class Distribution:
    """The probabilities that logits give, in every place, as what others are measured against."""

    def __init__(self, logits: Rows) -> None:
        """Takes no memory of `logits`, which may change afterwards. Raises FloatingPointError if not finite."""
        _require_finite(logits)
        self.best = logits.argmax(axis=1)
        self.top = logits.max(axis=1, keepdims=True)
        self.logits = logits - self.top
        self.spread = self.logits.var(axis=1)
        self.chances = np.exp(self.logits)
        total = self.chances.sum(axis=1, dtype=np.float64)
        self.chances /= total[:, None].astype(np.float32)
        self.log_total = np.log(total)

    def losses(self, targets: Places) -> NDArray[np.float64]:
        """−log p of each target, in nats."""
        found: NDArray[np.float64] = self.log_total - self.logits[np.arange(len(targets)), targets]
        return found


class Tally:
    """What is found out about one model, some places after the others: its divergence P‖Q as Q, its loss.

    The Kullback–Leibler divergence Σ p·log(p/q), in nats, is at least 0, and 0 for equal models.
    """

    def __init__(self) -> None:
        self._divergences: list[NDArray[np.float64]] = []
        self._loss, self._agreed, self._count = 0.0, 0, 0
        self._noise, self._spread = 0.0, 0.0

    def add(self, reference: Distribution, logits: Rows, targets: Places) -> None:
        """Count places in which `reference` is P and `logits` give Q. Raises FloatingPointError if not finite."""
        _require_finite(logits)
        shifted = logits - logits.max(axis=1, keepdims=True)
        log_total = np.log(np.exp(shifted).sum(axis=1, dtype=np.float64))
        self._loss += float((log_total - shifted[np.arange(len(targets)), targets]).sum())
        # Of the two logarithms only the difference is summed: they are nearly equal.
        difference = np.subtract(reference.logits, shifted, out=shifted)
        self._noise += float(difference.var(axis=1).sum())
        self._spread += float(reference.spread.sum())
        divergence = np.einsum("ij,ij->i", reference.chances, difference) - reference.log_total + log_total
        self._divergences.append(np.maximum(divergence, 0.0))
        self._agreed += int((logits.argmax(axis=1) == reference.best).sum())
        self._count += len(targets)

    def add_reference(self, reference: Distribution, targets: Places) -> None:
        """Count places of P itself."""
        self._divergences.append(np.zeros(len(targets)))
        self._loss += float(reference.losses(targets).sum())
        self._agreed += len(targets)
        self._count += len(targets)

    @property
    def mean(self) -> float:
        """Nats per place."""
        return float(np.concatenate(self._divergences).mean())

    @property
    def noise(self) -> float:
        """The variance of Q's logits about P's, as a share of the variance of P's: 1 where Q's are all the same."""
        return self._noise / self._spread if self._spread else 0.0

    def told(self, size: int) -> dict[str, Any]:
        """The figures; `size` is how many bytes the text has."""
        divergences, loss = np.concatenate(self._divergences), self._loss / self._count
        return {
            "kl": significant(float(divergences.mean())),
            "kl_99": significant(float(np.quantile(divergences, 0.99))),
            "top1": round(self._agreed / self._count, 5),
            "loss": round(loss, 6),
            "perplexity": round(math.exp(min(loss, 700.0)), 4),
            "bits_per_byte": round(self._loss / math.log(2) / size, 4),
            "tokens": self._count,
        }


def _require_finite(logits: Rows) -> None:
    if not (np.isfinite(logits.min()) and np.isfinite(logits.max())):  # a NaN is both
        raise FloatingPointError("logits that are not finite")


def significant(value: float) -> float:
    """Four digits of a number, however small."""
    return float(f"{value:.4g}")
