"""Checkpoints: they come back bit for bit, and one that is damaged anywhere is passed over with a warning."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import StageError
from stages.training import checkpoint
from stages.training.checkpoint import Parts, State

FILES = ("model.safetensors", "optimizer.safetensors", "state.json")


class Run:
    """Named tensors that stand for a model and its optimizer, and change at each step."""

    def __init__(self, seed: int = 0, width: int = 4) -> None:
        self.source = torch.Generator().manual_seed(seed)
        self.width = width
        self.step()

    def step(self) -> None:
        self.parts = {
            "model": {"a.weight": self.draw(3, self.width), "b.weight": self.draw(5).bfloat16()},
            "optimizer": {"a.weight.exp_avg": self.draw(3, self.width), "a.weight.step": torch.tensor(7.0)},
        }

    def draw(self, *shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=self.source)

    def tensors(self) -> dict[str, torch.Tensor]:
        return {f"{part}.{name}": value.clone() for part, held in self.parts.items() for name, value in held.items()}

    def take(self, parts: Parts) -> None:
        if parts["model"]["a.weight"].shape != (3, self.width):
            raise ValueError("a.weight has another shape")
        self.parts = {part: dict(tensors) for part, tensors in parts.items()}

    def load(self, folder: Path) -> tuple[State | None, list[str]]:
        warnings: list[str] = []
        return checkpoint.load_newest(folder, self.take, warnings.append), warnings


def equal(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(tensor, other[name]) for name, tensor in one.items())


OLD = State(2, 128, 1.25, 3.5, 2)
NEW = State(3, 192, 1.875, 3.25, 3, micro_batch=2, skipped=[1], rollbacks=1, shift=4, loss_mean=3.5, loss_variance=0.1)


def two_checkpoints(folder: Path) -> list[dict[str, torch.Tensor]]:
    """Checkpoints of the steps 2 and 3, and what they hold."""
    run, held = Run(), []
    for state in (OLD, NEW):
        run.step()
        checkpoint.save(folder, run.parts, state)
        held.append(run.tensors())
    return held


def test_a_checkpoint_brings_back_every_part_and_counter(tmp_path: Path) -> None:
    _, newest = two_checkpoints(tmp_path)
    assert sorted(path.name for path in (tmp_path / "step-000003").iterdir()) == sorted(FILES)
    run = Run(seed=99)
    assert run.load(tmp_path) == (NEW, [])
    assert equal(run.tensors(), newest)


def test_what_came_later_can_be_forgotten(tmp_path: Path) -> None:
    older, _ = two_checkpoints(tmp_path)
    checkpoint.forget_after(tmp_path, 3)
    run = Run(seed=99)
    assert run.load(tmp_path) == (NEW, [])
    checkpoint.forget_after(tmp_path, 2)
    assert run.load(tmp_path) == (OLD, []) and equal(run.tensors(), older)


def test_what_a_kill_left_half_written_is_removed_with_the_next_checkpoint(tmp_path: Path) -> None:
    (tmp_path / ".step-000001").mkdir(parents=True)
    (tmp_path / ".step-000001" / "model.safetensors").write_bytes(b"half")
    checkpoint.save(tmp_path, Run().parts, OLD)
    assert [path.name for path in tmp_path.iterdir()] == ["step-000002"]


def test_a_checkpoint_before_the_first_step_can_be_loaded(tmp_path: Path) -> None:
    run = Run()
    before = run.tensors()
    checkpoint.save(tmp_path, run.parts, State())
    again = Run(seed=99)
    assert again.load(tmp_path) == (State(), [])
    assert equal(again.tensors(), before)


@pytest.mark.parametrize("keep", [2, 3])
def test_only_the_newest_stay_also_beyond_a_million_steps(tmp_path: Path, keep: int) -> None:
    run = Run()
    steps = (5, 999_998, 999_999, 1_000_000, 1_000_001)
    for step in steps:
        checkpoint.save(tmp_path, run.parts, State(step=step), keep=keep)
        state, _ = run.load(tmp_path)
        assert state is not None and state.step == step
    left = sorted(tmp_path.iterdir(), key=lambda path: int(path.name.removeprefix("step-")))
    assert [path.name for path in left] == [f"step-{step:06d}" for step in steps[-keep:]]


def test_saving_a_step_again_replaces_it(tmp_path: Path) -> None:
    run = Run()
    checkpoint.save(tmp_path, run.parts, State(step=4, tokens=1))
    run.step()
    checkpoint.save(tmp_path, run.parts, State(step=4, tokens=2))
    again = Run(seed=99)
    assert again.load(tmp_path) == (State(step=4, tokens=2), [])
    assert equal(again.tensors(), run.tensors())
    assert [path.name for path in tmp_path.iterdir()] == ["step-000004"]


def test_without_room_the_run_ends_with_the_old_checkpoints_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, newest = two_checkpoints(tmp_path)
    needed = sum(tensor.numel() * tensor.element_size() for tensor in newest.values())
    monkeypatch.setattr(checkpoint, "free_bytes", lambda path: checkpoint.SPARE_BYTES + needed - 1)
    with pytest.raises(StageError, match=r"no room for a checkpoint of .* are free") as caught:
        checkpoint.save(tmp_path, Run().parts, State(step=4))
    assert caught.value.hint is not None and "pipeline gc" in caught.value.hint
    run = Run(seed=99)
    assert run.load(tmp_path) == (NEW, []) and equal(run.tensors(), newest)
    assert (tmp_path / "step-000002").is_dir()
    monkeypatch.setattr(checkpoint, "free_bytes", lambda path: checkpoint.SPARE_BYTES + needed)
    checkpoint.save(tmp_path, Run().parts, State(step=4))


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
    checkpoint.save(tmp_path, Run().parts, OLD)
    checkpoint.save(tmp_path, Run(width=5).parts, NEW)
    state, warnings = Run(seed=99).load(tmp_path)
    assert (state, warnings) == (OLD, ["step-000003 is damaged (a.weight has another shape); trying the one before"])


def test_where_every_checkpoint_is_damaged_there_is_none_and_nothing_is_taken(tmp_path: Path) -> None:
    two_checkpoints(tmp_path)
    for path in tmp_path.glob("*/optimizer.safetensors"):
        path.write_bytes(path.read_bytes()[:-1])
    run = Run(seed=99)
    before = run.tensors()
    state, warnings = run.load(tmp_path)
    assert (state, len(warnings)) == (None, 2)
    assert equal(run.tensors(), before)


def test_no_checkpoint_is_no_state_and_no_warning(tmp_path: Path) -> None:
    assert Run().load(tmp_path / "none") == (None, [])
