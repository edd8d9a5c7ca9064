"""Models side by side: any of them scored on the suite, in one table with the release and its earlier versions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from json import dumps
from pathlib import Path
from typing import Any

from pipeline import console
from pipeline.config import Config
from pipeline.errors import PipelineError, UsageError
from pipeline.history import newest_trained
from pipeline.store import Store, write_atomic
from stages.evaluation.questions import EvaluateConfig, settings_of, why_not_executed

Record = Mapping[str, Any]
COLUMNS = ("model", "size", "bits/byte", "compile", "unknown API", "ends", "pass@1", "pass@10", "tokens/s")
EARLIER = 3  # versions of the release in the table


def compare(specs: Sequence[str], config: Config, store: Store, *, save: Path | None = None) -> list[Record]:
    """Score models that `open_model` knows, as `config` has it; `save` gets every answer as a line of JSON.

    Where the store has a run with weights, its validation text and its training text are there to compare with;
    without one there is the suite.
    """
    from stages.evaluation.models import open_model
    from stages.evaluation.score import line, scored
    from stages.evaluation.verbatim import Training
    from stages.tokens.encoding import load_encoding

    section = config.sections["evaluate"]
    assert isinstance(section, EvaluateConfig)
    why_not = why_not_executed(section)
    if section.execute and why_not:
        console.warn(f"programs are compiled but not run: {why_not}")
    inputs = trained(store)
    known = {"tokenize", "tokenizer"} <= inputs.keys()
    settings = settings_of(section, config.seed, inputs, execute=not why_not)
    records: list[Record] = []
    lines: list[Record] = []

    def missing(name: str, error: PipelineError) -> None:
        failed.append((name, error))
        console.fail(f"{name}: {error}", error.hint)

    failed: list[tuple[str, PipelineError]] = []
    for model, record, attempts in scored(
        {spec: partial(open_model, spec, artifacts=store.root) for spec in specs},
        settings,
        training=Training(inputs["tokenize"]) if known else None,
        encoding=load_encoding(inputs["tokenizer"]) if known else None,
        say=console.say,
        progress=partial(console.progress, "evaluate"),
        missing=missing if len(specs) > 1 else None,
    ):
        records.append(record)
        lines += [line(each, model.name, number % settings.samples) for number, each in enumerate(attempts)]
        if save:
            write_atomic(save, "".join(dumps(each, ensure_ascii=False) + "\n" for each in lines).encode())
    if failed and not records:
        raise failed[0][1]
    return records


def suite(patterns: Sequence[str], *, references: bool, answers: Path | None, json: bool) -> int:
    """List the tasks; or judge the suite's own solutions, or a file of answers. Returns the exit status.

    It is 1 where a reference solution fails or a wrong one passes. Raises UsageError, SandboxUnavailable.
    """
    from stages.evaluation.judging import judge_file
    from stages.evaluation.questions import selected
    from stages.evaluation.task import LEVELS
    from stages.evaluation.try_tasks import try_all

    if answers:
        results = judge_file(answers, say=(lambda line: None) if json else print)
        if json:
            print(dumps([asdict(result) for result in results], indent=1, ensure_ascii=False))
        return 0
    tasks = selected(patterns)
    if not tasks:
        raise UsageError(f"no task is named {' or '.join(patterns)}", hint="pipeline evaluate --list")
    if references:
        return 1 if try_all(tasks) else 0
    if json:
        told = [
            {"task": t.id, "level": t.level, "prompt": t.prompt, "prefix": t.prefix, "given": t.given} for t in tasks
        ]
        print(dumps(told, indent=1, ensure_ascii=False))
    else:
        for task in tasks:
            print(f"{task.level} {LEVELS[task.level]:<28} {task.id:<30} {task.prompt.splitlines()[0][:90]}")
    return 0


def trained(store: Store) -> dict[str, Path]:
    """The artifacts of the newest run with weights, by stage; none where there is no such run."""
    try:
        return {name: artifact.path for name, artifact in newest_trained(store).items()}
    except UsageError:
        return {}


def evaluated(store: Store, like: Record | None = None) -> list[Record]:
    """The scores of the newest evaluation of a release, then those of the file that answered in earlier versions.

    Only evaluations that asked the same are told: with `like`, a score of another model, as many answers as it, run or
    not as its; else what the newest one asked.
    """
    found: list[Record] = []
    asked = (like["asked"], like.get("pass") is not None) if like else None
    left, others = EARLIER + 1, 0
    for version in reversed(store.versions("evaluate")):
        metrics = version.manifest["metrics"]
        if "models" not in metrics:  # made before the suite
            continue
        key = (metrics["tasks"] * metrics["samples"], metrics["executed"])
        asked = asked or key
        if key != asked or not left:
            others += key != asked
            continue
        label = version.name.partition("-")[0]
        if left > EARLIER:
            found += metrics["models"]
        else:
            found += [
                {**each, "name": f"{label} {each['name']}"}
                for each in metrics["models"]
                if each["name"] == metrics["answered_by"]
            ]
        left -= 1
    if others:
        told = "one evaluation" if others == 1 else f"{others} evaluations"
        console.say(f"{told} of the release asked other tasks, or otherwise, and cannot stand beside these")
    return found


def show(records: Sequence[Record], *, json: bool) -> None:
    """Print scores as a table, or as JSON on stdout."""
    if json:
        print(dumps(records, indent=1, ensure_ascii=False))
    else:
        console.table(COLUMNS, rows(records))


def rows(records: Iterable[Record]) -> list[list[str]]:
    """Scores under COLUMNS; `-` stands where there is no figure."""

    def share(found: Mapping[str, float] | None) -> str:
        return f"{found['value']:.1%} ({found['low']:.0%}-{found['high']:.0%})" if found else "-"

    table = []
    for each in records:
        passes = each.get("pass") or {}
        speed = each.get("tokens_per_second")
        table.append(
            [
                each["name"],
                console.size(each["bytes"]) if each["bytes"] else "-",
                f"{each['validation']['bits_per_byte']:.3f}" if each["validation"] else "-",
                share(each.get("compile_rate")),
                f"{each['unknown_api']['value']:.1%}" if "unknown_api" in each else "-",
                f"{each['ended']['value']:.1%}" if "ended" in each else "-",
                share(passes.get("1")),
                share(passes.get("10")),
                f"{speed:,.0f}" if speed else "-",
            ]
        )
    return table
