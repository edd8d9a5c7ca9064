"""The memory that llama.cpp keeps of some sequences of tokens, and what it says after them."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from ctypes import c_int8, c_int32, c_void_p
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stages.release.errors import ReleaseError
from stages.release.llamacpp import Batch, errors, reason

F32, F16 = 0, 1  # ggml_type


@dataclass(frozen=True)
class Span:
    """Tokens that go on a sequence, the first at place `start`."""

    sequence: int
    start: int
    ids: Sequence[int]


class Decoder:
    """A context of llama.cpp for several sequences of at most `length` tokens each.

    With `shared` they have `length` tokens of room together, and each attends past all the others: right for windows
    that are read once. Without, each has room of its own, which is several times quicker for many long ones, and can
    be copied. Unless `exact`, the cache is float16 and attention is fused, for errors of about 1e-3.
    """

    def __init__(
        self,
        library: ctypes.CDLL,
        model: int,
        length: int,
        *,
        sequences: int,
        shared: bool,
        exact: bool,
        batch: int,
        threads: int,
    ) -> None:
        """Raises ReleaseError, with llama.cpp's reason, where it makes no context."""
        self._library = library
        self._vocab_size = library.llama_vocab_n_tokens(library.llama_model_get_vocab(model))
        params = library.llama_context_default_params()
        params.n_ctx = length if shared else length * sequences
        params.n_batch = params.n_ubatch = batch
        params.n_seq_max = sequences
        params.kv_unified = shared
        params.n_threads = params.n_threads_batch = threads
        # A float16 cache, and flash attention on any cache, add errors of 1e-3 that are not the file's.
        params.type_k = params.type_v = F32 if exact else F16
        params.flash_attn_type = int(not exact)
        errors.clear()
        self._context: int | None = library.llama_init_from_model(model, params)
        if not self._context:
            raise ReleaseError(f"llama.cpp made no context of {sequences} × {length} tokens: {reason()}")
        self._memory = library.llama_get_memory(self._context)

    def close(self) -> None:
        """Free the memory; a second call does nothing."""
        if self._context:
            self._library.llama_free(self._context)
        self._context = None

    def _open(self) -> ctypes.CDLL:
        if not self._context:
            raise ValueError("the runtime is closed")
        return self._library

    def read(self, spans: Sequence[Span], *, last: bool = False) -> NDArray[np.float32]:
        """Logits after each token of the spans, or with `last` after each span: llama.cpp's memory, for one call."""
        library = self._open()
        count = sum(len(span.ids) for span in spans)
        names = [(c_int32 * 1)(span.sequence) for span in spans]
        owners = [ctypes.addressof(name) for name, span in zip(names, spans, strict=True) for _ in span.ids]
        wanted = [not last or left == 1 for span in spans for left in range(len(span.ids), 0, -1)]
        batch = Batch(
            n_tokens=count,
            token=(c_int32 * count)(*(token for span in spans for token in span.ids)),
            pos=(c_int32 * count)(
                *(place for span in spans for place in range(span.start, span.start + len(span.ids)))
            ),
            n_seq_id=(c_int32 * count)(*[1] * count),
            seq_id=(c_void_p * count)(*owners),
            logits=(c_int8 * count)(*wanted),
        )
        if code := library.llama_decode(self._context, batch):
            raise ReleaseError(f"llama_decode failed with {code}: {reason()}")
        found = library.llama_get_logits(self._context)
        if not found:
            raise ReleaseError(f"no logits for a batch of {count} tokens: {reason()}")
        return np.ctypeslib.as_array(found, shape=(sum(wanted), self._vocab_size))

    def clear(self) -> None:
        """Forget all sequences."""
        self._open().llama_memory_clear(self._memory, False)

    def forget(self, sequence: int, start: int = 0) -> bool:
        """Forget a sequence from place `start` on; False where a kind of model cannot forget a part."""
        return bool(self._open().llama_memory_seq_rm(self._memory, sequence, start, -1))

    def copy(self, source: int, target: int) -> None:
        """Make the sequence `target` what `source` is."""
        self._open().llama_memory_seq_cp(self._memory, source, target, -1, -1)
