"""What becomes of answers: programs judged, whoever wrote them, and files of answers that were written anywhere.

A line of such a file is {"task": id, "answer": text or code}.
"""

from __future__ import annotations

import difflib
import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import UsageError
from pipeline.hardware import usable_cores
from stages.evaluation.answers import code_of
from stages.evaluation.checks import Verdict
from stages.evaluation.compiling import compile_all
from stages.evaluation.sandbox import Limits
from stages.evaluation.task import LEVELS, Task, judge_all
from stages.evaluation.tasks import SUITE

TOLD = 10  # errors in one message
NO_CODE = Verdict(False, "the answer holds no program", "no code")
NOT_COMPILED = Verdict(False, "it does not compile", "does not compile")


@dataclass(frozen=True)
class Result:
    """An answer's task and what Verdict says."""

    task: str
    level: int
    passed: bool
    reason: str
    kind: str


def judge_codes(
    pairs: Sequence[tuple[Task, str]], *, limits: Limits | None = None, workers: int | None = None
) -> Iterator[Verdict]:
    """The verdict on each program, in their order, each as soon as it is known; equal ones of a task run once.

    An answer without a program is given as an empty text. What `compiling.compiles` refuses is not run. `workers` are
    by default as many as there are cores. Raises SandboxUnavailable.
    """
    codes = list(dict.fromkeys(code for _, code in pairs))
    good = dict(zip(codes, compile_all(codes), strict=True))
    runs = {(task.id, code): (task, code) for task, code in pairs if good[code]}
    judged = judge_all(runs.values(), limits=limits, workers=workers or usable_cores())
    known: dict[tuple[str, str], Verdict] = {}
    for task, code in pairs:
        if not good[code]:
            yield NOT_COMPILED if code else NO_CODE
            continue
        key = (task.id, code)
        if key not in known:  # they come in the order in which they were first asked for
            known[key] = next(judged)[2]
        yield known[key]


def judge_file(
    path: Path, *, say: Callable[[str], None] = lambda line: None, limits: Limits | None = None
) -> list[Result]:
    """A result for each line, in order; the answer may be Markdown with the program in a fenced block.

    Raises UsageError for lines that are no answers and ids that are no tasks, SandboxUnavailable.
    """
    answers = [(task, code_of(text)) for task, text in read_answers(path)]
    results = []
    for (task, _), verdict in zip(answers, judge_codes(answers, limits=limits), strict=True):
        results.append(Result(task.id, task.level, verdict.passed, verdict.reason, verdict.kind))
        say(f"{'passed' if verdict.passed else 'failed'}  {task.id:<28} {verdict.reason}".rstrip())
    for line in summary(results):
        say(line)
    return results


def summary(results: Sequence[Result]) -> list[str]:
    """How many passed, by level, and what became of the others."""
    lines = []
    for level, name in LEVELS.items():
        mine = [result.passed for result in results if result.level == level]
        if mine:
            lines.append(f"level {level}: {sum(mine)} of {len(mine)} passed ({name})")
    kinds = Counter(result.kind for result in results if not result.passed)
    failed = ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items(), key=lambda item: (-item[1], item[0])))
    passed = sum(result.passed for result in results)
    return [*lines, f"{passed} of {len(results)} answers passed" + (f"; failed: {failed}" if failed else "")]


def read_answers(path: Path) -> list[tuple[Task, str]]:
    """The tasks and texts of a file's lines; raises UsageError that names every line which is no answer, up to ten."""
    tasks = {task.id: task for task in SUITE}
    form = 'a line is {"task": "pins/lighthouse", "answer": "…"}'
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} cannot be read: {error}", hint=f"name a text file of JSON Lines; {form}") from None
    found, wrong = [], []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            found.append(_answer(line, tasks))
        except ValueError as error:
            wrong.append(f"{path}:{number}: {error}")
    if wrong:
        more = [f"and {len(wrong) - TOLD} more"] if len(wrong) > TOLD else []
        raise UsageError("\n".join([*wrong[:TOLD], *more]), hint=form)
    if not found:
        raise UsageError(f"{path} has no answers", hint=form)
    return found


def _answer(line: str, tasks: dict[str, Task]) -> tuple[Task, str]:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"not JSON: {error}") from None
    if not isinstance(value, dict):
        raise ValueError("not an object")
    for name in ("task", "answer"):
        if not isinstance(value.get(name), str):
            raise ValueError(f"`{name}` is {'missing' if name not in value else 'not a text'}")
    id, answer = value["task"], value["answer"]
    if id not in tasks:
        near = difflib.get_close_matches(id, tasks, 1, cutoff=0.5)
        raise ValueError(f"no task `{id[:80]}`" + (f"; did you mean `{near[0]}`?" if near else ""))
    return tasks[id], answer
