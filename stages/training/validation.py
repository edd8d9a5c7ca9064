"""What the texts that were held back say of the weights, and of their average."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch

from stages.training.compiling import LossFunction
from stages.training.data import Batch
from stages.training.ema import Ema
from stages.training.parallel import Group


@dataclass
class Validation:
    """The validation `batches`, which the processes of a group share; `loss` gives the summed loss of one."""

    batches: list[Batch]
    loss: LossFunction
    group: Group
    ema: Ema | None = None

    def losses(self) -> Iterator[tuple[str, float]]:
        """`val_loss` of the network's weights, then `val_loss_ema` of their average, which it has meanwhile."""
        yield "val_loss", self.mean()
        if self.ema:
            with self.ema.swapped():
                yield "val_loss_ema", self.mean()

    @torch.no_grad()
    def mean(self) -> float:
        """Nats per target, over all batches."""
        total = torch.zeros((), dtype=torch.float64, device=self.group.device)
        counted = 0
        for batch, counts in self.group.share(self.batches):
            shown = batch.to(self.group.device)
            loss = self.loss(shown.inputs, shown.targets, shown.documents)
            if counts:
                total += loss
                counted += batch.counted
        return float(self.group.sum(total)) / max(self.group.total(counted), 1)
