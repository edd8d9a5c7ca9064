"""Choose the type of each matrix so that a file of a given size stays as close as possible to the unquantised model.

For small changes of the weights, the divergence of the model's predictions from the unquantised model's is a quadratic
form: half the Fisher information (Amari, Neural Computation 10, 1998). Errors of rounding are independent from weight
to weight, so the diagonal is enough: each weight's squared error costs half of what `fisher` measured there. Costs of
matrices add up, and the cheapest types within the size are a knapsack, solved exactly.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipeline.console import size as told_size
from pipeline.hardware import usable_cores
from stages.release.errors import ReleaseError
from stages.release.header import TensorInfo, nbytes, padded, read_header
from stages.release.imatrix import Advance, Windows, load_model, matrices, torch_threads
from stages.release.llamacpp import quantize_rows

if TYPE_CHECKING:
    import torch

# What can be chosen, for rows that are a multiple of 256, of 32, and for all others. Types that were never the best at
# their size are left out, and so are those below Q2_K: they come out worse than the quadratic form says.
TYPES: Mapping[int, tuple[str, ...]] = {
    256: ("Q2_K", "Q3_K", "IQ4_XS", "Q4_K", "Q5_K", "Q6_K", "Q8_0", "F16"),
    32: ("Q4_0", "IQ4_NL", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "F16"),
    1: ("F16",),
}
TOKENS = 8192  # of the windows that Fisher information is measured with: a quarter of it chose as well
_TOGETHER = 2048  # tokens that go through the model at once
_CHUNK = 1 << 18  # weights that a thread takes at once
_CELLS = 1 << 18  # steps of size that the knapsack tells apart
_MEASURING = 0.5  # share of the time that goes into Fisher information

_LARGEST = 10**15  # bytes: no file is so large
_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "ki": 2**10, "mi": 2**20, "gi": 2**30}
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kmg]i?|)b?", re.IGNORECASE)


@dataclass(frozen=True)
class Option:
    """A type that a matrix can have."""

    kind: str  # ggml type
    size: int  # bytes in the file
    cost: float = 0.0  # what it adds to the divergence, nats per token


@dataclass(frozen=True)
class Fitted:
    """A mix: what `quantize` takes as `types`."""

    types: Mapping[str, str]
    size: int  # bytes of the whole file
    divergence: float  # expected, from the unquantised model: nats per token


@dataclass(frozen=True)
class Costs:
    """What each type of each matrix takes and costs; one measurement serves several sizes."""

    options: Mapping[str, tuple[Option, ...]]
    head: int  # bytes of the file before its tensors
    vectors: int  # bytes of the tensors that are no matrix
    parameters: int  # of the whole model

    def fit(self, budget: int, *, reserve: int = 0) -> Fitted:
        """The mix of least divergence in a file of at most `budget` bytes, `reserve` of them for keys to be added.

        Raises ReleaseError, naming the smallest size possible, where nothing fits.
        """
        self.check(budget, reserve=reserve)
        fixed = padded(self.head + reserve) + self.vectors
        picked = knapsack(list(self.options.values()), budget - fixed)
        return Fitted(
            types={name: option.kind for name, option in zip(self.options, picked, strict=True)},
            size=fixed + sum(option.size for option in picked),
            divergence=sum(option.cost for option in picked),
        )

    def check(self, budget: int, *, reserve: int = 0) -> None:
        """Raise ReleaseError, naming the smallest size possible, where nothing fits into `budget` bytes."""
        fixed = padded(self.head + reserve) + self.vectors
        smallest = fixed + sum(min(option.size for option in options) for options in self.options.values())
        if budget < smallest:
            # A kilobyte more, because keys that tell of an importance matrix may not be known yet.
            raise ReleaseError(
                f"export: no mix fits into {told_size(budget)} ({budget} bytes): the smallest takes {smallest} bytes",
                hint=f"pipeline export --fit {smallest // 1000 + 2}kB",
            )

    def budget(self, bits: float) -> int:
        """Bytes of a file whose tensors take `bits` a weight on average, those that stay float32 among them."""
        return self.head + int(self.parameters * bits / 8)


def parse_size(text: str) -> int:
    """Bytes: `12MB`, `1.5 GB`, `11MiB` (k, M and G are powers of 1000, Ki, Mi and Gi of 1024). Else ValueError."""
    found = _SIZE.fullmatch(text.strip())
    size = float(found[1]) * _UNITS[found[2].lower()] if found else 0
    if not 1 <= size < _LARGEST:
        raise ValueError(f"{text!r} is no size such as 12MB or 1.5GiB")
    return round(size)


def unmeasured(huggingface: Path, base: Path) -> Costs:
    """What each type of each matrix takes; what it costs is not measured yet. Arguments as in `measure`."""
    header = read_header(base)
    places = {tensor.name: tensor for tensor in header.tensors}
    options = {name: _sized(places.pop(name)) for name in matrices(huggingface)}
    return Costs(
        options,
        head=min(tensor.offset for tensor in header.tensors),
        vectors=sum(padded(nbytes("F32", tensor.shape)) for tensor in places.values()),
        parameters=sum(math.prod(tensor.shape) for tensor in header.tensors),
    )


def _sized(tensor: TensorInfo) -> tuple[Option, ...]:
    """The types that a matrix can have."""
    kinds = next(kinds for block, kinds in TYPES.items() if tensor.shape[-1] % block == 0)
    return tuple(Option(kind, padded(nbytes(kind, tensor.shape))) for kind in kinds)


def measure(
    huggingface: Path,
    base: Path,
    windows: Windows,
    importance: Mapping[str, NDArray[np.float32]] | None = None,
    advance: Advance = lambda share: None,
) -> Costs:
    """Measure what each type costs in each matrix.

    `base` is the F16 or F32 GGUF that `quantize` will read, made of the folder `huggingface`; `windows` are token ids
    of a text as the model will meet it; `importance` is what `quantize` will be given. `advance` gets shares that add
    up to 1. In memory are the model, once more the size of its matrices, and the numbers of some windows. Raises
    ReleaseError where there are no windows, or predictions or a cost are not finite.
    """
    information = fisher(huggingface, windows, lambda share: advance(share * _MEASURING))
    costs, importance = unmeasured(huggingface, base), importance or {}
    places = {tensor.name: tensor for tensor in read_header(base).tensors}
    weights = sum(math.prod(places[name].shape) for name in information)
    options = {}
    with ThreadPoolExecutor(usable_cores()) as pool:
        for name, sized in costs.options.items():
            place, weighing = places[name], importance.get(name)
            options[name] = _measured(sized, place, base, information.pop(name), weighing, pool)
            if not all(math.isfinite(option.cost) for option in options[name]):
                raise ReleaseError(f"{base}: what it costs to quantise {name} is not finite")
            advance(math.prod(place.shape) / weights * (1 - _MEASURING))
    return replace(costs, options=options)


def fisher(
    huggingface: Path, windows: Windows, advance: Advance = lambda share: None
) -> dict[str, NDArray[np.float32]]:
    """The diagonal Fisher information per token of each matrix, by its name and in its form in a GGUF (rows, columns).

    It is the mean square gradient of the log-likelihood of tokens drawn from the model's own predictions; such draws
    are independent, so the gradients of several windows can be taken at once. Uses at most about TOKENS of the windows,
    spread over all of them. The draws are the same each time. Raises ReleaseError where there are no windows
    or predictions are not finite.
    """
    import torch

    batches = _batches(windows)
    if not batches:
        raise ReleaseError(f"{huggingface}: no text to measure sensitivity with")
    model, layout = load_model(huggingface), matrices(huggingface)
    squares: dict[str, torch.Tensor] = {}

    def adding(name: str) -> Any:
        def add(parameter: torch.Tensor) -> None:
            assert parameter.grad is not None
            squares[name] = parameter.grad.square_() + squares.get(name, 0)
            parameter.grad = None

        return add

    for name, tensor in layout.items():
        parameter = model.get_parameter(tensor.source).requires_grad_()
        parameter.register_post_accumulate_grad_hook(adding(name))
    generator = torch.Generator().manual_seed(0)
    tokens = 0
    with torch_threads(max(1, usable_cores() // 2)):
        for batch in batches:
            likelihoods = torch.log_softmax(model(torch.tensor(batch), use_cache=False).logits.flatten(0, 1), dim=-1)
            if not likelihoods.isfinite().all():
                raise ReleaseError(f"{huggingface}: the model's predictions are not finite")
            drawn = torch.multinomial(likelihoods.detach().exp(), 1, generator=generator)
            likelihoods.gather(1, drawn).sum().backward()  # type: ignore[no-untyped-call]
            tokens += len(drawn)
            advance(1 / len(batches))
    return {
        name: np.ascontiguousarray(tensor.arranged(squares.pop(name).div_(tokens).numpy()))
        for name, tensor in layout.items()
    }


def knapsack(options: Sequence[Sequence[Option]], room: int) -> list[Option]:
    """One option of each of `options`, together of least cost among those of at most `room` bytes.

    There has to be one. Exact while sizes differ by multiples of one number that goes into `room` at most _CELLS
    times, as those of real models do; else sizes are rounded up to steps so fine.
    """
    smallest = [min(option.size for option in each) for each in options]
    spare = room - sum(smallest)
    extra = [[option.size - least for option in each] for each, least in zip(options, smallest, strict=True)]
    step = max(math.gcd(*(size for sizes in extra for size in sizes)), -(-spare // _CELLS), 1)
    cells = spare // step + 1
    best, choices = np.zeros(cells), []  # least cost within each number of steps, and the choices that lead there
    for each, sizes in zip(options, extra, strict=True):
        cost, choice = np.full(cells, np.inf), np.zeros(cells, dtype=np.int8)
        for place, (option, size) in enumerate(zip(each, sizes, strict=True)):
            if (steps := -(-size // step)) < cells:
                with_it = best[: cells - steps] + option.cost
                better = with_it < cost[steps:]
                cost[steps:][better] = with_it[better]
                choice[steps:][better] = place
        best = cost
        choices.append(choice)
    left, picked = cells - 1, []
    for each, sizes, choice in zip(reversed(options), reversed(extra), reversed(choices), strict=True):
        place = int(choice[left])
        picked.append(each[place])
        left -= -(-sizes[place] // step)
    return picked[::-1]


def _batches(windows: Windows) -> list[list[list[int]]]:
    """At most about TOKENS of the windows, evenly spread over them, those of one length together."""
    every = max(1, -(-sum(map(len, windows)) // TOKENS))
    batches: list[list[list[int]]] = []
    for window in sorted(windows[::every], key=len):
        fits = batches and len(batches[-1][0]) == len(window)
        if fits and len(window) * (len(batches[-1]) + 1) <= _TOGETHER:
            batches[-1].append(list(window))
        else:
            batches.append([list(window)])
    return batches


def _measured(
    sized: Sequence[Option],
    tensor: TensorInfo,
    base: Path,
    information: NDArray[np.float32],
    importance: NDArray[np.float32] | None,
    pool: ThreadPoolExecutor,
) -> tuple[Option, ...]:
    """The types that a matrix can have, each with its cost."""
    rows, columns = tensor.shape
    step = max(1, _CHUNK // columns)
    parts = [(option.kind, slice(start, start + step)) for option in sized for start in range(0, rows, step)]
    values = np.memmap(base, {"F16": "<f2", "F32": "<f4"}[tensor.kind], "r", tensor.offset, tensor.shape)

    def cost(kind: str, part: slice) -> float:
        return _cost(np.asarray(values[part], dtype=np.float32), information[part], kind, importance)

    found = list(pool.map(cost, *zip(*parts, strict=True)))
    count = len(parts) // len(sized)
    return tuple(
        replace(option, cost=math.fsum(found[place * count : (place + 1) * count]))
        for place, option in enumerate(sized)
    )


def _cost(
    rows: NDArray[np.float32],
    information: NDArray[np.float32],
    kind: str,
    importance: NDArray[np.float32] | None,
) -> float:
    """What quantising some rows costs, in nats per token."""
    from gguf import GGMLQuantizationType
    from gguf.quants import dequantize

    if kind == "F16":
        rounded = rows.astype(np.float16).astype(np.float32)
    else:
        number = GGMLQuantizationType[kind]
        rounded = dequantize(quantize_rows(rows, number, importance), number)
    error = rounded - rows
    return 0.5 * float(np.vdot(information, error * error))
