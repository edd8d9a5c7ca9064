"""Averages of weights against sums written out by hand."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import load, save
from torch import Tensor, nn

from stages.training.ema import Ema
from stages.training.networks.llama import Llama
from stages.training.shape import ModelConfig


def network(dtype: torch.dtype = torch.float32) -> nn.Linear:
    torch.manual_seed(0)
    return nn.Linear(3, 2).to(dtype)


def walk(net: nn.Linear, steps: int, ema: Ema | None = None) -> list[Tensor]:
    """Random steps; the weights after each."""
    torch.manual_seed(1)
    seen = []
    for _ in range(steps):
        with torch.no_grad():
            for parameter in net.parameters():
                parameter.add_(torch.randn_like(parameter))
        if ema:
            ema.update()
        seen.append(net.weight.detach().double().clone())
    return seen


def by_hand(seen: list[Tensor], decay: float) -> Tensor:
    """Σ decayᵏ·w(t-k) / Σ decayᵏ."""
    shares = [decay ** (len(seen) - 1 - index) for index in range(len(seen))]
    total = torch.zeros_like(seen[0])
    for share, weight in zip(shares, seen, strict=True):
        total += share / sum(shares) * weight
    return total


@pytest.mark.parametrize("steps", [1, 2, 7, 60])
@pytest.mark.parametrize("decay", [0.5, 0.99])
def test_the_average_is_the_weighted_mean_of_all_weights_after_a_step(steps: int, decay: float) -> None:
    net = network()
    ema = Ema(net, decay)
    seen = walk(net, steps, ema)
    torch.testing.assert_close(ema.averages["weight"].double(), by_hand(seen, decay), rtol=1e-5, atol=1e-6)


def test_three_steps_of_one_number_by_hand() -> None:
    """Weights 1, 2, 4 at decay 0.5: 1, then (1 + 4)/3, then (1 + 4 + 16)/7 = 3."""
    net = nn.Linear(1, 1, bias=False)
    ema = Ema(net, 0.5)
    found = []
    for value in (1.0, 2.0, 4.0):
        with torch.no_grad():
            net.weight.fill_(value)
        ema.update()
        found.append(float(ema.averages["weight"]))
    assert found == pytest.approx([1, 5 / 3, 3], rel=1e-6)


def test_bf16_weights_are_averaged_in_fp32() -> None:
    net = network(torch.bfloat16)
    ema = Ema(net, 0.99)
    seen = walk(net, 40, ema)
    assert ema.averages["weight"].dtype == torch.float32
    torch.testing.assert_close(ema.averages["weight"].double(), by_hand(seen, 0.99), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_swapped_weights_come_back_bit_by_bit_and_training_goes_on_as_if_nothing_were(dtype: torch.dtype) -> None:
    net, undisturbed = network(dtype), network(dtype)
    ema, other = Ema(net, 0.9), Ema(undisturbed, 0.9)
    walk(net, 5, ema)
    walk(undisturbed, 5, other)
    before = net.weight.detach().clone()
    with ema.swapped():
        assert torch.equal(net.weight.detach(), ema.averages["weight"].to(dtype))
        assert not torch.equal(net.weight, before)
    assert torch.equal(net.weight, before) and net.weight.requires_grad
    walk(net, 5, ema)
    walk(undisturbed, 5, other)
    assert torch.equal(net.weight, undisturbed.weight)
    assert torch.equal(ema.averages["weight"], other.averages["weight"])


def test_the_weights_come_back_after_an_error_too() -> None:
    net = network()
    ema = Ema(net, 0.9)
    walk(net, 3, ema)
    before = net.weight.detach().clone()
    with pytest.raises(KeyboardInterrupt), ema.swapped():
        raise KeyboardInterrupt
    assert torch.equal(net.weight, before)


def test_before_the_first_update_the_averages_are_the_weights() -> None:
    net = network()
    with Ema(net, 0.9).swapped():
        assert torch.equal(net.weight, network().weight)


def test_a_tied_weight_is_kept_once_and_stays_tied() -> None:
    net = Llama(ModelConfig(d_model=32, n_layers=1, n_heads=4, n_kv_heads=2, d_ff=48, tie_embeddings=True), 50, 16)
    ema = Ema(net, 0.9)
    ema.update()
    assert len(ema.averages) == len({id(parameter) for parameter in net.parameters()})
    with torch.no_grad():
        net.embedding.weight.add_(1)
    with ema.swapped():
        assert net.output.weight is net.embedding.weight
        assert torch.equal(net.output.weight, ema.averages["embedding.weight"])


def test_saved_halfway_it_goes_on_exactly() -> None:
    whole, first, second = network(), network(), network()
    undisturbed = Ema(whole, 0.9)
    walk(whole, 10, undisturbed)
    walk(whole, 10, undisturbed)
    halfway = Ema(first, 0.9)
    walk(first, 10, halfway)
    file = save(halfway.tensors())
    resumed = Ema(second, 0.9)
    second.load_state_dict(first.state_dict())
    resumed.load(load(file))
    walk(second, 10, resumed)
    for name, average in undisturbed.averages.items():
        assert torch.equal(average, resumed.averages[name])


def test_what_was_saved_does_not_change_with_what_follows() -> None:
    net = network()
    ema = Ema(net, 0.9)
    walk(net, 2, ema)
    saved = ema.tensors()
    kept = {name: tensor.clone() for name, tensor in saved.items()}
    walk(net, 2, ema)
    assert all(torch.equal(saved[name], tensor) for name, tensor in kept.items())


def test_averages_of_another_network_are_refused_and_change_nothing() -> None:
    net = network()
    ema = Ema(net, 0.9)
    walk(net, 3, ema)
    before = ema.tensors()
    with pytest.raises(ValueError, match="other weights: bias"):
        ema.load({name: tensor for name, tensor in before.items() if name != "bias"})
    with pytest.raises(ValueError, match=r"bias is torch.float32 \(4,\), not torch.float32 \(2,\)"):
        ema.load(before | {"bias": torch.zeros(4)})
    with pytest.raises(ValueError, match=r"torch\.bfloat16"):
        ema.load(before | {"weight": torch.zeros(2, 3, dtype=torch.bfloat16)})
    after = ema.tensors()
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())
