"""Ctrl-C and SIGTERM as an error that ends a run in order, now or when a stage has saved its state."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Any

from pipeline.errors import Interrupted

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupts:
    """Turns the signals into `Interrupted` while the `with` block lasts; a second one during a save ends at once."""

    def __init__(self) -> None:
        self._previous: dict[int, Any] = {}
        self._deferring = False
        self._received: int | None = None

    def __enter__(self) -> Interrupts:
        if threading.current_thread() is threading.main_thread():
            self._previous = {number: signal.signal(number, self._handle) for number in SIGNALS}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        again, self._received = self._received is not None, number
        if not self._deferring or again:
            self.check()

    def check(self) -> None:
        """Raise Interrupted if a signal came."""
        if self._received is not None:
            name = signal.Signals(self._received).name
            raise Interrupted(
                f"interrupted by {name}; finished stages are kept",
                signal_number=self._received,
                hint="run the same command again to go on",
            )

    @contextmanager
    def deferred(self) -> Iterator[Callable[[], bool]]:
        """Within the block a signal only makes the yielded function true; at its end Interrupted is raised."""
        self._deferring = True
        try:
            yield lambda: self._received is not None
        finally:
            self._deferring = False
        self.check()
