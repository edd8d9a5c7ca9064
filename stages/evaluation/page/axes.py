"""Axes: round ticks, what is written at them, and where on a drawing a value lies."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from stages.evaluation.page.values import power

SMALLEST = 1e-100  # what is nearer to zero is drawn there
_STEPS = (1.0, 2.0, 2.5, 5.0, 10.0)


@dataclass(frozen=True)
class Axis:
    """From `low` to `high`, linear or logarithmic; `start` and `end` are where those lie on the drawing."""

    low: float
    high: float
    start: float
    end: float
    ticks: tuple[float, ...]
    log: bool = False

    def place(self, value: float) -> float:
        """The coordinate of a value; what lies outside is put at the border."""
        low, high = self.low, self.high
        if self.log:
            value, low, high = math.log(max(value, low)), math.log(low), math.log(high)
        part = (value - low) / (high - low)
        return self.start + min(max(part, 0.0), 1.0) * (self.end - self.start)


def axis(
    values: Iterable[float], start: float, end: float, *, zero: bool = False, log: bool = False, ticks: int = 5
) -> Axis:
    """An axis for values, whose ends are ticks; a logarithmic one where asked for and all values are above zero."""
    found = sorted(0.0 if abs(value) < SMALLEST else value for value in values) or [0.0, 1.0]
    low, high = found[0], found[-1]
    if log and low > 0:
        return _log_axis(low, high, start, end)
    if zero:
        low, high = min(low, 0.0), max(high, 0.0)
    if low == high:
        spread = abs(low) / 2 or 1.0
        low, high = (0.0, 2 * low) if zero and low > 0 else (low - spread, high + spread)
    step = round_step((high - low) / ticks)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    if last - first > 1000:  # values that are all but equal, far from zero
        return Axis(low, high, start, end, (low, high))
    return Axis(first * step, last * step, start, end, tuple(n * step for n in range(first, last + 1)))


def tight(values: Sequence[float], start: float, end: float, *, ticks: int = 5) -> Axis:
    """An axis that begins at zero and ends where the values do, with the round ticks between."""
    high = max(values, default=1.0)
    if high < SMALLEST:
        return axis(values, start, end)
    step = round_step(high / ticks)
    last = math.floor(high / step + 1e-9)
    return Axis(0.0, high, start, end, tuple(n * step for n in range(last + 1)))


def round_step(least: float) -> float:
    """The smallest of 1, 2, 2.5, 5 times a power of ten that is not below `least`."""
    if least <= 0 or not math.isfinite(least):
        return 1.0
    unit = 10.0 ** math.floor(math.log10(least))
    return next(unit * step for step in _STEPS if unit * step >= least * (1 - 1e-9))


def _log_axis(low: float, high: float, start: float, end: float) -> Axis:
    """Ticks at powers of ten; at 1, 2 and 5 times them where there are few."""
    first, last = math.floor(math.log10(low) + 1e-9), math.ceil(math.log10(high) - 1e-9)
    steps = (1.0, 2.0, 5.0) if last - first <= 2 else (1.0,)
    every = max(1, math.ceil((last - first) / 8))
    all_ticks = [step * 10.0**n for n in range(first, last + 1, every) for step in steps]
    below = max((tick for tick in all_ticks if tick <= low * (1 + 1e-9)), default=low)
    above = min((tick for tick in all_ticks if tick >= high * (1 - 1e-9)), default=high)
    if below >= above:
        below, above = below / 2, above * 2
    ticks = tuple(tick for tick in all_ticks if below * (1 - 1e-9) <= tick <= above * (1 + 1e-9))
    return Axis(below, above, start, end, ticks, log=True)


def labels(ticks: Sequence[float], unit: str = "", *, log: bool = False) -> list[str]:
    """What is written at ticks, all with as many places and in the same prefix: 0, 200 k, 400 k or 0 %, 25 %, 50 %."""
    if log and not unit:
        return [f"{tick:g}" if 1e-4 <= tick < 1e5 else power(tick) for tick in ticks]
    if unit == "%":
        return [f"{text} %" for text in labels([tick * 100 for tick in ticks])]
    largest = max((abs(tick) for tick in ticks), default=0.0)
    if unit == "B":
        scale, prefix = next(((s, p) for s, p in _BYTES if largest >= s), (1.0, " B"))
    elif largest >= 1e15 or 0 < largest < 1e-3:
        return ["0" if tick == 0 else power(tick) for tick in ticks]
    else:
        scale, prefix = next(((s, p) for s, p in _LARGE if largest >= (s if s > 1e3 else 10 * s)), (1.0, ""))
    scaled = [tick / scale for tick in ticks]
    places = next(
        (n for n in range(6) if all(abs(tick - round(tick, n)) < 1e-9 * max(abs(tick), 1) for tick in scaled)), 6
    )
    return ["0" if tick == 0 else f"{tick:,.{places}f}{prefix}" for tick in scaled]


_BYTES = ((1e12, " TB"), (1e9, " GB"), (1e6, " MB"), (1e3, " kB"))
_LARGE = ((1e12, " T"), (1e9, " G"), (1e6, " M"), (1e3, " k"))
