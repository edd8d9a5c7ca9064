"""What models are asked: the config of an evaluation, and what it stands for."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from pipeline.stage import Section, section_error
from stages.corpus.documents import read_documents
from stages.tokens.sampling import Sampling

if TYPE_CHECKING:
    from stages.evaluation.score import Settings
    from stages.evaluation.task import Task

Rate = Annotated[float, Field(ge=0, le=1)]
ENOUGH = 10  # samples of a task for pass@10


class EvaluateConfig(Section):
    """`prompts` go to the file that the Modelfile takes; the tasks go to every file of the release, and to `models`."""

    prompts: Annotated[tuple[str, ...], Field(min_length=1)] = (
        "Blink the LED on pin 15 twice a second.",
        "How do I read a potentiometer on GP26?",
        "Scan the I2C bus and print the addresses.",
    )
    tasks: tuple[str, ...] = ("*",)
    execute: bool = False
    samples: Annotated[int, Field(ge=1, le=1000)] | Literal["auto"] = "auto"
    files: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    validation_chars: Annotated[int, Field(ge=0)] = 30_000
    max_tokens: Annotated[int, Field(ge=1)] = 256
    temperature: Annotated[float, Field(ge=0, le=2)] = 0.2
    top_k: Annotated[int, Field(ge=0)] = 40
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0
    min_p: Rate = 0.0
    repeat_penalty: Annotated[float, Field(gt=0, le=2)] = 1.0

    foreign_names: ClassVar[Mapping[str, str]] = {
        "tokens": "export.proof_tokens",
        "n_samples": "samples",
        "num_predict": "max_tokens",
        "allow_code_execution": "execute",
    }

    @model_validator(mode="after")
    def _known_tasks(self) -> EvaluateConfig:
        for pattern in self.tasks:
            if pattern != "*" and not selected((pattern,)):
                raise section_error("tasks", f"no task is named `{pattern}`; `pipeline evaluate --list` names them")
        return self

    @property
    def sampling(self) -> Sampling:
        return Sampling(self.temperature, self.top_k, self.top_p, self.min_p, self.repeat_penalty)


def selected(patterns: Sequence[str]) -> list[Task]:
    """The tasks of the suite whose ids match one of the patterns."""
    from stages.evaluation.tasks import SUITE

    return [task for task in SUITE if any(fnmatchcase(task.id, pattern) for pattern in patterns)]


def validation_texts(folder: Path, chars: int) -> list[str]:
    """Whole validation documents in the order of their ids, until there are so many characters."""
    documents = sorted(read_documents(folder), key=lambda each: each.id)
    found: list[str] = []
    for text in [each.text for each in documents if each.kind != "pair"] or [each.text for each in documents]:
        if sum(map(len, found)) >= chars:
            break
        found.append(text)
    return found


def settings_of(config: EvaluateConfig, seed: int, inputs: Mapping[str, Path], *, execute: bool) -> Settings:
    """What every model is asked, with the validation text of a run, `inputs` being its artifacts by stage, if any."""
    from stages.evaluation.score import Settings

    whole = {"clean", "tokenize"} <= inputs.keys()
    return Settings(
        tasks=selected(config.tasks),
        samples=config.samples if config.samples != "auto" else ENOUGH if execute else 1,
        sampling=config.sampling,
        max_tokens=config.max_tokens,
        seed=seed,
        execute=execute,
        texts=validation_texts(inputs["clean"] / "val", config.validation_chars) if whole else (),
        window=json.loads((inputs["tokenize"] / "meta.json").read_bytes())["context_length"] if whole else 0,
    )


def why_not_executed(config: EvaluateConfig) -> str:
    """Why programs are not run; empty where they are."""
    from stages.evaluation.node import SandboxUnavailable
    from stages.evaluation.ready import check_sandbox

    if not config.execute:
        return "evaluate.execute is false"
    try:
        check_sandbox()
    except SandboxUnavailable as missing:
        return f"{missing} ({missing.hint})" if missing.hint else str(missing)
    return ""
