"""How much memory a training step takes, by part, and the micro-batch that fits: answered without importing torch.

A step is at its largest at one of a few moments; at each, its memory is a sum of what is held all along and of what the
passes hold just then. What they hold was read off the code of the networks, tensor by tensor; the tests compare the
sums with the bytes that torch allocates on the CPU. For CUDA they follow the same code and are not measured.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from pipeline import hardware
from pipeline.console import count, size
from stages.training.settings import TrainingConfig
from stages.training.shape import ModelConfig

# Values of optimizer state per weight, of the weights' format: of the matrices inside the blocks, of everything else.
# The moments of adamw-8bit are of a byte each, with a scale to 256 of them; adafactor keeps rows and columns.
STATES = {"muon": (1.0, 2.0), "adamw": (2.0, 2.0)}
STATE_BYTES = {"adamw-8bit": 2.0 + 8 / 256, "adafactor": 0.02}
WANTED_TOKENS = {"cuda": 32_768, "cpu": 6_144}  # at most in a micro-batch: keeps a card busy, stays near the caches
FEWEST_TOKENS = {"cuda": 2_048, "cpu": 512}  # with fewer, computing the activations twice costs less than small batches
FRAGMENTS, FRAMEWORK = 1.06, 0.6e9  # on CUDA: what the allocator wastes; what the driver and the libraries take, bytes
USABLE = 0.92  # of the memory that is free

PREFETCHED = 4  # steps whose batches wait or are at work
MUON_BATCH = {"cpu": 2**22, "cuda": 2**26}  # values orthogonalised at once, as in muon.py

Moment = dict[str, float]


@dataclass(frozen=True)
class MemoryPlan:
    """How a step is cut up, and the bytes at its peak by part. Where it does not fit, `advice` says what would."""

    micro_batch: int
    accumulation: int
    activation_checkpointing: bool
    parts: Mapping[str, float]
    advice: str = ""

    @property
    def total(self) -> float:
        return sum(self.parts.values())


@dataclass(frozen=True)
class Step:
    """A training step whose memory is asked for. `device` and `compiled` say how it runs; `rows` to a micro-batch."""

    shape: ModelConfig
    config: TrainingConfig
    vocab_size: int
    context_length: int
    rows: int
    accumulation: int = 1
    checkpointing: bool = False
    device: str = "cpu"
    compiled: bool = False
    shards: int = 1  # processes that share weights, gradients and optimizer out among them

    @property
    def weight(self) -> int:
        """Bytes of a weight and of its gradient."""
        return 2 if self.config.precision == "bf16" else 4

    @property
    def compute(self) -> int:
        """Bytes of what matrices multiply."""
        return 4 if self.config.precision == "fp32" else 2

    @property
    def stream(self) -> int:
        """Bytes of a value of the residual stream."""
        return self.weight

    @property
    def tokens(self) -> int:
        return self.rows * self.context_length

    @property
    def mixed(self) -> bool:
        """Whether matrices are multiplied in another format than they are kept in."""
        return self.compute < self.weight

    @property
    def peak(self) -> float:
        return sum(self.parts().values())

    def plan(self) -> MemoryPlan:
        return MemoryPlan(self.rows, self.accumulation, self.checkpointing, self.parts())

    def parts(self) -> Moment:
        """Bytes at the peak by part."""
        peak = max(self.moments().values(), key=lambda moment: sum(moment.values()))
        if self.device == "cuda":
            peak["framework"] = (FRAGMENTS - 1) * sum(peak.values()) + FRAMEWORK
        return peak

    def moments(self) -> dict[str, Moment]:
        """Bytes by part when a step may be at its largest; which of these moments it is depends on the shape."""
        shape, layers = self.shape, self.shape.n_layers
        total = shape.parameters(self.vocab_size, self.context_length)
        held = {
            "weights": self.weight * total / self.shards,
            "gradients": 0.0,
            "optimizer": self.states(total) / self.shards,
            "averages": 4.0 * total / self.shards if self.config.ema else 0.0,
            "copies": 0.0,
            "activations": 0.0,
            "logits": 0.0,
            "batches": 16.0 * self.tokens * self.accumulation * PREFETCHED,
        }
        gradients, before = self.weight * total / self.shards, 0.0
        in_block = self.weight * self.matrices / layers / self.shards
        table = float(self.weight * self.vocab_size * shape.d_model)
        # Autograd holds the gradient of a tied table from the output's part to the embedding's.
        waiting = table if shape.tie_embeddings or self.accumulation == 1 else 0.0
        if self.accumulation > 1:
            before, in_block = gradients, 0.0  # the gradients of earlier micro-batches are there all along
        late = waiting if before else 0.0

        stream = float(self.stream * shape.d_model * self.tokens)
        one = self.block() * self.tokens
        kept = stream if self.checkpointing else one
        copy = self.copies() / layers
        forward, backward = self.loss()
        whole = {"gradients": before, "copies": copy * layers, "activations": layers * kept + self.head() * self.tokens}
        return {
            "loss": {**held, **whole, "logits": forward},
            "loss, backward": {**held, **whole, "logits": backward},
            "top block, backward": {
                **held,
                "gradients": before + waiting,
                "copies": copy * (1 if self.checkpointing else layers),
                "activations": (layers - 1) * kept + one + self.workspace(),
            },
            "bottom block, backward": {
                **held,
                "gradients": gradients - in_block + late,
                "copies": copy,
                "activations": one + self.workspace(),
            },
            "embedding, backward": {**held, "gradients": gradients + table + late, "activations": stream},
            "update": {**held, "gradients": gradients, "optimizer": held["optimizer"] + self.update()},
        }

    @property
    def matrices(self) -> int:
        """Weights in the matrices inside the blocks."""
        shape = self.shape
        attention = 2 * (shape.n_heads + shape.n_kv_heads) * shape.head_dim * shape.d_model
        feed_forward = (3 if shape.activation == "swiglu" else 2) * shape.d_model * shape.d_ff
        return shape.n_layers * (attention + feed_forward)

    def states(self, total: int) -> float:
        """Bytes of optimizer state for so many weights."""
        if self.config.optimizer in STATE_BYTES:
            return STATE_BYTES[self.config.optimizer] * total
        inside, outside = STATES[self.config.optimizer]
        return self.weight * (inside * self.matrices + outside * (total - self.matrices))

    def copies(self) -> float:
        """Bytes of the bf16 copies of the matrices inside the blocks that autocast keeps for both passes."""
        return 2.0 * self.matrices if self.mixed and not self.compiled else 0.0

    def block(self) -> float:
        """Bytes per token that a block keeps for its backward pass."""
        shape, c = self.shape, self.compute
        width, query, keys = shape.d_model, shape.n_heads * shape.head_dim, shape.n_kv_heads * shape.head_dim
        values = 2.0 * (self.stream + c) * width  # what comes into each half, before and after its norm
        values += c * shape.d_ff * {"swiglu": 3, "gelu": 2, "relu": 1, "relu2": 2}[shape.activation]
        values += c * query  # the mix of values that attention gives
        met = blocked_keys(self.context_length) if self.device == "cpu" else 0.0
        if shape.architecture == "gpt2" and shape.dropout and self.device == "cpu":
            values += 4 * 3 * query + 3 * 4 * shape.n_heads * self.context_length  # in float32: q, k, v; probabilities
        elif met:
            values += c * (2 * query + 2 * keys) + c * shape.n_heads * met  # q in two layouts, k, v; probabilities
            values += c * (query + 2 * keys) if shape.qk_norm else 0  # q and k before their norm
        else:
            values += c * (query + query + 2 * keys) + 4 * shape.n_heads  # q scaled; v with all of qkv; the normaliser
            values += c * keys if shape.positions == "rope" else 0  # k turned
        if shape.dropout:
            values += 2 * width * (1 if self.device == "cuda" else c)
        return values

    def head(self) -> float:
        """Bytes per token that the network keeps outside of its blocks: the last stream, what dropout drew."""
        drawn = (1 if self.device == "cuda" else self.stream) if self.shape.dropout else 0
        return (self.stream + drawn) * self.shape.d_model

    def loss(self) -> tuple[float, float]:
        """Bytes of the loss in its forward pass, and in its backward pass."""
        c, hidden, table = self.compute, self.tokens * self.shape.d_model, self.vocab_size * self.shape.d_model
        normed = c if self.shape.architecture == "llama" else self.stream  # bytes of a value that the network gives
        logits = self.tokens * self.vocab_size
        chunk = 512 * self.vocab_size if self.device == "cpu" else max(2**25, 256 * self.vocab_size)
        chunk = min(chunk, logits)
        kept = c * hidden + 4 * table  # the gradients of the hidden states and of the output matrix
        working = normed * hidden + (c * hidden if c < normed else 0) + (c * table if self.mixed else 0)
        each = c + (0 if self.compiled else 8 if c < 4 else 4) + (c if c < 4 or self.compiled else 0)
        forward = kept + working + each * chunk + (c * chunk if chunk < logits else 0)  # and the gradient before
        backward = kept + normed * hidden + (4 + (self.weight if self.weight < 4 else 0)) * table
        return forward, backward

    def workspace(self) -> float:
        """Bytes that the backward pass of a block takes at once, which is when its feed-forward is at work."""
        shape, c = self.shape, self.compute
        inner = c * shape.d_ff * {"swiglu": 4, "gelu": 1, "relu": 2, "relu2": 3}[shape.activation]
        narrow = c * shape.d_model if self.mixed and shape.activation != "swiglu" else 0
        down = shape.d_model * shape.d_ff * (self.weight + (c if self.mixed and shape.activation != "swiglu" else 0))
        return self.tokens * (self.stream * shape.d_model + inner + narrow) + down

    def update(self) -> float:
        """Bytes that the optimizer takes for an update besides its state."""
        shape = self.shape
        inner = shape.d_model * shape.d_ff * (2 if shape.activation == "swiglu" else 1)
        largest = max(inner, shape.d_model * self.vocab_size)
        match self.config.optimizer:
            case "muon":  # as many matrices of a kind as are orthogonalised at once, some of it in float32
                return 12.0 * inner * min(max(MUON_BATCH[self.device] // inner, 1), shape.n_layers)
            case "adamw-8bit":  # a matrix in float32, some millions of values at a time, with what rounding draws
                return (24.0 if self.weight == 4 else 32.0) * min(largest, 2**22)
            case "adafactor":  # torch's works on one matrix at a time on the CPU, on all at once on CUDA
                everything = shape.parameters(self.vocab_size, self.context_length)
                return 4.5 * largest if self.device == "cpu" else 1.0 * self.weight * everything
            case _:
                return 0.0


def blocked_keys(context_length: int) -> float:
    """Keys that a query meets on average in blocked attention (networks/layers.py), or 0 where that is not used."""
    if context_length > 1024:
        return 0.0
    block = 64 if context_length <= 256 else 128
    ends = [min(first + block, context_length) for first in range(0, context_length, block)]
    return sum((end - first) * end for first, end in zip([0, *ends], ends, strict=False)) / context_length


def plan(
    shape: ModelConfig,
    config: TrainingConfig,
    vocab_size: int,
    context_length: int,
    available_bytes: float | None,
    *,
    device: str = "cpu",
    compiled: bool = False,
    processes: int = 1,
    sharded: bool = False,
) -> MemoryPlan:
    """How to cut a step into micro-batches on a device (`cpu` or `cuda`) with so many bytes free; None: enough.

    With `batch_size: auto` the largest micro-batch that divides a process's share of the step, is worth its size and
    fits; activations are computed twice only where too few tokens would fit otherwise. `sharded`: the processes share
    weights, gradients and optimizer out among them. Where nothing fits, the smallest, with advice.
    """
    room = math.inf if available_bytes is None else USABLE * available_bytes
    config = resolved(config, device)
    share = max(config.sequences_per_step(context_length) // processes, 1)
    shards = processes if sharded else 1
    tried = [
        Step(shape, config, vocab_size, context_length, rows, -(-share // rows), again, device, compiled, shards)
        for again, rows in choices(config, share, context_length, device)
    ]
    chosen = next((step for step in tried if step.peak <= room), None)
    if chosen:
        return chosen.plan()
    smallest = min(tried, key=lambda step: (step.peak, step.rows))
    return replace(smallest.plan(), advice=advise(smallest, room))


def choices(config: TrainingConfig, share: int, context_length: int, device: str) -> Iterator[tuple[bool, int]]:
    """Ways to run a step, the best first: whether activations are computed twice, and the rows of a micro-batch."""
    asked = config.activation_checkpointing
    if config.batch_size != "auto":
        sizes = [min(config.batch_size, share)]
    else:
        most = max(WANTED_TOKENS[device] // context_length, 1)
        sizes = [rows for rows in range(min(most, share), 0, -1) if share % rows == 0]
    large = [rows for rows in sizes if rows * context_length >= FEWEST_TOKENS[device]] or sizes[:1]
    if asked == "auto":
        yield from ((False, rows) for rows in large)
    yield from ((asked is not False, rows) for rows in sizes)


def resolved(config: TrainingConfig, device: str) -> TrainingConfig:
    """The config with `precision: auto` as what it stands for on the device."""
    if config.precision != "auto":
        return config
    fast = device == "cuda" or hardware.fast_bf16()
    return config.model_copy(update={"precision": "bf16-mixed" if fast else "fp32"})


def advise(step: Step, room: float) -> str:
    """What would fit where this does not: the first of the config's keys that help, or how large a model may be."""
    told = f"{size(step.peak)} are needed and {size(room)} are there"
    smallest = replace(step, rows=1, accumulation=2)
    twice = replace(smallest, checkpointing=True)
    light = replace(twice, config=step.config.model_copy(update={"precision": "bf16", "optimizer": "adamw-8bit"}))
    for changed, keys in (
        (smallest, "batch_size: auto with tokens_per_step"),
        (twice, "batch_size: auto with activation_checkpointing: true"),
        (light, "precision: bf16 with optimizer: adamw-8bit"),
    ):
        if changed.peak <= room:
            return f"{told}; {keys} would fit"
    most = step.shape.parameters(step.vocab_size, step.context_length) * room / light.peak
    return f"{told}; even with bf16 weights and 8-bit Adam only about {most / 1e6:.0f} M parameters would fit"


def describe(shape: ModelConfig, config: TrainingConfig, vocab_size: int, context_length: int) -> list[str]:
    """What training will take on this machine, as lines for people."""
    devices = [] if "+cpu" in (hardware.torch_version() or "") else hardware.cuda_devices()
    device = "cuda" if devices else "cpu"
    room = max((gpu.memory for gpu in devices), default=hardware.memory_bytes())
    planned = plan(
        shape, config, vocab_size, context_length, room, device=device,
        compiled=config.compile is True or (config.compile == "auto" and device == "cuda"),
    )  # fmt: skip
    tokens = config.sequences_per_step(context_length) * context_length
    listed = ", ".join(f"{name} {size(value)}" for name, value in planned.parts.items() if value)
    twice = ", activations computed twice" if planned.activation_checkpointing else ""
    parameters = count(shape.parameters(vocab_size, context_length))
    lines = [
        f"{parameters} parameters, {tokens:,} tokens per step, {config.max_steps:,} steps",
        f"memory about {size(planned.total)}: {listed}",
        f"micro-batches of {planned.micro_batch} sequences, {planned.accumulation} to a step{twice}",
    ]
    if planned.advice:
        lines.append(f"warning: this does not fit: {planned.advice}")
    return lines
