"""The sections on how it came about: artifacts and their inputs, the configuration with its origins, the machine."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import islice

from stages.evaluation.page.blocks import Block, Figure, Grid, Section, Table
from stages.evaluation.page.charts import arcs
from stages.evaluation.page.run import Run
from stages.evaluation.page.values import ALL_VALUES, Room, dig, line, mapping, number, time, weight

MOST_VALUES = 500
MOST_PACKAGES = 200


def section(run: Run) -> Iterator[Section]:
    yield Section("lineage", "Lineage", list(_lineage(run)), "Each artifact was made from those that it is joined to.")
    if rows := list(islice(_configuration(run, Room(ALL_VALUES)), MOST_VALUES)):
        table = Table(("key", "value", "from"), rows, code=True)
        lead = "Every value that a stage read, and where it was stated."
        yield Section("configuration", "Configuration", [table], lead)
    yield Section("machine", "Machine and code", list(_machine(run)))


def _lineage(run: Run) -> Iterator[Block]:
    place = {stage: at for at, stage in enumerate(run.stages)}
    edges = [
        (place[needed], place[stage])
        for stage in run.stages
        for needed in sorted(mapping(run.manifests[stage].get("inputs")))
        if needed in place and place[needed] < place[stage]
    ]
    drawn, cells = [], []
    for stage in run.stages[:40]:
        manifest = run.manifests[stage]
        label = run.label(stage)
        seconds = time(number(manifest.get("seconds")))
        bytes_ = sum(number(dig(entry, "size")) or 0.0 for entry in mapping(manifest.get("files")).values())
        drawn.append((stage, label.partition("/")[2], seconds))
        inputs = ", ".join(
            line(name, 20) for name in sorted(mapping(manifest.get("inputs")), key=lambda n: place.get(n, 99))
        )
        key = str(manifest.get("key") or "")[:12]
        started = line(manifest.get("started") or "", 30).replace("T", " ").removesuffix("+0000").removesuffix("Z")
        cells.append((label, line(key), started, inputs, seconds, weight(bytes_)))
    edges = [edge for edge in edges if max(edge) < len(drawn)]
    yield Grid(
        [
            Figure(
                "From sources to what is known of the release",
                arcs("Lineage", drawn, edges),
                "Right: how long each took.",
            )
        ]
    )
    yield Table(("artifact", "key", "begun (UTC)", "made from", "took", "size"), cells, 2)


def _configuration(run: Run, room: Room) -> Iterator[tuple[str, str, str]]:
    """Each `section.key` with its value as JSON and its origin, in the order of the road."""
    for stage in run.stages:
        manifest = run.manifests[stage]
        origins = mapping(manifest.get("origins"))
        for name, keys in sorted(mapping(dig(manifest, "material", "config")).items()):
            for key, value in sorted(mapping(keys).items()):
                origin = origins.get(f"{name}.{key}")
                yield line(f"{name}.{key}", 80), room.line(written(value), 700), line(origin or "", 80)


def written(value: object) -> str:
    """A value of the config as JSON on one line."""
    return json.dumps(value, ensure_ascii=False, sort_keys=True)


def _machine(run: Run) -> Iterator[Block]:
    last = run.last
    device = {line(name, 40): line(value, 80) for name, value in mapping(last.get("device")).items()}
    facts = [(name, device[name]) for name in sorted(device)]
    facts += [("profile", line(last["profile"], 40))] if last.get("profile") else []
    facts += [("seed", line(last["seed"], 40))] if last.get("seed") is not None else []
    versions = sorted({line(m.get("git") or "", 60) for m in run.manifests.values() if m.get("git")})
    facts += [("version of the code (git)", ", ".join(versions[:4]))] if versions else []
    devices = sorted({line(run.metrics(s, "device"), 40) for s in ("pretrain", "finetune") if run.metrics(s, "device")})
    facts += [("trained on", ", ".join(devices))] if devices else []
    if facts:
        yield Table(("", ""), facts)
    others = [stage for stage in run.stages if run.manifests[stage].get("device") != last.get("device")]
    if others:
        cells = [
            (
                line(stage),
                ", ".join(
                    f"{line(k, 20)} {line(v, 60)}"
                    for k, v in sorted(mapping(run.manifests[stage].get("device")).items())
                ),
            )
            for stage in others[:20]
        ]
        yield Table(("stage made elsewhere", "machine"), cells, folded="Stages that were made on other machines")
    packages = mapping(last.get("packages"))
    if packages:
        told = [(line(name, 60), line(packages[name], 40)) for name in sorted(packages)[:MOST_PACKAGES]]
        yield Table(("package", "version"), told, code=True, folded="Versions of the packages")
