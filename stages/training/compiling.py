"""How a network is run for training: number formats, torch.compile where it pays, and what happens where it fails."""

from __future__ import annotations

import ctypes
import os
import shutil
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import Any, Literal, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pipeline.hardware import fast_bf16
from stages.training.loss import IGNORED, chunk_loss, cross_entropy_sum
from stages.training.networks.network import Network
from stages.training.settings import Precision

LossFunction = Callable[[Tensor, Tensor, Tensor | None], Tensor]

WORTH = 1e14  # operations of a run from which compiling pays on the CPU: some minutes of work against half a minute
WIDTHS = 4  # widths of micro-batches that are compiled: quarters of the context
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, LARGEST_THRESHOLD = -1, -3, 32 * 2**20  # of glibc's malloc.h


def prepare(
    network: nn.Module,
    how: Literal["auto"] | bool,
    *,
    device: torch.device,
    precision: str,
    warn: Callable[[str], None],
    say: Callable[[str], None],
    flops: float = 0.0,
) -> LossFunction:
    """The function from (tokens, targets, documents or None) to the summed loss of a micro-batch, in nats.

    `network` is a Network, or a module around one that gives this loss when called with the three. `how` is `compile`
    of the config: `auto` compiles on CUDA devices, and on the CPU where there is a C++ compiler and `flops`, what the
    whole run computes (0: unknown, and taken as much), is worth it. Evaluation (under no_grad) is never compiled. The
    first micro-batch of each shape takes long; it leaves random state and gradients as if it had not been tried.
    """
    if device.type == "cuda":
        torch.set_float32_matmul_precision("high")  # TF32
    else:
        _keep_freed_memory()
    module = WithLoss(network) if isinstance(network, Network) else network
    if how is False or (how == "auto" and device.type == "cpu" and 0 < flops < WORTH):
        return _eager(module, device, precision)
    if device.type == "cpu" and not _cpp_compiler():
        warn("torch.compile needs a C++ compiler, and there is none (g++, clang++); training goes on without it")
        return _eager(module, device, precision)
    return _Compiled(module, device, precision, warn, say)


class WithLoss(nn.Module):
    """A network together with its loss, of which `chunk` is the part that may be compiled."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network, self.chunk = network, chunk_loss

    def forward(self, tokens: Tensor, targets: Tensor, documents: Tensor | None = None) -> Tensor:
        """The cross-entropy of a micro-batch, summed over the targets that count, in nats."""
        return cross_entropy_sum(self.network, self.network.hidden(tokens, documents), targets, chunk=self.chunk)


def autocast(device: torch.device, precision: str) -> AbstractContextManager[Any]:
    """The context in which matrix products run in bf16 for `bf16-mixed`; nothing for the other precisions."""
    if precision != "bf16-mixed":
        return nullcontext()
    return torch.autocast(device.type, dtype=torch.bfloat16)


def _eager(module: nn.Module, device: torch.device, precision: str) -> LossFunction:
    def loss(tokens: Tensor, targets: Tensor, documents: Tensor | None = None) -> Tensor:
        with autocast(device, precision):
            total: Tensor = module(tokens, targets, documents)
        return total

    return loss


class _Compiled:
    """The loss with compiled blocks in training, plain in evaluation and where compiling failed.

    One block is compiled and serves as all, which takes a fraction of the time that the whole network would. Shapes are
    compiled each for itself, which is fastest; padding to a few widths keeps them few. What runs compiled depends on
    the shape alone, so that a resumed run repeats itself.
    """

    def __init__(
        self,
        module: nn.Module,
        device: torch.device,
        precision: str,
        warn: Callable[[str], None],
        say: Callable[[str], None],
    ) -> None:
        self.device, self.precision, self.warn, self.say = device, precision, warn, say
        self.loss = _eager(module, device, precision)
        self.inner = next(part for part in module.modules() if isinstance(part, WithLoss))
        self.network = self.inner.network
        self.chunk = chunk_loss
        self.blocks = list(self.network.get_submodule("blocks").children())
        self.plain = [block.forward for block in self.blocks]
        self.forwards = self.plain
        self.ready: set[tuple[object, ...]] = set()
        self.works = True

    def __call__(self, tokens: Tensor, targets: Tensor, documents: Tensor | None = None) -> Tensor:
        if not self.works or not torch.is_grad_enabled():
            return self.loss(tokens, targets, documents)
        tokens, targets, documents = self._padded(tokens, targets, documents)
        shape = (tokens.shape, documents is None, self.network.training)
        if shape not in self.ready:
            self._try(tokens, targets, documents)
            self.ready.add(shape)
        with self._compiled() if self.works else nullcontext():
            return self.loss(tokens, targets, documents)

    @contextmanager
    def _compiled(self) -> Iterator[None]:
        """The compiled parts in the place of the plain ones. Those of a block stay in effect for its backward pass."""
        self.inner.chunk = self.chunk
        for block, forward in zip(self.blocks, self.forwards, strict=True):
            block.forward = forward
        try:
            yield
        finally:
            self.inner.chunk = chunk_loss
            for block, forward in zip(self.blocks, self.plain, strict=True):
                block.forward = forward

    def _make(self) -> None:
        """Say what is to be compiled; that happens when it is called."""
        if self.chunk is chunk_loss:
            compiled = torch.compile(type(self.blocks[0]).forward, dynamic=False)
            self.forwards = [_instead(block, partial(compiled, block)) for block in self.blocks]
            self.chunk = torch.compile(chunk_loss, dynamic=False)
            torch._dynamo.config.recompile_limit = max(torch._dynamo.config.recompile_limit, 64)

    def _try(self, tokens: Tensor, targets: Tensor, documents: Tensor | None) -> None:
        """Compile forward and backward by running them once. Raises OutOfMemoryError as any run may."""
        began = time.monotonic()
        weights = [parameter for parameter in self.network.parameters() if parameter.requires_grad]
        devices = [self.device] if self.device.type == "cuda" else []
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # torch warns of itself
                self._make()
                with torch.random.fork_rng(devices), self._compiled(), autocast(self.device, self.precision):
                    torch.autograd.grad(self.inner(tokens, targets, documents), weights, allow_unused=True)
        except torch.OutOfMemoryError:
            raise
        except Exception as error:
            self.works = False
            why = (str(error).strip() or type(error).__name__).splitlines()[0]
            self.warn(f"torch.compile does not work here ({why}); training goes on without it")
        else:
            rows, width = tokens.shape
            self.say(f"compiled for {rows} × {width} tokens in {time.monotonic() - began:.0f} s")

    def _padded(
        self, tokens: Tensor, targets: Tensor, documents: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """Padded to the next quarter of the context; what is padded is seen by no token and counts nowhere."""
        context = self.network.context_length
        width = -(-context // WIDTHS)
        missing = min(-(-tokens.shape[1] // width) * width, context) - tokens.shape[1]
        if missing <= 0:
            return tokens, targets, documents
        if documents is not None:
            documents = F.pad(documents, (0, missing), value=-1)
        return F.pad(tokens, (0, missing)), F.pad(targets, (0, missing), value=IGNORED), documents


def _instead(block: nn.Module, compiled: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """What takes the place of a block's forward; one that recomputes (recompute.py) does so with the compiled one."""
    plain = block.forward
    return partial(plain.func, block, compiled) if isinstance(plain, partial) else compiled


def _cpp_compiler() -> bool:
    named = os.environ.get("CXX", "")
    return any(shutil.which(name) for name in (named, "g++", "clang++", "cl") if name)


def _keep_freed_memory() -> None:
    """Have malloc keep what is freed, since a step soon wants it again: giving it back costs a page fault per 4 KiB."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError, TypeError):
        return  # not glibc
    mallopt(M_MMAP_THRESHOLD, LARGEST_THRESHOLD)
    mallopt(M_TRIM_THRESHOLD, 2**31 - 1)


def resolve_precision(wanted: str, device: torch.device) -> Precision:
    """`auto` as what it stands for on the device."""
    if wanted != "auto":
        return cast(Precision, wanted)
    fast = torch.cuda.is_bf16_supported(including_emulation=False) if device.type == "cuda" else fast_bf16()
    return "bf16-mixed" if fast else "fp32"
