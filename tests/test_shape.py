"""The arithmetic of a model's shape, checked against published models."""

from __future__ import annotations

import re
from typing import Any

import pytest
from pydantic import ValidationError

from stages.training.shape import ModelConfig

# Vocabulary, shape and number of weights as the model cards and `model.num_parameters()` of the originals tell them.
PUBLISHED: dict[str, tuple[int, dict[str, Any], int]] = {
    "Llama-2-7B": (
        32_000,
        dict(d_model=4096, n_layers=32, n_heads=32, n_kv_heads=32, d_ff=11_008, tie_embeddings=False),
        6_738_415_616,
    ),
    "Llama-3-8B": (
        128_256,
        dict(d_model=4096, n_layers=32, n_heads=32, n_kv_heads=8, d_ff=14_336, tie_embeddings=False),
        8_030_261_248,
    ),
    "TinyLlama-1.1B": (
        32_000,
        dict(d_model=2048, n_layers=22, n_heads=32, n_kv_heads=4, d_ff=5632, tie_embeddings=False),
        1_100_048_384,
    ),
    "SmolLM2-135M": (
        49_152,
        dict(d_model=576, n_layers=30, n_heads=9, n_kv_heads=3, d_ff=1536, tie_embeddings=True),
        134_515_008,
    ),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_count_of_parameters_is_that_of_published_models(name: str) -> None:
    vocab_size, shape, parameters = PUBLISHED[name]
    assert ModelConfig(**shape).parameters(vocab_size) == parameters


@pytest.mark.parametrize(("d_model", "n_heads"), [(130, 4), (100, 12), (20, 16), (514, 8), (9, 4)])
def test_a_width_that_does_not_divide_is_refused_and_the_widths_named_instead_are_accepted(
    d_model: int, n_heads: int
) -> None:
    with pytest.raises(ValidationError) as caught:
        ModelConfig(d_model=d_model, n_heads=n_heads, n_kv_heads=n_heads)
    (error,) = caught.value.errors()
    assert error["ctx"]["key"] == "d_model"
    assert f"{d_model} is not divisible by n_heads {n_heads}" in error["msg"]
    named = [int(number) for number in re.findall(r"\d+", error["msg"].partition("nearest:")[2])]
    assert named
    for width in named:
        ModelConfig(d_model=width, n_heads=n_heads, n_kv_heads=n_heads)


@pytest.mark.parametrize(
    ("shape", "key", "words"),
    [
        (dict(d_model=24, n_heads=8, n_kv_heads=8), "n_heads", "is odd"),
        (dict(d_model=64, n_heads=8, n_kv_heads=3), "n_kv_heads", "not divisible by n_kv_heads 3"),
        (dict(d_model=64, n_heads=4, n_kv_heads=8), "n_kv_heads", "not divisible by n_kv_heads 8"),
    ],
)
def test_heads_that_do_not_fit_are_refused_at_their_key(shape: dict[str, int], key: str, words: str) -> None:
    with pytest.raises(ValidationError) as caught:
        ModelConfig(**shape)  # type: ignore[arg-type]
    (error,) = caught.value.errors()
    assert error["ctx"]["key"] == key
    assert words in error["msg"]


@pytest.mark.parametrize(
    "wrong",
    [
        {"d_model": "512"},
        {"d_model": 0},
        {"n_layers": 0},
        {"dropout": 1.0},
        {"dropout": -0.1},
        {"tie_embeddings": 1},
        {"architecture": "gpt2"},
        {"n_embd": 512},
    ],
)
def test_wrong_types_values_and_keys_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        ModelConfig(**wrong)


def test_every_foreign_name_leads_to_a_key_that_exists() -> None:
    assert set(ModelConfig.foreign_names.values()) <= set(ModelConfig.model_fields)
    assert not set(ModelConfig.foreign_names) & set(ModelConfig.model_fields)
