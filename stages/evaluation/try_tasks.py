"""Run every reference and every wrong solution: python -m stages.evaluation.try_tasks [PART OF AN ID …]"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence

from pipeline.errors import PipelineError, UsageError
from pipeline.hardware import usable_cores
from stages.evaluation.task import Task, judge_all
from stages.evaluation.tasks import SUITE


def try_all(tasks: Sequence[Task], *, say: Callable[[str], None] = print) -> int:
    """How many references of the tasks fail and wrong solutions pass; raises SandboxUnavailable."""
    answers: list[tuple[Task, str]] = [(task, text) for task in tasks for text in (task.reference, task.wrong)]
    start = time.monotonic()
    surprises = 0
    for number, (task, outcome, verdict) in enumerate(judge_all(answers, workers=usable_cores())):
        should = number % 2 == 0
        surprises += verdict.passed != should
        mark = "ok " if verdict.passed == should else "BAD"
        kind = "reference" if should else "wrong    "
        about = verdict.reason or f"{len(outcome.events)} events"
        say(f"{mark} {task.id:<28} {kind} {1000 * outcome.wall_seconds:6.0f} ms  {outcome.ended:<10}  {about}")
        if should and not verdict.passed:
            say(outcome.stdout[-1000:])
    say(f"{len(tasks)} tasks, {surprises} surprises, {time.monotonic() - start:.1f} s")
    return surprises


def main(parts: Sequence[str]) -> int:
    """Try the tasks that have one of the parts in their id, or all; the exit status. Raises UsageError for none."""
    tasks = [task for task in SUITE if not parts or any(part in task.id for part in parts)]
    if not tasks:
        raise UsageError(f"no task has {' or '.join(parts)} in its id", hint="ids are such as pins/lighthouse")
    return 1 if try_all(tasks) else 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except PipelineError as error:
        sys.exit(f"{error}\nhint: {error.hint}")
