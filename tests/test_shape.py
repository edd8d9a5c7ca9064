"""The arithmetic of a model's shape, checked against published models."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from stages.training.shape import PRESETS, ModelConfig

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
    "Qwen3-0.6B": (
        151_936,
        dict(d_model=1024, n_layers=28, n_heads=16, n_kv_heads=8, head_dim=128, d_ff=3072, qk_norm=True),
        596_049_920,
    ),
    "GPT-2": (50_257, dict(architecture="gpt2", d_model=768, n_layers=12, n_heads=12), 124_439_808),
    "GPT-2 XL": (50_257, dict(architecture="gpt2", d_model=1600, n_layers=48, n_heads=25), 1_557_611_200),
    "microgpt": (27, dict(architecture="microgpt", d_model=16, n_layers=1, n_heads=4), 4192),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_count_of_parameters_is_that_of_published_models(name: str) -> None:
    vocab_size, shape, parameters = PUBLISHED[name]
    context_length = 16 if name == "microgpt" else 1024
    assert ModelConfig(**shape).parameters(vocab_size, context_length) == parameters


@st.composite
def shapes(draw: st.DrawFn) -> dict[str, Any]:
    """Sections that are right, of all architectures."""
    architecture = draw(st.sampled_from(["llama", "gpt2", "microgpt"]))
    n_kv_heads, groups = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    n_heads = n_kv_heads * groups
    head_dim = 2 * draw(st.integers(4, 6))
    shape: dict[str, Any] = {
        "architecture": architecture,
        "d_model": n_heads * head_dim,
        "n_layers": draw(st.integers(1, 3)),
        "n_heads": n_heads,
        "tie_embeddings": draw(st.booleans()),
    }
    if draw(st.booleans()):
        shape["d_ff"] = draw(st.integers(8, 50))
    if architecture == "llama":
        shape |= {"n_kv_heads": n_kv_heads, "qk_norm": draw(st.booleans())}
        if shape["qk_norm"] and draw(st.booleans()):
            shape |= {"head_dim": 2 * draw(st.integers(1, 8)), "d_model": 8 * draw(st.integers(1, 4))}
    if architecture == "gpt2":
        shape["bias"] = draw(st.booleans())
    if architecture == "microgpt":
        shape |= {"positions": draw(st.sampled_from(["rope", "learned"])), "zero_init": draw(st.booleans())}
    return shape


@settings(max_examples=60, deadline=None)
@given(shapes(), st.integers(2, 70), st.integers(1, 40))
def test_the_count_of_parameters_is_that_of_the_network(
    shape: dict[str, Any], vocab_size: int, context_length: int
) -> None:
    from stages.training.model import make_model

    config = ModelConfig(**shape)
    network = make_model(config, vocab_size, context_length)
    assert config.parameters(vocab_size, context_length) == sum(p.numel() for p in network.parameters())
    told = config.model_dump(mode="json")
    assert ModelConfig.model_validate_json(json.dumps(told)) == config  # what is written with a model can be read again


@pytest.mark.parametrize(("preset", "millions"), [(name, int(name.split("-")[1][:-1])) for name in PRESETS])
def test_a_preset_has_the_size_that_its_name_tells_and_rows_that_k_quants_take(preset: str, millions: int) -> None:
    config = ModelConfig.model_validate({"preset": preset})
    vocab_size = 4096 if millions == 5 else 8192
    assert config.parameters(vocab_size) / 1e6 == pytest.approx(millions, rel=0.025)
    assert config.d_model % 256 == config.d_ff % 256 == 0
    assert config.head_dim == 64
    assert {key: getattr(config, key) for key in PRESETS[preset]} == PRESETS[preset]


def test_what_is_stated_beside_a_preset_wins() -> None:
    config = ModelConfig(preset="tiny-25m", n_layers=3, dropout=0.1)
    plain = ModelConfig(preset="tiny-25m")
    assert config == plain.model_copy(update={"n_layers": 3, "dropout": 0.1})


def test_a_preset_that_gives_nothing_is_an_error() -> None:
    stated = {**PRESETS["tiny-25m"], "n_layers": 3}
    refused({"preset": "tiny-25m", **stated}, "preset", "all stated here as well")


@pytest.mark.parametrize(
    ("stated", "follows"),
    [
        ({}, {"n_kv_heads": 4, "d_ff": 1536, "head_dim": 64, "positions": "rope", "bias": False}),
        ({"d_model": 256, "n_heads": 6, "head_dim": 32, "qk_norm": True}, {"n_kv_heads": 6, "d_ff": 768}),
        ({"architecture": "gpt2"}, {"n_kv_heads": 8, "d_ff": 2048, "positions": "learned", "bias": True}),
        (
            {"architecture": "microgpt", "d_model": 16, "n_heads": 4},
            {"n_kv_heads": 4, "d_ff": 64, "positions": "learned", "init_std": 0.08, "tie_embeddings": False},
        ),
        ({"architecture": "microgpt", "init_std": 0.02, "tie_embeddings": True}, {"init_std": 0.02, "d_ff": 2048}),
    ],
)
def test_what_is_not_stated_follows(stated: dict[str, Any], follows: dict[str, Any]) -> None:
    config = ModelConfig.model_validate_json(json.dumps(stated))
    assert {key: getattr(config, key) for key in follows} == follows


@pytest.mark.parametrize(
    ("shape", "key", "words"),
    [
        ({"positions": "learned"}, "positions", "learned does not go with the architecture llama"),
        ({"activation": "relu"}, "activation", "has a SwiGLU"),
        ({"bias": True}, "bias", "true does not go with the architecture llama, which has no biases"),
        ({"d_model": 96, "n_heads": 9, "n_kv_heads": 3, "head_dim": 32}, "d_model", "without qk_norm"),
        ({"architecture": "gpt2", "positions": "rope"}, "positions", "gpt2, which learns its positions"),
        ({"architecture": "gpt2", "n_kv_heads": 4}, "n_kv_heads", "for each of its 8 query heads; leave"),
        ({"architecture": "gpt2", "head_dim": 32}, "head_dim", "d_model / n_heads values"),
        ({"architecture": "gpt2", "qk_norm": True}, "qk_norm", "norms no queries and keys"),
        ({"architecture": "gpt2", "rope_theta": 5e5}, "rope_theta", "these are learned"),
        ({"architecture": "gpt2", "activation": "swiglu"}, "activation", "has a GELU"),
        ({"architecture": "gpt2", "preset": "nano-5m"}, "preset", "nano-5m is a Llama"),
        ({"architecture": "microgpt", "bias": True}, "bias", "has no biases"),
        ({"architecture": "microgpt", "dropout": 0.1}, "dropout", "drops nothing"),
        ({"architecture": "microgpt", "rope_theta": 5e5}, "rope_theta", "leave rope_theta out"),
        ({"preset": "nano-5m", "init_from": "gpt2"}, "preset", "brings its own shape"),
    ],
)
def test_keys_that_an_architecture_does_not_have_are_refused_where_they_contradict_it(
    shape: dict[str, Any], key: str, words: str
) -> None:
    refused(shape, key, words)


def refused(shape: dict[str, Any], key: str, words: str) -> None:
    with pytest.raises(ValidationError) as caught:
        ModelConfig(**shape)
    (error,) = caught.value.errors()
    assert error["ctx"]["key"] == key
    assert words in error["msg"]


@pytest.mark.parametrize(
    "shape",
    [
        {"architecture": "gpt2", "n_kv_heads": 8, "rope_theta": 10_000.0, "qk_norm": False, "positions": "learned"},
        {"architecture": "microgpt", "positions": "rope", "rope_theta": 500.0, "activation": "relu2", "bias": False},
        {"architecture": "llama", "positions": "rope", "bias": False},
    ],
)
def test_keys_that_an_architecture_does_not_have_may_say_what_is_so(shape: dict[str, Any]) -> None:
    ModelConfig(**shape)


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
    refused(shape, key, words)


@pytest.mark.parametrize(
    "wrong",
    [
        {"d_model": "512"},
        {"d_model": 0},
        {"n_layers": 0},
        {"dropout": 1.0},
        {"dropout": -0.1},
        {"tie_embeddings": 1},
        {"architecture": "gpt3"},
        {"architecture": ["llama"]},
        {"n_heads": 0},
        {"preset": "tiny"},
        {"n_embd": 512},
    ],
)
def test_wrong_types_values_and_keys_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        ModelConfig(**wrong)


def test_every_foreign_name_leads_to_a_key_that_exists() -> None:
    from stages import ROAD

    sections = {name: model for stage in ROAD for name, model in stage.sections.items()}
    for foreign, ours in ModelConfig.foreign_names.items():
        section, _, key = ours.rpartition(".")
        assert key in sections[section or "model"].model_fields
        assert foreign not in ModelConfig.model_fields
