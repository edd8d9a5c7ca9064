"""Scripts for inputs: buttons whose contacts bounce, square waves."""

from __future__ import annotations

from stages.evaluation.wiring import Levels

BOUNCE = ((0.0, True), (0.002, False), (0.003, True), (0.006, False), (0.008, True))
CLEAN = ((0.0, True),)


def button(*presses: tuple[float, float], bounce: tuple[tuple[float, bool], ...] = BOUNCE) -> Levels:
    """A button to ground, pressed at each (instant, for so long); its contacts bounce at both ends of a press."""
    script: list[tuple[float, int | None]] = [(0.0, None)]
    for start, length in presses:
        script += [(start + t, 0 if closed else None) for t, closed in bounce]
        script += [(start + length + t, None if closed else 0) for t, closed in bounce]
    return tuple(script)


def square(start: float, stop: float, hertz: float, duty: float = 0.5) -> Levels:
    """Whole periods of a square wave, each beginning with its high part."""
    count = round((stop - start) * hertz)
    return tuple((start + (i + part) / hertz, level) for i in range(count) for part, level in ((0.0, 1), (duty, 0)))
