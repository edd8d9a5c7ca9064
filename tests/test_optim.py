"""What moves which parameter, AdamW against its formula in numpy, and states that come back bit by bit."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load, save
from torch import nn

from pipeline.errors import StageError
from stages.training.networks.llama import Llama
from stages.training.networks.network import Network
from stages.training.optim import Optimizers, make_optimizer
from stages.training.settings import TrainingConfig
from stages.training.shape import ModelConfig

NAMES = ["muon", "adamw", "adamw-8bit", "adafactor"]


def network(dtype: torch.dtype = torch.float32, tied: bool = True) -> Llama:
    """Its embedding and its gate_up are large enough for 8-bit moments."""
    torch.manual_seed(0)
    config = ModelConfig(d_model=64, n_layers=2, n_heads=4, n_kv_heads=2, d_ff=96, tie_embeddings=tied)
    return Llama(config, 80, 16).to(dtype)


def config(optimizer: str, **keys: Any) -> TrainingConfig:
    return TrainingConfig(**{"optimizer": optimizer, "learning_rate": 0.01, "min_lr": 0.0} | keys)


def advance(net: Network, optimizer: Optimizers, steps: range) -> None:
    """Steps with gradients and rates that follow from the number of the step."""
    for step in steps:
        generator = torch.Generator().manual_seed(step)
        for parameter in net.parameters():
            noise = torch.randn(parameter.shape, generator=generator) * 10.0 ** -(step % 3)
            parameter.grad = noise.to(parameter.dtype)
        optimizer.set_learning_rate(0.01 / (step + 1))
        optimizer.step()
        optimizer.zero_grad()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("tied", [True, False])
def test_only_matrices_decay_and_each_once(name: str, tied: bool) -> None:
    net = network(tied=tied)
    before = {key: parameter.detach().clone() for key, parameter in net.named_parameters()}
    for parameter in net.parameters():
        parameter.grad = torch.zeros_like(parameter)
    make_optimizer(net, config(name, weight_decay=0.5)).step()
    for key, parameter in net.named_parameters():
        kept = 1.0 if "norm" in key else 1 - 0.01 * 0.5
        torch.testing.assert_close(parameter.detach(), before[key] * kept, rtol=1e-6, atol=0, msg=key)


def test_muon_moves_the_matrices_inside_the_blocks_and_adamw_the_rest() -> None:
    net = network(tied=False)
    state = make_optimizer(net, config("muon"))
    advance(net, state, range(1))
    moved = {key.removesuffix(".momentum") for key in state.tensors() if key.endswith(".momentum")}
    inside = ("qkv.weight", "attention.output.weight", "gate_up.weight", "down.weight")
    assert moved == {key for key, _ in net.named_parameters() if key.endswith(inside)}
    rest = {key.removesuffix(".exp_avg") for key in state.tensors() if key.endswith(".exp_avg")}
    assert moved | rest == {key for key, _ in net.named_parameters()} and not moved & rest


def test_muon_orthogonalises_queries_keys_and_values_apart() -> None:
    """Their gradients differ a thousandfold in size, and yet each moves as far for its shape."""
    net = network()
    start = net.blocks[0].attention.qkv.weight.detach().clone()  # type: ignore[union-attr]
    for parameter in net.parameters():
        parameter.grad = torch.randn_like(parameter)
    qkv = net.blocks[0].attention.qkv.weight  # type: ignore[union-attr]
    assert isinstance(qkv, nn.Parameter) and qkv.grad is not None
    queries, keys, _ = net.row_parts("blocks.0.attention.qkv.weight")
    qkv.grad[:queries] *= 1000
    make_optimizer(net, config("muon", weight_decay=0.0)).step()
    moved = (qkv.detach() - start) / 0.01
    for part, rows in zip(moved.split([queries, keys, keys]), (queries, keys, keys), strict=True):
        assert part.norm() == pytest.approx(0.2 * max(rows, 64) ** 0.5 * min(rows, 64) ** 0.5, rel=0.15)


def adamw(
    weight: np.ndarray[Any, Any], gradients: list[np.ndarray[Any, Any]], rates: list[float], decay: float
) -> np.ndarray[Any, Any]:
    """Algorithm 2 of Loshchilov & Hutter in float64, with β = (0.9, 0.95) and ε = 1e-8."""
    first = second = np.zeros_like(weight)
    for step, (gradient, rate) in enumerate(zip(gradients, rates, strict=True), 1):
        first = 0.9 * first + 0.1 * gradient
        second = 0.95 * second + 0.05 * gradient**2
        update = (first / (1 - 0.9**step)) / (np.sqrt(second / (1 - 0.95**step)) + 1e-8)
        weight = weight - rate * (update + decay * weight)
    return weight


def test_the_embedding_has_a_rate_of_its_own_where_one_is_stated_or_muon_moves_the_rest() -> None:
    assert config("adamw").embedding_scale == 1 and config("muon").embedding_scale == 4
    assert config("muon", embedding_learning_rate=0.02).embedding_scale == pytest.approx(2)
    net = network()
    optimizer = make_optimizer(net, config("adamw", embedding_learning_rate=0.03))
    optimizer.set_learning_rate(0.001)
    rates = {
        id(p): group["lr"] for member in optimizer.members for group in member.param_groups for p in group["params"]
    }
    assert rates[id(net.embedding.weight)] == pytest.approx(0.003)
    assert {rate for key, rate in rates.items() if key != id(net.embedding.weight)} == {0.001}


@pytest.mark.parametrize("name", ["adamw", "muon"])
def test_adamws_updates_are_those_of_the_paper(name: str) -> None:
    """Also where it has only what muon leaves to it."""
    net = network(torch.float64)
    rng = np.random.default_rng(0)
    rates = [1e-2, 2e-2, 5e-3, 1e-3]
    start = {key: parameter.detach().numpy().copy() for key, parameter in net.named_parameters()}
    gradients = {key: [rng.normal(size=value.shape) for _ in rates] for key, value in start.items()}
    optimizer = make_optimizer(net, config(name, weight_decay=0.1))
    for step, rate in enumerate(rates):
        optimizer.set_learning_rate(rate)
        for key, parameter in net.named_parameters():
            parameter.grad = torch.tensor(gradients[key][step])
        optimizer.step()
    seen = [key for key, _ in net.named_parameters() if name == "adamw" or "norm" in key or "embedding" in key]
    for key in seen:
        own = [rate * (4 if (name, key) == ("muon", "embedding.weight") else 1) for rate in rates]
        expected = adamw(start[key], gradients[key], own, 0.0 if "norm" in key else 0.1)
        np.testing.assert_allclose(net.get_parameter(key).detach().numpy(), expected, rtol=1e-9, atol=1e-12)


def test_a_step_of_adafactor_is_as_large_as_the_learning_rate_says() -> None:
    """Root mean square 1 of its updates, times the rate: not relative to weights of 0.02, nor to norms of 1."""
    net = network()
    before = {key: parameter.detach().clone() for key, parameter in net.named_parameters()}
    optimizer = make_optimizer(net, config("adafactor", weight_decay=0.0))
    for parameter in net.parameters():
        parameter.grad = torch.randn_like(parameter)
    optimizer.step()
    for key, parameter in net.named_parameters():
        moved = (parameter.detach() - before[key]).square().mean().sqrt() / 0.01
        assert moved == pytest.approx(1.0, rel=0.1), key


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", NAMES)
def test_ten_steps_saved_and_ten_more_are_twenty(name: str, dtype: torch.dtype) -> None:
    whole, first, second = network(dtype), network(dtype), network(dtype)
    undisturbed = make_optimizer(whole, config(name))
    advance(whole, undisturbed, range(20))
    halfway = make_optimizer(first, config(name))
    advance(first, halfway, range(10))
    file = save(halfway.tensors())
    second.load_state_dict(first.state_dict())
    resumed = make_optimizer(second, config(name))
    resumed.load(load(file))
    advance(second, resumed, range(10, 20))
    for key, parameter in whole.named_parameters():
        assert torch.equal(parameter, second.get_parameter(key)), key
    ours, theirs = undisturbed.tensors(), resumed.tensors()
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(tensor, theirs[key]) and tensor.dtype == theirs[key].dtype for key, tensor in ours.items())


@pytest.mark.parametrize("name", NAMES)
def test_what_was_saved_stays_when_training_goes_on_or_back(name: str) -> None:
    """A snapshot in memory can be gone back to more than once."""
    net = network()
    optimizer = make_optimizer(net, config(name))
    advance(net, optimizer, range(2))
    weights, snapshot = {key: value.clone() for key, value in net.state_dict().items()}, optimizer.tensors()
    kept = {key: tensor.clone() for key, tensor in snapshot.items()}
    ends = []
    for _ in range(2):
        net.load_state_dict(weights)
        optimizer.load(snapshot)
        advance(net, optimizer, range(2, 4))
        ends.append(net.embedding.weight.detach().clone())
    assert torch.equal(*ends)
    assert all(torch.equal(snapshot[key], tensor) for key, tensor in kept.items())


@pytest.mark.parametrize("name", NAMES)
def test_before_the_first_step_there_is_nothing_and_that_can_be_gone_back_to(name: str) -> None:
    fresh, used = network(), network()
    optimizer, other = make_optimizer(fresh, config(name)), make_optimizer(used, config(name))
    nothing = other.tensors()
    assert nothing == {}
    advance(used, other, range(3))
    used.load_state_dict(fresh.state_dict())
    other.load(nothing)
    advance(used, other, range(3))
    advance(fresh, optimizer, range(3))
    assert torch.equal(fresh.embedding.weight, used.embedding.weight)


@pytest.mark.parametrize("name", NAMES)
def test_a_state_that_does_not_fit_is_refused_and_changes_nothing(name: str) -> None:
    net = network()
    optimizer = make_optimizer(net, config(name))
    advance(net, optimizer, range(2))
    state = optimizer.tensors()
    key = next(key for key, tensor in state.items() if tensor.dim() == 2)
    shape, dtype = tuple(state[key].shape), state[key].dtype
    with pytest.raises(ValueError, match=f"not the state of this optimizer: {key}"):
        optimizer.load({name: tensor for name, tensor in state.items() if name != key})
    with pytest.raises(ValueError, match=r"not the state of this optimizer: ghost\.momentum"):
        optimizer.load(state | {"ghost.momentum": torch.zeros(1)})
    with pytest.raises(ValueError, match=f"{key} is {dtype} \\(1, 1\\), not {dtype} \\({shape[0]}, {shape[1]}\\)"):
        optimizer.load(state | {key: torch.zeros(1, 1, dtype=dtype)})
    with pytest.raises(ValueError, match=f"{key} is torch.float64"):
        optimizer.load(state | {key: state[key].double()})
    for other in NAMES:
        if other != name:
            with pytest.raises(ValueError, match="not the state of this optimizer"):
                make_optimizer(network(), config(other)).load(state)
    after = optimizer.tensors()
    assert all(torch.equal(after[key], tensor) for key, tensor in state.items())


def test_eight_bits_take_a_quarter_of_the_state() -> None:
    def size(name: str) -> int:
        torch.manual_seed(0)
        shape = ModelConfig(d_model=256, n_layers=1, n_heads=4, n_kv_heads=2, d_ff=512)
        net = Llama(shape, 256, 16)
        optimizer = make_optimizer(net, config(name))
        advance(net, optimizer, range(1))
        return sum(tensor.nbytes for tensor in optimizer.tensors().values())

    assert size("adamw-8bit") < 0.265 * size("adamw")  # a byte and 1/64 of one for the scales, instead of four


@pytest.fixture
def mesh() -> Iterator[Any]:
    """One process that shares out tensors with itself."""
    dist = torch.distributed
    if not dist.is_available():
        pytest.skip("this torch has no torch.distributed")
    from torch.distributed.device_mesh import init_device_mesh

    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    yield init_device_mesh("cpu", (1,))
    dist.destroy_process_group()


def test_adafactor_says_that_it_cannot_move_what_is_shared_out(mesh: Any) -> None:
    from torch.distributed.fsdp import fully_shard

    shared = network()
    fully_shard(shared, mesh=mesh)
    with pytest.raises(StageError, match="shared out"):
        make_optimizer(shared, config("adafactor"))


@pytest.mark.parametrize("name", ["muon", "adamw", "adamw-8bit"])
def test_parameters_that_are_shared_out_are_moved_and_saved_the_same(name: str, mesh: Any) -> None:
    """torch's fully_shard makes DTensors of them; what is saved is whole and fits either way."""
    from torch.distributed.fsdp import fully_shard
    from torch.distributed.tensor import DTensor, distribute_tensor

    plain, shared = network(), network()
    fully_shard(shared, mesh=mesh)
    ours, theirs = make_optimizer(plain, config(name)), make_optimizer(shared, config(name))

    def advance_shared(steps: range) -> None:
        for step in steps:
            generator = torch.Generator().manual_seed(step)
            for parameter in shared.parameters():
                assert isinstance(parameter, DTensor)
                noise = torch.randn(parameter.shape, generator=generator) * 10.0 ** -(step % 3)
                parameter.grad = distribute_tensor(noise, mesh, parameter.placements)
            theirs.set_learning_rate(0.01 / (step + 1))
            theirs.step()
            theirs.zero_grad()

    advance(plain, ours, range(3))
    advance_shared(range(3))
    saved = theirs.tensors()
    assert all(torch.equal(tensor, saved[key]) for key, tensor in ours.tensors().items())
    ours.load(saved)
    theirs.load(saved)
    advance(plain, ours, range(3, 6))
    advance_shared(range(3, 6))
    for key, parameter in shared.named_parameters():
        assert isinstance(parameter, DTensor)
        assert torch.equal(parameter.full_tensor(), plain.get_parameter(key)), key
