"""Muon against the singular value decomposition, torch's own Muon and its formula in numpy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from stages.training import muon
from stages.training.muon import Muon, orthogonalise


def matrix(rows: int, cols: int, values: Tensor, seed: int = 0) -> Tensor:
    """A random matrix with these singular values."""
    generator = torch.Generator().manual_seed(seed)
    short = min(rows, cols)
    left = torch.linalg.qr(torch.randn(rows, short, generator=generator)).Q
    right = torch.linalg.qr(torch.randn(cols, short, generator=generator)).Q
    return left * values @ right.mT


def gains(found: Tensor, given: Tensor) -> tuple[Tensor, Tensor]:
    """What became of each singular value of `given`, and how much of `found` lies in other directions."""
    left, _, right = torch.linalg.svd(given, full_matrices=False)
    gain = ((left.mT @ found.float()) * right).sum(dim=1)
    return gain, (found.float() - left * gain @ right).norm() / found.float().norm()


@pytest.fixture(params=[True, False], ids=["bf16", "fp32"])
def precision(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    monkeypatch.setattr(muon, "_fast_bf16", lambda device_type: request.param)
    return bool(request.param)


SPECTRA = {
    "even": lambda count: torch.ones(count),
    "falling": lambda count: torch.logspace(0, -2, count),
    "one large": lambda count: torch.cat([torch.ones(1), torch.full((count - 1,), 0.02)]),
    "two large": lambda count: torch.cat([torch.ones(2), torch.full((count - 2,), 0.01)]),
}


@pytest.mark.parametrize("spectrum", SPECTRA)
@pytest.mark.parametrize("shape", [(48, 48), (40, 96), (96, 40)], ids=str)
def test_singular_values_become_one_and_directions_stay(shape: tuple[int, int], spectrum: str, precision: bool) -> None:
    for size in (1.0, 1e-6, 1e6):
        given = matrix(*shape, SPECTRA[spectrum](min(shape))) * size
        gain, elsewhere = gains(orthogonalise(given[None])[0], given)
        assert gain.min() > 0.75 and gain.max() < 1.25
        assert elsewhere < (0.08 if precision else 1e-3)


def test_the_band_in_float64_is_the_one_of_the_polynomials() -> None:
    """All but the last leave room for 2 %, so the band begins at 0.0033 of the bound rather than at 0.003."""
    values = torch.cat([torch.ones(1), torch.logspace(-0.01, -2.2, 79)])
    assert values[-1] > 0.0033 * values.pow(4).sum() ** 0.25
    found = orthogonalise(matrix(80, 120, values).double()[None])[0]
    assert found.dtype == torch.float64
    left = torch.linalg.svdvals(found)
    assert left.min() > 0.78 and left.max() < 1.21


def test_small_singular_values_stay_small_and_are_not_noise() -> None:
    values = torch.cat([torch.ones(20), torch.full((20,), 1e-4)])
    given = matrix(40, 60, values)
    gain, _ = gains(orthogonalise(given.double()[None])[0].float(), given)
    steepest = 8.3837 * 4.0434 * 3.5056 * 2.4901  # the product of the slopes at zero
    assert gain[20:].max() < 1e-4 * steepest / 20**-0.25 and gain[20:].min() > 0


def test_a_batch_is_worked_on_matrix_by_matrix(precision: bool) -> None:
    given = torch.stack([matrix(30, 50, SPECTRA["falling"](30), seed) * 10.0**seed for seed in range(4)])
    together = orthogonalise(given)
    for one, found in zip(given, together, strict=True):
        torch.testing.assert_close(found, orthogonalise(one[None])[0], rtol=0.02, atol=0.02 if precision else 1e-4)


def test_a_zero_matrix_stays_zero_and_no_other_is_touched() -> None:
    given = torch.stack([torch.zeros(8, 12), matrix(8, 12, torch.ones(8))])
    kept = given.clone()
    found = orthogonalise(given)
    assert found[0].abs().max() == 0 and found[1].float().norm() > 2
    assert torch.equal(given, kept)


def reference(
    weight: np.ndarray[Any, Any],
    gradients: list[np.ndarray[Any, Any]],
    parts: list[int],
    rate: float,
    decay: float,
    momentum: float,
) -> np.ndarray[Any, Any]:
    """Nesterov momentum, U·Vᵀ of each part by numpy's SVD, 0.2·√max(rows, cols) and decoupled decay, in float64."""
    total = np.zeros_like(weight)
    for gradient in gradients:
        total = momentum * total + gradient
        ahead = gradient + momentum * total
        updates = []
        for part in np.split(ahead, np.cumsum(parts)[:-1]):
            left, _, right = np.linalg.svd(part, full_matrices=False)
            updates.append(0.2 * max(part.shape) ** 0.5 * left @ right)
        weight = weight * (1 - rate * decay) - rate * np.concatenate(updates)
    return weight


@pytest.mark.parametrize("parts", [(), (16, 8, 8)], ids=["one", "three"])
def test_the_updates_are_the_formula_with_an_exact_decomposition(
    parts: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exact means exact: the approximation is replaced by torch's SVD here, so that everything around it is seen."""

    def exact(matrices: Tensor) -> Tensor:
        left, _, right = torch.linalg.svd(matrices, full_matrices=False)
        return left @ right

    monkeypatch.setattr(muon, "orthogonalise", exact)
    rng = np.random.default_rng(0)
    gradients = [rng.normal(size=(32, 24)) for _ in range(5)]
    weight = nn.Parameter(torch.tensor(rng.normal(size=(32, 24))))
    start = weight.detach().numpy().copy()
    optimizer = Muon([weight], lr=0.02, weight_decay=0.5, momentum=0.9, row_parts=lambda parameter: parts)
    for gradient in gradients:
        weight.grad = torch.tensor(gradient)
        optimizer.step()
    expected = reference(start, gradients, list(parts) or [32], 0.02, 0.5, 0.9)
    np.testing.assert_allclose(weight.detach().numpy(), expected, rtol=1e-9, atol=1e-12)


def test_it_goes_where_torchs_muon_goes() -> None:
    """torch's has five rounds that reach 0.7 … 1.2; the same settings, so the steps point the same way."""
    torch.manual_seed(0)
    start = torch.randn(48, 64) * 0.02
    ours, theirs = nn.Parameter(start.clone()), nn.Parameter(start.clone())
    keys: dict[str, Any] = dict(lr=0.01, weight_decay=0.1, momentum=0.95)
    optimizers = [Muon([ours], **keys), torch.optim.Muon([theirs], adjust_lr_fn="match_rms_adamw", **keys)]
    for _ in range(10):
        gradient = torch.randn(48, 64)
        ours.grad, theirs.grad = gradient.clone(), gradient.clone()
        for optimizer in optimizers:
            optimizer.step()
    moved, other = (ours - start).flatten(), (theirs - start).flatten()
    assert torch.cosine_similarity(moved, other, dim=0) > 0.98
    assert 0.9 < moved.norm() / other.norm() < 1.3


def test_the_values_of_an_update_are_as_large_as_adamws() -> None:
    """Their root mean square is about 0.2 times the rate, whatever the shape (arXiv 2502.16982)."""
    torch.manual_seed(0)
    for shape in [(32, 32), (32, 128), (128, 32)]:
        weight = nn.Parameter(torch.zeros(shape))
        weight.grad = torch.randn(shape)
        Muon([weight], lr=0.01, weight_decay=0.0, momentum=0.95).step()
        assert weight.detach().square().mean().sqrt() / 0.01 == pytest.approx(0.2, rel=0.15)


def test_many_matrices_in_small_batches_are_moved_as_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    shapes = [(8, 16), (16, 8), (8, 16), (24, 8), (8, 16), (24, 8)]
    weights = [nn.Parameter(torch.randn(shape)) for shape in shapes]
    alone = [nn.Parameter(weight.detach().clone()) for weight in weights]
    for weight, single in zip(weights, alone, strict=True):
        weight.grad = torch.randn_like(weight)
        single.grad = weight.grad.clone()
    keys: dict[str, Any] = dict(lr=0.1, weight_decay=0.1, momentum=0.9)
    monkeypatch.setattr(muon, "CACHED_VALUES", 300)
    Muon(weights, row_parts=lambda parameter: (16, 8) if parameter.shape[0] == 24 else (), **keys).step()
    for single in alone:
        Muon([single], row_parts=lambda parameter: (16, 8) if parameter.shape[0] == 24 else (), **keys).step()
    for weight, single in zip(weights, alone, strict=True):
        torch.testing.assert_close(weight, single, rtol=0, atol=2e-3)


def test_parameters_without_a_gradient_are_left_alone_and_vectors_are_refused() -> None:
    weight = nn.Parameter(torch.ones(4, 4))
    optimizer = Muon([weight], lr=0.1, weight_decay=0.5, momentum=0.9)
    optimizer.step()
    assert torch.equal(weight, torch.ones(4, 4)) and not optimizer.state
    with pytest.raises(ValueError, match=r"not a parameter of shape \(4,\)"):
        Muon([nn.Parameter(torch.ones(4))], lr=0.1, weight_decay=0.0, momentum=0.9)
