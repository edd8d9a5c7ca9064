"""The Modelfile, read by the rules of Ollama's own parser, and `ollama create` with every way it can fail."""

from __future__ import annotations

import json
import socket
import stat
import sys
import threading
from collections.abc import Iterator, Sequence
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jinja2.sandbox import ImmutableSandboxedEnvironment

from stages.release.modelfile import Modelfile, create_command, create_in_ollama, ollama_url
from stages.tokens.chat import CHAT_TEMPLATE, OLLAMA_TEMPLATE, Message

MODELFILE = Modelfile("tiny-q8_0.gguf", 256, 64, 0.2, "You write code.", "Trained on:\n- corpus: MIT, 3 documents\n")


def commands(text: str) -> list[tuple[str, str]]:
    """What Ollama reads from a Modelfile: one command a line, whose value goes on until its quotes are closed.

    After github.com/ollama/ollama, parser/parser.go: characters that cannot be printed are dropped, except line ends
    inside quotes, and a value ends at the first line end at which it is whole.
    """
    found, lines = [], iter(text.split("\n"))
    for line in lines:
        if not line.strip() or line.startswith("#"):
            continue
        name, _, value = line.partition(" ")
        assert name in {"FROM", "TEMPLATE", "PARAMETER", "SYSTEM", "LICENSE"}
        if name == "PARAMETER":
            name, _, value = value.partition(" ")
        while (whole := _unquoted(value.strip())) is None:
            value += "\n" + next(lines)
        found.append((name, "".join(c for c in whole if c.isprintable() or c in "\n\t")))
    return found


def _unquoted(value: str) -> str | None:
    for quote in ('"""', '"'):
        if value.startswith(quote):
            closed = len(value) >= 2 * len(quote) and value.endswith(quote)
            return value[len(quote) : -len(quote)] if closed else None
    return value


def test_every_command_is_what_ollama_needs() -> None:
    assert commands(MODELFILE.render()) == [
        ("FROM", "./tiny-q8_0.gguf"),
        ("TEMPLATE", OLLAMA_TEMPLATE),
        ("num_ctx", "256"),
        ("num_predict", "64"),
        ("temperature", "0.2"),
        ("stop", "<|im_end|>"),
        ("stop", "<|im_start|>"),
        ("stop", "<eos>"),
        ("SYSTEM", "You write code."),
        ("LICENSE", "Trained on:\n- corpus: MIT, 3 documents\n"),
    ]


def test_a_text_ends_at_the_token_that_ends_it_for_this_tokenizer() -> None:
    found = commands(replace(MODELFILE, eos="<|endoftext|>").render())
    assert [value for name, value in found if name == "stop"] == ["<|im_end|>", "<|im_start|>", "<|endoftext|>"]


def test_no_system_message_is_no_line() -> None:
    text = Modelfile("a.gguf", 8, 1, 0.0, "", "MIT").render()
    assert "SYSTEM" not in text and ("temperature", "0") in commands(text)


LETTERS = st.one_of(st.sampled_from([*" \"'\n#\\é漢", '"""', '"""\n']), st.characters(categories=("L", "N", "P", "S")))
VISIBLE = st.lists(LETTERS, min_size=1).map("".join)


@given(VISIBLE, VISIBLE)
def test_whatever_the_texts_hold_they_stay_inside_their_quotes(system: str, license: str) -> None:
    found = commands(Modelfile("a.gguf", 8, 1, 0.5, system, license).render())
    assert [name for name, _ in found][-2:] == ["SYSTEM", "LICENSE"] and len(found) == 10
    for (_, told), wanted in zip(found[-2:], (system, license), strict=True):
        assert told == wanted.replace('"""', "'''")


def go_template(template: str, messages: Sequence[Message]) -> str:
    """The few words of Go's text/template that ours uses: a range over the messages and two of their fields."""
    head, start, rest = template.partition("{{- range .Messages }}")
    body, end, tail = rest.partition("{{ end }}")
    assert start and end and "{{" not in head + tail
    turns = [body.replace("{{ .Role }}", m["role"]).replace("{{ .Content }}", m["content"]) for m in messages]
    assert "{{" not in body.replace("{{ .Role }}", "").replace("{{ .Content }}", "")
    return head.rstrip() + "".join(turns) + tail


CONVERSATION: list[Message] = [
    {"role": "system", "content": "Short answers."},
    {"role": "user", "content": "Blink {{ the }} LED.\n\n\ttwice "},
    {"role": "assistant", "content": "```python\nled.on()\n```"},
    {"role": "user", "content": "Why?"},
]


@pytest.mark.parametrize("messages", [CONVERSATION[1:2], CONVERSATION[1:], CONVERSATION])
def test_ollama_says_what_the_jinja_template_says(messages: list[Message]) -> None:
    jinja = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True).from_string(CHAT_TEMPLATE)
    theirs = jinja.render(messages=messages, bos_token="<bos>", add_generation_prompt=True)
    assert "<bos>" + go_template(OLLAMA_TEMPLATE, messages) == theirs


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("", "http://127.0.0.1:11434"),
        ("0.0.0.0", "http://127.0.0.1:11434"),
        ("0.0.0.0:8080", "http://127.0.0.1:8080"),
        (":8080", "http://127.0.0.1:8080"),
        ("box", "http://box:11434"),
        ("box:99", "http://box:99"),
        ("http://box", "http://box:80"),
        ("https://box", "https://box:443"),
        ("https://box:1234/ollama/", "https://box:1234/ollama"),
        ("[::]:8080", "http://[::1]:8080"),
        ("::1", "http://[::1]:11434"),
        ("[fe80::1]", "http://[fe80::1]:11434"),
        (' "box:99" ', "http://box:99"),
    ],
)
def test_ollama_host_is_read_as_ollama_reads_it(host: str, url: str) -> None:
    assert ollama_url(host) == url


class _Ollama(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/api/version" else 404)
        self.end_headers()
        self.wfile.write(b'{"version":"0.0"}')

    def log_message(self, *args: Any) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[HTTPServer]:
    with HTTPServer(("127.0.0.1", 0), _Ollama) as found:
        thread = threading.Thread(target=found.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        monkeypatch.setenv("OLLAMA_HOST", f"0.0.0.0:{found.server_port}")
        yield found
        found.shutdown()
        thread.join()


@pytest.fixture
def told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An `ollama` on PATH that writes down how it was called; it fails where a file `fail` is beside it."""
    log = tmp_path / "called.json"
    write_ollama(tmp_path, f"""#!{sys.executable}
import json, pathlib, sys
pathlib.Path({str(log)!r}).write_text(json.dumps(sys.argv[1:]))
sys.exit(7 if pathlib.Path({str(tmp_path / "fail")!r}).exists() else 0)
""")  # fmt: skip
    monkeypatch.setenv("PATH", str(tmp_path))
    return log


def write_ollama(folder: Path, script: str) -> None:
    path = folder / "ollama"
    path.write_text(script)
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


def test_create_runs_ollama_on_the_release(server: HTTPServer, told: Path) -> None:
    assert create_in_ollama("tiny", Path("exports/tiny")) is None
    assert json.loads(told.read_text()) == ["create", "tiny", "-f", "exports/tiny/Modelfile"]
    assert create_command("tiny", Path("exports/tiny"))[1:] == json.loads(told.read_text())


def test_a_proxy_is_not_asked_for_ollama(server: HTTPServer, told: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    assert create_in_ollama("tiny", Path("x")) is None


def test_without_the_command_the_message_says_where_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    told = create_in_ollama("tiny", tmp_path)
    assert told and "no `ollama` command" in told and "the release itself is complete" in told


def test_a_server_that_is_not_there_is_named(told: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    monkeypatch.setenv("OLLAMA_HOST", f"127.0.0.1:{port}")
    said = create_in_ollama("tiny", Path("x"))
    assert said and f"http://127.0.0.1:{port}" in said and "refused" in said and "ollama serve" in said
    assert not told.exists()


@pytest.mark.parametrize("host", ["box:port", "http://", "ftp://box", "a b", "[", "no-such-host.invalid", "\ud800"])
def test_a_host_that_cannot_be_is_a_message_too(host: str, told: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OLLAMA_HOST", host.encode("utf-8", "surrogatepass").decode("utf-8", "surrogateescape"))
    said = create_in_ollama("tiny", Path("x"))
    assert said and "does not answer" in said and not told.exists()


def test_a_server_that_speaks_another_language_is_a_message_too(told: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def answer() -> None:
            connection, _ = listening.accept()
            with connection:
                connection.recv(1000)
                connection.sendall(b"220 mail ready\r\n")

        thread = threading.Thread(target=answer)
        thread.start()
        monkeypatch.setenv("OLLAMA_HOST", f"127.0.0.1:{listening.getsockname()[1]}")
        said = create_in_ollama("tiny", Path("x"))
        thread.join()
    assert said and "does not answer" in said and not told.exists()


def test_an_ollama_that_fails_gives_its_exit_code(server: HTTPServer, told: Path, tmp_path: Path) -> None:
    (tmp_path / "fail").touch()
    assert create_in_ollama("tiny", Path("x")) == "`ollama create` ended with exit code 7"


def test_an_ollama_that_cannot_be_run_is_a_message(server: HTTPServer, told: Path, tmp_path: Path) -> None:
    write_ollama(tmp_path, "#!/no/such/interpreter\n")
    said = create_in_ollama("tiny", Path("x"))
    assert said and said.startswith("`ollama` cannot be run: ")
