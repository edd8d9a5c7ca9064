"""What a training run writes down, line by line: its numbers, its pace, and texts that the model wrote on the way.

`metrics.jsonl` and `samples.jsonl` are the same bytes however often a run was killed. The pace is not, and is scratch.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from pipeline.store import write_atomic

METRICS, TIMING, SAMPLES = FILES = ("metrics.jsonl", ".timing.jsonl", "samples.jsonl")
Record = dict[str, Any]


class Records:
    """The files of one run; every line says after which `step` it was written."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def write(self, name: str, record: Record) -> None:
        """Add a line to one of the files."""
        with (self.folder / name).open("a", encoding="utf-8") as file:
            file.write(json.dumps(record, ensure_ascii=False) + "\n")

    def keep_until(self, step: int) -> None:
        """Drop the lines of later steps, which come again, and what a kill left half written."""
        for name in FILES:
            path = self.folder / name
            if path.exists():
                write_atomic(path, "".join(_lines_until(path, step)).encode())

    def pace(self, points: int) -> list[list[float]]:
        """About so many of the points (step, tokens per second, bytes of memory), the last among them."""
        path = self.folder / TIMING
        told = [json.loads(line) for line in path.read_bytes().splitlines()] if path.exists() else []
        chosen = told[:: -max(math.ceil(len(told) / points), 1)][::-1]
        return [[line["step"], line["tokens_per_second"], line["peak_memory"]] for line in chosen]


def _lines_until(path: Path, step: int) -> list[str]:
    kept = []
    for line in path.read_bytes().splitlines():
        try:
            if json.loads(line)["step"] <= step:
                kept.append(line.decode() + "\n")
        except (ValueError, KeyError):
            continue
    return kept
