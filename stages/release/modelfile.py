"""Ollama's Modelfile, and `ollama create`."""

from __future__ import annotations

import os
import shutil
import subprocess
import urllib.error
import urllib.request
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from urllib.parse import urlsplit

from stages.tokens.chat import CHAT_END, CHAT_START, OLLAMA_TEMPLATE
from stages.tokens.encoding import EOS

PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True)
class Modelfile:
    """What a Modelfile says; `gguf` is a file name beside it, `eos` the token that ends a text."""

    gguf: str
    context_length: int
    num_predict: int
    temperature: float
    system: str
    license: str
    eos: str = EOS

    def render(self) -> str:
        """The text, by github.com/ollama/ollama, docs/modelfile.md. llama.cpp adds BOS, so TEMPLATE has none."""
        parameters = {
            "num_ctx": str(self.context_length),
            "num_predict": str(self.num_predict),
            "temperature": f"{self.temperature:g}",
        }
        stops = "".join(f'PARAMETER stop "{stop}"\n' for stop in (CHAT_END, CHAT_START, self.eos))
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
    url = ollama_url(os.environ.get("OLLAMA_HOST", ""))
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with direct.open(f"{url}/api/version", timeout=5):
            pass
    except (OSError, ValueError, HTTPException) as error:
        reason = error.reason if isinstance(error, urllib.error.URLError) else error
        return f"Ollama does not answer at {url} ({reason}); start it with: ollama serve"
    try:
        done = subprocess.run(create_command(name, folder), check=False)
    except OSError as error:
        return f"`ollama` cannot be run: {error.strerror}"
    return None if done.returncode == 0 else f"`ollama create` ended with exit code {done.returncode}"


def ollama_url(host: str) -> str:
    """Where OLLAMA_HOST says that Ollama is, read as Ollama does (github.com/ollama/ollama, envconfig/config.go).

    Every part may be left out: the scheme is http, the host this machine, the port 11434, or with a scheme its own.
    An address that stands for all interfaces is asked on this machine.
    """
    scheme, _, rest = host.strip(" \"'").rpartition("://")
    if rest.count(":") > 1 and "[" not in rest:
        rest = f"[{rest}]"  # an IPv6 address alone
    try:
        parts = urlsplit(f"//{rest}")
        name, port = parts.hostname or "127.0.0.1", parts.port
    except ValueError:
        return f"{scheme or 'http'}://{rest}"
    name = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(name, name)
    name = f"[{name}]" if ":" in name else name
    return f"{scheme or 'http'}://{name}:{port or PORTS.get(scheme, 11434)}{parts.path.rstrip('/')}"
