"""GPT-2: what it starts as and what it lets be seen; `test_huggingface.py` compares what it computes."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from stages.training.networks.gpt2 import GPT2
from stages.training.shape import ModelConfig

VOCAB_SIZE, CONTEXT = 61, 24


def made(**more: Any) -> GPT2:
    shape: dict[str, Any] = {"architecture": "gpt2", "d_model": 32, "n_layers": 2, "n_heads": 4}
    torch.manual_seed(5)
    return GPT2(ModelConfig(**shape | more), VOCAB_SIZE, CONTEXT)


def widened(network: GPT2) -> GPT2:
    """Weights drawn so wide that every part of the network shows in what it computes."""
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.4)
    return network.double().eval()


def tokens_like(*shape: int) -> Tensor:
    return torch.randint(VOCAB_SIZE, shape, generator=torch.Generator().manual_seed(7))


def test_a_new_network_is_spread_as_gpt2_is() -> None:
    network = made(d_model=128, n_layers=8)
    for name, parameter in network.named_parameters():
        if "norm.weight" in name:
            assert torch.equal(parameter, torch.ones_like(parameter))
        elif name.endswith("bias"):
            assert not parameter.any()
        else:
            writes = name.endswith(("attention.output.weight", "feed_forward.down.weight"))
            std = 0.02 / math.sqrt(2 * 8) if writes else 0.02
            assert float(parameter.detach().std()) == pytest.approx(std, rel=0.06), name
    loss = F.cross_entropy(network(tokens_like(4, CONTEXT)).flatten(0, 1), tokens_like(4 * CONTEXT).flip(0))
    assert loss.item() == pytest.approx(math.log(VOCAB_SIZE), abs=0.3)


def test_init_std_and_zero_init_are_kept() -> None:
    network = made(d_model=128, init_std=0.1, zero_init=True)
    assert float(network.blocks[0].attention.qkv.weight.detach().std()) == pytest.approx(0.1, rel=0.05)
    for block in network.blocks:
        assert not block.attention.output.weight.any()
        assert not block.feed_forward.down.weight.any()


@pytest.mark.parametrize("bias", [True, False])
def test_without_bias_nothing_has_one(bias: bool) -> None:
    network = made(bias=bias)
    assert any(name.endswith("bias") for name, _ in network.named_parameters()) is bias


def test_no_token_sees_what_comes_later_and_the_order_counts() -> None:
    network = widened(made())
    tokens = torch.arange(1, 13)[None]
    other = tokens.clone()
    other[:, 7:] += 20
    torch.testing.assert_close(network(tokens)[:, :7], network(other)[:, :7])
    assert not torch.allclose(network(tokens)[:, 7], network(other)[:, 7])
    swapped = tokens.clone()
    swapped[:, [1, 2]] = swapped[:, [2, 1]]
    assert not torch.allclose(network(tokens)[:, 5], network(swapped)[:, 5], atol=1e-3)


def test_documents_in_a_row_are_as_if_alone() -> None:
    network = widened(made())
    lengths = [[4, 7, 5], [9, 1, 6]]
    rows = tokens_like(2, 16)
    documents = torch.stack([torch.arange(3).repeat_interleave(torch.tensor(row)) for row in lengths])
    together = network.hidden(rows, documents)
    for row, parts, hidden in zip(rows, lengths, together, strict=True):
        alone = torch.cat([network.hidden(part[None])[0] for part in row.split(parts)])
        torch.testing.assert_close(hidden, alone, rtol=0, atol=1e-12)
    one = network.hidden(rows, torch.zeros_like(rows))
    torch.testing.assert_close(one, network.hidden(rows), rtol=0, atol=1e-12)


@pytest.mark.parametrize("with_documents", [False, True])
def test_dropout_works_in_training_alone(with_documents: bool) -> None:
    network, tokens = made(dropout=0.5), tokens_like(2, 9)
    documents = torch.zeros_like(tokens) if with_documents else None
    assert not torch.equal(network(tokens, documents), network(tokens, documents))
    network.eval()
    assert torch.equal(network(tokens, documents), network(tokens, documents))


@pytest.mark.parametrize("place", ["dropout", "blocks.1.dropout", "blocks.1.attention"])
def test_dropout_is_where_gpt2_has_it(place: str) -> None:
    """On the embedding, on the attention, and on what is written to the residual stream."""
    network = made(dropout=0.5)
    for name, part in network.named_modules():
        if isinstance(part, torch.nn.Dropout):
            part.p = 0.5 if name == place else 0.0
    for index, block in enumerate(network.blocks):
        block.attention.attention_dropout = 0.5 if place == f"blocks.{index}.attention" else 0.0
    assert not torch.equal(network(tokens_like(1, 9)), network(tokens_like(1, 9)))


def test_the_parts_of_a_fused_matrix_are_told() -> None:
    network = made(n_layers=1)
    parts = {name: network.row_parts(name) for name, _ in network.named_parameters()}
    assert {name: rows for name, rows in parts.items() if rows} == {"blocks.0.attention.qkv.weight": (32, 32, 32)}
