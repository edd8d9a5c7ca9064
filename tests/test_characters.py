"""One token a character, and one that starts and stops."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.tokens.characters import CharacterEncoding, UnknownCharacters
from stages.tokens.encoding import load_encoding

characters = st.characters(exclude_categories=["Cs"])


@given(st.text(characters, min_size=1), st.data())
def test_a_text_of_known_characters_comes_back_and_has_an_id_for_each(text: str, data: st.DataObject) -> None:
    encoding = CharacterEncoding(text)
    said = data.draw(st.text(st.sampled_from(text)))
    ids = encoding.encode(said)
    assert encoding.decode(ids) == said and len(ids) == len(said)
    assert encoding.vocab_size == len(set(text)) + 1
    assert all(token < len(set(text)) for token in ids)


def test_the_ids_are_those_of_nanogpt_and_the_start_stands_last() -> None:
    """`stoi = {ch: i for i, ch in enumerate(sorted(set(data)))}`, as its prepare.py for characters has it."""
    data = "First Citizen:\nBefore we proceed, hear me.\n"
    theirs = {character: number for number, character in enumerate(sorted(set(data)))}
    encoding = CharacterEncoding(data)
    assert encoding.encode(data) == [theirs[character] for character in data]
    assert encoding.bos_id == encoding.eos_id == encoding.pad_id == len(theirs) == encoding.vocab_size - 1
    assert encoding.token_id("<bos>") == encoding.bos_id
    assert encoding.token_id("F") == theirs["F"]
    assert encoding.decode([encoding.bos_id, *encoding.encode("hear"), encoding.eos_id]) == "hear"


def test_the_start_never_comes_out_of_a_text() -> None:
    encoding = CharacterEncoding("<bos> and <eos>")
    assert encoding.bos_id not in encoding.encode("<bos><eos>")


def test_unknown_characters_are_all_counted() -> None:
    with pytest.raises(UnknownCharacters) as caught:
        CharacterEncoding("abc").encode("Ab Acé")
    assert caught.value.counts == {"A": 2, " ": 1, "é": 1}
    assert str(caught.value) == "the tokenizer does not know 'A' (U+0041) × 2, ' ' (U+0020) × 1, 'é' (U+00E9) × 1"
    with pytest.raises(UnknownCharacters, match="and 21 more"):
        CharacterEncoding("").encode("abcdefghijklmnopqrstuvwxyz")


def test_it_has_neither_chats_nor_gaps() -> None:
    encoding = CharacterEncoding("abc")
    assert not encoding.chats and not encoding.fills
    assert encoding.stops == {encoding.eos_id}
    for piece in ("<|im_end|>", "<fim_middle>", "d", ""):
        with pytest.raises(KeyError):
            encoding.token_id(piece)


@given(st.text(characters))
def test_it_is_saved_and_loaded_again(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    folder = tmp_path_factory.mktemp("char")
    encoding = CharacterEncoding(text)
    encoding.save(folder)
    loaded = load_encoding(folder)
    assert isinstance(loaded, CharacterEncoding) and loaded.characters == sorted(set(text))
    assert sum(loaded.sizes()) == len("".join(set(text)).encode())


def test_a_folder_without_a_tokenizer_says_what_it_lacks(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"tokenizer.model, tokenizer.json or characters.json"):
        load_encoding(tmp_path)
