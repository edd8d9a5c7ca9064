"""The GGUF that we write, read back with gguf's own reader and compared with the Hugging Face directory."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from test_folder import disk_that_fills

from stages.release.architectures import pair_rows
from stages.release.errors import ReleaseError
from stages.release.gguf import Dataset, GgufMetadata, write_gguf

FIM = ["<fim_prefix>", "<fim_suffix>", "<fim_middle>"]
SPECIALS = ["<unk>", "<bos>", "<eos>", "<pad>", "<|im_start|>", "<|im_end|>", *FIM]
TEMPLATE = "{% for message in messages %}<|im_start|>{{ message.content }}<|im_end|>\n{% endfor %}"
VOCAB_SIZE = 500
FileType = Literal["f32", "f16", "bf16"]


@dataclass(frozen=True)
class TinyLlama:
    """A Hugging Face directory and the model in it, for the tests of the release wing."""

    folder: Path
    model: Any

    def write(self, file_type: FileType = "f32", metadata: GgufMetadata | None = None) -> Path:
        path = self.folder / f"model-{file_type}.gguf"
        write_gguf(self.folder, path, file_type=file_type, metadata=metadata or GgufMetadata("tiny"))
        return path


def train_tokenizer(**settings: Any) -> bytes:
    """A SentencePiece model of a few hundred lines of Python, by default in the way the project trains it."""
    import sentencepiece

    source = Path(json.__file__).with_name("decoder.py").read_text(encoding="utf-8")
    lines = source.splitlines(keepends=True)
    model = io.BytesIO()
    defaults: dict[str, Any] = dict(
        vocab_size=VOCAB_SIZE, hard_vocab_limit=True, model_type="bpe", byte_fallback=True, split_digits=True,
        normalization_rule_name="identity", add_dummy_prefix=False, remove_extra_whitespaces=False,
        allow_whitespace_only_pieces=True, split_by_unicode_script=False, character_coverage=0.9995,
        unk_id=0, bos_id=1, eos_id=2, pad_id=3, unk_piece="<unk>", bos_piece="<bos>", eos_piece="<eos>",
        pad_piece="<pad>", control_symbols=SPECIALS[4:], minloglevel=2,
    )  # fmt: skip
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter("".join(lines[start : start + 8]) for start in range(0, len(lines), 8)),
        model_writer=model,
        **(defaults | settings),
    )
    return model.getvalue()


def make_llama(
    folder: Path, tokenizer: bytes, *, dtype: str = "float32", shard: str = "1GB", **config: Any
) -> TinyLlama:
    """A random Llama, small but with grouped heads, saved by transformers with its tokenizer.model."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    defaults: dict[str, Any] = dict(
        vocab_size=VOCAB_SIZE, hidden_size=64, intermediate_size=160, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=128, tie_word_embeddings=True,
        rope_parameters={"rope_type": "default", "rope_theta": 50000.0}, rms_norm_eps=1e-6,
        bos_token_id=1, eos_token_id=2, pad_token_id=3, initializer_range=0.2,
    )  # fmt: skip
    torch.manual_seed(0)
    model = LlamaForCausalLM(LlamaConfig(**(defaults | config))).eval()
    for parameter in model.parameters():
        if parameter.dim() == 1:  # norms of all ones would hide a norm left out
            torch.nn.init.uniform_(parameter, 0.5, 1.5)
    model = model.to(getattr(torch, dtype))
    model.save_pretrained(folder, max_shard_size=shard)
    (folder / "tokenizer.model").write_bytes(tokenizer)
    (folder / "chat_template.jinja").write_text(TEMPLATE, encoding="utf-8")
    return TinyLlama(folder, model)


@pytest.fixture(scope="module")
def tokenizer() -> bytes:
    return train_tokenizer()


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory, tokenizer: bytes) -> TinyLlama:
    return make_llama(tmp_path_factory.mktemp("tiny"), tokenizer)


@pytest.fixture
def broken(tiny: TinyLlama, tmp_path: Path) -> TinyLlama:
    """A copy to damage."""
    shutil.copytree(tiny.folder, tmp_path / "broken", ignore=shutil.ignore_patterns("*.gguf"))
    return TinyLlama(tmp_path / "broken", tiny.model)


def read_fields(path: Path) -> dict[str, Any]:
    from gguf import GGUFReader

    return {name: field.contents() for name, field in GGUFReader(path).fields.items() if name[:5] != "GGUF."}


def read_tensors(path: Path) -> dict[str, np.ndarray[Any, Any]]:
    from gguf import GGUFReader

    return {tensor.name: tensor.data for tensor in GGUFReader(path).tensors}


def edit_config(folder: Path, **changes: Any) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def edit_weights(folder: Path, edit: Callable[[dict[str, np.ndarray[Any, Any]]], None]) -> None:
    from safetensors.numpy import load_file, save_file

    weights = load_file(folder / "model.safetensors")
    edit(weights)
    save_file(weights, folder / "model.safetensors")


def test_every_key_that_llama_cpp_would_miss_is_written(tiny: TinyLlama) -> None:
    metadata = GgufMetadata(
        "Tiny", license="CC0-1.0", description="A test", author="Ada", version="v1", url="https://a.example",
        source_url="https://b.example", tags=("code",), languages=("en",),
        datasets=(Dataset("one", "https://c.example", "first"), Dataset("two")),
    )  # fmt: skip
    fields = read_fields(tiny.write("f16", metadata))
    tokenizer = {name: fields.pop(name) for name in list(fields) if name.startswith("tokenizer.")}
    parameters = sum(parameter.numel() for parameter in tiny.model.parameters())
    assert fields.pop("general.size_label") == f"{round(parameters / 1000)}K"
    assert fields.pop("llama.attention.layer_norm_rms_epsilon") == pytest.approx(1e-6)
    assert fields == {
        "general.architecture": "llama",
        "general.type": "model",
        "general.name": "Tiny",
        "general.license": "CC0-1.0",
        "general.description": "A test",
        "general.author": "Ada",
        "general.version": "v1",
        "general.url": "https://a.example",
        "general.source.url": "https://b.example",
        "general.tags": ["code"],
        "general.languages": ["en"],
        "general.dataset.count": 2,
        "general.dataset.0.name": "one",
        "general.dataset.0.url": "https://c.example",
        "general.dataset.0.description": "first",
        "general.dataset.1.name": "two",
        "general.file_type": 1,
        "general.quantization_version": 2,
        "llama.vocab_size": VOCAB_SIZE,
        "llama.context_length": 128,
        "llama.embedding_length": 64,
        "llama.block_count": 2,
        "llama.feed_forward_length": 160,
        "llama.attention.head_count": 4,
        "llama.attention.head_count_kv": 2,
        "llama.attention.key_length": 16,
        "llama.attention.value_length": 16,
        "llama.rope.dimension_count": 16,
        "llama.rope.freq_base": 50000.0,
    }
    tokens = tokenizer.pop("tokenizer.ggml.tokens")
    scores = tokenizer.pop("tokenizer.ggml.scores")
    kinds = tokenizer.pop("tokenizer.ggml.token_type")
    assert tokenizer == {
        "tokenizer.ggml.model": "llama",
        "tokenizer.ggml.pre": "default",
        "tokenizer.ggml.unknown_token_id": 0,
        "tokenizer.ggml.bos_token_id": 1,
        "tokenizer.ggml.eos_token_id": 2,
        "tokenizer.ggml.padding_token_id": 3,
        "tokenizer.ggml.eot_token_id": 5,
        "tokenizer.ggml.fim_pre_token_id": 6,
        "tokenizer.ggml.fim_suf_token_id": 7,
        "tokenizer.ggml.fim_mid_token_id": 8,
        "tokenizer.ggml.add_space_prefix": False,
        "tokenizer.ggml.add_bos_token": True,
        "tokenizer.ggml.add_eos_token": False,
        "tokenizer.ggml.add_sep_token": False,
        "tokenizer.chat_template": TEMPLATE,
    }
    # unknown, controls, the 256 bytes, and pieces that SentencePiece BPE scores by the order of their merges
    assert tokens[:9] == SPECIALS and tokens[9:265] == [f"<0x{byte:02X}>" for byte in range(256)]
    assert kinds == [2] + [3] * 8 + [6] * 256 + [1] * (VOCAB_SIZE - 265)
    assert scores[265:] == [-float(rank) for rank in range(VOCAB_SIZE - 265)]


def test_empty_metadata_is_left_out(tiny: TinyLlama) -> None:
    names = {name for name in read_fields(tiny.write()) if name.startswith("general.")}
    assert names == {
        f"general.{name}"
        for name in ("architecture", "type", "name", "size_label", "file_type", "quantization_version")
    }


def test_tensors_are_the_model_s_with_rows_paired_for_rope(tiny: TinyLlama) -> None:
    state = {name: value.numpy() for name, value in tiny.model.state_dict().items()}
    tensors = read_tensors(tiny.write())
    assert len(tensors) == 2 + 2 * 9 and "output.weight" not in tensors
    assert np.array_equal(tensors["token_embd.weight"], state["model.embed_tokens.weight"])
    assert np.array_equal(tensors["blk.1.attn_v.weight"], state["model.layers.1.self_attn.v_proj.weight"])
    assert np.array_equal(tensors["blk.1.ffn_down.weight"], state["model.layers.1.mlp.down_proj.weight"])
    for name, heads in (("q", 4), ("k", 2)):
        theirs = state[f"model.layers.1.self_attn.{name}_proj.weight"]
        ours = tensors[f"blk.1.attn_{name}.weight"]
        for head in range(heads):
            for plane in range(8):
                assert np.array_equal(ours[head * 16 + 2 * plane], theirs[head * 16 + plane])
                assert np.array_equal(ours[head * 16 + 2 * plane + 1], theirs[head * 16 + plane + 8])


def test_pair_rows_by_hand() -> None:
    assert pair_rows(np.arange(8, dtype=np.float32)[:, None], 2)[:, 0].tolist() == [0, 2, 1, 3, 4, 6, 5, 7]


def test_bf16_rounds_as_torch_does(tiny: TinyLlama) -> None:
    import torch

    exact, path = read_tensors(tiny.write("f32")), tiny.write("bf16")
    assert read_fields(path)["general.file_type"] == 32
    for name, tensor in read_tensors(path).items():
        if tensor.dtype == np.float32:
            assert tensor.ndim == 1 and np.array_equal(tensor, exact[name])
        else:
            rounded = torch.from_numpy(exact[name].copy()).bfloat16().view(torch.uint16).numpy()
            assert np.array_equal(tensor.view(np.uint16), rounded), name


@pytest.mark.parametrize("filled", [0, 30, 5_000, 60_000, 180_000])
def test_a_disk_that_fills_leaves_the_file_before(broken: TinyLlama, filled: int) -> None:
    """In its head, its vocabulary or its tensors."""
    path = broken.write("f16")
    before = path.read_bytes()
    assert len(before) > 180_000
    with (
        pytest.raises(ReleaseError, match=r"model-f16\.gguf: cannot be written: .*; it needs 2"),
        disk_that_fills(filled),
    ):
        broken.write("f16")
    assert path.read_bytes() == before and not list(broken.folder.glob(".*"))


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("config.json", b"{", r"config\.json: "),
        ("config.json", b"[1]", r"config\.json: not a JSON object"),
        ("model.safetensors", b"\0" * 100, r"model\.safetensors: .*head is damaged"),
        ("model.safetensors", b"", r"model\.safetensors: no safetensors file"),
        ("chat_template.jinja", b"\xff\xfe", r"chat_template\.jinja: not UTF-8"),
        ("tokenizer.model", b"\0" * 50, r"tokenizer\.model: not a SentencePiece model"),
        ("model.safetensors.index.json", b"{}", r"index\.json: has no weight_map"),
    ],
)
def test_garbage_in_any_file_is_named(broken: TinyLlama, name: str, content: bytes, told: str) -> None:
    (broken.folder / name).write_bytes(content)
    with pytest.raises(ReleaseError, match=told):
        broken.write()


def test_f16_rounds_matrices_and_leaves_vectors(tiny: TinyLlama) -> None:
    exact, rounded = read_tensors(tiny.write("f32")), read_tensors(tiny.write("f16"))
    for name, tensor in rounded.items():
        assert tensor.dtype == (np.float32 if tensor.ndim == 1 else np.float16)
        assert np.array_equal(tensor, exact[name].astype(tensor.dtype))


def test_bfloat16_shards_and_an_untied_output(tmp_path: Path, tokenizer: bytes) -> None:
    llama = make_llama(tmp_path, tokenizer, dtype="bfloat16", shard="100KB", tie_word_embeddings=False)
    assert len(list(tmp_path.glob("model-*.safetensors"))) > 1
    tensors = read_tensors(llama.write())
    state = {name: value.float().numpy() for name, value in llama.model.state_dict().items()}
    assert np.array_equal(tensors["output.weight"], state["lm_head.weight"])
    assert np.array_equal(tensors["blk.0.ffn_up.weight"], state["model.layers.0.mlp.up_proj.weight"])


def test_config_of_transformers_4(broken: TinyLlama) -> None:
    edit_config(broken.folder, rope_parameters=None, rope_theta=12345.0, rope_scaling=None, head_dim=None)
    fields = read_fields(broken.write())
    assert fields["llama.rope.freq_base"] == 12345.0 and fields["llama.attention.key_length"] == 16


def test_chat_template_of_the_tokenizer_config(broken: TinyLlama) -> None:
    (broken.folder / "chat_template.jinja").unlink()
    assert "tokenizer.chat_template" not in read_fields(broken.write())
    config = broken.folder / "tokenizer_config.json"
    config.write_text(json.dumps({"chat_template": "one"}))
    assert read_fields(broken.write())["tokenizer.chat_template"] == "one"
    named = [{"name": "tool_use", "template": "no"}, {"name": "default", "template": "yes"}]
    config.write_text(json.dumps({"chat_template": named}))
    assert read_fields(broken.write())["tokenizer.chat_template"] == "yes"


@pytest.mark.parametrize("offset", [0, 1])
def test_a_tied_output_that_was_saved_is_left_out_or_refused(broken: TinyLlama, offset: int) -> None:
    def add_output(weights: dict[str, np.ndarray[Any, Any]]) -> None:
        weights["lm_head.weight"] = weights["model.embed_tokens.weight"] + np.float32(offset)

    edit_weights(broken.folder, add_output)
    if not offset:
        assert "output.weight" not in read_tensors(broken.write())
        return
    with pytest.raises(ReleaseError, match=r"lm_head\.weight is not the embedding"):
        broken.write()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"architectures": ["MistralForCausalLM"]}, "MistralForCausalLM"),
        ({"vocab_size": 501}, "500 tokens in the tokenizer, vocab_size 501"),
        ({"head_dim": 15}, "head_dim is 15"),
        ({"hidden_size": "wide"}, r"config\.json: some value is not what it should be: .*wide"),
        ({"num_attention_heads": 0, "head_dim": None}, "some value is not what it should be"),
        ({"num_attention_heads": None}, "some value is not what it should be"),
        ({"rope_parameters": [1]}, "some value is not what it should be"),
        ({"rms_norm_eps": float("nan")}, "norm_eps must be positive"),
        ({"num_hidden_layers": -1}, "n_layers must be positive"),
        ({"num_key_value_heads": 3}, "4 heads cannot share 3 key heads"),
        ({"intermediate_size": 128}, r"down_proj\.weight has shape \(64, 160\), by .* it is \(64, 128\)"),
        ({"num_hidden_layers": 3}, "tensors are missing: model.layers.2"),
        ({"num_hidden_layers": 1}, "would refuse tensors model.layers.1"),
        ({"tie_word_embeddings": False}, "missing: lm_head.weight"),
        ({"rope_parameters": {"rope_type": "yarn", "rope_theta": 1e4}}, "rope_type"),
        ({"attention_bias": True, "hidden_act": "gelu"}, "attention_bias, hidden_act"),
    ],
)
def test_a_config_that_does_not_fit_is_refused(broken: TinyLlama, changes: dict[str, Any], message: str) -> None:
    edit_config(broken.folder, **changes)
    with pytest.raises(ReleaseError, match=message):
        broken.write()
    assert not list(broken.folder.glob("*.gguf")) and not list(broken.folder.glob(".*.partial"))


@pytest.mark.parametrize(
    ("value", "file_type", "message"),
    [(np.nan, "f32", "not finite"), (-np.inf, "f16", "not finite"), (7e4, "f16", "beyond float16")],
)
def test_values_that_a_file_cannot_hold_are_refused(
    broken: TinyLlama, value: float, file_type: FileType, message: str
) -> None:
    def spoil(weights: dict[str, np.ndarray[Any, Any]]) -> None:
        weights["model.layers.1.mlp.up_proj.weight"][3, 3] = value

    before = broken.write(file_type).read_bytes()
    edit_weights(broken.folder, spoil)
    with pytest.raises(ReleaseError, match=rf"up_proj\.weight has values .*{message}"):
        broken.write(file_type)
    assert (broken.folder / f"model-{file_type}.gguf").read_bytes() == before
    assert not list(broken.folder.glob(".*.partial"))


@pytest.mark.parametrize("name", ["tokenizer.model", "config.json", "model.safetensors"])
def test_a_missing_file_is_named(broken: TinyLlama, name: str) -> None:
    (broken.folder / name).unlink()
    with pytest.raises(ReleaseError, match=name.replace(".", r"\.")):
        broken.write()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"normalization_rule_name": "nmt_nfkc"}, "normalises"),
        ({"remove_extra_whitespaces": True}, "normalises"),
        ({"model_type": "unigram", "hard_vocab_limit": False}, "not plain BPE"),
        ({"user_defined_symbols": ["\n\n"]}, "not plain BPE"),
    ],
)
def test_a_tokenizer_that_llama_cpp_would_split_otherwise_is_refused(
    broken: TinyLlama, settings: dict[str, Any], message: str
) -> None:
    tokenizer = train_tokenizer(**settings)
    (broken.folder / "tokenizer.model").write_bytes(tokenizer)
    with pytest.raises(ReleaseError, match=message):
        broken.write()


def test_the_space_prefix_follows_the_tokenizer(broken: TinyLlama) -> None:
    (broken.folder / "tokenizer.model").write_bytes(train_tokenizer(add_dummy_prefix=True))
    assert read_fields(broken.write())["tokenizer.ggml.add_space_prefix"] is True
    (broken.folder / "tokenizer.model").write_bytes(b"not a model")
    with pytest.raises(ReleaseError, match="not a SentencePiece model"):
        broken.write()
