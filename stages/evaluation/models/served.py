"""Models behind a service: Ollama's own API, and the one that OpenAI began and many speak."""

from __future__ import annotations

import json
import os
import re
import time
from abc import abstractmethod
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from difflib import get_close_matches
from typing import Any

from pipeline.errors import UsageError
from stages.evaluation.models.beside import defaults_of
from stages.evaluation.models.interface import Answer, Chat, Gap, Model, Prompt, TooLong
from stages.evaluation.models.service import Service, ServiceError
from stages.evaluation.models.tokens import LONGEST, refuse
from stages.release.ollama import ollama_url
from stages.tokens.chat import with_system
from stages.tokens.sampling import Sampling

TOGETHER = 4  # requests at once
TRIES, PATIENCE = 4, 60.0  # of a request; seconds between two
REPEATS = 30  # of a token, after which Ollama breaks off without a word
SEEDS = 1 << 31
PENALTIES = ("repeat_penalty", "repetition_penalty")  # of llama.cpp, of vLLM
EXTRAS = ("top_k", "min_p", *PENALTIES, "repeat_last_n")  # that not all services take
MAY_HELP = {
    "temperature": "temperature 1", "top_p": "top_p 1", "top_k": "top_k 0", "min_p": "min_p 0",
    "repeat_penalty": "repeat_penalty 1", "repetition_penalty": "repeat_penalty 1", "repeat_last_n": "repeat_penalty 1",
    "seed": "", "stream_options": "",
}  # fmt: skip


def open_served(kind: str, named: str, *, system: str | None) -> Model:
    """The model that `ollama:` or `openai:` and this name; raises UsageError, or ServiceError where it is not there."""
    found = re.fullmatch(r"(.*?)(?:@(https?://.*))?", named, re.DOTALL)
    name, url = (found[1], found[2]) if found else ("", None)
    if not name or re.search(r"\s|://", name):
        example = "ollama:qwen2.5-coder:1.5b@http://host:11434"
        raise UsageError(f"`{kind}:{named}` names no model", hint=f"{example} or openai:NAME@http://host:port/v1")
    if kind == "ollama":
        return Ollama(name, ollama_url(url or os.environ.get("OLLAMA_HOST", "")), system=system)
    if not url:
        raise UsageError(f"`openai:{named}` does not say where it is served", hint=f"openai:{name}@http://host:port/v1")
    return OpenAI(name, url, system=system)


class ServedModel(Model):
    """A model that is asked over HTTP; a kind of it says what is sent and how an answer reads.

    Special tokens that people say become what the service makes of them, mostly special tokens.
    """

    service: Service

    @abstractmethod
    def request(self, prompt: Prompt, sampling: Sampling, max_tokens: int, seed: int) -> tuple[str, dict[str, Any]]:
        """Path and body; raises UsageError for a prompt that cannot be sent."""

    @abstractmethod
    def read(self, events: Iterator[Mapping[str, Any]], max_tokens: int) -> Generator[str, None, Answer]:
        """The texts of an answer as they come, and the whole; raises ServiceError where it breaks off."""

    def refused(self, error: ServiceError, body: Mapping[str, Any]) -> bool:
        """Whether another request may be accepted where this one was not; it is made differently from then on."""
        return False

    def stream(self, prompt: Prompt, *, sampling: Sampling, max_tokens: int, seed: int) -> Generator[str, None, Answer]:
        try:
            return (yield from self._tried(prompt, sampling, max_tokens, seed, over=False))
        except ServiceError as error:
            if error.too_long:
                raise TooLong(f"a prompt does not fit {self.name}'s context: {error}") from None
            raise

    def write(
        self,
        prompts: Sequence[Prompt],
        *,
        sampling: Sampling,
        max_tokens: int,
        seeds: Sequence[int],
        advance: Callable[[int], object] = lambda count: None,
    ) -> list[Answer]:
        for prompt in prompts:
            self.request(prompt, sampling, max_tokens, 0)  # what cannot be sent is told before anything is

        def whole(prompt: Prompt, seed: int) -> Answer:
            pieces = self._tried(prompt, sampling, max_tokens, seed, over=True)
            try:
                while True:
                    next(pieces)
            except StopIteration as stop:
                answer: Answer = stop.value
                return answer
            except ServiceError as error:
                if error.too_long:
                    return Answer("", 0, ended=False)
                raise

        try:
            with ThreadPoolExecutor(TOGETHER) as pool:
                answers = [pool.submit(whole, *each) for each in zip(prompts, seeds, strict=True)]
                try:
                    for answer in as_completed(answers):
                        answer.result()
                        advance(1)
                except BaseException:
                    self.service.stopped = True
                    pool.shutdown(wait=False, cancel_futures=True)
                    raise
        finally:
            self.service.stopped = False
        return [answer.result() for answer in answers]

    def _tried(
        self, prompt: Prompt, sampling: Sampling, max_tokens: int, seed: int, *, over: bool
    ) -> Generator[str, None, Answer]:
        """Ask, again where that may help; with `over` also after a part of the answer came, which comes again."""
        if max_tokens < 1:
            return Answer("", 0, ended=False)
        tries = 1
        while True:
            path, body = self.request(prompt, sampling, max_tokens, seed % SEEDS)
            said = False
            try:
                answer = self.read(self.service.events(path, body), max_tokens)
                while True:
                    try:
                        piece = next(answer)
                    except StopIteration as stop:
                        whole: Answer = stop.value
                        return whole
                    said = said or bool(piece)
                    yield piece
            except ServiceError as error:
                if error.again is None and not said and self.refused(error, body):
                    continue
                if error.again is None or error.too_long or (said and not over) or tries == TRIES:
                    raise self.explained(error) from None
                time.sleep(min(error.again * 2 ** (tries - 1), PATIENCE))
                tries += 1

    def explained(self, error: ServiceError) -> ServiceError:
        """The error, with what helps."""
        return error


class Ollama(ServedModel):
    """A model in Ollama (github.com/ollama/ollama, docs/api.md), asked with its own template, stops and system message.

    Everything that the sampling rule knows is sent, for what a Modelfile sets else. A text as it is and a gap cannot
    be empty there: Ollama takes that for something else. An answer that it breaks off without a word, as it does after
    one token 30 times, has not ended.
    """

    kind = "ollama"

    def __init__(self, name: str, url: str, *, system: str | None = None) -> None:
        """Raises ServiceError where Ollama or the model is not there."""
        self.name, self.source = name, f"{name} at {url}"
        self.service = Service("Ollama", url, start="ollama serve")
        try:
            shown = self.service.ask("/api/show", {"model": name})
        except ServiceError as error:
            raise self.explained(error) from None
        told = shown.get("model_info") or {}
        trained = next((value for key, value in told.items() if key.endswith(".context_length")), None)
        parameters = list(_parameters(str(shown.get("parameters", ""))))
        set_to = [value for name, value in parameters if name == "num_ctx" and value.isdecimal()]
        longest = trained if isinstance(trained, int) else LONGEST
        self.context_length = min(longest, int(set_to[0])) if set_to else min(longest, LONGEST)
        template = str(shown.get("template", ""))
        self.chats = bool(shown.get("renderer")) or template.strip() not in ("", "{{ .Prompt }}")
        self.fills = "insert" in (shown.get("capabilities") or ()) or ".Suffix" in template
        self.defaults = defaults_of(parameters)
        self.system = str(shown.get("system", "")) if system is None else system
        if system == "" and shown.get("system"):
            raise UsageError(f"{name} has a system message of its own, which Ollama puts before every chat")
        self.size = self._size()

    def _size(self) -> int | None:
        try:
            models = self.service.ask("/api/tags").get("models") or []
        except ServiceError:
            return None
        full = self.name if ":" in self.name.rpartition("/")[2] else f"{self.name}:latest"
        sizes = [each.get("size") for each in models if isinstance(each, dict) and each.get("name") == full]
        return sizes[0] if sizes and isinstance(sizes[0], int) else None

    def request(self, prompt: Prompt, sampling: Sampling, max_tokens: int, seed: int) -> tuple[str, dict[str, Any]]:
        refuse(self, prompt)
        body: dict[str, Any] = {
            "model": self.name,
            "stream": True,
            "think": False,
            # a prompt that is too long is refused, instead of cut, and a full context ends the answer
            "truncate": False,
            "shift": False,
            "options": {
                "temperature": sampling.temperature, "top_k": sampling.top_k, "top_p": sampling.top_p,
                "min_p": sampling.min_p, "typical_p": 1.0, "repeat_penalty": sampling.repeat_penalty,
                "repeat_last_n": sampling.repeat_last_n, "presence_penalty": 0.0, "frequency_penalty": 0.0,
                "seed": seed, "num_predict": max_tokens, "num_ctx": self.context_length,
            },
        }  # fmt: skip
        if isinstance(prompt, Chat):
            messages = [dict(message) for message in with_system(prompt.messages, self.system)]
            return "/api/chat", {**body, "messages": messages}
        if isinstance(prompt, Gap):
            if not prompt.prefix or not prompt.suffix:
                raise UsageError("Ollama fills a gap only between two texts, of which none is empty")
            return "/api/generate", {**body, "prompt": prompt.prefix, "suffix": prompt.suffix}
        if not prompt.text:
            raise UsageError("Ollama does not begin a text: give it a first word")
        return "/api/generate", {**body, "prompt": prompt.text, "raw": True}

    def read(self, events: Iterator[Mapping[str, Any]], max_tokens: int) -> Generator[str, None, Answer]:
        said: list[str] = []
        for told in events:
            message = told.get("message")
            text = message.get("content", "") if isinstance(message, dict) else told.get("response", "")
            if not isinstance(text, str):
                raise ServiceError(f"{self.source} sends a text that is none: {told!r:.100}", again=1.0)
            said.append(text)
            yield text
            if told.get("done"):
                count, why = told.get("eval_count"), told.get("done_reason")
                tokens = count if isinstance(count, int) else sum(map(bool, said))
                ended = why == "stop" if why else tokens < max_tokens
                return Answer("".join(said), _counted(count, ended, tokens), ended)
        last = {text.strip() for text in said[-REPEATS:]}
        if len(said) > REPEATS and len(last) == 1:  # one token again and again: no fault of the connection
            return Answer("".join(said), len(said), ended=False)
        raise ServiceError(f"{self.source} broke its answer off", again=1.0)

    def explained(self, error: ServiceError) -> ServiceError:
        if error.status == 404:
            return ServiceError(f"{self.service.url} has no model {self.name}", f"ollama pull {self.name}", status=404)
        return error


class OpenAI(ServedModel):
    """A model behind /v1/chat/completions and /v1/completions, with the key in OPENAI_API_KEY if it is set.

    The services differ in what they take. The whole sampling rule is sent, under the names of llama.cpp and vLLM, and
    what is refused is left out where it would change nothing: top_k 0, say, or anything at temperature 0 but a penalty.
    A seed that is refused is left out, too: such a service writes another text each time. Whether a seed that is taken
    gives the same again, and whether an answer that was begun goes on, is theirs as well. Without `stream_options`
    tokens are counted as the pieces that come.
    """

    kind = "openai"

    def __init__(self, name: str, url: str, *, system: str | None = None) -> None:
        """Raises UsageError for an address that is none, ServiceError where nothing is there."""
        self.name, self.source, self.system = name, f"{name} at {url}", system or ""
        key = os.environ.get("OPENAI_API_KEY", "").strip()
        self.service = Service("the service", url, key=key)
        self._known: list[str] = []
        self._unknown: set[str] = set()  # options that it refused
        self._length = "max_tokens"
        try:
            models = self.service.ask("/models").get("data") or []
            self._known = [str(each["id"]) for each in models if isinstance(each, dict) and "id" in each]
        except ServiceError as error:
            if error.status not in (404, 405, 501):
                raise self.explained(error) from None

    def request(self, prompt: Prompt, sampling: Sampling, max_tokens: int, seed: int) -> tuple[str, dict[str, Any]]:
        refuse(self, prompt)
        body: dict[str, Any] = {
            "model": self.name, "stream": True, "stream_options": {"include_usage": True},
            "temperature": sampling.temperature, "top_p": sampling.top_p, "seed": seed, self._length: max_tokens,
        }  # fmt: skip
        penalty = sampling.repeat_penalty
        values = (sampling.top_k, sampling.min_p, penalty, penalty, sampling.repeat_last_n)
        body |= dict(zip(EXTRAS, values, strict=True))
        idle = [name for name in MAY_HELP if name in self._unknown and self._changes_nothing(name, body)]
        body = {name: value for name, value in body.items() if name not in idle}
        if isinstance(prompt, Chat):
            messages = [dict(message) for message in with_system(prompt.messages, self.system)]
            return "/chat/completions", {**body, "messages": messages}
        assert not isinstance(prompt, Gap)
        return "/completions", {**body, "prompt": prompt.text}

    def read(self, events: Iterator[Mapping[str, Any]], max_tokens: int) -> Generator[str, None, Answer]:
        said: list[str] = []
        why: str | None = None
        tokens: int | None = None
        for told in events:
            choices = told.get("choices") or [{}]
            choice = choices[0] if isinstance(choices, list) and isinstance(choices[0], dict) else {}
            delta = choice.get("delta")
            text = (delta.get("content") if isinstance(delta, dict) else choice.get("text")) or ""
            if not isinstance(text, str):
                raise ServiceError(f"{self.source} sends a text that is none: {told!r:.100}", again=1.0)
            if text:
                said.append(text)
                yield text
            why = choice.get("finish_reason") or why
            usage = told.get("usage")
            if isinstance(usage, dict) and isinstance(usage.get("completion_tokens"), int):
                tokens = usage["completion_tokens"]
        if why is None:
            raise ServiceError(f"{self.source} broke its answer off", again=1.0)
        ended = why == "stop"
        return Answer("".join(said), _counted(tokens, ended, len(said)), ended)

    def refused(self, error: ServiceError, body: Mapping[str, Any]) -> bool:
        if error.status not in (400, 422) or error.too_long:
            return False
        words = set(re.findall(r"\w+", str(error)))
        if "max_completion_tokens" in words and "max_tokens" in body:
            self._length = "max_completion_tokens"
            return True
        named = [name for name in MAY_HELP if name in words and name in body]
        for name in named:
            if not self._changes_nothing(name, body):
                raise UsageError(
                    f"{self.source} does not take {name} {body[name]:g}: {error}",
                    hint=f"it may answer with {MAY_HELP[name]}",
                )
            self._unknown.add(name)
        return bool(named)

    def _changes_nothing(self, name: str, body: Mapping[str, Any]) -> bool:
        """Whether an option of a request could as well be left out: it is off, or the other penalty says the same."""
        likeliest = bool(body["temperature"] == 0)
        match name:
            case "seed" | "stream_options":
                return True
            case "top_p":
                return likeliest or bool(body[name] == 1)
            case "top_k" | "min_p":
                return likeliest or bool(body[name] == 0)
            case "repeat_last_n":
                return all(body.get(each, 1) == 1 for each in PENALTIES)
            case "repeat_penalty" | "repetition_penalty":
                return bool(body[name] == 1) or not self._unknown & ({*PENALTIES} - {name})
        return False

    def explained(self, error: ServiceError) -> ServiceError:
        hint = error.hint
        if error.status in (401, 403):
            hint = "set OPENAI_API_KEY to a key that it takes"
        elif error.status == 404 and self._known:
            near = get_close_matches(self.name, self._known, n=3, cutoff=0.0)
            hint = f"it serves {', '.join(near)}"
        return ServiceError(str(error), hint, status=error.status, again=error.again)


def _counted(told: object, ended: bool, pieces: int) -> int:
    """Tokens of an answer, of which services count its end, too; where they do not tell its pieces."""
    return max(0, told - ended) if isinstance(told, int) else pieces


def _parameters(shown: str) -> Iterator[tuple[str, str]]:
    """A model's parameters as Ollama shows them: a line for each value, texts in quotes."""
    for line in shown.splitlines():
        name, _, value = line.strip().partition(" ")
        value = value.strip()
        if value.startswith('"'):
            try:
                value = str(json.loads(value))
            except ValueError:
                value = value.strip('"')
        yield name, value
