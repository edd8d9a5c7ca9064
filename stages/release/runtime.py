"""A GGUF file in the real llama.cpp, on the CPU."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from ctypes import c_int8, c_int32, c_void_p
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from pipeline.hardware import usable_cores
from stages.release.errors import ReleaseError
from stages.release.llamacpp import Batch, checked_library, errors, reason

BATCH = 512  # tokens per call of llama_decode, fewer where so many rows of logits take more than
ROOM = 1 << 23  # numbers
SEQUENCES = 64  # per call; llama.cpp allows 256
F32, F16 = 0, 1  # ggml_type


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

    def __init__(self, path: Path, *, context_length: int | None = None, threads: int | None = None) -> None:
        """Load the GGUF at `path`, for at most `context_length` tokens (default: what the file says).

        Raises ReleaseError, with llama.cpp's reason, for a file that it refuses, ValueError for a context
        longer than the model was trained with, RuntimeUnavailable without a usable wheel.
        """
        self._model: int | None = None
        self._contexts: set[int] = set()
        self._lib = library = checked_library()
        # Threads wait for each other after every matrix, and these matrices are small: on two busy cores, two
        # threads were several times slower than one.
        self._threads = threads or max(1, min(4, usable_cores() // 2))
        params = library.llama_model_default_params()
        no_devices = (c_void_p * 1)(None)  # an empty list: no GPU even in a wheel built for one
        params.devices = ctypes.addressof(no_devices)
        params.n_gpu_layers = 0
        params.check_tensors = True
        params.use_extra_bufts = False  # weights stay as in the file; the AMX kernels want them repacked
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
        """Free contexts and model; a second call does nothing."""
        while self._contexts:
            self._lib.llama_free(self._contexts.pop())
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
        with self._context(max([together, *lengths]), sequences=sequences, exact=exact) as context:
            for step in plan:
                yield step, self._rows(context, [windows[part.window][part.start : part.stop] for part in step], step)

    @property
    def step_size(self) -> int:
        """How many tokens are read at once."""
        return max(32, min(BATCH, ROOM // self.vocab_size))

    def generate(
        self,
        prompt: Sequence[int],
        *,
        max_tokens: int,
        temperature: float = 0.0,
        top_k: int = 0,
        top_p: float = 1.0,
        seed: int = 0,
    ) -> Iterator[int]:
        """Tokens after `prompt`, up to the end of generation (not included), `max_tokens`, or a full context.

        `temperature` 0 takes the likeliest token; else softmax(logits / temperature) is cut to the `top_k`
        likeliest tokens (0: all), then to the fewest that reach the probability `top_p` (nucleus sampling,
        arXiv:1904.09751). Raises ValueError for a prompt that `logits` would refuse or settings out of range.
        """
        self._check(prompt)
        if max_tokens < 0 or temperature < 0 or top_k < 0 or not 0 < top_p <= 1:
            raise ValueError("max_tokens, temperature and top_k must not be negative, and 0 < top_p <= 1")
        random = np.random.default_rng(seed)
        count = min(max_tokens, self.context_length - len(prompt))
        return self._generate(list(prompt), count, lambda row: choose(row, temperature, top_k, top_p, random))

    def _generate(self, prompt: list[int], count: int, chosen: Callable[[NDArray[np.float32]], int]) -> Iterator[int]:
        with self._context(self.context_length) as context:
            pending = prompt
            for _ in range(count):
                for start in range(0, len(pending), self.step_size):
                    self._decode(context, pending[start : start + self.step_size])
                token = chosen(self._row(context, -1))
                if self.is_end_of_generation(token):
                    return
                yield token
                pending = [token]

    def _check(self, ids: Sequence[int]) -> None:
        if not 0 < len(ids) <= self.context_length:
            raise ValueError(f"{len(ids)} tokens do not fit the context of {self.context_length}")
        if min(ids) < 0 or max(ids) >= self.vocab_size:
            raise ValueError(f"token ids must be within 0..{self.vocab_size - 1}")

    @contextmanager
    def _context(self, length: int, *, sequences: int = 1, exact: bool = True) -> Iterator[int]:
        library = self._open()
        params = library.llama_context_default_params()
        params.n_ctx = length
        params.n_batch = params.n_ubatch = self.step_size
        params.n_seq_max = sequences
        params.kv_unified = True  # sequences share the room instead of each having as much as the longest needs
        params.n_threads = params.n_threads_batch = self._threads
        # A float16 cache, and flash attention on any cache, add errors of 1e-3 that are not the file's.
        params.type_k = params.type_v = F32 if exact else F16
        params.flash_attn_type = int(not exact)
        errors.clear()
        context = library.llama_init_from_model(self._model, params)
        if not context:
            raise ReleaseError(f"llama.cpp made no context of {length} tokens: {reason()}")
        self._contexts.add(context)
        try:
            yield context
        finally:
            if context in self._contexts:  # close() may have freed it while a generator was suspended
                self._contexts.remove(context)
                library.llama_free(context)

    def _rows(self, context: int, texts: Sequence[Sequence[int]], step: Step) -> NDArray[np.float32]:
        """Read a step, each part as a sequence of its own, and give llama.cpp's rows of logits."""
        library = self._open()
        if step[0].start == 0:
            library.llama_memory_clear(library.llama_get_memory(context), False)
        count = sum(map(len, texts))
        names = [(c_int32 * 1)(index) for index in range(len(texts))]
        owners = [ctypes.addressof(name) for name, ids in zip(names, texts, strict=True) for _ in ids]
        batch = Batch(
            n_tokens=count,
            token=(c_int32 * count)(*(token for ids in texts for token in ids)),
            pos=(c_int32 * count)(*(place for part in step for place in range(part.start, part.stop))),
            n_seq_id=(c_int32 * count)(*[1] * count),
            seq_id=(c_void_p * count)(*owners),
            logits=(c_int8 * count)(*[1] * count),
        )
        self._run(context, batch)
        found = library.llama_get_logits(context)
        if not found:
            raise ReleaseError(f"no logits for a batch of {count} tokens: {reason()}")
        return np.ctypeslib.as_array(found, shape=(count, self.vocab_size))

    def _decode(self, context: int, ids: Sequence[int]) -> None:
        """Append `ids` to the context, for logits after the last; llama.cpp counts positions on by itself."""
        count = len(ids)
        outputs = (c_int8 * count)(*(place == count - 1 for place in range(count)))
        self._run(context, Batch(n_tokens=count, token=(c_int32 * count)(*ids), logits=outputs))

    def _run(self, context: int, batch: Batch) -> None:
        code = self._open().llama_decode(context, batch)
        if code:
            raise ReleaseError(f"llama_decode failed with {code}: {reason()}")

    def _row(self, context: int, row: int) -> NDArray[np.float32]:
        logits = self._open().llama_get_logits_ith(context, row)
        if not logits:
            raise ReleaseError(f"no logits for token {row} of the batch: {reason()}")
        return np.ctypeslib.as_array(logits, shape=(self.vocab_size,)).copy()


def choose(
    logits: NDArray[np.float32], temperature: float, top_k: int, top_p: float, random: np.random.Generator
) -> int:
    """One token id from `logits` (vocab_size,), by the rules of `Runtime.generate`."""
    if temperature == 0:
        return int(logits.argmax())
    order = np.argsort(-logits, kind="stable")[: top_k or None]
    below_best = logits[order].astype(np.float64) - float(logits[order[0]])
    weights = np.exp(below_best / temperature)
    cumulative = np.cumsum(weights / weights.sum())
    kept = int(np.searchsorted(cumulative, top_p)) + 1
    cumulative = cumulative[:kept] / cumulative[:kept][-1]
    return int(order[np.searchsorted(cumulative, random.random(), side="right")])
