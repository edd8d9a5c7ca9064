"""What was done: runs, the artifacts they used, and how two of them differ."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline.errors import UsageError
from pipeline.provenance import code_digests
from pipeline.stage import Road
from pipeline.store import Artifact, Store, canonical


def newest_run(store: Store, command: str | None = None) -> dict[str, Any]:
    """The record of the newest run (of a command); raises UsageError where there is none."""
    found = [record for record in store.runs() if command in (None, record["command"])]
    if found:
        return found[-1]
    raise UsageError(f"no run in {store.root.resolve()} yet", hint="pipeline run --config micropython.yaml")


def numbered(store: Store, number: str) -> dict[str, Any]:
    """The record of the run with that number; raises UsageError where there is none."""
    for record in store.runs():
        if str(record["run"]) == number.lstrip("0"):
            return record
    raise UsageError(f"no run {number}", hint="pipeline log")


def newest_trained(store: Store, config: Path | None = None) -> dict[str, Artifact]:
    """The artifacts of the newest run (of a config) that got as far as weights; raises UsageError without one."""
    wanted = config and str(config.resolve())
    for record in reversed(store.runs()):
        if "pretrain" in record["stages"] and wanted in (None, record["config"]):
            return run_artifacts(store, record)
    if config:
        raise UsageError(f"no run of {config} has trained weights yet", hint=f"pipeline run --config {config}")
    config = newest_run(store)["config"]
    raise UsageError("no run has trained weights yet", hint=f"pipeline run --config {config}")


def run_artifacts(store: Store, record: Mapping[str, Any]) -> dict[str, Artifact]:
    """The artifacts of a run by stage; those that are gone by now are left out."""
    found = {}
    for stage, entry in record["stages"].items():
        for artifact in store.versions(stage):
            if artifact.name == entry["artifact"]:
                found[stage] = artifact
    return found


def not_needed(store: Store) -> list[str]:
    """The stages that the newest run left out, because nothing in it needed them, and that have no artifact."""
    records = store.runs()
    return [name for name in (records[-1].get("left_out", ()) if records else ()) if store.newest(name) is None]


def status(road: Road, store: Store) -> list[dict[str, Any]]:
    """For each stage its newest artifact, what it cost, and what there is to know about it.

    Stages without one that the newest run left out are no part of the answer.
    """
    rows = []
    left_out = not_needed(store)
    interrupted = {path.parent.name for path in store.partials()}
    for stage in road:
        newest = store.newest(stage.name)
        if newest is None and stage.name in left_out:
            continue
        notes = ["an interrupted try is there"] if stage.name in interrupted else []
        row: dict[str, Any] = {"stage": stage.name, "artifact": None, "notes": notes}
        if newest is not None:
            manifest = newest.manifest
            row |= {
                "artifact": newest.name,
                "made": manifest["started"],
                "seconds": manifest["seconds"],
                "bytes": newest.size,
            }
            code = code_digests(stage)
            recorded = manifest.get("code", {})
            changed = sorted(name for name in code.keys() | recorded.keys() if code.get(name) != recorded.get(name))
            if changed:
                notes.append(f"code changed since: {', '.join(changed)}")
        rows.append(row)
    return rows


def resolve(store: Store, name: str) -> dict[str, Artifact]:
    """What a name stands for: a run's number gives all its artifacts, `stage/v0007` one."""
    if name.isdigit():
        return run_artifacts(store, numbered(store, name))
    artifact = store.by_label(name)
    return {artifact.stage: artifact}


def difference(before: Mapping[str, Artifact], after: Mapping[str, Artifact]) -> list[dict[str, Any]]:
    """Each value of config, inputs, metrics and packages that differs, by stage; of metrics those that are a figure."""
    rows = []
    for stage in dict.fromkeys([*before, *after]):
        old: Mapping[str, Any] = before[stage].manifest if stage in before else {}
        new: Mapping[str, Any] = after[stage].manifest if stage in after else {}
        if not old or not new:
            there = {"before": before.get(stage), "after": after.get(stage)}
            rows.append({"stage": stage, "value": "artifact", **{k: v and v.name for k, v in there.items()}})
            continue
        if old["key"] == new["key"] and old["digest"] == new["digest"]:
            continue
        for part in ("material", "metrics", "packages", "git"):
            was, now = flatten(old.get(part), part), flatten(new.get(part), part)
            rows += [
                {"stage": stage, "value": name, "before": was.get(name), "after": now.get(name)}
                for name in sorted(was.keys() | now.keys())
                if was.get(name) != now.get(name)
                and not (part == "metrics" and isinstance(was.get(name, now.get(name)), list))  # curves, texts
            ]
    return rows


def changes(then: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """In what two materials of a stage differ, in words; empty where in nothing."""
    old, new = _flat(then), _flat(now)
    found = []
    for name in sorted(old.keys() | new.keys(), key=lambda name: (name != "version", name)):
        before, after = old.get(name), new.get(name)
        if before == after or name == "inputs":  # as one value: there are none, or there were none
            continue
        kind, _, rest = name.partition(".")
        if kind == "config":
            found.append(f"{rest} {_short(before)} → {_short(after)}")
        elif kind == "inputs":
            found.append(f"without {rest}" if after is None else f"{rest} {'changed' if before else 'is new'}")
        elif kind == "sources":
            found.append("source files changed")
        else:
            found.append(f"{name} {_short(before)} → {_short(after)}")
    unique = list(dict.fromkeys(found))
    more = f", and {len(unique) - 4} more" if len(unique) > 4 else ""
    return ", ".join(unique[:4]) + more


def _flat(value: Any, prefix: str = "") -> dict[str, Any]:
    if isinstance(value, dict) and value:
        return {k: v for key, part in value.items() for k, v in _flat(part, f"{prefix}.{key}".lstrip(".")).items()}
    return {prefix: value}


def _short(value: Any) -> str:
    text = canonical(value).decode() if value is not None else "none"
    return text if len(text) <= 40 else f"{text[:37]}..."


def flatten(value: Any, prefix: str) -> dict[str, Any]:
    """`{"a": {"b": 1}}` as `{"prefix.a.b": 1}`."""
    if isinstance(value, dict):
        parts = ((f"{prefix}.{key}" if prefix else str(key), part) for key, part in value.items())
        return {name: leaf for path, part in parts for name, leaf in flatten(part, path).items()}
    return {prefix: value}


def unneeded(store: Store, *, keep: int, partials: bool) -> list[Path]:
    """Folders that neither the newest `keep` runs nor a stage's newest version need, and leftovers of deletions."""
    needed = {artifact.path for stage in store.stages() if (artifact := store.newest(stage))}
    for record in store.runs()[-keep:]:
        needed |= {artifact.path for artifact in run_artifacts(store, record).values()}
    old = [a.path for stage in store.stages() for a in store.versions(stage) if a.path not in needed]
    leftovers = [*store.unreadable(), *store.root.glob("*/.removed-*")]
    return [*old, *(store.partials() if partials else ()), *leftovers]


def pair(store: Store, before: str, after: str) -> tuple[str, str]:
    """The two names to compare: those given, the one given and the newest of its kind, or the last two runs.

    Raises UsageError where there are not two.
    """
    if before and after:
        return before, after
    if before and not before.isdigit():
        return before, before.partition("/")[0]
    numbers = [str(record["run"]) for record in store.runs()]
    if before and numbers:
        return before, numbers[-1]
    if len(numbers) < 2:
        raise UsageError("there are not two runs to compare", hint="pipeline log")
    return numbers[-2], numbers[-1]
