"""A run as its manifests tell it: what each stage was asked to do, and what it said of its work."""

from __future__ import annotations

import json
import re
import shlex
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from stages.evaluation.page.values import Object, dig, line, mapping, number, rows

ROAD = (
    "gather", "extract", "clean", "augment", "tokenizer", "tokenize", "pretrain", "finetune", "convert", "export",
    "evaluate",
)  # fmt: skip


@dataclass(frozen=True)
class Run:
    manifests: Mapping[str, Object]

    def metrics(self, stage: str, *path: str) -> Any:
        """What a stage told of its work; None where it told nothing of the kind."""
        return dig(self.manifests.get(stage), "metrics", *path)

    def number(self, stage: str, *path: str) -> float | None:
        return number(self.metrics(stage, *path))

    def config(self, stage: str, *path: str) -> Any:
        return dig(self.manifests.get(stage), "material", "config", *path)

    def keeps_last(self, stage: str) -> bool:
        """Whether a training was asked to leave its last weights, whatever their validation loss."""
        return bool(self.config(stage, stage, "keep") == "last")

    @cached_property
    def stages(self) -> list[str]:
        """Those with a manifest, in the order of the road; what it does not know comes last."""
        known = {name: place for place, name in enumerate(ROAD)}
        return sorted(self.manifests, key=lambda name: (known.get(name, len(known)), name))

    def label(self, stage: str) -> str:
        """`stage/v0001-3fa9c1d2` as those that read it call it, or else the stage and the head of the key."""
        told = dig(self.manifests.get(stage), "artifact")
        for each in self.stages:
            told = told or dig(self.manifests[each], "inputs", stage, "artifact")
        return line(told or f"{stage}/{str(dig(self.manifests.get(stage), 'key') or '')[:8]}", 60)

    @cached_property
    def name(self) -> str:
        return line(dig(self.manifests.get("export"), "material", "name") or "model", 60)

    @property
    def last(self) -> Object:
        """The manifest of the last stage."""
        return mapping(self.manifests.get(self.stages[-1])) if self.stages else {}

    @cached_property
    def command(self) -> str:
        """What runs the config again: of its newest stage that names a file, the one that most values are from."""
        named = "CONFIG.yaml"
        for stage in reversed(self.stages):
            origins = mapping(mapping(self.manifests[stage]).get("origins")).values()
            files = Counter(match[1] for each in origins if (match := re.fullmatch(r"(.+\.ya?ml):\d+", str(each))))
            if files:
                named = min(files, key=lambda file: (-files[file], file))
                break
        profile = self.last.get("profile")
        return f"pipeline run --config {line(named, 60)}" + (f" --profile {line(profile, 30)}" if profile else "")

    @cached_property
    def overrides(self) -> dict[str, str]:
        """The values that were given on the command line, by key."""
        found: dict[str, str] = {}
        for stage in self.stages:
            origins = mapping(mapping(self.manifests[stage]).get("origins"))
            for key in sorted(key for key, origin in origins.items() if origin == "--set"):
                value = json.dumps(self.config(stage, *key.split(".")), ensure_ascii=False)
                found[key] = shlex.quote(line(f"{key}={value}", 200))
        return found

    def again(self, *settings: str) -> str:
        """The command that makes the run again with other settings, besides those that it was given."""
        asked = {setting.partition("=")[0] for setting in settings}
        kept = [told for key, told in self.overrides.items() if key not in asked]
        return " ".join([self.command, *(f"--set {setting}" for setting in (*kept, *settings))])

    @cached_property
    def models(self) -> list[Object]:
        """The scored models, in the order in which they were given."""
        return [mapping(each) for each in rows(self.metrics("evaluate", "models")) if mapping(each)]

    @cached_property
    def speaker(self) -> Object:
        """The scored model that people get: the one that answered the prompts, or the first."""
        name = self.metrics("evaluate", "answered_by")
        return next((each for each in self.models if each.get("name") == name), self.models[0] if self.models else {})

    def score(self, *path: str) -> float | None:
        """A score of that model."""
        return number(dig(self.speaker, *path))

    @property
    def executed(self) -> bool:
        return bool(self.metrics("evaluate", "executed"))

    @cached_property
    def files(self) -> dict[str, Object]:
        """The files of the release by quantisation, the largest first."""
        found = mapping(self.metrics("export", "files")) or mapping(self.metrics("evaluate", "scores"))
        entries = {str(name): mapping(entry) for name, entry in found.items()}
        return dict(sorted(entries.items(), key=lambda item: (-(_size(item[1]) or 0.0), item[0])))

    @cached_property
    def chosen(self) -> str:
        """The quantisation that the Modelfile takes."""
        taken = self.metrics("export", "modelfile")
        answered = str(self.metrics("evaluate", "answered_by") or "")
        return next((name for name, entry in self.files.items() if entry.get("file") == taken), answered)

    def scored(self, quant: str) -> Object:
        """The scores of a file of the release."""
        file = self.files.get(quant, {}).get("file") or quant
        names = (quant, str(file), str(file).removesuffix(".gguf"))
        of_file = (m for m in self.models if str(m.get("source", "")).replace("\\", "/").rpartition("/")[2] == file)
        return next((m for m in self.models if m.get("name") in names), next(of_file, {}))


def unused_pieces(run: Run) -> tuple[float | None, float | None]:
    """How many pieces of the tokenizer never occur in training text, and their share."""
    for stage in ("tokenize", "tokenizer"):
        if (unused := run.number(stage, "pieces", "unused")) is not None:
            return unused, run.number(stage, "pieces", "unused_share")
    return None, None


def _size(entry: Object) -> float | None:
    return number(entry.get("bytes")) or number(entry.get("bits_per_weight"))
