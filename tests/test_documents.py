"""Documents as JSON Lines: what is written comes back, in Python and in any other reader of JSON."""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import StageError
from stages.corpus import documents as module
from stages.corpus.documents import (
    Document,
    chunks,
    conversation_text,
    count_by_kind,
    document_id,
    from_json,
    read_chunk,
    read_documents,
    to_json,
    write_documents,
)

TEXT = st.text(st.characters(codec="utf-8"), max_size=40)
MESSAGES = st.lists(st.fixed_dictionaries({"role": TEXT, "content": TEXT}), max_size=3).map(tuple)
DOCUMENTS = st.builds(
    Document,
    id=TEXT, text=TEXT, kind=st.sampled_from(["code", "docs", "pair"]), source=TEXT, path=TEXT, license=TEXT,
    meta=st.dictionaries(TEXT, st.one_of(TEXT, st.integers(), st.none())), messages=MESSAGES,
)  # fmt: skip


def document(index: int = 0, text: str = "x = 1\n") -> Document:
    return Document(document_id("folder", f"{index}.py"), text, "code", "folder", f"{index}.py", "CC0-1.0")


@given(DOCUMENTS)
def test_a_document_survives_json_whatever_its_characters(given: Document) -> None:
    line = to_json(given)
    assert "\n" not in line and from_json(line) == given
    plain = json.loads(line)
    assert (plain["text"], plain["license"], plain["messages"]) == (given.text, given.license, [*given.messages])


def test_line_separators_of_unicode_do_not_break_a_shard(tmp_path: Path) -> None:
    texts = ["a\u2028b", "c\x85d", "e\x0bf\x0cg\x1ch", "i\rj\r\nk"]
    assert write_documents(tmp_path, (document(i, text) for i, text in enumerate(texts))) == 4
    assert [found.text for found in read_documents(tmp_path)] == texts
    with (tmp_path / "documents-00000.jsonl").open(encoding="utf-8", newline="\n") as file:
        assert [json.loads(line)["text"] for line in file] == texts


def test_shards_keep_the_order_and_stay_small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SHARD_BYTES", 1000)
    given = [document(index, f"x = {index}\n" * 20) for index in range(40)]
    write_documents(tmp_path, given)
    shards = sorted(tmp_path.glob("*"))
    assert [path.name for path in shards[:2]] == ["documents-00000.jsonl", "documents-00001.jsonl"]
    assert len(shards) >= 10 and all(path.stat().st_size < 2000 for path in shards)
    assert list(read_documents(tmp_path)) == given


def test_a_shard_is_full_by_its_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SHARD_BYTES", 4_000)
    write_documents(tmp_path, [document(index, "\u4e2d" * 1_000) for index in range(8)])
    assert [path.stat().st_size > 4_000 for path in sorted(tmp_path.glob("*"))] == [True] * 4  # of 3 bytes each


@given(st.lists(DOCUMENTS, max_size=12), st.integers(1, 600), st.sampled_from([300, 10_000]))
def test_chunks_are_whole_lines_and_make_up_the_shards(given: list[Document], size: int, shard: int) -> None:
    with tempfile.TemporaryDirectory() as name, pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "SHARD_BYTES", shard)
        folder = Path(name)
        write_documents(folder, given)
        found = list(chunks(folder, size))
        pairs = [pair for chunk in found for pair in read_chunk(chunk)]
        data = b"".join(chunk.path.read_bytes()[chunk.start : chunk.stop] for chunk in found)
        assert data == b"".join(path.read_bytes() for path in sorted(folder.iterdir()))
    assert [read for read, _ in pairs] == given
    assert b"".join(line + b"\n" for _, line in pairs) == data
    assert all(chunk.size >= size for chunk, after in pairwise(found) if chunk.path == after.path)


def test_no_document_is_an_empty_shard(tmp_path: Path) -> None:
    assert write_documents(tmp_path / "new", []) == 0
    assert list(read_documents(tmp_path / "new")) == []
    assert (tmp_path / "new" / "documents-00000.jsonl").read_bytes() == b""


@pytest.mark.parametrize("line", ["not json", "[]", "3", "{}", '{"id": "a", "colour": "red"}', "null"])
def test_a_line_that_is_no_document_is_named(tmp_path: Path, line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CHUNK_BYTES", 50)
    (tmp_path / "documents-00000.jsonl").write_text(f"{to_json(document())}\n{line}\n")
    with pytest.raises(StageError, match=r"documents-00000\.jsonl:2: not a document"):
        list(read_documents(tmp_path))


def test_documents_are_written_as_they_come(tmp_path: Path) -> None:
    """The generator may read what it has written already, so nothing is held until the end."""
    sizes = []

    def documents() -> Iterator[Document]:
        for index in range(3):
            yield document(index, "y" * 10_000)
            sizes.append((tmp_path / "documents-00000.jsonl").stat().st_size)

    write_documents(tmp_path, documents())
    assert sizes[-1] > 10_000


def test_an_id_names_the_place_of_a_document() -> None:
    assert document_id("a", "b") == hashlib.sha256(b"a\0b\x000").hexdigest()[:16]
    places = [("a", "b", 0), ("a", "b", 1), ("a", "c", 0), ("ab", "", 0), ("", "ab", 0), ("a\0b", "", 0)]
    ids = [document_id(*place) for place in places]
    assert len(set(ids)) == 6 and ids == [document_id(*place) for place in places]


def test_counts_and_conversations() -> None:
    assert count_by_kind([]) == {}
    assert count_by_kind([document(1), document(2)]) == {"code": 2}
    assert conversation_text([{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]) == "a\nb"
