"""The optimizer of a network: which parameters it decays, which algorithm moves them, and its state by name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Adafactor, AdamW, Optimizer

from pipeline.errors import StageError
from stages.training.adamw8bit import AdamW8bit, initial_state
from stages.training.muon import Muon
from stages.training.networks.network import Network
from stages.training.parallel import share_of, whole
from stages.training.settings import TrainingConfig

SCALE = "scale"  # of a parameter group: its learning rate over the others'


def make_optimizer(network: Network, config: TrainingConfig) -> Optimizers:
    """The configured optimizer of a network that is on its device, and shared out if it is to be.

    Matrices decay, embeddings among them; norms and biases do not. The embedding may have a rate of its own. muon moves
    the matrices inside the blocks, AdamW the rest. The steps of adafactor (Shazeer & Stern 2018, arXiv 1804.04235) are
    relative to the size of the weights down to a floor; it is put above that size, so that `learning_rate` means here
    what it does for the others. Raises StageError for adafactor where parameters are shared out over processes.
    """
    trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
    matrices = [parameter for parameter in trained if parameter.dim() >= 2]
    rate, decay, betas = config.learning_rate, config.weight_decay, (config.beta1, config.beta2)
    members: list[Optimizer] = []
    if config.optimizer == "muon":
        names = {parameter: name for name, parameter in network.named_parameters()}
        tables = {id(module.weight) for module in network.modules() if isinstance(module, nn.Embedding)}
        tables.add(id(network.output.weight))
        members.append(
            Muon(
                [parameter for parameter in matrices if id(parameter) not in tables],
                lr=rate,
                weight_decay=decay,
                momentum=config.momentum,
                row_parts=lambda parameter: network.row_parts(names[parameter]),
            )
        )
        matrices = [parameter for parameter in matrices if id(parameter) in tables]
    embedding = network.embedding.weight
    groups: list[dict[str, Any]] = [
        {"params": [parameter for parameter in matrices if parameter is not embedding], "weight_decay": decay},
        {"params": [embedding], "weight_decay": decay, SCALE: config.embedding_scale},
        {"params": [parameter for parameter in trained if parameter.dim() < 2], "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    match config.optimizer:
        case "muon" | "adamw":
            members.append(AdamW(groups, lr=rate, betas=betas, eps=1e-8, fused=True))
        case "adamw-8bit":
            members.append(AdamW8bit(groups, lr=rate, betas=betas, eps=1e-8))
        case "adafactor":
            if any(hasattr(parameter, "placements") for parameter in trained):
                raise StageError(
                    "torch's adafactor cannot move parameters that are shared out over processes",
                    hint="set optimizer: adamw-8bit, or distributed: ddp",
                )
            members.append(Adafactor(groups, lr=rate, eps=(None, 1.0)))
    return Optimizers(network, members)


class Optimizers:
    """Several torch optimizers that share out a network's parameters, handled as one."""

    def __init__(self, network: nn.Module, members: Sequence[Optimizer]) -> None:
        self.members = tuple(members)
        self._names: dict[Tensor, str] = {parameter: name for name, parameter in network.named_parameters()}

    def step(self) -> None:
        """Apply the gradients, which have to be finite."""
        for member in self.members:
            member.step()

    def zero_grad(self) -> None:
        """Drop the gradients."""
        for member in self.members:
            member.zero_grad(set_to_none=True)

    def set_learning_rate(self, rate: float) -> None:
        """The rate of the steps that follow; that of the embedding keeps its ratio to it."""
        for member in self.members:
            for group in member.param_groups:
                group["lr"] = rate * group.get(SCALE, 1.0)

    def tensors(self) -> dict[str, Tensor]:
        """A copy of the state as `<parameter>.<state>`: step counters included, whole, on the CPU, contiguous.

        Where the parameters are shared out over processes, all of these have to call it.
        """
        return {
            f"{self._names[parameter]}.{key}": whole(value).to("cpu", copy=True).contiguous()
            for member, parameter in self._parameters()
            for key, value in member.state.get(parameter, {}).items()
        }

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Put back what `tensors` gave. Raises ValueError, and changes nothing, where it does not fit."""
        if not tensors:
            for member in self.members:
                member.state.clear()
            return
        states = {
            parameter: {f"{self._names[parameter]}.{key}": like for key, like in layout(member, parameter).items()}
            for member, parameter in self._parameters()
        }
        expected = {name: like for state in states.values() for name, like in state.items()}
        if tensors.keys() != expected.keys():
            odd = sorted(tensors.keys() ^ expected.keys())
            raise ValueError(f"not the state of this optimizer: {', '.join(odd[:4])}{', …' if len(odd) > 4 else ''}")
        for name, like in expected.items():
            found = tensors[name]
            if found.shape != like.shape or found.dtype != like.dtype:
                told = f"{found.dtype} {tuple(found.shape)}, not {like.dtype} {tuple(like.shape)}"
                raise ValueError(f"{name} is {told}")
        for member, parameter in self._parameters():
            member.state[parameter] = {
                name.rpartition(".")[2]: _placed(member, parameter, tensors[name]) for name in states[parameter]
            }

    def _parameters(self) -> Iterator[tuple[Optimizer, Tensor]]:
        for member in self.members:
            for group in member.param_groups:
                for parameter in group["params"]:
                    yield member, parameter


def layout(member: Optimizer, parameter: Tensor) -> dict[str, Tensor]:
    """What the state of a parameter looks like after a step, as whole tensors without values (device meta)."""
    like = torch.empty(parameter.shape, dtype=parameter.dtype, device="meta")
    counter = torch.empty((), dtype=torch.float32, device="meta")
    match member:
        case Muon():
            return {"momentum": like}
        case AdamW8bit():
            return initial_state(like)
        case Adafactor() if like.dim() > 1:
            return {"step": counter, "row_var": like[..., :1], "col_var": like[..., :1, :]}
        case Adafactor():
            return {"step": counter, "variance": like}
        case _:
            return {"step": counter, "exp_avg": like, "exp_avg_sq": like}


def _placed(member: Optimizer, parameter: Tensor, value: Tensor) -> Tensor:
    """A copy of a whole piece of state where its optimizer keeps it: fused AdamW has its counters on the device."""
    if value.dim() == 0:
        return value.to(parameter.device if isinstance(member, AdamW) else "cpu", copy=True)
    return share_of(value.to(parameter.device, copy=True), parameter)
