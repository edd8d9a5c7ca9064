"""Charts as SVG: small enough for a phone, coloured by the page's style, the same bytes for the same values."""

from __future__ import annotations

import html
import math
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

from stages.evaluation.page.axes import Axis, axis, labels, tight
from stages.evaluation.page.values import line

WIDTH = 440.0
MOST_POINTS = 300
COLOURS = 6
Point = tuple[float, float]
T = TypeVar("T")


@dataclass(frozen=True)
class Series:
    """A line through points (x, y) that rise in x, with a dot at each where `dots`."""

    name: str
    points: Sequence[Point]
    colour: int = 0
    dashed: bool = False
    dots: bool = False
    faint: bool = False


@dataclass(frozen=True)
class Mark:
    """An estimate with its interval, and the colour of what it is of."""

    value: float
    low: float
    high: float
    colour: int = 0


def lines(
    title: str,
    series: Sequence[Series],
    *,
    x_label: str,
    y_label: str,
    y_unit: str = "",
    height: float = 230.0,
    zero: bool = False,
    log: bool = False,
    second: Sequence[Point] = (),
    second_label: str = "",
    level: float | None = None,
    level_label: str = "",
) -> str:
    """Lines over a common x from zero. `second` maps x to another scale above; `level` is a line across."""
    drawn = [
        Series(each.name, thinned(each.points), each.colour, each.dashed, each.dots, each.faint) for each in series
    ]
    xs = [x for each in drawn for x, _ in each.points]
    ys = [y for each in drawn for _, y in each.points] + ([level] if level is not None else [])
    top = 48.0 if second else 28.0 if y_label else 10.0
    y = axis(ys, height - 36, top, zero=zero, log=log, ticks=4)
    names = labels(y.ticks, y_unit, log=y.log)
    left = 14.0 + 6.4 * max(map(len, names))
    first = min(xs, default=0.0)
    x = tight(xs, left, WIDTH - 14) if first >= 0 and first < 0.3 * max(xs, default=1.0) else _within(xs, left)
    parts = [*_grid(y, names, left), *_bottom(x, height, x_label), _text(0, 13, y_label, "label")]
    if second:
        parts += _above(x, second, second_label, top)
    if level is not None:
        at = y.place(level)
        parts += [_line(left, at, WIDTH - 14, at, "level"), _text(WIDTH - 14, at - 4, level_label, "tick end")]
    for each in drawn:
        path = " ".join(
            f"{'L' if i else 'M'}{_at(x.place(a))} {_at(y.place(b))}" for i, (a, b) in enumerate(each.points)
        )
        style = f"line c{each.colour % COLOURS}{' dashed' if each.dashed else ''}{' faint' if each.faint else ''}"
        if len(each.points) > 1:
            parts.append(f'<path class="{style}" d="{path}"/>')
        if each.dots or len(each.points) == 1:
            parts += [_dot(x.place(a), y.place(b), each.colour, 2.4) for a, b in each.points]
    told = "; ".join(
        f"{each.name} from {each.points[0][1]:.4g} to {each.points[-1][1]:.4g}" for each in drawn if each.points
    )
    return _svg(title, told, height, parts)


def thinned(points: Sequence[T], most: int = MOST_POINTS) -> list[T]:
    """Every n-th point, with the last: equal steps, so that a line between the points has no joints.

    `training.records` thins otherwise: what it keeps has the first point, too, and of whatever is there as many as fit.
    """
    every = max(1, math.ceil(len(points) / most))
    return list(points[::-1][::every])[::-1]


def columns(
    title: str, edges: Sequence[float], stacks: Sequence[tuple[int, Sequence[float]]], *, x_label: str, y_label: str,
    marked: float | None = None, marked_label: str = "", height: float = 230.0,
) -> str:  # fmt: skip
    """A histogram of equally wide columns between `edges` (the last may be infinite), stacked by colour."""
    bins = len(edges) - 1
    sums = [sum(values[i] for _, values in stacks) for i in range(bins)]
    at = None if marked is None else _between(edges, marked)
    y = axis([0.0, *sums], height - 36, 28 if at is None else 44, zero=True, ticks=4)
    names = labels(y.ticks)
    left = 14.0 + 6.4 * max(map(len, names))
    wide = (WIDTH - 14 - left) / max(bins, 1)
    parts = [*_grid(y, names, left), _text(0, 13, y_label, "label")]
    below = [0.0] * bins
    for colour, values in stacks:
        for i in range(bins):
            base, tip = y.place(below[i]), y.place(below[i] + values[i])
            if base > tip:
                parts.append(_box(left + i * wide + 0.75, tip, wide - 1.5, base - tip, f"fill c{colour % COLOURS}"))
            below[i] += values[i]
    every = max(1, math.ceil((bins + 1) * 40 / (WIDTH - left)))
    for i in range(0, bins + 1, every):
        text = "∞" if math.isinf(edges[i]) else labels([edges[i]])[0]
        parts.append(_text(left + i * wide, height - 21, text, "tick mid"))
    parts.append(_text(WIDTH - 14, height - 5, x_label, "label end"))
    if at is not None:
        place = left + at * wide
        parts.append(_line(place, 24, place, height - 36, "level"))
        parts.append(
            _text(
                place + (-5 if place > WIDTH / 2 else 5), 33, marked_label, "tick end" if place > WIDTH / 2 else "tick"
            )
        )
    return _svg(title, f"{sum(sums):,.0f} in {bins} columns", height, parts)


def _between(edges: Sequence[float], value: float) -> float | None:
    """Where a value lies among edges, in columns; None outside of them."""
    if not edges or not edges[0] <= value <= edges[-1]:
        return None
    after = max(bisect_left(edges, value), 1)
    low, high = edges[after - 1], edges[after]
    return after - 1 + (0.0 if math.isinf(high) else (value - low) / (high - low))


def intervals(title: str, groups: Sequence[tuple[str, Sequence[Mark]]], *, x_label: str, least: float = 0.1) -> str:
    """For each group a row of dots with their intervals on a common scale from zero, in percent."""
    top = max([least, *(mark.high for _, marks in groups for mark in marks)])
    x = axis([0.0, min(top, 1.0)], 16, WIDTH - 18, zero=True, ticks=5)
    parts, at = [], 8.0
    body: list[str] = []
    for name, marks in groups:
        body.append(_text(0, at + 10, line(name, 60), "name"))
        at += 18
        for mark in marks:
            ends = x.place(mark.low), x.place(mark.high)
            body.append(_line(ends[0], at, ends[1], at, f"whisker c{mark.colour % COLOURS}"))
            body.append(_dot(x.place(mark.value), at, mark.colour, 4))
            at += 10
        at += 8
    height = at + 34
    for tick, text in zip(x.ticks, labels(x.ticks, "%"), strict=True):
        place = x.place(tick)
        parts += [_line(place, 2, place, height - 34, "grid"), _text(place, height - 20, text, "tick mid")]
    parts.append(_text(WIDTH - 14, height - 4, x_label, "label end"))
    return _svg(title, f"{len(groups)} groups", height, [*parts, *body])


def scatter(
    title: str, dots: Sequence[tuple[str, float, float, bool]], *, x_label: str, y_label: str, x_unit: str = "",
    height: float = 250.0,
) -> str:  # fmt: skip
    """Named dots (name, x, y, whether it is the chosen one); y logarithmic where all are above zero."""
    y = axis([b for _, _, b, _ in dots], height - 36, 34, log=True)
    names = labels(y.ticks, log=y.log)
    left = 14.0 + 6.4 * max(map(len, names))
    x = axis([0.0, *(a for _, a, _, _ in dots)], left, WIDTH - 22, ticks=5)
    parts = [*_grid(y, names, left, WIDTH - 22), *_bottom(x, height, x_label, x_unit), _text(0, 13, y_label, "label")]
    taken: list[tuple[float, float, float, float]] = []
    placed = [(name, x.place(a), y.place(b), chosen) for name, a, b, chosen in dots]
    for name, a, b, chosen in sorted(placed, key=lambda dot: not dot[3]):
        parts.append(_dot(a, b, 1 if chosen else 0, 5 if chosen else 4))
        text = line(name, 24)
        wide = 6.6 * len(text)
        for side, dx, dy in (("", 8, 4), ("", 5, -7), ("end", -8, 4), ("end", -5, -7), ("", 5, 15), ("end", -5, 15)):
            from_x = a + dx - (wide if side else 0)
            area = (from_x, b + dy - 9, from_x + wide, b + dy + 3)
            free = all(area[2] < t[0] or area[0] > t[2] or area[3] < t[1] or area[1] > t[3] for t in taken)
            crosses = any(
                area[0] - 5 < p < area[2] + 5 and area[1] - 5 < q < area[3] + 5 for n, p, q, _ in placed if n != name
            )
            if free and not crosses and left <= from_x and area[2] <= WIDTH:
                parts.append(_text(a + dx, b + dy, text, f"{'tick' if not chosen else 'name'} {side}".strip()))
                taken.append(area)
                break
    return _svg(title, ", ".join(f"{name}: {a:.4g}, {b:.4g}" for name, a, b, _ in dots[:30]), height, parts)


def arcs(title: str, names: Sequence[tuple[str, str, str]], edges: Sequence[tuple[int, int]]) -> str:
    """Rows (name, middle, right) from top to bottom, and an arc for each edge from a row to a later one."""
    step, left = 27.0, 96.0
    height = step * len(names) + 8
    at = [step * i + 17 for i in range(len(names))]
    parts = []
    for first, last in sorted(edges, key=lambda edge: (edge[0] - edge[1], edge)):
        reach = min(12.0 + 11.0 * (last - first - 1), left - 8) if last - first > 1 else 0.0
        a, b = at[first] + 5, at[last] - 5
        out = _at(left - 1.3 * reach)
        bend = f"C{out} {_at(a)} {out} {_at(b)} {_at(left)} {_at(b)}" if reach else f"L{_at(left)} {_at(b)}"
        parts.append(f'<path class="arc" d="M{_at(left)} {_at(a)} {bend}"/>')
    for (name, middle, right), y in zip(names, at, strict=True):
        parts += [_dot(left, y, 0, 4.5), _text(left + 14, y + 4, line(name, 22), "name")]
        parts += [_text(left + 110, y + 4, line(middle, 22), "tick mono"), _text(WIDTH - 2, y + 4, right, "tick end")]
    return _svg(title, " → ".join(line(name, 40) for name, _, _ in names), height, parts)


# -- the parts of a drawing --------------------------------------------------------------------------------------------


def _svg(title: str, told: str, height: float, parts: Iterable[str]) -> str:
    words = html.escape(f"{line(title, 200)}. {line(told, 600)}", quote=True)
    return f'<svg viewBox="0 0 {_at(WIDTH)} {_at(height)}" role="img" aria-label="{words}">{"".join(parts)}</svg>'


def _at(value: float) -> str:
    return (
        f"{value:.1f}".removesuffix(".0").replace("-0", "0") if abs(value) < 0.05 else f"{value:.1f}".removesuffix(".0")
    )


def _line(x1: float, y1: float, x2: float, y2: float, style: str) -> str:
    return f'<line class="{style}" x1="{_at(x1)}" y1="{_at(y1)}" x2="{_at(x2)}" y2="{_at(y2)}"/>'


def _box(x: float, y: float, width: float, height: float, style: str) -> str:
    return f'<rect class="{style}" x="{_at(x)}" y="{_at(y)}" width="{_at(max(width, 0.5))}" height="{_at(height)}"/>'


def _dot(x: float, y: float, colour: int, radius: float) -> str:
    return f'<circle class="dot c{colour % COLOURS}" cx="{_at(x)}" cy="{_at(y)}" r="{_at(radius)}"/>'


def _text(x: float, y: float, text: str, style: str) -> str:
    return f'<text class="{style}" x="{_at(x)}" y="{_at(y)}">{html.escape(text)}</text>'


def _within(xs: Sequence[float], left: float) -> Axis:
    """An axis from the first to the last x, with the round ticks between."""
    wide = axis(xs, left, WIDTH - 14)
    low, high = min(xs), max(xs)
    if low == high:
        return wide
    return Axis(low, high, left, WIDTH - 14, tuple(tick for tick in wide.ticks if low <= tick <= high))


def _grid(y: Axis, names: Sequence[str], left: float, right: float = WIDTH - 14) -> Iterator[str]:
    for tick, name in zip(y.ticks, names, strict=True):
        at = y.place(tick)
        yield _line(left, at, right, at, "base" if tick == y.low and not y.log else "grid")
        yield _text(left - 6, at + 4, name, "tick end")


def _bottom(x: Axis, height: float, label: str, unit: str = "") -> Iterator[str]:
    for tick, name in zip(x.ticks, labels(x.ticks, unit), strict=True):
        at = x.place(tick)
        yield _line(at, height - 36, at, height - 32, "base")
        yield _text(at, height - 21, name, "tick mid")
    yield _text(x.end, height - 5, label, "label end")


def _above(x: Axis, second: Sequence[Point], label: str, top: float) -> Iterator[str]:
    """Ticks of another quantity, which rises with x, at the x where it has a round value."""
    scale = tight([value for _, value in second], 0, 1, ticks=4)
    known = [value for _, value in second]
    for tick, name in zip(scale.ticks, labels(scale.ticks), strict=True):
        after = bisect_left(known, tick)
        if tick == 0 or after >= len(known):
            continue
        (x0, v0), (x1, v1) = second[after - 1] if after else (0.0, 0.0), second[after]
        where = x0 + (x1 - x0) * ((tick - v0) / (v1 - v0) if v1 > v0 else 1.0)
        if x.low <= where <= x.high:
            at = x.place(where)
            yield _line(at, top - 12, at, top - 8, "base")
            yield _text(at, top - 15, name, "tick mid")
    yield _text(x.end, 13, label, "label end")
