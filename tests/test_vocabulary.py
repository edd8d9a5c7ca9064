"""Byte-level vocabularies: what gguf's own reader makes of the same files, and the ids that llama.cpp gives."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from test_convert import NASTY, TEXTS, program
from test_gguf import read_fields, train_tokenizer

from stages.release.errors import ReleaseError
from stages.release.gguf import GgufMetadata, write_gguf
from stages.release.runtime import Runtime
from stages.release.vocabulary import read_vocabulary
from stages.tokens.words import PRE_TOKENIZERS

SPECIALS = ["<bos>", "<eos>", "<pad>", "<|im_start|>", "<|im_end|>", "<fim_prefix>", "<fim_suffix>", "<fim_middle>"]
TOKENS = {"bos_token": "<bos>", "eos_token": "<eos>", "pad_token": "<pad>", "add_bos_token": True}
QWEN = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
LLAMA3 = QWEN.replace(r"|\p{N}|", r"|\p{N}{1,3}|")


def train(pre: str) -> Any:
    """A byte-level BPE tokenizer, trained and cut into words as the models are whose name llama.cpp uses."""
    from tokenizers import Regex, Tokenizer, decoders, models, trainers
    from tokenizers.pre_tokenizers import ByteLevel, Digits, Sequence, Split

    tokenizer = Tokenizer(models.BPE(ignore_merges=pre == "llama-bpe"))
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.pre_tokenizer = {
        "gpt-2": lambda: ByteLevel(add_prefix_space=False),
        "smollm": lambda: Sequence([Digits(individual_digits=True), ByteLevel(add_prefix_space=False)]),
        "qwen2": lambda: Sequence([Split(Regex(QWEN), "isolated"), ByteLevel(False, use_regex=False)]),
        "llama-bpe": lambda: Sequence([Split(Regex(LLAMA3), "isolated"), ByteLevel(False, use_regex=False)]),
    }[pre]()
    trainer = trainers.BpeTrainer(vocab_size=600, initial_alphabet=ByteLevel.alphabet(), show_progress=False)
    source = Path(json.__file__).with_name("decoder.py").read_text(encoding="utf-8")
    tokenizer.train_from_iterator([source, *map(program, range(20)), "It's what they'll say; 12345 \n\n\n"], trainer)
    tokenizer.add_special_tokens(SPECIALS)
    tokenizer.encode_special_tokens = True
    return tokenizer


def write(folder: Path, tokenizer: Any, **roles: Any) -> Path:
    """The files of a HuggingFace directory that a vocabulary is read from."""
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "PreTrainedTokenizerFast", **roles}))
    return folder


def edit(folder: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    path = folder / "tokenizer.json"
    told = json.loads(path.read_text(encoding="utf-8"))
    change(told)
    path.write_text(json.dumps(told), encoding="utf-8")


def gguf_of(folder: Path, vocab_size: int) -> Path:
    from transformers import GPT2Config, GPT2LMHeadModel

    ids = {"bos_token_id": 0, "eos_token_id": 0}
    config = GPT2Config(vocab_size=vocab_size, n_embd=32, n_layer=1, n_head=2, n_positions=16, **ids)
    GPT2LMHeadModel(config).save_pretrained(folder)
    write_gguf(folder, folder / "tiny.gguf", file_type="f32", metadata=GgufMetadata("tiny"))
    return folder / "tiny.gguf"


@pytest.fixture(scope="module", params=PRE_TOKENIZERS)
def pair(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[str, Any, Runtime]]:
    """The name of a pre-tokenizer, a tokenizer that has it, and the same in llama.cpp."""
    tokenizer = train(request.param)
    folder = write(tmp_path_factory.mktemp(request.param), tokenizer, **TOKENS)
    with Runtime(gguf_of(folder, tokenizer.get_vocab_size()), threads=1) as runtime:
        yield request.param, tokenizer, runtime


@settings(max_examples=300, deadline=None)
@given(TEXTS)
@example("".join(NASTY))
@example("it's IT'S we'LL ''s 's  's\u00a0\u2028\x85\x1c 123456 ½Ⅷ e\u0301\u200d \r\n\r\n \t\n  x   \n")
def test_ids_of_any_text(pair: tuple[str, Any, Runtime], text: str) -> None:
    _, tokenizer, runtime = pair
    ids = tokenizer.encode(text, add_special_tokens=False).ids
    assert runtime.tokenize(text) == ids
    assert runtime.detokenize(ids) == text if ids else text == ""


def test_a_text_starts_once_and_ends_where_it_is_told(pair: tuple[str, Any, Runtime]) -> None:
    _, tokenizer, runtime = pair
    bos, eos, _, start, end = (tokenizer.token_to_id(piece) for piece in SPECIALS[:5])
    x = tokenizer.encode("x", add_special_tokens=False).ids
    assert runtime.tokenize("x", add_special=True) == [bos, *x]
    assert runtime.tokenize("<|im_start|>x<|im_end|>", parse_special=True, add_special=True) == [bos, start, *x, end]
    assert not {bos, start, end} & set(runtime.tokenize("<bos><|im_start|>x<|im_end|>"))
    assert (runtime.bos_id, runtime.eos_id) == (bos, eos)
    assert [token for token in range(runtime.vocab_size) if runtime.is_end_of_generation(token)] == [eos, end]


def test_the_keys_are_those_of_gguf_s_own_reader(tmp_path: Path) -> None:
    from gguf import SpecialVocab

    tokenizer = train("gpt-2")
    folder = write(tmp_path, tokenizer, **TOKENS)
    (folder / "chat_template.jinja").write_text("{{ bos_token }}")
    theirs = SpecialVocab(folder, load_merges=True)
    fields = read_fields(gguf_of(folder, tokenizer.get_vocab_size()))
    found = {name.removeprefix("tokenizer."): v for name, v in fields.items() if name.startswith("tokenizer.")}
    pieces = sorted(tokenizer.get_vocab().items(), key=lambda item: item[1])
    names = {"bos": "bos", "eos": "eos", "pad": "padding"}
    assert found == {
        "ggml.model": "gpt2",
        "ggml.pre": "gpt-2",
        "ggml.tokens": [piece for piece, _ in pieces],
        "ggml.token_type": [3 if piece in SPECIALS else 1 for piece, _ in pieces],
        "ggml.merges": theirs.merges,
        **{f"ggml.{names[role]}_token_id": token for role, token in theirs.special_token_ids.items()},
        "ggml.eot_token_id": tokenizer.token_to_id("<|im_end|>"),
        **{f"ggml.fim_{name[:3]}_token_id": tokenizer.token_to_id(f"<fim_{name}>") for name in ("prefix", "suffix")},
        "ggml.fim_mid_token_id": tokenizer.token_to_id("<fim_middle>"),
        "ggml.add_space_prefix": False,
        "ggml.add_bos_token": theirs.add_special_token["bos"],
        "ggml.add_eos_token": False,
        "ggml.add_sep_token": False,
        "chat_template": theirs.chat_template,
    }
    assert len(theirs.merges) > 300 and set(theirs.special_token_ids) == set(names)


def test_gpt2_s_one_token_starts_and_ends(tmp_path: Path) -> None:
    """As its own directory has it: no padding, `<|endoftext|>` for both, merges as strings, a word of its own kept."""
    tokenizer = train("gpt-2")
    tokenizer.add_special_tokens(["<|endoftext|>"])
    tokenizer.add_tokens(["<custom>"])
    roles = {"bos_token": {"content": "<|endoftext|>", "lstrip": False}, "eos_token": "<|endoftext|>"}
    folder = write(tmp_path, tokenizer, **roles, unk_token=None)

    def as_before_tokenizers_020(told: dict[str, Any]) -> None:
        told["model"]["merges"] = [" ".join(merge) for merge in told["model"]["merges"]]
        del told["pre_tokenizer"]["use_regex"]

    merges = [" ".join(merge) for merge in json.loads((folder / "tokenizer.json").read_text())["model"]["merges"]]
    edit(folder, as_before_tokenizers_020)
    vocabulary = read_vocabulary(folder)
    token = tokenizer.token_to_id("<|endoftext|>")
    assert vocabulary.ids == {"bos": token, "eos": token} and not vocabulary.add_bos
    assert list(vocabulary.merges) == merges
    assert vocabulary.kinds[-2:] == [3, 4] and vocabulary.pieces[-1] == "<custom>"
    with Runtime(gguf_of(folder, len(vocabulary.pieces))) as runtime:
        assert runtime.tokenize("x<custom>") == tokenizer.encode("x<custom>", add_special_tokens=False).ids
        assert runtime.is_end_of_generation(token) and runtime.bos_id == runtime.eos_id == token
        assert runtime.tokenize("x", add_special=True) == runtime.tokenize("x")


def test_a_gap_among_the_ids_is_filled_as_llama_cpp_does(tmp_path: Path) -> None:
    folder = write(tmp_path, train("gpt-2"), **TOKENS)
    edit(folder, lambda told: told["added_tokens"][-1].update(id=told["added_tokens"][-1]["id"] + 2))
    vocabulary = read_vocabulary(folder)
    count = len(vocabulary.pieces)
    assert vocabulary.pieces[-3:] == [f"[PAD{count - 3}]", f"[PAD{count - 2}]", "<fim_middle>"]
    assert vocabulary.kinds[-3:] == [5, 5, 3]
    with Runtime(gguf_of(folder, count)) as runtime:
        assert runtime.vocab_size == count


def test_a_gap_gets_a_name_that_no_piece_has(tmp_path: Path) -> None:
    tokenizer = train("gpt-2")
    gap = tokenizer.get_vocab_size()
    tokenizer.add_special_tokens([f"[PAD{gap + 1}]"])
    folder = write(tmp_path, tokenizer, **TOKENS)
    edit(folder, lambda told: told["added_tokens"][-1].update(id=gap + 2))
    pieces = read_vocabulary(folder).pieces
    assert pieces[gap:] == [f"[PAD{gap}]", f"[[PAD{gap + 1}]]", f"[PAD{gap + 1}]"]
    with Runtime(gguf_of(folder, len(pieces))) as runtime:
        assert runtime.vocab_size == gap + 3


def of_sentencepiece(told: dict[str, Any]) -> None:
    told["model"]["byte_fallback"] = True


def without_a_byte(told: dict[str, Any]) -> None:
    told["model"]["vocab"]["other"] = told["model"]["vocab"].pop("Ġ")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (of_sentencepiece, r"byte_fallback \(a SentencePiece model needs its tokenizer\.model here\)"),
        (lambda told: told["model"].update(type="WordPiece"), r"model\.type"),
        (lambda told: told["model"].update(ignore_merges=True), r"model\.ignore_merges"),
        (lambda told: told["model"].update(end_of_word_suffix="</w>"), r"model\.end_of_word_suffix"),
        (lambda told: told.update(normalizer={"type": "NFC"}), "because of normalizer"),
        (lambda told: told["pre_tokenizer"].update(add_prefix_space=True), "because of pre_tokenizer"),
        (lambda told: told.update(pre_tokenizer=None), "because of pre_tokenizer"),
        (lambda told: told.update(pre_tokenizer={"type": "Whitespace"}), "because of pre_tokenizer"),
        (lambda told: told["added_tokens"][0].update(lstrip=True), "because of added_tokens"),
        (lambda told: told["added_tokens"][0].update(id=told["added_tokens"][1]["id"]), "two tokens have one id"),
        (lambda told: told["added_tokens"][0].update(content="a"), r"'a' is there twice, with the ids \d+ and \d+"),
        (lambda told: told["added_tokens"][0].update(id="7"), "'<bos>' has the id '7'"),
        (lambda told: told["added_tokens"][0].update(id=-1), "'<bos>' has the id -1"),
        (lambda told: told["added_tokens"][0].update(id=2**40), "'<bos>' has the id 1099511627776"),
        (lambda told: told.update(added_tokens=["<bos>"]), "not a tokenizer of byte-level BPE"),
        (lambda told: told["model"].update(merges=[["Ġ", "nope"]]), "the merge of 'Ġ' and 'nope' is of pieces that"),
        (lambda told: told.update(pre_tokenizer=[]), "because of pre_tokenizer|not a tokenizer"),
        (without_a_byte, "1 of the 256 bytes have no token"),
        (lambda told: told.pop("model"), "not a tokenizer of byte-level BPE"),
        (lambda told: told["model"].update(merges=["a b c"]), "not a tokenizer of byte-level BPE"),
    ],
)
def test_a_tokenizer_that_llama_cpp_would_not_follow_is_refused(
    tmp_path: Path, change: Callable[[dict[str, Any]], Any], message: str
) -> None:
    folder = write(tmp_path, train("gpt-2"), **TOKENS)
    edit(folder, change)
    with pytest.raises(ReleaseError, match=message):
        read_vocabulary(folder)


def test_roles_and_files_that_are_not_there_are_named(tmp_path: Path) -> None:
    folder = write(tmp_path, train("gpt-2"), eos_token="</s>")
    with pytest.raises(ReleaseError, match=r"has no token '</s>', which tokenizer_config\.json names as eos"):
        read_vocabulary(folder)
    (folder / "tokenizer.json").unlink()
    with pytest.raises(ReleaseError, match=r"neither tokenizer\.model nor tokenizer\.json"):
        read_vocabulary(folder)


def test_a_sentencepiece_model_goes_before_what_was_made_of_it(tmp_path: Path) -> None:
    folder = write(tmp_path, train("gpt-2"), **TOKENS)
    (folder / "tokenizer.model").write_bytes(train_tokenizer())
    assert read_vocabulary(folder).model == "llama"


LETTERS = st.text(st.characters(codec="utf-8"), max_size=30)


@settings(max_examples=200, deadline=None)
@given(LETTERS)
def test_ids_of_any_unicode(pair: tuple[str, Any, Runtime], text: str) -> None:
    _, tokenizer, runtime = pair
    assert runtime.tokenize(text) == tokenizer.encode(text, add_special_tokens=False).ids
