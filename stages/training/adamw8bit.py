"""AdamW whose two moments take a byte each, and which can keep its weights in bf16."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import cache
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from stages.training.parallel import share_of

BLOCK = 256
SMALLEST = 4096
CHUNK_VALUES = 2**22
MOMENTS = ("first", "second")


class AdamW8bit(torch.optim.Optimizer):
    """AdamW (arXiv 1711.05101) whose moments are quantised by blocks (Dettmers et al. 2021, arXiv 2110.02861).

    Each run of up to 256 values in a row has a scale of its own, so that rows can be shared out over processes. Vectors
    and matrices of less than 4096 values keep fp32 moments. Weights in bf16 are rounded up or down by chance, so that
    updates smaller than their spacing count on average (Zamirai et al. 2020, arXiv 2010.06192); what is drawn follows
    from the step alone, so that a resumed run goes on exactly.
    """

    def __init__(
        self,
        parameters: Iterable[Any],
        *,
        lr: float,
        weight_decay: float = 0.0,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
    ) -> None:
        super().__init__(parameters, dict(lr=lr, weight_decay=weight_decay, betas=betas, eps=eps))
        self._generators: dict[torch.device, torch.Generator] = {}

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Apply the gradients; a parameter without one is left alone."""
        number = 0
        for group in self.param_groups:
            for parameter in group["params"]:
                number += 1
                if parameter.grad is not None:
                    self._move(parameter, group, number)

    def _move(self, parameter: Tensor, group: dict[str, Any], number: int) -> None:
        state = self.state[parameter]
        if not state:
            state.update(initial_state(parameter))
        state["step"] += 1
        step, (beta1, beta2) = int(state["step"]), group["betas"]
        weight, gradient = _local(parameter), _local(parameter.grad)
        device = weight.device
        # A tensor, not numbers: the compiled update would be made anew for each learning rate.
        told = torch.tensor(
            [
                1 - group["lr"] * group["weight_decay"],
                group["lr"] / (1 - beta1**step),
                (1 - beta2**step) ** -0.5,
                group["eps"],
                beta1,
                beta2,
            ]
        ).to(device, non_blocking=True)
        generator = self._generators.setdefault(device, torch.Generator(device))
        generator.manual_seed((step << 20) + number)
        moments = {name: _local(value) for name, value in state.items() if name != "step"}
        update = _update(device.type) if "first_scale" in state else advance
        tables = {name: table(name, device) for name in MOMENTS}
        for rows in _chunks(weight):
            noise = None
            if weight.dtype == torch.bfloat16:
                shape = weight[rows].shape
                noise = torch.randint(2**16, shape, generator=generator, device=device, dtype=torch.int32)
            values = {name: value[rows] for name, value in moments.items()}
            update(weight[rows], gradient[rows], values, told, noise, tables)


def initial_state(parameter: Tensor) -> dict[str, Tensor]:
    """The state of a parameter before the first step; its tensors are shared out as the parameter is."""
    state = {"step": torch.zeros((), dtype=torch.float32)}
    small = parameter.dim() < 2 or parameter.numel() < SMALLEST
    for name in MOMENTS:
        if small:
            state[name] = torch.zeros_like(parameter, dtype=torch.float32)
        else:
            blocks = (*parameter.shape[:-1], -(-parameter.shape[-1] // BLOCK))
            state[name] = torch.full_like(parameter, table(name).zero, dtype=torch.uint8)
            scale = torch.zeros(blocks, dtype=torch.float32, device=parameter.device)
            state[f"{name}_scale"] = share_of(scale, parameter)
    return state


class Table(NamedTuple):
    """The 256 values that a byte stands for, ascending, the middles between them, and the byte nearest to zero."""

    values: Tensor
    middles: Tensor
    zero: int


def advance(
    weight: Tensor,
    gradient: Tensor,
    state: dict[str, Tensor],
    told: Tensor,
    noise: Tensor | None,
    tables: dict[str, Table],
) -> None:
    """One step of AdamW in place, computed in fp32; `told`: kept share, rate, 1/√(1 - β2ᵗ), ε, β1, β2."""
    keep, rate, correction, eps, beta1, beta2 = told.unbind()
    slope = gradient.float()
    first = _read(state, "first", tables).lerp(slope, 1 - beta1)
    second = _read(state, "second", tables).lerp(slope * slope, 1 - beta2)
    moved = weight.float() * keep - rate * first / (second.sqrt() * correction + eps)
    weight.copy_(moved if noise is None else rounded_by_chance(moved, noise))
    _write(state, "first", first, tables)
    _write(state, "second", second, tables)


def rounded_by_chance(values: Tensor, noise: Tensor) -> Tensor:
    """fp32 to bf16, up or down with chances that make the mean right; noise: int32, uniform in 0 … 65535.

    bf16 is the upper half of fp32: adding noise to the lower half carries over as often as that is large.
    """
    return ((values.view(torch.int32) + noise) & -(2**16)).view(torch.float32).to(torch.bfloat16)


@cache
def table(moment: str, device: torch.device | str = "cpu") -> Table:
    """Bytes for values in -1 … 1 (first) or 0 … 1 (second): "dynamic tree quantisation", as the paper calls it.

    Seven decades below 1, each cut evenly into twice as many parts as the one below, with the middles as values, and 1.
    First: 0 and -1 are values, for which the smallest above 0 gives way: without -1 a block whose largest moment is
    negative would lose 0.7 % of it each step. Second: there is no 0 but 1e-7: a second moment taken for zero would
    make a step without bounds (Li et al. 2023, arXiv 2309.01507).
    """
    signed, values = moment == "first", [1.0]
    for decade in range(7):
        parts = 2**decade if signed else 2 ** (decade + 1)
        values += [10.0 ** (decade - 6) * (0.1 + 0.9 * (part + 0.5) / parts) for part in range(parts)]
    if signed:
        values = [-value for value in values] + [0.0] + [value for value in values if value > 1e-6]
    else:
        values.append(1e-7)
    found = torch.tensor(sorted(values), dtype=torch.float32)
    middles = (found[1:] + found[:-1]) / 2
    return Table(found.to(device), middles.to(device), int(found.abs().argmin()))


def quantise(values: Tensor, table: Table) -> tuple[Tensor, Tensor]:
    """Bytes of the shape of `values` (…, columns) and a scale for each block of a row, (…, blocks)."""
    blocks = _blocks(values)
    scale = blocks.abs().amax(dim=-1)
    shares = blocks / scale.clamp_min(1e-38).unsqueeze(-1)
    found = torch.bucketize(shares, table.middles, out_int32=True).to(torch.uint8)
    return found.flatten(-2)[..., : values.shape[-1]], scale


def dequantise(found: Tensor, scale: Tensor, table: Table) -> Tensor:
    """The values that `quantise` brought to bytes, nearly, in fp32."""
    blocks = _blocks(table.values[found.int()])
    return (blocks * scale.unsqueeze(-1)).flatten(-2)[..., : found.shape[-1]]


def _blocks(values: Tensor) -> Tensor:
    """(…, columns) as (…, blocks, values of a block), filled up with zeros."""
    columns = values.shape[-1]
    size = min(columns, BLOCK)
    if columns % size:
        values = F.pad(values, (0, size - columns % size))
    return values.view(*values.shape[:-1], -1, size)


def _read(state: dict[str, Tensor], name: str, tables: dict[str, Table]) -> Tensor:
    scale = state.get(f"{name}_scale")
    return state[name] if scale is None else dequantise(state[name], scale, tables[name])


def _write(state: dict[str, Tensor], name: str, values: Tensor, tables: dict[str, Table]) -> None:
    scale = state.get(f"{name}_scale")
    if scale is None:
        state[name].copy_(values)
        return
    found, scales = quantise(values, tables[name])
    state[name].copy_(found)
    scale.copy_(scales)


def _local(tensor: Any) -> Tensor:
    """This process's share of a tensor, which is the tensor itself where nothing is shared out."""
    local: Tensor = tensor.to_local() if hasattr(tensor, "to_local") else tensor
    return local


def _chunks(weight: Tensor) -> Iterator[slice]:
    """Rows to work on at once, which bounds what the update needs beside the state."""
    rows = max(CHUNK_VALUES // max(weight[0].numel(), 1), 1) if len(weight) else 1
    for start in range(0, len(weight), rows):
        yield slice(start, start + rows)


@cache
def _update(device_type: str) -> Callable[..., None]:
    """`advance`, made one kernel by torch.compile on a GPU if a trial shows that this works."""
    if device_type != "cuda":
        return advance
    compiled = torch.compile(advance, dynamic=True)
    try:
        weight = torch.zeros(16, BLOCK, device=device_type, dtype=torch.bfloat16)
        state = {name: value for name, value in initial_state(weight).items() if name != "step"}
        tables = {name: table(name, weight.device) for name in MOMENTS}
        noise = torch.zeros_like(weight, dtype=torch.int32)
        compiled(weight, weight.clone(), state, torch.ones(6, device=device_type), noise, tables)
    except Exception:
        return advance
    return compiled
