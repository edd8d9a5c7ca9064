"""One offline page on a run, written from its manifests alone: what was made, how it went, what it is worth."""

from __future__ import annotations

import json
import re
import webbrowser
from collections import deque
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pipeline.errors import UsageError
from pipeline.history import newest_run, numbered, run_artifacts
from pipeline.stage import Context, Metrics, Section, Stage
from pipeline.store import MANIFEST, Store, write_atomic
from stages.evaluation.page import render
from stages.evaluation.page.run import Run
from stages.evaluation.page.values import column, mapping, number, points
from stages.evaluation.page.verdict import headline, told

PAGE, POINTS = "report.html", "metrics.jsonl"
REPORTS = "reports"
CURVES = ("tokens", "loss", "learning_rate", "grad_norm")
_LABEL = re.compile(r"[\w-]+/v\d{4,}-[0-9a-f]{8}")
Manifest = Mapping[str, Any]


class ReportConfig(Section):
    """`notes` is shown at the head of the page."""

    notes: str = ""


def run(context: Context) -> Metrics:
    manifests = manifests_of(context.inputs["evaluate"])
    page = write_report(manifests, context.out, notes=context.section(ReportConfig).notes)
    found = render.verdict(manifests)
    context.say(headline(Run(manifests), found))
    return {"page": page.name, "bytes": page.stat().st_size, "verdict": told(found)}


def manifests_of(artifact: Path) -> dict[str, Manifest]:
    """The manifests of an artifact and of all that it was made from, by stage, each with its label as `artifact`.

    Artifacts that are gone are left out; of two of one stage that which is nearer is taken. Raises UsageError where
    the first has no manifest that can be read.
    """
    found: dict[str, Manifest] = {}
    waiting = deque([artifact.resolve()])
    while waiting:
        folder = waiting.popleft()
        stage = folder.parent.name
        if stage in found:
            continue
        try:
            manifest = json.loads((folder / MANIFEST).read_bytes())
        except (OSError, ValueError, RecursionError):
            manifest = None
        if not isinstance(manifest, dict):
            continue
        found[stage] = {**manifest, "artifact": f"{stage}/{folder.name}"}
        made = [mapping(entry).get("artifact") for _, entry in sorted(mapping(manifest.get("inputs")).items())]
        labels = [label for label in made if isinstance(label, str) and _LABEL.fullmatch(label)]
        waiting += [folder.parent.parent / label for label in labels]
    if not found:
        raise UsageError(f"{artifact} has no manifest that can be read", hint="pipeline status  shows what there is")
    return found


def write_report(
    manifests: Mapping[str, Manifest], folder: Path, *, against: Mapping[str, Manifest] | None = None, notes: str = ""
) -> Path:
    """Write the page and, beside it, its curves and scores as JSON Lines; returns the page's path.

    The same manifests give the same bytes. `against` are the manifests of a run to compare with. Raises UsageError for
    no manifest at all, or where the folder cannot be written to.
    """
    if not manifests:
        raise UsageError("there is nothing to report on", hint="pipeline run --config micropython.yaml")
    text = render.page(manifests, against=against, notes=notes)
    lines = "".join(f"{json.dumps(line, ensure_ascii=False, allow_nan=False)}\n" for line in metric_lines(manifests))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_atomic(folder / POINTS, lines.encode("utf-8", "replace"))
        write_atomic(folder / PAGE, text.encode("utf-8", "replace"))
    except OSError as error:
        raise UsageError(
            f"the report cannot be written to {folder}: {error.strerror}", hint="name another folder"
        ) from error
    return folder / PAGE


def report(store: Store, run: str = "", *, against: str = "", out: Path | None = None, open_: bool = False) -> Path:
    """Write the page of a run, by its number, or else of the newest, and return its path; `open_` shows it.

    A run that was interrupted or failed has a page of what it made. Raises UsageError where it made nothing.
    """
    record, manifests = _made(store, run)
    other, earlier = _made(store, against) if against else (None, None)
    named = f"{record['name']}-{record['run']}" + (f"-against-{other['run']}" if other else "")
    kept = next((made for made in store.versions("report") if made.name == _entry(record, "report")), None)
    notes = str(kept.manifest["material"]["config"]["report"]["notes"]) if kept else ""
    page = write_report(manifests, out or Path(REPORTS) / named, against=earlier, notes=notes)
    if open_:
        webbrowser.open(page.resolve().as_uri())
    return page


def _made(store: Store, run: str) -> tuple[dict[str, Any], dict[str, Manifest]]:
    """The record of a run, or of the newest that was for more than an export, and the manifests of what it made."""
    records = [numbered(store, run)] if run else [*reversed(store.runs())]
    records.sort(key=lambda record: record["command"] == "export")
    for record in records:
        made = [artifact for stage, artifact in run_artifacts(store, record).items() if stage != STAGE.name]
        if made:
            return record, manifests_of(made[-1].path)
    if not records:
        newest_run(store)
    raise UsageError(f"nothing is left of run {records[0]['run']}", hint="pipeline log  lists the runs")


def _entry(record: Mapping[str, Any], stage: str) -> str | None:
    """The artifact of a stage in a run's record."""
    found = mapping(record["stages"].get(stage)).get("artifact")
    return found if isinstance(found, str) else None


def metric_lines(manifests: Mapping[str, Manifest]) -> Iterator[dict[str, Any]]:
    """A line for each step of which anything is known, by stage, and then one for each scored model."""
    shown = Run(manifests)
    for stage in ("pretrain", "finetune"):
        told: dict[float, dict[str, float]] = {}
        curve = shown.metrics(stage, "curve")
        named = [(name, points(mapping(curve).get("step"), mapping(curve).get(name))) for name in CURVES]
        named.append(("validation_loss", column(shown.metrics(stage, "validation"), 1)))
        pace = shown.metrics(stage, "pace")
        named += [("tokens_per_second", column(pace, 1)), ("memory", column(pace, 2))]
        for name, found in named:
            for step, value in found:
                told.setdefault(step, {})[name] = _whole(value)
        for step in sorted(told):
            yield {"stage": stage, "step": _whole(step), **told[step]}
    for model in shown.models:
        yield {"stage": "evaluate", "model": str(model.get("name", "")), **dict(_scores(model))}


def _scores(model: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, float]]:
    """The numbers of a model's scores, by their paths: `pass.1.value`."""
    for key in sorted(model, key=str):
        value = model[key]
        amount = number(value)
        if amount is not None:
            yield f"{prefix}{key}", _whole(amount)
        elif isinstance(value, dict) and prefix.count(".") < 4:
            yield from _scores(value, f"{prefix}{key}.")


def _whole(value: float) -> float:
    """A whole number as an int, so that a step is 12 and not 12.0."""
    return int(value) if value.is_integer() and abs(value) < 2**53 else value


STAGE = Stage(
    name="report",
    version=1,
    module=__name__,
    run=run,
    sections={"report": ReportConfig},
    needs=("evaluate",),
    command="pipeline report --open",
)
