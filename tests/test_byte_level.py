"""BPE over bytes: every text comes back, transformers and GPT-2's own algorithm give the same ids."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from stages.tokens import byte_level
from stages.tokens.byte_level import ByteLevelEncoding, from_huggingface
from stages.tokens.encoding import load_encoding

SOURCE = Path(json.__file__).with_name("decoder.py").read_text(encoding="utf-8")
SPECIAL = ("<bos>", "<eos>", "<pad>", "<|im_start|>", "<|im_end|>", "<fim_prefix>", "<fim_suffix>", "<fim_middle>")


@cache
def trained() -> ByteLevelEncoding:
    """500 pieces learnt from a module of the standard library."""
    return byte_level.train([SOURCE], 500)


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)
near_special = st.lists(st.sampled_from([*SPECIAL, "<|endoftext|>", " ", "\n", "\t", "a", "\r\n", "\0"]), max_size=12)
code = st.lists(st.sampled_from(["def ", "    ", "\t", "\n", "x", "=", "12", "'ll", "é", "  "]), max_size=30)


@settings(max_examples=300, deadline=None)
@given(texts | near_special.map("".join) | code.map("".join))
@example(" lead")
@example("trail ")
@example("a\u2581b \u0120\u010a")
@example("\ufeffx\u2028\u0085 \ufffd e\u0301 ﬁ ½")
def test_any_text_comes_back_and_no_special_token_comes_out_of_it(text: str) -> None:
    encoding = trained()
    ids = encoding.encode(text)
    assert encoding.decode(ids) == text
    assert all(0 <= token < 500 - len(SPECIAL) for token in ids)
    sizes = encoding.sizes()
    assert sum(sizes[token] for token in ids) == len(text.encode())


def test_the_bytes_come_first_then_what_was_learnt_then_the_special_tokens() -> None:
    encoding = trained()
    assert encoding.vocab_size == 500
    assert [encoding.token_id(piece) for piece in SPECIAL] == list(range(492, 500))
    assert (encoding.bos_id, encoding.eos_id, encoding.pad_id) == (492, 493, 494)
    assert encoding.stops == {493, 496}
    # GPT-2 spells printable bytes as themselves, and its first ids are those of "!" to "~" in their order.
    assert [encoding.token_id(chr(33 + number)) for number in range(94)] == list(range(94))
    assert encoding.sizes()[:256] == [1] * 256
    assert encoding.decode([492, *encoding.encode("x"), 495, 493]) == "x"
    with pytest.raises(KeyError):
        encoding.token_id("no such piece")


def test_a_small_corpus_gives_what_it_has_and_the_same_each_time() -> None:
    small = byte_level.train(["ab ab"], 400)
    assert small.vocab_size == 256 + len(SPECIAL) + 2  # "ab" and " ab"
    assert small.encode("ab ab") == [256, 257]
    again = byte_level.train(iter([SOURCE]), 500)
    assert again.tokenizer.to_str() == trained().tokenizer.to_str()


def test_transformers_gives_the_same_ids_from_the_same_folder(tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    trained().save(tmp_path)
    theirs, loaded = AutoTokenizer.from_pretrained(tmp_path), load_encoding(tmp_path)
    for text in (SOURCE, "  x\r\n\té🙂日 it's 12 \0", ""):
        assert theirs(text)["input_ids"] == loaded.encode(text) == trained().encode(text)
        assert theirs.decode(loaded.encode(text)) == text
    assert (theirs.bos_token_id, theirs.eos_token_id, theirs.pad_token_id) == (492, 493, 494)
    assert len(theirs) == loaded.vocab_size
    chat = "<bos><|im_start|>user\nWhy?<|im_end|>\n<|im_start|>assistant\n"
    ids, _ = loaded.encode_chat([{"role": "user", "content": "Why?"}], prompt=True)
    assert theirs(chat)["input_ids"] == ids


def gpt2_folder(folder: Path, **more: Any) -> Mapping[str, int]:
    """A tokenizer in GPT-2's own files: the pieces of `trained` and `<|endoftext|>` after them."""
    model = json.loads(trained().tokenizer.to_str())["model"]
    vocab = {**model["vocab"], "<|endoftext|>": len(model["vocab"])}
    lines = ["#version: 0.2", *(" ".join(pair) for pair in model["merges"])]
    (folder / "vocab.json").write_text(json.dumps(vocab), encoding="utf-8")
    (folder / "merges.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    for name, content in more.items():
        (folder / f"{name}.json").write_text(json.dumps(content), encoding="utf-8")
    return vocab


def test_gpt2s_own_files_are_taken_with_all_ids_and_the_missing_markers_appended(tmp_path: Path) -> None:
    from transformers import GPT2Tokenizer

    vocab = gpt2_folder(tmp_path)
    ours, theirs = from_huggingface(tmp_path), GPT2Tokenizer.from_pretrained(tmp_path)
    for text in (SOURCE, "  x\r\n\té🙂日 it's 12 don't"):
        assert ours.encode(text) == theirs(text)["input_ids"]
    end = vocab["<|endoftext|>"]
    assert ours.bos_id == ours.eos_id == end == theirs.eos_token_id
    appended = ["<pad>", *SPECIAL[3:]]
    assert [ours.token_id(piece) for piece in appended] == list(range(end + 1, end + 7))
    assert ours.vocab_size == end + 7
    assert end not in ours.encode("a <|endoftext|> b") and ours.decode(ours.encode("<|endoftext|>")) == "<|endoftext|>"
    assert ours.decode([end, *ours.encode("x"), end]) == "x"


def test_a_tokenizer_that_went_through_transformers_is_taken_as_it_is(tmp_path: Path) -> None:
    from transformers import GPT2Tokenizer

    for name in ("own", "theirs", "taken", "again"):
        (tmp_path / name).mkdir()
    gpt2_folder(tmp_path / "own")
    GPT2Tokenizer.from_pretrained(tmp_path / "own").save_pretrained(tmp_path / "theirs")
    assert not (tmp_path / "theirs" / "vocab.json").exists()
    ours = from_huggingface(tmp_path / "theirs")
    assert ours.encode(SOURCE) == from_huggingface(tmp_path / "own").encode(SOURCE)
    ours.save(tmp_path / "taken")
    from_huggingface(tmp_path / "taken").save(tmp_path / "again")
    first, second = (load_encoding(tmp_path / name) for name in ("taken", "again"))
    assert isinstance(first, ByteLevelEncoding) and isinstance(second, ByteLevelEncoding)
    assert first.tokenizer.to_str() == second.tokenizer.to_str()
    assert (first.bos_id, first.eos_id, first.pad_id) == (second.bos_id, second.eos_id, second.pad_id)


def test_markers_that_were_ordinary_added_tokens_become_special(tmp_path: Path) -> None:
    content = json.loads(trained().tokenizer.to_str())
    for token in content["added_tokens"]:
        token["special"] = False
    (tmp_path / "tokenizer.json").write_text(json.dumps(content), encoding="utf-8")
    told = {"bos_token": None, "eos_token": {"content": "<eos>"}}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(told), encoding="utf-8")
    ours = from_huggingface(tmp_path)
    assert (ours.bos_token, ours.eos_token, ours.pad_token) == ("<eos>", "<eos>", "<pad>")
    assert ours.vocab_size == 500
    text = "".join(SPECIAL)
    assert ours.encode(text) == trained().encode(text)


@pytest.mark.parametrize(
    ("files", "told"),
    [
        ({}, "it has neither tokenizer.json nor vocab.json"),
        ({"tokenizer": {"model": "WordLevel"}}, "is no BPE over bytes"),
        ({"tokenizer": {"add_prefix_space": True}}, "does not give texts back"),
        ({"tokenizer": {"lowercase": True}}, "does not give texts back"),
        ({"tokenizer": {}}, "names no eos_token"),
        ({"tokenizer": {}, "tokenizer_config": {"eos_token": "<end>"}}, "names no eos_token"),
    ],
)
def test_what_cannot_be_taken_is_told(tmp_path: Path, files: Mapping[str, Any], told: str) -> None:
    if (change := files.get("tokenizer")) is not None:
        content = json.loads(trained().tokenizer.to_str())
        if change:
            content["model"]["vocab"]["<|endoftext|>"] = 492
        content["added_tokens"] = []
        if "model" in change:
            content["model"] = {"type": "WordLevel", "vocab": {"a": 0}, "unk_token": "a"}
        if "add_prefix_space" in change:
            content["pre_tokenizer"]["add_prefix_space"] = True
        if "lowercase" in change:
            content["normalizer"] = {"type": "Lowercase"}
        (tmp_path / "tokenizer.json").write_text(json.dumps(content), encoding="utf-8")
    if "tokenizer_config" in files:
        (tmp_path / "tokenizer_config.json").write_text(json.dumps(files["tokenizer_config"]), encoding="utf-8")
    with pytest.raises(ValueError, match=told):
        from_huggingface(tmp_path)


def test_a_post_processor_truncation_and_padding_change_no_text(tmp_path: Path) -> None:
    """As Llama 3 has them: its tokenizer.json puts a start before each text."""
    content = json.loads(trained().tokenizer.to_str())
    content["truncation"] = {"direction": "Right", "max_length": 4, "strategy": "LongestFirst", "stride": 0}
    content["padding"] = {
        "strategy": {"Fixed": 64}, "direction": "Right", "pad_to_multiple_of": None,
        "pad_id": 494, "pad_type_id": 0, "pad_token": "<pad>",
    }  # fmt: skip
    start = {"SpecialToken": {"id": "<bos>", "type_id": 0}}
    content["post_processor"] = {
        "type": "TemplateProcessing", "single": [start, {"Sequence": {"id": "A", "type_id": 0}}], "pair": [],
        "special_tokens": {"<bos>": {"id": "<bos>", "ids": [492], "tokens": ["<bos>"]}},
    }  # fmt: skip
    (tmp_path / "tokenizer.json").write_text(json.dumps(content), encoding="utf-8")
    told = {"bos_token": "<bos>", "eos_token": "<eos>"}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(told), encoding="utf-8")
    ours = from_huggingface(tmp_path)
    assert ours.encode(SOURCE) == trained().encode(SOURCE)
    assert ours.encode("x") == trained().encode("x")


def test_composing_is_left_out_of_what_is_taken(tmp_path: Path) -> None:
    """Qwen's composes letters (NFC), which llama.cpp does not and from which no text comes back as it was."""
    content = json.loads(trained().tokenizer.to_str()) | {"normalizer": {"type": "NFC"}}
    (tmp_path / "tokenizer.json").write_text(json.dumps(content), encoding="utf-8")
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"eos_token": "<eos>"}), encoding="utf-8")
    ours = from_huggingface(tmp_path)
    apart = "e\u0301 \u1112\u1161\u11ab"
    assert ours.decode(ours.encode(apart)) == apart and ours.encode(SOURCE) == trained().encode(SOURCE)
    assert not ours.not_followed()
