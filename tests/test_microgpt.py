"""microgpt as matrices against microgpt as scalars: the same loss, gradients and steps."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from reference.microgpt import Adam, MicroGPT, Scalar, main
from torch import Tensor

from stages.training.loss import cross_entropy_sum
from stages.training.model import make_model
from stages.training.networks import microgpt
from stages.training.networks.network import Network
from stages.training.optim import make_optimizer
from stages.training.schedule import learning_rate_at
from stages.training.settings import TrainingConfig
from stages.training.shape import ModelConfig

# Both published versions: their settings, and the decay rates of their Adam's means.
LATEST: tuple[dict[str, Any], tuple[float, float]] = ({"context": 16}, (0.85, 0.99))
FIRST: tuple[dict[str, Any], tuple[float, float]] = (
    {"context": 8, "init_std": 0.02, "zero_init": True, "squared": True},
    (0.9, 0.95),
)
VERSIONS = pytest.mark.parametrize(("version", "betas"), [LATEST, FIRST], ids=["latest", "first"])
POSITIONS = pytest.mark.parametrize("positions", ["learned", "rope"])
RATE, STEPS = 0.01, 10


@pytest.fixture(autouse=True)
def in_double() -> Any:
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def shape_of(reference: MicroGPT) -> ModelConfig:
    return ModelConfig(
        architecture="microgpt",
        d_model=reference.width,
        n_layers=reference.layers,
        n_heads=reference.heads,
        positions="rope" if reference.rope else "learned",
        activation="relu2" if reference.squared else "relu",
        init_std=reference.init_std,
        zero_init=reference.zero_init,
    )


def in_our_names(reference: MicroGPT, part: Callable[[Scalar], float]) -> dict[str, Tensor]:
    """What a part of each scalar is, its value or its gradient, as tensors under the network's names."""
    rows = {
        name: torch.tensor([[part(scalar) for scalar in row] for row in matrix])
        for name, matrix in reference.weights.items()
    }
    ours = {"embedding.weight": rows["token"], "output.weight": rows["output"]}
    if not reference.rope:
        ours["positions.weight"] = rows["position"]
    for layer in range(reference.layers):
        block = f"blocks.{layer}"
        ours |= {
            f"{block}.attention.qkv.weight": torch.cat([rows[f"{x}{layer}"] for x in ("query", "key", "value")]),
            f"{block}.attention.output.weight": rows[f"mix{layer}"],
            f"{block}.feed_forward.up.weight": rows[f"up{layer}"],
            f"{block}.feed_forward.down.weight": rows[f"down{layer}"],
        }
    return ours


def twins(**settings: Any) -> tuple[Network, MicroGPT]:
    random.seed(3)
    reference = MicroGPT(**settings)
    network = make_model(shape_of(reference), reference.vocabulary, reference.context)
    network.load_state_dict(in_our_names(reference, lambda scalar: scalar.value))
    return network, reference


def names(vocabulary: int, context: int) -> list[list[int]]:
    """One document for each step: a start token, some letters, the token again. The first is too long."""
    drawn = random.Random(4)
    lengths = [context + 2, *(drawn.randrange(1, 8) for _ in range(STEPS - 1))]
    letters = ([drawn.randrange(1, vocabulary) for _ in range(length)] for length in lengths)
    return [[0, *name, 0][: context + 1] for name in letters]


def loss_of(network: Network, tokens: list[int]) -> Tensor:
    """What training computes: the mean over the document."""
    hidden = network.hidden(torch.tensor([tokens[:-1]]))
    return cross_entropy_sum(network, hidden, torch.tensor([tokens[1:]])) / (len(tokens) - 1)


def agree(ours: dict[str, Tensor], theirs: dict[str, Tensor]) -> None:
    assert ours.keys() == theirs.keys()
    for name, tensor in ours.items():
        torch.testing.assert_close(tensor, theirs[name], rtol=0, atol=1e-9, msg=name)


def compare(network: Network, reference: MicroGPT, betas: tuple[float, float], vocabulary: int) -> None:
    """Ten steps of both, their rate falling in a line from RATE towards 0."""
    config = TrainingConfig(
        optimizer="adamw",
        learning_rate=RATE,
        min_lr=0.0,
        warmup_steps=0,
        schedule="wsd",
        decay_fraction=1.0,
        max_steps=STEPS,
        beta1=betas[0],
        beta2=betas[1],
        weight_decay=0.0,
    )
    ours, theirs = make_optimizer(network, config), Adam(reference.parameters(), *betas)
    for step, tokens in enumerate(names(vocabulary, reference.context)):
        loss, expected = loss_of(network, tokens), reference.loss(tokens)
        assert loss.item() == pytest.approx(expected.value, abs=1e-9)
        loss.backward()  # type: ignore[no-untyped-call]
        expected.backward()
        gradients = {name: p.grad for name, p in network.named_parameters() if p.grad is not None}
        agree(gradients, in_our_names(reference, lambda scalar: scalar.gradient))
        assert step == 0 or min(float(gradient.abs().max()) for gradient in gradients.values()) > 1e-4
        ours.set_learning_rate(learning_rate_at(step, config))
        ours.step()
        ours.zero_grad()
        theirs.step(RATE * (1 - step / STEPS))
        agree(dict(network.named_parameters()), in_our_names(reference, lambda scalar: scalar.value))


@VERSIONS
@POSITIONS
def test_loss_gradients_and_ten_steps_are_those_of_the_scalars(
    version: dict[str, Any], betas: tuple[float, float], positions: str
) -> None:
    network, reference = twins(vocabulary=27, rope=positions == "rope", **version)
    assert sum(p.numel() for p in network.parameters()) == len(reference.parameters())
    compare(network, reference, betas, 27)


@POSITIONS
def test_so_they_are_with_more_layers_and_other_sizes(positions: str) -> None:
    sizes: dict[str, Any] = {"vocabulary": 11, "context": 6, "width": 12, "heads": 2, "layers": 3, "init_std": 0.3}
    network, reference = twins(rope=positions == "rope", **sizes)
    compare(network, reference, (0.85, 0.99), 11)


@VERSIONS
def test_new_weights_are_drawn_as_published(version: dict[str, Any], betas: tuple[float, float]) -> None:
    torch.manual_seed(0)
    config = shape_of(MicroGPT(27, width=64, layers=2, **version))
    for name, parameter in make_model(config, 500, 100).named_parameters():
        writes = name.endswith(("attention.output.weight", "feed_forward.down.weight"))
        expected = 0.0 if writes and config.zero_init else config.init_std
        assert float(parameter.detach().std()) == pytest.approx(expected, rel=0.05), name


@POSITIONS
def test_documents_in_a_row_are_as_if_alone(positions: str) -> None:
    network, _ = twins(vocabulary=27, rope=positions == "rope", init_std=0.5)
    first, second, third = (torch.randint(27, (1, length)) for length in (4, 7, 5))
    documents = torch.tensor([[0] * 4 + [1] * 7 + [2] * 5])
    together = network.hidden(torch.cat([first, second, third], dim=1), documents)
    alone = torch.cat([network.hidden(tokens) for tokens in (first, second, third)], dim=1)
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-12)


@POSITIONS
def test_no_token_sees_what_comes_later_and_the_order_counts(positions: str) -> None:
    network, _ = twins(vocabulary=27, rope=positions == "rope", init_std=0.5)
    tokens = torch.arange(1, 13)[None]
    other = tokens.clone()
    other[:, 7:] += 10
    torch.testing.assert_close(network(tokens)[:, :7], network(other)[:, :7])
    swapped = tokens.clone()
    swapped[:, [1, 2]] = swapped[:, [2, 1]]
    assert not torch.allclose(network(tokens)[:, 5], network(swapped)[:, 5], atol=1e-3)


def test_turning_keeps_lengths_and_depends_on_the_distance_alone() -> None:
    q, k = torch.randn(2, 1, 1, 1, 8).unbind()
    turned = [microgpt.turned(x.expand(1, 20, 1, 8), 100.0)[0, :, 0] for x in (q, k)]
    torch.testing.assert_close(turned[0].norm(dim=1), q.norm().expand(20))
    matches = turned[0] @ turned[1].T
    for distance in range(1, 5):
        along = matches.diagonal(-distance)
        torch.testing.assert_close(along, along[:1].expand_as(along))


def test_the_parts_of_a_fused_matrix_are_told() -> None:
    network, _ = twins(vocabulary=27)
    parts = {name: network.row_parts(name) for name, _ in network.named_parameters()}
    assert {name: rows for name, rows in parts.items() if rows} == {"blocks.0.attention.qkv.weight": (16, 16, 16)}


def test_the_scalars_learn_names_and_make_up_others(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    random.seed(1)
    (tmp_path / "names.txt").write_text("abba\nbaba\n")
    main(tmp_path / "names.txt", steps=30)
    *steps, last = (lines := capsys.readouterr().out.splitlines())[:30]
    assert float(steps[0].split()[-1]) == pytest.approx(1.1, abs=0.2)  # ln 3, of three tokens
    assert float(last.split()[-1]) < 0.6
    made_up = lines[30:]
    assert len(made_up) == 20
    assert set("".join(made_up)) == {"a", "b"}
