"""How each command shows its answer: tables for people on stderr, JSON on stdout when asked."""

from __future__ import annotations

import json as jsonlib
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline import console, history
from pipeline.config import Config
from pipeline.errors import IntegrityError
from pipeline.runner import Step, say_left_out
from pipeline.store import Store


def _print_json(value: Any) -> None:
    sys.stdout.write(jsonlib.dumps(value, indent=1) + "\n")


def plan(steps: Sequence[Step], loaded: Config, *, left_out: Sequence[str] = (), json: bool) -> None:
    """What a run would do, and what training takes."""
    rows: list[dict[str, Any]] = [
        {
            "stage": step.stage.name,
            "action": step.action,
            "reason": step.reason,
            "artifact": step.artifact.name if step.artifact else None,
            "seconds": step.seconds if step.action != "reuse" else 0.0,
            "bytes": step.size,
            "note": step.note,
        }
        for step in steps
    ]
    estimates = {
        step.stage.name: step.stage.estimate(loaded.sections)
        for step in steps
        if step.stage.estimate and step.action != "reuse"
    }
    if json:
        _print_json({"profile": loaded.profile, "stages": rows, "left_out": list(left_out), "estimates": estimates})
        return
    console.table(
        ("stage", "action", "last took", "disk", "why"),
        (
            (
                row["stage"],
                row["action"],
                console.duration(row["seconds"]) if row["seconds"] else "-",
                console.size(row["bytes"]) if row["bytes"] else "-",
                " ".join(filter(None, (row["artifact"], row["reason"]))),
            )
            for row in rows
        ),
    )
    say_left_out(left_out)
    for row in rows:
        if row["note"]:
            console.warn(str(row["note"]))
    for name, lines in estimates.items():
        for line in lines:
            console.say(f"{name}: {line}")


def status(rows: Sequence[Mapping[str, Any]], store: Store, *, json: bool) -> None:
    """The newest artifact of every stage."""
    if json:
        _print_json({"stages": rows, "left_out": history.not_needed(store), "locked_by": store.holder()})
        return
    console.table(
        ("stage", "artifact", "made", "took", "disk", "notes"),
        (
            (
                row["stage"],
                row["artifact"] or "-",
                str(row.get("made", "-"))[:19].replace("T", " "),
                console.duration(row["seconds"]) if row["artifact"] else "-",
                console.size(row["bytes"]) if row["artifact"] else "-",
                "; ".join(row["notes"]),
            )
            for row in rows
        ),
    )
    say_left_out(history.not_needed(store))
    if store.holder():
        console.say(f"in use by {store.holder()}")


def log(records: Sequence[Mapping[str, Any]], *, json: bool) -> None:
    """The runs, oldest first."""
    if json:
        _print_json(records)
        return
    console.table(
        ("run", "started", "took", "command", "config", "profile", "outcome", "ran"),
        (
            (
                str(record["run"]),
                record["started"][:19].replace("T", " "),
                console.duration(record["seconds"]) if "seconds" in record else "-",
                record["command"],
                " ".join([Path(record["config"]).name, *record["overrides"]]),
                record["profile"] or "-",
                record["outcome"],
                " ".join(name for name, entry in record["stages"].items() if entry["action"] != "reuse") or "nothing",
            )
            for record in records
        ),
    )


def diff(rows: Sequence[Mapping[str, Any]], names: Sequence[str], *, json: bool) -> None:
    """Each differing value with both sides."""
    if json:
        _print_json(rows)
        return
    if not rows:
        console.say(f"no difference between {names[0]} and {names[1]}")
        return
    cells = ((row["stage"], row["value"], _cell(row["before"]), _cell(row["after"])) for row in rows)
    console.table(("stage", "value", names[0], names[1]), cells)


def _cell(value: Any) -> str:
    text = "-" if value is None else value if isinstance(value, str) else jsonlib.dumps(value)
    return text if len(text) <= 40 else f"{text[:37]}..."


def verify(store: Store) -> None:
    """All problems, or that there are none; raises IntegrityError where there are."""
    artifacts = [artifact for stage in store.stages() for artifact in store.versions(stage)]
    problems = store.verify()
    if problems:
        raise IntegrityError("\n".join(problems), hint="pipeline run  makes damaged artifacts again")
    console.say(f"{len(artifacts)} artifacts, {console.size(sum(a.size for a in artifacts))}: all checksums match")


def collect_garbage(store: Store, *, keep: int, partials: bool, dry_run: bool) -> None:
    """Delete what is not needed, or only name it."""
    with store.lock():
        freed = 0
        for path in history.unneeded(store, keep=keep, partials=partials):
            bytes_ = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
            freed += bytes_
            console.say(
                f"{'would delete' if dry_run else 'deleting'} {path.parent.name}/{path.name}  {console.size(bytes_)}"
            )
            if not dry_run:
                store.remove(path)
        console.say(f"{console.size(freed)} {'could be freed' if dry_run else 'freed'}")


def config(loaded: Config, *, json: bool) -> None:
    """Every value with its origin."""
    values = loaded.values()
    if json:
        _print_json({"profile": loaded.profile, "config": values, "origins": dict(loaded.origins)})
        return
    rows = [("until", jsonlib.dumps(loaded.until), loaded.origins["until"])] if loaded.until else []
    rows += [
        (f"{name}.{key}", jsonlib.dumps(value, ensure_ascii=False), loaded.origins[f"{name}.{key}"])
        for name, section in values.items()
        if isinstance(section, dict)
        for key, value in section.items()
    ]
    console.table(("key", "value", "from"), rows)
    console.say(f"{loaded.path} is valid")


def doctor(findings: Sequence[Mapping[str, str]], *, json: bool) -> None:
    """The findings; raises SystemExit(1) where something needed is missing."""
    if json:
        _print_json(findings)
    else:
        rows = ((f["state"], f["what"], f["found"], f["advice"]) for f in findings)
        console.table(("state", "what", "found", "advice"), rows)
    if any(finding["state"] == "fail" for finding in findings):
        raise SystemExit(1)
