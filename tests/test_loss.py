"""The loss in chunks against torch's cross-entropy of whole logits."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from stages.training import loss
from stages.training.loss import cross_entropy_sum
from stages.training.model import make_model
from stages.training.networks.network import Network
from stages.training.shape import ModelConfig

VOCAB_SIZE, CONTEXT = 37, 16


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loss, "CPU_ROWS", 7)


def network(dtype: torch.dtype = torch.float64, tied: bool = True) -> Network:
    torch.manual_seed(3)
    config = ModelConfig(d_model=16, n_layers=1, n_heads=2, n_kv_heads=1, d_ff=8, tie_embeddings=tied, init_std=0.4)
    return make_model(config, VOCAB_SIZE, CONTEXT).to(dtype)


def rows() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(4)
    tokens, targets = (torch.randint(VOCAB_SIZE, (3, CONTEXT), generator=generator) for _ in range(2))
    targets[0, :9], targets[2, 5] = -100, -100
    return tokens, targets


def whole(model: Network, tokens: Tensor, targets: Tensor) -> Tensor:
    logits = model(tokens)
    return F.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="sum", ignore_index=-100)


@pytest.mark.parametrize("tied", [True, False], ids=["tied", "untied"])
def test_loss_and_gradients_are_those_of_whole_logits(tied: bool) -> None:
    ours, theirs = network(tied=tied), network(tied=tied)
    tokens, targets = rows()
    made, expected = cross_entropy_sum(ours, ours.hidden(tokens), targets), whole(theirs, tokens, targets)
    assert made.dtype == torch.float64
    torch.testing.assert_close(made, expected, rtol=1e-13, atol=0)
    (made / 30).backward()  # type: ignore[no-untyped-call]
    (expected / 30).backward()  # type: ignore[no-untyped-call]
    for (name, mine), its in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(mine.grad, its.grad, rtol=0, atol=1e-12, msg=name)


def test_rows_without_a_target_that_counts_cost_nothing() -> None:
    model = network()
    tokens, targets = rows()
    made = cross_entropy_sum(model, model.hidden(tokens), torch.full_like(targets, -100))
    made.backward()  # type: ignore[no-untyped-call]
    assert made.item() == 0
    assert all(float(weight.grad.abs().max()) == 0 for weight in model.parameters() if weight.grad is not None)


def test_evaluation_gives_the_same_and_computes_no_gradient() -> None:
    model = network()
    tokens, targets = rows()
    with torch.no_grad():
        made = cross_entropy_sum(model, model.hidden(tokens), targets)
        torch.testing.assert_close(made, whole(model, tokens, targets), rtol=1e-13, atol=0)
    assert not made.requires_grad


def test_a_frozen_output_matrix_still_lets_the_gradient_through() -> None:
    model = network(tied=False)
    model.output.weight.requires_grad_(False)
    tokens, targets = rows()
    cross_entropy_sum(model, model.hidden(tokens), targets).backward()  # type: ignore[no-untyped-call]
    assert model.output.weight.grad is None
    assert model.embedding.weight.grad is not None and float(model.embedding.weight.grad.abs().max()) > 0


def test_bf16_sums_in_float32_and_leaves_float32_gradients() -> None:
    model, exact = network(torch.float32), network()
    tokens, targets = rows()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        made = cross_entropy_sum(model, model.hidden(tokens), targets)
    assert made.dtype == torch.float32
    assert made.item() == pytest.approx(whole(exact, tokens, targets).item(), rel=0.02)
    made.backward()  # type: ignore[no-untyped-call]
    assert {weight.grad.dtype for weight in model.parameters() if weight.grad is not None} == {torch.float32}


class Largest(TorchDispatchMode):
    """Notes the most values of a tensor that any operation gives."""

    def __init__(self) -> None:
        super().__init__()
        self.values = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        result = func(*args, **(kwargs or {}))
        for tensor in result if isinstance(result, tuple) else (result,):
            if isinstance(tensor, Tensor):
                self.values = max(self.values, tensor.numel())
        return result


def test_the_logits_never_exist_whole() -> None:
    model = network()
    tokens, targets = rows()
    with Largest() as largest:
        cross_entropy_sum(model, model.hidden(tokens), targets).backward()  # type: ignore[no-untyped-call]
    assert 0 < largest.values < tokens.numel() * VOCAB_SIZE
    with Largest() as largest:
        whole(model, tokens, targets).backward()  # type: ignore[no-untyped-call]
    assert largest.values == tokens.numel() * VOCAB_SIZE
