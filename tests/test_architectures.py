"""Each architecture's tensors and keys against gguf's tables and transformers' weights, its logits in llama.cpp."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_gguf import VOCAB_SIZE, edit_config, read_fields, read_tensors, train_tokenizer

from stages.release.architectures import pair_rows, read_config, tensors
from stages.release.errors import ReleaseError
from stages.release.gguf import FileType, GgufMetadata, write_gguf
from stages.release.runtime import Runtime

CONTEXT = 48
ROPE = {"rope_parameters": {"rope_type": "default", "rope_theta": 50000.0}, "rms_norm_eps": 1e-6}
SIZES: dict[str, Any] = {
    "hidden_size": 64, "intermediate_size": 160, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": CONTEXT, **ROPE,
}  # fmt: skip
GPT2: dict[str, Any] = {"n_embd": 64, "n_layer": 2, "n_head": 4, "n_positions": CONTEXT}
MODELS: Mapping[str, tuple[str, dict[str, Any]]] = {
    "llama": ("Llama", {**SIZES, "head_dim": 24, "tie_word_embeddings": True}),
    "llama untied": ("Llama", {**SIZES, "tie_word_embeddings": False}),
    "qwen3": ("Qwen3", {**SIZES, "head_dim": 16, "tie_word_embeddings": True}),
    "qwen3 untied": ("Qwen3", {**SIZES, "head_dim": 32, "tie_word_embeddings": False}),
    "gpt2": ("GPT2", {**GPT2, "n_inner": 96}),
    "gpt2 untied": ("GPT2", {**GPT2, "tie_word_embeddings": False, "layer_norm_epsilon": 1e-3}),
}
ARCHITECTURES = {"Llama": "llama", "Qwen3": "qwen3", "GPT2": "gpt2"}


def make_model(folder: Path, name: str, **changes: Any) -> Any:
    """A random model, saved by transformers with a SentencePiece tokenizer; nothing in it is all ones or zeros."""
    import torch
    import transformers

    kind, sizes = MODELS[name]
    ids = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 3}
    config = getattr(transformers, f"{kind}Config")(vocab_size=VOCAB_SIZE, **ids, **(sizes | changes))
    head = "GPT2LMHeadModel" if kind == "GPT2" else f"{kind}ForCausalLM"
    torch.manual_seed(0)
    model = getattr(transformers, head)(config).eval()
    for parameter in model.parameters():
        if parameter.dim() == 1:
            torch.nn.init.uniform_(parameter, 0.5, 1.5)
        else:
            torch.nn.init.normal_(parameter, std=0.15)
    model.save_pretrained(folder)
    (folder / "tokenizer.model").write_bytes(tokenizer())
    return model


tokenizer = cache(train_tokenizer)


def written(folder: Path, file_type: FileType = "f32") -> Path:
    path = folder / f"{file_type}.gguf"
    write_gguf(folder, path, file_type=file_type, metadata=GgufMetadata("tiny"))
    return path


@pytest.fixture(params=MODELS)
def model(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, Path, Any]:
    return request.param.split()[0], tmp_path, make_model(tmp_path, request.param)


def test_every_tensor_has_the_name_and_place_that_llama_cpp_s_converter_gives_it(model: tuple[str, Path, Any]) -> None:
    """By gguf's map of names; GPT-2's matrices are turned over, and Llama's queries and keys are in pairs of rows."""
    import gguf

    architecture, folder, network = model
    table = gguf.get_tensor_name_map(gguf.MODEL_ARCH[architecture.upper()], 2)
    state = {name: value.numpy() for name, value in network.state_dict().items()}
    if network.config.tie_word_embeddings:
        del state["lm_head.weight"]
    expected = {}
    for name, value in state.items():
        if architecture == "gpt2" and name.rpartition(".")[0].endswith(("c_attn", "c_proj", "c_fc")) and value.ndim > 1:
            value = value.T
        heads = {"q_proj": "num_attention_heads", "k_proj": "num_key_value_heads"}.get(name.split(".")[-2])
        if architecture == "llama" and heads:
            value = pair_rows(value, getattr(network.config, heads))
        expected[table.get_name(name, try_suffixes=(".weight", ".bias"))] = value
    found = read_tensors(written(folder))
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert name is not None and np.array_equal(found[name], value), name


def test_the_keys_are_those_that_llama_cpp_reads(model: tuple[str, Path, Any]) -> None:
    architecture, folder, network = model
    prefix = f"{architecture}."
    fields = read_fields(written(folder))
    assert fields["general.architecture"] == architecture
    found = {name.removeprefix(prefix): value for name, value in fields.items() if name.startswith(prefix)}
    config = network.config
    common = {
        "vocab_size": VOCAB_SIZE, "context_length": CONTEXT, "embedding_length": 64, "block_count": 2,
        "attention.head_count": 4,
    }  # fmt: skip
    if architecture == "gpt2":
        eps = found.pop("attention.layer_norm_epsilon")
        assert eps == pytest.approx(config.layer_norm_epsilon)
        assert found == common | {"feed_forward_length": config.n_inner or 256}
        return
    assert found.pop("attention.layer_norm_rms_epsilon") == pytest.approx(1e-6)
    width = config.head_dim
    assert found == common | {
        "feed_forward_length": 160, "attention.head_count_kv": 2, "attention.key_length": width,
        "attention.value_length": width, "rope.dimension_count": width, "rope.freq_base": 50000.0,
    }  # fmt: skip


def test_logits_in_llama_cpp_are_those_of_transformers(model: tuple[str, Path, Any]) -> None:
    """llama.cpp looks GELU up in a table of float16, so GPT-2 is not exact even in float32."""
    import torch

    architecture, folder, network = model
    ids = [int(token) for token in np.random.default_rng(0).integers(6, VOCAB_SIZE, CONTEXT)]
    with torch.no_grad():
        theirs = network(torch.tensor([ids])).logits[0].numpy()
    for file_type, tolerance in (("f32", 2e-3 if architecture == "gpt2" else 1e-4), ("f16", 1e-2)):
        with Runtime(written(folder, file_type), threads=1) as runtime:  # type: ignore[arg-type]
            ours = runtime.logits(ids)
        assert np.abs(ours - theirs).max() < tolerance * np.abs(theirs).max()
        assert (ours.argmax(1) == theirs.argmax(1)).mean() >= 0.95


def test_positions_biases_and_norms_stay_in_float32(model: tuple[str, Path, Any]) -> None:
    _, folder, _ = model
    exact, rounded = read_tensors(written(folder)), read_tensors(written(folder, "f16"))
    for name, tensor in rounded.items():
        kept = tensor.ndim == 1 or name == "position_embd.weight"
        assert tensor.dtype == (np.float32 if kept else np.float16), name
        assert np.array_equal(tensor, exact[name].astype(tensor.dtype))


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("gpt2", {"activation_function": "relu"}, "activation_function"),
        ("gpt2", {"scale_attn_by_inverse_layer_idx": True}, "scale_attn_by_inverse_layer_idx"),
        ("gpt2", {"scale_attn_weights": False, "add_cross_attention": True}, "scale_attn_weights, add_cross_attention"),
        ("gpt2", {"n_positions": 64}, r"wpe\.weight has shape \(48, 64\), by .* it is \(64, 64\)"),
        ("gpt2", {"n_inner": None}, r"mlp\.c_proj\.weight has shape \(96, 64\), by .* it is \(256, 64\)"),
        ("qwen3", {"use_sliding_window": True}, "use_sliding_window"),
        ("qwen3", {"layer_types": ["full_attention", "sliding_attention"]}, "layer_types"),
        ("qwen3", {"head_dim": 15}, "head_dim is 15"),
        ("qwen3", {"architectures": ["LlamaForCausalLM"]}, r"would refuse tensors .*self_attn\.k_norm\.weight"),
        ("llama", {"architectures": ["Qwen3ForCausalLM"]}, r"tensors are missing: .*self_attn\.k_norm\.weight"),
        ("llama", {"architectures": []}, r"architectures \[\]; only LlamaForCausalLM, Qwen3ForCausalLM, GPT2LMHead"),
    ],
)
def test_what_would_be_computed_otherwise_is_refused(
    tmp_path: Path, name: str, changes: dict[str, Any], message: str
) -> None:
    make_model(tmp_path, name)
    edit_config(tmp_path, **changes)
    with pytest.raises(ReleaseError, match=message):
        written(tmp_path)


def test_a_missing_number_is_named(tmp_path: Path) -> None:
    make_model(tmp_path, "qwen3")
    path = tmp_path / "config.json"
    path.write_text(path.read_text().replace('"head_dim"', '"heads_dim"'))
    with pytest.raises(ReleaseError, match=r"config\.json: 'head_dim' is missing"):
        read_config(tmp_path)


def test_the_file_holds_as_many_values_as_the_model(model: tuple[str, Path, Any]) -> None:
    _, folder, network = model
    layout = tensors(read_config(folder))
    assert sum(int(np.prod(tensor.shape)) for tensor in layout.values()) == sum(p.numel() for p in network.parameters())
