"""Answers from a file are judged line by line, and what is no answer is told with its place."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import UsageError
from stages.evaluation import sandbox, task
from stages.evaluation.checks import Verdict
from stages.evaluation.judging import judge_codes, judge_file, read_answers, summary
from stages.evaluation.node import SandboxUnavailable, find_interpreter
from stages.evaluation.sandbox import Limits, Outcome, Program
from stages.evaluation.tasks import SUITE
from stages.evaluation.try_tasks import main, try_all

TASKS = {task.id: task for task in SUITE}


@pytest.fixture(scope="module")
def node() -> None:
    try:
        find_interpreter()
    except SandboxUnavailable as missing:
        pytest.skip(str(missing))


def write(path: Path, *answers: tuple[str, str]) -> Path:
    path.write_text("".join(json.dumps({"task": id, "answer": text, "n": 1}) + "\n\n" for id, text in answers))
    return path


def test_each_answer_gets_its_result(tmp_path: Path, node: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox, "GRACE", 0.2)
    glow, meter = TASKS["pins/rising-glow"], TASKS["python/meter-number"]
    answers = write(
        tmp_path / "a.jsonl",
        (glow.id, f"Here it is:\n\n```python\n{glow.reference}```\n\nHave fun!"),
        (glow.id, glow.wrong),
        (meter.id, "I cannot do that."),
        (meter.id, "def is_meter(text):\n    return text +\n"),
        (meter.id, "def is_meter(text):\n    return 1 / 0\n"),
        (glow.id, "```python\nraise OSError(5)\n```"),
        (glow.id, "```python\nexec('while True: pass')\n```"),
        (glow.id, "```python\nfrom machine import I2S\n```"),
        (glow.id, "```python\nimport time\nfrom machine import reset\ntime.sleep(1)\nreset()\n```"),
        (meter.id, meter.reference),
    )
    said: list[str] = []
    results = judge_file(answers, say=said.append, limits=Limits(cpu_seconds=0.3))
    assert [result.task for result in results] == [glow.id] * 2 + [meter.id] * 3 + [glow.id] * 4 + [meter.id]
    kinds = [
        "passed",
        "wrong",
        "no code",
        "does not compile",
        "wrong",
        "exception",
        "timeout",
        "not simulated",
        "wrong",
    ]
    assert [result.kind for result in results] == [*kinds, "passed"]
    assert [result.passed for result in results] == [kind == "passed" for kind in [*kinds, "passed"]]
    assert [results[place].reason for place in (2, 3)] == ["the answer holds no program", "it does not compile"]
    assert "machine.I2S" in results[7].reason
    assert said[0] == f"passed  {glow.id}" and said[1].startswith(f"failed  {glow.id}")
    assert said[-3:] == [
        "level 1: 1 of 4 passed (pure Python)",
        "level 2: 1 of 6 passed (pins and PWM)",
        "2 of 10 answers passed; failed: 3 wrong, 1 does not compile, 1 exception, 1 no code, 1 not simulated, "
        "1 timeout",
    ]


def test_programs_are_judged_in_their_order_and_equal_ones_run_once(
    node: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    glow, meter = TASKS["pins/rising-glow"], TASKS["python/meter-number"]
    ran: list[str] = []
    run_programs = task.run_programs

    def counted(programs: Sequence[Program], **how: Any) -> Iterator[Outcome]:
        ran.extend(program.source for program in programs)
        return run_programs(programs, **how)

    monkeypatch.setattr(task, "run_programs", counted)
    quoted = "from machine import Pin\nprint(“on”)\n"  # mpy-cross alone would take it
    codes = [glow.wrong, "", glow.reference, quoted, glow.reference, "x = ", glow.wrong]
    verdicts = list(judge_codes([*((glow, code) for code in codes), (meter, glow.reference)], workers=2))
    assert [verdict.kind for verdict in verdicts[:4]] == ["wrong", "no code", "passed", "does not compile"]
    assert [verdict.kind for verdict in verdicts[4:]] == ["passed", "does not compile", "wrong", "wrong"]
    assert verdicts[1] == Verdict(False, "the answer holds no program", "no code") and verdicts[0] is verdicts[6]
    assert ran == [glow.wrong, glow.reference, glow.reference]


def test_a_text_that_a_program_could_not_execute_is_no_program_that_does_not_compile(node: None) -> None:
    [verdict] = judge_codes([(TASKS["pins/rising-glow"], "exec('x = ')\n")])
    assert verdict.kind == "exception" and verdict.reason.startswith("SyntaxError")


def test_no_programs_need_no_interpreter(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    glow = TASKS["pins/rising-glow"]
    assert [verdict.kind for verdict in judge_codes([(glow, ""), (glow, "x = ")])] == ["no code", "does not compile"]
    with pytest.raises(SandboxUnavailable):
        list(judge_codes([(glow, glow.reference)]))


def test_lines_that_are_no_answers_are_all_told(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    lines = ['{"task": "pins/lighthouse", "answer": ""}', "{", "[1]", '{"task": "pins/lighthouse"}']
    lines += ['{"task": 5, "answer": ""}', '{"task": "pins/light-house", "answer": "x"}', "[" * 100_000]
    lines += ['{"task": "zzzz", "answer": "x"}']
    path.write_text("\n".join(lines))
    with pytest.raises(UsageError) as caught:
        read_answers(path)
    told = [line.removeprefix(f"{path}:") for line in str(caught.value).split("\n")]
    assert told[0].startswith("2: not JSON: ") and told[5].startswith("7: not JSON: ")
    assert told[1:5] == [
        "3: not an object",
        "4: `answer` is missing",
        "5: `task` is not a text",
        "6: no task `pins/light-house`; did you mean `pins/lighthouse`?",
    ]
    assert told[6:] == ["8: no task `zzzz`"]
    assert caught.value.hint and '"answer"' in caught.value.hint


def test_a_file_full_of_errors_tells_ten(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text("x\n" * 25)
    with pytest.raises(UsageError, match="and 15 more") as caught:
        read_answers(tmp_path / "a.jsonl")
    assert len(str(caught.value).split("\n")) == 11


@pytest.mark.parametrize(("content", "message"), [(b"\xff\xfe", "cannot be read"), (b"\n\n", "has no answers")])
def test_a_file_without_answers_is_told(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "a.jsonl").write_bytes(content)
    with pytest.raises(UsageError, match=message):
        read_answers(tmp_path / "a.jsonl")
    with pytest.raises(UsageError, match="cannot be read"):
        read_answers(tmp_path / "missing.jsonl")


def test_nothing_failed_is_said_shortly() -> None:
    assert summary([]) == ["0 of 0 answers passed"]


def test_references_pass_and_wrong_solutions_fail(node: None) -> None:
    said: list[str] = []
    meter = TASKS["python/meter-number"]
    assert try_all([meter, replace(meter, id="swapped", reference=meter.wrong)], say=said.append) == 1
    assert [line.split()[:3] for line in said[:3]] == [
        ["ok", "python/meter-number", "reference"],
        ["ok", "python/meter-number", "wrong"],
        ["BAD", "swapped", "reference"],
    ]
    assert said[-1].startswith("2 tasks, 1 surprises")


def test_tasks_are_tried_by_a_part_of_their_id(node: None, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["meter-number"]) == 0
    assert capsys.readouterr().out.splitlines()[-1].startswith("1 tasks, 0 surprises")
    with pytest.raises(UsageError, match="no task has nothing-like-it"):
        main(["nothing-like-it"])
