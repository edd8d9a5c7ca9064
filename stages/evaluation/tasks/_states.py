"""What several outputs show together, and for how long."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import NamedTuple

from stages.evaluation.checks import edges, end, near, pwm, require
from stages.evaluation.sandbox import Outcome
from stages.evaluation.wiring import Pin

Shown = tuple[int, ...]
LATE = 0.3  # seconds after which a program must have begun


class State(NamedTuple):
    t: float
    length: float
    shown: Shown


def settled(changes: Iterable[tuple[float, Shown]], until: float, settle: float) -> list[State]:
    """The states of (instant, state) changes that last at least `settle` seconds; the last one lasts to the end."""
    script = [*changes]
    ends = [t for t, _ in script[1:]] + [until]
    lasting = [(t, shown) for (t, shown), stop in zip(script, ends, strict=True) if stop - t >= settle]
    lasting += script[-1:] if lasting[-1:] != script[-1:] else []  # what the program left behind
    firsts = [next(group) for _, group in groupby(lasting, key=lambda change: change[1])]
    ends = [t for t, _ in firsts[1:]] + [until]
    return [State(t, stop - t, shown) for (t, shown), stop in zip(firsts, ends, strict=True)]


def states(outcome: Outcome, pins: Sequence[Pin], settle: float = 0.003) -> list[State]:
    """The levels of these outputs over time, from low; pins set one after the other change at once."""
    now = [0] * len(pins)
    changes: list[tuple[float, Shown]] = [(0.0, tuple(now))]
    for t, place, value in sorted(
        (edge.t, i, edge.value) for i, pin in enumerate(pins) for edge in edges(outcome, pin)
    ):
        now[place] = value
        changes.append((t, tuple(now)))
    return settled(changes, end(outcome), settle)


def tones(outcome: Outcome, pin: Pin, settle: float = 0.003) -> list[State]:
    """The frequencies of a PWM output over time, 0 where it is silent, each as a state of one number."""
    steps = [(step.t, (round(step.freq) if 0 < step.duty < 1 else 0,)) for step in pwm(outcome, pin)]
    return settled([(0.0, (0,)), *steps], end(outcome), settle)


def in_turn(
    found: Sequence[State], wanted: Sequence[tuple[Shown, float]], tolerance: float, *, once: bool = False
) -> None:
    """The states are the wanted (state, length) ones, over and over to the end, or `once`, the last of them staying.

    Another state may come before the first one, for as long as a program takes to begin. Raises Wrong.
    """
    if found and found[0].shown != wanted[0][0]:
        require(found[0].length <= LATE, f"{found[0].shown} is shown for {found[0].length:.2f} s at the beginning")
        found = found[1:]
    require(len(found) >= len(wanted), f"{len(found)} states instead of {len(wanted)}")
    require(not once or len(found) == len(wanted), f"{len(found)} states instead of {len(wanted)}")
    for place, state in enumerate(found):
        shown, length = wanted[place % len(wanted)]
        require(state.shown == shown, f"{state.shown} at {state.t:.2f} s instead of {shown}")
        if place < len(found) - 1:
            about = f"{shown} at {state.t:.2f} s lasts {state.length:.4f} s, not {length:.4f} s"
            require(near(state.length, length, tolerance), about)
        else:
            require(once or state.length <= length + tolerance, f"{shown} stays from {state.t:.2f} s on")
