"""The journal of the shards: whatever is cut off or damaged, what is whole stays, and the rest is written again."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.corpus.journal import JOURNAL, Journal

BATCHES = [[json.dumps({"id": f"{number}-{line}", "text": "ä" * number}) for line in range(number % 4)]
           for number in range(40)]  # fmt: skip


def write(folder: Path, batches: list[list[str]]) -> None:
    """Write the batches that are not there yet, the way a stage does."""
    folder.mkdir(exist_ok=True)
    with Journal(folder, shard_bytes=300) as journal:
        done = list(journal.notes())
        assert done == list(range(len(done)))
        for number in range(len(done), len(batches)):
            journal.append(batches[number], number)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("whole")
    write(folder, BATCHES)
    return contents(folder)


def test_shards_hold_all_lines_in_order_and_are_cut_by_bytes(whole: dict[str, bytes]) -> None:
    names = sorted(name for name in whole if name != JOURNAL)
    assert names == [f"documents-{number:05d}.jsonl" for number in range(len(names))] and len(names) > 5
    lines = b"".join(whole[name] for name in names).decode().splitlines()
    assert lines == [line for batch in BATCHES for line in batch]
    assert all(300 <= len(whole[name]) < 600 for name in names[:-1])


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_any_cut_or_damage_is_mended_by_going_on(
    data: st.DataObject, whole: dict[str, bytes], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("cut")
    write(folder, BATCHES[: data.draw(st.integers(0, len(BATCHES)))])
    path = folder / data.draw(st.sampled_from(sorted(contents(folder))))
    there = bytearray(path.read_bytes())
    place = data.draw(st.integers(0, len(there)))
    match data.draw(st.sampled_from(["cut", "change", "add", "delete"])):
        case "cut":
            path.write_bytes(there[:place])
        case "change" if place < len(there):
            there[place] ^= 1
            path.write_bytes(there)
        case "add":
            path.write_bytes(there + b"\0" * 100)
        case "delete":
            path.unlink()
    write(folder, BATCHES)
    assert contents(folder) == whole


def test_nothing_of_a_whole_journal_is_written_again(tmp_path: Path) -> None:
    write(tmp_path, BATCHES)
    before = contents(tmp_path)
    with Journal(tmp_path, shard_bytes=300) as journal:
        assert list(journal.notes()) == list(range(len(BATCHES)))
    assert contents(tmp_path) == before


def test_shards_without_a_journal_are_begun_again(whole: dict[str, bytes], tmp_path: Path) -> None:
    (tmp_path / "documents-00000.jsonl").write_text("of something else\n")
    (tmp_path / "documents-00099.jsonl").write_text("of something else\n")
    write(tmp_path, BATCHES)
    assert contents(tmp_path) == whole
