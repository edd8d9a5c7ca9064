"""The runner: which stages are reused, run or resumed, what it says about it, and what is left when it fails."""

from __future__ import annotations

import errno
import hashlib
import importlib
import os
import re
import shutil
import signal
import sys
import time
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pipeline import provenance
from pipeline.errors import Interrupted, StageError, UsageError
from pipeline.stage import Context, Metrics, Section, Stage

if TYPE_CHECKING:
    from conftest import FaultyDisk, Toy


class Undeclared(Section):
    pass


REUSED = {"words": "reuse", "count": "reuse", "page": "reuse"}
WORDS = b"brown\ndog\nfox\njumps\nlazy\nover\nquick\nthe"


def chain(steps: int, seed: int = 7) -> bytes:
    """What `count` gives for the two sources, by its definition."""
    value = ""
    for _ in range(steps):
        value = hashlib.sha256(f"{value} {seed}".encode() + WORDS).hexdigest()
    return value.encode()


def tree(folder: Path) -> dict[str, float]:
    return {str(path.relative_to(folder)): path.stat().st_mtime_ns for path in sorted(folder.rglob("*"))}


def test_the_first_run_runs_everything_and_the_second_nothing(toy: Toy) -> None:
    assert {name: (step.action, step.reason) for name, step in toy.plan().items()} == {
        "words": ("run", "first time"),
        "count": ("run", "after words (reused if their output comes out the same)"),
        "page": ("run", "after count (reused if their output comes out the same)"),
    }
    assert toy.run() == {"words": "run", "count": "run", "page": "run"}
    assert toy.output("words", "words.txt") == WORDS
    assert toy.output("count", "result.txt") == chain(5)
    assert (toy.folder / "exports" / "toy" / "page.txt").read_bytes() == b"Words: " + chain(5) + b"\n"
    before = tree(toy.folder / "artifacts" / "count")
    assert toy.run() == REUSED
    assert tree(toy.folder / "artifacts" / "count") == before


def test_the_next_command_comes_from_the_stage_that_publishes(toy: Toy) -> None:
    assert toy.runner().run() == toy.runner().run() == [f"cat {toy.folder / 'exports' / 'toy' / 'page.txt'}"]


def test_planning_writes_nothing(toy: Toy) -> None:
    before = tree(toy.folder)
    toy.plan()
    assert tree(toy.folder) == before


def test_a_plan_tells_what_the_last_time_cost(toy: Toy) -> None:
    toy.run("count.pause=0.01")
    step = toy.plan("count.steps=6")["count"]
    assert step.seconds is not None and 0.05 <= step.seconds < 5
    assert step.size == 64


def test_comments_and_key_order_rerun_nothing(toy: Toy) -> None:
    toy.run()
    text = toy.path.read_text().replace("  folder: sources   # text files\n", "  # text\n  folder: 'sources'\n")
    sections = text.split("\n\n")
    toy.write_config("# a comment\n" + "\n\n".join(reversed(sections)))
    assert toy.run() == REUSED


@pytest.mark.parametrize(
    ("override", "stage", "reason", "again"),
    [
        ("count.steps=6", "count", "count.steps 5 → 6", {"count", "page"}),
        ("seed=8", "count", "seed 7 → 8", {"count", "page"}),
        ("page.title=Hi", "page", 'page.title "Words" → "Hi"', {"page"}),
        ("words.folder=./sources", "words", 'words.folder "sources" → "./sources"', {"words"}),
    ],
)
def test_a_changed_value_reruns_its_stage_and_what_depends_on_it(
    toy: Toy, override: str, stage: str, reason: str, again: set[str]
) -> None:
    toy.run()
    step = toy.plan(override)[stage]
    assert (step.action, step.reason) == ("run", reason)
    assert {name for name, action in toy.run(override).items() if action == "run"} == again
    assert toy.run(override) == REUSED
    assert toy.run() == REUSED


def test_where_the_work_is_done_reruns_nothing(toy: Toy) -> None:
    toy.run("workers=1")
    assert toy.run("workers=2") == toy.run("engine=ray") == toy.run() == REUSED


def test_a_higher_version_of_a_stage_reruns_it(toy: Toy) -> None:
    toy.run()
    toy.road = tuple(Stage(**{**vars(stage), "version": 2}) if stage.name == "count" else stage for stage in toy.road)
    assert toy.plan()["count"].reason == "version 1 → 2"
    assert toy.run() == {"words": "reuse", "count": "run", "page": "reuse"}


def raised(toy: Toy, name: str) -> None:
    toy.road = tuple(Stage(**{**vars(s), "version": s.version + 1}) if s.name == name else s for s in toy.road)


def test_what_surely_reruns_a_stage_is_told_below_one_that_may_come_out_the_same(toy: Toy) -> None:
    toy.run()
    (toy.folder / "sources" / "a.txt").write_text("the  QUICK\nbrown fox")
    raised(toy, "count")
    waiting = "after count (reused if their output comes out the same)"
    assert [(s.reason, s.sure) for s in toy.plan().values()] == [
        ("source files changed", True),
        ("version 1 → 2", True),
        (waiting, False),
    ]
    assert toy.plan("count.steps=6")["count"].reason == "version 1 → 2, count.steps 5 → 6"
    assert toy.run() == {"words": "run", "count": "run", "page": "reuse"}
    os.utime(toy.folder / "sources" / "a.txt", (1, 1))
    assert toy.plan()["count"].reason == "after words (reused if their output comes out the same)"
    assert toy.plan("page.title=Hi")["page"].reason == 'page.title "Words" → "Hi"'


def test_a_run_of_some_stages_refuses_where_another_would_run(toy: Toy) -> None:
    toy.run("count.steps=6")
    assert toy.run("count.steps=6", "page.title=Hi", only=("page",)) == {**REUSED, "page": "run"}
    (toy.folder / "sources" / "a.txt").write_text("the quick red fox")
    raised(toy, "count")
    before = tree(toy.store.root / "words")
    with pytest.raises(StageError) as caught:
        toy.run("count.steps=6", "words.folder=./sources", "page.title=a b", only=("page",))
    assert str(caught.value) == (
        'the weights are not up to date: words words.folder "sources" → "./sources", source files changed; '
        "count version 1 → 2"
    )
    assert caught.value.hint == (
        f"pipeline run --config {toy.path} --profile cpu --set count.steps=6 --set words.folder=./sources"
        "  (with --from page --until page: the weights as they are)"
    )
    assert tree(toy.store.root / "words") == before and toy.store.runs()[-1]["outcome"] == "failed"


def test_many_changes_are_told_in_short(toy: Toy) -> None:
    toy.run()
    step = toy.plan("count.steps=6", "count.pause=0.001", "seed=1")["count"]
    assert step.reason == "count.pause 0.0 → 0.001, count.steps 5 → 6, seed 7 → 1"
    long = toy.plan(f"page.title={'x' * 99}")["page"].reason
    assert long == 'page.title "Words" → "' + "x" * 36 + "..."


def test_a_touched_source_reruns_its_reader_and_nothing_after_if_the_output_is_the_same(toy: Toy) -> None:
    toy.run()
    (toy.folder / "sources" / "a.txt").write_text("the  QUICK\nbrown fox")
    assert toy.plan()["words"].reason == "source files changed"
    assert toy.run() == {"words": "run", "count": "reuse", "page": "reuse"}
    (toy.folder / "sources" / "a.txt").write_text("the quick red fox")
    assert toy.run() == {"words": "run", "count": "run", "page": "run"}
    assert b"red" in toy.output("words", "words.txt")


@pytest.mark.parametrize("stage", ["words", "count", "page"])
@pytest.mark.parametrize("damage", ["flip", "delete"])
def test_a_damaged_output_is_stale_and_made_again(toy: Toy, stage: str, damage: str) -> None:
    toy.run()
    newest = toy.store.newest(stage)
    assert newest is not None
    path = newest.path / next(iter(newest.manifest["files"]))
    good = path.read_bytes()
    path.write_bytes(bytes(len(good))) if damage == "flip" else path.unlink()
    step = toy.plan()[stage]
    told = "does not match its checksum" if damage == "flip" else "is missing"
    name = path.relative_to(newest.path)
    assert (step.action, step.reason) == ("run", f"{newest.name} is damaged: {name} {told}")
    assert toy.run() == {**REUSED, stage: "run"}
    assert toy.output(stage, str(name)) == good
    assert toy.run() == REUSED


def test_until_stops_and_from_takes_what_is_there(toy: Toy) -> None:
    assert toy.run(last="count") == {"words": "run", "count": "run"}
    assert toy.run(last="words") == {"words": "reuse"}
    (toy.folder / "sources" / "a.txt").write_text("something else")
    step = toy.plan("count.steps=9", first="page")["count"]
    assert (step.action, step.reason) == ("reuse", "taken as it is (--from page)")
    assert toy.run("count.steps=9", first="page") == {"words": "reuse", "count": "reuse", "page": "run"}
    assert toy.output("page", "parts/page.txt") == b"Words: " + chain(5) + b"\n"


def test_the_config_can_name_the_last_stage_and_the_command_another(toy: Toy) -> None:
    assert list(toy.plan("until=count")) == ["words", "count"]
    assert toy.run("until=count") == {"words": "run", "count": "run"}
    assert toy.store.runs()[-1]["outcome"] == "ok"
    assert toy.run("until=count", last="words") == {"words": "reuse"}
    assert toy.run("until=count", last="page") == {**REUSED, "page": "run"}
    assert toy.run() == toy.run("until=page") == REUSED
    with pytest.raises(UsageError, match=r"--from page comes after `until: count` of .*toy\.yaml") as caught:
        toy.runner("until=count", first="page")
    assert caught.value.hint == "--until page"


def sparing(toy: Toy, **spared: tuple[str, ...]) -> None:
    """Let the page need both other stages, and each stage do without some of its needs."""
    needs = {"words": (), "count": ("words",), "page": ("words", "count")}

    def rule(names: tuple[str, ...]) -> Callable[[Any], frozenset[str]]:
        return lambda sections: frozenset(names)

    toy.road = tuple(
        Stage(**{**vars(stage), "needs": needs[stage.name], "spared": rule(spared.get(stage.name, ()))})
        for stage in toy.road
    )


def test_a_stage_that_no_other_needs_is_left_out_and_is_in_no_key(toy: Toy, capsys: pytest.CaptureFixture[str]) -> None:
    seen: list[Context] = []

    def page(context: Context) -> Metrics:
        seen.append(context)
        (context.out / "parts").mkdir()
        (context.out / "parts" / "page.txt").write_text("page")
        return {}

    toy.replace("page", page)
    sparing(toy, page=("count",))
    assert list(toy.plan()) == ["words", "page"]
    assert toy.run() == {"words": "run", "page": "run"}
    assert capsys.readouterr().err.count("count") == 1
    assert toy.store.runs()[-1]["left_out"] == ["count"] and toy.store.runs()[-1]["outcome"] == "ok"
    assert list(seen[0].inputs) == ["words"]
    manifest = toy.store.by_label("page").manifest
    assert list(manifest["inputs"]) == list(manifest["material"]["inputs"]) == ["words"]
    assert toy.run("count.steps=9", force=("count",)) == {"words": "reuse", "page": "reuse"}

    sparing(toy)
    assert toy.plan(first="words")["page"].reason.startswith("after count")
    assert toy.run() == {"words": "reuse", "count": "run", "page": "run"}
    sparing(toy, page=("words",))
    assert toy.plan()["page"].reason == "without words"
    assert toy.run() == {"words": "reuse", "count": "reuse", "page": "run"}


def test_what_only_left_out_stages_need_is_left_out_too(toy: Toy) -> None:
    sparing(toy, page=("count", "words"))
    runner = toy.runner()
    assert runner.left_out() == ("words", "count") and [stage.name for stage in runner.stages()] == ["page"]
    assert [stage.name for stage in toy.runner(last="count").stages()] == ["words", "count"]
    assert toy.runner(last="count").left_out() == ()
    sparing(toy, count=("words",))
    assert toy.runner(last="count").left_out() == ("words",)
    assert toy.runner().left_out() == ()


def test_the_stages_spared_follow_from_the_config(toy: Toy) -> None:
    toy.road = tuple(
        Stage(**{**vars(stage), "spared": lambda sections: frozenset({"words"} if sections["count"].steps > 5 else ())})
        if stage.name == "count"
        else stage
        for stage in toy.road
    )
    assert toy.runner().left_out() == () and toy.runner("count.steps=6").left_out() == ("words",)


def test_from_does_not_ask_for_what_is_left_out(toy: Toy) -> None:
    toy.run()
    shutil.rmtree(toy.store.root / "words")
    sparing(toy, count=("words",), page=("words",))
    assert toy.plan(first="page")["count"].reason == "taken as it is (--from page)"


def test_from_refuses_a_missing_and_passes_over_a_damaged_artifact(toy: Toy) -> None:
    with pytest.raises(UsageError, match="--from page: there is no whole words artifact to start from") as caught:
        toy.run(first="page")
    assert caught.value.hint == f"pipeline run --config {toy.path}"
    toy.run()
    toy.run("count.steps=6")
    newest = toy.store.newest("count")
    assert newest is not None
    (newest.path / "result.txt").unlink()
    step = toy.plan(first="page")["count"]
    assert step.artifact is not None and step.artifact.name.startswith("v0001")


def test_force_reruns_only_what_it_names_if_that_comes_out_the_same(toy: Toy) -> None:
    toy.run()
    assert toy.plan(force=("count",))["count"].reason == "--force"
    assert toy.run(force=("count",)) == {"words": "reuse", "count": "run", "page": "reuse"}
    assert toy.run(force=("words", "page")) == {"words": "run", "count": "reuse", "page": "run"}


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"first": "wrds"}, "no stage `wrds`"),
        ({"last": "wrds"}, "no stage `wrds`"),
        ({"force": ("page", "wrds")}, "no stage `wrds`"),
        ({"first": "page", "last": "words"}, "--from page comes after --until words"),
    ],
)
def test_an_impossible_choice_of_stages_is_a_usage_error(toy: Toy, options: dict[str, Any], told: str) -> None:
    with pytest.raises(UsageError, match=told):
        toy.runner(**options)


@pytest.fixture
def own_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Write the source of the module `toy_page`, and have it looked at anew."""
    monkeypatch.syspath_prepend(tmp_path)

    def write(text: str) -> None:
        (tmp_path / "toy_page.py").write_text(text)
        importlib.invalidate_caches()
        provenance._module.cache_clear()
        provenance._source.cache_clear()

    return write


def test_changed_code_is_told_by_name_and_reruns_only_when_asked(toy: Toy, own_code: Callable[[str], None]) -> None:
    toy.road = tuple(
        Stage(**{**vars(stage), "module": "toy_page"}) if stage.name == "page" else stage for stage in toy.road
    )
    own_code("answer = 1\n")
    toy.run()
    own_code("answer = 2\n")
    step = toy.plan()["page"]
    assert step.note == "page: toy_page changed since v0001-" + (step.key or "")[:8] + "; --changed-code reruns it"
    assert toy.run() == REUSED
    assert toy.plan(changed_code=True)["page"].reason == "code changed: toy_page"
    assert toy.run(changed_code=True) == {**REUSED, "page": "run"}
    assert toy.plan(changed_code=True)["page"].action == "reuse"
    assert toy.plan()["page"].note == ""


def test_what_was_made_without_an_optional_part_says_so_until_it_is_made_again(toy: Toy) -> None:
    whole = toy.road[0].run
    toy.replace("words", lambda context: {**whole(context), "without": {"pypi:a==1": "offline"}})
    toy.run()
    toy.replace("words", whole)
    step = toy.plan()["words"]
    assert step.artifact is not None and step.action == "reuse"
    assert step.note == f"words: {step.artifact.name} was made without pypi:a==1; --force words retries"
    toy.run(force=("words",))
    assert toy.plan()["words"].note == ""


def test_the_manifest_says_what_made_the_artifact(toy: Toy) -> None:
    toy.run("count.pause=0.001", "seed=9")
    words, count = toy.store.newest("words"), toy.store.newest("count")
    assert words is not None and count is not None
    told = count.manifest
    assert told["inputs"] == {"words": {"artifact": words.label, "digest": words.digest}}
    assert told["material"] == {
        "stage": "count",
        "version": 1,
        "config": {"count": {"steps": 5, "pause": 0.001}},
        "inputs": {"words": words.digest},
        "seed": 9,
    }
    line = toy.path.read_text().splitlines().index("  steps: 5") + 1
    assert told["origins"] == {"count.steps": f"{toy.path}:{line}", "count.pause": "--set"}
    assert told["metrics"] == {"steps": 5}
    assert (told["seed"], told["profile"]) == (9, "cpu")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d{4}", told["started"])
    assert 0.005 <= told["seconds"] < 5
    assert told["packages"]["pyyaml"] == metadata.version("pyyaml")
    assert told["device"]["python"] == ".".join(map(str, sys.version_info[:3]))
    assert told["code"]["conftest"] == hashlib.sha256((Path(__file__).parent / "conftest.py").read_bytes()).hexdigest()
    assert count.name == f"v0001-{told['key'][:8]}"


def test_the_key_is_the_sha256_of_stage_version_config_and_inputs(toy: Toy) -> None:
    toy.run()
    words, count = toy.store.newest("words"), toy.store.newest("count")
    assert words is not None and count is not None
    text = (
        '{"config":{"count":{"pause":0.0,"steps":5}},"inputs":{"words":"'
        + words.digest
        + '"},"seed":7,"stage":"count","version":1}'
    )
    assert count.manifest["key"] == hashlib.sha256(text.encode()).hexdigest()


def test_each_run_leaves_a_record(toy: Toy) -> None:
    toy.run()
    toy.runner("count.steps=6").run("export")
    first, second = toy.store.runs()
    assert (first["run"], first["command"], first["outcome"], first["profile"]) == (1, "run", "ok", "cpu")
    assert (second["run"], second["command"], second["overrides"]) == (2, "export", ["count.steps=6"])
    assert first["config"] == str(toy.path)
    assert [entry["action"] for entry in second["stages"].values()] == ["reuse", "run", "run"]
    newest = toy.store.newest("page")
    assert newest is not None and second["stages"]["page"]["artifact"] == newest.name
    assert 0 < first["seconds"] < 10


def failing(error: BaseException) -> Callable[[Context], Metrics]:
    def fail(context: Context) -> Metrics:
        (context.out / "half.txt").write_text("half")
        raise error

    return fail


@pytest.mark.parametrize(
    ("error", "message", "hint"),
    [
        (RuntimeError("boom"), "page: RuntimeError: boom", "PIPELINE_DEBUG=1 pipeline run --config"),
        (KeyError("x"), "page: KeyError: 'x'", "PIPELINE_DEBUG=1"),
        (MemoryError(), "page: out of memory", "lower batch_size"),
        (OSError(errno.ENOSPC, "No space left on device"), "page: the disk is full", "pipeline gc"),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), "page: the disk is full", "pipeline gc"),
        (RuntimeError("write: No space left on device"), "page: the disk is full", "pipeline gc"),
        (StageError("page: no usable word"), "page: no usable word", "mend the cause, then: pipeline run --config"),
        (StageError("page: none", hint="add some"), "page: none", "add some"),
    ],
)  # fmt: skip
def test_a_failing_stage_is_told_without_a_half_artifact(
    toy: Toy, error: BaseException, message: str, hint: str
) -> None:
    toy.replace("page", failing(error))
    with pytest.raises(StageError) as caught:
        toy.run()
    assert str(caught.value).startswith(message)
    assert (caught.value.hint or "").startswith(hint)
    assert caught.value.exit_code == 1
    assert toy.store.versions("page") == []
    record = toy.store.runs()[-1]
    assert (record["outcome"], list(record["stages"])) == ("failed", ["words", "count"])
    assert record["error"] == str(caught.value)


def test_only_what_another_try_goes_on_from_is_kept_of_a_failed_one(toy: Toy) -> None:
    left = toy.store.begin("page", "0" * 64, resume=False) / "half.txt"
    left.write_text("of a process that was killed")
    for name, kept in (("count", 1), ("page", 0)):
        good = toy.road
        toy.replace(name, failing(RuntimeError()))
        with pytest.raises(StageError):
            toy.run()
        assert len(toy.store.partials(name)) == kept
        toy.road = good
    assert toy.run()["page"] == "run" and toy.store.partials() == []


def test_hints_repeat_the_command_as_it_was_typed(toy: Toy) -> None:
    toy.replace("page", failing(StageError("page: no")))
    with pytest.raises(StageError) as caught:
        toy.run(typed="pipeline export --fit 1MB")
    assert caught.value.hint == "mend the cause, then: pipeline export --fit 1MB"


def test_after_a_failure_the_same_command_goes_on_where_it_stopped(toy: Toy) -> None:
    good = toy.road
    toy.replace("page", failing(RuntimeError()))
    with pytest.raises(StageError):
        toy.run()
    toy.road = good
    assert toy.run() == {"words": "reuse", "count": "reuse", "page": "run"}
    assert list(toy.store.by_label("page").manifest["files"]) == ["parts/page.txt"]


def test_a_disk_full_at_any_write_is_told_and_the_next_run_is_whole(toy: Toy, faulty_disk: type[FaultyDisk]) -> None:
    with faulty_disk(0) as disk:
        toy.run("count.steps=2")
    told = set()
    for at in range(2, disk.count + 1, 3):
        changes = ("count.steps=2", f"seed={at}")
        with faulty_disk(at):
            try:
                toy.run(*changes, force=("words", "page"))
            except StageError as error:
                stage, _, message = str(error).partition(": ")
                assert message.startswith("the disk is full")
                told.add(stage)
        assert toy.store.verify() == []
        assert toy.run(*changes)["words"] == "reuse"
        assert toy.output("count", "result.txt") == chain(2, seed=at)
    assert told == {"words", "count", "page"}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("name", ["words", "count", "page"])
def test_a_signal_ends_the_run_in_order_and_the_next_run_goes_on(toy: Toy, name: str, number: signal.Signals) -> None:
    good = toy.road
    work = next(stage.run for stage in toy.road if stage.name == name)

    def interrupted(context: Context) -> Metrics:
        work(context)
        os.kill(os.getpid(), number)
        time.sleep(5)
        raise AssertionError("the signal did not end the stage")

    toy.replace(name, interrupted)
    before = signal.getsignal(number)
    with pytest.raises(Interrupted, match=f"interrupted by {number.name}") as caught:
        toy.run()
    assert caught.value.exit_code == 128 + number
    assert caught.value.hint == "run the same command again to go on"
    assert signal.getsignal(number) == before
    assert toy.store.versions(name) == []
    assert toy.store.runs()[-1]["outcome"] == "interrupted"
    toy.road = good
    assert toy.run()[name] == ("resume" if name == "count" else "run")
    assert toy.output("count", "result.txt") == chain(5)


def test_a_stage_that_swallows_the_signal_is_not_committed(toy: Toy) -> None:
    def swallows(context: Context) -> Metrics:
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(5)
        except Exception:
            (context.out / "words.txt").write_text("one file is left out")
        return {}

    toy.replace("words", swallows)
    with pytest.raises(Interrupted):
        toy.run()
    assert toy.store.versions("words") == []


def test_a_killed_count_resumes_and_gives_what_an_uninterrupted_one_gives(toy: Toy) -> None:
    process = toy.start_counting(until=20, steps=300)
    process.kill()
    process.communicate()
    assert toy.store.versions("count") == []
    saved = toy.saved_step()
    assert 20 <= saved < 300
    assert toy.store.runs()[-1]["outcome"] == "running"
    changes = ("count.steps=300", "count.pause=0.001")
    step = toy.plan(*changes)["count"]
    assert (step.action, step.reason) == ("resume", "an interrupted try is there")
    assert toy.plan("count.steps=301")["count"].action == "run"
    began = time.monotonic()
    assert toy.run(*changes) == {"words": "reuse", "count": "resume", "page": "run"}
    assert time.monotonic() - began > 0.001 * (300 - saved)
    assert toy.output("count", "result.txt") == chain(300)
    assert list(toy.store.by_label("count").manifest["files"]) == ["result.txt"]
    assert [record["outcome"] for record in toy.store.runs()] == ["killed", "ok"]


def test_force_throws_an_interrupted_try_away(toy: Toy, capsys: pytest.CaptureFixture[str]) -> None:
    process = toy.start_counting(until=5, steps=200)
    process.kill()
    process.communicate()
    changes = ("count.steps=200", "count.pause=0.001")
    assert toy.plan(*changes, force=("count",))["count"].action == "run"
    toy.run(*changes, force=("count",))
    assert "going on" not in capsys.readouterr().err
    assert toy.output("count", "result.txt") == chain(200)


@pytest.mark.parametrize("name", ["words", "count", "page"])
def test_a_kill_after_the_work_and_before_the_commit_shows_nothing(toy: Toy, name: str) -> None:
    process = toy.start("run", "--config", "toy.yaml", killed_after=name)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert toy.store.versions(name) == [] and toy.store.verify() == []
    assert toy.run()[name] in ("run", "resume")
    assert toy.output("count", "result.txt") == chain(5)
    assert (toy.folder / "exports" / "toy" / "page.txt").read_bytes() == b"Words: " + chain(5) + b"\n"


def test_a_second_run_on_the_same_store_is_refused_with_the_name_of_the_first(toy: Toy) -> None:
    process = toy.start_counting(until=5, steps=100_000)
    try:
        with pytest.raises(UsageError, match=rf"in use by process {process.pid} on .*run --config toy\.yaml"):
            toy.run()
    finally:
        process.kill()
        process.communicate()
    assert toy.run()["page"] == "run"


def test_a_stage_sees_what_it_declared(toy: Toy) -> None:
    seen: list[Context] = []
    work = toy.road[-1].run
    toy.replace("page", lambda context: seen.append(context) or work(context))
    toy.run()
    (context,) = seen
    count = toy.store.by_label("count")
    assert (context.inputs, context.seed, context.name, context.base) == ({"count": count.path}, 7, "toy", toy.folder)
    assert list(context.sections) == ["page"]
    assert context.section(type(context.sections["page"])) is context.sections["page"]
    with pytest.raises(KeyError, match="Undeclared is not among the sections"):
        context.section(Undeclared)


def test_an_export_folder_that_cannot_be_written_is_told(toy: Toy) -> None:
    (toy.folder / "exports").write_text("a file in the way")
    with pytest.raises(StageError, match=r"page: (FileExists|NotADirectory)Error"):
        toy.run()
    assert toy.store.verify() == [] and len(toy.store.versions("page")) == 1
    (toy.folder / "exports").unlink()
    assert toy.run() == REUSED
    assert (toy.folder / "exports" / "toy" / "page.txt").exists()
