"""How the commands show their answers: what a person reads, what a program reads, and what they delete."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from pipeline import history, views
from pipeline.errors import IntegrityError

if TYPE_CHECKING:
    from conftest import Toy


@pytest.fixture
def shown(capsys: pytest.CaptureFixture[str]) -> Any:
    """The lines on stderr, and what JSON on stdout says; exactly one of them."""

    def read() -> Any:
        told = capsys.readouterr()
        if told.out:
            assert told.err == "" and told.out.isascii()
            return json.loads(told.out)
        return [line.rstrip() for line in told.err.splitlines()]

    return read


def test_a_plan_shows_action_cost_and_reason(toy: Toy, shown: Any) -> None:
    toy.run("count.pause=0.01")
    shown()
    steps = list(toy.runner("count.steps=6", "count.pause=0.01").plan())
    views.plan(steps, toy.config("count.steps=6"), json=False)
    lines = shown()
    assert lines[0].split() == ["stage", "action", "last", "took", "disk", "why"]
    assert lines[1].split()[:4] == ["words", "reuse", "-", "-"]
    assert lines[2].startswith("count") and lines[2].endswith("count.steps 5 → 6") and " 0.1 s " in lines[2]
    views.plan(steps, toy.config("count.steps=6"), json=True)
    told = shown()
    assert (told["profile"], told["estimates"]) == ("cpu", {})
    assert [(row["stage"], row["action"], row["bytes"]) for row in told["stages"]][1] == ("count", "run", 64)
    assert told["stages"][0]["artifact"] == toy.store.by_label("words").name


def test_estimates_and_notes_are_part_of_the_plan(toy: Toy, shown: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    toy.run(last="words")
    monkeypatch.setattr("pipeline.runner.code_digests", lambda stage: {"other": "1"})
    toy.road = tuple(
        type(stage)(**{**vars(stage), "estimate": lambda sections: [f"{sections['count'].steps} steps [all]"]})
        for stage in toy.road
    )
    shown()
    views.plan(list(toy.runner().plan()), toy.config(), json=False)
    lines = shown()
    assert "count: 5 steps [all]" in lines and not any(line.startswith("words: 5") for line in lines)
    assert any(line.startswith("warning: words: conftest, other") for line in lines)


def test_the_status_shows_artifacts_and_the_holder(toy: Toy, shown: Any) -> None:
    toy.run(last="words")
    shown()
    views.status(history.status(toy.road, toy.store), toy.store, json=False)
    lines = shown()
    assert lines[1].split()[:2] == ["words", toy.store.by_label("words").name]
    assert lines[2].split() == ["count", "-", "-", "-", "-"]
    with toy.store.lock():
        views.status(history.status(toy.road, toy.store), toy.store, json=False)
        assert shown()[-1].startswith("in use by process ")
    views.status(history.status(toy.road, toy.store), toy.store, json=True)
    told = shown()
    assert told["locked_by"] is None and [row["stage"] for row in told["stages"]] == ["words", "count", "page"]


def test_stages_left_out_are_one_line(toy: Toy, shown: Any) -> None:
    views.plan(list(toy.runner(last="words").plan()), toy.config(), left_out=("count", "page"), json=False)
    assert shown()[2:] == ["left out, as nothing here needs it: count page"]
    views.plan(list(toy.runner(last="words").plan()), toy.config(), left_out=("count", "page"), json=True)
    assert shown()["left_out"] == ["count", "page"]
    toy.store.write_run({"run": 1, "stages": {}, "left_out": ["words", "count"]})
    views.status(history.status(toy.road, toy.store), toy.store, json=False)
    lines = shown()
    assert lines[1].startswith("page ") and lines[2:] == ["left out, as nothing here needs it: words count"]
    views.status(history.status(toy.road, toy.store), toy.store, json=True)
    assert shown()["left_out"] == ["words", "count"]


def test_the_log_shows_every_run(toy: Toy, shown: Any) -> None:
    toy.run()
    toy.run("count.steps=6")
    toy.run()
    shown()
    views.log(toy.store.runs(), json=False)
    rows = [line.split() for line in shown()[1:]]
    assert [row[0] for row in rows] == ["1", "2", "3"]
    assert rows[0][-4:] == ["ok", "words", "count", "page"]
    assert "count.steps=6" in rows[1] and rows[1][-3:] == ["ok", "count", "page"]
    assert rows[2][-2:] == ["ok", "nothing"]
    views.log(toy.store.runs(), json=True)
    assert [record["run"] for record in shown()] == [1, 2, 3]


def test_a_difference_shows_both_sides(toy: Toy, shown: Any) -> None:
    toy.run()
    toy.run(f"page.title={'é' * 60}")
    shown()
    runs = [history.resolve(toy.store, number) for number in "12"]
    views.diff(history.difference(*runs), ("1", "2"), json=False)
    lines = shown()
    assert lines[0].split() == ["stage", "value", "1", "2"]
    assert lines[1].split() == ["page", "material.config.page.title", "Words", "é" * 37 + "..."]
    views.diff(history.difference(*runs), ("1", "2"), json=True)
    assert shown()[0]["after"] == "é" * 60
    views.diff([], ("1", "1"), json=False)
    assert shown() == ["no difference between 1 and 1"]


def test_a_config_shows_every_value_with_its_origin(toy: Toy, shown: Any) -> None:
    loaded = toy.config("count.pause=1e-3")
    views.config(loaded, json=False)
    lines = shown()
    assert ["count.pause", "0.001", "--set"] in [line.split() for line in lines]
    assert ["page.title", '"Words"', f"{toy.path}:9"] in [line.split() for line in lines]
    assert lines[-1] == f"{toy.path} is valid"
    views.config(toy.config("until=count"), json=False)
    assert ["until", '"count"', "--set"] in [line.split() for line in shown()]
    views.config(loaded, json=True)
    assert shown() == {"profile": "cpu", "config": loaded.values(), "origins": dict(loaded.origins)}


def test_verifying_counts_what_is_whole_and_lists_what_is_not(toy: Toy, shown: Any) -> None:
    toy.run()
    shown()
    views.verify(toy.store)
    assert shown() == ["3 artifacts, 175 B: all checksums match"]
    artifact = toy.store.by_label("page")
    (artifact.path / "parts" / "page.txt").unlink()
    with pytest.raises(IntegrityError, match=rf"^{artifact.label}: parts/page\.txt is missing$"):
        views.verify(toy.store)


def test_garbage_is_named_first_and_deleted_only_when_meant(toy: Toy, shown: Any) -> None:
    toy.run()
    toy.run("count.steps=6")
    old = [toy.store.by_label(f"{stage}/v0001") for stage in ("count", "page")]
    (toy.store.begin("count", "0" * 64, resume=True) / "half").write_bytes(b"12345")
    shown()
    views.collect_garbage(toy.store, keep=1, partials=True, dry_run=True)
    lines = shown()
    assert [line.split("  ")[0] for line in lines[:2]] == [f"would delete {artifact.label}" for artifact in old]
    assert lines[2] == "would delete count/.partial-0000000000000000  5 B"
    assert len(lines) == 4 and lines[3].endswith(" could be freed")
    assert all(artifact.path.exists() for artifact in old)
    views.collect_garbage(toy.store, keep=1, partials=False, dry_run=False)
    assert not any(artifact.path.exists() for artifact in old)
    assert len(toy.store.partials()) == 1
    views.collect_garbage(toy.store, keep=1, partials=True, dry_run=False)
    shown()
    views.collect_garbage(toy.store, keep=1, partials=True, dry_run=False)
    assert shown() == ["0 B freed"]
    assert toy.store.verify() == [] and toy.store.newest("count") is not None


@pytest.mark.parametrize("json_", [False, True])
def test_a_failed_finding_is_a_failed_command(shown: Any, json_: bool) -> None:
    good = {"what": "python", "state": "ok", "found": "3.13", "advice": ""}
    views.doctor([good], json=json_)
    told = shown()
    assert told == [good] if json_ else told[1].split() == ["ok", "python", "3.13"]
    with pytest.raises(SystemExit) as caught:
        views.doctor([good, {**good, "state": "fail"}], json=json_)
    assert caught.value.code == 1
