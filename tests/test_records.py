"""What a run writes down: whole lines, once each, however it ended."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.training.records import METRICS, SAMPLES, TIMING, Records, thinned


def lines(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_lines_are_added_to_what_is_there(tmp_path: Path) -> None:
    Records(tmp_path).write(METRICS, {"step": 1, "loss": 2.5})
    Records(tmp_path).write(METRICS, {"step": 2, "loss": 2.25})
    Records(tmp_path).write(SAMPLES, {"step": 2, "text": "größer ≥ <eos>\nnext"})
    assert lines(tmp_path / METRICS) == [{"step": 1, "loss": 2.5}, {"step": 2, "loss": 2.25}]
    assert lines(tmp_path / SAMPLES)[0]["text"] == "größer ≥ <eos>\nnext"


@settings(deadline=None)
@given(st.integers(0, 12), st.integers(0, 400))
def test_after_a_kill_at_any_byte_the_lines_up_to_the_checkpoint_stay(
    tmp_path_factory: pytest.TempPathFactory, step: int, cut: int
) -> None:
    folder = tmp_path_factory.mktemp("records")
    records = Records(folder)
    for number in range(1, 11):
        records.write(METRICS, {"step": number, "loss": 0.1 * number})
    whole = (folder / METRICS).read_bytes()
    torn = whole[: max(len(whole) - cut, 0)]
    (folder / METRICS).write_bytes(torn)
    records.keep_until(step)
    complete = torn.count(b"\n") + (torn[-1:] == b"}")
    expected = whole.splitlines(keepends=True)[: min(step, complete)]
    assert (folder / METRICS).read_bytes() == b"".join(expected)


def test_with_nothing_written_there_is_nothing_to_keep(tmp_path: Path) -> None:
    Records(tmp_path).keep_until(5)
    assert list(tmp_path.iterdir()) == []


def learnt(step: int, loss: float, **more: float) -> dict[str, float]:
    return {
        "step": step,
        "tokens": 32 * step,
        "loss": loss,
        "learning_rate": step / 1000,
        "grad_norm": 2 * loss,
        **more,
    }


def test_the_curve_has_means_over_stretches_and_ends_with_the_last_step(tmp_path: Path) -> None:
    records = Records(tmp_path)
    for step, loss in enumerate((9.0, 8.0, 6.0, 5.0, 3.0), 1):
        records.write(METRICS, learnt(step, loss))
    assert records.curve(points=3) == {
        "step": [1, 3, 5],
        "tokens": [32, 96, 160],
        "learning_rate": [0.001, 0.003, 0.005],
        "loss": [9.0, 7.0, 4.0],
        "grad_norm": [18.0, 14.0, 8.0],
    }
    assert records.curve(points=5)["loss"] == [9.0, 8.0, 6.0, 5.0, 3.0]
    assert records.curve(points=1) == {
        "step": [5], "tokens": [160], "learning_rate": [0.005], "loss": [6.2], "grad_norm": [12.4],
    }  # fmt: skip


@settings(deadline=None)
@given(st.integers(1, 700), st.integers(1, 60))
def test_a_curve_of_any_length_has_no_more_points_than_asked_for(
    tmp_path_factory: pytest.TempPathFactory, steps: int, points: int
) -> None:
    folder = tmp_path_factory.mktemp("curve")
    (folder / METRICS).write_text("".join(json.dumps(learnt(step, float(step))) + "\n" for step in range(1, steps + 1)))
    curve = Records(folder).curve(points)
    assert len({len(column) for column in curve.values()}) == 1 and 1 <= len(curve["step"]) <= points
    starts = [0, *curve["step"][:-1]]
    assert curve["step"][-1] == steps
    middles = [
        (start + 1 + end) / 2 for start, end in zip(starts, curve["step"], strict=True)
    ]  # as the loss is the step
    assert curve["loss"] == pytest.approx(middles, rel=1e-5)


def test_what_is_no_step_is_no_point_of_the_curve(tmp_path: Path) -> None:
    records = Records(tmp_path)
    records.write(METRICS, learnt(1, 4.0))
    records.write(METRICS, {"step": 2, "event": "passed over", "found": "loss nan, gradient norm nan"})
    records.write(METRICS, {"step": 3, "event": "loss leapt", "found": "6.0"})
    records.write(METRICS, learnt(3, 6.0))
    with (tmp_path / METRICS).open("a") as file:
        file.write('{"step": 4, "loss": 2')
    assert records.curve()["step"] == [1, 3] and records.curve()["loss"] == [4.0, 6.0]


def test_the_validation_loss_is_that_of_the_better_weights(tmp_path: Path) -> None:
    records = Records(tmp_path)
    records.write(METRICS, learnt(1, 4.0))
    records.write(METRICS, learnt(2, 4.0, val_loss=3.123456789))
    records.write(METRICS, learnt(4, 4.0, val_loss=2.5, val_loss_ema=2.25))
    records.write(METRICS, learnt(6, 4.0, val_loss=2.0, val_loss_ema=2.125))
    assert records.validation() == [[2, 3.12346], [4, 2.25], [6, 2.0]]
    assert records.validation(points=2) == [[2, 3.12346], [6, 2.0]]


def test_samples_are_of_steps_spread_over_the_run_and_their_texts_are_cut(tmp_path: Path) -> None:
    records = Records(tmp_path)
    for step in range(10, 210, 10):
        for prompt in ("import", "def"):
            records.write(SAMPLES, {"step": step, "prompt": prompt, "text": prompt + "é" * 3000})
    samples = records.samples()
    assert [step for step, *_ in samples[::2]] == [10, 40, 60, 90, 120, 150, 170, 200]  # 0, 2.7, 5.4, … of 19 steps on
    assert [prompt for _, prompt, _ in samples] == ["import", "def"] * 8
    assert samples[0][2] == "import" + "é" * 1994


def test_the_pace_has_the_last_step(tmp_path: Path) -> None:
    records = Records(tmp_path)
    for step in range(1, 6):
        records.write(TIMING, {"step": step, "seconds": 0.5, "tokens_per_second": 100.5 + step, "peak_memory": 7})
    assert records.pace(3) == [[1, 101.5, 7], [3, 103.5, 7], [5, 105.5, 7]]


def test_without_a_line_the_summary_is_empty(tmp_path: Path) -> None:
    empty: list[float] = []
    assert Records(tmp_path).summary() == {
        "curve": dict.fromkeys(("step", "tokens", "learning_rate", "loss", "grad_norm"), empty),
        "validation": [], "samples": [], "pace": [],
    }  # fmt: skip


@given(st.integers(0, 300), st.integers(2, 40))
def test_thinned_items_are_evenly_spread_with_the_first_and_the_last(length: int, most: int) -> None:
    found = thinned(range(length), most)
    assert len(found) == min(length, most) and found == sorted(set(found))
    if found:
        assert (found[0], found[-1]) == (0, length - 1)
        gaps = [after - before for before, after in pairwise(found)]
        assert not gaps or max(gaps) - min(gaps) <= 1
