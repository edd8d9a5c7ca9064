"""What becomes of a step whose loss or gradient is not finite, and of a loss that leaps.

Such a step never reaches the weights. It is taken once more, as a fault of the machine does not come twice; then passed
over; where several close together have to be, the run goes back to its last checkpoint and on past these data. Where
the weights themselves are broken it goes back and takes the same steps again. Where that does not help either, it stops
and leaves the evidence.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from stages.training.checkpoint import State
from stages.training.data import Batch
from stages.training.networks.network import Network

MAX_SKIPS, WITHIN_STEPS = 3, 100
MAX_ROLLBACKS = 2
EVIDENCE = "non-finite.json"
SPIKE_DEVIATIONS, SPIKE_NATS = 5.0, 0.5
MEMORY = 0.95  # of the running mean of the loss: about the last 20 steps
SETTLED = 50


def skip(state: State) -> bool:
    """Count the step after `state.step` as passed over; true where there are too many of them."""
    step = state.step + 1
    state.skipped = [old for old in state.skipped if old > step - WITHIN_STEPS] + [step]
    return len(state.skipped) >= MAX_SKIPS


def roll_back(state: State, earlier: State, *, same_data: bool) -> State:
    """The state to go on from after going back to an `earlier` one: with the same data ahead, or those after the last.

    The best weights so far stay the best.
    """
    return replace(
        earlier,
        rollbacks=state.rollbacks + 1,
        shift=earlier.shift if same_data else state.shift + state.step + 1 - earlier.step,
        seconds=state.seconds,
        micro_batch=state.micro_batch,
        best_loss=state.best_loss,
        best_step=state.best_step,
        skipped=[],
    )


def spike(state: State, loss: float) -> bool:
    """Whether a loss stands far out of those before, which it then joins."""
    state.losses += 1
    count = state.losses
    gap = loss - state.loss_mean
    deviation = math.sqrt(state.loss_variance)
    leapt = count > SETTLED and gap > max(SPIKE_DEVIATIONS * deviation, SPIKE_NATS)
    memory = min(MEMORY, (count - 1) / count)
    state.loss_mean += (1 - memory) * gap
    state.loss_variance = memory * (state.loss_variance + (1 - memory) * gap * gap)
    return leapt


def evidence(
    network: Network, batches: Iterable[Batch] = (), *, step: int, loss: float = math.nan, norm: float = math.nan
) -> dict[str, Any]:
    """What is known of a step that has no finite result: where the numbers broke, and what the model was shown."""

    def broken(tensor: Tensor | None) -> bool:
        return tensor is not None and not bool(torch.isfinite(tensor).all())

    named = list(network.named_parameters())
    return {
        "step": step,
        "loss": str(loss),
        "grad_norm": str(norm),
        "weights_not_finite": [name for name, parameter in named if broken(parameter)],
        "gradients_not_finite": [name for name, parameter in named if broken(parameter.grad)],
        "largest_weight": str(max((float(p.detach().abs().max()) for _, p in named), default=0.0)),
        "inputs": [batch.inputs.tolist() for batch in batches],
    }


def sound(network: Network) -> bool:
    """Whether every weight that this process holds is finite."""
    weights = [parameter.detach() for parameter in network.parameters()]
    held = [getattr(weight, "to_local", lambda weight=weight: weight)() for weight in weights]
    norms = torch._foreach_norm(held, torch.inf)
    return bool(torch.stack([norm.float() for norm in norms]).isfinite().all())


def out_of_memory(error: Exception) -> bool:
    """Whether this is what torch raises where memory ran out: only some of it has a class of its own."""
    told = ("can't allocate memory", "CUDA error: out of memory", "CUBLAS_STATUS_ALLOC_FAILED")
    return isinstance(error, torch.OutOfMemoryError) or any(words in str(error) for words in told)
