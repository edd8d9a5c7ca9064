"""The optimizer and its learning rate."""

from __future__ import annotations

import math

import torch
from torch import nn


def make_optimizer(
    model: nn.Module, *, learning_rate: float, weight_decay: float, betas: tuple[float, float]
) -> torch.optim.AdamW:
    """AdamW (Loshchilov & Hutter 2017, arXiv 1711.05101) that decays matrices and leaves norms alone."""
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    groups = [
        {"params": [p for p in parameters if p.dim() >= 2], "weight_decay": weight_decay},
        {"params": [p for p in parameters if p.dim() < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=learning_rate, betas=betas, eps=1e-8, fused=True)


def learning_rate_at(step: int, *, peak: float, minimum: float, warmup_steps: int, max_steps: int) -> float:
    """The rate of step 0, 1, …: linear warmup to `peak`, then a half cosine that ends at `minimum` at `max_steps`."""
    if step < warmup_steps:
        return peak * (step + 1) / warmup_steps
    done = (step - warmup_steps) / max(max_steps - warmup_steps, 1)
    return minimum + 0.5 * (peak - minimum) * (1 + math.cos(math.pi * min(done, 1.0)))
