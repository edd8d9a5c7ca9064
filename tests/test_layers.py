"""The parts of the networks against torch's own functions and the formulas written out, in float64 with gradients."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from stages.training.networks import layers
from stages.training.networks.layers import Dropout, RMSNorm, attention, rotary_tables, rotate, swiglu


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)).requires_grad_()


def assert_same(ours: Callable[..., Tensor], theirs: Callable[..., Tensor], *inputs: Tensor) -> None:
    """The same values, and the same gradients for a random gradient of the output."""
    made, expected = ours(*inputs), theirs(*inputs)
    torch.testing.assert_close(made, expected, rtol=0, atol=1e-12)
    gradient = draw(*expected.shape, seed=9).detach()
    for got, want in zip(
        torch.autograd.grad(made, inputs, gradient), torch.autograd.grad(expected, inputs, gradient), strict=True
    ):
        torch.testing.assert_close(got, want, rtol=0, atol=1e-12)


def test_rms_norm_is_that_of_torch() -> None:
    norm = RMSNorm(24, 1e-3).double()
    torch.nn.init.uniform_(norm.weight, 0.5, 1.5)
    assert_same(lambda x, _: norm(x), lambda x, weight: F.rms_norm(x, (24,), weight, 1e-3), draw(3, 5, 24), norm.weight)


def test_rms_norm_of_heads_is_that_of_torch() -> None:
    norm = RMSNorm(8, 1e-6).double()
    torch.nn.init.uniform_(norm.weight, 0.5, 1.5)
    heads = draw(2, 5, 6, 8)
    assert_same(lambda x: norm(x[:, :, :4]), lambda x: F.rms_norm(x[:, :, :4], (8,), norm.weight, 1e-6), heads)


def test_rms_norm_gives_bf16_under_autocast_and_its_weight_a_float32_gradient() -> None:
    norm, x = RMSNorm(64, 1e-5), torch.randn(4, 64)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        normed = norm(x)
    assert normed.dtype == torch.bfloat16
    torch.testing.assert_close(normed.float(), F.rms_norm(x, (64,), eps=1e-5), rtol=2**-8, atol=0)
    normed.sum().backward()  # type: ignore[no-untyped-call]
    assert norm.weight.grad is not None and norm.weight.grad.dtype == torch.float32


def test_swiglu_is_its_formula() -> None:
    def formula(gate_up: Tensor) -> Tensor:
        gate, up = gate_up[..., :7], gate_up[..., 7:]
        return gate * torch.sigmoid(gate) * up

    assert_same(swiglu, formula, draw(2, 3, 14))


def test_rotation_is_multiplication_of_complex_numbers() -> None:
    head_dim, time, theta = 8, 6, 100.0
    cos, sin = (table.double() for table in rotary_tables(head_dim, time, theta))

    def formula(x: Tensor) -> Tensor:
        angles = torch.tensor(
            [[t * theta ** (-2 * i / head_dim) for i in range(head_dim // 2)] for t in range(time)], dtype=torch.float64
        )
        turns = torch.complex(angles.cos().float().double(), angles.sin().float().double()).unsqueeze(1)
        turned = torch.complex(x[..., : head_dim // 2], x[..., head_dim // 2 :]) * turns
        return torch.cat([turned.real, turned.imag], dim=-1)

    x = draw(2, time, 3, head_dim)
    torch.testing.assert_close(rotate(x, cos, sin), formula(x), rtol=0, atol=1e-5)  # angles in float32
    cos, sin = (torch.tensor(table.tolist(), dtype=torch.float64) for table in (cos, sin))
    assert_same(
        lambda x: rotate(x, cos, sin),
        lambda x: torch.cat(
            [
                x[..., :4] * cos.unsqueeze(1) - x[..., 4:] * sin.unsqueeze(1),
                x[..., 4:] * cos.unsqueeze(1) + x[..., :4] * sin.unsqueeze(1),
            ],
            dim=-1,
        ),
        x,
    )


def plain_attention(q: Tensor, k: Tensor, v: Tensor, seen: Tensor | None = None) -> Tensor:
    """The formula, one head after the other."""
    time, heads, shared = q.shape[1], q.shape[2], q.shape[2] // k.shape[2]
    visible = torch.ones(time, time, dtype=torch.bool).tril() if seen is None else seen[:, 0]
    mixed = []
    for head in range(heads):
        scores = q[:, :, head] @ k[:, :, head // shared].transpose(1, 2)
        mixed.append(scores.masked_fill(~visible, -math.inf).softmax(-1) @ v[:, :, head // shared])
    return torch.stack(mixed, dim=2)


@pytest.mark.parametrize("time", [1, 5, 64, 65, 200, 257, 300])
@pytest.mark.parametrize("key_heads", [4, 2, 1])
def test_attention_is_its_formula_whatever_the_blocks(time: int, key_heads: int) -> None:
    q, k, v = draw(2, time, 4, 6), draw(2, time, key_heads, 6, seed=1), draw(2, time, key_heads, 6, seed=2)
    assert_same(attention, plain_attention, q, k, v)


@pytest.mark.parametrize("longest", [1024, 0], ids=["blocked", "fused"])
def test_a_mask_says_who_sees_whom(longest: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layers, "LONGEST_BLOCKED", longest)
    time = 150
    documents = torch.tensor([[t // 60 for t in range(time)], [t // 77 for t in range(time)]])
    seen = (documents[:, None, :, None] == documents[:, None, None, :]).tril()
    q, k, v = draw(2, time, 4, 6), draw(2, time, 2, 6, seed=1), draw(2, time, 2, 6, seed=2)
    assert_same(lambda *heads: attention(*heads, seen), lambda *heads: plain_attention(*heads, seen), q, k, v)


def test_attention_over_a_long_context_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    q, k, v = draw(1, 70, 4, 6), draw(1, 70, 2, 6, seed=1), draw(1, 70, 2, 6, seed=2)
    monkeypatch.setattr(layers, "LONGEST_BLOCKED", 69)
    assert_same(attention, plain_attention, q, k, v)


def test_attention_in_bf16_is_as_near_as_the_numbers_allow() -> None:
    q, k, v = draw(2, 128, 4, 32), draw(2, 128, 2, 32, seed=1), draw(2, 128, 2, 32, seed=2)
    q, k, v = (q / 32**0.5).detach(), k.detach(), v.detach()
    exact = plain_attention(q, k, v)
    low = attention(*(heads.bfloat16() for heads in (q, k, v)))
    assert low.dtype == torch.bfloat16
    assert float((low.double() - exact).norm() / exact.norm()) < 0.01


@pytest.mark.parametrize("share", [0.1, 0.5])
def test_dropout_drops_its_share_anywhere_and_keeps_the_sum(share: float) -> None:
    dropout, x = Dropout(share), torch.ones(300, 401, requires_grad=True)
    torch.manual_seed(3)
    left = dropout(x)
    kept = left != 0
    noise = 5 * math.sqrt(share * (1 - share))
    assert float(kept.double().mean()) == pytest.approx(1 - share, abs=noise / x.numel() ** 0.5)
    for means in (kept.double().mean(0), kept.double().mean(1)):
        assert float((means - (1 - share)).abs().max()) < noise / (x.numel() / means.numel()) ** 0.5
    assert bool((left[kept] == 1 / (1 - share)).all())
    again = dropout(x) != 0  # drawn anew, apart from what was drawn before
    assert float((again & kept).double().mean()) == pytest.approx((1 - share) ** 2, abs=noise / x.numel() ** 0.5)
    left.sum().backward()  # type: ignore[no-untyped-call]
    assert x.grad is not None and torch.equal(x.grad, left.detach())
    torch.manual_seed(3)
    assert torch.equal(dropout(x), left)


def test_dropout_leaves_evaluation_alone() -> None:
    x = torch.randn(5, 3)
    assert torch.equal(Dropout(0.5).eval()(x), x)
    assert torch.equal(Dropout(0.0)(x), x)
