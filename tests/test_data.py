"""Batches: every token once per epoch, rows a function of their numbers, and only what is to be learnt counts."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import StageError
from stages.training.data import UNCOUNTED, Batch, PairBatches, TextBatches, read_meta

BOS, EOS, PAD = 1, 2, 3
Pair = tuple[Sequence[int], Sequence[int]]


def write_tokens(
    folder: Path,
    train: Sequence[int],
    val: Sequence[int],
    *,
    context_length: int,
    vocab_size: int = 1000,
    dtype: str = "uint16",
    pairs: Sequence[Pair] = (),
    val_pairs: Sequence[Pair] = (),
) -> Path:
    """The files of the `tokenize` stage, as DESIGN.md's contract tells them, without that stage."""
    folder.mkdir(parents=True, exist_ok=True)
    for side, tokens, conversations in (("train", train, pairs), ("val", val, val_pairs)):
        np.array(tokens, dtype=dtype).tofile(folder / f"{side}.bin")
        begins = [0, *(place + 1 for place, token in enumerate(tokens[:-1]) if token == EOS)]
        np.array(begins, dtype="<i8").tofile(folder / f"{side}.idx")
        joined = [token for ids, _ in conversations for token in ids]
        starts = np.cumsum([0, *(len(ids) for ids, _ in conversations)])[:-1]
        np.array(joined, dtype=dtype).tofile(folder / f"{side}_pairs.bin")
        np.array([m for _, mask in conversations for m in mask], dtype=np.uint8).tofile(folder / f"{side}_pairs.mask")
        starts.astype("<i8").tofile(folder / f"{side}_pairs.idx")
    meta = {
        "vocab_size": vocab_size, "context_length": context_length, "dtype": dtype,
        "bos_id": BOS, "eos_id": EOS, "pad_id": PAD, "system": "",
        "sides": {"train": {"tokens": len(train)}, "val": {"tokens": len(val), "bytes": 3 * len(val)}},
    }  # fmt: skip
    (folder / "meta.json").write_text(json.dumps(meta), encoding="utf-8")
    return folder


def numbered(count: int) -> list[int]:
    """Tokens that tell where they stand: none is special, no two are equal."""
    return list(range(10, 10 + count))


def documents(*lengths: int) -> list[int]:
    """Texts of so many tokens each, none of them twice, with the `<eos>` after each."""
    tokens = iter(range(10, 10 + sum(lengths)))
    return [token for length in lengths for token in (*(next(tokens) for _ in range(length)), EOS)]


def texts(folder: Path, *, seed: int = 5, validation_tokens: int = 10**6, packing: Any = "stream") -> TextBatches:
    return TextBatches(folder, seed=seed, validation_tokens=validation_tokens, packing=packing)


def same(one: Batch, other: Batch) -> bool:
    numbers = (one.documents is None and other.documents is None) or (
        one.documents is not None and other.documents is not None and torch.equal(one.documents, other.documents)
    )
    return torch.equal(one.inputs, other.inputs) and torch.equal(one.targets, other.targets) and numbers


@settings(max_examples=60, deadline=None)
@given(st.integers(4, 12), st.integers(1, 150), st.integers(0, 2**40))
def test_the_windows_of_an_epoch_are_distinct_whole_and_in_another_order_each_time(
    tmp_path_factory: pytest.TempPathFactory, length: int, extra: int, seed: int
) -> None:
    tokens = numbered(length + extra)
    folder = write_tokens(tmp_path_factory.mktemp("tokens"), tokens, tokens, context_length=length)
    batches = texts(folder, seed=seed)
    windows = max(extra // length, 1)
    assert batches.epochs(windows) == 1
    epochs = []
    for epoch in range(3):
        batch = batches.rows(epoch * windows, windows)
        starts = [int(token) - 10 for token in batch.inputs[:, 0]]
        assert batch.inputs.tolist() == [tokens[start : start + length] for start in starts]
        assert batch.targets.tolist() == [tokens[start + 1 : start + length + 1] for start in starts]
        assert all(b - a == length for a, b in zip(sorted(starts), sorted(starts)[1:], strict=False))
        assert len(tokens) - 1 - windows * length < 2 * length  # at most that much is left out, at the ends
        epochs.append(starts)
    if windows > 8:
        assert epochs[0] != epochs[1] != epochs[2] != epochs[0]


def test_over_the_epochs_every_token_is_learnt(tmp_path: Path) -> None:
    folder = write_tokens(tmp_path, numbered(57), numbered(57), context_length=8)
    assert set(texts(folder).rows(0, 400).targets.flatten().tolist()) == set(numbered(57)[1:])


PACKINGS = ["stream", "documents", "single"]


@pytest.mark.parametrize("packing", PACKINGS)
def test_rows_are_functions_of_their_numbers_and_the_seed(tmp_path: Path, packing: str) -> None:
    """So a step may be cut into micro-batches and processes in any way, and a run goes on from any step."""
    tokens = documents(3, 30, 1, 8, 7, 12, 40, 2, 5, 5, 9, 3, 21)
    folder = write_tokens(tmp_path, tokens, documents(4, 5), context_length=8)
    whole = texts(folder, packing=packing).rows(0, 90)
    again = texts(folder, packing=packing)
    for _ in range(40):
        first = random.Random(_).randrange(90)
        count = random.Random(-_).randint(1, 90 - first)
        part = again.rows(first, count)
        assert torch.equal(part.inputs, whole.inputs[first : first + count])
        assert torch.equal(part.targets, whole.targets[first : first + count])
        if whole.documents is not None:
            assert part.documents is not None
            assert torch.equal(part.documents, whole.documents[first : first + count])
    assert not same(texts(folder, packing=packing, seed=6).rows(0, 90), whole)


def test_epochs_count_passes_over_the_rows(tmp_path: Path) -> None:
    folder = write_tokens(tmp_path, [*numbered(8 * 11 + 2), EOS], documents(20), context_length=8)
    assert texts(folder).epochs(40) == 4.0  # ten windows
    assert texts(folder, packing="documents").epochs(24) == 2.0  # eleven rows are full, one has the rest
    assert texts(folder, packing="single").epochs(3) == 3.0


def test_the_end_of_a_document_is_a_target_and_as_input_the_start_of_the_next(tmp_path: Path) -> None:
    tokens = [20, 21, 22, EOS, 30, 31, EOS, EOS, 40, 41, 42]
    folder = write_tokens(tmp_path, tokens, tokens, context_length=10)
    for batch in (texts(folder).rows(0, 1), texts(folder).validation(2)[0]):
        assert batch.targets.tolist() == [[21, 22, EOS, 30, 31, EOS, EOS, 40, 41, 42]]
        assert batch.inputs.tolist() == [[20, 21, 22, BOS, 30, 31, BOS, BOS, 40, 41]]
        assert batch.inputs.dtype == batch.targets.dtype == torch.int64
        assert batch.documents is None and batch.counted == 10
    assert np.fromfile(folder / "train.bin", "<u2").tolist() == tokens


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 25), min_size=2, max_size=25), st.integers(4, 12), st.integers(0, 2**40))
def test_packed_documents_come_whole_or_in_as_few_pieces_as_can_be_and_every_token_once(
    tmp_path_factory: pytest.TempPathFactory, lengths: list[int], width: int, seed: int
) -> None:
    tokens = documents(*lengths)
    folder = write_tokens(tmp_path_factory.mktemp("tokens"), tokens, tokens, context_length=width)
    batches = texts(folder, seed=seed, packing="documents")
    before = {token: BOS if place == 0 or tokens[place - 1] == EOS else tokens[place - 1]
              for place, token in enumerate(tokens) if token != EOS}  # fmt: skip
    rows = round(1 / batches.epochs(1))
    for epoch in range(2):
        batch = batches.rows(epoch * rows, rows)
        assert batch.documents is not None and batch.counted == len(tokens)
        learnt, pieces = [], 0
        for inputs, targets, numbers in zip(batch.inputs, batch.targets, batch.documents, strict=True):
            assert numbers[0] == 0 and set(numbers.diff().tolist()) <= {0, 1}
            counted = targets != UNCOUNTED
            assert (inputs[~counted] == PAD).all() and counted.tolist() == sorted(counted.tolist(), reverse=True)
            for number in numbers[counted].unique():
                piece, read = targets[numbers == number].tolist(), inputs[numbers == number].tolist()
                pieces += 1
                assert UNCOUNTED not in piece and EOS not in piece[:-1]
                assert read == [*read[:1], *piece[:-1]]
                if piece == [EOS]:  # an empty document, or what was left of one
                    assert read[0] == BOS or tokens[tokens.index(read[0]) + 1] == EOS
                else:
                    assert read[0] == before[piece[0]]
                learnt += piece
        assert sorted(learnt) == sorted(tokens)
        assert pieces == sum(math.ceil((length + 1) / width) for length in lengths)


def test_rows_of_documents_start_with_bos_and_only_later_pieces_with_the_token_before_them(tmp_path: Path) -> None:
    folder = write_tokens(tmp_path, documents(10), documents(1), context_length=8)
    cuts = set()
    for epoch in range(20):
        batch = texts(folder, packing="documents").rows(2 * epoch, 2)
        rows = sorted(zip(batch.inputs.tolist(), batch.targets.tolist(), strict=True), key=lambda row: row[0][0])
        (head, learnt), (tail, rest) = rows
        size = 8 - learnt.count(UNCOUNTED)
        assert learnt[:size] == numbered(10)[:size] and head[:size] == [BOS, *numbered(10)][:size]
        left = [*numbered(10), EOS][size:]
        assert rest[: len(left)] == left and tail[: len(left)] == [learnt[size - 1], *left[:-1]]
        cuts.add(size)
    assert cuts == {3, 8}


def test_a_document_a_row_is_padded_and_cut_at_the_width(tmp_path: Path) -> None:
    """As microgpt does: `<bos>` and the letters in, the letters and the end out, at most so many as the context."""
    tokens = documents(3, 8, 0, 7)
    folder = write_tokens(tmp_path, tokens, tokens, context_length=8)
    for batch in (texts(folder, packing="single").rows(4, 4), *texts(folder, packing="single").validation(4)):
        n, p = UNCOUNTED, PAD
        assert sorted(zip(batch.inputs.tolist(), batch.targets.tolist(), strict=True)) == [
            ([BOS, p, p, p, p, p, p, p], [EOS, n, n, n, n, n, n, n]),
            ([BOS, 10, 11, 12, p, p, p, p], [10, 11, 12, EOS, n, n, n, n]),
            ([BOS, 13, 14, 15, 16, 17, 18, 19], [13, 14, 15, 16, 17, 18, 19, 20]),
            ([BOS, 21, 22, 23, 24, 25, 26, 27], [21, 22, 23, 24, 25, 26, 27, EOS]),
        ]
        assert batch.documents is None and batch.counted == 4 + 8 + 1 + 8


@pytest.mark.parametrize(("limit", "windows"), [(10**6, 12), (48, 6), (50, 6), (47, 5), (8, 1), (5, 1)])
def test_validation_reads_the_first_tokens_in_order_and_never_past_the_limit(
    tmp_path: Path, limit: int, windows: int
) -> None:
    folder = write_tokens(tmp_path, numbered(50), numbered(100), context_length=8)
    batches = texts(folder, validation_tokens=limit)
    found = batches.validation(5)
    assert sum(len(batch.inputs) for batch in found) == windows
    assert all(len(batch.inputs) <= 5 for batch in found)
    inputs = torch.cat([batch.inputs.flatten() for batch in found]).tolist()
    targets = torch.cat([batch.targets.flatten() for batch in found]).tolist()
    assert inputs == numbered(100)[: len(inputs)] and targets == numbered(101)[1 : len(inputs) + 1]
    assert len(targets) <= limit
    assert all(same(a, b) for a, b in zip(found, batches.validation(5), strict=True))


@pytest.mark.parametrize("packing", ["documents", "single"])
def test_validation_by_documents_takes_whole_ones_up_to_the_limit_but_at_least_one(
    tmp_path: Path, packing: str
) -> None:
    folder = write_tokens(tmp_path, documents(5), documents(4, 6, 2), context_length=8)
    for limit, counted in ((1, 5), (11, 5), (12, 12), (14, 12), (15, 15)):
        found = texts(folder, packing=packing, validation_tokens=limit).validation(1)
        assert sum(batch.counted for batch in found) == counted
        assert all(batch.inputs.shape == (1, 8) for batch in found)


def test_the_unigram_loss_is_that_of_frequencies_with_one_added_to_each(tmp_path: Path) -> None:
    """Counts 3, 1, 0 over a vocabulary of 3 give chances 4/7, 2/7, 1/7; the first validation token is only read."""
    folder = write_tokens(tmp_path, [0, 0, 1, 0], [2, 0, 1, 2, 2, 2], context_length=2, vocab_size=3)
    expected = -(math.log(4 / 7) + math.log(2 / 7) + math.log(1 / 7)) / 3
    assert texts(folder, validation_tokens=3).unigram_loss() == pytest.approx(expected)


def test_ids_above_65535_are_read(tmp_path: Path) -> None:
    tokens = [70_000 + index for index in range(30)]
    folder = write_tokens(tmp_path, tokens, tokens, context_length=8, vocab_size=100_000, dtype="uint32")
    assert set(texts(folder).rows(0, 2).targets.flatten().tolist()) <= set(tokens)
    assert read_meta(folder).vocab_size == 100_000


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def cut_one_token(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-2])


def widen(path: Path) -> None:
    np.fromfile(path, "<u2").astype("<u4").tofile(path)


def unordered(path: Path) -> None:
    np.fromfile(path, "<i8")[::-1].tofile(path)


@pytest.mark.parametrize(
    ("name", "damage", "told"),
    [
        ("train.bin", truncate, "train.bin has 89 bytes, which are not 45 values of uint16"),
        ("val.bin", cut_one_token, "val.bin has 20 bytes, which are not 11 values of uint16"),
        ("train.bin", widen, "train.bin has 180 bytes, which are not 45 values of uint16"),
        ("train.idx", truncate, "train.idx has 23 bytes, which are not whole values of int64"),
        ("train.idx", unordered, "train.idx does not fit train.bin: starts have to rise from 0 to below 45"),
    ],
)
def test_a_file_that_is_not_what_was_written_is_named(tmp_path: Path, name: str, damage: Any, told: str) -> None:
    folder = write_tokens(tmp_path, documents(3, 30, 9), documents(10), context_length=8)
    damage(folder / name)
    with pytest.raises(StageError, match=told):
        texts(folder, packing="documents")


def test_ids_that_the_network_does_not_have_and_texts_without_a_whole_row_are_named(tmp_path: Path) -> None:
    folder = write_tokens(tmp_path, numbered(50), numbered(50), context_length=8, vocab_size=30)
    with pytest.raises(StageError, match=r"hold id 5\d; the vocabulary has 30"):
        texts(folder).rows(0, 20)
    folder = write_tokens(tmp_path, numbered(8), numbered(50), context_length=8)
    with pytest.raises(StageError, match=r"train.bin: 8 tokens are too few for rows of 8"):
        texts(folder)


CONVERSATIONS: list[Pair] = [
    ([BOS, 10, 11, 12, 13], [0, 0, 0, 1, 1]),
    ([BOS, 20, 21], [0, 0, 1]),
    ([BOS, 30, 31, 32, 33, 34, 35], [0, 0, 1, 1, 0, 0, 1]),
]


def pair_folder(
    folder: Path, pairs: Sequence[Pair] = CONVERSATIONS, val_pairs: Sequence[Pair] = (), context_length: int = 8
) -> Path:
    tokens = numbered(100)
    return write_tokens(
        folder, tokens, tokens, context_length=context_length, vocab_size=9000, pairs=pairs, val_pairs=val_pairs
    )


def test_conversations_are_padded_and_only_what_is_marked_counts(tmp_path: Path) -> None:
    first, second = PairBatches(pair_folder(tmp_path, val_pairs=CONVERSATIONS), seed=0).validation(2)
    n, p = UNCOUNTED, PAD
    assert first.inputs.tolist() == [[BOS, 30, 31, 32, 33, 34, p, p], [BOS, 10, 11, 12, p, p, p, p]]
    assert first.targets.tolist() == [[n, 31, 32, n, n, 35, n, n], [n, n, 12, 13, n, n, n, n]]
    assert first.counted == 5
    assert second.inputs.tolist() == [[BOS, 20, p, p, p, p, p, p]]
    assert second.targets.tolist() == [[n, 21, n, n, n, n, n, n]]


@pytest.mark.parametrize(("tokens", "width"), [(3, 32), (33, 32), (34, 64), (97, 96), (98, 100), (101, 100)])
def test_widths_are_multiples_of_32_up_to_the_context(tmp_path: Path, tokens: int, width: int) -> None:
    conversation = [BOS, *numbered(tokens - 1)], [0] * (tokens - 1) + [1]
    batch = PairBatches(pair_folder(tmp_path, [conversation], context_length=100), seed=0).rows(0, 1)
    assert batch.inputs.shape == batch.targets.shape == (1, width)
    assert batch.inputs[0, : tokens - 1].tolist() == conversation[0][:-1] and batch.counted == 1


def test_a_conversation_that_does_not_fit_the_context_is_an_error(tmp_path: Path) -> None:
    folder = pair_folder(tmp_path, [([BOS, *numbered(101)], [1] * 102)], context_length=100)
    with pytest.raises(StageError, match="conversations of 102 to 102 tokens do not fit context_length 100"):
        PairBatches(folder, seed=0)
    truncate(folder / "train_pairs.mask")
    with pytest.raises(StageError, match=r"train_pairs.mask has 101 bytes"):
        PairBatches(folder, seed=0)


def row_of(batch: Batch) -> list[tuple[int, ...]]:
    """The inputs of a batch, without padding."""
    return [tuple(token for token in row if token != PAD) for row in batch.inputs.tolist()]


LENGTHY: list[Pair] = [
    ([BOS, *range(10 + length, 10 + 2 * length), 900 + length, EOS], [0] * (length + 1) + [1, 1])
    for length in range(1, 80)
]


def test_every_conversation_comes_once_per_epoch_and_rows_depend_on_their_numbers_alone(tmp_path: Path) -> None:
    folder = pair_folder(tmp_path, LENGTHY, context_length=88)
    batches = PairBatches(folder, seed=3, sequences_per_step=12)
    whole = row_of(batches.rows(0, 20 * 12))
    for steps in range(1, 21):  # 79 is no multiple of 12: a step may hold the end of an epoch and the start of the next
        seen = whole[: 12 * steps]
        passes = 12 * steps // 79
        assert all(seen.count(tuple(ids[:-1])) in (passes, passes + 1) for ids, _ in LENGTHY)
    again = PairBatches(folder, seed=3, sequences_per_step=12)
    for first, count in ((200, 30), (0, 1), (77, 5), (11, 2), (3, 60)):
        assert row_of(again.rows(first, count)) == whole[first : first + count]
    assert row_of(PairBatches(folder, seed=4, sequences_per_step=12).rows(0, 79)) != whole[:79]
    assert batches.epochs(79 * 3) == 3


def test_the_conversations_of_a_step_are_by_length_and_those_of_the_epoch_are_not(tmp_path: Path) -> None:
    folder = pair_folder(tmp_path, LENGTHY, context_length=88)
    sorted_in_steps = PairBatches(folder, seed=3, sequences_per_step=12)
    as_drawn = PairBatches(folder, seed=3, sequences_per_step=1)
    widths = []
    for step in range(6):
        rows = row_of(sorted_in_steps.rows(12 * step, 12))
        assert [len(row) for row in rows] == sorted((len(row) for row in rows), reverse=True)
        assert sorted(rows) == sorted(row for part in range(12) for row in row_of(as_drawn.rows(12 * step + part, 1)))
        widths += [sorted_in_steps.rows(12 * step + part, 4).inputs.shape[1] for part in (0, 4, 8)]
    assert sum(widths) < 0.8 * 18 * max(widths)


@pytest.mark.parametrize("pairs", [[], CONVERSATIONS[:1]], ids=["none", "only for training"])
def test_a_corpus_without_conversations_is_no_error(tmp_path: Path, pairs: list[Pair]) -> None:
    batches = PairBatches(pair_folder(tmp_path, pairs), seed=0)
    assert len(batches.train) == len(pairs)
    assert batches.validation(2) == []
