"""What every model here is, wherever it runs: it writes, and tells how likely a text is if it can."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from pipeline.errors import UsageError
from stages.tokens.chat import Message
from stages.tokens.sampling import Sampling


@dataclass(frozen=True)
class Chat:
    """A conversation to answer; where its last message is of the assistant, the answer that was begun goes on."""

    messages: tuple[Message, ...]


@dataclass(frozen=True)
class Text:
    """A text to go on from."""

    text: str


@dataclass(frozen=True)
class Gap:
    """What stands before and after a gap to fill."""

    prefix: str
    suffix: str


Prompt = Chat | Text | Gap


@dataclass(frozen=True)
class Answer:
    """What was written after a prompt, its length in the model's tokens, and whether the model ended it by itself."""

    text: str
    tokens: int
    ended: bool


@dataclass(frozen=True)
class Likelihood:
    """Of a text: the summed negative log-likelihood in nats of so many tokens, which say so many UTF-8 bytes."""

    loss: float
    tokens: int
    bytes: int


@dataclass(frozen=True)
class Defaults:
    """How a model is to be asked where nobody says otherwise, by Ollama's names; None, and no `stop`, is not told."""

    temperature: float | None = None
    top_k: int | None = None
    top_p: float | None = None
    min_p: float | None = None
    repeat_penalty: float | None = None
    repeat_last_n: int | None = None
    num_predict: int | None = None  # tokens of an answer
    stop: tuple[str, ...] = ()


class TooLong(UsageError):
    """A prompt that does not fit the model's context."""


class Model(ABC):
    """A model that is loaded or reached; a context manager that lets go of it.

    `name` is for tables, `kind` one of gguf, checkpoint, huggingface, ollama and openai, `source` the path or address.
    `size` is that of its weights in bytes, None where it is not told, and `context_length` in tokens likewise.
    `chats` and `fills` say which prompts it takes besides texts. `system` leads conversations that have no system
    message; `defaults` are its Modelfile's settings, which whoever asks may take or leave.

    On the same machine, in the same batch of prompts, the same seeds and settings give the same texts. Elsewhere, or
    beside other prompts, sums are rounded in another order, which can turn a close decision. Services do as they can:
    most take a seed, few promise what it gives.
    """

    name: str
    kind: str
    source: str
    size: int | None = None
    context_length: int | None = None
    chats: bool = True
    fills: bool = False
    system: str = ""
    defaults: Defaults = Defaults()

    @abstractmethod
    def stream(self, prompt: Prompt, *, sampling: Sampling, max_tokens: int, seed: int) -> Generator[str, None, Answer]:
        """Write after one prompt, yielding whole characters as they come; returns the whole.

        Raises UsageError for a prompt or settings that the model does not take, TooLong for a prompt that does not
        fit its context, and ServiceError where a service fails.
        """

    @abstractmethod
    def write(
        self,
        prompts: Sequence[Prompt],
        *,
        sampling: Sampling,
        max_tokens: int,
        seeds: Sequence[int],
        advance: Callable[[int], object] = lambda count: None,
    ) -> list[Answer]:
        """Write after each prompt, many at once, each with a seed of its own; `advance` hears of answers as they end.

        A prompt that does not fit the context gets an empty answer that did not end. Raises UsageError for a prompt or
        settings that the model does not take, and ServiceError where a service fails; other answers are lost then.
        """

    def likelihood(self, texts: Sequence[str], window: int) -> Iterator[Likelihood | None]:
        """How likely each text is, and its end, in windows of `window` tokens, each led by `<bos>` where there is one.

        None where the model does not tell: a service without such an interface.
        """
        return (None for _ in texts)

    def close(self) -> None:  # noqa: B027 - most have nothing to let go of
        """Let go of memory and connections; a second call does nothing."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
