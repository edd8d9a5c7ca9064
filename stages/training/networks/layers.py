"""The parts of the networks, in as few passes over memory as plain torch allows; torch.compile fuses them further.

A part has a backward of its own where that saves passes or memory. It is that of the formula in its docstring.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

LONGEST_BLOCKED = 1024  # tokens; beyond, the probabilities of blocked attention would take too much memory


class RMSNorm(nn.Module):
    """x / √(mean(x²) + eps) · weight over the last dimension (Zhang & Sennrich 2019, arXiv 1910.07467)."""

    def __init__(self, size: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        """(…, size) to the same, computed in float32 or better; under autocast given in its type."""
        kind = x.device.type
        dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else x.dtype
        normed: Tensor = _RMSNorm.apply(x, self.weight, self.eps, dtype)  # type: ignore[no-untyped-call]
        return normed


class _RMSNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, eps: float, dtype: torch.dtype) -> Tensor:
        wide = x.to(torch.promote_types(x.dtype, torch.float32))
        scale = torch.rsqrt(wide.square().mean(-1, keepdim=True) + eps)
        ctx.save_for_backward(x, weight, scale)
        return (wide * scale * weight).to(dtype)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, scale = ctx.saved_tensors
        wide, direct = x.to(scale.dtype), gradient.to(scale.dtype) * scale
        product = direct * wide
        to_weight = product.flatten(0, -2).sum(0).to(weight.dtype)
        direct = direct * weight
        along = (product * weight).sum(-1, keepdim=True) * (scale.square() / x.shape[-1])
        return torch.addcmul(direct, wide, along, value=-1).to(x.dtype), to_weight, None, None


class Dropout(nn.Module):
    """Zeroes a share of the values in training and scales the rest up (Srivastava et al. 2014)."""

    def __init__(self, share: float) -> None:
        super().__init__()
        self.share = share

    def forward(self, x: Tensor) -> Tensor:
        """The same shape and type."""
        if not self.share or not self.training:
            return x
        if x.device.type != "cpu":
            return F.dropout(x, self.share)
        kept: Tensor = _kept(x.detach(), self.share)
        return x * kept * (1 / (1 - self.share))


@torch.library.custom_op("pipeline::kept", mutates_args=(), tags=(torch.Tag.nondeterministic_seeded,))
def _kept(x: Tensor, share: float) -> Tensor:
    """1 where a value of x on the CPU is kept, else 0: by 16 random bits for each, of which torch draws 64 at a time.

    So it takes a fifth of the time of bernoulli_. A compiler would draw more slowly, and in both passes; this operation
    it cannot look into.
    """
    bits = torch.empty(-(-x.numel() // 4), dtype=torch.int64).random_(-(2**63), None)
    kept = torch.empty(x.shape, dtype=x.dtype)
    torch.ge(bits.view(torch.int16)[: x.numel()], round(share * 2**16) - 2**15, out=kept.view(-1))
    return kept


@_kept.register_fake
def _(x: Tensor, share: float) -> Tensor:
    return torch.empty(x.shape, dtype=x.dtype, device=x.device)


def swiglu(gate_up: Tensor) -> Tensor:
    """silu(gate) · up for (…, 2·d_ff), the gate in the first half (Shazeer 2020, arXiv 2002.05202)."""
    product: Tensor = _SwiGLU.apply(gate_up)  # type: ignore[no-untyped-call]
    return product


class _SwiGLU(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, gate_up: Tensor) -> Tensor:
        ctx.save_for_backward(gate_up)
        gate, up = gate_up.chunk(2, dim=-1)
        return F.silu(gate) * up

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        (gate_up,) = ctx.saved_tensors
        gate, up = gate_up.chunk(2, dim=-1)
        to_gate = torch.ops.aten.silu_backward(gradient * up, gate)
        return torch.cat((to_gate, gradient * F.silu(gate)), dim=-1)


def rotary_tables(head_dim: int, length: int, theta: float) -> tuple[Tensor, Tensor]:
    """cos and sin, (length, head_dim/2) each, of RoPE's angles t·theta^(−2i/head_dim) (Su et al. 2021, 2104.09864).

    They have values even in a network on the device `meta`, whose weights are to come from a file.
    """
    even = torch.arange(0, head_dim, 2, dtype=torch.float32, device="cpu")
    frequencies = 1 / theta ** (even / head_dim)  # as transformers rounds
    angles = torch.outer(torch.arange(length, dtype=torch.float32, device="cpu"), frequencies)
    return angles.cos(), angles.sin()


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turn (batch, time, heads, head_dim) by the angles of each position, in float32 or better.

    Value i and value i + head_dim/2 are a pair, as in HuggingFace's Llama.
    """
    turned: Tensor = _Rotate.apply(x, cos.unsqueeze(-2), sin.unsqueeze(-2))  # type: ignore[no-untyped-call]
    return turned


class _Rotate(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        ctx.save_for_backward(cos, sin)
        return _turn(x, cos, sin)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        cos, sin = ctx.saved_tensors
        return _turn(gradient, cos, -sin), None, None


def _turn(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    first, second = x.to(torch.promote_types(x.dtype, cos.dtype)).chunk(2, dim=-1)
    turned = torch.addcmul(first * cos, second, sin, value=-1), torch.addcmul(second * cos, first, sin)
    return torch.cat(turned, dim=-1).to(x.dtype)


def attention(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
    """softmax(q·kᵀ)·v for queries (batch, time, heads, head_dim) that are scaled already; causal where mask is None.

    k and v may have fewer heads: each serves as many neighbouring query heads. `mask` (batch, 1, time, time) is true
    where a query sees a key, and no query may see a later key.
    """
    if q.device.type == "cpu" and q.shape[1] <= LONGEST_BLOCKED:
        mixed: Tensor = _BlockedAttention.apply(q, k, v, mask)  # type: ignore[no-untyped-call]
        return mixed
    q, k, v = (heads.transpose(1, 2) for heads in (q, k, v))
    grouped = q.shape[1] != k.shape[1]
    if mask is None:
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True, scale=1.0, enable_gqa=grouped)
    else:  # the fused kernels that take a mask know no groups
        k, v = (heads.repeat_interleave(q.shape[1] // k.shape[1], dim=1) if grouped else heads for heads in (k, v))
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=1.0)
    return mixed.transpose(1, 2)


class _BlockedAttention(torch.autograd.Function):
    """Attention for processors: the queries in blocks, each against the keys up to its end.

    So nearly half of the work is left out, and up to LONGEST_BLOCKED tokens plain products of blocks are some three
    times faster than the processor's fused kernel. Query heads that share a key head lie in one product.
    """

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
        keys, values = (heads.transpose(1, 2).flatten(0, 1).contiguous() for heads in (k, v))
        groups, saved, mixed = k.shape[2], [], []
        for first, end in _blocks(q.shape[1]):
            queries = stack_groups(q[:, first:end], groups)
            scores = torch.bmm(queries, keys[:, :end].transpose(1, 2))
            _hide(scores.view(q.shape[0], q.shape[2], end - first, end), first, mask)
            shares = torch._softmax(scores, -1, False)
            mixed.append(unstack_groups(torch.bmm(shares, values[:, :end]), q[:, first:end]))
            saved += [queries, shares]
        ctx.save_for_backward(q, keys, values, *saved)
        return torch.cat(mixed, dim=1)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        q, keys, values, *saved = ctx.saved_tensors
        groups, to_q = keys.shape[0] // q.shape[0], []
        to_keys, to_values = torch.zeros_like(keys), torch.zeros_like(values)
        for index, (first, end) in enumerate(_blocks(q.shape[1])):
            queries, shares = saved[2 * index : 2 * index + 2]
            to_mixed = stack_groups(gradient[:, first:end], groups)
            to_shares = torch.bmm(to_mixed, values[:, :end].transpose(1, 2))
            to_scores = torch._softmax_backward_data(to_shares, shares, -1, shares.dtype)
            to_q.append(unstack_groups(torch.bmm(to_scores, keys[:, :end]), q[:, first:end]))
            to_values[:, :end] += torch.bmm(shares.transpose(1, 2), to_mixed)
            to_keys[:, :end] += torch.bmm(to_scores.transpose(1, 2), queries)
        to_k, to_v = (
            heads.view(q.shape[0], groups, *heads.shape[1:]).transpose(1, 2) for heads in (to_keys, to_values)
        )
        return torch.cat(to_q, dim=1), to_k, to_v, None


def _blocks(time: int) -> list[tuple[int, int]]:
    """First and end of each block of queries: small ones leave out more, few of them keep products large."""
    size = 64 if time <= 256 else 128
    return [(first, min(first + size, time)) for first in range(0, time, size)]


def stack_groups(heads: Tensor, groups: int) -> Tensor:
    """(batch, block, heads, head_dim) as (batch · groups, heads/groups · block, head_dim)."""
    batch, block, _, head_dim = heads.shape
    split = heads.view(batch, block, groups, -1, head_dim).permute(0, 2, 3, 1, 4)
    return split.reshape(batch * groups, -1, head_dim)


def unstack_groups(rows: Tensor, like: Tensor) -> Tensor:
    """The inverse of `stack_groups`, with the shape of `like`."""
    batch, block, heads, head_dim = like.shape
    return rows.view(batch, heads, block, head_dim).transpose(1, 2)


def _hide(scores: Tensor, first: int, mask: Tensor | None) -> None:
    """Make the scores (batch, heads, block, keys) of the block from `first` −∞ where its query must not see the key."""
    block, end = scores.shape[-2:]
    if mask is None:
        later = torch.ones(block, block, dtype=torch.bool, device=scores.device).triu_(1)
        scores[..., first:].masked_fill_(later, -torch.inf)
    else:
        scores.masked_fill_(~mask[:, :, first:end, :end], -torch.inf)
