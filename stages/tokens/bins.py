"""Token files of another program, nanoGPT above all: `train.bin` and `val.bin`, uint16 ids one after another."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from pipeline.errors import StageError, UsageError
from stages.tokens.interface import Encoding
from stages.tokens.usage import Usage

SIDES = ("train", "val")
IDS_AT_ONCE = 2**22


def files(folder: Path) -> list[Path]:
    """The files of the two sides; raises UsageError where one is missing."""
    found = [folder / f"{side}.bin" for side in SIDES]
    for path in found:
        if not path.is_file():
            raise UsageError(
                f"tokenize.from_bins: there is no {path}",
                hint="name the folder that holds train.bin and val.bin, such as nanoGPT/data/shakespeare_char",
            )
    return found


def take(source: Path, folder: Path, side: str, encoding: Encoding, usage: Usage | None = None) -> dict[str, int]:
    """Copy one file to `<side>.bin` and write `<side>.idx`, the start of each document; counts as for texts.

    A document ends with the tokenizer's `eos`; without one in it the file is one document. Raises StageError where the
    file has ids that the tokenizer lacks: they are then another tokenizer's.
    """
    if source.stat().st_size % 2:
        raise StageError(f"tokenize.from_bins: {source} has an odd number of bytes; it has to hold uint16 ids")
    counts = np.zeros(2**16, dtype=np.int64)
    starts = [np.zeros(1, dtype="<i8")]
    tokens = 0
    with source.open("rb") as file, (folder / f"{side}.bin").open("wb") as copy:
        while len(ids := np.fromfile(file, dtype="<u2", count=IDS_AT_ONCE)):
            ids.tofile(copy)
            counts += np.bincount(ids, minlength=2**16)
            starts.append(np.flatnonzero(ids == encoding.eos_id) + tokens + 1)
            tokens += len(ids)
    _require_ids_known(source, counts, encoding)
    if usage:
        usage.see(np.flatnonzero(counts))
    beginnings = np.concatenate(starts).astype("<i8")
    beginnings = beginnings[beginnings < tokens]
    beginnings.tofile(folder / f"{side}.idx")
    sizes = np.asarray(encoding.sizes(), dtype=np.int64)[: 2**16]
    return {"documents": len(beginnings), "tokens": tokens, "bytes": int(counts[: len(sizes)] @ sizes)}


def _require_ids_known(source: Path, counts: np.ndarray[Any, Any], encoding: Encoding) -> None:
    highest = int(np.flatnonzero(counts).max(initial=0))
    if highest < encoding.vocab_size:
        return
    hint = "take the tokenizer that made it; for GPT-2's: tokenizer: {kind: byte_level, init_from: gpt2}"
    if (source.parent / "meta.pkl").exists():
        hint = (
            "these are characters: tokenizer: {kind: char, characters_from: the text they come from, such as input.txt "
            "beside it} (meta.pkl is never read: a pickle can run anything)"
        )
    raise StageError(
        f"tokenize.from_bins: {source} has the id {highest}, and the tokenizer only {encoding.vocab_size} pieces",
        hint=hint,
    )
