"""The GGUF files of a release: quantised by name or to a size, the coarse ones with an importance matrix."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.console import size as told_size
from stages.release.errors import ReleaseError
from stages.release.fit import Costs, Fitted, measure, parse_size, unmeasured
from stages.release.gguf import FileType, GgufMetadata, write_gguf
from stages.release.header import packed
from stages.release.imatrix import Windows, collect, matrices, read_imatrix, write_imatrix
from stages.release.mixes import QUANTS, Fallback
from stages.release.quantize import quantize, read_shapes

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

COARSE = ("q4_k_m", "q4_k_s", "q4_0", "iq4_xs", "q3_k_m", "q2_k")  # those that gain by an importance matrix
IMATRIX = "imatrix.gguf"
_DIRECT: Mapping[str, FileType] = {"f32": "f32", "bf16": "bf16"}  # of the trained weights, not of their F16
_NUMBER = re.compile(r"[\d.]+")
_BITS = re.compile(r"(\d+(?:\.\d+)?)bpw")
Advance = Callable[[float], Any]
Entry = dict[str, Any]


@dataclass(frozen=True)
class Model:
    """What files are made of: the HuggingFace folder, and the F16 GGUF in the release's folder.

    `metadata` is what all files say of themselves, `windows` the token ids of the text to calibrate with.
    """

    huggingface: Path
    base: Path
    metadata: GgufMetadata
    windows: Windows = ()

    def file(self, name: str) -> Path:
        return self.base.with_name(f"{self.metadata.name}-{name}.gguf")


@dataclass(frozen=True)
class Importance:
    """The mean square of what enters each column of the matrices, and the keys that tell of it in a file."""

    columns: Mapping[str, NDArray[np.float32]]
    notes: Mapping[str, str | int]

    @property
    def room(self) -> int:
        """Bytes that the keys take."""
        return sum(8 + len(key.encode()) + len(packed(value)) for key, value in self.notes.items())


NONE = Importance({}, {})


def measured_importance(model: Model, advance: Advance) -> Importance:
    """Measure it, and put it into the release as llama.cpp's tools write it."""
    text = f"validation text of {model.metadata.name}"
    found = collect(model.huggingface, model.windows, advance)
    path = model.base.with_name(IMATRIX)
    write_imatrix(path, found, dataset=text)
    known = _importance(path, read_imatrix(path))
    told: dict[str, str | int] = {"quantize.imatrix.dataset": text, "quantize.imatrix.chunks_count": found.windows}
    return Importance(known.columns, {**known.notes, **told})


def given_importance(model: Model, path: Path) -> Importance:
    """That of a file of llama-imatrix; raises ReleaseError where it is none, or of another model."""
    columns = read_imatrix(path)
    layout = matrices(model.huggingface)
    unknown = [name for name in layout if name.startswith("blk.") and name not in columns]
    if unknown:
        raise ReleaseError(
            f"export: {path} is of another model: it says nothing of {unknown[0]} and {len(unknown) - 1} more matrices",
            hint="export.imatrix: auto makes one of this model",
        )
    for name, tensor in layout.items():
        if name in columns and columns[name].shape != tensor.shape[-1:]:
            raise ReleaseError(
                f"export: {path} is of another model: {len(columns[name])} columns of {name}, here {tensor.shape[-1]}",
                hint="export.imatrix: auto makes one of this model",
            )
    return _importance(path, columns)


def _importance(path: Path, columns: Mapping[str, NDArray[np.float32]]) -> Importance:
    return Importance(columns, {"quantize.imatrix.file": path.name, "quantize.imatrix.entries_count": len(columns)})


def write_named(model: Model, quant: str, importance: Importance) -> Entry:
    """Write one of QUANTS; the importance counts for the COARSE ones.

    Returns `file`, `bytes`, `imatrix` (whether one was used) and `fallbacks` ({tensor: type} where its rows do not fit
    the type of the mix). Raises ReleaseError where the importance is of another model or a value does not fit its type.
    """
    path, known = model.file(quant), importance if quant in COARSE else NONE
    fallen: Mapping[str, Fallback] = {}
    if quant in _DIRECT:
        write_gguf(model.huggingface, path, file_type=_DIRECT[quant], metadata=model.metadata)
    elif path != model.base:
        fallen = quantize(model.base, path, quant, importance=known.columns, notes=known.notes)
    return _entry(path, known) | {"fallbacks": {name: fallback.used for name, fallback in fallen.items()}}


def check_sizes(model: Model, sizes: Sequence[str]) -> None:
    """Raise ReleaseError for a size that no file of the model can have: shapes tell it before anything is measured."""
    costs, largest = unmeasured(model.huggingface, model.base), model.base.stat().st_size
    for size in sizes:
        wanted = budget(costs, size)
        costs.check(wanted)
        if wanted > largest:
            raise ReleaseError(
                f"export: {told_size(wanted)} ({size}) is more than the F16 file takes, {told_size(largest)}, "
                "which loses nothing",
                hint="pipeline export --quant f16",
            )


def write_fits(model: Model, sizes: Sequence[str], importance: Importance, advance: Advance) -> Iterator[Entry]:
    """Write a file of each size, its types chosen for this model.

    Gives what `write_named` returns, with `types` ({type: number of matrices}) and the KL that is `expected`. Raises
    ReleaseError, naming the smallest size possible, where a size is too small.
    """
    costs = measure(model.huggingface, model.base, model.windows, importance.columns or None, advance)
    for size in sizes:
        path = model.file(f"fit-{size}")
        found = costs.fit(budget(costs, size), reserve=importance.room)
        quantize(
            model.base,
            path,
            _nearest(found, model.base),
            importance=importance.columns,
            types=found.types,
            notes=importance.notes,
        )
        types = dict(Counter(found.types.values()).most_common())
        yield _entry(path, importance) | {"fallbacks": {}, "types": types, "expected": round(found.divergence, 6)}


def checked_size(text: str) -> str:
    """A size as it is part of a file's name, each in one way: `12mb`, `4.5bpw`. Raises ValueError for what is none."""
    size = text.replace(" ", "").lower()
    if bits := _BITS.fullmatch(size):
        if not 1 <= float(bits[1]) <= 32:
            raise ValueError(f"{_short(text)}: bits per weight are from 1 to 32")
        return f"{float(bits[1]):g}bpw"
    try:
        parse_size(size)
        size = _NUMBER.sub(lambda number: f"{float(number[0]):.15g}", size)
        parse_size(size)  # again: a very small number has an exponent now
    except ValueError:
        raise ValueError(f"{_short(text)} is neither a size such as 12MB nor bits per weight such as 4.5bpw") from None
    return size


def _short(text: str) -> str:
    return repr(text if len(text) <= 40 else f"{text[:40]}…")


def budget(costs: Costs, size: str) -> int:
    """Bytes of a file of that size."""
    bits = _BITS.fullmatch(size)
    return costs.budget(float(bits[1])) if bits else parse_size(size)


def _entry(path: Path, importance: Importance) -> Entry:
    return {"file": path.name, "bytes": path.stat().st_size, "imatrix": bool(importance.columns)}


def _nearest(found: Fitted, base: Path) -> str:
    """The named mix whose matrices are of the type that most of the fitted weights have."""
    shapes = read_shapes(base)
    weights: Counter[str] = Counter()
    for name, kind in found.types.items():
        weights[kind] += math.prod(shapes[name])
    most = weights.most_common(1)[0][0]
    return next((quant for quant, mix in QUANTS.items() if mix.matrix == most), "q4_k_m")
