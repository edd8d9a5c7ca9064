"""Training the tokenizer: its settings as they stand in the file, and errors that name a size that works."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from sentencepiece import SentencePieceProcessor
from test_encoding import tokenizer_model
from test_loop import Stand

from pipeline.errors import StageError
from stages.corpus.documents import Document, write_documents
from stages.tokens import tokenizer
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


@pytest.mark.parametrize("wrong", [{"vocab_size": 299}, {"vocab_size": 70_000}, {"kind": "bpe"}, {"size": 400}])
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
    assert metrics == {"vocab_size": 450, "bytes_per_token": round(len(held_back.encode()) / len(tokens), 4)}
    assert tokenizer.STAGE.needs == ("clean",)
