"""The knapsack against trying everything, costs against the true divergence, what was said against the file."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from test_architectures import make_model, written
from test_gguf import edit_weights

from stages.release import fit as module
from stages.release.architectures import Tensor
from stages.release.errors import ReleaseError
from stages.release.fit import Costs, Fitted, Option, fisher, knapsack, measure, parse_size, unmeasured
from stages.release.imatrix import collect, load_model, matrices
from stages.release.quantize import quantize

WIDE: dict[str, Any] = {"hidden_size": 256, "intermediate_size": 512, "head_dim": 64, "num_hidden_layers": 3}
Weights = dict[str, NDArray[np.float32]]


def draw_windows(count: int, length: int, seed: int = 0) -> list[list[int]]:
    random = np.random.default_rng(seed)
    return [[1, *random.integers(4, 500, size=length - 1).tolist()] for _ in range(count)]


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """Threads of torch that wait for each other take minutes on a busy machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def calm(weights: Weights) -> None:
    """Make a random model's matrices as small as a trained one's, so that its answers change little with them.

    In queries and keys the first half of a head's rows stays larger, so that it matters which row is which.
    """
    for name, values in weights.items():
        if values.ndim == 2:
            values *= 0.35
        if "q_proj" in name or "k_proj" in name:
            values.reshape(-1, 2, 32, 256)[:] *= np.array([1.2, 0.4], dtype=np.float32)[:, None, None]


class Wide:
    """A model whose rows are multiples of 256, a text for it, and what is known of both."""

    def __init__(self, folder: Path) -> None:
        make_model(folder, "llama", **WIDE)
        edit_weights(folder, calm)
        self.folder, self.base = folder, written(folder, "f16")
        self.windows = draw_windows(24, 40)
        self.importance = collect(folder, self.windows).columns
        self.shares: list[float] = []
        self.costs = measure(folder, self.base, self.windows, self.importance, self.shares.append)

    def write(self, fitted: Fitted) -> Path:
        path = self.folder / "fitted.gguf"
        quantize(self.base, path, "q4_k_m", importance=self.importance, types=fitted.types)
        return path

    def true(self, fitted: Fitted, windows: list[list[int]]) -> float:
        return divergence(self.folder, self.base, self.write(fitted), windows)


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> Wide:
    return Wide(tmp_path_factory.mktemp("wide"))


def divergence(folder: Path, base: Path, quantised: Path, windows: list[list[int]]) -> float:
    """Mean divergence of transformers' model with a file's weights from the same with the weights of `base`."""
    predicted = []
    for path in (base, quantised):
        model, layout = load_model(folder), matrices(folder)
        for name, values in decoded(path).items():
            if name in layout:
                model.get_parameter(layout[name].source).copy_(torch.from_numpy(in_halves(values, layout[name])))
        predicted.append(torch.log_softmax(model(torch.tensor(windows)).logits.double(), dim=-1))
    wanted, found = predicted
    return float((wanted.exp() * (wanted - found)).sum(-1).mean())


def decoded(path: Path) -> Weights:
    from gguf import GGUFReader
    from gguf.quants import dequantize

    return {tensor.name: dequantize(tensor.data, tensor.tensor_type) for tensor in GGUFReader(path).tensors}


def in_halves(values: NDArray[np.float32], tensor: Tensor) -> NDArray[np.float32]:
    """The rows as transformers has them: the even ones of a head first."""
    if not tensor.heads:
        return values
    heads = np.split(values, tensor.heads)
    return np.concatenate([part for head in heads for part in (head[::2], head[1::2])])


def total(picked: list[Option]) -> tuple[int, float]:
    return sum(option.size for option in picked), math.fsum(option.cost for option in picked)


choices = st.lists(
    st.lists(
        st.builds(Option, st.just("t"), st.integers(1, 40), st.integers(0, 30).map(float)), min_size=1, max_size=4
    ),
    min_size=1,
    max_size=5,
)


@given(choices, st.integers(0, 120))
@settings(deadline=None)
def test_the_knapsack_finds_what_trying_everything_finds(options: list[list[Option]], spare: int) -> None:
    room = sum(min(option.size for option in each) for each in options) + spare
    possible = [total(list(picked)) for picked in itertools.product(*options)]
    least = min(cost for size, cost in possible if size <= room)
    size, cost = total(knapsack(options, room))
    assert size <= room and cost == pytest.approx(least)


@given(choices, st.integers(0, 120))
@settings(deadline=None)
def test_a_coarse_knapsack_keeps_within_the_room(options: list[list[Option]], spare: int) -> None:
    room = sum(min(option.size for option in each) for each in options) + spare
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_CELLS", 7)
        picked = knapsack(options, room)
    assert len(picked) == len(options) and total(picked)[0] <= room


def test_information_is_the_expected_square_of_the_gradient(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_model(tmp_path, "llama", hidden_size=32, intermediate_size=32, num_hidden_layers=1)
    window = [1, 7]
    model, layout = load_model(tmp_path), matrices(tmp_path)
    parameters = [model.get_parameter(tensor.source).requires_grad_() for tensor in layout.values()]
    rows = torch.log_softmax(model(torch.tensor([window])).logits[0], dim=-1)
    exact = [torch.zeros_like(parameter) for parameter in parameters]
    for row in rows:
        for likelihood in row:
            for square, grad in zip(exact, torch.autograd.grad(likelihood, parameters, retain_graph=True), strict=True):
                square += likelihood.detach().exp() * grad**2 / len(rows)
    monkeypatch.setattr(module, "_TOGETHER", len(window))  # each window by itself: as many samples as windows
    found = fisher(tmp_path, [window] * 300)
    assert found.keys() == layout.keys()
    for (name, tensor), square in zip(layout.items(), exact, strict=True):
        wanted = square.numpy()
        assert found[name].sum() == pytest.approx(wanted.sum(), rel=0.2), name
        if not tensor.heads:  # the other rows are reordered
            assert np.corrcoef(found[name].ravel(), wanted.ravel())[0, 1] > 0.95, name


def test_the_expected_divergence_is_the_true_one_also_on_other_text(wide: Wide) -> None:
    for bits in (3.6, 4.6, 5.8):
        fitted = wide.costs.fit(wide.costs.budget(bits))
        true = divergence(wide.folder, wide.base, wide.write(fitted), draw_windows(24, 40, seed=1))
        assert fitted.divergence == pytest.approx(true, rel=0.25)


def test_the_cost_of_one_matrix_is_its_own_divergence(wide: Wide) -> None:
    """Queries and keys have reordered rows: with the information of other rows their costs would be wrong."""
    free = dict.fromkeys(wide.costs.options, "F16")
    for name in ("blk.1.attn_q.weight", "blk.0.attn_k.weight", "blk.2.ffn_down.weight", "token_embd.weight"):
        option = next(option for option in wide.costs.options[name] if option.kind == "Q3_K")
        path = wide.write(Fitted(free | {name: "Q3_K"}, size=0, divergence=0))
        assert option.cost == pytest.approx(divergence(wide.folder, wide.base, path, wide.windows), rel=0.3), name


@pytest.mark.parametrize("quant", ["q4_k_m", "q3_k_m"])
def test_a_fitted_mix_is_a_tenth_nearer_than_the_preset_of_its_size(wide: Wide, quant: str) -> None:
    preset = wide.folder / "preset.gguf"
    quantize(wide.base, preset, quant, importance=wide.importance)
    fitted = wide.write(wide.costs.fit(preset.stat().st_size))
    assert fitted.stat().st_size <= preset.stat().st_size
    unseen = draw_windows(24, 40, seed=2)
    theirs, ours = (divergence(wide.folder, wide.base, path, unseen) for path in (preset, fitted))
    assert ours < 0.9 * theirs


def test_the_file_has_the_size_that_was_said_and_keeps_the_budget(wide: Wide) -> None:
    for bits in (2.9, 4.2, 7.3, 12.0):
        budget = wide.costs.budget(bits)
        fitted = wide.costs.fit(budget)
        assert wide.write(fitted).stat().st_size == fitted.size <= budget
        narrower = wide.costs.fit(budget, reserve=1000)
        assert wide.write(narrower).stat().st_size + 1000 <= narrower.size <= budget


def test_more_room_is_never_worse_and_with_all_of_it_nothing_is_lost(wide: Wide) -> None:
    losses = [wide.costs.fit(wide.costs.budget(bits)).divergence for bits in np.arange(2.9, 16.5, 0.3)]
    assert losses == sorted(losses, reverse=True)
    everything = wide.costs.fit(wide.base.stat().st_size)
    assert set(everything.types.values()) == {"F16"} and everything.divergence == 0
    assert everything.size == wide.base.stat().st_size


def test_too_small_a_budget_names_the_smallest_size(wide: Wide) -> None:
    with pytest.raises(ReleaseError, match="the smallest takes") as caught:
        wide.costs.fit(10_000)
    found = re.search(r"takes (\d+) bytes", str(caught.value))
    assert found
    smallest = int(found[1])
    assert set(wide.costs.fit(smallest).types.values()) == {"Q2_K"}
    with pytest.raises(ReleaseError):
        wide.costs.fit(smallest - 1)
    named = re.fullmatch(r"pipeline export --fit (\d+kB)", str(caught.value.hint))
    assert named and smallest <= parse_size(named[1]) <= smallest + 2000
    with pytest.raises(ReleaseError) as told:
        unmeasured(wide.folder, wide.base).check(10_000)
    assert str(told.value) == str(caught.value)


def test_measuring_again_gives_the_same_and_says_how_far_it_is(wide: Wide) -> None:
    assert math.fsum(wide.shares) == pytest.approx(1)
    again = measure(wide.folder, wide.base, wide.windows, wide.importance)
    assert again == wide.costs


@pytest.mark.parametrize("name", ["gpt2", "qwen3 untied"])
def test_rows_that_no_k_quant_holds_take_types_of_smaller_blocks(name: str, tmp_path: Path) -> None:
    make_model(tmp_path, name, **({"n_inner": 100} if name == "gpt2" else {"intermediate_size": 100}))
    base, windows = written(tmp_path, "f16"), draw_windows(4, 20)
    costs = measure(tmp_path, base, windows)
    fitted = costs.fit(costs.budget(13))  # vectors stay float32, and are many here
    quantize(base, tmp_path / "fitted.gguf", "q4_k_m", types=fitted.types)
    assert (tmp_path / "fitted.gguf").stat().st_size == fitted.size
    assert {kind for name, kind in fitted.types.items() if "ffn_down" in name} == {"F16"}
    assert set(fitted.types.values()) <= {"Q4_0", "IQ4_NL", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "F16"}


def test_numbers_that_are_none_and_a_text_without_windows_are_refused(tmp_path: Path) -> None:
    make_model(tmp_path, "llama")
    base = written(tmp_path, "f16")
    with pytest.raises(ReleaseError, match="no text"):
        measure(tmp_path, base, [])

    def grow(weights: Weights) -> None:
        weights["model.layers.0.mlp.up_proj.weight"] *= 1e38

    edit_weights(tmp_path, grow)
    with pytest.raises(ReleaseError, match="are not finite"):
        measure(tmp_path, base, draw_windows(2, 8))


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("12MB", 12_000_000), ("1.5 GB", 1_500_000_000), ("11MiB", 11 * 2**20), ("900kB", 900_000), ("2gib", 2**31),
        (" 7M ", 7_000_000), ("12000000", 12_000_000), ("512 KiB", 2**19), ("3B", 3),
    ],
)  # fmt: skip
def test_sizes_are_read(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize(
    "text",
    ["", "MB", "12 parsecs", "-3MB", "1e6", "4.5bpw", "0MB", "12MBB", "1,5GB", "inf", "9" * 400, "9" * 30 + "MB"],
)
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is no size such as 12MB"):
        parse_size(text)


def test_costs_are_values() -> None:
    option = Option("Q8_0", 64, 0.5)
    assert Costs({"a": (option,)}, 32, 0, 100).fit(96) == Fitted({"a": "Q8_0"}, 96, 0.5)
