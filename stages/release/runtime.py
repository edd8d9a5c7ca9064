"""A GGUF file in the real llama.cpp, on the CPU."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from ctypes import c_int32, c_void_p
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from pipeline.hardware import usable_cores
from stages.release.decoder import Decoder, Span
from stages.release.errors import ReleaseError
from stages.release.llamacpp import checked_library, errors, reason
from stages.release.writing import Row, Writer
from stages.tokens.sampling import Generated, Sampling, choose

BATCH = 512  # tokens per call of llama_decode, fewer where so many rows of logits take more than
ROOM = 1 << 23  # numbers
SEQUENCES = 64  # per call; llama.cpp allows 256
ROWS = 32  # texts written at once
CACHE = 1 << 30  # bytes that they may take at once


@dataclass(frozen=True)
class Part:
    """A stretch of one of several windows of tokens."""

    window: int
    start: int
    stop: int


Step = tuple[Part, ...]  # what is read in one call


def steps(lengths: Sequence[int], size: int) -> list[Step]:
    """How windows of these lengths are read, at most `size` tokens at once.

    A window that is longer is read alone, stretch by stretch; of the others as many together as there is room for, the
    longest first.
    """
    cut: list[Step] = []
    packed: list[list[int]] = []
    for window in sorted(range(len(lengths)), key=lambda index: -lengths[index]):
        length = lengths[window]
        if length > size:
            cut += [(Part(window, at, min(at + size, length)),) for at in range(0, length, size)]
            continue
        fits = (
            group
            for group in packed
            if sum(lengths[index] for index in group) + length <= size and len(group) < SEQUENCES
        )
        group = next(fits, None)
        if group is None:
            packed.append([window])
        else:
            group.append(window)
    return cut + [tuple(Part(window, 0, lengths[window]) for window in group) for group in packed]


class Runtime:
    """A loaded model; a context manager that frees it. Not for use from several threads at once."""

    vocab_size: int
    context_length: int
    bos_id: int
    eos_id: int
    chat_template: str | None

    def __init__(
        self, path: Path, *, context_length: int | None = None, threads: int | None = None, as_served: bool = False
    ) -> None:
        """Load the GGUF at `path`, for at most `context_length` tokens (default: what the file says).

        It computes with the weights as they are in the file, and writes with a float32 cache; `as_served` like
        llama.cpp's server and Ollama by themselves: weights packed for the processor, a float16 cache and fused
        attention, so that a quantised model's likeliest tokens are those that people get there.

        Raises ReleaseError, with llama.cpp's reason, for a file that it refuses, ValueError for a context
        longer than the model was trained with, RuntimeUnavailable without a usable wheel.
        """
        self._model: int | None = None
        self._decoders: set[Decoder] = set()
        self._lib = library = checked_library()
        # Threads wait for each other after every matrix, and these matrices are small: on two busy cores, two
        # threads were several times slower than one.
        self._threads = threads or max(1, min(4, usable_cores() // 2))
        params = library.llama_model_default_params()
        no_devices = (c_void_p * 1)(None)  # an empty list: no GPU even in a wheel built for one
        params.devices = ctypes.addressof(no_devices)
        params.n_gpu_layers = 0
        params.check_tensors = True
        params.use_extra_bufts = as_served  # packed weights are not those of the file; the AMX kernels want them so
        self._exact = not as_served
        errors.clear()
        if not path.is_file():
            raise ReleaseError(f"{path}: no such file")
        self._model = library.llama_model_load_from_file(os.fsencode(path), params)
        if not self._model:
            raise ReleaseError(f"{path}: llama.cpp does not load it: {reason()}")
        self._vocab = library.llama_model_get_vocab(self._model)
        trained = library.llama_model_n_ctx_train(self._model)
        self.context_length = context_length or trained
        if not 0 < self.context_length <= trained:
            self.close()
            raise ValueError(f"context_length {context_length} is not within the model's {trained}")
        self.vocab_size = library.llama_vocab_n_tokens(self._vocab)
        self.bos_id = library.llama_vocab_bos(self._vocab)
        self.eos_id = library.llama_vocab_eos(self._vocab)
        template = library.llama_model_chat_template(self._model, None)
        self.chat_template = template.decode("utf-8") if template is not None else None

    def close(self) -> None:
        """Free the model and what it remembers; a second call does nothing."""
        while self._decoders:
            self._decoders.pop().close()
        if self._model:
            self._lib.llama_model_free(self._model)
        self._model = None

    def __enter__(self) -> Runtime:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _open(self) -> ctypes.CDLL:
        if not self._model:
            raise ValueError("the runtime is closed")
        return self._lib

    def tokenize(self, text: str, *, add_special: bool = False, parse_special: bool = False) -> list[int]:
        """Ids of `text`, with BOS where the file says so if `add_special`.

        With `parse_special` a literal `<eos>` becomes that control token; without, it stays text.
        """
        library, data = self._open(), text.encode("utf-8")
        room = len(data) + 8  # a token is at least a byte, but for a space prefix, BOS and EOS
        ids = (c_int32 * room)()
        count = library.llama_tokenize(self._vocab, data, len(data), ids, room, add_special, parse_special)
        if count < 0:
            raise ReleaseError(f"llama_tokenize failed with {count}: {reason()}")
        return ids[:count]

    def piece(self, token: int, *, special: bool = False) -> bytes:
        """UTF-8 bytes of one token, maybe part of a character; control tokens are empty unless `special`."""
        library, room = self._open(), 64
        self._check([token])
        while True:
            buffer = ctypes.create_string_buffer(room)
            size = library.llama_token_to_piece(self._vocab, token, buffer, room, 0, special)
            if size >= 0:
                return buffer.raw[:size]
            room = -size

    def detokenize(self, ids: Sequence[int]) -> str:
        """Text of `ids` without control tokens; bytes that are no UTF-8 become U+FFFD."""
        return b"".join(map(self.piece, ids)).decode("utf-8", "replace")

    def is_end_of_generation(self, token: int) -> bool:
        """Whether llama.cpp, and so Ollama, stops at this token."""
        self._check([token])
        return bool(self._open().llama_vocab_is_eog(self._vocab, token))

    def logits(self, ids: Sequence[int]) -> NDArray[np.float32]:
        """Logits (len(ids), vocab_size) after each of `ids`, from an empty context with a float32 cache.

        Raises ValueError for no ids, more than the context holds, or ids outside the vocabulary.
        """
        result = np.empty((len(ids), self.vocab_size), dtype=np.float32)
        for step, rows in self.read([ids], exact=True):
            result[step[0].start : step[0].stop] = rows
        return result

    def read(
        self, windows: Sequence[Sequence[int]], *, exact: bool = False
    ) -> Iterator[tuple[Step, NDArray[np.float32]]]:
        """Logits after each token of several windows, each from an empty context, step by step as `steps` has them.

        The rows (tokens of the step, vocab_size) are llama.cpp's own memory: the next step writes over them. Unless
        `exact`, the cache is float16 and attention is fused, which is what llama.cpp and Ollama do by themselves:
        quicker, with errors of about 1e-3. Raises ValueError as `logits` does.
        """
        for ids in windows:
            self._check(ids)
        return self._read(windows, exact)

    def _read(self, windows: Sequence[Sequence[int]], exact: bool) -> Iterator[tuple[Step, NDArray[np.float32]]]:
        lengths = [len(ids) for ids in windows]
        plan = steps(lengths, self.step_size)
        together = max((sum(part.stop - part.start for part in step) for step in plan), default=1)
        sequences = max(map(len, plan), default=1)
        with self._decoder(max([together, *lengths]), sequences=sequences, shared=True, exact=exact) as decoder:
            for step in plan:
                if step[0].start == 0:
                    decoder.clear()
                texts = (windows[part.window][part.start : part.stop] for part in step)
                spans = [Span(at, part.start, ids) for at, (part, ids) in enumerate(zip(step, texts, strict=True))]
                yield step, decoder.read(spans)

    @property
    def step_size(self) -> int:
        """How many tokens are read at once."""
        return max(32, min(BATCH, ROOM // self.vocab_size))

    def generate(
        self, prompt: Sequence[int], *, max_tokens: int, sampling: Sampling, seed: int
    ) -> Generator[int, None, bool]:
        """Tokens after `prompt`, up to the end of generation (not included), `max_tokens`, or a full context.

        Returns whether the model ended them. Raises ValueError for a prompt that `logits` would refuse.
        """
        self._check(prompt)
        count = self._room(prompt, max_tokens)
        return self._generate(list(prompt), count, sampling, np.random.default_rng(seed))

    def _generate(
        self, ids: list[int], count: int, sampling: Sampling, random: np.random.Generator
    ) -> Generator[int, None, bool]:
        with self._decoder(len(ids) + count) as decoder:
            read = 0
            for _ in range(count):
                while read < len(ids):
                    logits = decoder.read([Span(0, read, ids[read : read + self.step_size])], last=True)
                    read = min(read + self.step_size, len(ids))
                token = choose(logits[0], sampling, ids, random)
                if self.is_end_of_generation(token):
                    return True
                yield token
                ids.append(token)
        return False

    def generate_batch(
        self,
        prompts: Sequence[Sequence[int]],
        *,
        max_tokens: int,
        sampling: Sampling,
        seeds: Sequence[int],
        advance: Callable[[int], object] = lambda count: None,
    ) -> list[Generated]:
        """What `generate` writes after each prompt with its seed, many at once; `advance` hears of those that end.

        A prompt that leaves no room in the context gets nothing. Equal prompts are read once. Numbers read beside
        others differ in their last bits: where two tokens are that close to equal, so may the text.
        """
        result = [Generated((), False)] * len(prompts)
        rows: list[Row] = []
        for number, (prompt, seed) in enumerate(zip(prompts, seeds, strict=True)):
            self._check(prompt[: self.context_length])
            if room := self._room(prompt, max_tokens):
                rows.append(Row(number, list(prompt), room, seed))
        advance(len(prompts) - len(rows))
        if not rows:
            return result
        first: dict[tuple[int, ...], int] = {}
        rows.sort(key=lambda row: first.setdefault(tuple(row.prompt), row.number))
        length = max(len(row.prompt) + row.room for row in rows)
        count = min(len(rows), ROWS, max(1, CACHE // self._cache_size(length)))
        with self._decoder(length, sequences=count) as decoder:
            writer = Writer(
                decoder, rows=count, step_size=self.step_size, sampling=sampling, ends=self.is_end_of_generation
            )
            for number, written in writer.write(rows, advance).items():
                result[number] = written
        return result

    def _room(self, prompt: Sequence[int], max_tokens: int) -> int:
        """How many tokens may follow a prompt."""
        if max_tokens < 0:
            raise ValueError("max_tokens must not be negative")
        return max(0, min(max_tokens, self.context_length - len(prompt)))

    def _cache_size(self, length: int) -> int:
        """Bytes that a sequence of `length` tokens takes in a float32 cache."""
        library, model = self._open(), self._model
        heads, groups = int(library.llama_model_n_head(model)), int(library.llama_model_n_head_kv(model))
        width = int(library.llama_model_n_embd(model)) * max(1, groups) // max(1, heads)
        layers = int(library.llama_model_n_layer(model))
        return 2 * 4 * max(1, layers * width * length)

    def _check(self, ids: Sequence[int]) -> None:
        if not 0 < len(ids) <= self.context_length:
            raise ValueError(f"{len(ids)} tokens do not fit the context of {self.context_length}")
        if min(ids) < 0 or max(ids) >= self.vocab_size:
            raise ValueError(f"token ids must be within 0..{self.vocab_size - 1}")

    @contextmanager
    def _decoder(
        self, length: int, *, sequences: int = 1, shared: bool = False, exact: bool | None = None
    ) -> Iterator[Decoder]:
        library = self._open()
        assert self._model
        decoder = Decoder(
            library,
            self._model,
            length,
            sequences=sequences,
            shared=shared,
            exact=self._exact if exact is None else exact,
            batch=self.step_size,
            threads=self._threads,
        )
        self._decoders.add(decoder)
        try:
            yield decoder
        finally:
            self._decoders.discard(decoder)  # close() may have freed it while a generator was suspended
            decoder.close()
