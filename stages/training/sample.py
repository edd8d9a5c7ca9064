"""Text from a trained model."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import UsageError
from stages.tokens.chat import with_system
from stages.tokens.sampling import Generated, Sampling, choose

if TYPE_CHECKING:
    from torch import Tensor

    from stages.tokens.encoding import Encoding
    from stages.training.networks.network import Network


ROWS, NUMBERS = 64, 2**28  # at most so many texts are written at once, with so many keys and values: 1 GiB in float32


def generate(
    model: Network, prompt: Sequence[int], *, max_tokens: int, sampling: Sampling, stop: frozenset[int], seed: int
) -> Iterator[int]:
    """Yield new token ids after `prompt` (not empty) until a stop token, which is not yielded, or `max_tokens`.

    Beyond `context_length` the oldest tokens fall out of sight. The same seed gives the same tokens.
    """
    model.eval()
    random = np.random.default_rng(seed)
    tokens, cache = list(prompt), model.new_cache()
    unread = tokens
    for _ in range(max_tokens):
        if len(tokens) > model.context_length:  # all that is in sight has moved
            unread, cache = tokens[-model.context_length :], model.new_cache()
        token = choose(_numbers(model.read([unread], cache))[0], sampling, tokens, random)
        if token in stop:
            return
        tokens.append(token)
        unread = [token]
        yield token


def generate_batch(
    model: Network,
    prompts: Sequence[Sequence[int]],
    *,
    max_tokens: int,
    sampling: Sampling,
    stop: frozenset[int],
    seeds: Sequence[int],
    advance: Callable[[int], object] = lambda count: None,
) -> list[Generated]:
    """What `generate` writes after each prompt (not empty) with its seed, many at once; `advance` hears of ended texts.

    A text also ends where it and its prompt fill the context; after a longer prompt there is none. What is written
    after one prompt does not depend on the others, but for rounding: a larger batch is summed in another order.
    """
    rows = [
        _Row(list(prompt), min(len(prompt) + max_tokens, model.context_length), np.random.default_rng(seed))
        for prompt, seed in zip(prompts, seeds, strict=True)
    ]
    waiting = [row for row in reversed(rows) if len(row.tokens) < row.end]
    advance(len(rows) - len(waiting))
    shape = model.config
    numbers = 2 * shape.n_layers * shape.n_kv_heads * shape.head_dim * model.context_length
    most = max(1, min(ROWS, NUMBERS // numbers))
    batch = _Batch(model, sampling, stop)
    while waiting or batch.rows:
        ended = 0
        if len(batch.rows) <= most * 3 // 4:  # not for each: making room moves all that is kept
            ended = batch.begin([waiting.pop() for _ in range(min(most - len(batch.rows), len(waiting)))])
        if ended := ended + batch.step():
            advance(ended)
    return [Generated(tuple(row.tokens[len(prompt) :]), row.ended) for row, prompt in zip(rows, prompts, strict=True)]


@dataclass
class _Row:
    """A text that is being written, its prompt included, up to so many tokens."""

    tokens: list[int]
    end: int
    random: np.random.Generator
    ended: bool = False

    def write(self, logits: NDArray[np.float32], sampling: Sampling, stop: frozenset[int]) -> bool:
        """Add a token, unless it is one that ends the text; tells whether the text goes on."""
        token = choose(logits, sampling, self.tokens, self.random)
        self.ended = token in stop
        if not self.ended:
            self.tokens.append(token)
        return not self.ended and len(self.tokens) < self.end


class _Batch:
    """The texts that are written together."""

    def __init__(self, model: Network, sampling: Sampling, stop: frozenset[int]) -> None:
        self.model, self.sampling, self.stop = model.eval(), sampling, stop
        self.rows: list[_Row] = []
        self.cache = model.new_cache()

    def begin(self, rows: Sequence[_Row]) -> int:
        """Add texts of which there is the prompt, and write a token of each; returns how many have ended."""
        if not rows:
            return 0
        prompts = {tuple(row.tokens): None for row in rows}
        place = {prompt: number for number, prompt in enumerate(prompts)}
        places = [place[tuple(row.tokens)] for row in rows]
        cache = self.model.new_cache()
        logits = _numbers(self.model.read(list(prompts), cache))[places]
        cache.take(places)
        self.cache.join(cache)
        self.rows += rows
        return self._write(logits)

    def step(self) -> int:
        """Write a token of each text; returns how many have ended."""
        if not self.rows:
            return 0
        return self._write(_numbers(self.model.read([row.tokens[-1:] for row in self.rows], self.cache)))

    def _write(self, logits: NDArray[np.float32]) -> int:
        """Add a token to each of the last texts, as many as there are logits; those that end leave."""
        first = len(self.rows) - len(logits)
        over = {
            first + number
            for number, row in enumerate(self.rows[first:])
            if not row.write(logits[number], self.sampling, self.stop)
        }
        if over:
            self.rows = [self.rows[number] for number in self.cache.drop(over)]
        return len(over)


def _numbers(logits: Tensor) -> NDArray[np.float32]:
    found: NDArray[np.float32] = logits.float().cpu().numpy()
    return found


def speaker(
    folder: Path, prompts: Sequence[str], *, chat: bool, max_tokens: int, seed: int, system: str = ""
) -> Callable[[Network], list[dict[str, str]]]:
    """A function that lets a network go on from each prompt, always drawing the same random numbers.

    Under `chat` it answers each, after the message `system` if there is one. `folder` has the tokenizer. Raises
    UsageError for a prompt that it cannot say.
    """
    from stages.tokens.encoding import UnknownCharacters, load_encoding

    encoding = load_encoding(folder)
    try:
        asked = [_prompt_ids(encoding, prompt, chat=chat, system=system) for prompt in prompts]
    except UnknownCharacters as error:
        raise UsageError(str(error), hint="other characters in sample_prompts, or none") from error

    def speak(network: Network) -> list[dict[str, str]]:
        written = generate_batch(
            network,
            asked,
            max_tokens=max_tokens,
            sampling=Sampling(),
            stop=encoding.stops,
            seeds=[seed] * len(prompts),
        )
        begun = [""] * len(prompts) if chat else prompts
        return [
            # what is cut off within a character ends with its sign for no character
            {"prompt": prompt, "text": start + encoding.decode(list(text.ids)).rstrip("\ufffd")}
            for prompt, start, text in zip(prompts, begun, written, strict=True)
        ]

    return speak


def _prompt_ids(encoding: Encoding, prompt: str, *, chat: bool, system: str) -> list[int]:
    """The ids that a text or an answer goes on from."""
    if chat:
        return encoding.encode_chat(with_system([{"role": "user", "content": prompt}], system), prompt=True)[0]
    return [encoding.bos_id, *encoding.encode(prompt)]
