"""Training the tokenizer: its settings as they stand in the file, and errors that name a size that works."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from sentencepiece import SentencePieceProcessor
from test_encoding import tokenizer_model
from test_loop import Stand

from pipeline.errors import StageError, UsageError
from pipeline.stage import Section
from stages.corpus.documents import Document, conversation_text, write_documents
from stages.tokens import byte_level, tokenizer
from stages.tokens.characters import CharacterEncoding
from stages.tokens.encoding import load_encoding
from stages.tokens.tokenizer import CHUNK_CHARS, TokenizerConfig, chunks, train

SOURCE = Path(json.__file__).with_name("decoder.py").read_text(encoding="utf-8")


@given(st.lists(st.text() | st.text("ab\n\r\x0c\u2028", max_size=4000), max_size=4))
def test_chunks_are_the_texts_cut_at_line_ends(texts: list[str]) -> None:
    found = list(chunks(texts))
    assert "".join(found) == "".join(texts)
    assert all(0 < len(chunk) <= CHUNK_CHARS for chunk in found)


def test_chunks_are_cut_where_they_have_to_be() -> None:
    line = "x" * 299 + "\n"
    assert list(chunks([line * 4, "short"])) == [line * 3, line, "short"]
    assert list(chunks(["y" * 2500 + "\n" + line])) == ["y" * 1000, "y" * 1000, "y" * 500 + "\n" + line]


def test_no_chunk_is_passed_over_by_sentencepiece() -> None:
    """It drops a sentence of more than 4192 bytes; here the longest chunk of the widest characters."""
    assert max(len(chunk.encode()) for chunk in chunks(["🙂" * 5000])) <= 4192


def test_the_pieces_are_the_special_ones_the_bytes_and_what_was_learnt() -> None:
    processor = SentencePieceProcessor(model_proto=tokenizer_model())
    assert processor.get_piece_size() == 500
    pieces = [processor.id_to_piece(index) for index in range(500)]
    chat, gap = ["<|im_start|>", "<|im_end|>"], ["<fim_prefix>", "<fim_suffix>", "<fim_middle>"]
    assert pieces[:9] == ["<unk>", "<bos>", "<eos>", "<pad>", *chat, *gap]
    assert [processor.is_unknown(index) for index in range(500)] == [True] + [False] * 499
    assert [processor.is_control(index) for index in range(500)] == [False] + [True] * 8 + [False] * 491
    assert pieces[9:265] == [f"<0x{byte:02X}>" for byte in range(256)]
    assert all(processor.is_byte(index) for index in range(9, 265))
    assert len(set(pieces)) == 500
    # BPE numbers what it learns downwards; a user-defined piece, which breaks parity in llama.cpp, would have 0.
    assert [processor.get_score(index) for index in range(265, 500)] == [-float(index) for index in range(235)]


def test_nothing_is_normalised() -> None:
    processor = SentencePieceProcessor(model_proto=tokenizer_model())
    for text in ("x", " x", "x ", "\ufb01  \u00bd\u3000\t\r\n", "e\u0301"):
        assert "".join(processor.encode_as_pieces(text, enable_sampling=False)).count("\u2581") == text.count(" ")
        assert processor.decode(processor.encode_as_ids(text)) == text


def test_pieces_hold_one_digit_each_and_may_span_spaces_and_line_ends() -> None:
    processor = SentencePieceProcessor(model_proto=tokenizer_model())
    pieces = [processor.id_to_piece(index) for index in range(265, 500)]
    assert not any(re.search(r"[0-9].|.[0-9]", piece) for piece in pieces)
    assert any(re.fullmatch("\u2581{3,}", piece) for piece in pieces)
    assert any("\n" in piece and len(piece) > 1 for piece in pieces)


def test_the_same_texts_give_the_same_file() -> None:
    assert train([SOURCE], 400) == train([SOURCE], 400)
    assert train(iter([SOURCE]), 500) == tokenizer_model()


@pytest.mark.parametrize(("text", "wanted"), [(SOURCE, 60_000), ("print('hello')\n" * 3, 400)])
def test_a_vocabulary_too_large_for_the_corpus_names_the_largest_and_that_one_works(text: str, wanted: int) -> None:
    with pytest.raises(StageError, match=f"the corpus is too small for {wanted} pieces; it gives at most") as caught:
        train([text], wanted)
    limit = int(str(caught.value).rpartition(" ")[2])
    assert caught.value.hint == f"--set tokenizer.vocab_size={limit}, or add documents"
    assert TokenizerConfig(vocab_size=limit).vocab_size == limit
    assert SentencePieceProcessor(model_proto=train([text], limit)).get_piece_size() == limit


def test_a_corpus_too_small_for_any_vocabulary_is_not_told_to_take_a_smaller_one() -> None:
    with pytest.raises(StageError, match="the corpus is too small for 300 pieces") as caught:
        train(["abc def\n"], 300)
    assert caught.value.hint == "add documents"


def test_a_vocabulary_too_small_for_the_characters_names_one_that_works() -> None:
    text = "".join(chr(0x4E00 + index) for index in range(400)) * 5
    with pytest.raises(StageError, match="300 pieces are too few; the characters of the corpus alone take") as caught:
        train([text], 300)
    enough = int(re.findall(r"vocab_size=(\d+)", caught.value.hint or "")[0])
    assert SentencePieceProcessor(model_proto=train([text], enough)).get_piece_size() == enough


def test_no_text_at_all_is_an_error() -> None:
    with pytest.raises(StageError, match="tokenizer: SentencePiece"):
        train([], 300)


@pytest.mark.parametrize(
    "wrong",
    [
        {"vocab_size": 299},
        {"vocab_size": 70_000},
        {"kind": "bpe"},
        {"size": 400},
        {"kind": "byte_level", "vocab_size": 299},
        {"kind": "char", "vocab_size": 1},
        {"kind": "char", "init_from": "gpt2"},
        {"kind": "byte_level", "characters_from": "input.txt"},
    ],
)
def test_sizes_and_kinds_out_of_bounds_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        TokenizerConfig(**wrong)  # type: ignore[arg-type]


def test_the_stage_learns_from_the_training_side_alone_and_measures_on_the_other(tmp_path: Path) -> None:
    def document(name: str, text: str) -> Document:
        return Document(name, text, "code", "test", name, "CC0-1.0")

    held_back = "# ÄÖÜ not among the training texts\nreturn json\n"
    write_documents(tmp_path / "clean" / "train", [document("a", SOURCE[:8000]), document("b", SOURCE[8000:])])
    write_documents(tmp_path / "clean" / "val", [document("c", held_back)])
    stand = Stand(tmp_path / "out", {"clean": tmp_path / "clean"}, [TokenizerConfig(vocab_size=450)])
    metrics = tokenizer.run(stand.context)
    model = (tmp_path / "out" / "tokenizer.model").read_bytes()
    assert model == train([SOURCE[:8000], SOURCE[8000:]], 450)
    tokens = SentencePieceProcessor(model_proto=model).encode_as_ids(held_back)
    bytes_per_token = round(len(held_back.encode()) / len(tokens), 4)
    assert metrics.pop("pieces")["bytes_per_token"] == {"code": bytes_per_token}
    assert metrics == {"vocab_size": 450, "bytes_per_token": bytes_per_token}
    assert tokenizer.STAGE.needs == ("clean",)


def made(
    folder: Path, train_texts: list[str], val_texts: list[str], *, pairs: tuple[str, ...] = (), **config: Any
) -> tuple[Any, dict[str, Any], Stand]:
    """The tokenizer that the stage makes, its metrics, and what was said."""
    documents = [Document(str(n), text, "docs", "test", str(n), "CC0-1.0") for n, text in enumerate(train_texts)]
    for number, text in enumerate(pairs):
        messages = ({"role": "user", "content": text}, {"role": "assistant", "content": text})
        told = conversation_text(messages)
        documents.append(Document(f"p{number}", told, "pair", "test", "p", "CC0-1.0", messages=messages))
    write_documents(folder / "clean" / "train", documents)
    held_back = [Document(f"v{n}", text, "docs", "test", str(n), "CC0-1.0") for n, text in enumerate(val_texts)]
    write_documents(folder / "clean" / "val", held_back)
    stand = Stand(folder / "out", {"clean": folder / "clean"}, [TokenizerConfig(**config)])
    metrics = tokenizer.run(stand.context)
    return load_encoding(stand.out), metrics, stand


def test_characters_are_those_of_both_sides_but_not_of_conversations(tmp_path: Path) -> None:
    encoding, metrics, _ = made(tmp_path, ["anna", "bela"], ["zoé"], pairs=("QX",), kind="char")
    assert encoding.characters == sorted("anbelzoé")
    pieces = {"longest": ["é", *sorted("anbelzo")], "bytes_per_token": {"docs": round(4 / 3, 4)}}
    assert metrics == {"vocab_size": 9, "bytes_per_token": round(4 / 3, 4), "pieces": pieces}


def test_bytes_per_token_are_told_of_each_kind(tmp_path: Path) -> None:
    messages = ({"role": "user", "content": "abab"}, {"role": "assistant", "content": "b"})
    write_documents(tmp_path / "clean" / "train", [Document("0", SOURCE, "code", "test", "a", "MIT")])
    held_back = [
        Document("1", "def f(x):\n    return x\n", "code", "test", "b", "MIT"),
        Document("2", "return None\n", "code", "test", "c", "MIT"),
        Document("3", "größer", "docs", "test", "d", "MIT"),
        Document("4", conversation_text(messages), "pair", "test", "e", "MIT", messages=messages),
    ]
    write_documents(tmp_path / "clean" / "val", held_back)
    stand = Stand(tmp_path / "out", {"clean": tmp_path / "clean"}, [TokenizerConfig(vocab_size=450)])
    metrics = tokenizer.run(stand.context)
    processor = SentencePieceProcessor(model_file=str(stand.out / "tokenizer.model"))
    ids = [len(processor.encode_as_ids(document.text)) for document in held_back]
    assert metrics["pieces"]["bytes_per_token"] == {
        "code": round((23 + 12) / (ids[0] + ids[1]), 4), "docs": round(8 / ids[2], 4), "pair": round(6 / ids[3], 4),
    }  # fmt: skip
    assert metrics["bytes_per_token"] == round((23 + 12 + 8 + 6) / sum(ids), 4)
    assert len(metrics["pieces"]["longest"]) == 20


def test_conversations_held_back_are_nothing_to_a_tokenizer_of_characters(tmp_path: Path) -> None:
    messages = ({"role": "user", "content": "Q?"}, {"role": "assistant", "content": "X"})
    pair = Document("p", conversation_text(messages), "pair", "test", "p", "MIT", messages=messages)
    text = Document("t", "abcd", "docs", "test", "t", "MIT")
    for name, held_back in (("both", [pair, text]), ("pairs", [pair])):
        clean = tmp_path / name
        write_documents(clean / "train", [text, pair])
        write_documents(clean / "val", held_back)
        stand = Stand(tmp_path / "out" / name, {"clean": clean}, [TokenizerConfig(kind="char")])
        metrics = tokenizer.run(stand.context)
        assert metrics.get("bytes_per_token") == (1.0 if name == "both" else None)


def test_more_characters_than_asked_for_name_the_size_that_fits(tmp_path: Path) -> None:
    with pytest.raises(StageError, match="8 characters and the start are more than vocab_size 8") as caught:
        made(tmp_path, ["abcd"], ["efgh"], kind="char", vocab_size=8)
    assert caught.value.hint and "--set tokenizer.vocab_size=9" in caught.value.hint


def test_characters_can_come_from_a_text_and_then_no_corpus_is_needed(tmp_path: Path) -> None:
    text = tmp_path / "out" / "input.txt"
    text.parent.mkdir()
    text.write_bytes(b"First\r\nCitizen\n")
    config = TokenizerConfig(kind="char", characters_from="input.txt")
    stand = Stand(tmp_path / "out", {}, [config])
    longest = sorted(set("First\nCitizen"))
    assert tokenizer.run(stand.context) == {"vocab_size": len(longest) + 1, "pieces": {"longest": longest}}
    encoding = load_encoding(stand.out)
    assert isinstance(encoding, CharacterEncoding) and encoding.characters == sorted(set("First\nCitizen"))
    sections: dict[str, Section] = {"tokenizer": config}
    assert tokenizer.spared(sections) == {"clean"}
    before = tokenizer.fingerprint(sections, stand.out)
    text.write_text("other", encoding="utf-8")
    assert tokenizer.fingerprint(sections, stand.out) != before
    text.unlink()
    with pytest.raises(UsageError, match=r"characters_from: .*input.txt cannot be read"):
        tokenizer.run(stand.context)


def test_bytes_are_learnt_from_the_training_side_and_a_small_corpus_says_so(tmp_path: Path) -> None:
    encoding, metrics, stand = made(tmp_path, [SOURCE], ["return json\n"], kind="byte_level", vocab_size=450)
    assert encoding.tokenizer.to_str() == byte_level.train([SOURCE], 450).tokenizer.to_str()
    ids = encoding.encode("return json\n")
    assert (metrics["vocab_size"], metrics["bytes_per_token"]) == (450, round(12 / len(ids), 4))
    assert not stand.warned
    *_, stand = made(tmp_path / "small", ["ab ab"], ["ab"], kind="byte_level", vocab_size=450)
    assert stand.warned == ["the corpus has no more than 266 of the 450 pieces to learn"]


def taken(folder: Path, base: Path, **config: Any) -> tuple[Any, dict[str, Any]]:
    stand = Stand(base, {}, [TokenizerConfig(init_from=str(folder), **config)])
    metrics = tokenizer.run(stand.context)
    return load_encoding(stand.out), metrics


def test_a_pretrained_tokenizer_is_taken_from_its_folder(tmp_path: Path) -> None:
    theirs = byte_level.train([SOURCE], 450)
    (tmp_path / "gpt").mkdir()
    theirs.save(tmp_path / "gpt")
    encoding, metrics = taken(tmp_path / "gpt", tmp_path / "out", kind="byte_level")
    assert encoding.encode(SOURCE) == theirs.encode(SOURCE)
    assert metrics.pop("pieces").keys() == {"longest"}
    assert metrics == {"vocab_size": 450, "init_from": str(tmp_path / "gpt")}
    sections: dict[str, Section] = {"tokenizer": TokenizerConfig(kind="byte_level", init_from="gpt")}
    assert tokenizer.spared(sections) == {"clean"} and tokenizer.spared({"tokenizer": TokenizerConfig()}) == set()
    before = tokenizer.fingerprint(sections, tmp_path)
    assert [name for name, _ in before] == ["tokenizer.json", "tokenizer_config.json"]
    (tmp_path / "gpt" / "tokenizer_config.json").write_text("{}", encoding="utf-8")
    assert tokenizer.fingerprint(sections, tmp_path) != before
    assert tokenizer.fingerprint({"tokenizer": TokenizerConfig()}, tmp_path) == []


def test_words_that_llama_cpp_cuts_otherwise_are_told_when_the_tokenizer_is_taken(tmp_path: Path) -> None:
    theirs, folder = byte_level.train([SOURCE], 450), tmp_path / "other"
    folder.mkdir()
    theirs.save(folder)
    stand = Stand(tmp_path / "out", {}, [TokenizerConfig(init_from=str(folder), kind="byte_level")])
    tokenizer.run(stand.context)
    assert not stand.warned
    content = json.loads((folder / "tokenizer.json").read_text())
    content["pre_tokenizer"]["use_regex"] = False
    (folder / "tokenizer.json").write_text(json.dumps(content))
    tokenizer.run(stand.context)
    assert len(stand.warned) == 1 and "because of pre_tokenizer" in stand.warned[0]
    assert "`convert` will refuse the model" in stand.warned[0]


def test_a_sentencepiece_model_made_here_is_taken_as_it_is_and_no_other(tmp_path: Path) -> None:
    from sentencepiece import SentencePieceTrainer

    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "tokenizer.model").write_bytes(tokenizer_model())
    taken(folder, tmp_path / "out")
    assert (tmp_path / "out" / "tokenizer.model").read_bytes() == tokenizer_model()
    SentencePieceTrainer.train(
        sentence_iterator=iter(SOURCE.splitlines()), model_prefix=str(folder / "tokenizer"), vocab_size=400,
        model_type="bpe", minloglevel=2,
    )  # fmt: skip
    with pytest.raises(StageError, match=r"tokenizer.model lacks <bos> <eos> <pad> <\|im_start\|>"):
        taken(folder, tmp_path / "other")
    with pytest.raises(StageError, match=r"neither tokenizer.json nor vocab.json"):
        taken(folder, tmp_path / "third", kind="byte_level")


@pytest.mark.parametrize("content", ["", "{}", '{"version": "9"}', "\0"])
def test_a_damaged_tokenizer_file_is_told_by_name(tmp_path: Path, content: str) -> None:
    (tmp_path / "gpt").mkdir()
    (tmp_path / "gpt" / "tokenizer.json").write_text(content, encoding="utf-8")
    with pytest.raises(StageError, match=r"tokenizer.init_from: .*gpt: "):
        taken(tmp_path / "gpt", tmp_path / "out", kind="byte_level")
