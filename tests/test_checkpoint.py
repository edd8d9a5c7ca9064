"""Checkpoints: they come back bit for bit, and one that is damaged anywhere is passed over with a warning."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.training import checkpoint
from stages.training.checkpoint import State
from stages.training.networks.llama import Llama
from stages.training.optim import make_optimizer
from stages.training.shape import ModelConfig

FILES = ("model.safetensors", "optimizer.safetensors", "state.json")


class Run:
    """A tiny model with its optimizer, trained on noise, so that every tensor differs from step to step."""

    def __init__(self, seed: int = 0) -> None:
        torch.manual_seed(seed)
        self.model = Llama(ModelConfig(d_model=16, n_layers=1, n_heads=2, n_kv_heads=1, d_ff=16), 20, 8)
        self.optimizer = make_optimizer(self.model, learning_rate=0.01, weight_decay=0.1, betas=(0.9, 0.95))

    def step(self) -> None:
        for parameter in self.model.parameters():
            parameter.grad = torch.randn_like(parameter)
        self.optimizer.step()

    def tensors(self) -> dict[str, torch.Tensor]:
        """Everything that a checkpoint has to bring back."""
        found = {name: tensor.clone() for name, tensor in self.model.state_dict().items()}
        for number, values in self.optimizer.state_dict()["state"].items():
            found |= {f"{number}.{name}": value.clone() for name, value in values.items()}
        return found | {"random": torch.get_rng_state()}

    def load(self, folder: Path) -> tuple[State, list[str]]:
        warnings: list[str] = []
        return checkpoint.load_newest(folder, self.model, self.optimizer, warnings.append), warnings


def equal(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(tensor, other[name]) for name, tensor in one.items())


OLD, NEW = State(2, 128, 1.25, 3.5, 2), State(3, 192, 1.875, 3.25, 3)


def two_checkpoints(folder: Path) -> list[dict[str, torch.Tensor]]:
    """Checkpoints of the steps 2 and 3, and what they hold."""
    run, held = Run(), []
    run.step()
    for state in (OLD, NEW):
        run.step()
        checkpoint.save(folder, run.model, run.optimizer, state)
        held.append(run.tensors())
    return held


def test_a_checkpoint_brings_back_weights_optimizer_randomness_and_counters(tmp_path: Path) -> None:
    _, newest = two_checkpoints(tmp_path)
    assert sorted(path.name for path in (tmp_path / "step-000003").iterdir()) == sorted(FILES)
    run = Run(seed=99)
    state, warnings = run.load(tmp_path)
    assert (state, warnings) == (NEW, [])
    assert equal(run.tensors(), newest)


def test_the_next_step_after_loading_is_the_one_that_would_have_come(tmp_path: Path) -> None:
    run = Run()
    run.step()
    checkpoint.save(tmp_path, run.model, run.optimizer, OLD)
    run.step()
    again = Run(seed=99)
    again.load(tmp_path)
    again.step()
    assert equal(again.tensors(), run.tensors())


def test_a_checkpoint_before_the_first_step_can_be_loaded(tmp_path: Path) -> None:
    run = Run()
    before = run.tensors()
    checkpoint.save(tmp_path, run.model, run.optimizer, State())
    again = Run(seed=99)
    assert again.load(tmp_path) == (State(), [])
    assert equal(again.tensors(), before)


def test_only_the_newest_two_stay_also_beyond_a_million_steps(tmp_path: Path) -> None:
    run = Run()
    for step in (5, 999_998, 999_999, 1_000_000, 1_000_001):
        checkpoint.save(tmp_path, run.model, run.optimizer, State(step=step))
        assert run.load(tmp_path)[0].step == step
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-1000000", "step-1000001"]


def test_saving_a_step_again_replaces_it(tmp_path: Path) -> None:
    run = Run()
    checkpoint.save(tmp_path, run.model, run.optimizer, State(step=4, tokens=1))
    run.step()
    checkpoint.save(tmp_path, run.model, run.optimizer, State(step=4, tokens=2))
    assert run.load(tmp_path)[0].tokens == 2
    assert [path.name for path in tmp_path.iterdir()] == ["step-000004"]


class Pristine:
    """Two checkpoints that every example finds whole."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.older, self.newest = two_checkpoints(folder)


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Pristine:
    return Pristine(tmp_path_factory.mktemp("checkpoints"))


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(FILES), st.floats(0, 1, exclude_max=True), st.integers(0, 7))
def test_one_flipped_bit_anywhere_is_found_and_the_checkpoint_before_taken(
    pristine: Pristine, name: str, where: float, bit: int
) -> None:
    path = pristine.folder / "step-000003" / name
    whole = path.read_bytes()
    broken = bytearray(whole)
    broken[int(where * len(whole))] ^= 1 << bit
    path.write_bytes(broken)
    try:
        run = Run(seed=99)
        state, warnings = run.load(pristine.folder)
    finally:
        path.write_bytes(whole)
    if not warnings:  # the last digit of a number may change and the number it stands for not
        assert (state, name) == (NEW, "state.json")
        assert equal(run.tensors(), pristine.newest)
        return
    assert len(warnings) == 1
    assert warnings[0].startswith("step-000003 is damaged")
    assert state == OLD
    assert equal(run.tensors(), pristine.older)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("damage", ["missing", "empty", "half"])
def test_a_missing_or_cut_file_is_found(tmp_path: Path, name: str, damage: str) -> None:
    older, _ = two_checkpoints(tmp_path)
    path = tmp_path / "step-000003" / name
    data = path.read_bytes()
    path.unlink()
    if damage != "missing":
        path.write_bytes(data[: len(data) // 2] if damage == "half" else b"")
    run = Run(seed=99)
    state, warnings = run.load(tmp_path)
    assert (state, len(warnings)) == (OLD, 1)
    assert equal(run.tensors(), older)


def test_a_checkpoint_of_another_model_is_passed_over(tmp_path: Path) -> None:
    run = Run()
    run.step()
    checkpoint.save(tmp_path, run.model, run.optimizer, OLD)
    wider = Llama(ModelConfig(d_model=32, n_layers=1, n_heads=2, n_kv_heads=1, d_ff=16), 20, 8)
    checkpoint.save(tmp_path, wider, run.optimizer, NEW)
    state, warnings = Run(seed=99).load(tmp_path)
    assert (state, len(warnings)) == (OLD, 1)


def test_where_every_checkpoint_is_damaged_the_run_starts_anew_and_untouched(tmp_path: Path) -> None:
    two_checkpoints(tmp_path)
    for path in tmp_path.glob("*/optimizer.safetensors"):
        path.write_bytes(path.read_bytes()[:-1])
    run = Run(seed=99)
    before = run.tensors()
    state, warnings = run.load(tmp_path)
    assert (state, len(warnings)) == (State(), 2)
    assert equal(run.tensors(), before)


def test_no_checkpoint_is_a_fresh_start_without_a_warning(tmp_path: Path) -> None:
    assert Run().load(tmp_path / "none") == (State(), [])
