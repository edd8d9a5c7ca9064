"""Several processes that train one model: what each learns from, how gradients meet, and how all act as one.

A loop that is right for one process is right for many if it goes like this; with one process every call costs nothing:

    with Group.from_environment() as group:                # joins the others; sets `group.device`
        module = group.wrap(network, config.distributed, precision, fits=…)     # puts it on the device
        loss = prepare(module, False if group.sharded else config.compile, …)   # compiling.py
        optimizers = make_optimizer(network, config)       # after wrap: sharding puts other parameters in place
        with group.interrupts(context) as interrupted:     # instead of context.deferred_interrupts()
            while step < max_steps and not interrupted():  # all processes ask, equally often
                group.seed(context.seed, step)             # dropout
                first, count = group.rows(step * S, S)     # the rows of the step's S that this process learns from
                counted = group.total(targets that count in these rows)         # of the whole step
                for batch in the micro-batches of these rows:
                    with group.accumulating(module, last=…):                    # gradients meet in the last one
                        value = loss(…) / counted
                        value.backward()
                norm = group.clip(network.parameters(), grad_clip)
                shown = group.sum(the values added up)     # a new tensor on the device, no host sync

Gradients are summed, not averaged, since the loss is divided by the targets of the whole step. After each step all
processes hold the same numbers, so decisions taken from these (`shown`, `norm`, the validation loss) are the same
everywhere; what rests on anything else (time, disk, memory, signals) goes through `agree`, `decide` or `least`.

- `prepare` gets the network from one process; from several a module that gives the summed loss when called with
  (tokens, targets, documents). It may compile the trunk of the WithLoss in there, but not the module: the exchange of
  gradients hangs on its call.
- Files: `if group.first:` writes, nobody else; `group.barrier()` before others read what the first wrote, and before it
  deletes what others read. `group.require_same(step, "checkpoint")` after all have loaded one.
- Checkpoints are the same whatever the number of processes. Before saving all call `group.whole(tensors)`: the first
  gets whole tensors on the CPU, the others nothing. After loading (all read the file) `group.shares(tensors, like)`
  gives what a process holds, shared out as the tensors of `like`, by name (parameters; for optimizer state, too).
- Validation: `for batch, counts in group.share(batches)`: each process gets equally many; where `counts` is False the
  batch is there for company alone. Add up with `group.sum` and `group.total`. Samples: only where not `group.sharded`.
- Out of memory: one that fails inside the last micro-batch, or anywhere when sharded, leaves the others waiting, and
  the run ends. So try the micro-batch beforehand with a forward and backward in `accumulating(module, last=False)`, ask
  `agree(out_of_memory)`, and drop the gradients; in later steps ask before the last micro-batch.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import count as counter
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import torch
from torch import Tensor, nn

from pipeline import launch
from pipeline.errors import Interrupted, StageError
from pipeline.hardware import usable_cores
from pipeline.stage import Context
from stages.training.compiling import WithLoss

if TYPE_CHECKING:
    from types import TracebackType

    from stages.training.networks.network import Network

ItemT = TypeVar("ItemT")
PATIENCE = timedelta(minutes=30)  # for a process that is busy alone; one that died is noticed at once
_meetings = counter()


@dataclass
class Group:
    """The processes that train together, as one of them sees it: itself as number `rank` of `size`, on `device`."""

    rank: int = 0
    size: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    sharded: bool = False

    @classmethod
    def from_environment(cls) -> Group:
        """Join the processes that RANK and WORLD_SIZE tell of; alone where they tell of none.

        Each takes the CUDA device of its LOCAL_RANK, or its share of the cores. Raises StageError where there are more
        processes than devices.
        """
        size, rank, local = launch.size(), launch.rank(), launch.local_rank()
        cuda = torch.cuda.is_available()
        if cuda and local >= torch.cuda.device_count():
            raise StageError(
                f"process {rank} has no CUDA device: {torch.cuda.device_count()} here",
                hint="start as many processes as there are devices: --nproc or --nproc-per-node",
            )
        group = cls(rank, size, torch.device("cuda", local) if cuda else torch.device("cpu"))
        if size > 1:
            group._join()
        return group

    def _join(self) -> None:
        import torch.distributed as dist

        if self.device.type == "cuda":
            torch.cuda.set_device(self.device)
        elif "OMP_NUM_THREADS" not in os.environ:
            torch.set_num_threads(max(usable_cores() // launch.local_size(), 1))
        store = dist.PrefixStore(f"group-{next(_meetings)}", launch.store())  # type: ignore[attr-defined]
        backend = "cpu:gloo,cuda:nccl" if self.device.type == "cuda" else "gloo"
        dist.init_process_group(backend, store=store, rank=self.rank, world_size=self.size, timeout=PATIENCE)

    def __enter__(self) -> Group:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.size > 1:
            import torch.distributed as dist

            if error is None:
                self.barrier()
            if error is None or self.first or isinstance(error, Interrupted):
                dist.destroy_process_group()  # else: what went wrong here is to be told before others lose this one
            # The group's thread lets go of its last tensors under the interpreter's lock. It must have done so before
            # the garbage collector, which holds that lock, ends the group and waits for the thread.
            time.sleep(0.2)

    @property
    def first(self) -> bool:
        """Whether this process is the one that decides and writes."""
        return self.rank == 0

    def rows(self, start: int, sequences: int) -> tuple[int, int]:
        """Number of the first, and how many, of the rows `start` … `start + sequences - 1` are this process's own.

        Raises StageError where they cannot be shared out evenly.
        """
        if sequences % self.size:
            below = sequences // self.size * self.size
            nearest = " or ".join(str(value) for value in (below, below + self.size) if value)
            raise StageError(
                f"{sequences} sequences a step cannot be shared out to {self.size} processes",
                hint=f"make it {nearest}: batch_size × gradient_accumulation, or tokens_per_step / context_length",
            )
        own = sequences // self.size
        return start + self.rank * own, own

    def share(self, items: Sequence[ItemT]) -> Iterator[tuple[ItemT, bool]]:
        """This process's share of the items; where it runs out before others, the last one again with False."""
        for first in range(0, len(items), self.size):
            index = first + self.rank
            yield items[min(index, len(items) - 1)], index < len(items)

    def seed(self, seed: int, step: int) -> None:
        """Make what is drawn from here on a function of the seed, the step and the process."""
        torch.manual_seed((seed * 1_000_003 + step) * 1_009 + self.rank)

    def sum(self, tensor: Tensor) -> Tensor:
        """The sum over the processes, the same for all, as a new tensor on the same device."""
        if self.size == 1:
            return tensor
        import torch.distributed as dist

        total = tensor.detach().clone()
        dist.all_reduce(total)
        return total

    def total(self, number: int) -> int:
        """The sum of a number over the processes."""
        return int(self.sum(torch.tensor(number))) if self.size > 1 else number

    def agree(self, flag: bool) -> bool:
        """Whether any process says so; what each of them then goes by."""
        return self.total(int(flag)) > 0

    def decide(self, number: float) -> float:
        """What the first process says, for all."""
        if self.size == 1:
            return number
        import torch.distributed as dist

        told = torch.tensor(number, dtype=torch.float64)
        dist.broadcast(told, src=0)
        return float(told)

    def least(self, number: float) -> float:
        """The smallest that any process says, for all."""
        if self.size == 1:
            return number
        import torch.distributed as dist

        told = torch.tensor(number, dtype=torch.float64)
        dist.all_reduce(told, dist.ReduceOp.MIN)
        return float(told)

    def require_same(self, number: float, what: str) -> None:
        """Raises StageError in all processes where one has another number than the first."""
        if self.agree(number != self.decide(number)):
            raise StageError(
                f"the processes do not see the same {what}", hint="all need the same folder, the same code and config"
            )

    def barrier(self) -> None:
        """Wait until all are here. On the CPU: work under way on a device goes on."""
        self.total(0)

    @contextmanager
    def interrupts(self, context: Context) -> Iterator[Callable[[], bool]]:
        """`context.deferred_interrupts` for all at once: a signal to any process makes the function true everywhere.

        The function is to be called by all processes, equally often. Leaving the block raises Interrupted in all.
        """
        with context.deferred_interrupts() as interrupted:
            agreed = False

            def asked() -> bool:
                nonlocal agreed
                agreed = agreed or self.agree(interrupted())
                return agreed

            yield asked
            if agreed:
                self.barrier()  # who leaves first would break the connections that others still use
        if agreed:
            raise Interrupted(
                "another process of this run was told to end; finished stages are kept",
                signal_number=signal.SIGTERM,
                hint="run the same command again to go on",
            )

    def wrap(
        self, network: Network, how: Literal["auto", "ddp", "fsdp"], precision: str, *, fits: bool = True
    ) -> nn.Module:
        """What `prepare` makes the loss from: the network, or what shares it with other processes; on the device.

        `ddp`: a copy in each process, that of the first. `fsdp`: each holds a share of every parameter, gradient and
        optimizer state, and has a block whole only while it works on it (Zhao et al. 2023, arXiv 2304.11277; torch's
        fully_shard); `auto` does so where `fits` says that a copy is too large.
        """
        if self.size == 1:
            return network.to(self.device)
        self.sharded = how == "fsdp" or (how == "auto" and not fits)
        if self.sharded:
            return _sharded(network, self.device, self.size, precision)
        return _copied(network.to(self.device))

    def accumulating(self, module: nn.Module, *, last: bool) -> AbstractContextManager[Any]:
        """Around forward and backward of a micro-batch: copies exchange gradients in the last one of a step alone.

        Shards exchange them in each, since whole gradients would not fit.
        """
        if self.size == 1 or self.sharded or last:
            return nullcontext()
        assert isinstance(module, nn.parallel.DistributedDataParallel)
        return module.no_sync()

    def clip(self, parameters: Iterator[nn.Parameter] | Sequence[nn.Parameter], largest: float) -> Tensor:
        """The norm of all gradients before they are scaled down to `largest` (0: they stay as they are)."""
        owned = [parameter for parameter in parameters if parameter.grad is not None]
        norm = torch.nn.utils.get_total_norm([parameter.grad for parameter in owned if parameter.grad is not None])
        norm = whole(norm)
        if largest:
            finite = norm.nan_to_num(0.0, 0.0, 0.0)  # a gradient that is not is left alone, to be looked at
            torch.nn.utils.clip_grads_with_norm_(owned, largest, finite)
        return norm

    def whole(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Whole tensors on the CPU for the first process, which writes them; none for the others. All call it."""
        gathered = ((name, whole(tensor)) for name, tensor in tensors.items())
        return {name: tensor.cpu().contiguous() for name, tensor in gathered if self.first}

    def shares(self, tensors: Mapping[str, Tensor], like: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Of whole tensors what this process holds, shared out as the tensors of the same name and shape in `like`."""
        return {
            name: share_of(tensor, like[name]) if name in like and like[name].shape == tensor.shape else tensor
            for name, tensor in tensors.items()
        }


def whole(tensor: Tensor) -> Tensor:
    """A tensor that is shared out over the processes as a whole one; all of them call it. Others stay as they are."""
    tensor = tensor.detach()
    return tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor


def share_of(tensor: Tensor, like: Tensor) -> Tensor:
    """What this process holds of a whole tensor that is shared out as `like`; no communication."""
    if not hasattr(like, "placements"):
        return tensor
    from torch.distributed.tensor import DTensor, distribute_tensor

    assert isinstance(like, DTensor)
    return distribute_tensor(tensor.to(like.device), like.device_mesh, like.placements, src_data_rank=None)


def _copied(network: Network) -> nn.Module:
    from torch.nn.parallel import DistributedDataParallel

    module = DistributedDataParallel(WithLoss(network), forward_sync_buffers=False, gradient_as_bucket_view=True)
    module.register_comm_hook(None, lambda state, bucket: _add_up(bucket))  # a lambda: annotations are refused
    return module


def _add_up(bucket: Any) -> torch.futures.Future[Tensor]:
    """Sum the gradients of a bucket, where DistributedDataParallel by itself would average."""
    import torch.distributed as dist

    work = dist.all_reduce(bucket.buffer(), async_op=True)
    summed: torch.futures.Future[Tensor] = work.get_future().then(lambda done: done.value()[0])
    return summed


def _sharded(network: Network, device: torch.device, size: int, precision: str) -> nn.Module:
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard

    mesh = init_device_mesh(device.type, (size,))
    # A block travels in bf16 where it computes in it, but what passes through it stays fp32, as in one process.
    half = MixedPrecisionPolicy(param_dtype=torch.bfloat16, reduce_dtype=torch.float32, cast_forward_inputs=False)
    policy = half if precision == "bf16-mixed" else MixedPrecisionPolicy()
    module = WithLoss(network)
    blocks = network.blocks
    assert isinstance(blocks, nn.ModuleList)
    for block in blocks:
        fully_shard(block, mesh=mesh, mp_policy=policy)
    fully_shard(module, mesh=mesh)
    for part in module.modules():
        if isinstance(part, FSDPModule):
            part.set_gradient_divide_factor(1.0)
            part.set_force_sum_reduction_for_comms(True)
    return module
