"""Llama, Qwen3 and GPT-2 in transformers: the same logits in both directions, the same losses while both learn."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from pipeline.errors import StageError
from stages.training.huggingface import FAMILIES, huggingface_config, huggingface_tensors, our_config, our_tensors
from stages.training.model import make_model, start_model
from stages.training.networks.network import Network
from stages.training.shape import ModelConfig

VOCAB_SIZE, CONTEXT = 61, 24
TOLERANCE = 1e-10
SIZES: dict[str, Any] = {"d_model": 32, "n_layers": 2, "n_heads": 4, "d_ff": 48}
SHAPES: dict[str, dict[str, Any]] = {
    "llama-mha": {"n_kv_heads": 4},
    "llama-gqa": {"n_kv_heads": 2, "rope_theta": 500.0},
    "llama-mqa": {"n_kv_heads": 1, "norm_eps": 0.1},
    "llama-untied": {"n_kv_heads": 2, "tie_embeddings": False},
    "qwen3": {"n_kv_heads": 2, "qk_norm": True},
    "qwen3-untied": {"n_kv_heads": 4, "qk_norm": True, "tie_embeddings": False},
    "qwen3-wide-heads": {"n_kv_heads": 1, "qk_norm": True, "head_dim": 24},
    "qwen3-odd-heads": {"n_kv_heads": 1, "n_heads": 3, "qk_norm": True, "head_dim": 6},
    "gpt2": {"architecture": "gpt2"},
    "gpt2-untied": {"architecture": "gpt2", "tie_embeddings": False, "norm_eps": 0.1},
    "gpt2-without-bias": {"architecture": "gpt2", "bias": False},
}
every_shape = pytest.mark.parametrize("name", SHAPES)


def ours_of(name: str) -> Network:
    torch.manual_seed(11)
    return widened(make_model(ModelConfig.model_validate({**SIZES, **SHAPES[name]}), VOCAB_SIZE, CONTEXT))


def theirs_of(config: Any) -> Any:
    """transformers' model of a config, in float64.

    Its RMSNorm rounds to float32 whatever comes in, so that formula is put in its place without the rounding; what it
    is with it, `test_model.py` compares.
    """
    import transformers

    torch.manual_seed(12)
    config._attn_implementation = "sdpa"
    theirs = getattr(transformers, config.architectures[0])(config)
    for part in theirs.modules():
        if type(part).__name__.endswith("RMSNorm"):
            part.forward = partial(unrounded_norm, part)
    return theirs.double().eval()


def unrounded_norm(part: Any, x: Tensor) -> Tensor:
    scaled: Tensor = x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + part.variance_epsilon) * part.weight
    return scaled


def converted(network: Network) -> Any:
    """Their twin of ours. Of what is left out, only the output matrix may be missing, which then is the embedding."""
    config = network.config
    theirs = theirs_of(huggingface_config(config, VOCAB_SIZE, CONTEXT, bos_token_id=1, eos_token_id=2))
    tensors = {name: tensor.double() for name, tensor in huggingface_tensors(network).items()}
    missing, unexpected = theirs.load_state_dict(tensors, strict=False)
    assert not unexpected
    assert missing == (["lm_head.weight"] if config.tie_embeddings else [])
    theirs.tie_weights()
    return theirs


def widened(network: Any) -> Any:
    """Weights drawn so wide that every part of the network shows in what it computes; float32 values in float64."""
    for name, parameter in network.named_parameters():
        if "norm" in name and name.endswith("weight"):
            torch.nn.init.uniform_(parameter, 0.5, 1.5)
        else:
            torch.nn.init.normal_(parameter, std=0.25)
    return network.double().eval()


def some_tokens(seed: int = 5) -> Tensor:
    return torch.randint(VOCAB_SIZE, (3, CONTEXT), generator=torch.Generator().manual_seed(seed))


@every_shape
def test_what_goes_out_computes_the_same(name: str) -> None:
    ours = ours_of(name)
    theirs = converted(ours)
    logits = ours(some_tokens())
    assert float(logits.detach().std()) > 1  # far above the tolerance
    torch.testing.assert_close(theirs(some_tokens()).logits, logits, rtol=0, atol=TOLERANCE)
    assert theirs.num_parameters() >= ours.config.parameters(VOCAB_SIZE, CONTEXT)


@every_shape
def test_what_comes_in_computes_the_same(name: str, tmp_path: Path) -> None:
    """A model that transformers made and saved, as one finds it on the hub."""
    theirs = theirs_of(huggingface_config(ours_of(name).config, VOCAB_SIZE, CONTEXT))
    widened(theirs)
    theirs.float().save_pretrained(tmp_path)
    ours = start_model(ModelConfig(init_from=str(tmp_path)), VOCAB_SIZE, CONTEXT).double().eval()
    expected = theirs.double()(some_tokens()).logits
    torch.testing.assert_close(ours(some_tokens()), expected, rtol=0, atol=TOLERANCE)
    assert sum(p.numel() for p in ours.parameters()) == theirs.num_parameters()


@every_shape
def test_ten_steps_of_adamw_have_the_same_losses(name: str) -> None:
    ours = ours_of(name)
    theirs = converted(ours)
    losses: list[list[float]] = [[], []]
    # A network without biases has none to learn; there theirs may not learn them either.
    kept = [
        p for n, p in theirs.named_parameters() if ours.config.architecture == "llama" or ours.config.bias or p.any()
    ]
    optimizers = [torch.optim.AdamW(p, lr=0.01, weight_decay=0.1) for p in (list(ours.parameters()), kept)]
    for step in range(10):
        tokens = some_tokens(step % 2)
        for logits, optimizer, seen in zip((ours(tokens), theirs(tokens).logits), optimizers, losses, strict=True):
            loss = F.cross_entropy(logits[:, :-1].flatten(0, 1), tokens[:, 1:].flatten())
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            seen.append(loss.item())
    assert losses[0] == pytest.approx(losses[1], rel=0, abs=1e-8)
    assert losses[0][-1] < losses[0][0] - 0.5


@every_shape
def test_tensors_and_config_come_back_as_they_went(name: str) -> None:
    network = ours_of(name).float()
    told = huggingface_config(network.config, VOCAB_SIZE, CONTEXT, bos_token_id=1).to_dict()
    back, vocab_size, context_length = our_config(json.loads(json.dumps(told)))
    assert (vocab_size, context_length) == (VOCAB_SIZE, CONTEXT)
    without_bias = name == "gpt2-without-bias"
    assert back == network.config.model_copy(update={"bias": True} if without_bias else {})
    tensors = our_tensors(back, huggingface_tensors(network))
    own = dict(network.state_dict())
    if back.tie_embeddings:
        del own["output.weight"]
    assert all(torch.equal(tensors[key], tensor) for key, tensor in own.items())
    extra = tensors.keys() - own.keys()
    assert all(key.endswith("bias") and not tensors[key].any() for key in extra)
    assert bool(extra) is without_bias


def test_microgpt_has_no_counterpart() -> None:
    config = ModelConfig(architecture="microgpt", d_model=16, n_layers=1, n_heads=4)
    with pytest.raises(StageError, match="no architecture like microgpt"):
        huggingface_config(config, 27, 16)
    with pytest.raises(StageError, match="no architecture like microgpt"):
        huggingface_tensors(make_model(config, 27, 16))


def test_token_ids_are_told() -> None:
    config = huggingface_config(ModelConfig(), 100, 64, bos_token_id=1, eos_token_id=[2, 5], pad_token_id=3)
    assert (config.bos_token_id, config.eos_token_id, config.pad_token_id) == (1, [2, 5], 3)


@st.composite
def their_configs(draw: st.DrawFn) -> dict[str, Any]:
    n_kv_heads = draw(st.integers(1, 4))
    n_heads = n_kv_heads * draw(st.integers(1, 4))
    head_dim = 2 * draw(st.integers(4, 64))
    return {
        "model_type": "llama",
        "hidden_size": n_heads * head_dim,
        "intermediate_size": draw(st.integers(8, 9000)),
        "num_hidden_layers": draw(st.integers(1, 80)),
        "num_attention_heads": n_heads,
        "num_key_value_heads": n_kv_heads,
        "head_dim": head_dim,
        "rms_norm_eps": draw(st.floats(1e-8, 1e-2)),
        "vocab_size": draw(st.integers(2, 200_000)),
        "max_position_embeddings": draw(st.integers(1, 131_072)),
        "tie_word_embeddings": draw(st.booleans()),
        "rope_parameters": {"rope_type": "default", "rope_theta": draw(st.floats(2, 1e7))},
        "initializer_range": draw(st.floats(0.001, 0.5)),
    }


@settings(max_examples=40, deadline=None)
@given(their_configs(), st.sampled_from(["llama", "qwen3"]))
def test_configs_of_theirs_survive_the_way_through_ours(told: dict[str, Any], kind: str) -> None:
    told["model_type"] = kind
    back = huggingface_config(*our_config(told)).to_dict()
    assert {key: back[key] for key in told} == told


LLAMA: dict[str, Any] = {
    "model_type": "llama",
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "rms_norm_eps": 1e-6,
    "vocab_size": 100,
    "max_position_embeddings": 128,
}
GPT2: dict[str, Any] = {
    "model_type": "gpt2",
    "n_embd": 64,
    "n_layer": 2,
    "n_head": 4,
    "n_positions": 128,
    "layer_norm_epsilon": 1e-5,
    "vocab_size": 100,
}


def test_old_and_short_configs_mean_what_they_mean_to_transformers() -> None:
    for said, more in (
        (LLAMA, {}),
        (LLAMA, {"num_attention_heads": 8}),
        (LLAMA, {"rope_theta": 5e5, "rope_scaling": None, "head_dim": None, "num_key_value_heads": 2}),
        (LLAMA, {"tie_word_embeddings": True}),
        (GPT2, {}),
        (GPT2, {"n_inner": None, "activation_function": "gelu_new", "tie_word_embeddings": False}),
    ):
        import transformers

        told = {**said, **more}
        family = FAMILIES[said["model_type"]]
        meant = getattr(transformers, family.config).from_dict(told)
        config, vocab_size, context_length = our_config(told)
        ours = huggingface_config(config, vocab_size, context_length)
        keys = [*family.keys, family.context, "vocab_size"]
        if said is LLAMA:
            assert ours.rope_parameters == meant.rope_parameters
        else:
            assert ours.n_inner == 4 * meant.n_embd
            keys.remove("n_inner")
        assert {key: getattr(ours, key) for key in keys} == {key: getattr(meant, key) for key in keys}


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ({}, "the architecture None is not supported; supported: llama, qwen3, gpt2"),
        ({"model_type": "mistral"}, "mistral is not supported"),
        (LLAMA | {"rope_scaling": {"type": "linear", "factor": 2.0}}, "llama with RoPE scaling `linear`"),
        (LLAMA | {"rope_scaling": {"rope_type": "llama3", "factor": 8.0}}, "RoPE scaling `llama3`"),
        (LLAMA | {"rope_parameters": {"rope_type": "yarn", "rope_theta": 1e4}}, "RoPE scaling `yarn`"),
        (LLAMA | {"rope_parameters": {"partial_rotary_factor": 0.5}}, "partial_rotary_factor"),
        (LLAMA | {"attention_bias": True, "mlp_bias": True}, "attention_bias and mlp_bias"),
        (LLAMA | {"hidden_act": "gelu"}, "the activation gelu"),
        (LLAMA | {"quantization_config": {"bits": 4}}, "quantization_config"),
        (LLAMA | {"model_type": "qwen3", "use_sliding_window": True}, "qwen3 with a sliding window"),
        (LLAMA | {"layer_types": ["full_attention", "sliding_attention"]}, "a sliding window"),
        (GPT2 | {"activation_function": "gelu"}, "the activation gelu"),
        (GPT2 | {"scale_attn_weights": False}, "scale_attn_weights: false"),
        (GPT2 | {"scale_attn_by_inverse_layer_idx": True}, "scale_attn_by_inverse_layer_idx"),
        (GPT2 | {"n_embd": None}, "nothing is said of n_embd"),
        ({"model_type": "llama"}, "nothing is said of hidden_size"),
        (LLAMA | {"num_key_value_heads": 3}, "not divisible by n_kv_heads 3"),
    ],
)
def test_models_that_ours_cannot_be_are_refused_by_what_they_have(said: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError) as caught:
        our_config(said)
    assert words in str(caught.value)


def test_names_without_a_head_masks_and_half_precision_are_read() -> None:
    """As in the files of the first GPT-2 on the hub."""
    ours = ours_of("gpt2").float()
    plain = {name.removeprefix("transformer."): tensor.bfloat16() for name, tensor in huggingface_tensors(ours).items()}
    plain |= {f"h.{layer}.attn.bias": torch.ones(1, 1, 4, 4) for layer in range(2)}
    plain["lm_head.weight"] = plain["wte.weight"]  # tied, and stored nevertheless
    read = our_tensors(ours.config, plain)
    assert read.keys() == ours.state_dict().keys() - {"output.weight"}
    for name, tensor in read.items():
        assert tensor.dtype == torch.float32
        assert torch.equal(tensor, ours.state_dict()[name].bfloat16().float())
