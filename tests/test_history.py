"""What was done: runs and their artifacts, how two of them differ, and what nobody needs any more."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pipeline import history
from pipeline.errors import UsageError

if TYPE_CHECKING:
    from conftest import Toy


def names(toy: Toy, *, keep: int = 3, partials: bool = False) -> set[str]:
    paths = history.unneeded(toy.store, keep=keep, partials=partials)
    return {f"{path.parent.name}/{path.name[:5]}" for path in paths}


def test_the_newest_run_is_that_of_the_command(toy: Toy) -> None:
    with pytest.raises(UsageError, match=r"no run in .*artifacts yet") as caught:
        history.newest_run(toy.store)
    assert caught.value.hint == "pipeline run --config micropython.yaml"
    toy.runner().run("run")
    toy.runner().run("export")
    assert history.newest_run(toy.store)["run"] == 2
    assert history.newest_run(toy.store, "run")["run"] == 1


def test_the_newest_trained_run_can_be_that_of_a_config(toy: Toy) -> None:
    toy.run()
    record = toy.store.runs()[-1]
    made = record["stages"]["count"]
    other = toy.folder / "other.yaml"
    for number, config in ((2, toy.path), (3, other)):
        toy.store.write_run({**record, "run": number, "config": str(config), "stages": {"pretrain": made}})
    toy.store.write_run({**record, "run": 4, "config": str(other), "stages": {}})
    assert history.newest_trained(toy.store, other) == history.newest_trained(toy.store)
    toy.store.write_run({**record, "run": 5, "stages": {"pretrain": made, "count": made}})
    assert "count" in history.newest_trained(toy.store, toy.path)
    assert "count" in history.newest_trained(toy.store) and "count" not in history.newest_trained(toy.store, other)
    with pytest.raises(UsageError, match=r"no run of .*none.yaml has trained weights yet") as caught:
        history.newest_trained(toy.store, toy.folder / "none.yaml")
    assert caught.value.hint == f"pipeline run --config {toy.folder / 'none.yaml'}"


def test_the_artifacts_of_a_run_are_those_it_used(toy: Toy) -> None:
    toy.run()
    toy.run("count.steps=6")
    first, second = (history.run_artifacts(toy.store, record) for record in toy.store.runs())
    assert {name: artifact.name[:5] for name, artifact in first.items()} == dict.fromkeys(first, "v0001")
    assert {name: artifact.name[:5] for name, artifact in second.items()} == {
        "words": "v0001",
        "count": "v0002",
        "page": "v0002",
    }
    toy.store.remove(first["page"].path)
    assert set(history.run_artifacts(toy.store, toy.store.runs()[0])) == {"words", "count"}


def test_the_status_tells_the_newest_artifact_of_every_stage(toy: Toy) -> None:
    assert [(row["stage"], row["artifact"], row["notes"]) for row in history.status(toy.road, toy.store)] == [
        ("words", None, []),
        ("count", None, []),
        ("page", None, []),
    ]
    toy.run(last="count")
    (toy.store.begin("page", "0" * 64, resume=False) / "half").touch()
    words, count, page = history.status(toy.road, toy.store)
    newest = toy.store.newest("count")
    assert newest is not None
    assert (count["artifact"], count["bytes"], count["seconds"]) == (newest.name, 64, newest.manifest["seconds"])
    assert words["notes"] == count["notes"] == []
    assert (page["artifact"], page["notes"]) == (None, ["an interrupted try is there"])


def test_the_status_says_nothing_of_stages_that_the_newest_run_left_out(toy: Toy) -> None:
    record = {"run": 1, "command": "run", "config": "toy.yaml", "stages": {}, "outcome": "ok"}
    toy.store.write_run({**record, "left_out": ["words", "count"]})
    assert [row["stage"] for row in history.status(toy.road, toy.store)] == ["page"]
    assert history.not_needed(toy.store) == ["words", "count"]
    toy.run(last="words")
    toy.store.write_run({**record, "run": 3, "left_out": ["words", "count"]})
    assert [row["stage"] for row in history.status(toy.road, toy.store)] == ["words", "page"]
    toy.store.write_run({**record, "run": 4})  # of an older version
    assert [row["stage"] for row in history.status(toy.road, toy.store)] == ["words", "count", "page"]


def test_the_status_names_code_that_changed(toy: Toy, monkeypatch: pytest.MonkeyPatch) -> None:
    toy.run()
    monkeypatch.setattr(history, "code_digests", lambda stage: {"conftest": "other", "new.module": "1"})
    note = history.status(toy.road, toy.store)[0]["notes"][0]
    assert note.startswith("code changed since: conftest, new.module, pipeline")


def test_two_runs_differ_in_what_was_set_and_what_came_out(toy: Toy) -> None:
    toy.run()
    toy.run("count.steps=6")
    before, after = (history.resolve(toy.store, number) for number in "12")
    rows = {(row["stage"], row["value"]): (row["before"], row["after"]) for row in history.difference(before, after)}
    old, new = before["count"].digest, after["count"].digest
    assert rows == {
        ("count", "material.config.count.steps"): (5, 6),
        ("count", "metrics.steps"): (5, 6),
        ("page", "material.inputs.count"): (old, new),
    }
    assert history.difference(before, before) == []


def test_the_same_result_made_again_is_no_difference(toy: Toy, monkeypatch: pytest.MonkeyPatch) -> None:
    toy.run()
    monkeypatch.setattr("pipeline.runner.package_versions", lambda: {"other": "1"})
    toy.run(force=("words",))
    runs = [history.resolve(toy.store, number) for number in "12"]
    assert runs[0]["words"].name != runs[1]["words"].name
    assert history.difference(*runs) == []


def test_a_stage_that_only_one_run_has_is_told(toy: Toy) -> None:
    toy.run(last="words")
    toy.run()
    rows = history.difference(*(history.resolve(toy.store, number) for number in "12"))
    name = toy.store.by_label("count").name
    assert {"stage": "count", "value": "artifact", "before": None, "after": name} in rows
    assert [row["stage"] for row in rows] == ["count", "page"]


def test_a_name_stands_for_a_run_or_an_artifact(toy: Toy) -> None:
    toy.run()
    assert set(history.resolve(toy.store, "1")) == {"words", "count", "page"}
    assert history.resolve(toy.store, "001") == history.resolve(toy.store, "1")
    assert history.resolve(toy.store, "count/v0001") == {"count": toy.store.by_label("count")}
    for name in ("2", "0", "²", "9" * 5000, "cuont/v0001"):
        with pytest.raises(UsageError, match=f"no (run|artifact) `?{name}"):
            history.resolve(toy.store, name)


def test_a_pair_is_what_is_given_or_the_newest(toy: Toy) -> None:
    with pytest.raises(UsageError, match="not two runs"):
        history.pair(toy.store, "", "")
    toy.run()
    with pytest.raises(UsageError, match="not two runs"):
        history.pair(toy.store, "", "")
    toy.run()
    toy.run()
    assert history.pair(toy.store, "", "") == ("2", "3")
    assert history.pair(toy.store, "1", "") == ("1", "3")
    assert history.pair(toy.store, "1", "2") == ("1", "2")
    assert history.pair(toy.store, "count/v0001", "") == ("count/v0001", "count")


def test_flattening_names_every_leaf_by_its_path() -> None:
    assert history.flatten({"a": {"b": 1, "c": [2]}, "d": None}, "x") == {"x.a.b": 1, "x.a.c": [2], "x.d": None}
    assert history.flatten(None, "x") == {"x": None}


def test_what_the_newest_runs_and_stages_need_is_kept(toy: Toy) -> None:
    toy.run()
    for steps in (6, 7, 8):
        toy.run(f"count.steps={steps}")
    assert names(toy, keep=9) == set()
    assert names(toy, keep=3) == {"count/v0001", "page/v0001"}
    assert names(toy, keep=1) == {f"{stage}/v000{number}" for stage in ("count", "page") for number in (1, 2, 3)}
    toy.run()
    assert "count/v0001" not in names(toy, keep=1)
    assert "count/v0004" not in names(toy, keep=1)


def test_interrupted_tries_go_only_when_asked_and_ruins_always(toy: Toy) -> None:
    toy.run()
    toy.run("count.steps=6")
    partial = toy.store.begin("count", "0" * 64, resume=False)
    ruin = toy.store.by_label("count/v0001").path
    (ruin / "manifest.json").write_text("{")
    (toy.store.root / "page" / ".removed-v0009-00000000").mkdir()
    assert names(toy) == {"count/v0001", "page/.remo"}
    assert set(history.unneeded(toy.store, keep=3, partials=True)) >= {partial, ruin}
