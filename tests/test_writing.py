"""Texts written together: against each text written by itself, in a memory that checks what it is told."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from stages.release.decoder import Span
from stages.release.writing import Row, Writer
from stages.tokens.sampling import Generated, Sampling, choose

SIZE, END = 11, 3


def logits_after(ids: Sequence[int]) -> np.ndarray[Any, np.dtype[np.float32]]:
    """What a made-up model says: another distribution after every sequence."""
    return np.random.default_rng(list(ids)).normal(0, 2, SIZE).astype(np.float32)


class Sequences:
    """A memory of sequences that can be looked at; `parts`: whether it can forget a part of one."""

    def __init__(self, rows: int, step_size: int, *, parts: bool = True) -> None:
        self.ids: list[list[int]] = [[-1] for _ in range(rows)]  # something was there before
        self.step_size, self.parts = step_size, parts
        self.read_tokens = 0

    def read(self, spans: Sequence[Span], *, last: bool) -> np.ndarray[Any, np.dtype[np.float32]]:
        assert last and [span.sequence for span in spans] == list(range(len(spans)))  # neighbours, from the first on
        assert sum(len(span.ids) for span in spans) <= self.step_size and all(len(span.ids) for span in spans)
        for span in spans:
            assert len(self.ids[span.sequence]) == span.start
            self.ids[span.sequence] += span.ids
            self.read_tokens += len(span.ids)
        return np.stack([logits_after(self.ids[span.sequence]) for span in spans])

    def forget(self, sequence: int, start: int = 0) -> bool:
        if start and not self.parts:
            return False
        del self.ids[sequence][start:]
        return True

    def copy(self, source: int, target: int) -> None:
        assert source != target
        self.ids[target] = [*self.ids[source]]


def alone(prompt: Sequence[int], room: int, seed: int, sampling: Sampling) -> Generated:
    random, ids = np.random.default_rng(seed), [*prompt]
    while len(ids) < len(prompt) + room:
        token = choose(logits_after(ids), sampling, ids, random)
        if token == END:
            return Generated(tuple(ids[len(prompt) :]), True)
        ids.append(token)
    return Generated(tuple(ids[len(prompt) :]), False)


PROMPTS = st.lists(st.lists(st.integers(0, 3), min_size=1, max_size=6), min_size=1, max_size=3)


@given(st.data(), PROMPTS, st.integers(1, 5), st.integers(0, 4), st.booleans(), st.sampled_from([0.0, 1.0]))
def test_texts_written_together_are_those_written_alone(
    data: st.DataObject, prompts: list[list[int]], rows: int, spare: int, parts: bool, temperature: float
) -> None:
    order = sorted(data.draw(st.lists(st.integers(0, len(prompts) - 1), max_size=14)))
    rooms = data.draw(st.lists(st.integers(1, 9), min_size=len(order), max_size=len(order)))
    sampling = Sampling(temperature, top_k=0, repeat_penalty=1.2)
    memory, heard = Sequences(rows, rows + spare, parts=parts), list[int]()
    writer = Writer(memory, rows=rows, step_size=rows + spare, sampling=sampling, ends=lambda token: token == END)
    asked = [(prompts[which], room, seed) for seed, (which, room) in enumerate(zip(order, rooms, strict=True))]
    found = writer.write([Row(seed, prompt, room, seed) for prompt, room, seed in asked], heard.append)
    assert found == {seed: alone(prompt, room, seed, sampling) for prompt, room, seed in asked}
    assert sum(heard) == len(asked) and 0 not in heard


def test_a_prompt_asked_ten_times_is_read_once() -> None:
    for parts, read in ((True, 50 + 10 * 4), (False, 10 * 54)):  # the fifth token is written, never read
        memory = Sequences(10, 16, parts=parts)
        writer = Writer(memory, rows=10, step_size=16, sampling=Sampling(1.0), ends=lambda token: False)
        writer.write([Row(seed, list(range(50)), 5, seed) for seed in range(10)], lambda count: None)
        assert memory.read_tokens == read
