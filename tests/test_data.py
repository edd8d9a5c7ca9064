"""Batches: each window once per epoch, each batch a function of its number, and masks that count the answers alone."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.training.data import Batch, PairBatches, TextBatches, read_meta

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


def texts(folder: Path, *, batch_size: int = 2, seed: int = 5, validation_tokens: int = 10**6) -> TextBatches:
    return TextBatches(folder, batch_size=batch_size, seed=seed, validation_tokens=validation_tokens)


def same(one: Batch, other: Batch) -> bool:
    masks = (one.mask is None and other.mask is None) or (
        one.mask is not None and other.mask is not None and torch.equal(one.mask, other.mask)
    )
    return torch.equal(one.inputs, other.inputs) and torch.equal(one.targets, other.targets) and masks


@settings(max_examples=60, deadline=None)
@given(st.integers(4, 12), st.integers(1, 150), st.integers(0, 2**40))
def test_the_windows_of_an_epoch_are_distinct_whole_and_in_another_order_each_time(
    tmp_path_factory: pytest.TempPathFactory, length: int, extra: int, seed: int
) -> None:
    tokens = numbered(length + extra)
    folder = write_tokens(tmp_path_factory.mktemp("tokens"), tokens, tokens, context_length=length)
    batches = texts(folder, batch_size=1, seed=seed)
    epochs = []
    for epoch in range(3):
        rows = [batches.batch(epoch * batches.windows + index) for index in range(batches.windows)]
        starts = [int(row.inputs[0, 0]) - 10 for row in rows]
        for row, start in zip(rows, starts, strict=True):
            assert row.inputs.tolist() == [tokens[start : start + length]]
            assert row.targets.tolist() == [tokens[start + 1 : start + length + 1]]
        assert all(b - a == length for a, b in zip(sorted(starts), sorted(starts)[1:], strict=False))
        assert len(tokens) - 1 - len(starts) * length < 2 * length  # at most that much is left out, at the ends
        epochs.append(starts)
    if batches.windows > 8:
        assert epochs[0] != epochs[1] != epochs[2] != epochs[0]


def test_over_the_epochs_every_token_is_learnt(tmp_path: Path) -> None:
    folder = write_tokens(tmp_path, numbered(57), numbered(57), context_length=8)
    batches = texts(folder, batch_size=1)
    seen = {int(token) for number in range(400) for token in batches.batch(number).targets.flatten()}
    assert seen == set(numbered(57)[1:])


def test_a_batch_is_a_function_of_its_number_and_the_seed(tmp_path: Path) -> None:
    folder = write_tokens(tmp_path, numbered(200), numbered(50), context_length=8)
    in_order = [texts(folder, batch_size=5).batch(number) for number in range(40)]
    one = texts(folder, batch_size=5)
    for number in random.Random(0).sample(range(40), 40):
        assert same(one.batch(number), in_order[number])
    assert not all(same(texts(folder, batch_size=5, seed=6).batch(n), in_order[n]) for n in range(4))


def test_batches_of_any_size_read_the_same_windows_in_the_same_order(tmp_path: Path) -> None:
    """So gradient accumulation sees what one large batch would."""
    folder = write_tokens(tmp_path, numbered(300), numbered(50), context_length=8)
    small, large = texts(folder, batch_size=3), texts(folder, batch_size=12)
    for number in range(12):
        rows = torch.cat([small.batch(4 * number + part).inputs for part in range(4)])
        assert torch.equal(rows, large.batch(number).inputs)


def test_epochs_count_passes_over_the_windows(tmp_path: Path) -> None:
    folder = write_tokens(tmp_path, numbered(8 * 11 + 3), numbered(50), context_length=8)
    batches = texts(folder, batch_size=5)
    assert batches.windows == 10
    assert batches.epochs(8) == 4.0


def test_the_end_of_a_document_is_a_target_and_as_input_the_start_of_the_next(tmp_path: Path) -> None:
    tokens = [20, 21, 22, EOS, 30, 31, EOS, EOS, 40, 41, 42]
    folder = write_tokens(tmp_path, tokens, tokens, context_length=10)
    for batch in (texts(folder, batch_size=1).batch(0), texts(folder).validation()[0]):
        assert batch.targets.tolist() == [[21, 22, EOS, 30, 31, EOS, EOS, 40, 41, 42]]
        assert batch.inputs.tolist() == [[20, 21, 22, BOS, 30, 31, BOS, BOS, 40, 41]]
        assert batch.inputs.dtype == batch.targets.dtype == torch.int64
        assert batch.mask is None and batch.counted == 10
    assert np.fromfile(folder / "train.bin", "<u2").tolist() == tokens


@pytest.mark.parametrize(("limit", "windows"), [(10**6, 12), (48, 6), (50, 6), (47, 5), (8, 1), (5, 1)])
def test_validation_reads_the_first_tokens_in_order_and_never_past_the_limit(
    tmp_path: Path, limit: int, windows: int
) -> None:
    folder = write_tokens(tmp_path, numbered(50), numbered(100), context_length=8)
    batches = texts(folder, batch_size=5, validation_tokens=limit)
    found = batches.validation()
    assert sum(len(batch.inputs) for batch in found) == windows
    assert all(len(batch.inputs) <= 5 for batch in found)
    inputs = torch.cat([batch.inputs.flatten() for batch in found]).tolist()
    targets = torch.cat([batch.targets.flatten() for batch in found]).tolist()
    assert inputs == numbered(100)[: len(inputs)] and targets == numbered(101)[1 : len(inputs) + 1]
    assert len(targets) <= limit
    assert all(same(a, b) for a, b in zip(found, batches.validation(), strict=True))


def test_the_unigram_loss_is_that_of_frequencies_with_one_added_to_each(tmp_path: Path) -> None:
    """Counts 3, 1, 0 over a vocabulary of 3 give chances 4/7, 2/7, 1/7; the first validation token is only read."""
    folder = write_tokens(tmp_path, [0, 0, 1, 0], [2, 0, 1, 2, 2, 2], context_length=2, vocab_size=3)
    expected = -(math.log(4 / 7) + math.log(2 / 7) + math.log(1 / 7)) / 3
    assert texts(folder, validation_tokens=3).unigram_loss() == pytest.approx(expected)


def test_ids_above_65535_are_read(tmp_path: Path) -> None:
    tokens = [70_000 + index for index in range(30)]
    folder = write_tokens(tmp_path, tokens, tokens, context_length=8, vocab_size=100_000, dtype="uint32")
    assert set(texts(folder).batch(0).targets.flatten().tolist()) <= set(tokens)
    assert read_meta(folder).vocab_size == 100_000


CONVERSATIONS: list[Pair] = [
    ([BOS, 10, 11, 12, 13], [0, 0, 0, 1, 1]),
    ([BOS, 20, 21], [0, 0, 1]),
    ([BOS, 30, 31, 32, 33, 34, 35], [0, 0, 1, 1, 0, 0, 1]),
]


def pair_folder(folder: Path, pairs: Sequence[Pair] = CONVERSATIONS, val_pairs: Sequence[Pair] = ()) -> Path:
    tokens = numbered(20)
    return write_tokens(folder, tokens, tokens, context_length=8, pairs=pairs, val_pairs=val_pairs)


def test_conversations_are_padded_to_the_longest_and_only_what_is_marked_counts(tmp_path: Path) -> None:
    folder = pair_folder(tmp_path, val_pairs=CONVERSATIONS)
    first, second = PairBatches(folder, batch_size=2, seed=0).validation()
    assert first.inputs.tolist() == [[BOS, 10, 11, 12], [BOS, 20, 21, PAD]]
    assert first.targets.tolist() == [[10, 11, 12, 13], [20, 21, PAD, PAD]]
    assert first.mask is not None
    assert first.mask.tolist() == [[False, False, True, True], [False, True, False, False]]
    assert first.counted == 3
    assert second.inputs.tolist() == [[BOS, 30, 31, 32, 33, 34]]
    assert second.mask is not None
    assert second.mask.tolist() == [[False, True, True, False, False, True]]


def row_of(batch: Batch) -> list[tuple[int, ...]]:
    """The conversations of a batch, without padding."""
    rows = torch.cat([batch.inputs[:, :1], batch.targets], dim=1).tolist()
    return [tuple(token for token in row if token != PAD) for row in rows]


def test_every_conversation_comes_once_per_epoch_and_batches_depend_on_their_number_alone(tmp_path: Path) -> None:
    pairs = [([BOS, *range(10, 11 + length), 900 + length], [0] * (length + 2) + [1]) for length in range(1, 8)]
    folder = pair_folder(tmp_path, pairs)
    one_by_one = PairBatches(folder, batch_size=1, seed=3)
    for epoch in range(3):
        rows = [row for index in range(7) for row in row_of(one_by_one.batch(7 * epoch + index))]
        assert sorted(rows) == sorted(tuple(ids) for ids, _ in pairs)
    in_order = [PairBatches(folder, batch_size=4, seed=3).batch(number) for number in range(10)]
    assert [row for batch in in_order for row in row_of(batch)] == [row_of(one_by_one.batch(n))[0] for n in range(40)]
    again = PairBatches(folder, batch_size=4, seed=3)
    assert all(same(again.batch(number), in_order[number]) for number in reversed(range(10)))
    assert not all(same(PairBatches(folder, batch_size=4, seed=4).batch(n), in_order[n]) for n in range(10))
    assert one_by_one.epochs(21) == 3


@pytest.mark.parametrize("pairs", [[], CONVERSATIONS[:1]], ids=["none", "only for training"])
def test_a_corpus_without_conversations_is_no_error(tmp_path: Path, pairs: list[Pair]) -> None:
    batches = PairBatches(pair_folder(tmp_path, pairs), batch_size=2, seed=0)
    assert len(batches.train) == len(pairs)
    assert batches.validation() == []
