"""The token files, read back by nanoGPT's own means."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from pydantic import ValidationError
from sentencepiece import SentencePieceProcessor
from test_encoding import tokenizer_model
from test_loop import Stand

from pipeline.errors import StageError
from stages.corpus.documents import Document, Message, conversation_text, write_documents
from stages.tokens import tokenize
from stages.tokens.tokenize import TokenizeConfig, id_type

EOS, END = 2, 5
TEXTS = ["def f(x):\n\treturn x\n", "# Größe ½ <eos>\n" * 3, "import json\n\n\nprint('<|im_end|>')\n"]


def talk(*turns: str) -> tuple[Message, ...]:
    return tuple({"role": ("user", "assistant")[number % 2], "content": turn} for number, turn in enumerate(turns))


LONG = TEXTS[1] * 10
PAIRS = [talk("Blink.", "led.toggle()"), talk("Wait.", "sleep(1)"), talk("a", "b", "c", "d\n")]


def text(name: str, content: str, kind: Literal["code", "docs"] = "code") -> Document:
    return Document(name, content, kind, "test", name, "CC0-1.0")


def pair(name: str, messages: tuple[Message, ...]) -> Document:
    return Document(name, conversation_text(messages), "pair", "test", name, "CC0-1.0", messages=messages)


def run(
    folder: Path, train: Sequence[Document], val: Sequence[Document], **config: Any
) -> tuple[Path, dict[str, Any], SentencePieceProcessor]:
    """The stage's output, its metrics, and sentencepiece itself to read the ids with."""
    write_documents(folder / "augment", train)
    write_documents(folder / "clean" / "val", val)
    (folder / "tokenizer").mkdir()
    (folder / "tokenizer" / "tokenizer.model").write_bytes(tokenizer_model())
    inputs = {name: folder / name for name in ("augment", "clean", "tokenizer")}
    stand = Stand(folder / "out", inputs, [TokenizeConfig(**({"context_length": 24} | config))])
    metrics = tokenize.run(stand.context)
    assert stand.bar.done == len(train) + len(val)
    return stand.out, metrics, SentencePieceProcessor(model_proto=tokenizer_model())


def test_the_files_hold_every_document_as_nanogpt_reads_them(tmp_path: Path) -> None:
    train = [text("a", TEXTS[0]), pair("p", PAIRS[0]), text("b", TEXTS[1], "docs"), text("c", TEXTS[2])]
    out, metrics, processor = run(tmp_path, train, [text("d", TEXTS[2]), text("e", TEXTS[0])])
    for side, expected in (("train", TEXTS), ("val", [TEXTS[2], TEXTS[0]])):
        data = np.memmap(out / f"{side}.bin", dtype=np.uint16, mode="r")
        starts = np.fromfile(out / f"{side}.idx", dtype="<i8")
        assert starts[0] == 0
        documents = np.split(np.array(data, dtype=np.int64), starts[1:])
        for ids, content in zip(documents, expected, strict=True):
            assert ids.tolist() == [*processor.encode_as_ids(content), EOS]
            assert processor.decode(ids[:-1].tolist()) == content
            assert np.count_nonzero(ids == EOS) == 1 and ids.min() >= EOS
        size = sum(len(content.encode()) for content in expected)
        assert metrics[side] == {"documents": len(expected), "tokens": len(data), "bytes": size}


def test_the_text_beside_the_files_says_how_to_read_them(tmp_path: Path) -> None:
    out, metrics, _ = run(tmp_path, [text("a", TEXTS[1])], [text("b", TEXTS[2])], system="Be short.")
    meta = json.loads((out / "meta.json").read_text())
    sides = {name: metrics[name] for name in ("train", "train_pairs", "val", "val_pairs")}
    assert meta == {
        "vocab_size": 500, "context_length": 24, "dtype": "uint16", "bos_id": 1, "eos_id": 2, "pad_id": 3,
        "system": "Be short.", "sides": sides,
    }  # fmt: skip


def conversations(out: Path, side: str) -> list[tuple[list[int], list[int]]]:
    """Ids and mask of each conversation of a side."""
    data = np.fromfile(out / f"{side}_pairs.bin", dtype="<u2")
    mask = np.fromfile(out / f"{side}_pairs.mask", dtype=np.uint8)
    starts = np.fromfile(out / f"{side}_pairs.idx", dtype="<i8")
    assert len(mask) == len(data) and set(mask.tolist()) <= {0, 1}
    parts = zip(np.split(data, starts[1:]), np.split(mask, starts[1:]), strict=True)
    return [(ids.tolist(), counts.tolist()) for ids, counts in parts if len(starts)]


def test_conversations_are_whole_and_the_mask_is_one_on_answers_and_their_ends(tmp_path: Path) -> None:
    documents = [text("a", LONG), *(pair(str(number), messages) for number, messages in enumerate(PAIRS))]
    out, metrics, processor = run(tmp_path, documents, documents, context_length=64, system="Be short.")
    for side in ("train", "val"):
        found = conversations(out, side)
        assert metrics[f"{side}_pairs"] == {
            "conversations": 3, "tokens": sum(len(ids) for ids, _ in found), "too_long": 0,
        }  # fmt: skip
        for number, ((ids, mask), messages) in enumerate(zip(found, PAIRS, strict=True)):
            assert ids[0] == 1
            led = "system\nBe short.\n" if hashlib.sha256(str(number).encode()).digest()[0] % 2 else ""
            told = "".join(f"{message['role']}\n{message['content']}\n" for message in messages)
            assert processor.decode(ids) == led + told
            answers = [message["content"] for message in messages if message["role"] == "assistant"]
            learnt = [token for token, counts in zip(ids, mask, strict=True) if counts]
            assert learnt == [token for answer in answers for token in (*processor.encode_as_ids(answer), END)]


def test_half_of_the_conversations_are_led_by_the_system_message_and_none_without_one(tmp_path: Path) -> None:
    documents = [text("a", LONG), *(pair(str(number), PAIRS[0]) for number in range(40))]
    out, *_ = run(tmp_path / "with", documents, documents, context_length=64, system="Be short.")
    lengths = [len(ids) for ids, _ in conversations(out, "train")]
    assert len(set(lengths)) == 2 and 10 <= lengths.count(max(lengths)) <= 30
    out, *_ = run(tmp_path / "without", documents, documents, context_length=64, system="")
    assert [len(ids) for ids, _ in conversations(out, "train")] == [min(lengths)] * 40


@pytest.mark.parametrize(("length", "kept"), [(64, 3), (40, 2), (32, 1), (8, 0)])
def test_a_conversation_that_does_not_fit_is_left_out_whole_and_counted(tmp_path: Path, length: int, kept: int) -> None:
    long = talk("Why?", "x" * 22)
    documents = [pair("0", PAIRS[0]), pair("1", long), pair("2", PAIRS[1]), text("a", LONG)]
    out, metrics, _ = run(tmp_path, documents, documents, context_length=length, system="")
    found = conversations(out, "train")
    assert all(len(ids) <= length + 1 for ids, _ in found)
    assert len(found) == kept
    counted = metrics["train_pairs"]
    assert (counted["conversations"], counted["too_long"]) == (kept, 3 - kept)


def test_a_conversation_of_just_one_more_token_than_the_context_fits(tmp_path: Path) -> None:
    """Its last token is only a target, so the model reads a context's worth."""
    processor = SentencePieceProcessor(model_proto=tokenizer_model())
    around = 1 + 2 + 2 + 2 * len(processor.encode_as_ids("\n"))
    around += len(processor.encode_as_ids("user\nWhy?")) + len(processor.encode_as_ids("assistant\n"))
    for length, kept in ((32, 1), (33, 0)):
        answer = "é" * ((length + 1 - around) // 2) + "z" * ((length + 1 - around) % 2)
        assert len(processor.encode_as_ids(answer)) == length + 1 - around
        documents = [pair("0", talk("Why?", answer)), text("a", TEXTS[1])]
        _, metrics, _ = run(tmp_path / str(length), documents, documents, context_length=32, system="")
        assert metrics["train_pairs"]["conversations"] == kept


@pytest.mark.parametrize("short", ["train", "val"])
def test_too_few_tokens_for_one_window_is_a_clear_error(tmp_path: Path, short: str) -> None:
    sides = {"train": [text("a", TEXTS[1])], "val": [text("b", TEXTS[1])], short: [text("c", "x\n")]}
    with pytest.raises(StageError, match=rf"\d {short} tokens are too few for context_length 24") as caught:
        run(tmp_path, sides["train"], sides["val"])
    assert caught.value.hint and "context_length" in caught.value.hint


def test_a_document_never_ends_early_by_a_literal_eos_in_its_text(tmp_path: Path) -> None:
    out, metrics, _ = run(tmp_path, [text("a", "<eos><bos>" * 20)], [text("b", TEXTS[1])])
    data = np.memmap(out / "train.bin", dtype=np.uint16, mode="r")
    assert np.flatnonzero(data == EOS).tolist() == [len(data) - 1] == [metrics["train"]["tokens"] - 1]


def test_ids_take_two_bytes_as_long_as_they_fit() -> None:
    assert id_type(300) == id_type(65_536) == np.dtype("<u2")
    assert id_type(65_537) == np.dtype("<u4")
    assert np.iinfo(id_type(65_536)).max >= 65_535


@pytest.mark.parametrize("length", [0, 7, 100, 2**17 + 8])
def test_context_lengths_out_of_bounds_are_refused(length: int) -> None:
    with pytest.raises(ValidationError):
        TokenizeConfig(context_length=length)


def test_a_gap_is_written_as_prefix_suffix_and_middle(tmp_path: Path) -> None:
    """With the lines nearest to it, in half of the context; all that is counted is what is written."""
    content = "".join(f"x{number} = {number}\n" for number in range(10, 40))
    start = content.index("x20") + 2
    end = content.index("x22")
    with_gap = Document("g", content, "code", "test", "g", "CC0-1.0", {"fim": [start, end]})
    out, metrics, processor = run(tmp_path, [text("a", LONG), with_gap], [text("b", LONG)], context_length=96)
    data = np.fromfile(out / "train.bin", dtype="<u2").tolist()
    starts = np.fromfile(out / "train.idx", dtype="<i8").tolist()
    ids = data[starts[1] :]
    assert [processor.id_to_piece(ids[0]), ids[-1], len(ids) <= 49] == ["<fim_prefix>", EOS, True]
    suffix_at, middle_at = ids.index(7), ids.index(8)
    prefix, suffix, middle = ids[1:suffix_at], ids[suffix_at + 1 : middle_at], ids[middle_at + 1 : -1]
    before, gap, after = (processor.decode(part) for part in (prefix, middle, suffix))
    assert gap == "0 = 20\nx21 = 21\n" and before + gap + after in content
    assert before.endswith("x19 = 19\nx2") and after.startswith("x22 = 22\n")
    assert [*prefix, *middle] == [*processor.encode_as_ids(before), *processor.encode_as_ids(gap)]
    written = len((before + gap + after).encode()) + len(LONG.encode())
    assert metrics["train"] == {"documents": 2, "tokens": len(data), "bytes": written}
    rest = text("a", LONG * 3)
    whole, *_ = run(tmp_path / "whole", [rest, with_gap], [rest], context_length=640)
    start_of_gap = int(np.fromfile(whole / "train.idx", dtype="<i8")[1])
    ids = np.fromfile(whole / "train.bin", dtype="<u2").tolist()[start_of_gap:]
    assert processor.decode(ids) == content[:start] + content[end:] + content[start:end]
