"""Llama against transformers' LlamaForCausalLM: same weights, logits and gradients; every network saved and loaded."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from stages.training.model import load_model, load_weights, make_model, save_model
from stages.training.networks.llama import Llama
from stages.training.shape import ModelConfig

VOCAB_SIZE, CONTEXT = 61, 24
HEADS = {"MHA": (4, 4), "GQA": (4, 2), "MQA": (4, 1)}
both_ties = pytest.mark.parametrize("tied", [True, False], ids=["tied", "untied"])
all_heads = pytest.mark.parametrize("heads", HEADS)


def shape(heads: str = "GQA", tied: bool = True, **more: Any) -> ModelConfig:
    n_heads, n_kv_heads = HEADS[heads]
    sizes = dict(d_model=32, n_layers=2, n_heads=n_heads, n_kv_heads=n_kv_heads, d_ff=48, tie_embeddings=tied)
    return ModelConfig(**(sizes | more))


def reference(config: ModelConfig) -> Any:
    """transformers' Llama of that shape, its weights drawn wide enough that every part of it shows in the logits."""
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(11)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=VOCAB_SIZE,
            hidden_size=config.d_model,
            intermediate_size=config.d_ff,
            num_hidden_layers=config.n_layers,
            num_attention_heads=config.n_heads,
            num_key_value_heads=config.n_kv_heads,
            max_position_embeddings=CONTEXT,
            rms_norm_eps=config.norm_eps,
            rope_parameters={"rope_type": "default", "rope_theta": config.rope_theta},
            tie_word_embeddings=config.tie_embeddings,
            attn_implementation="eager",
            pad_token_id=None,
        )
    )
    for parameter in model.parameters():
        if parameter.dim() == 1:  # norms of all ones would hide one that is left out
            torch.nn.init.uniform_(parameter, 0.5, 1.5)
        else:
            torch.nn.init.normal_(parameter, std=0.25)
    return model.eval()


def in_our_names(config: ModelConfig, theirs: dict[str, Tensor]) -> dict[str, Tensor]:
    """Weights (or gradients) of transformers' Llama as ours lays them out; written apart from `release/convert.py`."""
    ours = {"embedding.weight": theirs["model.embed_tokens.weight"], "norm.weight": theirs["model.norm.weight"]}
    ours["output.weight"] = theirs["model.embed_tokens.weight" if config.tie_embeddings else "lm_head.weight"]
    for layer in range(config.n_layers):
        mine, its = f"blocks.{layer}", f"model.layers.{layer}"
        ours |= {
            f"{mine}.attention_norm.weight": theirs[f"{its}.input_layernorm.weight"],
            f"{mine}.attention.qkv.weight": torch.cat([theirs[f"{its}.self_attn.{x}_proj.weight"] for x in "qkv"]),
            f"{mine}.attention.output.weight": theirs[f"{its}.self_attn.o_proj.weight"],
            f"{mine}.feed_forward_norm.weight": theirs[f"{its}.post_attention_layernorm.weight"],
            f"{mine}.feed_forward.gate_up.weight": torch.cat(
                [theirs[f"{its}.mlp.{x}_proj.weight"] for x in ("gate", "up")]
            ),
            f"{mine}.feed_forward.down.weight": theirs[f"{its}.mlp.down_proj.weight"],
        }
    return ours


def twins(config: ModelConfig, dtype: torch.dtype = torch.float32) -> tuple[Llama, Any]:
    theirs = reference(config)
    ours = Llama(config, VOCAB_SIZE, CONTEXT).eval()
    ours.load_state_dict(in_our_names(config, theirs.state_dict()))
    return ours.to(dtype), theirs.to(dtype)


def some_tokens() -> Tensor:
    return torch.randint(VOCAB_SIZE, (3, CONTEXT), generator=torch.Generator().manual_seed(5))


@all_heads
@both_ties
def test_the_count_of_parameters_is_what_the_formula_says(heads: str, tied: bool) -> None:
    config = shape(heads, tied)
    model = Llama(config, VOCAB_SIZE, CONTEXT)
    assert sum(parameter.numel() for parameter in model.parameters()) == config.parameters(VOCAB_SIZE)
    assert reference(config).num_parameters() == config.parameters(VOCAB_SIZE)


# Both compute the rotary angles in float32, which bounds how close they can come in float64.
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 5e-5), (torch.float64, 5e-6)], ids=["f32", "f64"])
@all_heads
@both_ties
def test_logits_and_gradients_are_those_of_transformers(
    heads: str, tied: bool, dtype: torch.dtype, tolerance: float
) -> None:
    config = shape(heads, tied)
    ours, theirs = twins(config, dtype)
    tokens = some_tokens()
    logits, expected = ours(tokens), theirs(tokens).logits
    assert logits.dtype == dtype
    assert float(expected.detach().std()) > 1  # far above the tolerance
    torch.testing.assert_close(logits, expected, rtol=0, atol=tolerance)

    for out in (logits, expected):
        F.cross_entropy(out[:, :-1].flatten(0, 1), tokens[:, 1:].flatten()).backward()  # type: ignore[no-untyped-call]
    gradients = in_our_names(config, {name: p.grad for name, p in theirs.named_parameters()})
    for name, parameter in ours.named_parameters():
        scale = float(gradients[name].abs().max())
        torch.testing.assert_close(parameter.grad, gradients[name], rtol=0, atol=tolerance * scale, msg=name)


@pytest.mark.parametrize("more", [{"rope_theta": 500_000.0}, {"norm_eps": 0.1}, {"d_model": 64}, {"n_layers": 1}])
def test_every_number_of_the_shape_means_what_it_means_to_transformers(more: dict[str, Any]) -> None:
    ours, theirs = twins(shape(**more))
    usual, _ = twins(shape())
    logits = ours(some_tokens())
    torch.testing.assert_close(logits, theirs(some_tokens()).logits, rtol=0, atol=1e-4)
    assert not torch.allclose(logits, usual(some_tokens()), atol=1e-2)


def test_a_shorter_text_gives_the_same_logits_and_no_token_sees_what_comes_later() -> None:
    model, _ = twins(shape())
    tokens = some_tokens()
    whole = model(tokens)
    torch.testing.assert_close(model(tokens[:, :9]), whole[:, :9])
    other = tokens.clone()
    other[:, 9:] = (other[:, 9:] + 1) % VOCAB_SIZE
    torch.testing.assert_close(model(other)[:, :9], whole[:, :9])
    assert not torch.allclose(model(other)[:, 9], whole[:, 9])


def test_a_new_model_starts_small_and_smaller_where_it_writes_to_the_residual_stream() -> None:
    torch.manual_seed(0)
    model = Llama(shape(d_model=128, d_ff=256, n_layers=8), 500, CONTEXT)
    spread = {name: float(parameter.detach().std()) for name, parameter in model.named_parameters()}
    for name, std in spread.items():
        if "norm" in name:
            assert std == 0
        elif name.endswith(("attention.output.weight", "feed_forward.down.weight")):
            assert std == pytest.approx(0.02 / 4, rel=0.05)
        else:
            assert std == pytest.approx(0.02, rel=0.05)
    loss = F.cross_entropy(model(torch.arange(24)[None]).flatten(0, 1), torch.arange(100, 124))
    assert loss.item() == pytest.approx(math.log(500), abs=0.3)


def test_dropout_works_in_training_alone() -> None:
    model = Llama(shape(dropout=0.5), VOCAB_SIZE, CONTEXT)
    tokens = some_tokens()
    assert not torch.equal(model(tokens), model(tokens))
    model.eval()
    assert torch.equal(model(tokens), model(tokens))


@both_ties
def test_a_saved_model_comes_back_bit_for_bit(tmp_path: Path, tied: bool) -> None:
    from safetensors import safe_open

    model, _ = twins(shape(tied=tied, dropout=0.25, norm_eps=1e-6))
    save_model(tmp_path, model)
    with safe_open(tmp_path / "model.safetensors", "pt") as file:
        assert ("output.weight" in file.keys()) is not tied  # noqa: SIM118 (a handle, not a dict)
    back = load_model(tmp_path)
    assert not back.training
    assert (back.config, back.vocab_size, back.context_length) == (model.config, VOCAB_SIZE, CONTEXT)
    assert all(torch.equal(tensor, back.state_dict()[name]) for name, tensor in model.state_dict().items())
    assert torch.equal(back(some_tokens()), model(some_tokens()))
    assert (back.output.weight is back.embedding.weight) is tied
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model.json", "model.safetensors"]


@pytest.mark.parametrize(
    ("saved", "wanted"),
    [({"d_ff": 64}, {}), ({"n_layers": 3}, {}), ({"n_layers": 1}, {}), ({"heads": "MHA"}, {}), ({}, {"tied": False})],
)
def test_weights_of_another_shape_are_refused(tmp_path: Path, saved: dict[str, Any], wanted: dict[str, Any]) -> None:
    save_model(tmp_path, Llama(shape(**saved), VOCAB_SIZE, CONTEXT))
    with pytest.raises(ValueError, match="does not fit the model"):
        load_weights(Llama(shape(**wanted), VOCAB_SIZE, CONTEXT), tmp_path / "model.safetensors")


SMALL: dict[str, dict[str, Any]] = {
    "llama": {"qk_norm": True, "n_kv_heads": 2, "head_dim": 12},
    "gpt2": {"dropout": 0.1},
    "gpt2 without bias": {"architecture": "gpt2", "bias": False, "tie_embeddings": False},
    "microgpt": {},
    "microgpt with RoPE": {"architecture": "microgpt", "positions": "rope", "activation": "relu2", "zero_init": True},
}


@pytest.mark.parametrize("name", SMALL)
def test_a_model_of_any_architecture_comes_back_bit_for_bit(tmp_path: Path, name: str) -> None:
    sizes: dict[str, Any] = {"architecture": name, "d_model": 32, "n_layers": 2, "n_heads": 4}
    model = make_model(ModelConfig.model_validate(sizes | SMALL[name]), VOCAB_SIZE, CONTEXT).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter)
    save_model(tmp_path, model)
    back = load_model(tmp_path)
    assert type(back) is type(model)
    assert (back.config, back.vocab_size, back.context_length) == (model.config, VOCAB_SIZE, CONTEXT)
    assert torch.equal(back(some_tokens()), model(some_tokens()))


def test_what_does_not_fit_is_named(tmp_path: Path) -> None:
    save_model(tmp_path, Llama(shape(d_ff=64, n_layers=1), VOCAB_SIZE, CONTEXT))
    path = tmp_path / "model.safetensors"
    with pytest.raises(ValueError, match="does not fit the model") as caught:
        load_weights(Llama(shape(n_layers=2), VOCAB_SIZE, CONTEXT), path)
    assert str(path) in str(caught.value)
    assert "blocks.1.attention_norm.weight is missing" in str(caught.value)
    assert str(caught.value).endswith("and 5 more differences")
    with pytest.raises(ValueError, match=r"blocks\.0\.feed_forward\.gate_up\.weight is 128×32 instead of 96×32"):
        load_weights(Llama(shape(n_layers=1), VOCAB_SIZE, CONTEXT), path)
    with pytest.raises(ValueError, match=r"output\.weight is missing"):
        load_weights(Llama(shape(d_ff=64, n_layers=1, tied=False), VOCAB_SIZE, CONTEXT), path)


def test_a_damaged_file_is_told_by_its_path(tmp_path: Path) -> None:
    model = Llama(shape(), VOCAB_SIZE, CONTEXT)
    save_model(tmp_path, model)
    path = tmp_path / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ValueError, match=str(path)):
        load_weights(model, path)


def test_a_model_of_a_preset_with_something_else_comes_back(tmp_path: Path) -> None:
    model = make_model(ModelConfig(preset="nano-5m", n_layers=1), VOCAB_SIZE, CONTEXT)
    save_model(tmp_path, model)
    assert load_model(tmp_path).config == model.config.model_copy(update={"preset": ""})
