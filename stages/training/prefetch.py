"""Batches made ahead of their use by a thread of their own, so that a step never waits for data."""

from __future__ import annotations

import time
from collections.abc import Callable
from queue import SimpleQueue
from threading import Semaphore, Thread
from types import TracebackType
from typing import Self

import torch

from stages.training.data import Batch


class Prefetcher:
    """The micro-batches of step `first`, `first` + 1, …, in order, made while the steps before them are computed.

    `make` gives those of a step from its number alone; what it raises is raised by the `next` that would have returned
    that step. On CUDA the batches come from pinned memory and are copied while the device is still at work. Nothing
    here draws random numbers of torch's. Use as a context manager, or `close`: both wait for the thread to end.
    """

    def __init__(self, make: Callable[[int], list[Batch]], first: int, device: torch.device, *, ahead: int = 2) -> None:
        self._make, self._device = make, device
        self._made: SimpleQueue[list[Batch] | BaseException] = SimpleQueue()
        self._room, self._closed = Semaphore(ahead), False
        self.waited = 0.0  # seconds that `next` has waited for data in all
        self._thread = Thread(target=self._work, args=(first,), name="prefetch", daemon=True)
        self._thread.start()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> list[Batch]:
        if self._closed:
            raise StopIteration
        began = time.perf_counter()
        made = self._made.get()
        self.waited += time.perf_counter() - began
        if isinstance(made, BaseException):
            self._made.put(made)  # no later step will come either
            raise made
        self._room.release()
        return [batch.to(self._device) for batch in made]

    def close(self) -> None:
        """End the thread, when it has made the step it is at."""
        self._closed = True
        self._room.release()
        self._thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _work(self, step: int) -> None:
        try:
            while True:
                self._room.acquire()
                if self._closed:
                    return
                batches = self._make(step)
                self._made.put([batch.pinned() for batch in batches] if self._device.type == "cuda" else batches)
                step += 1
        except BaseException as error:
            self._made.put(error)
