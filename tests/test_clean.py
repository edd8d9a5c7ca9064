"""Cleaning: one form for the same text, each text once, and a split that no variant can leak across."""

from __future__ import annotations

import hashlib
import random
import unicodedata
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from test_gather import StageRun, run_stage

from pipeline.errors import StageError
from stages.corpus import clean
from stages.corpus.clean import normalise, split
from stages.corpus.documents import Document, Kind, document_id, read_documents, write_documents

BLANKS = st.sampled_from(" \t\n\r\x0c\x00\x85\u2028\ufeff'#")
TEXT = st.text(st.one_of(BLANKS, st.characters(codec="utf-8")), max_size=60)


def document(path: str, text: str = "", kind: Kind = "code", source: str = "s") -> Document:
    text = text or f"value_of_{path} = 1  # long enough to stay\n"
    return Document(document_id(source, path), text, kind, source, path, "MIT")


def pair(path: str, *contents: str) -> Document:
    roles = ("user", "assistant")
    messages = tuple({"role": roles[i % 2], "content": content} for i, content in enumerate(contents))
    return replace(document(path, "\n".join(contents), "pair"), messages=messages)


def cleaned(tmp_path: Path, documents: Sequence[Document], *, seed: int = 1337, **config: float) -> StageRun:
    write_documents(tmp_path / "extract", documents)
    return run_stage(clean.STAGE, tmp_path / "out", {"extract": tmp_path / "extract"}, seed=seed, clean=config)


def sides(run: StageRun) -> tuple[list[Document], list[Document]]:
    return list(read_documents(run.out / "train")), list(read_documents(run.out / "val"))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a\r\nb\rc\n", "a\nb\nc\n"),
        ("a  \n\tb\t\n", "a\n\tb\n"),
        ("\n\na\n\n\n\n\n\nb\n\n\n", "a\n\n\nb\n"),
        ("a\n\n\nb", "a\n\n\nb\n"),
        ("\ufeffa\x00\x07\x7f\x0cb", "ab\n"),
        ("    indented\n", "    indented\n"),
        ("e\u0301\u212b", "e\u0301\u212b\n"),
    ],
)
def test_normal_forms_of_code_by_hand(text: str, expected: str) -> None:
    assert normalise(text, code=True) == expected


def test_prose_is_composed_and_code_is_not() -> None:
    assert normalise("cafe\u0301 \u212b", code=False) == "café \u00c5\n"
    assert normalise("cafe\u0301", code=True) == "cafe\u0301\n"


@given(TEXT, st.booleans())
def test_normalising_twice_is_normalising_once(text: str, code: bool) -> None:
    once = normalise(text, code=code)
    assert normalise(once, code=code) == once
    assert once.endswith("\n") and "\n\n\n\n" not in once and "\r" not in once
    assert all(line == line.rstrip(" \t") for line in once.split("\n"))
    assert not [c for c in once if unicodedata.category(c) == "Cc" and c not in "\t\n" and c < "\x80"]


@given(TEXT)
def test_normalising_takes_no_visible_character_from_code(text: str) -> None:
    visible = [c for c in text if unicodedata.category(c) not in ("Cc", "Zs", "Cf")]
    assert [c for c in normalise(text, code=True) if unicodedata.category(c) not in ("Cc", "Zs", "Cf")] == visible


def test_short_texts_and_duplicates_are_dropped_with_a_reason(tmp_path: Path) -> None:
    long = "x = 1  # a text of some length\n" * 2
    documents = [
        document("a.py", long), document("b.py", long.replace("\n", "\r\n")), document("c.py", "x\n"),
        document("d.md", long, "docs"), document("e.py"), pair("p", "Question " * 5, "Answer"),
        pair("q", "Question " * 5 + " ", "Answer\n"), pair("r", "Question " * 5, "Another"),
    ]  # fmt: skip
    run = cleaned(tmp_path, documents)
    train, val = sides(run)
    assert {found.path for found in train + val} == {"a.py", "e.py", "p", "r"}
    assert [(line["path"], line["reason"]) for line in run.lines("dropped.jsonl")] == [
        ("b.py", "duplicate"), ("c.py", "too short"), ("d.md", "duplicate"), ("q", "duplicate"),
    ]  # fmt: skip
    assert run.lines("dropped.jsonl")[0]["of"] == documents[0].id
    assert run.metrics["dropped"] == {"duplicate": 3, "too short": 1}


def test_the_cleaned_text_of_a_conversation_is_that_of_its_messages(tmp_path: Path) -> None:
    given = pair("p", "  How?\r\n  ", "```python\nif x:\n\ty()  \n```\n\n")
    run = cleaned(tmp_path, [given, *(document(f"{i}.py") for i in range(4))], min_chars=1)
    (found,) = [found for side in sides(run) for found in side if found.path == "p"]
    assert [message["content"] for message in found.messages] == ["  How?", "```python\nif x:\n\ty()\n```"]
    assert found.text == "  How?\n```python\nif x:\n\ty()\n```"
    assert [message["role"] for message in found.messages] == ["user", "assistant"]


def test_too_few_documents_is_an_error_with_a_way_out(tmp_path: Path) -> None:
    for documents in ([], [document("a.py")], [document("a.py"), document("a.py")]):
        with pytest.raises(StageError, match="at least 2 are needed") as caught:
            cleaned(tmp_path, documents)
        assert caught.value.hint and "min_chars" in caught.value.hint


KINDS: tuple[Kind, ...] = ("code", "docs", "pair")
DOCUMENTS = st.lists(st.tuples(st.sampled_from(KINDS), st.integers(1, 400)), min_size=2, max_size=40).map(
    lambda given: [document(str(i), "x" * size, kind) for i, (kind, size) in enumerate(given)]
)


@given(DOCUMENTS, st.floats(0.01, 0.49), st.integers(0, 2**32 - 1))
def test_a_split_is_a_partition_with_something_on_both_sides(
    documents: list[Document], fraction: float, seed: int
) -> None:
    train, val = split(documents, fraction, seed)
    assert train and val
    places = {found.id: index for index, found in enumerate(documents)}
    for side in (train, val):
        assert [places[found.id] for found in side] == sorted(places[found.id] for found in side)
    assert sorted(places[found.id] for found in train + val) == list(range(len(documents)))


@given(DOCUMENTS, st.floats(0.01, 0.49), st.integers(0, 2**32 - 1))
def test_training_keeps_every_kind_and_most_of_it(documents: list[Document], fraction: float, seed: int) -> None:
    assume(any(sum(d.kind == kind for d in documents) > 1 for kind in ("code", "docs", "pair")))
    train, val = split(documents, fraction, seed)
    for kind in {found.kind for found in documents}:
        whole = sum(len(found.text) for found in documents if found.kind == kind)
        held = sum(len(found.text) for found in val if found.kind == kind)
        assert any(found.kind == kind for found in train)
        texts = [found.kind for found in val if found.kind != "pair"]
        assert held <= 3 * fraction * whole or texts == [kind] or len(val) == 1


@pytest.mark.parametrize("books", [2, 3, 8])
def test_books_beside_many_conversations_still_leave_a_text_for_validation(books: int) -> None:
    documents = [document(f"book{number}", "x" * (1000 + number), "docs") for number in range(books)]
    documents += [document(f"pair{number}", "y" * 50, "pair") for number in range(100)]
    _, val = split(documents, 0.05, 1)
    assert [found.path for found in val if found.kind == "docs"] == ["book0"]


@given(DOCUMENTS, st.floats(0.01, 0.49), st.integers(0, 2**32 - 1), st.randoms(use_true_random=False))
def test_the_split_does_not_depend_on_the_order(
    documents: list[Document], fraction: float, seed: int, shuffle: random.Random
) -> None:
    mixed = list(documents)
    shuffle.shuffle(mixed)
    first, second = split(documents, fraction, seed), split(mixed, fraction, seed)
    assert [{found.id for found in side} for side in first] == [{found.id for found in side} for side in second]


def test_the_share_is_that_of_the_characters_of_each_kind() -> None:
    rng = random.Random(0)
    documents = [document(f"{kind}{i}", "x" * rng.randint(50, 150), kind) for kind in KINDS for i in range(400)]
    _, val = split(documents, 0.05, 7)
    for kind in KINDS:
        sizes = [sum(len(d.text) for d in side if d.kind == kind) for side in (documents, val)]
        assert 0.05 <= sizes[1] / sizes[0] <= 0.055


def test_another_seed_chooses_others_and_a_new_document_moves_few() -> None:
    documents = [document(str(i), "x" * 100) for i in range(200)]
    chosen = {found.id for found in split(documents, 0.1, 1)[1]}
    assert {found.id for found in split(documents, 0.1, 2)[1]} != chosen
    more = {found.id for found in split([*documents, document("new", "x" * 100)], 0.1, 1)[1]}
    assert len(more ^ chosen) <= 2


def test_a_document_of_many_times_the_share_is_not_held_back() -> None:
    documents = [document("big", "x" * 10_000), *(document(str(i), "x" * 100) for i in range(100))]
    for seed in range(20):
        assert all(found.path != "big" for found in split(documents, 0.05, seed)[1])


def test_the_stage_is_deterministic_and_follows_the_seed(tmp_path: Path) -> None:
    documents = [document(f"{i}.py") for i in range(60)]
    runs = [cleaned(tmp_path / str(i), documents, seed=seed) for i, seed in enumerate((1, 1, 2))]
    trees = [
        {path.relative_to(run.out): hashlib.sha256(path.read_bytes()).hexdigest() for path in run.out.rglob("*.jsonl")}
        for run in runs
    ]
    assert trees[0] == trees[1] != trees[2]
    train, val = sides(runs[0])
    assert runs[0].metrics["train"] == {"code": len(train)} and runs[0].metrics["val"] == {"code": len(val)}
    assert len(train) + len(val) == 60
