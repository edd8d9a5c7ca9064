"""Ollama's Modelfile: written for a release, and read again (github.com/ollama/ollama, docs/modelfile.mdx)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from stages.release.errors import ReleaseError
from stages.tokens.chat import CHAT_END, CHAT_START, OLLAMA_TEMPLATE
from stages.tokens.encoding import EOS
from stages.tokens.fim import OLLAMA_FIM_TEMPLATE

INSTRUCTIONS = ("FROM", "TEMPLATE", "PARAMETER", "SYSTEM", "LICENSE")


@dataclass(frozen=True)
class Modelfile:
    """What a Modelfile says; `gguf` is a file name beside it, `eos` the token that ends a text.

    `repeat_penalty` is always told: where it is not, Ollama takes 1.1, which no evaluation here has seen.
    `answers` says that it was taught conversations: any other model gets texts to go on with, as they are. `fim` says
    that it learnt to fill gaps: by `.Suffix` in the template Ollama knows that it can insert.
    """

    gguf: str
    context_length: int
    num_predict: int
    temperature: float
    system: str
    license: str
    eos: str = EOS
    answers: bool = True
    fim: bool = False
    repeat_penalty: float = 1.0

    @property
    def template(self) -> str:
        """What Ollama makes a prompt with. llama.cpp adds BOS by itself, so there is none here.

        With a suffix Ollama gives neither messages nor the system message to the template.
        """
        asked = OLLAMA_TEMPLATE if self.answers else "{{ .Prompt }}"
        return "{{ if .Suffix }}" + OLLAMA_FIM_TEMPLATE + "{{ else }}" + asked + "{{ end }}" if self.fim else asked

    def render(self) -> str:
        parameters = {
            "num_ctx": str(self.context_length),
            "num_predict": str(min(self.num_predict, self.context_length)),
            "temperature": f"{self.temperature:g}",
            "repeat_penalty": f"{self.repeat_penalty:g}",
        }
        markers = (CHAT_END, CHAT_START) if self.answers else ()
        stops = "".join(f'PARAMETER stop "{stop}"\n' for stop in (*markers, self.eos))
        return (
            f"FROM ./{self.gguf}\n\n"
            f'TEMPLATE """{self.template}"""\n\n'
            + "".join(f"PARAMETER {name} {value}\n" for name, value in parameters.items())
            + stops
            + (f'\nSYSTEM """{_quotable(self.system)}"""\n' if self.system and self.answers else "")
            + f'\nLICENSE """{_quotable(self.license)}"""\n'
        )


def _quotable(text: str) -> str:
    """A text that can stand between triple quotes."""
    return text.replace('"""', "'''")


@dataclass(frozen=True)
class Instruction:
    """A line of a Modelfile, with its value as Ollama reads it: out of its quotes, maybe of several lines."""

    name: str
    value: str


def read_modelfile(path: Path) -> list[Instruction]:
    """The instructions of a Modelfile. A PARAMETER is named after what it sets, in lower case.

    Raises ReleaseError for an instruction that a release has no use for, and for a quote that is never closed.
    """
    found, lines = [], enumerate(path.read_text(encoding="utf-8").split("\n"), 1)
    for number, line in lines:
        name, _, value = line.lstrip().partition(" ")
        name = name.strip().upper()
        if not name or name.startswith("#"):
            continue
        if name not in INSTRUCTIONS:
            raise ReleaseError(
                f"{path}:{number}: {name} is not known here; known are {', '.join(INSTRUCTIONS)}",
                hint=f"ollama create NAME -f {path}  reads every Modelfile",
            )
        if name == "PARAMETER":
            name, _, value = value.lstrip().partition(" ")
            name = name.lower()
        while (whole := _unquoted(value.strip())) is None:
            following = next(lines, None)
            if following is None:
                raise ReleaseError(f"{path}:{number}: the quotes of {name} are never closed")
            value += "\n" + following[1]
        found.append(Instruction(name, whole))
    return found


def _unquoted(value: str) -> str | None:
    """A value out of its quotes; None where they are not closed yet."""
    for quote in ('"""', '"'):
        if value.startswith(quote):
            closed = len(value) >= 2 * len(quote) and value.endswith(quote)
            return value[len(quote) : -len(quote)] if closed else None
    return value


def create_command(name: str, folder: Path) -> list[str]:
    """The command that registers a release in Ollama."""
    return ["ollama", "create", name, "-f", str(folder / "Modelfile")]
