"""Texts that the model will be examined on, and whether a document gives them away (decontamination)."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.errors import UsageError
from stages.corpus.near.shingles import Hashes, shingles

BUILTIN = "builtin"  # in a config: the tasks that ship
TASKS = Path(__file__).parents[2] / "evaluation" / "tasks" / "suite.jsonl"
SUFFIXES = (".jsonl", ".py", ".md", ".rst", ".txt")
PROMPT_SHARE = 0.8  # of a question's shingles: it stands there word for word, but for an edge
SOLUTION_SHARE = 0.6  # of a solution's: some shingles, such as imports, stand in many programs
FEWEST = {PROMPT_SHARE: 2, SOLUTION_SHARE: 8}  # shingles; a shorter text cannot be told from chance


@dataclass(frozen=True)
class HeldOut:
    """Tasks as sets of shingles. `texts` holds (id of the task, share that gives it away, sorted shingles)."""

    texts: tuple[tuple[str, float, Hashes], ...]

    @classmethod
    def read(cls, paths: Sequence[Path]) -> HeldOut:
        """The tasks of files and folders; a `.jsonl` line has `id` and `prompt`, `solution` or both, or `messages`.

        Any other file is a solution as a whole. Raises UsageError for a path that is missing or a line that is no task.
        """
        found = []
        for name, share, text in (task for path in paths for file in files_of(path) for task in _tasks(file)):
            hashes, _ = shingles([text])
            if len(hashes) >= FEWEST[share]:
                found.append((name, share, hashes))
        return cls(tuple(found))

    def found_in(self, text: str) -> str | None:
        """The id of a task whose question or solution stands in the text, or None."""
        return self.found_in_shingles(shingles([text])[0])

    def found_in_shingles(self, hashes: Hashes) -> str | None:
        """As `found_in`, for a text whose sorted shingles are known."""
        if not len(self._all) or not len(hashes):
            return None
        places = np.minimum(np.searchsorted(self._all, hashes), len(self._all) - 1)
        present = self._all[places] == hashes
        if np.count_nonzero(present) < min(FEWEST.values()):
            return None
        shared = hashes[present]
        for name, share, own in self.texts:
            if np.count_nonzero(np.isin(own, shared, assume_unique=True)) >= share * len(own):
                return name
        return None

    @cached_property
    def _all(self) -> npt.NDArray[np.uint32]:
        return np.unique(np.concatenate([np.zeros(0, np.uint32), *(own for _, _, own in self.texts)]))


def places(names: Sequence[str], base: Path) -> list[Path]:
    """The paths that a config means; `builtin` is the file of the tasks that ship."""
    return [TASKS if name == BUILTIN else (base / Path(name).expanduser()) for name in names]


def files_of(path: Path) -> list[Path]:
    """The files of tasks in a folder, sorted, or the file itself; raises UsageError where there is none."""
    if path.is_file():
        return [path]
    found = sorted(file for file in path.rglob("*") if file.suffix in SUFFIXES and file.is_file())
    if not found:
        raise UsageError(
            f"clean.decontaminate: no {' '.join(SUFFIXES)} file at {path}",
            hint="name a file or folder of held-out tasks, or `builtin`",
        )
    return found


def _tasks(file: Path) -> Iterator[tuple[str, float, str]]:
    if file.suffix != ".jsonl":
        yield file.stem, SOLUTION_SHARE, file.read_text(encoding="utf-8")
        return
    with file.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            if line.strip():
                yield from _task(line, f"{file}:{number}")


def _task(line: str, place: str) -> Iterator[tuple[str, float, str]]:
    try:
        value: dict[str, Any] = json.loads(line)
        name = str(value.get("id", value.get("task_id", place)))
        prompts, solutions = [value.get("prompt", "")], [value.get("solution", value.get("canonical_solution", ""))]
        for message in value.get("messages", ()):
            (solutions if message["role"] == "assistant" else prompts).append(message["content"])
        if not any(prompts + solutions):
            raise ValueError("it has neither `prompt` nor `solution` nor `messages`")
        if not all(isinstance(text, str) for text in prompts + solutions):
            raise ValueError("a prompt or a solution is not text")
        yield from ((name, PROMPT_SHARE, prompt) for prompt in prompts if prompt)
        yield from ((name, SOLUTION_SHARE, solution) for solution in solutions if solution)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UsageError(f"{place}: not a held-out task: {error}", hint='write {"id", "prompt", "solution"}') from None
