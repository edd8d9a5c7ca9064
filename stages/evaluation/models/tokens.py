"""Models that run here, and what they have in common: a prompt becomes token ids, and token ids become text."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from pipeline.errors import UsageError
from stages.evaluation.models.interface import Answer, Chat, Gap, Likelihood, Model, Prompt, TooLong
from stages.tokens.encoding import UnknownCharacters
from stages.tokens.sampling import Generated, Sampling

if TYPE_CHECKING:
    from torch import Tensor

CUT = "\ufffd"  # what the bytes of half a character are decoded to
LONGEST = 8192  # tokens of context: what a model was trained with may be more than the memory holds
GROUP = 1 << 14  # tokens whose likelihood is told together
READ, ROOM = 1 << 13, 1 << 26  # tokens, and logits, that a network in torch computes at once


def refuse(model: Model, prompt: Prompt) -> None:
    """Raise UsageError for a kind of prompt that the model does not take."""
    if isinstance(prompt, Chat) and not model.chats:
        raise UsageError(f"{model.name} was not taught to answer: it only goes on with a text")
    if isinstance(prompt, Gap) and not model.fills:
        raise UsageError(
            f"{model.name} was not taught to fill gaps: it only goes on from what stands before",
            hint="pipeline run --set augment.methods='[\"fim\"]'  teaches it; --model names another",
        )


class TokenModel(Model):
    """A model whose token ids are at hand; a kind of it says how ids are made, drawn and scored."""

    context_length: int

    @abstractmethod
    def ids(self, prompt: Prompt) -> list[int]:
        """What the model reads of a prompt that it takes; raises UsageError where it cannot be said."""

    @abstractmethod
    def encode(self, text: str) -> list[int]:
        """Ids of a text without special tokens, whatever it says; raises UnknownCharacters."""

    @abstractmethod
    def decode(self, ids: Sequence[int]) -> str:
        """Text without special tokens."""

    def text(self, ids: Sequence[int]) -> str:
        """The same as streaming gives."""
        return self.decode(ids)

    @abstractmethod
    def draw(self, ids: Sequence[int], *, sampling: Sampling, limit: int, seed: int) -> Iterator[int]:
        """At most `limit` ids after others, fewer where the model ends."""

    @abstractmethod
    def draw_many(
        self,
        prompts: Sequence[Sequence[int]],
        *,
        sampling: Sampling,
        limit: int,
        seeds: Sequence[int],
        advance: Callable[[int], object],
    ) -> list[Generated]:
        """The same for many. A text also ends where the context is full; after a longer prompt there is none."""

    @abstractmethod
    def losses(self, windows: Sequence[Sequence[int]]) -> Iterable[float]:
        """Summed negative log-likelihood of each window's ids after its first; they fit the context and one."""

    @property
    @abstractmethod
    def edges(self) -> tuple[int | None, int | None]:
        """The ids that start a text and that end it, if any."""

    def stream(self, prompt: Prompt, *, sampling: Sampling, max_tokens: int, seed: int) -> Generator[str, None, Answer]:
        refuse(self, prompt)
        ids = self.ids(prompt)
        room = self.context_length - len(ids)
        if room < 1:
            raise TooLong(f"a prompt of {len(ids)} tokens does not fit {self.name}'s context, {self.context_length}")
        limit, drawn = min(max_tokens, room), list[int]()

        def counted() -> Iterator[int]:
            for token in self.draw(ids, sampling=sampling, limit=limit, seed=seed):
                drawn.append(token)
                yield token

        said = []
        for text in whole_characters(counted(), self.decode):
            said.append(text)
            yield text
        return Answer("".join(said), len(drawn), ended=len(drawn) < limit)

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
            refuse(self, prompt)
        asked = [self.ids(prompt) for prompt in prompts]
        drawn = self.draw_many(asked, sampling=sampling, limit=max_tokens, seeds=seeds, advance=advance)
        return [Answer(self.text(each.ids), len(each.ids), each.ended) for each in drawn]

    def likelihood(self, texts: Sequence[str], window: int) -> Iterator[Likelihood | None]:
        """As the interface has it. Where there is no `<bos>`, what ends a text leads a window; without either None."""
        start, end = self.edges
        lead = end if start is None else start
        size = min(window, self.context_length)
        group: list[tuple[str, list[int] | None]] = []
        for text in texts:
            try:
                group.append((text, None if lead is None else [*self.encode(text), *([] if end is None else [end])]))
            except UnknownCharacters:
                group.append((text, None))
            if sum(len(ids or ()) for _, ids in group) >= GROUP:
                yield from self._told(group, lead or 0, size)
                group = []
        yield from self._told(group, lead or 0, size)

    def _told(self, group: Sequence[tuple[str, list[int] | None]], lead: int, size: int) -> Iterator[Likelihood | None]:
        windows = [
            (number, [lead, *ids[at : at + size]])
            for number, (_, ids) in enumerate(group)
            for at in range(0, len(ids or ()), size)
            if ids
        ]
        sums = [0.0] * len(group)
        for (number, _), loss in zip(windows, self.losses([ids for _, ids in windows]), strict=True):
            sums[number] += loss
        for (text, ids), loss in zip(group, sums, strict=True):
            yield None if ids is None else Likelihood(loss, len(ids), len(text.encode()))


def whole_characters(tokens: Iterable[int], decode: Callable[[Sequence[int]], str]) -> Iterator[str]:
    """The text of ids as they come, each piece decoded beside the one before it, which may change how it begins."""
    ids: list[int] = []
    start = read = 0
    for token in tokens:
        ids.append(token)
        before, text = decode(ids[start:read]), decode(ids[start:])
        if len(text) > len(before) and not text.endswith(CUT):
            yield text[len(before) :]
            start, read = read, len(ids)
    if rest := decode(ids[start:])[len(decode(ids[start:read])) :]:
        yield rest


def torch_losses(
    logits: Callable[[Tensor], Tensor], windows: Sequence[Sequence[int]], *, vocab_size: int, device: object
) -> list[float]:
    """What `TokenModel.losses` tells, by a function from ids (batch, time) to logits (batch, time, vocab_size).

    Rows of different length are filled up on the right, where no token before sees it.
    """
    import torch
    from torch.nn.functional import cross_entropy

    found = [0.0] * len(windows)
    order = sorted(range(len(windows)), key=lambda index: -len(windows[index]))
    while order:
        width = len(windows[order[0]]) - 1
        rows = max(1, min(READ // width, ROOM // (width * vocab_size)))
        now, order = order[:rows], order[rows:]
        inputs = torch.zeros((len(now), width), dtype=torch.long)
        targets = torch.full((len(now), width), -100)
        for row, index in enumerate(now):
            ids = torch.tensor(windows[index])
            inputs[row, : len(ids) - 1], targets[row, : len(ids) - 1] = ids[:-1], ids[1:]
        with torch.inference_mode():
            rated = logits(inputs.to(device)).float()  # type: ignore[call-overload]
            losses = cross_entropy(rated.flatten(0, 1), targets.flatten().to(rated.device), reduction="none")
        for index, loss in zip(now, losses.view(len(now), width).double().sum(1).tolist(), strict=True):
            found[index] = loss
    return found
