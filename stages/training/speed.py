"""How much a training step computes, and how much of what the device can that is."""

from __future__ import annotations

import gc
import math
import sys
import time
from dataclasses import dataclass
from functools import cache

import torch

from pipeline.console import size
from stages.training.shape import ModelConfig

WORTH_MEASURING = 1e12  # operations of a run from which half a second for the device's peak is little


def flops_per_token(config: ModelConfig, vocab_size: int, context_length: int) -> float:
    """Floating-point operations of training on one token: 6 for each weight of a matrix product, and attention's.

    6·N + 12·n_layers·context·n_heads·head_dim (Chowdhery et al. 2022, arXiv 2204.02311, appendix B). The output matrix
    counts, tied or not, an embedding does not; the half of attention that is masked is not deducted.
    """
    heads = config.d_model * config.head_dim * 2 * (config.n_heads + config.n_kv_heads)
    matrices = (3 if config.architecture == "llama" else 2) * config.d_model * config.d_ff
    weights = config.n_layers * (heads + matrices) + vocab_size * config.d_model
    return 6.0 * weights + 12.0 * config.n_layers * context_length * config.n_heads * config.head_dim


@dataclass(frozen=True)
class Pace:
    """How fast training goes on a device: `flops` for a token, `peak` per second of all processes together if known."""

    device: torch.device
    flops: float
    peak: float | None

    @classmethod
    def expected(cls, device: torch.device, flops: float, whole: float, precision: str, processes: int) -> Pace:
        """That of a run of `whole` operations; where these are few, measuring the peak would take longer than it."""
        matrices = torch.float32 if precision == "fp32" else torch.bfloat16
        return cls(device, flops, peak_flops(device, matrices) * processes if whole > WORTH_MEASURING else None)

    def of(self, tokens: int, seconds: float) -> dict[str, float]:
        """Tokens per second, the share of the peak that is (MFU; Chowdhery et al. 2022), and the most memory so far.

        A share of more than all is left out: the device was busy with something else when its peak was measured.
        """
        rate = tokens / max(seconds, 1e-9)
        share = rate * self.flops / self.peak if self.peak else math.inf
        used = {"mfu": round(share, 4)} if share <= 1 else {}
        return {"tokens_per_second": round(rate, 1), **used, "peak_memory": peak_memory(self.device)}

    def told(self, tokens: int, seconds: float) -> str:
        """The same for people."""
        known = self.of(tokens, seconds)
        used = f"  MFU {known['mfu']:.0%}" if "mfu" in known else ""
        return f"{known['tokens_per_second']:,.0f} tok/s{used}  {size(known['peak_memory'])}"


@cache
def peak_flops(device: torch.device, dtype: torch.dtype) -> float:
    """Floating-point operations per second that matrix products reach on the device: the best of some tries.

    Measured, as the tables of vendors count other things (sparsity, boost clocks, fp16 accumulation). A fraction of a
    second.
    """
    size = 8192 if device.type == "cuda" else 1536
    left, right = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
    product = torch.empty_like(left)
    best, until = float("inf"), time.perf_counter() + 0.5
    for attempt in range(1000):
        began = time.perf_counter()
        torch.mm(left, right, out=product)
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        ended = time.perf_counter()
        best = min(best, ended - began)
        if attempt >= 3 and ended > until:
            break
    if device.type == "cuda":
        del left, right, product
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
    return 2.0 * size**3 / best


def peak_memory(device: torch.device) -> int:
    """The most bytes that training has held so far: of the card, or of this process where there is none."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    try:
        import resource
    except ImportError:  # Windows
        return 0
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def free_memory(device: torch.device) -> int:
    """Bytes of a card that are free when what an earlier training left is given back; the peak is counted anew."""
    gc.collect()  # its loop and its batches hold each other
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats(device)
    return torch.cuda.mem_get_info(device)[0]
