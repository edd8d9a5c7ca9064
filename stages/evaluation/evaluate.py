"""Ask the release, and other models beside it, for programs: do they compile, do they work, where do they come from?"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.errors import PipelineError, UsageError
from pipeline.stage import Context, Metrics, Section, Stage
from stages.evaluation.questions import EvaluateConfig, settings_of, why_not_executed
from stages.release.modelfile import read_modelfile
from stages.tokens.encoding import load_encoding

if TYPE_CHECKING:
    from stages.evaluation.models.interface import Model


def run(context: Context) -> Metrics:
    from stages.evaluation.models import open_model
    from stages.evaluation.models.gguf import GGUF
    from stages.evaluation.score import examples, line, scored
    from stages.evaluation.verbatim import Training

    config = context.section(EvaluateConfig)
    why_not = why_not_executed(config)
    if config.execute and why_not:
        context.warn(f"programs are compiled but not run: {why_not}")
    settings = settings_of(config, context.seed, context.inputs, execute=not why_not)
    encoding, training = load_encoding(context.inputs["tokenizer"]), Training(context.inputs["tokenize"])
    files, taken = files_of(context.inputs["export"], config.files)
    store = context.inputs["export"].parents[1]
    records, lines, answers, shown = [], [], [], []
    without = ["running programs"] if config.execute and why_not else []

    def missing(name: str, error: PipelineError) -> None:
        context.warn(f"{name} is not scored: {error}" + (f" ({error.hint})" if error.hint else ""))
        without.append(name)

    ask = partial(scored, settings=settings, training=training, encoding=encoding)
    ask = partial(ask, say=context.say, progress=context.progress)
    ours = {name: partial(GGUF, path, name=name) for name, path in files.items()}
    others = {spec: partial(open_model, located(spec, context.base), artifacts=store) for spec in config.models}
    for model, record, attempts in chain(ask(ours), ask(others, missing=missing)):
        records.append(record)
        lines += [line(each, model.name, number % settings.samples) for number, each in enumerate(attempts)]
        if len(records) <= len(files) and model.name == taken:
            answers, shown = answers_of(model, config, context.seed), examples(attempts, model.name)
    for told in answers:
        context.say(f"{taken} · {told['prompt']}")
        for row in told["text"].splitlines():
            context.say(f"  {row}")
    write_lines(context.out / "answers.jsonl", [*({"model": taken, **told} for told in answers), *lines])
    # Speeds differ from run to run; the artifact's own bytes do not.
    lasting = [{name: value for name, value in record.items() if name != "tokens_per_second"} for record in records]
    write_lines(context.out / "scores.jsonl", lasting)
    return {
        "executed": not why_not,
        "why_not": why_not,
        "without": without,
        "tasks": len(settings.tasks),
        "samples": settings.samples,
        "temperature": config.temperature,
        "seed": context.seed,
        "levels": {
            str(level): count for level, count in sorted(Counter(task.level for task in settings.tasks).items())
        },
        "answered_by": taken,
        "answers": answers,
        "models": records,
        "examples": shown,
    }


def files_of(release: Path, wanted: Sequence[str]) -> tuple[dict[str, Path], str]:
    """The GGUF files of a release by name, as far as they are wanted, and the name of the one that its Modelfile takes.

    That one is always among them. Raises UsageError for a name that is not there.
    """
    proven = json.loads((release / "proof.json").read_bytes())["files"]
    instructions = read_modelfile(release / "Modelfile")
    source = next(told.value for told in instructions if told.name == "FROM").removeprefix("./")
    taken = next(name for name, found in proven.items() if found["file"] == source)
    if missing := [name for name in wanted if name not in proven]:
        raise UsageError(
            f"evaluate.files: the release has no `{missing[0]}`; it has {', '.join(proven)}",
            hint=f"pipeline export --quant {missing[0]}",
        )
    return {
        name: release / found["file"] for name, found in proven.items() if not wanted or name in wanted or name == taken
    }, taken


def located(spec: str, base: Path) -> str:
    """A model's name, as a path where it is one that lies there seen from the project's folder."""
    path = base / Path(spec).expanduser()
    return str(path) if path.exists() else spec


def fingerprint(sections: Mapping[str, Section], base: Path) -> Any:
    """Name, size and time of change of each other model that is a file or a folder; services are not asked."""
    config = sections["evaluate"]
    assert isinstance(config, EvaluateConfig)
    places = [Path(located(spec, base)) for spec in config.models]
    files = [file for place in places for file in (sorted(place.glob("*")) if place.is_dir() else [place])]
    found = [(file, file.stat()) for file in files if file.is_file()]
    return [[file.name, stat.st_size, stat.st_mtime_ns] for file, stat in found] or None


def answers_of(model: Model, config: EvaluateConfig, seed: int) -> list[dict[str, Any]]:
    """What the model says to the prompts of the config; it goes on with them where it learnt no conversations."""
    from stages.evaluation.models.interface import Chat, Text

    prompts = [Chat(({"role": "user", "content": each},)) if model.chats else Text(each) for each in config.prompts]
    said = model.write(prompts, sampling=config.sampling, max_tokens=config.max_tokens, seeds=[seed] * len(prompts))
    return [
        {"prompt": prompt, "text": answer.text, "ended": answer.ended}
        for prompt, answer in zip(config.prompts, said, strict=True)
    ]


def write_lines(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")


STAGE = Stage(
    name="evaluate",
    version=3,
    module=__name__,
    run=run,
    sections={"evaluate": EvaluateConfig},
    needs=("clean", "export", "tokenize", "tokenizer"),
    fingerprint=fingerprint,
    seeded=True,
)
