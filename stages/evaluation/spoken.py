"""What a model says, on its way to people: cut at stop strings, without characters that control a terminal."""

from __future__ import annotations

import re
from collections.abc import Generator, Sequence

from stages.evaluation.models.interface import Answer

# C0 but tab and line end, DEL, and C1, which some terminals take for the start of a command as they do ESC; and what
# turns the direction of writing, so that code reads otherwise than it runs (Boucher & Anderson 2021, arXiv:2111.00169)
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def printable(text: str) -> str:
    """The text without control characters; halves of surrogate pairs, which no encoding can say, become `?`."""
    return CONTROL.sub("", text).encode("utf-8", "replace").decode()


def until_stop(pieces: Generator[str, None, Answer], stop: Sequence[str]) -> Generator[str, None, Answer]:
    """The pieces up to the first stop string, which may come in several of them; the whole says that it ended there.

    What may yet become a stop string is held back. In an answer that was cut, `tokens` counts the pieces.
    """
    stop = [text for text in stop if text]
    said, held, count = [], "", 0
    try:
        while True:
            try:
                piece = next(pieces)
            except StopIteration as end:
                answer: Answer = end.value
                if held:
                    yield held
                return answer
            held, count = held + piece, count + 1
            places = [place for text in stop if (place := held.find(text)) >= 0]
            if places:
                said.append(held[: min(places)])
                if said[-1]:
                    yield said[-1]
                return Answer("".join(said), count, ended=True)
            keep = max((_begun(held, text) for text in stop), default=0)
            out, held = held[: len(held) - keep], held[len(held) - keep :]
            if out:
                said.append(out)
                yield out
    finally:
        pieces.close()


def _begun(said: str, stop: str) -> int:
    """How many characters at the end of `said` begin a stop string."""
    lengths = range(min(len(said), len(stop) - 1), 0, -1)
    return next((length for length in lengths if said.endswith(stop[:length])), 0)
