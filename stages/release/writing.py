"""Many texts written at once in llama.cpp: where one ends, the next prompt takes its place."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from stages.release.decoder import Span
from stages.tokens.sampling import Generated, Sampling, choose


class Memory(Protocol):
    """What `Decoder` does for a writer."""

    def read(self, spans: Sequence[Span], *, last: bool) -> NDArray[np.float32]: ...
    def forget(self, sequence: int, start: int = 0) -> bool: ...
    def copy(self, source: int, target: int) -> None: ...


class Row:
    """A text being written."""

    def __init__(self, number: int, prompt: Sequence[int], room: int, seed: int) -> None:
        self.number = number
        self.prompt = prompt
        self.ids = list(prompt)
        self.read = 0  # how many of the ids are in the memory
        self.after_prompt: NDArray[np.float32] | None = None
        self.room = room
        self._random = np.random.default_rng(seed)

    def write(self, logits: NDArray[np.float32], sampling: Sampling, ends: Callable[[int], bool]) -> Generated | None:
        """Take the next token; the whole if that was the last."""
        if self.after_prompt is None:
            self.after_prompt = logits.copy()
        token = choose(logits, sampling, self.ids, self._random)
        ended = ends(token)
        if not ended:
            self.ids.append(token)
        written = self.ids[len(self.prompt) :]
        return Generated(tuple(written), ended) if ended or len(written) == self.room else None


class Writer:
    """Writes after prompts with `rows` sequences of a memory, reading at most `step_size` tokens at once.

    The rows in use are always the first ones: llama.cpp reads neighbours together.
    """

    def __init__(
        self, memory: Memory, *, rows: int, step_size: int, sampling: Sampling, ends: Callable[[int], bool]
    ) -> None:
        self._memory, self._rows, self._step_size = memory, rows, step_size
        self._sampling, self._ends = sampling, ends
        self._active: list[Row] = []
        self._done: dict[int, Generated] = {}

    def write(self, rows: Sequence[Row], advance: Callable[[int], object]) -> dict[int, Generated]:
        """What was written in each row, by its number; equal prompts are read once if they stand together."""
        waiting = deque(rows)
        while waiting or self._active:
            told = len(self._done)
            self._admit(waiting)
            if self._active:
                self._step()
            if len(self._done) > told:
                advance(len(self._done) - told)
        return self._done

    def _admit(self, waiting: deque[Row]) -> None:
        """Let texts begin while rows are free, but none whose prompt another is reading just now."""
        while waiting and (free := len(self._active)) < self._rows:
            row = waiting[0]
            alike = next((place for place, other in enumerate(self._active) if other.prompt == row.prompt), None)
            logits = None if alike is None else self._active[alike].after_prompt
            if alike is not None and logits is None:
                return
            waiting.popleft()
            self._active.append(row)
            if alike is not None and logits is not None:
                self._memory.copy(alike, free)
                if self._memory.forget(free, len(row.prompt)):
                    row.read = len(row.prompt)
                    self._take(free, logits)
                    continue
            self._memory.forget(free)

    def _step(self) -> None:
        """Read what is new in the rows, one token or a stretch of a prompt each, and write after it."""
        spare = self._step_size - len(self._active)
        spans = []
        for place, row in enumerate(self._active):
            count = min(len(row.ids) - row.read, 1 + spare)
            spare -= count - 1
            spans.append(Span(place, row.read, row.ids[row.read : row.read + count]))
            row.read += count
        logits = self._memory.read(spans, last=True)
        for place in reversed(range(len(spans))):  # the last first: one that ends is replaced by one already seen
            if self._active[place].read == len(self._active[place].ids):
                self._take(place, logits[place])

    def _take(self, place: int, logits: NDArray[np.float32]) -> None:
        """Write a token in a row; a row that ends is given to the last one."""
        row = self._active[place]
        written = row.write(logits, self._sampling, self._ends)
        if written is None:
            return
        self._done[row.number] = written
        last = len(self._active) - 1
        if place != last:
            self._memory.copy(last, place)
            self._active[place] = self._active[last]
        self._active.pop()
