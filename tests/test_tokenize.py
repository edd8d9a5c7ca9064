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

from pipeline.errors import StageError, UsageError
from pipeline.stage import Section
from stages.corpus.documents import Document, Message, conversation_text, write_documents
from stages.tokens import byte_level, tokenize
from stages.tokens.characters import CharacterEncoding
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


def test_the_metrics_say_how_long_the_training_documents_are_and_what_they_use(tmp_path: Path) -> None:
    turns = talk("Why?", "x" * 22)
    train = [text("a", LONG, "docs"), text("b", TEXTS[0]), pair("p", PAIRS[1]), pair("q", turns), pair("r", PAIRS[2])]
    out, metrics, processor = run(tmp_path, train, [text("d", TEXTS[2])], context_length=24, system="")
    ids = {name: len(np.fromfile(out / f"{name}.bin", dtype="<u2")) for name in ("train", "train_pairs")}
    code = len(processor.encode_as_ids(TEXTS[0])) + 1
    long = ids["train"] - code
    assert metrics["composition"] == [
        {"kind": kind, "source": "test", "license": "CC0-1.0", "documents": documents, "tokens": tokens}
        for kind, documents, tokens in (("docs", 1, long), ("pair", 1, ids["train_pairs"]), ("code", 1, code))
    ]
    assert (metrics["train_pairs"]["conversations"], metrics["train_pairs"]["too_long"]) == (1, 3)
    lengths = metrics["lengths"]
    assert [sum(lengths[kind]) for kind in ("code", "docs", "pair")] == [1, 1, 4]
    assert lengths["edges"][-2] <= long < lengths["edges"][-1] and lengths["docs"][-1] == 1
    assert metrics["longer_than_context"] == {"code": 0, "docs": 1}
    met = {int(token) for name in ids for token in np.fromfile(out / f"{name}.bin", dtype="<u2")}
    words = {
        token for token in range(265, 500) if len(processor.id_to_piece(token).replace("\u2581", " ").encode()) > 1
    }
    assert metrics["pieces"] == {
        "learnt": len(words), "unused": len(words - met), "unused_share": round(len(words - met) / len(words), 4),
    }  # fmt: skip


def conversations(out: Path, side: str) -> list[tuple[list[int], list[int]]]:
    """Ids and mask of each conversation of a side."""
    data = np.fromfile(out / f"{side}_pairs.bin", dtype="<u2")
    mask = np.fromfile(out / f"{side}_pairs.mask", dtype=np.uint8)
    starts = np.fromfile(out / f"{side}_pairs.idx", dtype="<i8")
    assert len(mask) == len(data) and set(mask.tolist()) <= {0, 1}
    parts = zip(np.split(data, starts[1:]), np.split(mask, starts[1:]), strict=True)
    return [(ids.tolist(), counts.tolist()) for ids, counts in parts if len(starts)]


def test_conversations_go_up_to_each_answer_and_the_mask_is_one_on_it_and_its_end(tmp_path: Path) -> None:
    documents = [text("a", LONG), *(pair(str(number), messages) for number, messages in enumerate(PAIRS))]
    out, metrics, processor = run(tmp_path, documents, documents, context_length=64, system="Be short.")
    for side in ("train", "val"):
        found = conversations(out, side)
        assert metrics[f"{side}_pairs"] == {
            "conversations": 4, "tokens": sum(len(ids) for ids, _ in found), "too_long": 0,
        }  # fmt: skip
        asked = [(0, PAIRS[0]), (1, PAIRS[1]), (2, PAIRS[2][:2]), (2, PAIRS[2])]
        for (ids, mask), (number, messages) in zip(found, asked, strict=True):
            assert ids[0] == 1
            led = "system\nBe short.\n" if hashlib.sha256(str(number).encode()).digest()[0] % 2 else ""
            told = "".join(f"{message['role']}\n{message['content']}\n" for message in messages)
            assert processor.decode(ids) == led + told
            learnt = [token for token, counts in zip(ids, mask, strict=True) if counts]
            assert learnt == [*processor.encode_as_ids(messages[-1]["content"]), END]


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


@pytest.mark.parametrize("system", ["Say <eos>.", 'a """ b', "no\u00a0break", "<|im_end|>\n", "\u200b", "a\rb", "\x00"])
def test_a_system_message_that_ollama_would_get_otherwise_is_refused(system: str) -> None:
    with pytest.raises(ValidationError, match="cannot be said to Ollama in a system message"):
        TokenizeConfig(system=system)


def test_any_other_system_message_is_taken() -> None:
    for system in ("", 'Say "é漢" <b>{{ .System }}\n\tnow', "😀"):
        assert TokenizeConfig(system=system).system == system


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


def run_with(
    folder: Path, encoding: Any, train: Sequence[Document], val: Sequence[Document], **config: Any
) -> tuple[Path, dict[str, Any], Stand]:
    """The stage with a tokenizer of another kind."""
    write_documents(folder / "augment", train)
    write_documents(folder / "clean" / "val", val)
    (folder / "tokenizer").mkdir()
    encoding.save(folder / "tokenizer")
    inputs = {name: folder / name for name in ("augment", "clean", "tokenizer")}
    stand = Stand(folder / "out", inputs, [TokenizeConfig(**({"context_length": 8} | config))])
    return stand.out, tokenize.run(stand.context), stand


def test_names_are_written_with_one_stop_after_each(tmp_path: Path) -> None:
    train, val = ["anna", "bela", "carl"], ["dora", "ella"]
    documents = [[text(name, name, "docs") for name in side] for side in (train, val)]
    out, metrics, _ = run_with(tmp_path, CharacterEncoding("".join(train + val)), *documents)
    letters = sorted(set("".join(train + val)))
    for side, names in (("train", train), ("val", val)):
        ids = np.fromfile(out / f"{side}.bin", dtype="<u2").tolist()
        told = "".join("|" if token == len(letters) else letters[token] for token in ids)
        assert told == "".join(name + "|" for name in names)
        starts = np.fromfile(out / f"{side}.idx", dtype="<i8").tolist()
        assert starts == [5 * number for number in range(len(names))]
        assert metrics[side] == {"documents": len(names), "tokens": len(ids), "bytes": 4 * len(names)}
    meta = json.loads((out / "meta.json").read_text())
    assert meta["bos_id"] == meta["eos_id"] == meta["pad_id"] == meta["vocab_size"] - 1 == len(letters)


def test_characters_that_nobody_knows_are_counted_with_the_place_of_the_first(tmp_path: Path) -> None:
    documents = [text("a", "abab"), text("b.py", "aÉb"), text("c", "ÉÉx" + "ab" * 9)]
    with pytest.raises(StageError) as caught:
        run_with(tmp_path, CharacterEncoding("ab"), documents, documents)
    assert str(caught.value).endswith("not know, first in test/b.py: 'É' (U+00C9) × 3, 'x' (U+0078) × 1")
    assert caught.value.hint and "byte_level" in caught.value.hint


def test_conversations_that_characters_cannot_say_are_left_out_with_a_warning(tmp_path: Path) -> None:
    documents = [text("a", "abcdefgh"), pair("p", PAIRS[0])]
    out, metrics, stand = run_with(tmp_path, CharacterEncoding("abcdefgh"), documents, documents)
    assert metrics["train_pairs"] == {"conversations": 0, "tokens": 0, "too_long": 0}
    assert stand.warned[0] == "left out 1 train conversations: a char tokenizer cannot say them"
    assert not conversations(out, "train") and stand.bar.done == 4


def test_gaps_that_characters_cannot_say_are_an_error(tmp_path: Path) -> None:
    gap = Document("g", "abcdefgh", "code", "test", "g", "CC0-1.0", {"fim": [2, 4]})
    with pytest.raises(StageError, match="cannot say gaps") as caught:
        run_with(tmp_path, CharacterEncoding("abcdefgh"), [gap], [gap])
    assert caught.value.hint == "leave fim out of augment.methods"


def test_bytes_are_written_with_a_mask_as_pieces_are(tmp_path: Path) -> None:
    encoding = byte_level.train(TEXTS, 300)
    documents = [text("a", LONG + "<eos>"), pair("p", PAIRS[0])]
    out, metrics, _ = run_with(tmp_path, encoding, documents, documents, context_length=128, system="")
    ids = np.fromfile(out / "train.bin", dtype="<u2").tolist()
    assert ids[-1] == encoding.eos_id and ids.count(encoding.eos_id) == 1
    assert encoding.decode(ids) == LONG + "<eos>"
    assert metrics["train"]["bytes"] == len((LONG + "<eos>").encode())
    [(said, mask)] = conversations(out, "train")
    learnt = [token for token, counts in zip(said, mask, strict=True) if counts]
    assert learnt == [*encoding.encode("led.toggle()"), encoding.token_id("<|im_end|>")]


SONG = "First Citizen:\nBefore we proceed any further, hear me speak.\n\nAll:\nSpeak, speak! é\n" * 4


def nanogpt_folder(folder: Path, *, characters: bool = True) -> Path:
    """`train.bin` and `val.bin` as its prepare.py writes them: characters, or ids of documents with an end each."""
    folder.mkdir()
    if characters:
        ids = {character: number for number, character in enumerate(sorted(set(SONG)))}
        data = [ids[character] for character in SONG]
        (folder / "meta.pkl").write_bytes(b"cos\nsystem\n(S'false'\ntR.")  # would run a command
    else:
        data = [token for number in range(6) for token in (*range(10 * number, 10 * number + 10), 492)]
    middle = len(data) // 2
    np.array(data[:middle], dtype=np.uint16).tofile(folder / "train.bin")
    np.array(data[middle:], dtype=np.uint16).tofile(folder / "val.bin")
    return folder


def take_bins(folder: Path, encoding: Any, bins: Path, **config: Any) -> tuple[Path, dict[str, Any]]:
    (folder / "tokenizer").mkdir()
    encoding.save(folder / "tokenizer")
    section = TokenizeConfig(**({"context_length": 8, "from_bins": str(bins)} | config))
    stand = Stand(folder / "out", {"tokenizer": folder / "tokenizer"}, [section])
    return stand.out, tokenize.run(stand.context)


def test_characters_of_nanogpt_are_taken_as_one_document(tmp_path: Path) -> None:
    bins = nanogpt_folder(tmp_path / "bins")
    encoding = CharacterEncoding(SONG)
    out, metrics = take_bins(tmp_path, encoding, bins)
    for side in ("train", "val"):
        assert (out / f"{side}.bin").read_bytes() == (bins / f"{side}.bin").read_bytes()
        assert np.fromfile(out / f"{side}.idx", dtype="<i8").tolist() == [0]
        assert conversations(out, side) == []
    told = "".join(encoding.decode(np.fromfile(out / f"{side}.bin", dtype="<u2")) for side in ("train", "val"))
    assert told == SONG
    assert metrics["pieces"] == {"learnt": len(set(SONG)), "unused": 0, "unused_share": 0.0}
    assert "lengths" not in metrics and "composition" not in metrics
    assert metrics["train"]["bytes"] + metrics["val"]["bytes"] == len(SONG.encode())
    meta = json.loads((out / "meta.json").read_text())
    assert (meta["dtype"], meta["vocab_size"], meta["sides"]["train"]["documents"]) == ("uint16", 1 + len(set(SONG)), 1)


def test_documents_of_nanogpt_start_after_each_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from stages.tokens import bins as module

    monkeypatch.setattr(module, "IDS_AT_ONCE", 7)
    encoding = byte_level.train(TEXTS, 300)
    end = encoding.eos_id
    bins = tmp_path / "bins"
    bins.mkdir()
    for side, count in (("train", 4), ("val", 2)):
        data = [token for number in range(count) for token in (*range(10 * number, 10 * number + 10 + number), end)]
        np.array(data, dtype=np.uint16).tofile(bins / f"{side}.bin")
    out, metrics = take_bins(tmp_path, encoding, bins)
    assert np.fromfile(out / "train.idx", dtype="<i8").tolist() == [0, 11, 23, 36]
    assert metrics["train"] == {"documents": 4, "tokens": 50, "bytes": 46}
    learnt = encoding.vocab_size - 256 - len(byte_level.SPECIAL)
    assert metrics["pieces"] == {"learnt": learnt, "unused": learnt, "unused_share": 1.0}  # its ids are single bytes
    assert (out / "train.bin").read_bytes() == (bins / "train.bin").read_bytes()


def test_ids_of_another_tokenizer_are_told_with_the_way_to_the_right_one(tmp_path: Path) -> None:
    bins = nanogpt_folder(tmp_path / "bins")
    with pytest.raises(StageError, match=r"train.bin has the id \d+, and the tokenizer only 4 pieces") as caught:
        take_bins(tmp_path, CharacterEncoding("abc"), bins)
    assert caught.value.hint and "characters_from" in caught.value.hint and "never read" in caught.value.hint
    (tmp_path / "other").mkdir()
    bins = nanogpt_folder(tmp_path / "other" / "bins", characters=False)
    with pytest.raises(StageError, match="has the id 492") as caught:
        take_bins(tmp_path / "other", byte_level.train(["a"], 300), bins)
    assert caught.value.hint and "init_from: gpt2" in caught.value.hint


def test_half_an_id_and_a_missing_file_are_errors(tmp_path: Path) -> None:
    bins = nanogpt_folder(tmp_path / "bins")
    with (bins / "train.bin").open("ab") as file:
        file.write(b"x")
    with pytest.raises(StageError, match="odd number of bytes"):
        take_bins(tmp_path, CharacterEncoding(SONG), bins)
    (bins / "val.bin").unlink()
    sections: dict[str, Section] = {"tokenize": TokenizeConfig(from_bins="bins")}
    with pytest.raises(UsageError, match=r"there is no .*bins/val.bin"):
        tokenize.fingerprint(sections, tmp_path)


def test_bins_spare_the_corpus_and_their_change_is_seen(tmp_path: Path) -> None:
    bins = nanogpt_folder(tmp_path / "bins")
    sections: dict[str, Section] = {"tokenize": TokenizeConfig(from_bins="bins")}
    plain: dict[str, Section] = {"tokenize": TokenizeConfig()}
    assert tokenize.spared(sections) == {"augment", "clean"} and tokenize.spared(plain) == set()
    before = tokenize.fingerprint(sections, tmp_path)
    with (bins / "val.bin").open("ab") as file:
        file.write(b"xx")
    assert tokenize.fingerprint(sections, tmp_path) != before
    assert tokenize.fingerprint(plain, tmp_path) == []


def test_a_run_on_bins_makes_nothing_of_the_corpus(tmp_path: Path) -> None:
    from pipeline.config import load_config
    from pipeline.runner import Options, Runner
    from pipeline.store import Store
    from stages import ROAD

    nanogpt_folder(tmp_path / "bins")
    (tmp_path / "bins" / "input.txt").write_text(SONG, encoding="utf-8")
    (tmp_path / "mine.yaml").write_text(
        """
name: mine
gather: {sources: [{folder: nowhere, license: MIT}]}
tokenizer: {kind: char, characters_from: bins/input.txt}
tokenize: {from_bins: bins, context_length: 8}
""",
        encoding="utf-8",
    )
    store = Store(tmp_path / "artifacts")
    config = load_config(tmp_path / "mine.yaml", ROAD)
    Runner(ROAD, config, store, tmp_path / "exports", Options(last="tokenize")).run()
    assert list(store.runs()[-1]["stages"]) == ["tokenizer", "tokenize"]
