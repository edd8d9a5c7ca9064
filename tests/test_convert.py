"""The HuggingFace directory: transformers computes the same logits, its tokenizer gives the same ids."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from test_folder import disk_that_fills
from test_gather import StageRun, run_stage, sections_of

from pipeline.errors import StageError
from stages.corpus.documents import Document, Message, conversation_text, document_id, write_documents
from stages.release import convert
from stages.release.errors import ReleaseError
from stages.tokens import byte_level, tokenizer
from stages.tokens.encoding import CharacterEncoding, Encoding, load_encoding
from stages.training import pretrain

SYSTEM = "Answer in code."
STAGES = ("gather", "clean", "tokenizer", "tokenize", "finetune", "convert", "export")
NOTICE = "Copyright (c) 2024 Ada"
SHAPE: dict[str, Any] = {"d_model": 64, "n_layers": 2, "n_heads": 4, "n_kv_heads": 2, "d_ff": 96, "rope_theta": 5e4}
CONTEXT = 64

NASTY = [
    "def f(x):\n\tif x:\n\t\treturn  x\n\n\n    # trailing   \n",
    "   leading spaces, tabs\t\t\tand\r\n line ends \u2028\u00a0\u3000",
    "naïve café 漢字 ☃ 🐍🏽 e\u0301 \u2581 <bos> <eos> <pad> <unk> <|im_start|>user<|im_end|> <0x0A>",
    "print(f'{1234567890:>{width}}')  # ½ ﬁ ²",
    "", " ", "\n", "\x00\x01\x7f", "\ufeffBOM", "a" * 3000, "=" * 80, "\n" * 40, " " * 500,
]  # fmt: skip


@dataclass(frozen=True)
class TinyRelease:
    """The artifacts that the release wing reads, made from a random model and a real tokenizer."""

    root: Path

    @property
    def inputs(self) -> dict[str, Path]:
        return {name: self.root / name for name in STAGES}

    @property
    def encoding(self) -> Encoding:
        return load_encoding(self.root / "tokenizer")

    def copy(self, folder: Path) -> TinyRelease:
        shutil.copytree(self.root, folder)
        return TinyRelease(folder)

    def convert(self) -> StageRun:
        return run_stage(convert.STAGE, self.root / "convert", self.inputs)


def program(index: int) -> str:
    return (
        f"from machine import Pin\nimport time\n\nled_{index} = Pin({index}, Pin.OUT)\n\n\ndef blink(count):\n"
        f"    for step in range(count):\n        led_{index}.toggle()\n"
        f"        time.sleep_ms({100 + index})  # a pause of ≈{index} ticks\n"
        f'\n\nprint("number {index}", blink({index}))\n'
    )


def corpus(count: int, source: str = "code", license: str = "MIT") -> list[Document]:
    texts = [(f"{source}{i}.py", program(i)) for i in range(count)]
    found = [Document(document_id(source, path), text, "code", source, path, license) for path, text in texts]
    for index in range(2):
        messages = (
            {"role": "user", "content": f"Blink pin {index}."},
            {"role": "assistant", "content": f"```python\n{program(index)}```"},
        )
        path = f"{index}.jsonl"
        text = conversation_text(messages)
        found.append(Document(document_id(source, path), text, "pair", source, path, license, {}, messages))
    return found


def make_release(root: Path, *, steps: int = 0, kind: str = "sentencepiece", **shape: Any) -> TinyRelease:
    """Artifacts up to `finetune`. The weights are drawn wide, so that a matrix in the wrong place shows.

    After some `steps` of training the model is sure of its next token, as real ones are. `kind` is the tokenizer's.
    """
    import torch

    from stages.training.model import make_model, save_model
    from stages.training.shape import ModelConfig

    documents = corpus(12)
    write_documents(root / "clean/train", documents[:10] + documents[12:13])
    write_documents(root / "clean/val", documents[10:12] + documents[13:])
    (root / "gather").mkdir()
    (root / "gather/LICENSE").write_text(NOTICE)
    sources = json.dumps({"source": "a", "license_files": ["LICENSE"]})
    (root / "gather/sources.jsonl").write_text(sources + "\n")
    (root / "tokenizer").mkdir()
    write_tokenizer(root / "tokenizer", kind, [document.text for document in documents])
    encoding = load_encoding(root / "tokenizer")
    (root / "tokenize").mkdir()
    meta = {"system": SYSTEM, "dtype": "uint16", "context_length": CONTEXT}
    (root / "tokenize/meta.json").write_text(json.dumps(meta))
    np.array(encoding.encode(documents[0].text), np.uint16).tofile(root / "tokenize/train.bin")
    np.array([0], np.int64).tofile(root / "tokenize/train.idx")
    torch.manual_seed(0)
    sizes = SHAPE if shape.get("architecture", "llama") == "llama" else {"d_model": 64, "n_layers": 2, "n_heads": 4}
    model = make_model(ModelConfig.model_validate({**sizes, **shape}), encoding.vocab_size, CONTEXT)
    for parameter in model.parameters():
        if parameter.dim() == 1:
            torch.nn.init.uniform_(parameter, 0.5, 1.5)
        else:
            torch.nn.init.normal_(parameter, std=0.2)
    train(model, [[encoding.bos_id, *encoding.encode(document.text)] for document in documents[:10]], steps)
    (root / "finetune").mkdir()
    save_model(root / "finetune", model)
    return TinyRelease(root)


def write_tokenizer(folder: Path, kind: str, texts: list[str]) -> None:
    if kind == "sentencepiece":
        (folder / "tokenizer.model").write_bytes(tokenizer.train(texts, 420))
    elif kind == "byte_level":
        byte_level.train(texts, 420).save(folder)
    elif kind == "gpt2":
        write_gpt2_tokenizer(folder / "hub", texts)
        byte_level.from_huggingface(folder / "hub").save(folder)
        shutil.rmtree(folder / "hub")
    else:
        CharacterEncoding("".join(texts)).save(folder)


def write_gpt2_tokenizer(folder: Path, texts: list[str]) -> None:
    """Files as GPT-2's on the hub: a vocabulary that ends in the one special token, and merges as text."""
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    learnt = Tokenizer(models.BPE())
    learnt.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    learnt.train_from_iterator(
        texts, trainers.BpeTrainer(vocab_size=400, initial_alphabet=alphabet, show_progress=False)
    )
    folder.mkdir()
    learnt.model.save(str(folder))
    vocabulary = json.loads((folder / "vocab.json").read_text())
    (folder / "vocab.json").write_text(json.dumps(vocabulary | {"<|endoftext|>": len(vocabulary)}))


def train(model: Any, texts: list[list[int]], steps: int) -> None:
    import torch
    import torch.nn.functional as F

    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # such small matrices only wait for each other
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    rows = torch.tensor([text[: CONTEXT + 1] for text in texts])
    for _ in range(steps):
        optimizer.zero_grad()
        F.cross_entropy(model(rows[:, :-1]).flatten(0, 1), rows[:, 1:].flatten()).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> TinyRelease:
    release = make_release(tmp_path_factory.mktemp("tiny") / "artifacts")
    release.convert()
    return release


@pytest.fixture(scope="module")
def huggingface(tiny: TinyRelease) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(tiny.root / "convert")


def ids_of(huggingface: Any, text: str) -> list[int]:
    found: list[int] = huggingface.encode(text, add_special_tokens=False, split_special_tokens=True)
    return found


def logits_of(folder: Path, tokens: Sequence[int]) -> np.ndarray[Any, Any]:
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    with torch.no_grad():
        return np.asarray(model(torch.tensor([list(tokens)])).logits[0])


def trained_logits(folder: Path, tokens: Sequence[int]) -> np.ndarray[Any, Any]:
    import torch

    from stages.training.model import load_model

    with torch.no_grad():
        return np.asarray(load_model(folder)(torch.tensor([list(tokens)]))[0])


def some_ids(count: int) -> list[int]:
    return [int(token) for token in np.random.default_rng(0).integers(0, 420, count)]


GPT2 = {"architecture": "gpt2"}
SHAPES: dict[str, dict[str, Any]] = {
    "llama, tied and grouped": {},
    "llama, untied": {"tie_embeddings": False, "n_kv_heads": 4},
    "llama, one key head": {"n_kv_heads": 1, "n_layers": 1, "norm_eps": 1e-3, "rope_theta": 100.0},
    "qwen3": {"qk_norm": True},
    "qwen3, wide heads, untied": {"qk_norm": True, "head_dim": 32, "tie_embeddings": False},
    "gpt2": {**GPT2, "n_layers": 3},
    "gpt2, no biases, untied": {**GPT2, "bias": False, "tie_embeddings": False, "d_ff": 96, "norm_eps": 1e-3},
}


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_logits_of_transformers_are_those_of_the_trained_model(tmp_path: Path, shape: dict[str, Any]) -> None:
    release = make_release(tmp_path / "artifacts", **shape)
    run = release.convert()
    ids = some_ids(CONTEXT)
    ours, theirs = trained_logits(release.root / "finetune", ids), logits_of(release.root / "convert", ids)
    assert theirs.std() > 0.5 and np.abs(ours - theirs).max() <= 1e-4
    assert 0 <= run.metrics["max_logit_difference"] <= 1e-4
    assert run.metrics["tokens_compared"] == sum(
        len(release.encoding.encode(document.text)) for document in [*corpus(12)[10:12], corpus(12)[13]]
    )


@pytest.mark.parametrize(
    ("shape", "name"),
    [({}, "LlamaForCausalLM"), ({"qk_norm": True}, "Qwen3ForCausalLM"), (GPT2, "GPT2LMHeadModel")],
)
@pytest.mark.parametrize("kind", ["sentencepiece", "byte_level", "gpt2"])
def test_the_auto_classes_load_every_architecture_with_every_tokenizer(
    tmp_path: Path, shape: dict[str, Any], name: str, kind: str
) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    release = make_release(tmp_path / "artifacts", kind=kind, **shape)
    release.convert()
    folder, encoding = release.root / "convert", release.encoding
    network, loaded = AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    assert type(network).__name__ == name and network.dtype == torch.float32
    end = encoding.token_id("<|im_end|>")
    assert network.generation_config.eos_token_id == [encoding.eos_id, end]
    assert network.generation_config.bos_token_id == network.config.bos_token_id == encoding.bos_id
    assert (loaded.bos_token_id, loaded.eos_token_id, loaded.pad_token_id) == (
        encoding.bos_id, encoding.eos_id, encoding.pad_id,
    )  # fmt: skip
    for text in (*NASTY, program(0)):
        ids = encoding.encode(text)
        assert ids_of(loaded, text) == ids
        assert loaded(text, split_special_tokens=True).input_ids == [encoding.bos_id, *ids]
        assert loaded.decode(ids) == encoding.decode(ids)
    chat = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": "\n  Blink,\n\ttwice. "}]
    prompt = loaded.apply_chat_template(chat, add_generation_prompt=True, return_dict=False)
    assert prompt == encoding.encode_chat(chat, prompt=True)[0]
    answer = network.generate(torch.tensor([prompt]), max_new_tokens=4, do_sample=False)
    assert answer.shape[1] > len(prompt)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"kind": "char"}, "no runtime reads a tokenizer of kind char"),
        ({"architecture": "microgpt"}, "no architecture like microgpt"),
        ({"architecture": "microgpt", "kind": "char"}, "no runtime reads a tokenizer of kind char"),
    ],
)
def test_what_no_runtime_reads_is_refused_with_a_way_out(tmp_path: Path, options: dict[str, Any], told: str) -> None:
    release = make_release(tmp_path / "artifacts", **options)
    with pytest.raises(StageError, match=f"convert: .*{told}") as caught:
        release.convert()
    assert caught.value.hint and "until: pretrain" in caught.value.hint and "pipeline sample" in caught.value.hint
    assert not list((release.root / "convert").iterdir())


@pytest.mark.parametrize(
    ("architecture", "kind", "told"),
    [
        ("llama", "byte_level", []),
        ("gpt2", "sentencepiece", []),
        ("gpt2", "char", ["kind char"]),
        ("microgpt", "byte_level", ["architecture like microgpt"]),
    ],
)
def test_plan_tells_of_it_before_any_training(architecture: str, kind: str, told: list[str]) -> None:
    config = {"model": {"architecture": architecture}, "tokenizer": {"kind": kind}}
    lines = convert.estimate(sections_of(tokenizer.STAGE, config) | sections_of(pretrain.STAGE, config))
    assert len(lines) == len(told) and all(a in b for a, b in zip(told, lines, strict=True))
    assert all("until: pretrain" in line for line in lines)


def test_the_directory_is_that_of_a_llama(tiny: TinyRelease) -> None:
    from safetensors.numpy import load_file
    from transformers import LlamaConfig, LlamaForCausalLM

    folder = tiny.root / "convert"
    config = LlamaConfig.from_pretrained(folder)
    assert json.loads((folder / "config.json").read_text())["architectures"] == ["LlamaForCausalLM"]
    assert (config.hidden_size, config.intermediate_size, config.num_hidden_layers) == (64, 96, 2)
    assert (config.num_attention_heads, config.num_key_value_heads, config.head_dim) == (4, 2, 16)
    assert (config.vocab_size, config.max_position_embeddings, config.tie_word_embeddings) == (420, CONTEXT, True)
    assert config.rope_parameters["rope_theta"] == 5e4 and config.rms_norm_eps == 1e-5
    assert (config.bos_token_id, config.eos_token_id, config.pad_token_id) == (1, 2, 3)
    generation = json.loads((folder / "generation_config.json").read_text())
    assert generation["eos_token_id"] == [2, tiny.encoding.token_id("<|im_end|>")]
    wanted = {name: tuple(tensor.shape) for name, tensor in LlamaForCausalLM(config).state_dict().items()}
    del wanted["lm_head.weight"]
    assert {name: tensor.shape for name, tensor in load_file(folder / "model.safetensors").items()} == wanted
    assert (folder / "tokenizer.model").read_bytes() == (tiny.root / "tokenizer/tokenizer.model").read_bytes()


@pytest.mark.parametrize("text", NASTY)
def test_ids_of_the_tokenizer_are_those_of_sentencepiece(tiny: TinyRelease, huggingface: Any, text: str) -> None:
    ids = ids_of(huggingface, text)
    assert ids == tiny.encoding.encode(text)
    assert huggingface.decode(ids) == text.replace("\u2581", " ")


COMMON = st.sampled_from(
    [*" \t\n\r_=:()abcdef0123456789<|>\u2581é漢🐍", "<bos>", "<|im_end|>", "<fim_middle>", "    ", "Pin"]
)
TEXTS = st.lists(st.one_of(COMMON, st.text(st.characters(codec="utf-8"), max_size=4)), max_size=30).map("".join)


@pytest.fixture(scope="module")
def tokenizer_json(tiny: TinyRelease) -> Any:
    """The file alone, as other programs load it: transformers takes only its vocabulary and merges."""
    from tokenizers import Tokenizer

    found = Tokenizer.from_file(str(tiny.root / "convert/tokenizer.json"))
    found.encode_special_tokens = True
    return found


@settings(max_examples=400, deadline=None)
@given(TEXTS)
@example("".join(NASTY))
def test_ids_of_any_text(tiny: TinyRelease, huggingface: Any, tokenizer_json: Any, text: str) -> None:
    ids = tiny.encoding.encode(text)
    assert ids_of(huggingface, text) == ids
    assert tokenizer_json.encode(text, add_special_tokens=False).ids == ids
    assert tokenizer_json.encode(text).ids == [1, *ids]
    assert tokenizer_json.decode(ids) == text.replace("\u2581", " ")


def test_special_tokens_are_read_only_where_they_are_meant(tiny: TinyRelease, huggingface: Any) -> None:
    x = tiny.encoding.encode("x")
    assert huggingface("x").input_ids == [1, *x]
    assert huggingface("<bos>x<|im_end|>", add_special_tokens=False).input_ids == [
        1, *x, tiny.encoding.token_id("<|im_end|>")
    ]  # fmt: skip
    gap = "<fim_prefix>x<fim_suffix>x<fim_middle>x"
    assert huggingface(gap, add_special_tokens=False).input_ids == tiny.encoding.encode_fim("x", "x", "x")
    assert not set(ids_of(huggingface, f"<bos>x<|im_end|>{gap}")) & set(range(9))
    assert huggingface.decode([1, *x, 2], skip_special_tokens=True) == "x"
    names = ("bos_token", "eos_token", "unk_token", "pad_token")
    assert [getattr(huggingface, name) for name in names] == ["<bos>", "<eos>", "<unk>", "<pad>"]
    assert huggingface.model_max_length == CONTEXT


@pytest.mark.parametrize("question", ["Blink {pin} 3.", "\n  Blink,\n\ttwice. ", "user\n", "```\nx\n```"])
def test_a_prompt_in_transformers_has_the_ids_of_finetuning(tiny: TinyRelease, huggingface: Any, question: str) -> None:
    messages: list[Message] = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": question}]
    for asked in (messages, messages[1:]):
        prompt = huggingface.apply_chat_template(asked, add_generation_prompt=True, return_dict=False)
        assert prompt == tiny.encoding.encode_chat(asked, prompt=True)[0]
        told = "".join(f"<|im_start|>{m['role']}\n{m['content']}<|im_end|>\n" for m in asked)
        assert huggingface.decode(prompt) == f"<bos>{told}<|im_start|>assistant\n"
        answered = [*asked, {"role": "assistant", "content": " led.on()\n"}]
        whole = huggingface.apply_chat_template(answered, tokenize=False)
        assert whole == f"<bos>{told}<|im_start|>assistant\n led.on()\n<|im_end|>\n"
        assert huggingface.decode(tiny.encoding.encode_chat(answered)[0]) == whole


def edit_weights(folder: Path, name: str, rows: Sequence[int]) -> None:
    from safetensors.numpy import load_file, save_file

    weights = load_file(folder / "model.safetensors")
    weights[name] = np.ascontiguousarray(weights[name][list(rows)])
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def test_weights_in_another_place_are_found(tiny: TinyRelease, tmp_path: Path) -> None:
    copy = tiny.copy(tmp_path / "copy")
    text = program(11)
    assert convert.check_logits(copy.root / "convert", copy.root / "finetune", copy.encoding, text) <= 1e-4
    edit_weights(copy.root / "convert", "model.layers.1.self_attn.k_proj.weight", [*range(16, 32), *range(16)])
    with pytest.raises(StageError, match="logits of transformers differ by"):
        convert.check_logits(copy.root / "convert", copy.root / "finetune", copy.encoding, text)


def test_another_tokenizer_is_found(tiny: TinyRelease, tmp_path: Path) -> None:
    folder = tiny.copy(tmp_path / "copy").root / "convert"
    path = folder / "tokenizer.json"
    told = json.loads(path.read_text())
    told["model"]["merges"] = told["model"]["merges"][::-1]
    path.write_text(json.dumps(told))
    with pytest.raises(StageError, match="other ids for 'from machine"):
        convert.check_tokens(folder, tiny.encoding, [program(0)])


def test_a_tokenizer_of_another_size_is_refused(tiny: TinyRelease, tmp_path: Path) -> None:
    copy = tiny.copy(tmp_path / "copy")
    model_file = tokenizer.train((program(i) for i in range(12)), 400)
    (copy.root / "tokenizer/tokenizer.model").write_bytes(model_file)
    with pytest.raises(StageError, match="the tokenizer has 400 pieces, the embedding 420 rows"):
        copy.convert()


def damage_weights(release: TinyRelease, name: str, value: float) -> None:
    from safetensors.numpy import load_file, save_file

    path = release.root / "finetune/model.safetensors"
    weights = load_file(path)
    weights[name].flat[3] = value
    save_file(weights, path)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_checkpoint_with_a_value_that_is_none_is_refused_by_name(
    tiny: TinyRelease, tmp_path: Path, value: float
) -> None:
    copy = tiny.copy(tmp_path / "copy")
    before = (copy.root / "convert/model.safetensors").read_bytes()
    damage_weights(copy, "blocks.1.feed_forward.down.weight", value)
    told = r"finetune/model\.safetensors: blocks\.1\.feed_forward\.down\.weight has values that are not finite"
    with pytest.raises(ReleaseError, match=told):
        copy.convert()
    assert (copy.root / "convert/model.safetensors").read_bytes() == before
    assert not list((copy.root / "convert").glob(".*"))


def cut_weights(root: Path) -> None:
    path = root / "finetune/model.safetensors"
    path.write_bytes(path.read_bytes()[:-9])


def swap_weights(root: Path) -> None:
    from safetensors.numpy import save_file

    save_file({"a": np.zeros(3, np.float32)}, root / "finetune/model.safetensors")


def more_rows(root: Path) -> None:
    from safetensors.numpy import load_file, save_file

    path = root / "finetune/model.safetensors"
    weights = load_file(path)
    rows = weights["embedding.weight"]
    save_file(weights | {"embedding.weight": np.concatenate([rows, rows[:1]])}, path)


def other_shape(root: Path) -> None:
    path = root / "finetune/model.json"
    told = json.loads(path.read_text())
    path.write_text(json.dumps(told | {"model": told["model"] | {"d_model": "wide"}}))


def doubled_piece(root: Path) -> None:
    """As a protocol buffer: the second of two pieces of the same length gets the name of the first."""
    path = root / "tokenizer/tokenizer.model"
    model = path.read_bytes()
    assert model.count(b"<0x41>") == model.count(b"<0x42>") == 1
    path.write_bytes(model.replace(b"<0x42>", b"<0x41>"))


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (cut_weights, r"finetune/model\.safetensors: cut short"),
        (swap_weights, r"finetune/model\.safetensors: .* is missing"),
        (more_rows, r"finetune/model\.safetensors: embedding\.weight is 421×64 instead of 420×64"),
        (lambda root: (root / "finetune/model.safetensors").write_bytes(b"\0" * 999), r"head is damaged"),
        (lambda root: (root / "finetune/model.safetensors").unlink(), r"model\.safetensors: No such file"),
        (other_shape, r"finetune/model\.json: not the shape of a trained model"),
        (lambda root: (root / "finetune/model.json").write_text("{"), r"finetune/model\.json: not the shape"),
        (lambda root: (root / "finetune/model.json").write_text("[]"), r"finetune/model\.json: not the shape"),
        (lambda root: (root / "finetune/model.json").unlink(), r"finetune/model\.json: not the shape"),
        (
            lambda root: (root / "tokenizer/tokenizer.model").write_bytes(b"x" * 99),
            r"tokenizer: not a tokenizer: tokenizer\.model is damaged$",
        ),
        (lambda root: (root / "tokenizer/tokenizer.model").unlink(), "tokenizer: not a tokenizer: .* holds no"),
        (doubled_piece, "tokenizer: not a tokenizer: the piece '<0x41>' is there twice$"),
    ],
)
def test_what_was_trained_is_checked_before_anything_is_written(
    tiny: TinyRelease, tmp_path: Path, damage: Callable[[Path], Any], told: str
) -> None:
    copy = tiny.copy(tmp_path / "copy")
    damage(copy.root)
    shutil.rmtree(copy.root / "convert")
    with pytest.raises(ReleaseError, match=told):
        copy.convert()
    assert not list((copy.root / "convert").iterdir())


def test_without_a_validation_document_there_is_nothing_to_compare_on(tiny: TinyRelease, tmp_path: Path) -> None:
    copy = tiny.copy(tmp_path / "copy")
    write_documents(copy.root / "clean/val", [])
    with pytest.raises(ReleaseError, match="convert: there is no validation document") as caught:
        copy.convert()
    assert "clean.val_fraction" in str(caught.value.hint)


def piece_with_two_ids(text: str) -> str:
    return text.replace('"!": 0,', '"!": 0, "!": 1,', 1)


def same_id_twice(text: str) -> str:
    return text.replace('"\\"": 1,', '"\\"": 0,', 1)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (piece_with_two_ids, "'!' is there twice"),
        (same_id_twice, "two tokens have one id"),
        (lambda text: "{}", "not a"),
    ],
)
def test_a_byte_level_tokenizer_is_checked_too(tmp_path: Path, change: Callable[[str], str], told: str) -> None:
    release = make_release(tmp_path / "artifacts", kind="byte_level")
    path = release.root / "tokenizer/tokenizer.json"
    assert change(path.read_text()) != path.read_text()
    path.write_text(change(path.read_text()))
    with pytest.raises(ReleaseError, match=f"tokenizer.*{told}"):
        release.convert()
    assert not list((release.root / "convert").iterdir())


def test_ids_without_a_piece_go_all_the_way(tmp_path: Path) -> None:
    """As Qwen's tokenizer leaves some between its words and its markers."""
    from stages.release.gguf import GgufMetadata, write_gguf
    from stages.release.runtime import Runtime

    release = make_release(tmp_path / "artifacts", kind="byte_level")
    path = release.root / "tokenizer/tokenizer.json"
    told = json.loads(path.read_text())
    for token in told["added_tokens"]:
        token["id"] += 3
    path.write_text(json.dumps(told))
    size = release.encoding.vocab_size
    shape = json.loads((release.root / "finetune/model.json").read_text())
    remake(release.root / "finetune", shape, size)
    release.convert()
    write_gguf(release.root / "convert", tmp_path / "x.gguf", file_type="f32", metadata=GgufMetadata("x"))
    with Runtime(tmp_path / "x.gguf", threads=1) as runtime:
        assert (runtime.vocab_size, runtime.bos_id) == (size, release.encoding.bos_id)
        assert runtime.tokenize(program(0), add_special=True) == [runtime.bos_id, *release.encoding.encode(program(0))]


def remake(folder: Path, shape: Any, vocab_size: int) -> None:
    from stages.training.model import make_model, save_model
    from stages.training.shape import ModelConfig

    save_model(folder, make_model(ModelConfig.model_validate_json(json.dumps(shape["model"])), vocab_size, CONTEXT))


@pytest.mark.parametrize("filled", [0, 100, 600, 5_000, 60_000, 300_000])
def test_a_disk_that_fills_ends_in_an_error_that_names_the_file(tiny: TinyRelease, tmp_path: Path, filled: int) -> None:
    """Whichever of its files it is that no longer fits, the largest is that of the weights."""
    copy = tiny.copy(tmp_path / "copy")
    shutil.rmtree(copy.root / "convert")
    wanted = r"convert.*: cannot be written: File too large; .* free"
    with pytest.raises(ReleaseError, match=wanted) as caught, disk_that_fills(filled):
        copy.convert()
    assert ("model.safetensors: cannot be written: File too large; it needs 3" in str(caught.value)) is (filled > 5_000)
    assert not list((copy.root / "convert").glob("*model.safetensors*"))
    copy.convert()


@pytest.mark.parametrize(
    ("architecture", "kind"), [("llama", "sentencepiece"), ("qwen3", "byte_level"), ("gpt2", "gpt2")]
)
def test_the_pipeline_of_transformers_chats_and_stops(tmp_path: Path, architecture: str, kind: str) -> None:
    """A model that learnt one answer by heart says it and nothing after it, nor does it run out of positions."""
    import torch
    from transformers import pipeline

    from stages.training.model import load_model, save_model

    shapes: dict[str, dict[str, Any]] = {"llama": {}, "qwen3": {"qk_norm": True}, "gpt2": GPT2}
    release = make_release(tmp_path / "artifacts", kind=kind, **shapes[architecture])
    chat = [{"role": "user", "content": "Hi?"}, {"role": "assistant", "content": "led.on()"}]
    ids, _ = release.encoding.encode_chat(chat)
    model = load_model(release.root / "finetune")
    padding = [release.encoding.eos_id] * (CONTEXT + 1 - len(ids))
    train(model, [[*ids, *padding]], 100)
    save_model(release.root / "finetune", model)
    release.convert()
    speak = pipeline("text-generation", model=str(release.root / "convert"), device="cpu")
    torch.manual_seed(0)
    told = speak(chat[:1], do_sample=False)[0]["generated_text"]
    assert told == chat
    speak.model.generation_config.eos_token_id = None
    generated = speak("from machine", return_tensors=True)[0]["generated_token_ids"]
    assert len(generated) == CONTEXT


def test_what_transformers_generates_stays_within_the_context(tiny: TinyRelease) -> None:
    from transformers import GenerationConfig

    told = GenerationConfig.from_pretrained(tiny.root / "convert")
    assert told.max_length == CONTEXT and told.pad_token_id == 3 and told.bos_token_id == 1
