"""8-bit AdamW against AdamW in float64, its bytes against the nearest value, its rounding against the mean."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from stages.training import adamw8bit
from stages.training.adamw8bit import AdamW8bit, dequantise, quantise, rounded_by_chance, table

Array = np.ndarray[Any, Any]


def adamw(weight: Array, gradients: list[Array], rate: float, decay: float) -> Array:
    """Algorithm 2 of Loshchilov & Hutter in float64, with β = (0.9, 0.95) and ε = 1e-8."""
    first = second = np.zeros_like(weight)
    for step, gradient in enumerate(gradients, 1):
        first = 0.9 * first + 0.1 * gradient
        second = 0.95 * second + 0.05 * gradient**2
        update = (first / (1 - 0.9**step)) / (np.sqrt(second / (1 - 0.95**step)) + 1e-8)
        weight = weight - rate * (update + decay * weight)
    return weight


def trained(
    start: Array, gradients: list[Array], rate: float, decay: float, dtype: torch.dtype = torch.float32
) -> tuple[nn.Parameter, AdamW8bit]:
    weight = nn.Parameter(torch.tensor(start, dtype=dtype))
    optimizer = AdamW8bit([weight], lr=rate, weight_decay=decay, betas=(0.9, 0.95))
    for gradient in gradients:
        weight.grad = torch.tensor(gradient, dtype=dtype)
        optimizer.step()
    return weight, optimizer


def some_gradients(shape: tuple[int, ...], count: int) -> list[Array]:
    """Of sizes that differ by four decades from row to row, and with a direction of their own, as real ones."""
    rng = np.random.default_rng(0)
    sizes = 10.0 ** rng.uniform(-5, -1, size=(shape[0],) + (1,) * (len(shape) - 1))
    mean = rng.normal(size=shape)
    return [sizes * (mean + rng.normal(size=shape)) for _ in range(count)]


@pytest.mark.parametrize("shape", [(16, 256), (12, 600), (130, 32)], ids=str)
def test_large_matrices_go_nearly_where_adamw_in_float64_goes(shape: tuple[int, int]) -> None:
    """With a byte for each moment; blocks of 256, a broken one at 600, rows shorter than a block."""
    gradients = some_gradients(shape, 30)
    start = np.random.default_rng(1).normal(size=shape)
    weight, optimizer = trained(start, gradients, 1e-2, 0.1)
    assert {value.dtype for name, value in optimizer.state[weight].items() if name in ("first", "second")} == {
        torch.uint8
    }
    exact = adamw(start, gradients, 1e-2, 0.1) - start
    off = weight.detach().double().numpy() - start - exact
    assert np.linalg.norm(off) / np.linalg.norm(exact) < 0.02
    assert np.abs(off).max() < 0.15 * np.abs(exact).max()


@pytest.mark.parametrize("shape", [(15, 256), (5000,)], ids=["small", "vector"])
def test_small_matrices_and_vectors_go_just_there(shape: tuple[int, ...]) -> None:
    gradients = some_gradients(shape, 10)
    start = np.random.default_rng(1).normal(size=shape)
    weight, _ = trained(start, gradients, 1e-2, 0.1)
    np.testing.assert_allclose(weight.detach().numpy(), adamw(start, gradients, 1e-2, 0.1), rtol=2e-5, atol=2e-6)


def test_matrices_worked_on_in_pieces_come_out_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    gradients, start = some_gradients((40, 128), 3), np.ones((40, 128))
    whole, _ = trained(start, gradients, 1e-2, 0.1)
    monkeypatch.setattr(adamw8bit, "CHUNK_VALUES", 1000)
    pieces, _ = trained(start, gradients, 1e-2, 0.1)
    assert torch.equal(whole, pieces)


def test_a_row_that_never_had_a_gradient_only_decays() -> None:
    """An embedding of a token that does not occur, beside others whose moments are large."""
    gradients = some_gradients((32, 256), 10)
    for gradient in gradients:
        gradient[5] = 0
        gradient[7, ::2] = 0
    weight, _ = trained(np.ones((32, 256)), gradients, 1e-2, 0.1)
    decayed = torch.full((256,), (1 - 1e-3) ** 10)
    torch.testing.assert_close(weight.detach()[5], decayed, rtol=1e-6, atol=0)
    torch.testing.assert_close(weight.detach()[7, ::2], decayed[::2], rtol=1e-6, atol=0)


def test_a_gradient_far_below_its_neighbours_makes_no_step_without_bounds() -> None:
    """Its second moment is below what a byte can tell beside them: taken for zero it would be divided by 1e-8."""
    rng = np.random.default_rng(0)
    gradients = [rng.normal(size=(16, 256)) for _ in range(20)]
    for gradient in gradients:
        gradient[:, 0] *= 1e-4
    weight, _ = trained(np.zeros((16, 256)), gradients, 1e-2, 0.0)
    assert weight.detach()[:, 0].abs().max() < 0.2


def test_the_byte_values_are_256_ascending_from_the_bounds() -> None:
    for moment in ("first", "second"):
        values = table(moment).values.double()
        assert len(values) == 256 and bool((values.diff() > 0).all()) and values[-1] == 1
    assert bool((table("second").values > 0).all())
    values = table("first").values
    positive, negative = values[values > 0], values[values < 0]
    assert len(positive) == 127 and 0 in values and -1 in values
    assert set(positive.tolist()) < set((-negative).tolist())
    by_hand = [0.1 + 0.9 * (part + 0.5) / 64 for part in (0, 1, 63)]  # the uppermost decade: 64 parts of 0.1 … 1
    np.testing.assert_allclose(positive[[-65, -64, -2]].numpy(), by_hand, rtol=1e-6)


@given(st.integers(0, 2**31), st.integers(1, 3), st.integers(1, 700), st.booleans(), st.floats(-20, 20))
def test_every_value_gets_the_byte_nearest_to_it(seed: int, rows: int, columns: int, signed: bool, size: float) -> None:
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(rows, columns)) * 10.0 ** rng.uniform(-4, 0, size=(rows, columns)) * 10.0**size
    values = (values if signed else np.abs(values)).astype(np.float32)
    bytes_of = table("first" if signed else "second")
    found, scale = quantise(torch.tensor(values), bytes_of)
    assert found.shape == values.shape and found.dtype == torch.uint8
    assert scale.shape == (rows, -(-columns // 256))
    back = dequantise(found, scale, bytes_of).numpy()
    levels = bytes_of.values.double().numpy()
    for start in range(0, columns, 256):
        block = values[:, start : start + 256].astype(np.float64)
        largest = np.abs(block).max(axis=1, keepdims=True)
        best = np.abs(levels - (block / np.maximum(largest, 1e-300))[..., None]).min(axis=-1) * largest
        off = np.abs(back[:, start : start + 256] - block)
        assert (off <= best * (1 + 1e-3) + 1e-6 * largest).all()


@given(st.integers(0, 2**31), st.floats(-30, 30))
def test_rounding_by_chance_takes_a_neighbour_and_is_right_on_average(seed: int, size: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(1, generator=generator).expand(40_000).contiguous() * 10.0**size
    noise = torch.randint(2**16, values.shape, generator=generator, dtype=torch.int32)
    found = rounded_by_chance(values, noise)
    nearest = values[:1].to(torch.bfloat16)
    spacing = float(nearest.abs()) * 2**-7
    assert found.dtype == torch.bfloat16 and len(found.unique()) <= 2
    assert float((found.double() - values.double()).abs().max()) <= spacing
    assert abs(float(found.double().mean() - values.double().mean())) < spacing * 0.02


def test_updates_below_the_spacing_of_bf16_weights_count() -> None:
    """1 + 1e-4 per step: rounding to nearest would leave every weight at 1."""
    gradients = [-np.ones((64, 256))] * 100
    weight, _ = trained(np.ones((64, 256)), gradients, 1e-4, 0.0, torch.bfloat16)
    assert weight.dtype == torch.bfloat16
    assert float(weight.detach().double().mean()) == pytest.approx(1.01, abs=3e-4)


def test_what_is_drawn_differs_from_step_to_step_and_matrix_to_matrix_but_not_from_run_to_run() -> None:
    def run() -> list[torch.Tensor]:
        weights = [nn.Parameter(torch.ones(16, 256, dtype=torch.bfloat16)) for _ in range(2)]
        optimizer = AdamW8bit(weights, lr=1e-3)
        found = []
        for _ in range(2):
            for weight in weights:
                weight.grad = torch.ones_like(weight)
                weight.data.fill_(1)
            optimizer.step()
            found += [weight.detach().clone() for weight in weights]
        return found

    first, again = run(), run()
    assert all(torch.equal(one, other) for one, other in zip(first, again, strict=True))
    assert len({tuple(one.flatten().tolist()) for one in first}) == 4


@pytest.mark.slow
def test_the_update_can_be_compiled_whole_and_once_for_all_rates(monkeypatch: pytest.MonkeyPatch) -> None:
    """As for a GPU, but for the kernel made of it: a break in it, or a guard on the rate, would cost the speed."""
    from torch._dynamo.testing import CompileCounter

    gradients, start = some_gradients((16, 256), 4), np.ones((16, 256))
    plain, _ = trained(start, gradients, 1e-2, 0.1, torch.bfloat16)
    counter = CompileCounter()
    compiled = torch.compile(adamw8bit.advance, dynamic=True, fullgraph=True, backend=counter)
    monkeypatch.setattr(adamw8bit, "_update", lambda device_type: compiled)
    weight = nn.Parameter(torch.ones(16, 256, dtype=torch.bfloat16))
    optimizer = AdamW8bit([weight], lr=1e-2, weight_decay=0.1, betas=(0.9, 0.95))
    for gradient in gradients:
        weight.grad = torch.tensor(gradient, dtype=torch.bfloat16)
        optimizer.step()
    assert torch.equal(weight, plain) and counter.frame_count == 1


def test_the_global_random_state_is_not_touched() -> None:
    before = torch.get_rng_state()
    trained(np.ones((32, 256)), some_gradients((32, 256), 2), 1e-3, 0.1, torch.bfloat16)
    assert torch.equal(before, torch.get_rng_state())
