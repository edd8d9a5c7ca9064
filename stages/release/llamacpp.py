"""The C interface of llama.cpp, out of the wheel that proves and quantises releases.

The wheel `xllamacpp` carries llama.cpp with its C interface exported (on Linux and macOS; its Windows wheel
hides it), so ctypes reaches what the wheel's own Python classes do not offer: tokens, logits of every
position, ggml's quantisers. Names and field orders are those of that build's `llama.h` and `ggml.h`.
"""

from __future__ import annotations

import ctypes
import importlib.metadata
import importlib.util
from collections import deque
from ctypes import (
    POINTER,
    c_bool,
    c_char_p,
    c_float,
    c_int8,
    c_int32,
    c_int64,
    c_size_t,
    c_uint8,
    c_uint32,
    c_void_p,
)
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stages.release.errors import ReleaseError

PACKAGE = "xllamacpp"
_ERROR = 4  # ggml_log_level


class RuntimeUnavailable(ReleaseError):
    """llama.cpp is out of reach: its wheel is missing, hides the C interface, or has other structs."""


# The structs below end in spare bytes in place of llama.h's later fields. On x86-64 (System V), AArch64 and
# Windows a struct above 16 bytes travels in memory, here as the result or the last argument, and the callee
# touches only its own part. So a struct declared too long is safe, and later fields keep their defaults.
class _ModelParams(ctypes.Structure):
    _fields_ = (
        *((name, c_void_p) for name in ("devices", "tensor_buft_overrides")),
        *((name, c_int32) for name in ("n_gpu_layers", "split_mode", "load_mode", "lazy_mode", "main_gpu")),
        *((name, c_void_p) for name in ("tensor_split", "progress", "progress_data", "kv_overrides")),
        *((name, c_bool) for name in ("vocab_only", "check_tensors", "use_extra_bufts")),
        ("later_fields", c_uint8 * 512),
    )


class _ContextParams(ctypes.Structure):
    _fields_ = (
        *((name, c_uint32) for name in ("n_ctx", "n_batch", "n_ubatch", "n_seq_max")),
        *((name, c_uint32) for name in ("n_rs_seq", "n_outputs_max", "n_outputs_max_per_seq")),
        *((name, c_int32) for name in ("n_threads", "n_threads_batch", "ctx_type", "rope_scaling_type")),
        *((name, c_int32) for name in ("pooling_type", "attention_type", "flash_attn_type")),
        *((name, c_float) for name in ("rope_freq_base", "rope_freq_scale", "yarn_ext_factor")),
        *((name, c_float) for name in ("yarn_attn_factor", "yarn_beta_fast", "yarn_beta_slow")),
        ("yarn_orig_ctx", c_uint32),
        ("defrag_thold", c_float),
        *((name, c_void_p) for name in ("cb_eval", "cb_eval_user_data")),
        *((name, c_int32) for name in ("type_k", "type_v")),
        *((name, c_void_p) for name in ("abort_callback", "abort_data", "unnamed")),
        *((name, c_bool) for name in ("embeddings", "offload_kqv", "no_perf", "op_offload", "swa_full", "kv_unified")),
        ("later_fields", c_uint8 * 512),
    )


class Batch(ctypes.Structure):
    _fields_ = (
        ("n_tokens", c_int32),
        ("token", POINTER(c_int32)),
        ("embd", c_void_p),
        ("pos", POINTER(c_int32)),
        ("n_seq_id", POINTER(c_int32)),
        ("seq_id", POINTER(c_void_p)),
        ("logits", POINTER(c_int8)),
    )


# Defaults by which the layout is recognised: a field moved, added or removed before one of these shows here.
_MODEL_DEFAULTS: dict[str, object] = {
    "devices": None, "n_gpu_layers": -1, "split_mode": 1, "main_gpu": 0, "tensor_split": None,
    "kv_overrides": None, "vocab_only": False, "check_tensors": False, "use_extra_bufts": True,
}  # fmt: skip
_CONTEXT_DEFAULTS: dict[str, object] = {
    "n_ctx": 512, "n_batch": 2048, "n_ubatch": 512, "n_seq_max": 1, "n_outputs_max": 0,
    "rope_scaling_type": -1, "attention_type": -1, "flash_attn_type": -1, "rope_freq_base": 0.0,
    "yarn_ext_factor": -1.0, "yarn_beta_slow": -1.0, "cb_eval": None, "type_k": 1, "type_v": 1, "abort_callback": None,
    "embeddings": False, "offload_kqv": True, "no_perf": True, "op_offload": True, "swa_full": True,
    "kv_unified": False,
}  # fmt: skip

_LOG_CALLBACK = ctypes.CFUNCTYPE(None, c_int32, c_char_p, c_void_p)
_SIGNATURES: dict[str, tuple[Any, list[Any]]] = {
    "ggml_quantize_chunk": (c_size_t, [c_int32, c_void_p, c_void_p, c_int64, c_int64, c_int64, c_void_p]),
    "ggml_cpu_fp16_to_fp32": (None, [c_void_p, c_void_p, c_int64]),
    "ggml_blck_size": (c_int64, [c_int32]),
    "ggml_row_size": (c_size_t, [c_int32, c_int64]),
    "ggml_validate_row_data": (c_bool, [c_int32, c_void_p, c_size_t]),
    "llama_log_set": (None, [_LOG_CALLBACK, c_void_p]),
    "llama_backend_init": (None, []),
    "llama_model_default_params": (_ModelParams, []),
    "llama_context_default_params": (_ContextParams, []),
    "llama_batch_get_one": (Batch, [POINTER(c_int32), c_int32]),
    "llama_model_load_from_file": (c_void_p, [c_char_p, _ModelParams]),
    "llama_model_free": (None, [c_void_p]),
    "llama_model_get_vocab": (c_void_p, [c_void_p]),
    "llama_model_n_ctx_train": (c_int32, [c_void_p]),
    "llama_model_n_layer": (c_int32, [c_void_p]),
    "llama_model_n_embd": (c_int32, [c_void_p]),
    "llama_model_n_head": (c_int32, [c_void_p]),
    "llama_model_n_head_kv": (c_int32, [c_void_p]),
    "llama_model_chat_template": (c_char_p, [c_void_p, c_char_p]),
    "llama_init_from_model": (c_void_p, [c_void_p, _ContextParams]),
    "llama_free": (None, [c_void_p]),
    "llama_decode": (c_int32, [c_void_p, Batch]),
    "llama_get_logits": (POINTER(c_float), [c_void_p]),
    "llama_get_logits_ith": (POINTER(c_float), [c_void_p, c_int32]),
    "llama_get_memory": (c_void_p, [c_void_p]),
    "llama_memory_clear": (None, [c_void_p, c_bool]),
    "llama_memory_seq_rm": (c_bool, [c_void_p, c_int32, c_int32, c_int32]),
    "llama_memory_seq_cp": (None, [c_void_p, c_int32, c_int32, c_int32, c_int32]),
    "llama_vocab_n_tokens": (c_int32, [c_void_p]),
    "llama_vocab_bos": (c_int32, [c_void_p]),
    "llama_vocab_eos": (c_int32, [c_void_p]),
    "llama_vocab_is_eog": (c_bool, [c_void_p, c_int32]),
    "llama_tokenize": (c_int32, [c_void_p, c_char_p, c_int32, POINTER(c_int32), c_int32, c_bool, c_bool]),
    "llama_token_to_piece": (c_int32, [c_void_p, c_int32, c_char_p, c_int32, c_int32, c_bool]),
}
errors: deque[str] = deque(maxlen=4)  # the last error lines of llama.cpp's log, for the exceptions


def _keep_errors(level: int, text: bytes | None, _: object) -> None:
    if level == _ERROR and text:
        errors.append(text.decode("utf-8", "replace").strip())


_log_callback = _LOG_CALLBACK(_keep_errors)  # a global, because llama.cpp keeps the pointer


def reason() -> str:
    """What llama.cpp last complained of."""
    return "; ".join(errors) or "llama.cpp gave no reason"


def _unavailable(what: str, hint: str | None = None) -> RuntimeUnavailable:
    try:
        version = importlib.metadata.version(PACKAGE)
    except importlib.metadata.PackageNotFoundError:
        version = "not installed"
    return RuntimeUnavailable(f"{what} (Python package {PACKAGE}: {version})", hint)


@cache
def library() -> ctypes.CDLL:
    """llama.cpp inside the wheel, its functions typed and its log silenced.

    Raises RuntimeUnavailable where the wheel is missing or does not export the functions.
    """
    package = importlib.util.find_spec(PACKAGE)
    if package is None or not package.submodule_search_locations:
        raise _unavailable("llama.cpp is missing", f"pip install {PACKAGE}")
    folder = Path(next(iter(package.submodule_search_locations)))
    binaries = [path for path in folder.glob(f"{PACKAGE}*") if path.suffix in (".so", ".pyd")]
    if not binaries:
        raise _unavailable(f"no compiled library in {folder}")
    try:
        loaded = ctypes.CDLL(str(binaries[0]))
        for name, (result, arguments) in _SIGNATURES.items():
            function = getattr(loaded, name)
            function.restype, function.argtypes = result, arguments
    except (OSError, AttributeError) as error:
        raise _unavailable(f"the C interface of llama.cpp cannot be reached: {error}") from None
    loaded.llama_log_set(_log_callback, None)
    loaded.llama_backend_init()
    return loaded


@cache
def checked_library() -> ctypes.CDLL:
    """The library, after its structs were found where they are expected; else RuntimeUnavailable."""
    checked = library()
    expected = (
        (checked.llama_model_default_params(), _MODEL_DEFAULTS),
        (checked.llama_context_default_params(), _CONTEXT_DEFAULTS),
    )
    for params, defaults in expected:
        for name, value in defaults.items():
            found = getattr(params, name)
            if found != value:
                raise _unavailable(f"unknown struct layout: {name} is {found}, expected {value}")
    tokens = (c_int32 * 3)(5, 6, 7)
    batch = checked.llama_batch_get_one(tokens, 3)
    if batch.n_tokens != 3 or not batch.token or batch.token[:3] != [5, 6, 7] or batch.logits:
        raise _unavailable("unknown struct layout: llama_batch")
    return checked


def quantize_rows(
    rows: NDArray[np.float32], ggml_type: int, importance: NDArray[np.float32] | None = None
) -> NDArray[np.uint8]:
    """Quantise a float32 matrix (rows, columns) to a ggml type; returns bytes (rows, bytes per row).

    `importance` (columns,) weighs the error in each column. Raises ValueError for columns that are no multiple of the
    type's block or an importance of another length, ReleaseError where ggml finds the result invalid (a scale beyond
    float16), RuntimeUnavailable without the wheel. The GIL is free meanwhile.
    """
    ggml = library()
    rows = np.ascontiguousarray(rows, dtype=np.float32)
    count, columns = rows.shape
    if columns % (block := ggml.ggml_blck_size(ggml_type)):  # ggml would end the process
        raise ValueError(f"{columns} columns are no multiple of the block of {block}")
    if importance is not None:
        if importance.shape != (columns,):
            raise ValueError(f"importance of shape {importance.shape} for {columns} columns")
        importance = np.ascontiguousarray(importance, dtype=np.float32)
    weights = None if importance is None else importance.ctypes.data
    quantised = np.empty((count, ggml.ggml_row_size(ggml_type, columns)), dtype=np.uint8)
    source, target = rows.ctypes.data, quantised.ctypes.data
    size = ggml.ggml_quantize_chunk(ggml_type, source, target, 0, count, columns, weights)
    if size != quantised.nbytes or not ggml.ggml_validate_row_data(ggml_type, target, size):
        raise ReleaseError(f"quantising to ggml type {ggml_type} gave invalid data: {reason()}")
    return quantised


def widen_halves(values: NDArray[np.float16]) -> NDArray[np.float32]:
    """`values` as float32: by the processor's own instruction through ggml, without the wheel by numpy."""
    try:
        convert = library().ggml_cpu_fp16_to_fp32
    except RuntimeUnavailable:
        return values.astype(np.float32)
    values, wide = np.ascontiguousarray(values), np.empty(values.shape, np.float32)
    convert(values.ctypes.data, wide.ctypes.data, values.size)
    return wide
