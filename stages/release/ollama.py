"""A release in Ollama, over its HTTP API: upload, register, ask once (github.com/ollama/ollama, docs/api.md).

Nothing is needed but a running Ollama: no command on PATH, and no proxy is asked on the way to it.
"""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

from pipeline.console import size
from pipeline.errors import StageError, UsageError
from pipeline.stage import ProgressBar
from stages.release.recipe import Recipe, read_recipe
from stages.release.usage import AFTER, BEFORE
from stages.tokens.chat import chat_parts, with_system
from stages.tokens.encoding import FIM_MIDDLE, FIM_PREFIX, FIM_SUFFIX

PORTS = {"http": 80, "https": 443}
OLDEST = (0, 5, 5)  # the first version whose /api/create takes files and a template
BLOCK = 1 << 20
TRIES, PAUSE = 3, 2.0  # of an upload; seconds before the second, and twice as many before the third
PROBE, SILENCE, LOADING = 5.0, 300.0, 300.0  # seconds without a byte: of a short question, of long work, of an answer
QUESTION = "Hi"
NAME = re.compile(r"(?:(?:[\w][\w.:-]{0,349}/)?[\w][\w-]{0,79}/)?[\w][\w.-]{0,79}(?::([\w][\w.-]{0,79}))?", re.ASCII)

Say = Callable[[str], object]


class Progress(Protocol):
    """`pipeline.console.progress`."""

    def __call__(self, name: str, total: float, unit: str) -> AbstractContextManager[ProgressBar]: ...


class OllamaError(StageError):
    """Ollama could not be asked, or did not do as asked."""


class _BrokenOff(Exception):
    """An upload that may work if it is tried again."""


def ollama_url(host: str) -> str:
    """Where OLLAMA_HOST says that Ollama is, read as Ollama does (github.com/ollama/ollama, envconfig/config.go).

    Every part may be left out: the scheme is http, the host this machine, the port 11434, or with a scheme its own. A
    port that is none counts as left out. An address that stands for all interfaces is asked on this machine.
    """
    scheme, given, rest = host.strip(" \t\r\n\"'").rpartition("://")
    place, _, path = rest.partition("/")
    parts = re.fullmatch(r"(\[[^\[\]]*\]|[^:\[\]]*):([^:]*)", place)
    name, port = parts.groups() if parts else (place, "")
    name = name.strip("[]") or "127.0.0.1"
    name = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(name, name)
    number = int(port) if port.isascii() and port.isdigit() and int(port) <= 65_535 else PORTS.get(scheme, 11434)
    place = f"[{name}]" if ":" in name else name
    return f"{scheme if given else 'http'}://{place}:{number}/{path.strip('/')}".rstrip("/")


def checked_name(name: str) -> str:
    """A name that Ollama takes for a model of its own; UsageError for any other.

    `[[host/]namespace/]model[:tag]`, each of letters, digits, `_`, `-` and `.`, the tag `latest` where there is none.
    """
    found = NAME.fullmatch(name)
    if not found:
        raise UsageError(
            f"`{name}` cannot be a model's name in Ollama: letters, digits, `_`, `-` and `.`, a letter or digit first",
            hint="--name NAME[:TAG]  gives it another",
        )
    tag = (found[1] or "latest").lower()
    if tag in ("cloud", "local") or tag.endswith("-cloud"):
        raise UsageError(f"`{name}` would be a model on ollama.com or a choice of place: `{tag}` is a word of Ollama's")
    return name


class Server:
    """An Ollama at work. Every method raises OllamaError where it does not answer as it should."""

    def __init__(self, url: str) -> None:
        self.url = url

    @property
    def is_here(self) -> bool:
        """Whether it is on this machine."""
        host = urlsplit(self.url).hostname or ""
        try:
            return ip_address(host).is_loopback
        except ValueError:
            return host == "localhost"

    def version(self) -> str:
        status, told = self._ask("GET", "/api/version", timeout=PROBE)
        if status != 200 or not isinstance(told.get("version"), str):
            raise OllamaError(f"what answers at {self.url} is not Ollama")
        return str(told["version"])

    def show(self, name: str) -> Mapping[str, Any] | None:
        """What is registered under a name; None where nothing is."""
        status, told = self._ask("POST", "/api/show", {"model": name}, timeout=SILENCE)
        if status == 404:
            return None
        return self._accepted(status, told)

    def has(self, digest: str) -> bool:
        status, told = self._ask("HEAD", f"/api/blobs/sha256:{digest}", timeout=PROBE)
        if status not in (200, 404):
            self._accepted(status, told)
        return status == 200

    def upload(self, path: Path, digest: str, *, say: Say, progress: Progress) -> None:
        """Send a file, from its start again where the connection breaks; what was half sent leaves nothing behind."""
        with progress("upload", path.stat().st_size / 1e6, "MB") as bar:
            for attempt in range(1, TRIES + 1):
                try:
                    self._send(path, digest, bar)
                    break
                except _BrokenOff as error:
                    if attempt == TRIES:
                        raise OllamaError(f"the upload to {self.url} broke off {TRIES} times: {error}") from None
                    say(f"the upload broke off ({error}); trying again")
                time.sleep(PAUSE * attempt)

    def _send(self, path: Path, digest: str, bar: ProgressBar) -> None:
        sent = 0
        try:
            with closing(self._connection(SILENCE)) as connection, path.open("rb") as file:
                connection.putrequest("POST", f"{urlsplit(self.url).path}/api/blobs/sha256:{digest}")
                connection.putheader("Content-Type", "application/octet-stream")
                connection.putheader("Content-Length", str(path.stat().st_size))
                connection.endheaders()
                try:
                    while block := file.read(BLOCK):
                        connection.send(block)
                        sent += len(block)
                        bar.advance(len(block) / 1e6)
                except ConnectionError:
                    pass  # it may have said why before it hung up
                response = connection.getresponse()
                status, told = response.status, _json(response.read())
        except (OSError, HTTPException) as error:
            bar.advance(-sent / 1e6)
            raise _BrokenOff(str(error) or type(error).__name__) from None
        if status >= 500:
            bar.advance(-sent / 1e6)
            raise _BrokenOff(_reason(status, told))
        self._accepted(status, told)

    def create(self, request: Mapping[str, Any], total: int, *, progress: Progress) -> None:
        """Register a model and wait until it is; `total` is the size of its file in bytes."""
        status = ""
        with (
            progress("create", total / 1e6, "MB") as bar,
            self._asked("POST", "/api/create", request, timeout=SILENCE) as response,
        ):
            if response.status != 200:
                self._accepted(response.status, _json(response.read()))
            done = 0.0
            while line := response.readline(BLOCK):
                told = _json(line)
                status = told.get("status", "")
                if "error" in told or not isinstance(status, str):
                    reason = told.get("error", line[:100])
                    raise OllamaError(f"Ollama at {self.url} does not register the model: {reason}")
                completed = told.get("completed")
                step = completed / 1e6 - done if isinstance(completed, int) else 0.0
                done += step
                bar.advance(step, note=status)
        if status != "success":
            raise OllamaError(f"Ollama at {self.url} stopped after `{status}`: the model is not registered")

    def generate(self, request: Mapping[str, Any]) -> Mapping[str, Any]:
        """The whole answer to one request; loading the model takes its time."""
        told = self._accepted(*self._ask("POST", "/api/generate", {**request, "stream": False}, timeout=LOADING))
        if told.get("done") is not True:
            raise OllamaError(f"Ollama at {self.url} did not finish its answer")
        return told

    def _accepted(self, status: int, told: Mapping[str, Any]) -> Mapping[str, Any]:
        if status >= 300:
            raise OllamaError(f"Ollama at {self.url} refuses: {_reason(status, told)}")
        return told

    def _ask(
        self, method: str, path: str, body: Mapping[str, Any] | None = None, *, timeout: float
    ) -> tuple[int, Mapping[str, Any]]:
        with self._asked(method, path, body, timeout=timeout) as response:
            return response.status, _json(response.read())

    @contextmanager
    def _asked(
        self, method: str, path: str, body: Mapping[str, Any] | None = None, *, timeout: float
    ) -> Iterator[HTTPResponse]:
        try:
            with closing(self._connection(timeout)) as connection:
                data = None if body is None else json.dumps(body).encode()
                connection.request(method, urlsplit(self.url).path + path, data, {"Content-Type": "application/json"})
                yield connection.getresponse()
        except (OSError, HTTPException, ValueError) as error:
            reason = str(error) or type(error).__name__
            hint = "start it with: ollama serve" if self.is_here else None
            raise OllamaError(f"Ollama does not answer at {self.url} ({reason})", hint) from None

    def _connection(self, timeout: float) -> HTTPConnection:
        """A connection that is not open yet. Raises ValueError for an address that cannot be."""
        parts = urlsplit(self.url)
        kinds: dict[str, type[HTTPConnection]] = {"http": HTTPConnection, "https": HTTPSConnection}
        if parts.scheme not in kinds or not parts.hostname:
            raise ValueError("not an http address")
        return kinds[parts.scheme](parts.hostname, parts.port, timeout=timeout)


def _json(data: bytes) -> Mapping[str, Any]:
    """The object in an answer; what is none is told as an error."""
    try:
        told = json.loads(data) if data.strip() else {}
    except ValueError:
        told = None
    return told if isinstance(told, dict) else {"error": data[:200].decode("utf-8", "replace").strip()}


def _reason(status: int, told: Mapping[str, Any]) -> str:
    return str(told.get("error") or f"HTTP status {status}")


def ready(name: str, host: str | None = None) -> Server:
    """The Ollama at `host` (by default where OLLAMA_HOST says), able to register a model of that name."""
    checked_name(name)
    server = Server(ollama_url(os.environ.get("OLLAMA_HOST", "") if host is None else host))
    version = server.version()
    numbers = tuple(int(number) for number in re.findall(r"\d+", version)[:3])
    if (0, 0, 0) < numbers < OLDEST:
        raise OllamaError(f"Ollama {version} at {server.url} is too old: 0.5.5 is the first that can be asked")
    return server


def create(
    name: str,
    folder: Path,
    *,
    host: str | None = None,
    overwrite: bool = False,
    say: Say,
    progress: Progress,
    typed: str = "pipeline export --create",
) -> None:
    """Register the release in `folder` as `name`, and see that it answers and reads as it was trained to.

    Another model of that name is only replaced with `overwrite`. What is there already, the same in everything, is
    left alone. `typed` is the command line, for hints. Raises OllamaError, UsageError for a name that cannot be,
    ReleaseError for a Modelfile that cannot.
    """
    server = ready(name, host)
    recipe = read_recipe(folder)
    shown = server.show(name)
    different = recipe.differences(shown) if shown is not None else ["everything"]
    if not different:
        say(f"{name} is registered at {server.url} already, the same in everything")
    elif shown is not None and not overwrite:
        raise OllamaError(
            f"{server.url} has a model {name} with other {', '.join(different)}; it was left as it is",
            hint=f"{typed} --overwrite  replaces it; with --name NAME instead it takes another name",
        )
    else:
        total = recipe.gguf.stat().st_size
        if not server.has(recipe.digest):
            place = "" if server.is_here else ", another machine"
            say(f"sending {recipe.gguf.name} ({size(total)}) to {server.url}{place}")
            server.upload(recipe.gguf, recipe.digest, say=say, progress=progress)
        server.create(recipe.request(name), total, progress=progress)
    prove(server, name, recipe, say=say)


def prove(server: Server, name: str, recipe: Recipe, *, say: Say) -> None:
    """Let the model answer shortly, and see that each prompt became as many tokens as in training.

    Raises OllamaError where it did not: a wrong template or start of text is noticed by its tokens.
    """
    kind, text = "text", QUESTION
    if ".Messages" in recipe.template:
        messages = with_system([{"role": "user", "content": QUESTION}], recipe.system)
        kind, text = "question", "".join(part.text for part in chat_parts(messages, prompt=True))
    asked: list[tuple[str, str, dict[str, Any]]] = [
        ("a text as it is", text, {"prompt": text, "raw": True}),
        (f"a {kind} through the template", text, {"prompt": QUESTION}),
    ]
    if ".Suffix" in recipe.template:
        gap = FIM_PREFIX + BEFORE + FIM_SUFFIX + AFTER + FIM_MIDDLE
        asked.append(("a gap through the template", gap, {"prompt": BEFORE, "suffix": AFTER}))
    wanted = count_tokens(recipe.gguf, [text for _, text, _ in asked])
    for (what, _, request), tokens in zip(asked, wanted, strict=True):
        told = server.generate({"model": name, **request, "options": {"num_predict": 8, "temperature": 0}})
        read = told.get("prompt_eval_count")
        if tokens and isinstance(read, int) and read != tokens:
            raise OllamaError(
                f"{name} at {server.url} reads {what} as {read} tokens, not as the {tokens} of its training: it will "
                "answer badly",
                hint="pipeline export  writes the Modelfile again",
            )
    counted = f", and reads a {kind} as the {wanted[1]} tokens that training makes of it" if wanted[1] else ""
    say(f"{name} answers{counted}")


def count_tokens(gguf: Path, texts: Sequence[str]) -> list[int]:
    """How many tokens llama.cpp makes of texts whose markers are markers, start of text included; 0 without a wheel."""
    from stages.release.llamacpp import RuntimeUnavailable
    from stages.release.runtime import Runtime

    try:
        with Runtime(gguf) as runtime:
            return [len(runtime.tokenize(text, add_special=True, parse_special=True)) for text in texts]
    except RuntimeUnavailable:
        return [0] * len(texts)
