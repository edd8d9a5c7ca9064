"""What a training run writes down, line by line: its numbers, its pace, and texts that the model wrote on the way.

`metrics.jsonl` and `samples.jsonl` are the same bytes however often a run was killed. The pace is not, and is scratch.
"""

from __future__ import annotations

import json
from array import array
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from pipeline.store import write_atomic

METRICS, TIMING, SAMPLES = FILES = ("metrics.jsonl", ".timing.jsonl", "samples.jsonl")
CURVE_POINTS, PACE_POINTS, SAMPLED_STEPS = 240, 100, 8
SAMPLE_CHARS = 2000
AT_THE_END, AVERAGED = ("step", "tokens", "learning_rate"), ("loss", "grad_norm")
Record = dict[str, Any]
ItemT = TypeVar("ItemT")


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
                write_atomic(path, b"".join(line + b"\n" for line, record in _lines(path) if record["step"] <= step))

    def summary(self) -> dict[str, Any]:
        """The course of the run in few enough points for a manifest, of which each list has the last.

        `curve` has lists of equal length; `validation`, `samples` and `pace` are lists of [step, …].
        """
        return {
            "curve": self.curve(),
            "validation": self.validation(),
            "samples": self.samples(),
            "pace": self.pace(),
        }

    def curve(self, points: int = CURVE_POINTS) -> dict[str, list[float]]:
        """Loss and norm of the gradient as means over stretches of equally many steps; the first may be shorter.

        With them go step, tokens and learning rate at the end of each. Steps that were passed over are left out.
        """
        told = array("d")  # a run may have a million steps
        for record in self._of(METRICS):
            if "loss" in record:
                told.extend(record.get(name, 0) for name in (*AT_THE_END, *AVERAGED))
        rows = np.array(told).reshape(-1, len(AT_THE_END) + len(AVERAGED))
        if not len(rows):
            return {name: [] for name in (*AT_THE_END, *AVERAGED)}
        ends = np.arange(len(rows), 0, -max(-(-len(rows) // points), 1))[::-1]
        starts = np.concatenate([[0], ends[:-1]])
        means = np.add.reduceat(rows, starts) / (ends - starts)[:, None]
        means[:, : len(AT_THE_END)] = rows[ends - 1, : len(AT_THE_END)]
        columns = zip((*AT_THE_END, *AVERAGED), means.T.tolist(), strict=True)
        return {name: [_short(value, whole=name in ("step", "tokens")) for value in column] for name, column in columns}

    def validation(self, points: int = CURVE_POINTS) -> list[list[float]]:
        """Step and validation loss of the weights, or of their average where that is lower."""
        told = [
            [record["step"], _short(min(record["val_loss"], record.get("val_loss_ema", float("inf"))))]
            for record in self._of(METRICS)
            if "val_loss" in record
        ]
        return thinned(told, points)

    def samples(self, steps: int = SAMPLED_STEPS) -> list[list[Any]]:
        """Step, prompt and the beginning of the text, for steps from the first evaluation to the last."""
        told = [[line["step"], line["prompt"], line["text"][:SAMPLE_CHARS]] for line in self._of(SAMPLES)]
        chosen = {*thinned(sorted({step for step, *_ in told}), steps)}
        return [line for line in told if line[0] in chosen]

    def pace(self, points: int = PACE_POINTS) -> list[list[float]]:
        """Step, tokens per second, bytes of memory."""
        told = [[line["step"], line["tokens_per_second"], line["peak_memory"]] for line in self._of(TIMING)]
        return thinned(told, points)

    def _of(self, name: str) -> Iterator[Record]:
        path = self.folder / name
        return (record for _, record in _lines(path)) if path.exists() else iter(())


def thinned(items: Sequence[ItemT], most: int) -> list[ItemT]:
    """At most so many of the items, spread evenly, the first and the last among them.

    A run has only few of them: of 9 samples, 8 are kept, where every second (as the page thins its lines) would be 5.
    """
    if len(items) <= most:
        return [*items]
    return [items[place] for place in np.linspace(0, len(items) - 1, most).round().astype(int)]


def _short(value: float, *, whole: bool = False) -> float:
    return int(value) if whole else float(f"{value:.6g}")


def _lines(path: Path) -> Iterator[tuple[bytes, Record]]:
    """The whole lines of a file, each as it stands and what it says."""
    for line in path.read_bytes().splitlines():
        try:
            record = json.loads(line)
            record["step"]
        except (ValueError, KeyError, TypeError):
            continue
        yield line, record
