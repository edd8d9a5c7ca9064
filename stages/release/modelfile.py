"""Ollama's Modelfile, and `ollama create`."""

from __future__ import annotations

import os
import shutil
import subprocess
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path

from stages.tokens.chat import CHAT_END, CHAT_START, OLLAMA_TEMPLATE
from stages.tokens.encoding import EOS

DEFAULT_HOST = "127.0.0.1:11434"


@dataclass(frozen=True)
class Modelfile:
    """What a Modelfile says; `gguf` is a file name beside it."""

    gguf: str
    context_length: int
    num_predict: int
    temperature: float
    system: str
    license: str

    def render(self) -> str:
        """The text, by github.com/ollama/ollama, docs/modelfile.md. llama.cpp adds BOS, so TEMPLATE has none."""
        parameters = {
            "num_ctx": str(self.context_length),
            "num_predict": str(self.num_predict),
            "temperature": f"{self.temperature:g}",
        }
        stops = "".join(f'PARAMETER stop "{stop}"\n' for stop in (CHAT_END, CHAT_START, EOS))
        return (
            f"FROM ./{self.gguf}\n\n"
            f'TEMPLATE """{OLLAMA_TEMPLATE}"""\n\n'
            + "".join(f"PARAMETER {name} {value}\n" for name, value in parameters.items())
            + stops
            + (f'\nSYSTEM """{_quotable(self.system)}"""\n' if self.system else "")
            + f'\nLICENSE """{_quotable(self.license)}"""\n'
        )


def _quotable(text: str) -> str:
    """A text that can stand between triple quotes."""
    return text.replace('"""', "'''")


def create_command(name: str, folder: Path) -> list[str]:
    """The command that registers a release in Ollama."""
    return ["ollama", "create", name, "-f", str(folder / "Modelfile")]


def create_in_ollama(name: str, folder: Path) -> str | None:
    """Run `ollama create`; returns None where it worked, else why it did not, in words."""
    if shutil.which("ollama") is None:
        return "no `ollama` command is on PATH (ollama.com/download); the release itself is complete"
    host = os.environ.get("OLLAMA_HOST", DEFAULT_HOST)
    url = host if "://" in host else f"http://{host.replace('0.0.0.0', '127.0.0.1')}"
    try:
        with urllib.request.urlopen(f"{url.rstrip('/')}/api/version", timeout=5):
            pass
    except (OSError, ValueError) as error:
        reason = error.reason if isinstance(error, urllib.error.URLError) else error
        return f"Ollama does not answer at {url} ({reason}); start it with: ollama serve"
    done = subprocess.run(create_command(name, folder), check=False)
    return None if done.returncode == 0 else f"`ollama create` ended with exit code {done.returncode}"
