"""Boxes drawn around or behind text: the frame or background of a listing tells where a block ends."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import pymupdf

MIN_WIDTH = 60.0  # points; narrower boxes are marks, table cells or backgrounds of single words
MIN_HEIGHT = 5.0  # lower ones are rules
MIN_RULE = 12.0  # points; shorter lines are strokes of drawings
MAX_CELL = 150.0  # points; higher boxes are frames, not cells


class Box(NamedTuple):
    """A rectangle in points, y downwards."""

    x0: float
    y0: float
    x1: float
    y1: float

    def holds(self, x: float, y: float) -> bool:
        return self.x0 - 1 <= x <= self.x1 + 1 and self.y0 - 1 <= y <= self.y1 + 1


def read_boxes(page: pymupdf.Page) -> tuple[tuple[Box, ...], tuple[float, ...]]:
    """The painted rectangles of a page that may hold a listing, and the heights of the horizontal lines on it.

    Rectangles that touch at equal width are one. The upper and lower edges of boxes count as lines: many programs draw
    the cells of a table one by one.
    """
    boxes: list[Box] = []
    rules: set[float] = set()
    for kind, bounds in page.get_bboxlog():
        if kind not in ("fill-path", "stroke-path"):
            continue
        box = Box(*bounds)
        width, height = box.x1 - box.x0, box.y1 - box.y0
        if width >= MIN_RULE and height <= MAX_CELL:
            rules |= {round(box.y0, 1), round(box.y1, 1)}
        if width >= MIN_WIDTH and MIN_HEIGHT <= height < 0.97 * page.rect.height:
            boxes.append(box)
    return tuple(_merged(boxes)), tuple(sorted(rules))


def _merged(boxes: Sequence[Box]) -> list[Box]:
    merged: list[Box] = []
    for box in sorted(set(boxes), key=lambda box: (round(box.x0), round(box.x1), box.y0)):
        last = merged[-1] if merged else None
        if last and abs(last.x0 - box.x0) < 1 and abs(last.x1 - box.x1) < 1 and box.y0 <= last.y1 + 0.6:
            merged[-1] = Box(last.x0, last.y0, last.x1, max(last.y1, box.y1))
        else:
            merged.append(box)
    return merged


def code_boxes(boxes: Sequence[Box], code: Sequence[Box], prose: Sequence[Box]) -> list[Box]:
    """The boxes with code lines but no prose lines in them, wider than what they hold, the largest first.

    `code` and `prose` are lines: from the first to the last glyph, the baseline being both `y0` and `y1`.
    """
    kept = []
    for box in boxes:
        held = [line for line in code if box.holds(line.x0, line.y0)]
        if not held or any(box.holds(line.x0, line.y0) for line in prose):
            continue
        if max(line.x1 for line in held) < box.x1 - 8 or len(held) > 1:
            kept.append(box)
    return sorted(kept, key=lambda box: (box.x1 - box.x0) * (box.y1 - box.y0), reverse=True)
