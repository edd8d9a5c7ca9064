"""An exponential moving average of a network's weights."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from stages.training.parallel import share_of, whole

UPDATES = "updates"


class Ema:
    """The mean of a network's weights after each step, one of k steps ago counting decayᵏ (Polyak & Juditsky 1992).

    The weight of a step is divided by the sum of all weights so far, as Adam debiases its moments: the first average is
    the first weights, and those that the network was born with never count. Kept in fp32 at least, a tied weight once.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.decay, self.updates = decay, 0
        self.parameters = dict(network.named_parameters())
        self.averages = {
            name: parameter.detach().to(torch.promote_types(parameter.dtype, torch.float32), copy=True)
            for name, parameter in self.parameters.items()
        }

    @torch.no_grad()
    def update(self) -> None:
        """Take in the weights as they are after a step."""
        self.updates += 1
        share = (1 - self.decay) / (1 - self.decay**self.updates)
        averages, weights = list(self.averages.values()), [weight.detach() for weight in self.parameters.values()]
        if all(average.dtype == weight.dtype for average, weight in zip(averages, weights, strict=True)):
            torch._foreach_lerp_(averages, weights, share)
            return
        for average, weight in zip(averages, weights, strict=True):
            average.lerp_(weight.to(average.dtype), share)

    @contextmanager
    def swapped(self) -> Iterator[None]:
        """The network has the averages for weights, and its own back afterwards, whatever happens.

        They are copied: gradients, which take as much, are gone when a network is evaluated.
        """
        own = {name: parameter.detach().clone() for name, parameter in self.parameters.items()}
        try:
            self._put(self.averages)
            yield
        finally:
            self._put(own)

    def _put(self, weights: Mapping[str, Tensor]) -> None:
        with torch.no_grad():
            for name, parameter in self.parameters.items():
                parameter.copy_(weights[name])

    def tensors(self) -> dict[str, Tensor]:
        """The averages by parameter, whole, on the CPU, and how many updates they are of."""
        averages = {name: whole(average).to("cpu", copy=True).contiguous() for name, average in self.averages.items()}
        return {UPDATES: torch.tensor(self.updates), **averages}

    @torch.no_grad()
    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Put back what `tensors` gave. Raises ValueError, and changes nothing, where it does not fit."""
        told = {UPDATES: torch.zeros((), dtype=torch.int64), **self.averages}
        if tensors.keys() != told.keys():
            raise ValueError(f"averages of other weights: {', '.join(sorted(tensors.keys() ^ told.keys()))}")
        for name, tensor in tensors.items():
            if tensor.shape != told[name].shape or tensor.dtype != told[name].dtype:
                raise ValueError(
                    f"the average of {name} is {tensor.dtype} {tuple(tensor.shape)}, "
                    f"not {told[name].dtype} {tuple(told[name].shape)}"
                )
        self.updates = int(tensors[UPDATES])
        for name, average in self.averages.items():
            average.copy_(share_of(tensors[name], average))
