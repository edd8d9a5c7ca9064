"""What a run writes down: whole lines, once each, however it ended."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.training.records import METRICS, SAMPLES, Records


def lines(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_lines_are_added_to_what_is_there(tmp_path: Path) -> None:
    Records(tmp_path).write(METRICS, {"step": 1, "loss": 2.5})
    Records(tmp_path).write(METRICS, {"step": 2, "loss": 2.25})
    Records(tmp_path).write(SAMPLES, {"step": 2, "text": "größer ≥ <eos>\nnext"})
    assert lines(tmp_path / METRICS) == [{"step": 1, "loss": 2.5}, {"step": 2, "loss": 2.25}]
    assert lines(tmp_path / SAMPLES)[0]["text"] == "größer ≥ <eos>\nnext"


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
