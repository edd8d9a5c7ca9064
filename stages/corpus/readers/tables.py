"""Tables in Markdown."""

from __future__ import annotations

from collections.abc import Sequence

Cell = tuple[str, int, int]
MOST_COLUMNS = 200


def table_markdown(rows: Sequence[Sequence[Cell]]) -> list[str]:
    """Rows of (text, columns, rows) as one Markdown table; the first row is its head.

    A cell over several rows stands in each of them, and one over several columns in the first of them.
    """
    grid: list[list[str]] = []
    hanging: dict[int, tuple[str, int]] = {}
    for row in rows:
        line: list[str] = []

        def hang(line: list[str]) -> None:
            while len(line) in hanging:
                text, left = hanging.pop(len(line))
                if left > 1:
                    hanging[len(line)] = (text, left - 1)
                line.append(text)

        for text, columns, height in row:
            hang(line)
            for column in range(columns):
                shown = text if column == 0 else ""
                if height > 1:
                    hanging[len(line)] = (shown, height - 1)
                line.append(shown)
        hang(line)
        if any(line):
            grid.append(line[:MOST_COLUMNS])
    if not grid:
        return []
    width = max(len(line) for line in grid)
    head, *body = [[_cell(text) for text in line] + [""] * (width - len(line)) for line in grid]
    lines = [head, ["---"] * width, *body]
    return ["\n".join(f"| {' | '.join(line)} |" for line in lines)]


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
