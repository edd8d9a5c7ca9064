"""What a release is registered with in Ollama, out of its Modelfile, and how it differs from what is registered."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.store import sha256_file
from stages.release.errors import ReleaseError
from stages.release.modelfile import read_modelfile
from stages.release.publish import SUMS


@dataclass(frozen=True)
class Recipe:
    """What is registered: a GGUF with its SHA-256, and everything else that the Modelfile says."""

    gguf: Path
    digest: str
    template: str
    system: str
    licenses: tuple[str, ...]
    parameters: Mapping[str, Any]

    def request(self, name: str) -> dict[str, Any]:
        """The body of POST /api/create."""
        told = {
            "model": name,
            "files": {self.gguf.name: f"sha256:{self.digest}"},
            "template": self.template,
            "system": self.system,
            "license": list(self.licenses),
            "parameters": dict(self.parameters),
        }
        return {key: value for key, value in told.items() if value}

    def differences(self, shown: Mapping[str, Any]) -> list[str]:
        """What a registered model, as /api/show tells of it, has otherwise."""
        weights = re.search(r"^FROM .*sha256[-:]([0-9a-f]{64})\s*$", str(shown.get("modelfile")), re.MULTILINE)
        ours = {
            "weights": (self.digest, weights[1] if weights else None),
            "template": (self.template, shown.get("template")),
            "system message": (self.system, shown.get("system", "")),
            "license": ("\n".join(self.licenses), shown.get("license", "")),
            "parameters": (_sorted(self.parameters), _shown_parameters(str(shown.get("parameters", "")))),
        }
        return [name for name, (wanted, found) in ours.items() if wanted != found]


def _sorted(parameters: Mapping[str, Any]) -> list[tuple[str, Any]]:
    pairs = [(name, each) for name, value in parameters.items() for each in (value if name == "stop" else [value])]
    return sorted(pairs, key=str)


def _shown_parameters(text: str) -> list[tuple[str, Any]] | None:
    """The parameters that /api/show tells, one a line; None where they cannot be read."""
    try:
        pairs = [line.split(None, 1) for line in text.splitlines()]
        return sorted(((name, json.loads(value)) for name, value in pairs), key=str)
    except ValueError:
        return None


def read_recipe(folder: Path) -> Recipe:
    """The recipe of a release. Raises ReleaseError for one that is damaged."""
    told = read_modelfile(folder / "Modelfile")
    one = {instruction.name: instruction.value for instruction in told}
    gguf = folder / one.get("FROM", "")
    if not gguf.is_file():
        raise ReleaseError(f"{folder / 'Modelfile'}: `{one.get('FROM', '')}` is no file beside it", "pipeline export")
    digest = sha256_file(gguf)
    sums = folder / SUMS
    if sums.is_file() and f"{digest}  {gguf.name}" not in sums.read_text(encoding="utf-8").splitlines():
        raise ReleaseError(f"{gguf} does not match {SUMS}: it is damaged, or half made", hint="pipeline export")
    words = ("FROM", "TEMPLATE", "SYSTEM", "LICENSE")
    settings = [instruction for instruction in told if instruction.name not in words]
    parameters: dict[str, Any] = {each.name: _typed(folder, each.name, each.value) for each in settings}
    if "stop" in parameters:
        parameters["stop"] = [each.value for each in settings if each.name == "stop"]
    licenses = tuple(instruction.value for instruction in told if instruction.name == "LICENSE")
    return Recipe(gguf, digest, one.get("TEMPLATE", ""), one.get("SYSTEM", ""), licenses, parameters)


def _typed(folder: Path, name: str, value: str) -> Any:
    """A parameter as the API wants it: every one is a number or yes or no, but for `stop`."""
    if name == "stop" or value in ("true", "false"):
        return value if name == "stop" else value == "true"
    try:
        number = float(value)
        if not math.isfinite(number):
            raise ValueError
        return int(value) if number.is_integer() and "." not in value and "e" not in value.lower() else number
    except ValueError:
        raise ReleaseError(f"{folder / 'Modelfile'}: PARAMETER {name} {value}: not a number") from None
