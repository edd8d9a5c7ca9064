"""What is kept of the tokens read: with it every network computes what it does without, whatever the rows are."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from stages.training.model import make_model
from stages.training.networks import kv_cache, layers
from stages.training.networks.network import Network
from stages.training.shape import ModelConfig

VOCAB_SIZE, CONTEXT = 61, 90
NETWORKS: dict[str, dict[str, Any]] = {
    "llama": {"n_kv_heads": 4},
    "llama with groups": {"n_kv_heads": 2},
    "llama with one group": {"n_kv_heads": 1, "tie_embeddings": False},
    "qwen3": {"n_kv_heads": 2, "qk_norm": True, "head_dim": 12},
    "gpt2": {"architecture": "gpt2"},
    "gpt2 without bias, with dropout": {"architecture": "gpt2", "bias": False, "dropout": 0.5},
    "microgpt": {"architecture": "microgpt"},
    "microgpt that turns": {"architecture": "microgpt", "positions": "rope"},
}
EACH = pytest.mark.parametrize("name", NETWORKS)


def made(name: str) -> Network:
    """A network in float64 with weights so wide that all of them show."""
    torch.manual_seed(3)
    shape = {"d_model": 32, "n_layers": 3, "n_heads": 4, "d_ff": 40} | NETWORKS[name]
    network = make_model(ModelConfig(**shape), VOCAB_SIZE, CONTEXT)
    for parameter in network.parameters():
        if parameter.dim() > 1:
            torch.nn.init.normal_(parameter, std=0.3)
        else:
            torch.nn.init.uniform_(parameter, 0.5, 1.5)
    return network.double().eval()


def some_tokens(*lengths: int, seed: int = 0) -> list[list[int]]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randint(VOCAB_SIZE, (length,), generator=generator).tolist() for length in lengths]


@torch.no_grad()
def without(network: Network, tokens: list[int]) -> Tensor:
    """The logits after the last token, of a row read alone and at once."""
    logits: Tensor = network(torch.tensor([tokens]))[0, -1]
    return logits


def assert_right(network: Network, logits: Tensor, rows: list[list[int]]) -> None:
    expected = torch.stack([without(network, row) for row in rows])
    torch.testing.assert_close(logits, expected, rtol=0, atol=1e-11)


@EACH
def test_what_is_kept_of_rows_of_other_lengths_changes_no_logits(name: str) -> None:
    network, cache = made(name), made(name).new_cache()
    rows = some_tokens(1, 66, 23, 66, 2)
    assert_right(network, network.read(rows, cache), rows)
    for step in range(5):
        new = some_tokens(1, 1, 1, 1, 1, seed=step + 1)
        rows = [row + more for row, more in zip(rows, new, strict=True)]
        assert_right(network, network.read(new, cache), rows)
    assert float(without(network, rows[0]).std()) > 0.3


@EACH
def test_rows_of_one_length_grow_to_the_end_of_the_context_by_one_or_more(name: str) -> None:
    network, cache = made(name), made(name).new_cache()
    rows: list[list[int]] = [[], []]
    for count in (60, 1, 7, 1, 20, 1):
        new = some_tokens(count, count, seed=count)
        rows = [row + more for row, more in zip(rows, new, strict=True)]
        assert_right(network, network.read(new, cache), rows)
    assert cache.lengths == [CONTEXT, CONTEXT]
    with pytest.raises(ValueError, match="more than 90 tokens"):
        network.read([[1], [2]], cache)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_rows_that_leave_come_and_are_doubled_disturb_no_other(data: st.DataObject) -> None:
    network = made(data.draw(st.sampled_from(["llama with groups", "gpt2", "microgpt that turns"])))
    cache, rows = network.new_cache(), list[list[int]]()
    for step in range(data.draw(st.integers(1, 8))):
        match data.draw(st.sampled_from(["join", "drop", "take", "read"])):
            case "join":
                new = some_tokens(*data.draw(st.lists(st.integers(1, 70), min_size=1, max_size=3)), seed=step)
                other = network.new_cache()
                network.read(new, other)
                cache.join(other)
                rows = rows + new
            case "drop" if rows:
                gone = data.draw(st.sets(st.sampled_from(range(len(rows)))))
                order = cache.drop(gone)
                assert sorted(order) == [row for row in range(len(rows)) if row not in gone]
                rows = [rows[row] for row in order]
            case "take" if rows:
                order = data.draw(st.lists(st.sampled_from(range(len(rows))), max_size=5))
                cache.take(order)
                rows = [rows[row] for row in order]
            case _ if rows:
                new = some_tokens(*[1] * len(rows), seed=step)
                rows = [row + more for row, more in zip(rows, new, strict=True)]
                network.read(new, cache)
        assert cache.lengths == [len(row) for row in rows]
    if rows:
        new = some_tokens(*[1] * len(rows), seed=99)
        assert_right(network, network.read(new, cache), [row + more for row, more in zip(rows, new, strict=True)])


@EACH
def test_reading_costs_a_pass_over_the_new_tokens_alone(name: str) -> None:
    network, seen = made(name), list[int]()
    network.get_submodule("blocks.0").register_forward_hook(lambda block, given, _: seen.append(given[0].shape[1]))
    cache = network.new_cache()
    for tokens in ([5] * 30, [6], [7]):
        network.read([tokens], cache)
    assert seen == [30, 1, 1]


def test_leaving_moves_few_rows_and_room_is_made_for_many_tokens_at_once() -> None:
    network = made("llama")
    cache = network.new_cache()
    network.read(some_tokens(*range(1, 9)), cache)
    before = cache.layers[0].kept[0].data_ptr()
    assert cache.drop({1, 6}) == [0, 7, 2, 3, 4, 5]
    for _ in range(40):
        network.read([[1]] * 6, cache)
    assert cache.layers[0].kept[0].data_ptr() == before
    assert cache.layers[0].kept[0].shape == (6, 4, kv_cache.GROWTH, 8)


def test_rows_that_do_not_fit_together_are_refused() -> None:
    network = made("llama")
    cache = network.new_cache()
    with pytest.raises(ValueError, match="0 to 2"):
        network.read([[], [1, 2]], cache)
    with pytest.raises(ValueError, match="more than 90"):
        network.read([[1] * 91, [1]], cache)
    network.read([[1], [1, 2]], cache)
    with pytest.raises(ValueError, match="1 to 2"):
        network.read([[1], [1, 2]], cache)
    with pytest.raises(ValueError, match="3 rows of tokens for a cache of 2"):
        network.read([[1], [1], [1]], cache)
    assert cache.lengths == [1, 2]


@pytest.fixture
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("wide", [False, True], ids=["blocked", "fused"])
def test_a_prompt_is_read_as_in_training_to_the_last_bit(wide: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    network = made("llama with groups").float()
    if wide:
        monkeypatch.setattr(layers, "LONGEST_BLOCKED", 10)
    (tokens,) = some_tokens(70)
    cache = network.new_cache()
    assert torch.equal(network.hidden(torch.tensor([tokens])), _hidden(network, tokens, cache))


def _hidden(network: Network, tokens: list[int], cache: kv_cache.Cache) -> Tensor:
    rows = torch.tensor([tokens])
    cache.place(rows)
    return network.hidden(rows, cache=cache)


def test_in_bf16_the_likeliest_tokens_stay_close() -> None:
    network = made("qwen3").bfloat16()
    cache, rows = network.new_cache(), some_tokens(9, 30)
    network.read(rows, cache)
    logits = network.read([[3], [4]], cache)
    assert logits.dtype == torch.bfloat16 and cache.layers[0].kept[0].dtype == torch.bfloat16
    for row, (tokens, new) in enumerate(zip(rows, (3, 4), strict=True)):
        torch.testing.assert_close(logits[row], without(network, [*tokens, new]), rtol=0.1, atol=0.25)
