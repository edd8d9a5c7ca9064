"""A release in Ollama over HTTP: against one that is strict and can fail, and against the real one where it is."""

from __future__ import annotations

import hashlib
import os
import shutil
import socket
import struct
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
from reference.ollama_server import Fault, Ollama
from test_gguf import make_llama, train_tokenizer

from pipeline.errors import UsageError
from stages.release import ollama
from stages.release.errors import ReleaseError
from stages.release.modelfile import Modelfile
from stages.release.ollama import OllamaError, checked_name, count_tokens, create, ollama_url
from stages.release.recipe import read_recipe
from stages.tokens.chat import chat_parts
from stages.tokens.interface import EOS

MODELFILE = Modelfile("tiny-f16.gguf", 64, 16, 0.25, "You write code.", 'Trained on:\n- "corpus": MIT\n', EOS, fim=True)


@pytest.fixture(scope="module")
def gguf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_llama(tmp_path_factory.mktemp("model"), train_tokenizer()).write("f16")


@pytest.fixture
def release(gguf: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "tiny"
    folder.mkdir()
    shutil.copy(gguf, folder / MODELFILE.gguf)
    write_modelfile(folder, MODELFILE)
    digest = hashlib.sha256(gguf.read_bytes()).hexdigest()
    (folder / "SHA256SUMS").write_text(f"{digest}  {MODELFILE.gguf}\n")
    return folder


def write_modelfile(folder: Path, modelfile: Modelfile) -> None:
    (folder / "Modelfile").write_text(modelfile.render(), encoding="utf-8")


@pytest.fixture
def fake(gguf: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Ollama]:
    monkeypatch.setattr(ollama, "PAUSE", 0.01)
    monkeypatch.setattr(ollama, "BLOCK", 4096)
    with Ollama(lambda _, text: count_tokens(gguf, [text])[0]).serving() as server:
        monkeypatch.setenv("OLLAMA_HOST", server.url)
        yield server


class Screen:
    """What people are told, and how far each bar came."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.bars: dict[str, tuple[float, float]] = {}
        self.at: Callable[[str, float], object] = lambda name, done: None

    def say(self, text: str) -> None:
        self.said.append(text)

    @contextmanager
    def progress(self, name: str, total: float, unit: str) -> Iterator[Any]:
        screen = self

        class Bar:
            done = 0.0

            def advance(self, amount: float = 1, note: str | None = None) -> None:
                self.done += amount
                screen.bars[name] = (self.done, total)
                screen.at(name, self.done)

        yield Bar()


def register(release: Path, name: str = "tiny", *, screen: Screen | None = None, **options: Any) -> Screen:
    screen = screen or Screen()
    create(name, release, say=screen.say, progress=screen.progress, **options)
    return screen


def test_a_release_is_uploaded_registered_and_asked(fake: Ollama, release: Path) -> None:
    screen = register(release)
    assert fake.asked == [
        ("GET", "/api/version"),
        ("POST", "/api/show"),
        ("HEAD", "/api/blobs"),
        ("POST", "/api/blobs"),
        ("POST", "/api/create"),
        *[("POST", "/api/generate")] * 3,
    ]
    made = fake.models["tiny:latest"]
    assert made["digest"] == hashlib.sha256((release / MODELFILE.gguf).read_bytes()).hexdigest()
    assert (made["template"], made["system"]) == (MODELFILE.template, MODELFILE.system)
    assert made["license"] == [MODELFILE.license]
    stops = ["<|im_end|>", "<|im_start|>", "<eos>"]
    numbers = {"num_ctx": 64, "num_predict": 16, "temperature": 0.25, "repeat_penalty": 1}
    assert made["parameters"] == {**numbers, "stop": stops}
    talk = [{"role": "system", "content": MODELFILE.system}, {"role": "user", "content": ollama.QUESTION}]
    chat = "".join(part.text for part in chat_parts(talk, prompt=True))
    gap = f"<fim_prefix>{ollama.BEFORE}<fim_suffix>{ollama.AFTER}<fim_middle>"
    assert fake.prompts == [chat, chat, gap]
    assert all(done == pytest.approx(total) for done, total in screen.bars.values()) and len(screen.bars) == 2
    assert screen.said[0].startswith("sending tiny-f16.gguf (") and screen.said[0].endswith(f") to {fake.url}")
    assert screen.said[1:] == [
        f"tiny answers, and reads a question as the {count_tokens(release / MODELFILE.gguf, [chat])[0]} tokens that "
        "training makes of it"
    ]


def test_what_is_there_already_is_left_alone(fake: Ollama, release: Path) -> None:
    register(release)
    fake.asked.clear()
    screen = register(release, "TINY:latest")
    assert screen.said[0] == f"TINY:latest is registered at {fake.url} already, the same in everything"
    assert {path for _, path in fake.asked} == {"/api/version", "/api/show", "/api/generate"}


@pytest.mark.parametrize(
    ("change", "different"),
    [
        ({"temperature": 0.5}, "parameters"),
        ({"system": "Other."}, "system message"),
        ({"license": "None"}, "license"),
        ({"fim": False}, "template"),
        ({"eos": "</s>", "system": ""}, "system message, parameters"),
    ],
)
def test_another_model_of_that_name_is_replaced_only_if_told_so(
    fake: Ollama, release: Path, change: dict[str, Any], different: str
) -> None:
    register(release)
    before = dict(fake.models["tiny:latest"])
    write_modelfile(release, replace(MODELFILE, **change))
    with pytest.raises(OllamaError, match=f"has a model tiny with other {different}; it was left as it is") as caught:
        register(release)
    assert fake.models["tiny:latest"] == before
    assert caught.value.hint and caught.value.hint.startswith("pipeline export --create --overwrite  replaces it; ")
    register(release, "tiny:other")
    register(release, overwrite=True)
    assert fake.models["tiny:latest"] == fake.models["tiny:other"] != before
    assert len(fake.blobs) == 1 and fake.asked.count(("POST", "/api/blobs")) == 1


def test_other_weights_are_another_model_also_where_ollama_rewrote_the_file(fake: Ollama, release: Path) -> None:
    fake.rewrites = True
    register(release)
    with pytest.raises(OllamaError, match="with other weights; it was left"):
        register(release)
    register(release, overwrite=True)


def reset(handler: BaseHTTPRequestHandler) -> None:
    """Read a little, then break the connection as a router that restarts does."""
    handler.rfile.read(5000)
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    handler.connection.close()


def hang_up(handler: BaseHTTPRequestHandler) -> None:
    handler.connection.shutdown(socket.SHUT_RDWR)


def says(status: int, data: bytes, *, read: bool = True) -> Fault:
    def answer(handler: Any) -> None:
        if read:
            handler.rfile.read(int(handler.headers.get("Content-Length", 0)))
        handler.reply(status, data)

    return answer


def streams(*lines: bytes, end: bool = True) -> Fault:
    def answer(handler: Any) -> None:
        handler.rfile.read(int(handler.headers["Content-Length"]))
        handler.send_response(200)
        handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        for line in lines:
            handler.chunk(line)
        if end:
            handler.wfile.write(b"0\r\n\r\n")

    return answer


@pytest.mark.parametrize(
    "faults",
    [[reset], [hang_up], [says(500, b'{"error":"disk"}')], [reset, says(503, b"busy")]],
    ids=["reset", "hung up", "refused", "reset, then busy"],
)
def test_an_upload_that_breaks_off_is_tried_again_from_its_start(
    fake: Ollama, release: Path, faults: list[Fault]
) -> None:
    fake.faults["POST /api/blobs"].extend(faults)
    screen = register(release)
    assert len([text for text in screen.said if text.startswith("the upload broke off (")]) == len(faults)
    done, total = screen.bars["upload"]
    assert done == pytest.approx(total) and len(fake.blobs) == 1 and "tiny:latest" in fake.models


def test_an_upload_that_always_breaks_off_is_given_up_and_registers_nothing(fake: Ollama, release: Path) -> None:
    fake.faults["POST /api/blobs"].extend([hang_up] * ollama.TRIES)
    with pytest.raises(OllamaError, match=f"the upload to {fake.url} broke off {ollama.TRIES} times: "):
        register(release)
    assert not fake.models and not fake.blobs


def test_a_file_that_changes_on_its_way_is_refused_at_once(fake: Ollama, release: Path) -> None:
    def change(name: str, done: float) -> None:
        if name == "upload" and done < 0.01:
            with (release / MODELFILE.gguf).open("r+b") as file:
                file.seek(-1, os.SEEK_END)
                file.write(b"\xff")

    screen = Screen()
    screen.at = change
    with pytest.raises(OllamaError, match="refuses: digest mismatch"):
        register(release, screen=screen)
    assert not fake.models and fake.asked.count(("POST", "/api/blobs")) == 1


def test_a_refusal_in_the_middle_of_an_upload_is_told_and_not_tried_again(fake: Ollama, release: Path) -> None:
    fake.faults["POST /api/blobs"].append(says(413, b'{"error":"too large"}', read=False))
    with pytest.raises(OllamaError, match=r"refuses: too large|broke off"):
        register(release)


def test_ctrl_c_in_an_upload_ends_it_and_leaves_nothing(fake: Ollama, release: Path) -> None:
    def press(name: str, done: float) -> None:
        if done > 0.01:
            raise KeyboardInterrupt

    screen = Screen()
    screen.at = press
    with pytest.raises(KeyboardInterrupt):
        register(release, screen=screen)
    assert not fake.models and not fake.blobs


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        (streams(b'{"status":"parsing GGUF"}\n{"error":"invalid file magic"}\n'), "register the model: invalid file"),
        (streams(b'{"status":"parsing GGUF"}\n<html>\n'), "register the model: <html>"),
        (streams(b'{"status":"parsing GGUF"}\n[1]\n'), r"register the model: \[1\]"),
        (streams(b'{"status":"writing manifest"}\n'), "stopped after `writing manifest`: the model is not registered"),
        (streams(), "stopped after ``: the model is not registered"),
        (streams(b'{"status":"writing manifest"}\n', end=False), "does not answer|stopped after"),
        (says(400, b'{"error":"template error: unexpected"}'), "refuses: template error: unexpected"),
        (says(500, b"<h1>Bad gateway</h1>"), "refuses: <h1>Bad gateway</h1>"),
        (says(404, b""), "refuses: HTTP status 404"),
        (hang_up, "does not answer at"),
    ],
)
def test_a_model_that_is_not_registered_is_told_with_ollamas_own_reason(
    fake: Ollama, release: Path, fault: Fault, told: str
) -> None:
    fake.faults["POST /api/create"].append(fault)
    with pytest.raises(OllamaError, match=told):
        register(release)
    assert not fake.models


def test_a_slow_stream_is_waited_for_and_silence_is_not(
    fake: Ollama, release: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def slowly(wait: float) -> Fault:
        def answer(handler: Any) -> None:
            handler.rfile.read(int(handler.headers["Content-Length"]))
            handler.send_response(200)
            handler.send_header("Transfer-Encoding", "chunked")
            handler.end_headers()
            for line in (b'{"sta', b'tus":"parsing GGUF"}', b'\n{"status":', b'"success"}\n'):
                time.sleep(wait)
                handler.chunk(line)
            handler.wfile.write(b"0\r\n\r\n")

        return answer

    monkeypatch.setattr(ollama, "SILENCE", 0.5)
    server = ollama.Server(fake.url)
    fake.faults["POST /api/create"].append(slowly(0.05))
    server.create({"model": "tiny"}, 1, progress=Screen().progress)
    fake.faults["POST /api/create"].append(lambda handler: time.sleep(1.0))
    with pytest.raises(OllamaError, match=r"does not answer at .* \(timed out\)"):
        server.create({"model": "tiny"}, 1, progress=Screen().progress)


@pytest.mark.parametrize(
    ("modelfile", "what"),
    [
        (lambda text: text.replace("<|im_start|>assistant\n", "<|im_start|>assistant"), "a question"),
        (lambda text: text.replace("{{ .Suffix }}", ""), "a gap"),
        (lambda text: text.replace("{{ $open := false }}", "<bos>{{ $open := false }}"), "a question"),
    ],
)
def test_a_wrong_template_is_noticed_by_the_tokens_it_makes(
    fake: Ollama, release: Path, modelfile: Callable[[str], str], what: str
) -> None:
    (release / "Modelfile").write_text(modelfile(MODELFILE.render()))
    with pytest.raises(
        OllamaError,
        match=f"tiny at {fake.url} reads {what} through the template as [0-9]+ tokens, not as the [0-9]+ of",
    ):
        register(release)


def test_a_model_that_was_taught_no_conversation_is_asked_a_text(fake: Ollama, release: Path) -> None:
    write_modelfile(release, replace(MODELFILE, answers=False))
    assert register(release).said[-1].startswith("tiny answers, and reads a text as the ")
    assert fake.prompts[:2] == [ollama.QUESTION] * 2 and len(fake.prompts) == 3


def test_a_runtime_that_adds_no_start_of_text_is_noticed(fake: Ollama, release: Path, gguf: Path) -> None:
    fake.count = lambda _, text: count_tokens(gguf, [text])[0] - 1
    with pytest.raises(OllamaError, match="reads a text as it is as"):
        register(release)


def test_an_ollama_that_counts_nothing_and_a_machine_without_a_wheel_prove_less(
    fake: Ollama, release: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ollama, "count_tokens", lambda gguf, texts: [0] * len(texts))
    assert register(release).said[-1] == "tiny answers"


def test_a_model_that_does_not_load_is_told(fake: Ollama, release: Path) -> None:
    fake.faults["POST /api/generate"].append(says(500, b'{"error":"llama runner process has terminated"}'))
    with pytest.raises(OllamaError, match="refuses: llama runner process has terminated"):
        register(release)
    fake.faults["POST /api/generate"].append(says(200, b'{"response":"a"}'))
    with pytest.raises(OllamaError, match="did not finish its answer"):
        register(release)


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (lambda folder: (folder / MODELFILE.gguf).write_bytes(b"GGUF"), "does not match SHA256SUMS"),
        (lambda folder: (folder / MODELFILE.gguf).unlink(), "`./tiny-f16.gguf` is no file beside it"),
        (lambda folder: (folder / "Modelfile").write_text("SYSTEM a\n"), "`` is no file beside it"),
        (lambda folder: (folder / "Modelfile").write_text("FROM llama3.2\n"), "`llama3.2` is no file beside it"),
        (lambda folder: _append(folder, "PARAMETER top_k many\n"), "PARAMETER top_k many: not a number"),
        (lambda folder: _append(folder, "PARAMETER top_p nan\n"), "PARAMETER top_p nan: not a number"),
    ],
)
def test_a_damaged_release_is_not_sent(
    fake: Ollama, release: Path, damage: Callable[[Path], object], told: str
) -> None:
    damage(release)
    with pytest.raises(ReleaseError, match=told):
        register(release)
    assert not fake.blobs and not fake.models


def _append(folder: Path, line: str) -> None:
    (folder / "Modelfile").write_text(MODELFILE.render() + line)


def test_parameters_are_numbers_and_yes_and_no(release: Path) -> None:
    _append(release, 'PARAMETER top_k 40\nPARAMETER top_p 1.0\nPARAMETER use_mmap true\nPARAMETER stop "a b"\n')
    found = read_recipe(release).parameters
    assert [found[name] for name in ("num_ctx", "top_k", "top_p", "temperature", "use_mmap")] == [
        64,
        40,
        1.0,
        0.25,
        True,
    ]
    assert isinstance(found["top_k"], int) and isinstance(found["top_p"], float)
    assert found["stop"] == ["<|im_end|>", "<|im_start|>", "<eos>", "a b"]


def test_another_machine_is_named_before_anything_is_sent(
    fake: Ollama, release: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ollama.Server, "is_here", False)
    screen = Screen()
    screen.at = lambda name, done: screen.said.append("bar") if screen.said[-1:] != ["bar"] else None
    register(release, screen=screen)
    assert screen.said[0].endswith(f" to {fake.url}, another machine") and screen.said[1] == "bar"


@pytest.mark.parametrize(
    ("url", "here"),
    [
        ("http://127.0.0.1:1", True),
        ("http://127.9.9.9:1", True),
        ("http://localhost:1", True),
        ("http://[::1]:1", True),
        ("http://192.168.1.9:1", False),
        ("https://box:1/ollama", False),
    ],
)
def test_what_is_on_this_machine_is_known(url: str, here: bool) -> None:
    assert ollama.Server(url).is_here is here


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("", "http://127.0.0.1:11434"),
        ("0.0.0.0", "http://127.0.0.1:11434"),
        ("0.0.0.0:8080", "http://127.0.0.1:8080"),
        (":8080", "http://127.0.0.1:8080"),
        ("box", "http://box:11434"),
        ("box:99", "http://box:99"),
        ("box:", "http://box:11434"),
        ("box:99999", "http://box:11434"),
        ("box:port", "http://box:11434"),
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


@pytest.mark.parametrize("name", ["tiny", "tiny:q8_0", "me/tiny", "box.org:5000/me/tiny:1.0", "_a", "a" * 80, "Q-1.5"])
def test_a_name_that_ollama_takes(name: str) -> None:
    assert checked_name(name) == name


@pytest.mark.parametrize(
    "name",
    ["", " ", "a b", "a/b/c/d", "-a", ".a", "a:", ":a", "a:b:c", "é", "a" * 81, "me.x/a", "a/", "/a", "a@b", "a\n",
     "a:cloud", "a:7b-cloud", "a:Cloud", "a:local"],
)  # fmt: skip
def test_a_name_that_ollama_would_refuse_or_take_for_something_else(name: str) -> None:
    with pytest.raises(UsageError):
        checked_name(name)


def test_the_names_are_those_that_the_other_side_takes() -> None:
    fake = Ollama(lambda _, text: 0)
    for name in ("tiny", "me/tiny:1", "Q-1.5"):
        assert fake.named(checked_name(name)).startswith(name)


def test_a_server_that_is_not_there_is_named(release: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    monkeypatch.setenv("OLLAMA_HOST", f"127.0.0.1:{port}")
    with pytest.raises(OllamaError, match=f"does not answer at http://127.0.0.1:{port} .*refused") as caught:
        register(release)
    assert caught.value.hint == "start it with: ollama serve"


@pytest.mark.parametrize("host", ["http://", "ftp://box", "a b", "[", "no-such-host.invalid", "\ud800", "box/\n"])
def test_a_host_that_cannot_be_is_a_message_too(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ollama, "PROBE", 1.0)
    with pytest.raises(OllamaError, match="does not answer"):
        ollama.ready("tiny", host)


@pytest.mark.parametrize(
    "answer", [b"220 mail ready\r\n", b"HTTP/1.1 200 OK\r\n\r\nhello", b"HTTP/1.1 200 OK\r\n\r\n[]"]
)
def test_a_server_that_speaks_another_language_is_a_message_too(answer: bytes) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def speak() -> None:
            connection, _ = listening.accept()
            with connection:
                connection.recv(1000)
                connection.sendall(answer)

        thread = threading.Thread(target=speak)
        thread.start()
        with pytest.raises(OllamaError, match=r"does not answer|is not Ollama"):
            ollama.ready("tiny", f"127.0.0.1:{listening.getsockname()[1]}")
        thread.join()


@pytest.mark.parametrize(
    ("version", "accepted"), [("0.5.4", False), ("0.5.5", True), ("0.30.1-rc2", True), ("0.0.0", True)]
)
def test_an_ollama_that_is_too_old_is_told(fake: Ollama, version: str, accepted: bool) -> None:
    fake.version = version
    if accepted:
        assert ollama.ready("tiny").url == fake.url
    else:
        with pytest.raises(OllamaError, match=f"Ollama {version} at {fake.url} is too old"):
            ollama.ready("tiny")


def test_no_proxy_is_asked(fake: Ollama, release: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    register(release)
    assert "tiny:latest" in fake.models


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("ollama") is None, reason="there is no ollama here")
def test_the_real_ollama_takes_a_release_and_reads_as_it_was_trained(release: Path, tmp_path: Path) -> None:
    """With a port and a folder of models of its own, so that nobody's Ollama sees anything of it."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        host = f"127.0.0.1:{free.getsockname()[1]}"
    environment = {**os.environ, "OLLAMA_HOST": host, "OLLAMA_MODELS": str(tmp_path / "models"), "HOME": str(tmp_path)}
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(["ollama", "serve"], env=environment, stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            try:
                ollama.ready("tiny", host)
                break
            except OllamaError:
                time.sleep(0.2)
        screen = register(release, "pipeline-test", host=host)
        assert "tokens that training makes of it" in screen.said[-1]
        server = ollama.Server(ollama_url(host))
        shown = server.show("pipeline-test")
        assert shown is not None and set(read_recipe(release).differences(shown)) <= {"weights"}
        assert {"completion", "insert"} <= set(shown["capabilities"])
        register(release, "pipeline-test", host=host, overwrite=True)
        write_modelfile(release, replace(MODELFILE, fim=False))
        register(release, "pipeline-test", host=host, overwrite=True)
        shown = server.show("pipeline-test")
        assert shown is not None and "insert" not in shown["capabilities"]
    finally:
        process.terminate()
        process.wait(30)
