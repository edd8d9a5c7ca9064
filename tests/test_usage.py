"""Lengths, origins and pieces, counted by hand."""

from __future__ import annotations

from typing import Literal

import pytest
from sentencepiece import SentencePieceProcessor
from test_encoding import tokenizer_model

from stages.corpus.documents import Document
from stages.tokens import byte_level
from stages.tokens.characters import CharacterEncoding
from stages.tokens.pieces import SentencePieceEncoding
from stages.tokens.usage import Usage, learnt_pieces, longest_pieces


def document(kind: Literal["code", "docs", "pair"], source: str = "test", license: str = "MIT") -> Document:
    return Document("x", "", kind, source, "x", license)


def test_a_length_stands_in_the_bar_from_its_edge_to_below_the_next() -> None:
    usage = Usage(CharacterEncoding("a"))
    for length in (1, 15, 16, 31, 32, 100, 128):
        usage.add(document("code"), [0] * length)
    usage.add(document("docs"), [0] * 40)
    usage.add(document("pair"), [0] * 200, learnt=False)
    found = usage.metrics(100)
    assert found["lengths"] == {
        "edges": [0, 16, 32, 64, 128, 256],
        "code": [2, 2, 1, 1, 1],
        "docs": [0, 0, 1, 0, 0],
        "pair": [0, 0, 0, 0, 1],
    }
    assert found["longer_than_context"] == {"code": 1, "docs": 0}


def test_tokens_are_counted_by_kind_source_and_licence_and_those_left_out_are_not() -> None:
    usage = Usage(CharacterEncoding("ab"))
    usage.add(document("code", "one"), [0, 1])
    usage.add(document("code", "one"), [0])
    usage.add(document("code", "one", "Apache-2.0"), [0] * 4)
    usage.add(document("docs", "two"), [0] * 3)
    usage.add(document("pair", "two"), [0] * 3)
    usage.add(document("pair", "two"), [0] * 90, learnt=False)
    assert usage.metrics(8)["composition"] == [
        {"kind": "code", "source": "one", "license": "Apache-2.0", "documents": 1, "tokens": 4},
        {"kind": "code", "source": "one", "license": "MIT", "documents": 2, "tokens": 3},
        {"kind": "docs", "source": "two", "license": "MIT", "documents": 1, "tokens": 3},
        {"kind": "pair", "source": "two", "license": "MIT", "documents": 1, "tokens": 3},
    ]


def test_without_documents_there_is_nothing_to_draw() -> None:
    assert Usage(CharacterEncoding("a")).metrics(8) == {
        "lengths": {"edges": [0, 16], "code": [0], "docs": [0], "pair": [0]},
        "longer_than_context": {"code": 0, "docs": 0},
        "composition": [],
    }


def test_unused_are_characters_that_never_occur() -> None:
    usage = Usage(CharacterEncoding("abcde"))
    usage.see([0, 2, 5, 2])
    usage.add(document("pair"), [4] * 20, learnt=False)
    assert usage.pieces() == {"learnt": 5, "unused": 3, "unused_share": 0.6}


def test_single_bytes_and_special_tokens_are_no_learnt_pieces() -> None:
    processor = SentencePieceProcessor(model_proto=tokenizer_model())
    words = [processor.id_to_piece(token).replace("\u2581", " ") for token in range(265, 500)]
    expected = [265 + place for place, word in enumerate(words) if len(word.encode()) > 1]
    assert learnt_pieces(SentencePieceEncoding(processor)).nonzero()[0].tolist() == expected

    learnt = byte_level.train(["for x in range(10):\n" * 20, "größer"], 300)
    vocabulary = learnt.tokenizer.get_vocab(with_added_tokens=False)
    assert sorted(learnt_pieces(learnt).nonzero()[0]) == sorted(
        token for piece, token in vocabulary.items() if len(piece) > 1
    )


@pytest.mark.parametrize("text", ["", "import json\n\ndef f(x):\n    return x + 1\n", "größer ½ 漢\n"])
def test_the_used_pieces_are_those_that_sentencepiece_cuts_texts_into(text: str) -> None:
    processor = SentencePieceProcessor(model_proto=tokenizer_model())
    usage = Usage(SentencePieceEncoding(processor))
    usage.add(document("docs"), [*processor.encode_as_ids(text), 2])
    pieces = {piece for piece in processor.encode_as_pieces(text) if not piece.startswith("<0x")}
    used = {piece for piece in pieces if len(piece.replace("\u2581", " ").encode()) > 1}
    found = usage.pieces()
    assert found["learnt"] - found["unused"] == len(used)
    assert found["unused_share"] == round(found["unused"] / found["learnt"], 4)


def test_the_longest_pieces_come_first_as_texts() -> None:
    assert longest_pieces(CharacterEncoding("aß漢")) == ["漢", "ß", "a"]
    processor = SentencePieceProcessor(model_proto=tokenizer_model())
    found = longest_pieces(SentencePieceEncoding(processor))
    words = [processor.id_to_piece(token).replace("\u2581", " ") for token in range(265, 500)]
    assert found == sorted(words, key=lambda word: -len(word.encode()))[:20]
    assert found[0].isspace() and len(found[0]) == 16  # of blanks, as indentation is what programs have most of


def test_the_longest_pieces_of_bytes_are_texts_as_well() -> None:
    learnt = byte_level.train(["for x in range(10):\n" * 20], 300)
    found = longest_pieces(learnt)
    assert " range" in found and [len(text) for text in found] == sorted(map(len, found), reverse=True)
