"""The task suite: modules with `TASKS`, one or more to a level."""

from __future__ import annotations

import json
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules

from stages.evaluation.task import Task

LINES = Path(__file__).parent / "suite.jsonl"  # as_lines(), for those who must not import this
_MODULES = [import_module(f"{__name__}.{found.name}") for found in iter_modules(__path__) if found.name[0] != "_"]

SUITE: tuple[Task, ...] = tuple(
    sorted((task for module in _MODULES for task in module.TASKS), key=lambda task: (task.level, task.id))
)


def as_lines() -> str:
    """JSON Lines of id, level, prompt and solution: what decontamination keeps out of the training text."""
    return "".join(
        json.dumps({"id": t.id, "level": t.level, "prompt": t.prompt, "solution": t.reference}) + "\n" for t in SUITE
    )
