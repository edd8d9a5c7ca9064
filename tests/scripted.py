"""A model that says what it was told to say, for the tests of chat and sample. Its tokens are words."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from itertools import islice

from pipeline.errors import UsageError
from stages.evaluation.models.interface import Answer, Chat, Gap, Model, Prompt, TooLong
from stages.tokens.chat import with_system
from stages.tokens.sampling import Sampling


class Scripted(Model):
    """Answers with the texts in turn, or as a function of prompt and seed says; keeps what it was asked.

    A prompt that is no shorter than the context is refused, and an answer ends where the context is full.
    """

    name, kind, source = "scripted", "gguf", "nowhere"

    def __init__(
        self,
        *texts: Sequence[str] | Exception,
        says: Callable[[Prompt, int], Sequence[str]] | None = None,
        context_length: int | None = None,
        chats: bool = True,
        fills: bool = False,
    ) -> None:
        self._texts, self._says = list(texts), says
        self.context_length, self.chats, self.fills = context_length, chats, fills
        self.asked: list[Prompt] = []
        self.seeds: list[int] = []
        self.samplings: list[Sampling] = []

    def stream(self, prompt: Prompt, *, sampling: Sampling, max_tokens: int, seed: int) -> Generator[str, None, Answer]:
        if isinstance(prompt, Gap) and not self.fills:
            raise UsageError("it fills no gaps")
        if isinstance(prompt, Chat):
            prompt = Chat(with_system(prompt.messages, self.system))
        words = sum(len(message["content"].split()) for message in prompt.messages) if isinstance(prompt, Chat) else 0
        room = max_tokens if self.context_length is None else min(max_tokens, self.context_length - words)
        if room < 1:
            raise TooLong(f"{words} words do not fit")
        self.asked.append(prompt)
        self.seeds.append(seed)
        self.samplings.append(sampling)
        told = self._says(prompt, seed) if self._says else self._texts.pop(0)
        if isinstance(told, Exception):
            raise told
        said = []
        for piece in islice(told, room):
            said.append(piece)
            yield piece
        return Answer("".join(said), len(said), ended=len(said) == len(told))

    def write(self, prompts: Sequence[Prompt], **options: object) -> list[Answer]:
        raise AssertionError("nothing asks for many at once here")
