"""What lies beside a model file: a Modelfile that says how it is asked."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import PipelineError
from stages.release.modelfile import read_modelfile

MODELFILE = "Modelfile"


@dataclass(frozen=True)
class Beside:
    """A Modelfile's own model file, its template, and the system message that leads a chat."""

    gguf: Path
    template: str
    system: str

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
    return Beside(gguf, values.get("TEMPLATE", ""), values.get("SYSTEM", ""))
