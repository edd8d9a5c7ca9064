"""Text and conversations to ids and back: nothing is lost, and no text turns into a special token."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from sentencepiece import SentencePieceProcessor

from stages.tokens.chat import CHAT_TEMPLATE, Message, merged
from stages.tokens.encoding import SentencePieceEncoding, load_encoding
from stages.tokens.tokenizer import train

GAP = ("<fim_prefix>", "<fim_suffix>", "<fim_middle>")
SPECIAL = ("<unk>", "<bos>", "<eos>", "<pad>", "<|im_start|>", "<|im_end|>", *GAP)


@cache
def tokenizer_model() -> bytes:
    """500 pieces learnt from a module of the standard library."""
    return train([Path(json.__file__).with_name("decoder.py").read_text(encoding="utf-8")], 500)


def train_encoding() -> SentencePieceEncoding:
    return SentencePieceEncoding(SentencePieceProcessor(model_proto=tokenizer_model()))


@pytest.fixture(scope="module")
def encoding() -> SentencePieceEncoding:
    return train_encoding()


texts = st.text(st.characters(exclude_characters="\u2581", exclude_categories=["Cs"]), max_size=60)
near_special = st.lists(st.sampled_from([*SPECIAL, "<s>", "<0x0A>", " ", "\n", "\t", "a", "\r\n", "\0"]), max_size=12)
code = st.lists(st.sampled_from(["def ", "    ", "\t", "\n", "x", "=", "12", "'", "é", "  "]), max_size=30)


@settings(max_examples=300, deadline=None)
@given(texts | near_special.map("".join) | code.map("".join))
@example(" lead")
@example("trail ")
@example("\n\n\n")
@example("\ufeffx\u2028\u0085")
@example("e\u0301 ﬁ Å ½")
def test_any_text_comes_back_and_no_special_token_comes_out_of_it(encoding: SentencePieceEncoding, text: str) -> None:
    ids = encoding.encode(text)
    assert encoding.decode(ids) == text
    assert all(9 <= token < encoding.vocab_size for token in ids)


def test_the_one_character_that_does_not_come_back_becomes_a_space(encoding: SentencePieceEncoding) -> None:
    assert encoding.decode(encoding.encode("a\u2581b")) == "a b"


def test_special_tokens_have_their_ids_and_give_no_text(encoding: SentencePieceEncoding) -> None:
    assert [encoding.token_id(piece) for piece in SPECIAL] == list(range(9))
    assert (encoding.bos_id, encoding.eos_id, encoding.pad_id) == (1, 2, 3)
    ids = encoding.encode("x = 1")
    assert encoding.decode([1, 4, *ids[:1], 3, 0, *ids[1:], 5, 2]) == "x = 1"


@settings(max_examples=100, deadline=None)
@given(texts | code.map("".join))
def test_the_ids_of_a_text_stand_for_all_its_bytes(encoding: SentencePieceEncoding, text: str) -> None:
    sizes = encoding.sizes()
    assert sum(sizes[token] for token in encoding.encode(text)) == len(text.encode())
    assert sizes[:9] == [0] * 9 and sizes[9:265] == [1] * 256


def test_a_text_ends_with_eos_and_an_answer_with_its_marker(encoding: SentencePieceEncoding) -> None:
    assert encoding.stops == {2, 5} and encoding.chats and encoding.fills
    assert encoding.has("<bos>") and not encoding.has("no such piece")


def test_a_piece_that_is_not_there_is_an_error(encoding: SentencePieceEncoding) -> None:
    with pytest.raises(KeyError, match="no such piece"):
        encoding.token_id("no such piece")


def test_the_ids_are_those_that_sentencepiece_itself_gives(encoding: SentencePieceEncoding, tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.model"
    path.write_bytes(tokenizer_model())
    processor = SentencePieceProcessor(model_file=str(path))
    loaded = load_encoding(tmp_path)
    assert loaded.vocab_size == processor.vocab_size() == 500
    for text in ("def f(x):\n    return x\n", "<bos> <|im_start|>", "\tπ"):
        assert loaded.encode(text) == encoding.encode(text) == processor.encode_as_ids(text)
        assert "".join(processor.id_to_piece(token) for token in loaded.encode("return x")) == "return\u2581x"


def as_runtimes_do(encoding: SentencePieceEncoding, rendered: str) -> list[int]:
    """Ids of a rendered chat: special tokens are cut out first, and each text between them is encoded by itself."""
    ids: list[int] = []
    for part in re.split("(" + "|".join(map(re.escape, SPECIAL)) + ")", rendered):
        ids += [encoding.token_id(part)] if part in SPECIAL else encoding.encode(part)
    return ids


def rendered(messages: Sequence[Message], *, prompt: bool) -> str:
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)  # as transformers does
    template = environment.from_string(CHAT_TEMPLATE)
    return template.render(messages=messages, bos_token="<bos>", add_generation_prompt=prompt)


plain = texts.filter(lambda text: not any(piece in text for piece in SPECIAL))


@settings(max_examples=150, deadline=None)
@given(st.booleans(), st.lists(plain | st.just("```python\nx = 1\n```"), min_size=1, max_size=4))
def test_a_question_has_the_ids_that_the_runtimes_make_of_the_template(
    encoding: SentencePieceEncoding, system: bool, said: list[str]
) -> None:
    """Also after other questions and answers, and where the answer was begun."""
    talk: list[Message] = [{"role": "system", "content": "Answer with code."}] * system
    talk += [{"role": ("user", "assistant")[number % 2], "content": text} for number, text in enumerate(said)]
    ids, mask = encoding.encode_chat(talk, prompt=True)
    told = rendered(talk, prompt=len(said) % 2 == 1)
    assert ids == as_runtimes_do(encoding, told if len(said) % 2 else told.removesuffix("<|im_end|>\n"))
    assert not any(mask)


TALK: list[Message] = [
    {"role": "system", "content": "Answer with code."},
    {"role": "user", "content": "Blink pin 15\n  twice."},
    {"role": "assistant", "content": "    led.toggle()\n"},
    {"role": "user", "content": " again "},
    {"role": "assistant", "content": "for i in range(2):\n\tled.toggle()"},
]


@pytest.mark.parametrize("turn", [2, 4])
def test_what_is_learnt_starts_where_the_prompt_ends_and_closes_with_the_marker(
    encoding: SentencePieceEncoding, turn: int
) -> None:
    """So at inference the model stands exactly where it stood in training."""
    prompt, _ = encoding.encode_chat(TALK[:turn], prompt=True)
    whole, mask = encoding.encode_chat(TALK[: turn + 1])
    answer = [*encoding.encode(TALK[turn]["content"]), encoding.token_id("<|im_end|>")]
    assert whole == [*prompt, *answer, *encoding.encode("\n")]
    assert mask[len(prompt) :] == [1] * len(answer) + [0]


messages = st.lists(
    st.fixed_dictionaries({"role": st.sampled_from(["system", "user", "assistant"]), "content": texts}), max_size=4
)


@settings(max_examples=100, deadline=None)
@given(messages, st.booleans())
def test_the_mask_covers_the_last_answer_with_its_end_and_nothing_else(
    encoding: SentencePieceEncoding, talk: list[Message], prompt: bool
) -> None:
    ids, mask = encoding.encode_chat(talk, prompt=prompt)
    assert len(ids) == len(mask) and ids[0] == 1 and mask[0] == 0
    turns, begun = merged(talk), bool(talk) and talk[-1]["role"] == "assistant"
    learnt = [token for token, counts in zip(ids, mask, strict=True) if counts]
    assert learnt == ([*encoding.encode(turns[-1]["content"]), 5] if begun and not prompt else [])
    assert ids.count(5) == len(turns) - (begun and prompt) and ids.count(4) == len(turns) + (prompt and not begun)
    told = "".join(f"{message['role']}\n{message['content']}\n" for message in turns)
    told = told.removesuffix("\n") if begun and prompt else told + "assistant\n" * prompt
    assert encoding.decode(ids) == told


@settings(max_examples=100, deadline=None)
@given(texts | near_special.map("".join), texts | code.map("".join), texts | near_special.map("".join))
def test_a_text_with_a_gap_is_prefix_suffix_and_middle_each_on_its_own(
    encoding: SentencePieceEncoding, prefix: str, middle: str, suffix: str
) -> None:
    ids = encoding.encode_fim(prefix, middle, suffix)
    places = [ids.index(encoding.token_id(marker)) for marker in GAP]
    assert places == sorted(places) and places[0] == 0 and [ids.count(token) for token in (6, 7, 8)] == [1, 1, 1]
    parts = [ids[start + 1 : end] for start, end in zip(places, [*places[1:], None], strict=True)]
    assert [encoding.decode(part) for part in parts] == [prefix, suffix, middle]
    assert parts == [encoding.encode(text) for text in (prefix, suffix, middle)]
