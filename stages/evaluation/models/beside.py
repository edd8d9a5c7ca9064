"""What lies beside a model file: a Modelfile that says how it is asked."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.errors import PipelineError
from stages.evaluation.models.interface import Defaults
from stages.release.modelfile import read_modelfile

MODELFILE = "Modelfile"
# What a PARAMETER can be: anything else stands for something that is not told here, such as num_predict -1.
TAKEN: dict[str, tuple[type, Callable[[float], bool]]] = {
    "temperature": (float, lambda value: 0 <= value < float("inf")),
    "top_k": (int, lambda value: value >= 0),
    "top_p": (float, lambda value: 0 < value <= 1),
    "min_p": (float, lambda value: 0 <= value <= 1),
    "repeat_penalty": (float, lambda value: 0 < value < float("inf")),
    "repeat_last_n": (int, lambda value: value >= 0),
    "num_predict": (int, lambda value: value >= 1),
}


@dataclass(frozen=True)
class Beside:
    """A Modelfile's own model file, its template, the system message that leads a chat, and its parameters."""

    gguf: Path
    template: str
    system: str
    defaults: Defaults

    @property
    def chats(self) -> bool:
        """Whether it is asked with messages, and not with texts as they are."""
        return any(word in self.template for word in (".Messages", ".System", ".Response"))

    @property
    def fills(self) -> bool:
        """Whether it is asked for what comes between two texts."""
        return ".Suffix" in self.template


def read_beside(folder: Path) -> Beside | None:
    """The Modelfile of a folder; None where there is none that can be read and takes a file of that folder."""
    try:
        told = read_modelfile(folder / MODELFILE)
    except (OSError, UnicodeDecodeError, PipelineError):
        return None
    values = {each.name: each.value for each in told}
    gguf = folder / values.get("FROM", "")
    if gguf.parent != folder or not gguf.is_file():
        return None
    defaults = defaults_of((each.name, each.value) for each in told)
    return Beside(gguf, values.get("TEMPLATE", ""), values.get("SYSTEM", ""), defaults)


def defaults_of(parameters: Iterable[tuple[str, str]]) -> Defaults:
    """The parameters of a Modelfile that say how a model is asked; those that are no such value are left out."""
    found: dict[str, Any] = {}
    for name, value in parameters:
        if name == "stop" and value:
            found["stop"] = (*found.get("stop", ()), value)
        elif name in TAKEN:
            kind, fits = TAKEN[name]
            try:
                number = kind(value)
            except ValueError:
                continue
            if fits(number):
                found[name] = number
    return Defaults(**found)
