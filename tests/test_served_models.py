"""Models behind Ollama's API and OpenAI's: the answers of our own runtime, and every way in which a service fails.

Ollama is one that speaks the documented API and nothing else (github.com/ollama/ollama, docs/api.md), with llama.cpp
behind a TEMPLATE; the other is the real server of llama.cpp.
"""

from __future__ import annotations

import codecs
import json
import re
import socket
import struct
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from reference.ollama_template import render
from test_convert import CONTEXT, TinyRelease, make_release
from test_modelfile import MODELFILE

from pipeline.errors import PipelineError, UsageError
from stages.evaluation.models import open_model, served, service
from stages.evaluation.models.gguf import GGUF
from stages.evaluation.models.interface import Answer, Chat, Defaults, Gap, Model, Prompt, Text, TooLong
from stages.evaluation.models.service import Service, ServiceError
from stages.release.gguf import GgufMetadata, write_gguf
from stages.release.modelfile import read_modelfile
from stages.release.runtime import Runtime
from stages.tokens.sampling import Sampling

GREEDY = Sampling(temperature=0.0, top_k=0)
KEY = "sk-secret-0123456789"
FIELDS: Mapping[str, Mapping[str, type | tuple[type, ...]]] = {
    "/api/show": {"model": str, "verbose": bool},
    "/api/generate": {
        "model": str, "prompt": str, "suffix": str, "images": list, "format": (str, dict), "options": dict,
        "system": str, "template": str, "stream": bool, "raw": bool, "keep_alive": (str, int), "context": list,
        "think": (bool, str), "truncate": bool, "shift": bool, "logprobs": bool, "top_logprobs": int,
    },
    "/api/chat": {
        "model": str, "messages": list, "stream": bool, "format": (str, dict), "options": dict, "tools": list,
        "keep_alive": (str, int), "think": (bool, str), "truncate": bool, "shift": bool, "logprobs": bool,
        "top_logprobs": int,
    },
}  # fmt: skip
OPTIONS = {
    "num_keep": int, "seed": int, "num_predict": int, "top_k": int, "top_p": float, "min_p": float,
    "typical_p": float, "repeat_last_n": int, "temperature": float, "repeat_penalty": float,
    "presence_penalty": float, "frequency_penalty": float, "stop": list, "num_ctx": int, "num_batch": int,
    "num_gpu": int, "main_gpu": int, "use_mmap": bool, "num_thread": int,
}  # fmt: skip
DEFAULTS = {
    "num_predict": -1, "temperature": 0.8, "top_k": 40, "top_p": 0.9, "min_p": 0.0, "repeat_last_n": 64,
    "repeat_penalty": 1.1, "seed": -1,
}  # fmt: skip
PROMPTS: list[Prompt] = [
    Chat(({"role": "user", "content": "Blink pin 1."},)),
    Chat(({"role": "system", "content": "Be brief."}, {"role": "user", "content": " Hi\n"})),
    Chat(({"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}, {"role": "user", "content": "c"})),
    Chat(({"role": "user", "content": "a"}, {"role": "user", "content": "b"})),
    Chat(({"role": "user", "content": "a"}, {"role": "assistant", "content": "from "})),
    Text("from machine import"),
    Text("led_3 = "),
    Gap("def f(", "):\n"),
]
Script = Callable[[BaseHTTPRequestHandler], None]


class Refused(Exception):
    """An answer with an HTTP status of 400 and more."""


class Fake:
    """An Ollama with one model. `faults` says by path what to do instead of answering, once each."""

    def __init__(self, folder: Path, name: str = "tiny:latest") -> None:
        told = read_modelfile(folder / "Modelfile")
        self.values = {each.name: each.value for each in told}
        self.stops = [each.value for each in told if each.name == "stop"]
        self.path, self.name = folder / self.values["FROM"], name
        self.runtime, self.lock = Runtime(self.path, as_served=True), threading.Lock()
        self.faults: dict[str, deque[Script]] = {}
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.url, self.busy, self.most = "", 0, 0

    def show(self, asked: dict[str, Any]) -> Iterator[dict[str, Any]]:
        yield {
            "template": self.values["TEMPLATE"],
            "system": self.values.get("SYSTEM", ""),
            "parameters": f"temperature                    0.2\nnum_ctx                        {CONTEXT}\n"
            'stop                           "<|im_end|>"\nstop                           "\\"\\n"\nnum_gpu       1\n'
            "repeat_penalty                 1.05",
            "details": {"format": "gguf", "parameter_size": "1K"},
            "model_info": {"general.architecture": "llama", "llama.context_length": 4 * CONTEXT},
            "capabilities": ["completion", *["insert"] * (".Suffix" in self.values["TEMPLATE"])],
        }

    def tags(self) -> Iterator[dict[str, Any]]:
        yield {"models": [{"name": "other:latest", "size": 1}, {"name": self.name, "size": self.path.stat().st_size}]}

    def chat(self, asked: dict[str, Any]) -> Iterator[dict[str, Any]]:
        messages = asked["messages"]
        if messages[0]["role"] != "system" and self.values.get("SYSTEM"):
            messages = [{"role": "system", "content": self.values["SYSTEM"]}, *messages]
        prompt = render(self.values["TEMPLATE"], messages=messages)
        for told in self.written(prompt, asked):
            yield {**told, "message": {"role": "assistant", "content": told.pop("text")}}

    def generate(self, asked: dict[str, Any]) -> Iterator[dict[str, Any]]:
        if not asked["prompt"]:
            yield {"model": asked["model"], "response": "", "done": True, "done_reason": "load"}
            return
        prompt = asked["prompt"]
        if asked.get("suffix"):
            prompt = render(self.values["TEMPLATE"], prompt=prompt, suffix=asked["suffix"])
        elif not asked.get("raw"):
            prompt = render(self.values["TEMPLATE"], messages=[{"role": "user", "content": prompt}])
        for told in self.written(prompt, asked):
            yield {**told, "response": told.pop("text")}

    def written(self, prompt: str, asked: dict[str, Any]) -> Iterator[dict[str, Any]]:
        options = {**DEFAULTS, **asked.get("options", {})}
        ids = self.runtime.tokenize(prompt, add_special=True, parse_special=True)
        room = options.get("num_ctx", 4096) - len(ids)
        if room < 1:
            assert asked.get("truncate") is False, "the prompt would have been cut"
            raise Refused(400, "the input length exceeds the context length")
        sampling = Sampling(**{name: options[name] for name in vars(Sampling())})
        most = min(room, options["num_predict"] if options["num_predict"] >= 0 else room)
        whole, said, count, why = "", 0, 0, "length"
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        with self.lock:
            tokens = list(self.runtime.generate(ids, max_tokens=most, sampling=sampling, seed=options["seed"]))
        for token in tokens:
            count += 1
            whole += decoder.decode(self.runtime.piece(token))
            if any(stop in whole for stop in self.stops):
                break
            yield {"model": asked["model"], "created_at": "now", "text": whole[said:], "done": False}
            said = len(whole)
        rest = (whole + decoder.decode(b"", True))[said:]
        cut = min((rest.find(stop) for stop in self.stops if stop in rest), default=len(rest))
        why = "stop" if cut < len(rest) or len(tokens) < most else "length"
        yield {
            "model": asked["model"], "text": rest[:cut], "done": True, "done_reason": why, "total_duration": 1,
            "prompt_eval_count": len(ids), "eval_count": count + (why == "stop"),
        }  # fmt: skip


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    fake: Fake

    def do_GET(self) -> None:
        self.answer(lambda: self.fake.tags() if self.path == "/api/tags" else None)

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.fake.asked.append((self.path, asked))
        answers = {"/api/show": self.fake.show, "/api/chat": self.fake.chat, "/api/generate": self.fake.generate}
        self.answer(lambda: self.checked(asked) and answers[self.path](asked) if self.path in answers else None)

    def checked(self, asked: dict[str, Any]) -> bool:
        for key, value in asked.items():
            if not isinstance(value, FIELDS[self.path].get(key, ())):
                raise Refused(400, f"json: unknown field or wrong type: {key}")
        for key, value in asked.get("options", {}).items():
            kind = OPTIONS.get(key)
            if kind is None or not isinstance(value, (int, float) if kind is float else kind):
                raise Refused(400, f"option {key!r} must be of another type")
        name = asked["model"] if ":" in asked["model"] else f"{asked['model']}:latest"
        if name != self.fake.name:
            raise Refused(404, f"model '{asked['model']}' not found")
        return True

    def answer(self, answer: Callable[[], Any]) -> None:
        if faults := self.fake.faults.get(self.path):
            self.close_connection = True
            return faults.popleft()(self)
        with self.fake.lock:
            self.fake.busy += 1
            self.fake.most = max(self.fake.most, self.fake.busy)
        try:
            told = answer()
            if told is None:
                raise Refused(404, "404 page not found")
            first = next(told)
        except Refused as refused:
            return reply(self, *refused.args)
        finally:
            with self.fake.lock:
                self.fake.busy -= 1
        lines = [json.dumps(each) + "\n" for each in (first, *told)]
        return send(self, "".join(lines), cut=len(lines[0]) // 2)

    def log_message(self, *args: Any) -> None:
        pass


def send(handler: BaseHTTPRequestHandler, text: str, *, status: int = 200, end: bool = True, cut: int = 0) -> None:
    """An answer in chunks that do not end where lines do; without its `end` the connection breaks."""
    data = text.encode()
    handler.send_response(status)
    handler.send_header("Content-Type", "application/x-ndjson")
    handler.send_header("Transfer-Encoding", "chunked")
    handler.end_headers()
    for part in (data[:cut], data[cut:]):
        if part:
            handler.wfile.write(f"{len(part):x}\r\n".encode() + part + b"\r\n")
    if end:
        handler.wfile.write(b"0\r\n\r\n")


def reply(handler: BaseHTTPRequestHandler, status: int, error: str, **headers: str) -> None:
    data = json.dumps({"error": error}).encode()
    handler.send_response(status)
    for name, value in headers.items():
        handler.send_header(name.replace("_", "-"), value)
    handler.send_header("Content-Length", str(len(data)))
    handler.end_headers()
    handler.wfile.write(data)


def refuse(status: int, error: str, **headers: str) -> Script:
    return lambda handler: reply(handler, status, error, **headers)


def lines(*objects: Any, end: bool = True, events: bool = False) -> Script:
    texts = [each if isinstance(each, str) else json.dumps(each) for each in objects]
    text = "".join(f"data: {each}\n\n" if events else f"{each}\n" for each in texts)
    return lambda handler: send(handler, text, end=end)


def hang_up(handler: BaseHTTPRequestHandler) -> None:
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    handler.connection.close()


class Quiet(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """The other side hung up, or a script did."""


@contextmanager
def serving(handler: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    with Quiet(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    release: TinyRelease = make_release(tmp_path_factory.mktemp("served") / "made", steps=30)
    release.convert()
    folder = release.root / "tiny"
    folder.mkdir()
    write_gguf(release.root / "convert", folder / MODELFILE.gguf, file_type="f32", metadata=GgufMetadata("tiny"))
    (folder / "Modelfile").write_text(replace(MODELFILE, system="Be kind.", fim=True).render())
    return folder


@pytest.fixture(scope="module")
def own(folder: Path) -> Iterator[GGUF]:
    model = GGUF(folder / MODELFILE.gguf)
    yield model
    model.close()


@pytest.fixture(scope="module")
def running(folder: Path) -> Iterator[Fake]:
    fake = Fake(folder)
    with serving(type("Served", (Handler,), {"fake": fake})) as fake.url:
        yield fake
    fake.runtime.close()


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Waits between tries are there, and short."""
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)


@pytest.fixture
def fake(running: Fake, monkeypatch: pytest.MonkeyPatch) -> Fake:
    running.faults.clear()
    running.asked.clear()
    running.most = 0
    monkeypatch.setenv("OLLAMA_HOST", running.url)
    return running


def written(model: Any, prompts: list[Prompt], sampling: Sampling = GREEDY, most: int = 24) -> list[Answer]:
    answers: list[Answer] = model.write(prompts, sampling=sampling, max_tokens=most, seeds=range(len(prompts)))
    return answers


def streamed(model: Any, prompt: Prompt, sampling: Sampling = GREEDY, most: int = 24) -> tuple[list[str], Answer]:
    texts, stream = [], model.stream(prompt, sampling=sampling, max_tokens=most, seed=0)
    while True:
        try:
            texts.append(next(stream))
        except StopIteration as stop:
            return texts, stop.value


def test_a_model_in_ollama_answers_as_its_file_does_here(fake: Fake, own: GGUF) -> None:
    with open_model("ollama:tiny") as model:
        assert model.system == own.system == "Be kind." and (model.chats, model.fills) == (True, True)
        for sampling in (GREEDY, Sampling(temperature=1.1, top_k=9, top_p=0.9, min_p=0.01, repeat_penalty=1.3)):
            ours = [  # beside each other, sums are rounded otherwise
                own.write([prompt], sampling=sampling, max_tokens=24, seeds=[seed])[0]
                for seed, prompt in enumerate(PROMPTS)
            ]
            assert written(model, PROMPTS, sampling) == ours
        assert sum(len(answer.text) for answer in ours) > 200


def test_a_system_message_of_ones_own_takes_the_place_of_the_models(fake: Fake, folder: Path) -> None:
    with open_model("ollama:tiny", system="Be rude.") as model, GGUF(folder / MODELFILE.gguf, system="Be rude.") as own:
        assert [each.text for each in written(model, PROMPTS[:2])] == [each.text for each in written(own, PROMPTS[:2])]
    with pytest.raises(UsageError, match="tiny has a system message of its own"):
        open_model("ollama:tiny", system="")


def test_what_ollama_is_asked_leaves_no_default_of_its_own(fake: Fake) -> None:
    sampling = Sampling(temperature=0.5, top_k=7, top_p=0.9, min_p=0.1, repeat_penalty=1.2, repeat_last_n=33)
    with open_model("ollama:tiny") as model:
        assert (model.name, model.kind, model.source) == ("tiny", "ollama", f"tiny at {fake.url}")
        assert model.size == fake.path.stat().st_size and model.context_length == CONTEXT
        assert model.defaults == Defaults(temperature=0.2, repeat_penalty=1.05, stop=("<|im_end|>", '"\n'))
        model.write(PROMPTS[:1], sampling=sampling, max_tokens=5, seeds=[1 << 40])
    (_, body) = next(each for each in fake.asked if each[0] == "/api/chat")
    assert body["options"] == {
        "temperature": 0.5, "top_k": 7, "top_p": 0.9, "min_p": 0.1, "typical_p": 1.0, "repeat_penalty": 1.2,
        "repeat_last_n": 33, "presence_penalty": 0.0, "frequency_penalty": 0.0, "seed": 0, "num_predict": 5,
        "num_ctx": CONTEXT,
    }  # fmt: skip
    assert (body["truncate"], body["shift"], body["think"], body["stream"]) == (False, False, False, True)


def test_answers_come_in_the_order_of_their_prompts_from_several_requests_at_once(fake: Fake, own: GGUF) -> None:
    prompts: list[Prompt] = [Text(f"led_{number} = Pin(") for number in range(12)]
    told: list[int] = []
    meeting = threading.Barrier(2)

    def meet(handler: BaseHTTPRequestHandler) -> None:
        meeting.wait(20)  # for another request, which comes only if this one is not waited for
        reply(handler, 503, "busy")

    fake.faults["/api/generate"] = deque([meet, meet])
    with open_model(f"ollama:tiny@{fake.url}") as model:
        many = model.write(prompts, sampling=GREEDY, max_tokens=8, seeds=[0] * 12, advance=told.append)
    assert [each.text for each in many] == [each.text for each in written(own, prompts, most=8)]
    assert sum(told) == 12 and not meeting.broken and fake.most <= served.TOGETHER


def test_an_answer_is_streamed(fake: Fake) -> None:
    with open_model("ollama:tiny") as model:
        for prompt in (PROMPTS[0], PROMPTS[5], PROMPTS[7]):
            texts, answer = streamed(model, prompt)
            assert len(texts) > 5 and "".join(texts) == answer.text and [answer] == written(model, [prompt])


def test_a_prompt_that_does_not_fit_is_not_cut(fake: Fake) -> None:
    with open_model("ollama:tiny") as model:
        long = Text("blink " * CONTEXT)
        answers = written(model, [long, PROMPTS[5]])
        assert answers[0] == Answer("", 0, ended=False) and answers[1].tokens
        with pytest.raises(TooLong, match="does not fit tiny's context"):
            streamed(model, long)
        assert written(model, [PROMPTS[5]], most=0) == [Answer("", 0, ended=False)]


def test_what_ollama_takes_for_something_else_is_not_sent(fake: Fake) -> None:
    with open_model("ollama:tiny") as model:
        fake.asked.clear()
        for prompt, told in (
            (Text(""), "does not begin a text"),
            (Gap("", "x"), "only between two texts"),
            (Gap("x", ""), "only between two texts"),
        ):
            with pytest.raises(UsageError, match=told):
                written(model, [PROMPTS[0], prompt])
        model.chats = model.fills = False
        with pytest.raises(UsageError, match="was not taught to answer"):
            written(model, [PROMPTS[0]])
        with pytest.raises(UsageError, match="was not taught to fill gaps"):
            streamed(model, PROMPTS[7])
        assert fake.asked == []
        assert list(model.likelihood(["a", "b"], 8)) == [None, None]


def test_a_base_model_is_not_asked_questions(fake: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(fake.values, "TEMPLATE", "{{ .Prompt }}")
    with open_model("ollama:tiny") as model:
        assert (model.chats, model.fills) == (False, False)


def test_no_ollama_and_no_such_model_are_told_with_the_command_that_helps(fake: Fake) -> None:
    with pytest.raises(ServiceError, match=f"{fake.url} has no model qwen:1b") as caught:
        open_model("ollama:qwen:1b")
    assert caught.value.hint == "ollama pull qwen:1b"
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with pytest.raises(ServiceError, match="does not answer") as caught:
        open_model(f"ollama:tiny@http://127.0.0.1:{port}")
    assert caught.value.hint == "start it with: ollama serve"


DONE = {"message": {"content": ""}, "done": True, "done_reason": "stop", "eval_count": 3}
HALF = {"message": {"content": "led"}, "done": False}
PASSING: dict[str, Script] = {
    "500": refuse(500, "llama runner process has terminated"),
    "503 with a wait": refuse(503, "server busy", Retry_After="2"),
    "429": refuse(429, "slow down"),
    "hangs up": hang_up,
    "no JSON": lines(HALF, "{half"),
    "no object": lines([1, 2]),
    "a number for a text": lines({"message": {"content": 7}, "done": False}),
    "cut": lines(HALF, end=False),
    "ended before it was done": lines(HALF, HALF),
    "an error on the way": lines(HALF, {"error": "an unknown error was encountered while running the model"}),
    "empty": lines(),
}


@pytest.mark.parametrize("fault", PASSING.values(), ids=PASSING)
def test_what_may_pass_is_tried_again(fake: Fake, own: GGUF, fault: Script) -> None:
    fake.faults["/api/chat"] = deque([fault, fault])
    with open_model("ollama:tiny") as model:
        assert [each.text for each in written(model, PROMPTS[:1])] == [each.text for each in written(own, PROMPTS[:1])]
        assert len([path for path, _ in fake.asked if path == "/api/chat"]) == 3
        fake.faults["/api/chat"] = deque([fault] * served.TRIES)
        with pytest.raises(ServiceError) as caught:
            written(model, PROMPTS[:1])
        assert not fake.faults["/api/chat"] and fake.url in str(caught.value)


LASTING: dict[str, tuple[Script, str]] = {
    "400": (refuse(400, "invalid option provided"), "refuses with status 400: invalid option provided"),
    "404": (refuse(404, "model 'tiny' not found"), "has no model tiny"),
    "elsewhere": (refuse(307, "", Location="http://example.com/x"), "sends elsewhere, to http://example.com/x"),
    "an error that stays": (lines({"error": "bad template", "status": 400}), "refuses: bad template"),
    "a line without end": (lines("x" * 9000), "sends a line of more than 5,000 bytes"),
    "a text without end": (lines(*[HALF] * 900), "answers with more than 20,000 bytes"),
}


@pytest.mark.parametrize(("fault", "told"), LASTING.values(), ids=LASTING)
def test_what_stays_is_told_at_once(fake: Fake, monkeypatch: pytest.MonkeyPatch, fault: Script, told: str) -> None:
    with open_model("ollama:tiny") as model:
        monkeypatch.setattr(service, "LINE", 5_000)
        monkeypatch.setattr(service, "ANSWER", 20_000)
        monkeypatch.setattr(service, "BLOCK", 1_000)
        fake.faults["/api/chat"] = deque([fault])
        fake.asked.clear()
        with pytest.raises(ServiceError, match=told):
            written(model, PROMPTS[:1])
        assert len(fake.asked) == 1
        fake.faults["/api/chat"] = deque([fault])
        with pytest.raises(ServiceError, match=told):
            streamed(model, PROMPTS[0])


def test_a_service_that_hangs_is_left(fake: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
    def say_nothing(handler: BaseHTTPRequestHandler) -> None:
        over.wait(20)

    def hang(handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        handler.wfile.flush()
        over.wait(20)

    def drip(handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(b"HTTP/1.1 200 OK\r\n\r\n")
        while not over.wait(0.02):
            handler.wfile.write(b" ")

    over = threading.Event()
    with open_model("ollama:tiny") as model:
        monkeypatch.setattr(service, "SILENCE", 0.2)
        monkeypatch.setattr(service, "WHOLE", 0.3)
        began = time.monotonic()
        scripts: list[tuple[Script, str]] = [
            (say_nothing, "said nothing for 0"),
            (hang, "said nothing for 0"),
            (drip, "has not ended its answer after 0"),
        ]
        for script, told in scripts:
            fake.faults["/api/chat"] = deque([script])
            with pytest.raises(ServiceError, match=told):
                written(model, PROMPTS[:1])
        assert time.monotonic() - began < 10
    over.set()


def test_what_was_streamed_is_not_said_twice(fake: Fake) -> None:
    with open_model("ollama:tiny") as model:
        fake.faults["/api/chat"] = deque([refuse(500, "not yet")])
        assert streamed(model, PROMPTS[0])[1].tokens
        fake.faults["/api/chat"] = deque([lines(HALF, end=False)])
        stream = model.stream(PROMPTS[0], sampling=GREEDY, max_tokens=9, seed=0)
        assert next(stream) == "led"
        with pytest.raises(ServiceError, match="does not answer"):
            next(stream)


def test_an_error_ends_the_other_requests(fake: Fake) -> None:
    fake.faults["/api/generate"] = deque([refuse(400, "no")] * 100)
    with open_model("ollama:tiny") as model:
        fake.asked.clear()
        with pytest.raises(ServiceError, match="status 400: no"):
            written(model, [PROMPTS[5]] * 100)
        assert len(fake.asked) < 100


def test_ollama_leaves_a_model_that_repeats_itself_without_a_word(fake: Fake) -> None:
    """It stops after 30 times the same token, and its stream ends (github.com/ollama/ollama, llm/llama_server.go)."""
    again = {"message": {"content": " x"}, "done": False}
    with open_model("ollama:tiny") as model:
        fake.faults["/api/chat"] = deque([lines(HALF, *[again] * 31)])
        assert written(model, PROMPTS[:1]) == [Answer("led" + " x" * 31, 32, ended=False)]


def test_versions_that_do_not_say_why_they_ended_are_understood(fake: Fake) -> None:
    with open_model("ollama:tiny") as model:
        for count, ended in ((3, True), (24, False)):
            told = {"message": {"content": "x"}, "done": True, "eval_count": count}
            fake.faults["/api/chat"] = deque([lines(told)])
            assert written(model, PROMPTS[:1]) == [Answer("x", count - ended, ended=ended)]


@pytest.mark.parametrize(
    ("spec", "told"),
    [
        ("ollama:", "`ollama:` names no model"),
        ("ollama:@http://x:1", "names no model"),
        ("ollama:http://x:1", "names no model"),
        ("ollama:a b", "names no model"),
        ("openai:gpt", "`openai:gpt` does not say where it is served"),
        ("openai:gpt@ftp://x/v1", "does not say where|names no model"),
        ("openai:gpt@http://", "names no model|no address"),
        ("openai:gpt@http://x:port/v1", "`http://x:port/v1` is no address"),
        ("openai:gpt@http://x:99999/v1", "is no address"),
        ("openai:gpt@http://x/v 1", "is no address"),
        ("openai:gpt@http://ada:lovelace@x/v1", "a password in an address ends in logs"),
    ],
)
def test_what_names_no_service_is_told_with_a_way_out(spec: str, told: str) -> None:
    with pytest.raises(UsageError, match=told) as caught:
        open_model(spec)
    assert "lovelace" not in f"{caught.value} {caught.value.hint}"


class OpenAI:
    """A service that answers by script, and remembers what it was sent."""

    def __init__(self) -> None:
        self.models: Script = lines({"data": [{"id": "gpt-small"}, {"id": "gpt-large"}]})
        self.script: deque[Script] = deque()
        self.asked: list[dict[str, Any]] = []
        self.keys: set[str | None] = set()
        self.url = ""


@pytest.fixture
def openai() -> Iterator[OpenAI]:
    told = OpenAI()

    class Answering(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            told.keys.add(self.headers["Authorization"])
            self.close_connection = True
            told.models(self)

        def do_POST(self) -> None:
            told.keys.add(self.headers["Authorization"])
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            told.asked.append({"path": self.path, **body})
            self.body = body
            self.close_connection = True
            told.script.popleft()(self)

        def log_message(self, *args: Any) -> None:
            pass

    with serving(Answering) as url:
        told.url = f"{url}/v1"
        yield told


def said(*texts: str, why: str | None = "stop", tokens: int | None = 5) -> Script:
    events: list[Any] = [{"choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}}]}]
    events += [{"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": None}]} for text in texts]
    events.append({"choices": [{"index": 0, "delta": {}, "finish_reason": why}]})
    if tokens is not None:
        events.append({"choices": [], "usage": {"completion_tokens": tokens, "total_tokens": 99}})
    return lines(*events, "[DONE]", events=True)


def test_an_answer_of_a_service_is_read_as_it_comes(openai: OpenAI, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", f" {KEY}\n")
    with open_model(f"openai:gpt-small@{openai.url}", system="Be brief.") as model:
        assert (model.name, model.kind, model.source) == ("gpt-small", "openai", f"gpt-small at {openai.url}")
        assert (model.chats, model.fills, model.size, model.context_length) == (True, False, None, None)
        openai.script += [said("led", ".on()"), said("led", "\u6f22", why="length", tokens=None)]
        assert streamed(model, PROMPTS[0]) == (["led", ".on()"], Answer("led.on()", 4, ended=True))
        assert written(model, PROMPTS[:1]) == [Answer("led\u6f22", 2, ended=False)]
        text = lines({"choices": [{"text": "x", "finish_reason": "stop"}]}, events=True)
        openai.script += [lambda handler: text(handler)]
        assert written(model, [Text("a")]) == [Answer("x", 1, ended=True)]
        assert list(model.likelihood(["a"], 8)) == [None]
    chat, _, completion = openai.asked
    assert (chat["path"], completion["path"]) == ("/v1/chat/completions", "/v1/completions")
    assert chat["messages"] == [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Blink pin 1."}]
    assert completion["prompt"] == "a" and chat["model"] == "gpt-small"
    assert (chat["temperature"], chat["top_k"], chat["max_tokens"], chat["seed"]) == (0.0, 0, 24, 0)
    assert openai.keys == {f"Bearer {KEY}"}


@pytest.mark.parametrize("echo", ["message", "text"])
def test_a_key_is_in_no_message_and_is_not_carried_elsewhere(
    openai: OpenAI, monkeypatch: pytest.MonkeyPatch, echo: str
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    elsewhere: list[str] = []

    class Elsewhere(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            elsewhere.append(self.path)

        do_GET = do_POST

    body = json.dumps({"error": {"message": f"Incorrect API key provided: {KEY}", "code": "invalid_api_key"}})
    answer = body if echo == "message" else f"<p>{KEY}</p>"
    with open_model(f"openai:gpt-small@{openai.url}") as model, serving(Elsewhere) as other:
        openai.script += [lambda handler: send(handler, answer, status=401)]
        with pytest.raises(ServiceError) as caught:
            written(model, PROMPTS[:1])
        assert KEY not in f"{caught.value!r} {caught.value.hint}" and "…" in str(caught.value)
        assert caught.value.hint == "set OPENAI_API_KEY to a key that it takes"
        for status in (301, 302, 303, 307, 308):
            openai.script += [refuse(status, "moved", Location=f"{other}/v1/chat/completions")]
            with pytest.raises(ServiceError, match=f"sends elsewhere, to {other}"):
                written(model, PROMPTS[:1])
    assert elsewhere == [] and KEY not in f"{model.name} {model.source}"


@pytest.mark.parametrize("place", ["http://example.com", "http://192.168.1.5:8000", "http://localhost.example.com"])
def test_a_key_leaves_this_machine_only_encrypted(monkeypatch: pytest.MonkeyPatch, place: str) -> None:
    def open_nothing(*_: Any, **__: Any) -> None:
        raise AssertionError("it was sent")

    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setattr("urllib.request.OpenerDirector.open", open_nothing)
    with pytest.raises(UsageError, match=f"OPENAI_API_KEY would go to {place}/v1 ") as caught:
        open_model(f"openai:gpt@{place}/v1")
    assert KEY not in f"{caught.value!r} {caught.value.hint}"
    assert "https://" in str(caught.value.hint) and "unset OPENAI_API_KEY" in str(caught.value.hint)
    for fine in (place.replace("http:", "https:"), "http://localhost:1", "http://127.0.0.3:1", "http://[::1]:1"):
        assert Service("x", fine, key=KEY).url == fine
    assert Service("x", place).url == place


@pytest.mark.parametrize("key", ["sk-\x01", "sk-漢", "a b"])
def test_a_key_that_cannot_be_one_is_told_without_it(openai: OpenAI, monkeypatch: pytest.MonkeyPatch, key: str) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", key)
    with pytest.raises(UsageError, match="characters that no key has") as caught:
        open_model(f"openai:gpt-small@{openai.url}")
    assert key not in str(caught.value)


def test_a_model_that_a_service_does_not_have_is_told_with_those_it_has(openai: OpenAI) -> None:
    with open_model(f"openai:gpt-smal@{openai.url}") as model:
        openai.script += [refuse(404, "The model does not exist")]
        with pytest.raises(ServiceError, match="status 404: The model does not exist") as caught:
            written(model, PROMPTS[:1])
    assert caught.value.hint == "it serves gpt-small, gpt-large"


def test_a_service_need_not_list_its_models(openai: OpenAI) -> None:
    openai.models = refuse(404, "not found")
    with open_model(f"openai:gpt@{openai.url}") as model:
        openai.script += [said("x")]
        assert written(model, PROMPTS[:1]) == [Answer("x", 4, ended=True)]
    openai.models = refuse(401, "no key")
    with pytest.raises(ServiceError, match="no key"):
        open_model(f"openai:gpt@{openai.url}")


def test_what_a_service_does_not_take_is_left_out_where_that_changes_nothing(openai: OpenAI) -> None:
    length = "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead."
    with open_model(f"openai:gpt-small@{openai.url}") as model:
        openai.script += [refuse(400, "Unrecognized request argument supplied: top_k"), refuse(400, length), said("x")]
        assert written(model, PROMPTS[:1]) == [Answer("x", 4, ended=True)]
        last = openai.asked[-1]
        assert "top_k" not in last and "max_tokens" not in last and last["max_completion_tokens"] == 24
        openai.script += [said("y")]
        assert written(model, PROMPTS[:1])[0].text == "y"
        openai.script += [refuse(400, "Unrecognized request argument supplied: top_k")]
        with pytest.raises(UsageError, match=r"does not take top_k 40: .*Unrecognized request") as caught:
            written(model, PROMPTS[:1], Sampling(temperature=0.2, top_k=40))
        assert caught.value.hint == "it may answer with top_k 0" and openai.asked[-1]["top_k"] == 40
        openai.script += [refuse(400, "messages are too odd")]
        with pytest.raises(ServiceError, match="too odd"):
            written(model, PROMPTS[:1])
        openai.script += [refuse(400, "top_k")]  # which was not sent
        with pytest.raises(ServiceError, match="status 400: top_k"):
            written(model, PROMPTS[:1])


OFF: dict[str, Any] = {"temperature": 0.5, "top_k": 0}


@pytest.mark.parametrize(
    ("refused", "idle", "meant"),
    [
        ("seed", OFF, None),
        ("stream_options", OFF, None),
        ("top_p", OFF, {"top_p": 0.9}),
        ("top_k", OFF, {"top_k": 9}),
        ("min_p", OFF, {"min_p": 0.1}),
        ("top_p", {"temperature": 0, "top_p": 0.9}, {"top_p": 0.9}),
        ("top_k", {"temperature": 0, "top_k": 9}, {"top_k": 9}),
        ("repeat_penalty", {**OFF, "repeat_penalty": 1.1}, None),
        ("repetition_penalty", {**OFF, "repeat_penalty": 1.1}, None),
        ("repeat_last_n", OFF, {"repeat_penalty": 1.1}),
        ("temperature", None, {"temperature": 0}),
    ],
)
@pytest.mark.parametrize("status", [400, 422])
def test_an_option_that_is_refused_is_left_out_where_it_changes_nothing_or_else_named(
    openai: OpenAI, refused: str, idle: dict[str, Any] | None, meant: dict[str, Any] | None, status: int
) -> None:
    told = {"detail": [{"loc": ["body", refused], "msg": "Extra inputs are not permitted"}]}

    def picky(handler: Any) -> None:
        if refused in handler.body:
            return send(handler, json.dumps(told), status=status)
        return said("x", tokens=None)(handler)

    openai.script += [picky] * 5
    with open_model(f"openai:gpt-small@{openai.url}") as model:
        if idle:
            assert written(model, PROMPTS[:1] * 2, Sampling(**idle)) == [Answer("x", 1, ended=True)] * 2
            first, last = openai.asked[0], openai.asked[-1]
            assert first.keys() - last.keys() == {refused} and not last.keys() - first.keys()
            streamed(model, PROMPTS[0], Sampling(**idle))
            assert len(openai.asked) <= 5 and refused not in openai.asked[-1]
        openai.script.extend([picky] * 5)
        if meant:
            with pytest.raises(UsageError, match=f"does not take {refused} .*Extra inputs") as caught:
                written(model, PROMPTS[:1], Sampling(**OFF | meant))
            assert str(caught.value.hint).startswith("it may answer with ")


def test_a_service_that_takes_neither_penalty_is_told(openai: OpenAI) -> None:
    def picky(handler: Any) -> None:
        names = [name for name in served.PENALTIES if name in handler.body]
        (refuse(400, f"unknown: {names[0]}") if names else said("x"))(handler)

    openai.script += [picky] * 20
    penalty = Sampling(**OFF, repeat_penalty=1.1)
    with open_model(f"openai:gpt-small@{openai.url}") as model:
        for _ in range(2):
            with pytest.raises(UsageError, match=r"does not take repe.*_penalty 1\.1") as caught:
                written(model, PROMPTS[:1], penalty)
            assert caught.value.hint == "it may answer with repeat_penalty 1"
            assert written(model, PROMPTS[:1], Sampling(**OFF))[0].text == "x"


def test_a_prompt_that_is_too_long_is_no_option_that_is_refused(openai: OpenAI) -> None:
    with open_model(f"openai:gpt-small@{openai.url}") as model:
        openai.script += [refuse(400, "temperature 0.5 aside, the prompt exceeds the context length")]
        assert written(model, PROMPTS[:1], Sampling(**OFF)) == [Answer("", 0, ended=False)]


def test_several_requests_learn_together_what_is_not_taken(openai: OpenAI) -> None:
    def picky(handler: Any) -> None:
        (refuse(400, "unknown: min_p") if "min_p" in handler.body else said("x"))(handler)

    with open_model(f"openai:gpt-small@{openai.url}") as model:
        openai.script += [picky] * 24
        assert written(model, PROMPTS[:1] * 12) == [Answer("x", 4, ended=True)] * 12


def test_answers_on_their_way_are_left_with_an_interrupt(fake: Fake) -> None:
    over = threading.Event()

    def drip(handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(b"HTTP/1.1 200 OK\r\n\r\n")
        while not over.wait(0.02):
            handler.wfile.write(b" ")

    def interrupt(count: int) -> None:
        raise KeyboardInterrupt

    fake.faults["/api/chat"] = deque([lines(DONE), drip, drip, drip])
    with open_model("ollama:tiny") as model:
        began = time.monotonic()
        with pytest.raises(KeyboardInterrupt):
            model.write(PROMPTS[:1] * 9, sampling=GREEDY, max_tokens=9, seeds=range(9), advance=interrupt)
        assert time.monotonic() - began < 5
    over.set()


def test_a_stream_of_events_may_have_comments_and_other_fields(openai: OpenAI) -> None:
    text = (
        ": hello\n\nevent: message\nid: 3\r\n"
        'data:{"choices":[{"delta":{"content":"x"}}]}\r\n\r\n'
        'data: {"choices":[{"delta":{"content":null},"finish_reason":"stop"}]}\n\ndata: [DONE]'
    )
    with open_model(f"openai:gpt-small@{openai.url}") as model:
        for cut in range(0, len(text), 7):
            openai.script += [lambda handler, cut=cut: send(handler, text, cut=cut)]  # type: ignore[misc]
            assert written(model, PROMPTS[:1]) == [Answer("x", 1, ended=True)]


def test_a_stream_that_ends_without_a_reason_is_tried_again(openai: OpenAI) -> None:
    with open_model(f"openai:gpt-small@{openai.url}") as model:
        openai.script += [said("le", why=None), said("led")]
        assert written(model, PROMPTS[:1])[0].text == "led"


@pytest.mark.parametrize(
    "told",
    [
        "This model's maximum context length is 4096 tokens. However, you requested 9000",
        "the request exceeds the available context size, try increasing it",
        "the input length exceeds the context length",
        "the prompt is longer than the context length currently available to the model",
    ],
)
def test_a_prompt_that_is_too_long_gets_an_empty_answer(openai: OpenAI, told: str) -> None:
    with open_model(f"openai:gpt-small@{openai.url}") as model:
        openai.script += [refuse(400, told)]
        assert written(model, PROMPTS[:1]) == [Answer("", 0, ended=False)]
        openai.script += [refuse(500, told)]
        with pytest.raises(TooLong, match="does not fit gpt-small's context"):
            streamed(model, PROMPTS[0])


@pytest.fixture(scope="module")
def llamacpp(folder: Path) -> Iterator[str]:
    xllamacpp = pytest.importorskip("xllamacpp")
    wanted = xllamacpp.CommonParams()
    wanted.model.path = str(folder / MODELFILE.gguf)
    wanted.n_ctx, wanted.n_parallel, wanted.n_gpu_layers, wanted.verbosity = 2 * CONTEXT, 2, 0, 0
    wanted.cpuparams.n_threads = wanted.cpuparams_batch.n_threads = 1
    wanted.use_jinja, wanted.warmup, wanted.no_extra_bufts = True, False, True
    server = xllamacpp.Server(wanted)
    yield str(server.listening_address)


def test_the_server_of_llama_cpp_answers_as_our_runtime_does(llamacpp: str, own: GGUF) -> None:
    prompts: list[Prompt] = [prompt for prompt in PROMPTS if not isinstance(prompt, Gap)]
    with open_model(f"openai:tiny@{llamacpp}/v1", system=own.system) as model:
        theirs, ours = written(model, prompts), written(own, prompts)
        assert theirs == ours
        texts, answer = streamed(model, prompts[0])
        assert len(texts) > 3 and answer == theirs[0]
        drawn = Sampling(temperature=1.0, top_k=20, min_p=0.01, repeat_penalty=1.1)
        assert written(model, prompts[:1] * 2, drawn) == written(model, prompts[:1] * 2, drawn)
        assert written(model, [Text("blink " * 9 * CONTEXT)]) == [Answer("", 0, ended=False)]


def test_the_end_of_an_answer_is_none_of_its_tokens(llamacpp: str, fake: Fake) -> None:
    """An answer that ended by itself is as long as the same one that is cut off before its end."""
    wild = Sampling(temperature=3.0, top_k=0)
    for spec in (f"openai:tiny@{llamacpp}/v1", "ollama:tiny"):
        with open_model(spec) as model:

            def asked(seed: int, most: int, model: Model = model) -> Answer:
                return model.write([PROMPTS[6]], sampling=wild, max_tokens=most, seeds=[seed])[0]

            seed, ended = next(
                (seed, answer) for seed in range(300) if (answer := asked(seed, 24)).ended and answer.tokens > 1
            )
            assert asked(seed, ended.tokens) == replace(ended, ended=False)


def test_every_error_is_one_that_the_command_line_tells() -> None:
    assert issubclass(ServiceError, PipelineError)
    with pytest.raises(ServiceError, match="does not answer"):
        Service("x", "http://nowhere.invalid").ask("/")
    assert re.search("(?i)key", repr(Service("x", "http://localhost", key=KEY))) is None
