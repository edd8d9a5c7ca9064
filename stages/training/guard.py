"""What becomes of a step whose loss or gradient is not finite, and of a loss that leaps.

Such a step never reaches the weights. It is taken once more, as a fault of the machine does not come twice; then passed
over; where several in a row have to be, the run goes back to a checkpoint from before and past these data; where that
does not help either, it stops and leaves the evidence.
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


def roll_back(state: State, earlier: State) -> State:
    """The state to go on from after going back to an `earlier` one: its numbers, but other data ahead of it."""
    return replace(
        earlier,
        rollbacks=state.rollbacks + 1,
        shift=state.shift + state.step - earlier.step,
        seconds=state.seconds,
        micro_batch=state.micro_batch,
        skipped=[],
    )


def spike(state: State, loss: float) -> bool:
    """Whether the loss of step `state.step` stands far out of those before, which it then joins."""
    count = state.step
    gap = loss - state.loss_mean
    deviation = math.sqrt(state.loss_variance)
    leapt = count > SETTLED and gap > max(SPIKE_DEVIATIONS * deviation, SPIKE_NATS)
    memory = min(MEMORY, (count - 1) / count)
    state.loss_mean += (1 - memory) * gap
    state.loss_variance = memory * (state.loss_variance + (1 - memory) * gap * gap)
    return leapt


def evidence(network: Network, batches: Iterable[Batch], *, step: int, loss: float, norm: float) -> dict[str, Any]:
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
        "largest_weight": max((float(p.detach().abs().max()) for _, p in named), default=0.0),
        "inputs": [batch.inputs.tolist() for batch in batches],
    }


def out_of_memory(error: Exception) -> bool:
    """Whether this is what torch raises where memory ran out: on the CPU it has no class of its own."""
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)
