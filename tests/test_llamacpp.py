"""llama.cpp's C interface: a wheel that is missing or other than expected is named, never guessed at."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from test_gguf import TinyLlama, make_llama, train_tokenizer

from pipeline.errors import StageError
from stages.release import llamacpp as module
from stages.release.llamacpp import RuntimeUnavailable, quantize_rows
from stages.release.runtime import Runtime


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> TinyLlama:
    return make_llama(tmp_path_factory.mktemp("tiny"), train_tokenizer())


@pytest.fixture
def fresh_library() -> Iterator[None]:
    """For tests that spoil what is remembered of the wheel."""
    module.library.cache_clear()
    module.checked_library.cache_clear()
    yield
    module.library.cache_clear()
    module.checked_library.cache_clear()


def test_a_missing_wheel_is_named(tiny: TinyLlama, fresh_library: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(RuntimeUnavailable, match=r"llama\.cpp is missing") as caught:
        Runtime(tiny.write("f32"))
    assert isinstance(caught.value, StageError) and caught.value.hint == "pip install xllamacpp"


@pytest.mark.parametrize(
    ("table", "change", "message"),
    [
        ("_CONTEXT_DEFAULTS", {"n_batch": 4096}, "unknown struct layout: n_batch is 2048, expected 4096"),
        ("_MODEL_DEFAULTS", {"use_extra_bufts": False}, "unknown struct layout: use_extra_bufts is True"),
        ("_SIGNATURES", {"llama_gone": (None, [])}, "cannot be reached: .*llama_gone"),
    ],
)
def test_another_layout_is_refused_and_the_version_named(
    tiny: TinyLlama,
    fresh_library: None,
    monkeypatch: pytest.MonkeyPatch,
    table: str,
    change: dict[str, Any],
    message: str,
) -> None:
    from importlib.metadata import version

    monkeypatch.setattr(module, table, getattr(module, table) | change)
    with pytest.raises(RuntimeUnavailable, match=message) as caught:
        Runtime(tiny.write("f32"))
    assert version("xllamacpp") in str(caught.value)


def test_columns_that_ggml_would_abort_on_are_an_error() -> None:
    with pytest.raises(ValueError, match="200 columns are no multiple of the block of 256"):
        quantize_rows(np.zeros((2, 200), dtype=np.float32), 12)


def test_importance_has_a_number_for_each_column_and_changes_what_is_kept() -> None:
    rows = np.random.default_rng(0).normal(size=(4, 256)).astype(np.float32)
    with pytest.raises(ValueError, match=r"importance of shape \(255,\) for 256 columns"):
        quantize_rows(rows, 12, np.ones(255, dtype=np.float32))
    weighed = np.where(np.arange(256) < 8, 1000, 1).astype(np.float32)
    assert quantize_rows(rows, 12, weighed).tobytes() != quantize_rows(rows, 12).tobytes()
