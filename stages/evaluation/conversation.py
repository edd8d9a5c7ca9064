"""A conversation with a model: what was said, what of it the model still sees, and how answers are drawn."""

from __future__ import annotations

import hashlib
import io
import json
import math
import shlex
from collections.abc import Generator, Sequence
from dataclasses import asdict, fields, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from pipeline.errors import UsageError
from stages.evaluation.models.interface import Answer, Chat, Model, TooLong
from stages.evaluation.spoken import until_stop
from stages.tokens.chat import Message, with_system
from stages.tokens.sampling import Sampling

NUMBERS = {field.name: field.default for field in fields(Sampling)}
SETTINGS = (*NUMBERS, "max_tokens", "seed", "stop")


class Conversation:
    """What was said so far with a model, and how the next answer is drawn.

    `turns` are questions and answers in turn, none empty. Of those, the oldest that no longer fit the context before a
    question are left out from then on. Each answer is drawn with a seed of its own, derived from `seed` and how many
    were drawn before it: the same questions give the same answers.
    """

    def __init__(
        self, model: Model, *, sampling: Sampling, max_tokens: int, seed: int, stop: Sequence[str] = ()
    ) -> None:
        self.model, self.sampling, self.max_tokens, self.stop = model, sampling, max_tokens, tuple(stop)
        self.seed = seed
        self.turns: list[Message] = []
        self.asked, self._answered = "", False
        self.whole = True  # whether the model ended all of its answers
        self._first = self._drawn = 0

    def reset(self) -> None:
        """Forget what was said; the next answers are those of a new conversation."""
        self.turns, self.asked, self._answered, self.whole = [], "", False, True
        self._first = self._drawn = 0

    def retry(self) -> str:
        """Take the last question back, with its answer, to ask it again; empty where there was none."""
        if self._answered:
            del self.turns[-2:]
            self._first = min(self._first, len(self.turns))
            self._answered = False
        return self.asked

    def ask(self, question: str) -> Generator[str, None, tuple[str, ...]]:
        """Yield the answer as it comes; returns notes: what was left out, why it ended early.

        What was said when the caller closes this generator, or an error ends it, is the answer. Raises what the model
        raises; a question without an answer is not a part of the conversation.
        """
        self.asked, self._answered = question, False
        said: list[str] = []
        ended = False
        whole = self._whole(question)
        try:
            try:
                while True:
                    said.append(next(whole))
                    yield said[-1]
            except StopIteration as end:
                answer, dropped = end.value
            ended = answer.ended
            self._first += dropped
            return tuple(self._notes(answer, dropped, bool("".join(said).strip())))
        finally:
            whole.close()
            if text := "".join(said).strip():
                self.turns += [{"role": "user", "content": question}, {"role": "assistant", "content": text}]
                self._answered, self.whole = True, self.whole and ended

    def _notes(self, answer: Answer, dropped: int, spoke: bool) -> list[str]:
        notes = []
        if dropped:
            left = "the oldest turn was" if dropped == 2 else f"{dropped // 2} old turns were"
            notes.append(f"the context is full: {left} left out")
        if not answer.ended and answer.tokens >= self.max_tokens:
            notes.append(f"cut off after {answer.tokens} tokens; /set max_tokens {2 * self.max_tokens} allows more")
        elif not answer.ended:
            size = f" of {self.model.context_length:,} tokens" if self.model.context_length else ""
            notes.append(f"cut off: the context{size} is full; /reset makes room")
        if not spoke:
            notes.append("no answer; /retry asks again")
        return notes

    def _whole(self, question: str) -> Generator[str, None, tuple[Answer, int]]:
        """The answer, cut at stop strings; returns it and how many messages were left out to make room."""
        dropped = 0

        def rolling() -> Generator[str, None, Answer]:
            nonlocal dropped
            said, tokens = "", 0
            while True:
                turns = self.turns[self._first + dropped :]
                begun = [{"role": "assistant", "content": said}] if said else []
                prompt = Chat((*turns, {"role": "user", "content": question}, *begun))
                count = self.max_tokens - tokens
                try:
                    answer = yield from self.model.stream(
                        prompt, sampling=self.sampling, max_tokens=count, seed=self._next_seed()
                    )
                except TooLong:
                    if not turns:
                        raise
                    dropped += 2
                    continue
                said, tokens = said + answer.text, tokens + answer.tokens
                if answer.ended or answer.tokens >= count or not turns or not self.model.context_length:
                    return Answer(said, tokens, answer.ended)
                dropped += 2  # the context filled up while the answer was written: it goes on with fewer turns before

        answer = yield from until_stop(rolling(), self.stop)
        return answer, dropped

    def _next_seed(self) -> int:
        self._drawn += 1
        digest = hashlib.sha256(f"{self.seed} {self._drawn}".encode()).digest()
        return int.from_bytes(digest[:4], "big") >> 1

    def save(self, path: Path) -> None:
        """Add the conversation to a file of pairs; raises UsageError where there is none, OSError."""
        if not self.turns:
            raise UsageError("nothing was said yet")
        messages = [dict(message) for message in with_system(self.turns, self.model.system.strip())]
        line = json.dumps({"messages": messages}, ensure_ascii=False).encode()
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a+b") as file:
            if file.tell():
                file.seek(-1, io.SEEK_END)
                line = line if file.read(1) == b"\n" else b"\n" + line
            file.write(line + b"\n")

    def settings(self) -> dict[str, Any]:
        """All settings by name."""
        return {**asdict(self.sampling), "max_tokens": self.max_tokens, "seed": self.seed, "stop": list(self.stop)}

    def set(self, name: str, value: str) -> None:
        """Change a setting to what was typed; raises UsageError for what it cannot be."""
        if name not in SETTINGS:
            near = get_close_matches(name, SETTINGS, n=1)
            raise UsageError(f"no setting is called {name}", hint=f"/set {near[0]}" if near else "/set shows all")
        try:
            if name == "stop":
                words = shlex.shlex(value, posix=True, punctuation_chars=False)
                words.whitespace_split, words.escape, words.commenters = True, "", ""
                texts = (text.replace("\\n", "\n").replace("\\t", "\t") for text in words)
                self.stop = tuple(text for text in texts if text)
                return
            number: Any = float(value) if isinstance(NUMBERS.get(name), float) else int(value)
            if not math.isfinite(number):
                raise ValueError("not a number to compute with")
            if name in NUMBERS:
                self.sampling = replace(self.sampling, **{name: number})
            elif number < (1 if name == "max_tokens" else 0):
                raise ValueError("at least 1" if name == "max_tokens" else "not below 0")
            else:
                setattr(self, name, number)
        except ValueError as error:
            raise UsageError(f"{name} cannot be {value}: {error}") from None
