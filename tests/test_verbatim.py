"""Overlap with the training text against a search through all windows of all documents."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.evaluation import verbatim
from stages.evaluation.verbatim import Training

Documents = Sequence[Sequence[int]]


def write(folder: Path, texts: Documents, pairs: Documents = (), dtype: str = "uint16") -> Training:
    for name, documents in (("train", texts), ("train_pairs", pairs)):
        ids = [token for document in documents for token in document]
        np.array(ids, dtype=np.dtype(dtype)).tofile(folder / f"{name}.bin")
        starts = np.cumsum([0, *map(len, documents)])[:-1] if documents else np.zeros(0)
        starts.astype("<i8").tofile(folder / f"{name}.idx")
    (folder / "meta.json").write_text(json.dumps({"dtype": dtype}))
    return Training(folder)


def stands_in(piece: Sequence[int], documents: Documents) -> bool:
    piece = list(piece)
    return any(
        list(document[at : at + len(piece)]) == piece
        for document in documents
        for at in range(len(document) - len(piece) + 1)
    )


def longest_by_search(answer: Sequence[int], documents: Documents) -> int:
    lengths = range(len(answer), 0, -1)
    pieces = ((length, answer[at : at + length]) for length in lengths for at in range(len(answer) - length + 1))
    return next((length for length, piece in pieces if stands_in(piece, documents)), 0)


def check(folder: Path, texts: Documents, pairs: Documents, answers: Documents) -> None:
    documents = {"train.bin": texts, "train_pairs.bin": pairs}
    for answer, found in zip(answers, write(folder, texts, pairs).overlaps(answers), strict=True):
        assert found.longest == longest_by_search(answer, [*texts, *pairs])
        windows = [answer[at : at + verbatim.WINDOW] for at in range(len(answer) - verbatim.WINDOW + 1)]
        assert found.windows == len(windows)
        assert found.seen == sum(stands_in(window, [*texts, *pairs]) for window in windows)
        if found.longest:
            flat = [token for document in documents[found.file] for token in document]
            there = flat[found.position : found.position + found.longest]
            assert there == list(answer[found.start : found.start + found.longest])


TOKENS = st.integers(0, 3)
TEXTS = st.lists(st.lists(TOKENS, min_size=1, max_size=40), max_size=5)


@settings(max_examples=150, deadline=None)
@given(TEXTS, TEXTS, st.lists(st.lists(TOKENS, max_size=30), max_size=5), st.sampled_from([1, 5, 1000]), st.data())
def test_longest_match_and_windows_are_those_of_a_search(
    texts: Documents, pairs: Documents, answers: list[list[int]], chunk: int, data: st.DataObject
) -> None:
    """In chunks of a few tokens, with short windows, and with a hash that most texts of a length share."""
    whole = [list(document) for document in [*texts, *pairs]]
    answers = [*answers, *(data.draw(st.lists(TOKENS, max_size=3)) + document for document in whole[:2])]
    with pytest.MonkeyPatch.context() as patch, TemporaryDirectory() as folder:
        patch.setattr(verbatim, "CHUNK", chunk)
        patch.setattr(verbatim, "WINDOW", data.draw(st.integers(1, 8)))
        patch.setattr(verbatim, "SHORT", data.draw(st.sampled_from([1, 4, 16])))
        patch.setattr(verbatim, "BASE", data.draw(st.sampled_from([1, 3, verbatim.BASE])))
        check(Path(folder), texts, pairs, answers)


def test_a_long_copied_passage_is_found_with_its_place(tmp_path: Path) -> None:
    random = np.random.default_rng(7)
    texts = [random.integers(0, 9000, size).tolist() for size in (3000, 5, 4000, 700)]
    passage = texts[2][1234:1434]
    answer = [1, 2, 3, *passage, 4, 5, *texts[3][:49]]
    found = write(tmp_path, texts).overlap(answer)
    assert (found.longest, found.start, found.file, found.position) == (200, 3, "train.bin", 3000 + 5 + 1234)
    assert (found.windows, found.seen) == (len(answer) - 49, 151)


def test_no_match_goes_from_one_document_into_the_next(tmp_path: Path) -> None:
    found = write(tmp_path, [[*range(60)], [*range(60, 120)]]).overlap([*range(20, 100)])
    assert (found.longest, found.windows, found.seen) == (40, 31, 0)


def test_a_short_answer_has_no_windows_but_a_longest_match(tmp_path: Path) -> None:
    found = write(tmp_path, [[5, 6, 7, 8]], [[6, 7, 9]], dtype="uint32").overlap([70_000, 6, 7, 9, 1])
    assert (found.longest, found.start, found.file, found.position) == (3, 1, "train_pairs.bin", 0)
    assert (found.windows, found.seen) == (0, 0)


def test_nothing_overlaps_with_nothing(tmp_path: Path) -> None:
    assert write(tmp_path, []).overlaps([]) == []
    for answer in ([], [1, 2]):
        found = write(tmp_path, [[3, 4]]).overlap(answer)
        assert (found.longest, found.start, found.file, found.position, found.windows) == (0, -1, "", -1, 0)
