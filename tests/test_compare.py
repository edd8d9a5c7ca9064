"""Models in one table: what stands in it, what is scored, and the suite for answers from elsewhere."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from test_gguf import make_llama, train_tokenizer

from pipeline.config import load_config
from pipeline.errors import UsageError
from pipeline.store import Store
from stages import ROAD
from stages.evaluation import compare
from stages.evaluation.tasks import SUITE

RATE = {"value": 0.625, "low": 0.5, "high": 0.75}
WHOLE: dict[str, Any] = {
    "name": "q4_k_m", "kind": "gguf", "source": "a.gguf", "bytes": 2_851_232, "validation": {"bits_per_byte": 1.5077},
    "compile_rate": RATE, "unknown_api": {"value": 0.0312, "low": 0, "high": 1}, "ended": RATE,
    "pass": {"1": {"value": 0.25, "low": 0.18, "high": 0.33}, "10": RATE}, "tokens_per_second": 1234.5,
}  # fmt: skip
SERVED = WHOLE | {"name": "ollama:x", "bytes": None, "validation": None, "pass": None, "tokens_per_second": None}


def test_a_row_tells_each_figure_with_its_interval_and_a_dash_for_none() -> None:
    whole, served, bare = compare.rows([WHOLE, SERVED, {"name": "f16", "bytes": 10, "validation": None}])
    assert dict(zip(compare.COLUMNS, whole, strict=True)) == {
        "model": "q4_k_m", "size": "2.9 MB", "bits/byte": "1.508", "compile": "62.5% (50%-75%)", "unknown API": "3.1%",
        "ends": "62.5%", "pass@1": "25.0% (18%-33%)", "pass@10": "62.5% (50%-75%)", "tokens/s": "1,234",
    }  # fmt: skip
    assert served == ["ollama:x", "-", "-", "62.5% (50%-75%)", "3.1%", "62.5%", "-", "-", "-"]
    assert bare == ["f16", "10 B", *["-"] * 7]


@dataclass
class Version:
    name: str
    metrics: dict[str, Any]
    manifest: dict[str, Any] = field(init=False)

    def __post_init__(self) -> None:
        self.manifest = {"metrics": self.metrics}


class Kept:
    def __init__(self, *versions: Version) -> None:
        self._versions = list(versions)

    def versions(self, stage: str) -> list[Version]:
        assert stage == "evaluate"
        return self._versions


def evaluation(*names: str, answered_by: str, tasks: int = 138, executed: bool = True) -> dict[str, Any]:
    models = [WHOLE | {"name": name} for name in names]
    return {"answered_by": answered_by, "models": models, "tasks": tasks, "samples": 10, "executed": executed}


def test_the_newest_evaluation_is_told_whole_and_earlier_ones_by_the_file_that_answered() -> None:
    old = [Version(f"v000{n}-aa", evaluation("f16", "q4_k_m", answered_by="q4_k_m")) for n in range(2, 7)]
    kept: Any = Kept(Version("v0001-aa", {"scores": {}}), *old)
    names = [record["name"] for record in compare.evaluated(kept)]
    assert names == ["f16", "q4_k_m", "v0005 q4_k_m", "v0004 q4_k_m", "v0003 q4_k_m"]
    others: Any = Kept(
        Version("v0001-aa", evaluation("f16", "q4_k_m", answered_by="q4_k_m", executed=False)),
        Version("v0002-aa", evaluation("f16", answered_by="f16")),
        Version("v0003-aa", evaluation("f16", answered_by="f16", tasks=28)),
    )
    assert [record["name"] for record in compare.evaluated(others)] == ["f16"], "only what was asked the same"
    like = WHOLE | {"asked": 1380, "pass": None}
    assert [record["name"] for record in compare.evaluated(others, like)] == ["f16", "q4_k_m"]
    assert compare.evaluated(others, WHOLE | {"asked": 7}) == []
    before_the_suite: Any = Kept(Version("v0001-aa", {"scores": {}}))
    assert compare.evaluated(before_the_suite) == []


def test_any_file_can_be_scored_before_there_is_a_run(tmp_path: Path) -> None:
    path = make_llama(tmp_path, train_tokenizer()).write("f32")
    folder = Path(__file__).parents[1] / "configs"
    config = load_config(
        folder / "micropython.yaml", ROAD, profile="cpu",
        overrides=["evaluate.tasks=[pins/lighthouse, pins/m*]", "evaluate.max_tokens=4"],
    )  # fmt: skip
    asked = [task.id for task in SUITE if task.id == "pins/lighthouse" or task.id.startswith("pins/m")]
    (record,) = compare.compare([str(path)], config, Store(tmp_path / "artifacts"), save=tmp_path / "answers.jsonl")
    assert (record["kind"], record["asked"], record["validation"], record["verbatim"]) == (
        "gguf",
        len(asked),
        None,
        None,
    )
    lines = [json.loads(line) for line in (tmp_path / "answers.jsonl").read_text().splitlines()]
    assert [line["task"] for line in lines] == asked
    assert all(line["tokens"] <= 4 for line in lines)


def test_a_model_that_cannot_be_had_does_not_cost_the_scores_of_the_others(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = str(make_llama(tmp_path, train_tokenizer()).write("f32"))
    configs = Path(__file__).parents[1] / "configs"
    overrides = ["evaluate.tasks=[pins/lighthouse]", "evaluate.max_tokens=4"]
    config = load_config(configs / "micropython.yaml", ROAD, profile="cpu", overrides=overrides)
    store = Store(tmp_path / "artifacts")
    gone = str(tmp_path / "gone.gguf")
    (record,) = compare.compare([gone, path, gone + "2.gguf"], config, store)
    assert record["source"] == path
    assert capsys.readouterr().err.count("error: ") == 2
    with pytest.raises(UsageError, match="gone"):
        compare.compare([gone], config, store)
    with pytest.raises(UsageError, match="gone"):
        compare.compare([gone, gone + "2.gguf"], config, store)


def test_the_tasks_are_listed_with_their_prompts(capsys: pytest.CaptureFixture[str]) -> None:
    assert compare.suite(["*"], references=False, answers=None, json=False) == 0
    assert len(capsys.readouterr().out.splitlines()) == len(SUITE)
    assert compare.suite(["pins/*"], references=False, answers=None, json=True) == 0
    told = json.loads(capsys.readouterr().out)
    assert {each["level"] for each in told} == {2}
    assert all(each["prompt"] == next(t.prompt for t in SUITE if t.id == each["task"]) for each in told)
    with pytest.raises(UsageError, match="no task is named nothing/"):
        compare.suite(["nothing/*"], references=False, answers=None, json=False)
