"""The learning rate of each step."""

from __future__ import annotations

import math

from stages.training.settings import TrainingConfig


def learning_rate_at(step: int, config: TrainingConfig) -> float:
    """The rate of step 0, 1, …: linear warmup to `learning_rate`, then down to `min_lr`, reached at `max_steps`.

    cosine: half a cosine (Loshchilov & Hutter 2016, arXiv 1608.03983). wsd: constant, then linear over the last
    `decay_fraction` of all steps (Hu et al. 2024, arXiv 2404.06395); the warmup comes first where the two overlap.
    """
    peak, floor, warmup, steps = config.learning_rate, config.min_lr, config.warmup_steps, config.max_steps
    if step < warmup:
        return peak * (step + 1) / warmup
    falling = steps if config.schedule == "cosine" else max(round(config.decay_fraction * steps), 1)
    start = max(steps - falling, warmup)
    done = min(max(step - start, 0) / max(steps - start, 1), 1.0)
    left = 0.5 * (1 + math.cos(math.pi * done)) if config.schedule == "cosine" else 1 - done
    return floor + (peak - floor) * left
