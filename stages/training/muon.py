"""Muon: momentum whose matrices are orthogonalised before they are applied."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache
from itertools import groupby

import torch
from torch import Tensor, nn

from pipeline.hardware import fast_bf16
from stages.training.parallel import share_of, whole

# a·x + b·x³ + c·x⁵, one after the other, bring x in 0.003 … 1 to 0.8 … 1.2: each is the best of its degree on what the
# one before leaves (Amsel et al. 2025, arXiv 2505.16932). All but the last are made for an x that is 2 % too large, as
# rounding to bf16 makes some: beyond their range they grow without bounds.
_BEST = ((8.3837, -24.7659, 18.3571), (4.0434, -3.0114, 0.5695), (3.5056, -2.6267, 0.5257), (2.4901, -1.8343, 0.4368))
_ROOM = 1.02
POLYNOMIALS = (*((a / _ROOM, b / _ROOM**3, c / _ROOM**5) for a, b, c in _BEST[:-1]), _BEST[-1])

CACHED_VALUES, BATCH_VALUES = 2**22, 2**26  # orthogonalised at once, on a CPU and elsewhere


class Muon(torch.optim.Optimizer):
    """Muon (Jordan et al. 2024, https://kellerjordan.github.io/posts/muon) with Nesterov momentum and decoupled decay.

    The update of a rows × cols matrix is scaled by 0.2·√max(rows, cols), so that its values are as large as AdamW's and
    both work with one learning rate (Liu et al. 2025, arXiv 2502.16982). `row_parts` tells the rows of each matrix that
    lie stacked in a parameter, for each is orthogonalised by itself; empty: the parameter is one matrix. Parameters may
    be shared out over processes by rows. Raises ValueError for a parameter that is no matrix.
    """

    def __init__(
        self,
        parameters: Iterable[nn.Parameter],
        *,
        lr: float,
        weight_decay: float,
        momentum: float,
        row_parts: Callable[[nn.Parameter], Sequence[int]] = lambda parameter: (),
    ) -> None:
        super().__init__(parameters, dict(lr=lr, weight_decay=weight_decay, momentum=momentum))
        self.parts: dict[Tensor, tuple[int, ...]] = {}
        for parameter in (parameter for group in self.param_groups for parameter in group["params"]):
            if parameter.dim() != 2:
                raise ValueError(f"Muon moves matrices, not a parameter of shape {tuple(parameter.shape)}")
            self.parts[parameter] = tuple(row_parts(parameter)) or (parameter.shape[0],)

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Apply the gradients; a parameter without one is left alone."""
        for group in self.param_groups:
            for alike in self._alike(group["params"]):
                gradients = [parameter.grad for parameter in alike if parameter.grad is not None]
                momenta = [self._momentum(parameter) for parameter in alike]
                torch._foreach_lerp_(momenta, gradients, 1 - group["momentum"])
                ahead = torch._foreach_lerp(gradients, momenta, group["momentum"])
                matrices = [parameter.detach() for parameter in alike]
                updates = torch.stack([whole(update) for update in ahead])
                for part in torch.split(updates, list(self.parts[alike[0]]), dim=1):
                    rows, cols = part.shape[1:]
                    part.copy_(orthogonalise(part)).mul_(0.2 * max(rows, cols) ** 0.5)
                torch._foreach_mul_(matrices, 1 - group["lr"] * group["weight_decay"])
                shares = [share_of(update, weight) for weight, update in zip(matrices, updates, strict=True)]
                torch._foreach_add_(matrices, shares, alpha=-group["lr"])

    def _alike(self, parameters: list[nn.Parameter]) -> Iterator[list[nn.Parameter]]:
        """Those with a gradient, in groups of equal shape and parts that are small enough to work on at once."""

        def kind(parameter: nn.Parameter) -> tuple[tuple[int, ...], tuple[int, ...]]:
            return tuple(parameter.shape), self.parts[parameter]

        moved = sorted((parameter for parameter in parameters if parameter.grad is not None), key=kind)
        for _, group in groupby(moved, key=kind):
            alike = list(group)
            limit = CACHED_VALUES if alike[0].device.type == "cpu" else BATCH_VALUES
            count = max(limit // alike[0].numel(), 1)
            yield from (alike[start : start + count] for start in range(0, len(alike), count))

    def _momentum(self, parameter: Tensor) -> Tensor:
        state = self.state[parameter]
        if not state:
            state["momentum"] = torch.zeros_like(parameter)
        momentum: Tensor = state["momentum"]
        return momentum


def orthogonalise(matrices: Tensor) -> Tensor:
    """Nearly U·Vᵀ of each matrix U·S·Vᵀ in (count, rows, cols); a zero matrix stays zero.

    Singular values above 0.003 of a bound of the largest one come out at 0.8 … 1.2, smaller ones smaller. The bound is
    (Σ s⁴)^¼, which comes with the product that is needed anyway and is closer than the usual (Σ s²)^½: that makes four
    rounds reach as far as five. Computed in bf16 where the device multiplies it fast; float64 stays float64.
    """
    if matrices.shape[1] > matrices.shape[2]:
        return orthogonalise(matrices.transpose(1, 2)).transpose(1, 2)
    x = matrices.to(_precision(matrices), copy=True, memory_format=torch.contiguous_format)
    x /= torch.linalg.vector_norm(x, dim=(1, 2), keepdim=True).clamp_min(1e-30)
    gram = x @ x.mT
    bound = torch.linalg.vector_norm(gram, dim=(1, 2), keepdim=True).clamp_min(1e-7)
    x /= bound.sqrt()
    gram /= bound
    for index, (a, b, c) in enumerate(POLYNOMIALS):
        if index:
            gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x


def _precision(matrices: Tensor) -> torch.dtype:
    if matrices.dtype == torch.float64:
        return torch.float64
    return torch.bfloat16 if _fast_bf16(matrices.device.type) else torch.float32


@cache
def _fast_bf16(device_type: str) -> bool:
    return torch.cuda.is_bf16_supported() if device_type == "cuda" else fast_bf16()
