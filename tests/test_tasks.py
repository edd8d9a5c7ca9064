"""The suite itself: references pass, wrong solutions fail for a reason of the check, and the tasks are well made."""

from __future__ import annotations

import ast
import re
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from stages.evaluation.checks import Verdict, require
from stages.evaluation.compiling import compiles
from stages.evaluation.node import SandboxUnavailable, find_interpreter
from stages.evaluation.sandbox import Ended, Event, Outcome, Raised
from stages.evaluation.task import BY_ITSELF, EITHER, FOR_EVER, LEVELS, Task, judge_all
from stages.evaluation.tasks import SUITE

IDS = [task.id for task in SUITE]
Judged = dict[tuple[str, str], tuple[Outcome, Verdict]]


@pytest.fixture(scope="module")
def node() -> None:
    try:
        find_interpreter()
    except SandboxUnavailable as missing:
        pytest.skip(str(missing))


@pytest.fixture(scope="module")
def judged(node: None) -> Judged:
    kinds = ("reference", "wrong")
    answers: list[tuple[Task, str]] = [(task, text) for task in SUITE for text in (task.reference, task.wrong)]
    found = enumerate(judge_all(answers, workers=2))
    return {(task.id, kinds[number % 2]): (outcome, verdict) for number, (task, outcome, verdict) in found}


@pytest.mark.parametrize("id", IDS)
def test_the_reference_passes(judged: Judged, id: str) -> None:
    assert judged[id, "reference"][1] == Verdict(True, "", "passed")


@pytest.mark.parametrize("id", IDS)
def test_the_wrong_solution_fails_in_what_it_does(judged: Judged, id: str) -> None:
    verdict = judged[id, "wrong"][1]
    assert (verdict.passed, verdict.kind) == (False, "wrong") and verdict.reason


@pytest.mark.parametrize("task", SUITE, ids=IDS)
def test_what_should_go_on_for_ever_does_not_pass_when_it_stops(judged: Judged, task: Task) -> None:
    outcome = judged[task.id, "reference"][0]
    for share in (0.3, 0.6, 0.85):
        end = round(share * outcome.end_us)
        events = tuple(event for event in outcome.events if event["t"] <= end)
        stopped = replace(outcome, ended="done", end_us=end, events=events)
        assert outcome.ended not in FOR_EVER or task.calls or not task.judge(stopped).passed


def test_an_empty_program_passes_nothing(node: None) -> None:
    verdicts = judge_all([(task, "pass\n") for task in SUITE], workers=2)
    assert [task.id for task, _, verdict in verdicts if verdict.passed] == []


@pytest.mark.parametrize("task", SUITE, ids=IDS)
def test_a_task_is_complete(task: Task) -> None:
    assert task.level in LEVELS and task.mistake and task.wrong != task.reference
    assert IDS.count(task.id) == 1 and task.id.count("/") == 1
    assert task.reference.startswith(task.prefix)
    assert task.prompt.isascii() and len(task.prompt) <= 550  # with an answer in the context of a small model
    for text in (task.reference, task.wrong):
        ast.parse(text)
        assert text.endswith("\n") and max(map(len, text.splitlines())) <= 100


def test_there_are_enough_of_every_level() -> None:
    levels = Counter(task.level for task in SUITE)
    assert len(SUITE) >= 120 and {*levels} == {*LEVELS} and min(levels.values()) >= 20


@pytest.mark.parametrize("task", SUITE, ids=IDS)
def test_the_solutions_are_programs_for_the_compiler_that_judges_answers(task: Task) -> None:
    assert compiles(task.reference) and compiles(task.wrong)


def test_the_documentation_tells_the_levels_and_how_many_tasks_they_have() -> None:
    told = (Path(__file__).parents[1] / "docs" / "tasks.md").read_text(encoding="utf-8")
    levels = Counter(task.level for task in SUITE)
    assert re.findall(r"^\| (\d) \| (.+) \| (\d+) \|$", told, re.MULTILINE) == [
        (str(level), name, str(levels[level])) for level, name in LEVELS.items()
    ]
    assert f"{len(SUITE)} tasks for MicroPython" in told


def lit(outcome: Outcome) -> None:
    require(any(event["what"] == "pin" for event in outcome.events), "nothing\x1b[2J is lit")


LIGHT = Task(id="x/y", level=2, prompt="", reference="", wrong="", mistake="", check=lit)
ON: Event = {"t": 5, "what": "pin", "pin": 3, "value": 1}


@pytest.mark.parametrize(
    ("ends", "ended", "passed"),
    [
        (FOR_EVER, "time_limit", True),
        (FOR_EVER, "waiting", True),
        (FOR_EVER, "done", False),
        (BY_ITSELF, "done", True),
        (BY_ITSELF, "waiting", True),
        (BY_ITSELF, "time_limit", False),
        (EITHER, "done", True),
        (EITHER, "time_limit", True),
        (EITHER, "reset", False),
        ((), "time_limit", True),
        ((), "done", False),
    ],
)
def test_a_run_has_to_end_as_asked(ends: tuple[Ended, ...], ended: Ended, passed: bool) -> None:
    verdict = replace(LIGHT, ends=ends).judge(Outcome("x", ended, end_us=2_500_000, events=(ON,)))
    assert (verdict.passed, verdict.kind) == (passed, "passed" if passed else "wrong")
    if ended == "done" and not passed:
        assert verdict.reason == "it ended after 2.5 s and was to go on"


def test_functions_that_are_called_stand_in_programs_that_end() -> None:
    verdicts = [replace(LIGHT, calls=("f()",)).judge(Outcome("x", ended, events=(ON,))) for ended in FOR_EVER]
    assert [verdict.passed for verdict in verdicts] == [False, True]


@pytest.mark.parametrize("ended", ["timeout", "memory", "output", "event_limit", "crashed"])
def test_a_program_over_a_limit_is_counted_by_it(ended: Ended) -> None:
    assert LIGHT.judge(Outcome("x", ended, events=(ON,))) == Verdict(False, f"ended by {ended}", ended)


@pytest.mark.parametrize("what", ["unsupported", "refused"])
def test_what_the_board_does_not_have_is_no_mistake_and_does_not_pass(what: str) -> None:
    asked: Event = {"t": 0, "what": what, "text": "machine.I2S"}
    raised = Raised("NotImplementedError", "machine.I2S is not simulated", 3)
    for outcome in (Outcome("x", "exception", raised, events=(asked,)), Outcome("x", "time_limit", events=(asked,))):
        assert LIGHT.judge(outcome) == Verdict(False, "not decided: the board has no machine.I2S", "not simulated")
    assert LIGHT.judge(Outcome("x", "time_limit", events=(asked, ON))).passed


def test_an_exception_is_told_with_the_line_of_the_answer() -> None:
    verdict = replace(LIGHT, given="a\nb\n").judge(Outcome("x", "exception", Raised("E", "bad", 5)))
    assert verdict == Verdict(False, "bad (line 3)", "exception")
    named = LIGHT.judge(Outcome("x", "exception", Raised("SyntaxError", "SyntaxError: mine", 1)))  # a class of its own
    assert named.kind == "exception"


def test_reasons_are_fit_for_a_terminal() -> None:
    assert LIGHT.judge(Outcome("x", "time_limit")).reason == "nothing\ufffd[2J is lit"
