"""The training loop: steps, evaluation, checkpoints. Pretraining and finetuning differ only in their batches."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from typing import Any, NoReturn

import torch

from pipeline.errors import StageError
from pipeline.hardware import memory_bytes
from pipeline.stage import Context, Metrics, ProgressBar
from pipeline.store import write_atomic
from stages.training import checkpoint, guard
from stages.training.checkpoint import Parts, State
from stages.training.compiling import prepare, resolve_precision
from stages.training.data import Batch, Batches
from stages.training.ema import Ema
from stages.training.memory import MemoryPlan, plan
from stages.training.model import fill, held, require_fit, save_model
from stages.training.networks.network import Network
from stages.training.optim import make_optimizer
from stages.training.parallel import Group
from stages.training.prefetch import Prefetcher
from stages.training.recompute import recompute_blocks
from stages.training.records import METRICS, SAMPLES, TIMING, Record, Records
from stages.training.schedule import learning_rate_at
from stages.training.settings import TrainingConfig
from stages.training.speed import Pace, flops_per_token, free_memory
from stages.training.validation import Validation

CALMER = "lower learning_rate or raise warmup_steps"
SMALLER = "set activation_checkpointing: true, optimizer: adamw-8bit with precision: bf16, or a smaller model"
Speaker = Callable[[Network], list[Record]]


def train(
    context: Context,
    network: Network,
    batches: Batches,
    config: TrainingConfig,
    *,
    bytes_per_token: float | None = None,
    speak: Speaker | None = None,
) -> Metrics:
    """Train until `max_steps` and leave the best weights, or by `keep` the last, in `model.safetensors`.

    Goes on from the newest checkpoint in `context.out` if there is one, with the same result as an uninterrupted run.
    `bytes_per_token` of the validation text turns its loss into bits per byte; `speak` writes samples with the network
    at each evaluation. Raises StageError when the numbers break down for good, Interrupted after saving when a signal
    came.
    """
    with Group.from_environment() as group:
        try:
            return Trainer(context, network, batches, config, group, bytes_per_token=bytes_per_token, speak=speak).run()
        except Exception as error:
            if guard.out_of_memory(error):
                raise StageError(f"out of memory: {str(error).splitlines()[0]}", hint=SMALLER) from error
            raise


class Trainer:
    """One training run: what it works on, and where it stands."""

    def __init__(
        self,
        context: Context,
        network: Network,
        batches: Batches,
        config: TrainingConfig,
        group: Group,
        *,
        bytes_per_token: float | None = None,
        speak: Speaker | None = None,
    ) -> None:
        self.context, self.batches, self.config, self.group = context, batches, config, group
        self.bytes_per_token, self.speak = bytes_per_token, speak
        self.device, self.network = group.device, network
        self.precision = resolve_precision(config.precision, self.device)
        if self.precision == "bf16":
            for parameter in network.parameters():
                parameter.data = parameter.data.bfloat16()
        self.sequences = config.sequences_per_step(network.context_length)
        planned = self._planned(sharded=config.distributed == "fsdp")
        fits = not planned.advice
        if group.size > 1 and config.distributed == "auto" and not fits:
            planned = self._planned(sharded=True)
        if config.warmup_steps >= config.max_steps:
            context.warn(f"warmup_steps {config.warmup_steps} is not below max_steps {config.max_steps}")
        if planned.advice:
            context.warn(f"this may not fit into memory: {planned.advice}")
        if planned.activation_checkpointing:
            recompute_blocks(network)
        self.checkpoint_bytes = int(sum(planned.parts.get(name, 0) for name in ("weights", "optimizer", "averages")))
        self.module = group.wrap(network, config.distributed, self.precision, fits=fits)
        self.optimizer = make_optimizer(network, config)
        self.ema = Ema(network, config.ema) if config.ema else None
        self.folder = context.out / ".checkpoints"
        self.records = Records(context.out)
        self.state = checkpoint.load_newest(self.folder, self._load, context.warn) or State()
        group.require_same(self.state.step, "checkpoint")
        self.saved_step = self.state.step
        self.state.micro_batch = self.state.micro_batch or planned.micro_batch
        flops = flops_per_token(network.config, network.vocab_size, network.context_length)
        whole = flops * config.max_steps * self.sequences * network.context_length
        self.loss = prepare(
            self.module,
            False if group.sharded else config.compile,
            device=self.device,
            precision=self.precision,
            warn=context.warn,
            say=context.say,
            flops=whole,
        )
        self.pace = Pace.expected(self.device, flops, whole, self.precision, group.size)
        self.validation = Validation(batches.validation(self.state.micro_batch), self.loss, group, self.ema)
        self.feed: Prefetcher | None = None
        self.val_loss = math.nan

    def run(self) -> Metrics:
        config = self.config
        if self.state.step:
            self.context.say(f"going on from step {self.state.step}")
        self._only_first(self.records.keep_until, self.state.step)
        if not self.state.step:
            checkpoint.require_space(self.context.out, 2 * self.checkpoint_bytes)
            self._save(anew=True)  # there is always one to go back to
        saved = time.monotonic()
        self._feed_from(self.state.step)
        with (
            self.context.progress(config.max_steps, "steps") as bar,
            self.group.interrupts(self.context) as interrupted,
        ):
            bar.advance(self.state.step)
            try:
                while self.state.step < config.max_steps and not interrupted():
                    began = time.monotonic()
                    before, tokens = self.state.step, self.state.tokens
                    record = self._step()
                    seconds = time.monotonic() - began
                    self.state.seconds += seconds
                    if record is None:
                        bar.advance(self.state.step - before)
                        continue
                    if self.state.step % config.eval_every == 0 or self.state.step == config.max_steps:
                        if self._broken():
                            self._go_back(guard.evidence(self.network, step=self.state.step), broken=True)
                            bar.advance(self.state.step - before)
                            continue
                        self._evaluate(record)
                    self._only_first(self.records.write, METRICS, record)
                    self._show(bar, record, self.state.tokens - tokens, seconds)
                    if self.group.agree(self._checkpoint_is_due(saved)):
                        self._save()
                        saved = time.monotonic()
            finally:
                self._stop_feeding()
            self._save()
            if interrupted():
                self.context.say(f"saved step {self.state.step} of {config.max_steps}")
        return self._metrics()

    def _planned(self, *, sharded: bool) -> MemoryPlan:
        """How a step is cut up for the memory that is there."""
        network, cuda = self.network, self.device.type == "cuda"
        available = free_memory(self.device) if cuda else memory_bytes()
        return plan(
            network.config,
            self.config.model_copy(update={"precision": self.precision}),
            network.vocab_size,
            network.context_length,
            None if available is None else self.group.least(available),
            device=self.device.type,
            compiled=self.config.compile is True or (self.config.compile == "auto" and cuda),
            processes=self.group.size,
            sharded=sharded and self.group.size > 1,
        )

    def _step(self) -> Record | None:
        """One optimizer step, or one passed over as it is not finite twice; None where the run went back."""
        state = self.state
        assert self.feed is not None
        micro = next(self.feed)
        for again in (True, False):
            micro, loss, norm = self._gradients(micro)
            if math.isfinite(loss) and math.isfinite(norm):
                return self._learn(loss, norm, sum(batch.inputs.numel() for batch in micro) * self.group.size)
            found = f"loss {loss}, gradient norm {norm}"
            self.context.warn(f"step {state.step + 1}: {found}; {'taken again' if again else 'passed over'}")
            if again:
                self.optimizer.zero_grad()
                self._note(state.step + 1, "not finite, step taken again", found)
        return self._pass_over(micro, loss, norm)

    def _gradients(self, micro: list[Batch]) -> tuple[list[Batch], float, float]:
        """The gradients of a step; its micro-batches (smaller if memory ran out), loss and norm of the gradient."""
        while True:
            try:
                return micro, *self._backward(micro)
            except (torch.OutOfMemoryError, RuntimeError) as error:
                if not guard.out_of_memory(error) or self.group.size > 1 or self.state.micro_batch == 1:
                    raise
            micro = self._halved()

    def _backward(self, micro: list[Batch]) -> tuple[float, float]:
        """Losses are summed and divided once, by the targets of the whole step.

        That makes accumulation, and several processes, equal to one large batch, also with masks. What dropout draws
        is a function of (seed, step): a step taken again, or by a resumed run, is the same step.
        """
        self.group.seed(self.context.seed, self.state.step)
        counted = max(self.group.total(sum(batch.counted for batch in micro)), 1)
        self.network.train()
        total = torch.zeros((), dtype=torch.float64, device=self.device)
        for index, batch in enumerate(micro):
            with self.group.accumulating(self.module, last=index == len(micro) - 1):
                loss = self.loss(batch.inputs, batch.targets, batch.documents) / counted
                loss.backward()  # type: ignore[no-untyped-call]
            total += loss.detach()
        norm = self.group.clip(self.network.parameters(), self.config.grad_clip)
        told = torch.stack([self.group.sum(total), norm.double()]).tolist()
        return told[0], told[1]

    def _learn(self, loss: float, norm: float, tokens: int) -> Record:
        state = self.state
        rate = learning_rate_at(state.step, self.config)
        self.optimizer.set_learning_rate(rate)
        self.optimizer.step()
        self.optimizer.zero_grad()
        if self.ema:
            self.ema.update()
        state.step += 1
        state.tokens += tokens
        if guard.spike(state, loss):
            self.context.warn(f"step {state.step}: the loss leapt to {loss:.3f}")
            self._note(state.step, "loss leapt", f"{loss:.4f}")
        return {"step": state.step, "tokens": state.tokens, "loss": loss, "learning_rate": rate, "grad_norm": norm}

    def _pass_over(self, micro: list[Batch], loss: float, norm: float) -> Record | None:
        """Leave a step out; None where the run went back instead, as too many have to be or the weights are broken."""
        state, found = self.state, f"loss {loss}, gradient norm {norm}"
        broken = self._broken()
        if guard.skip(state) or broken:
            self._go_back(guard.evidence(self.network, micro, step=state.step + 1, loss=loss, norm=norm), broken=broken)
            return None
        self.optimizer.zero_grad()
        state.step += 1
        return {"step": state.step, "event": "passed over", "found": found}

    def _broken(self) -> bool:
        """Whether a weight is not finite, in any process."""
        return self.group.agree(not guard.sound(self.network))

    def _go_back(self, found: dict[str, Any], *, broken: bool) -> None:
        """To the last checkpoint, all of which are sound; on with the same data the first time weights are broken."""
        state, same_data = self.state, broken and self.state.rollbacks == 0
        self.optimizer.zero_grad()
        allowed = state.rollbacks < guard.MAX_ROLLBACKS
        earlier = checkpoint.load_newest(self.folder, self._load, self.context.warn) if allowed else None
        if earlier is None:
            self._give_up(found)
        self.state = guard.roll_back(state, earlier, same_data=same_data)
        self.context.warn(f"going back to step {earlier.step}, on with {'the same' if same_data else 'other'} data")
        self.group.barrier()  # the first removes and writes checkpoints
        self._only_first(checkpoint.forget_after, self.folder, earlier.step)
        self._save(anew=True)
        self._only_first(self.records.keep_until, earlier.step)
        self._note(earlier.step, "went back", f"from step {state.step + 1}: {found['loss']}, {found['grad_norm']}")
        self._feed_from(self.state.step)

    def _give_up(self, found: dict[str, Any]) -> NoReturn:
        self._only_first(write_atomic, self.context.out / guard.EVIDENCE, json.dumps(found, indent=1).encode())
        raise StageError(
            f"step {found['step']}: loss {found['loss']}, gradient norm {found['grad_norm']}, again and again; "
            f"what is known of it is in {self.context.out / guard.EVIDENCE}",
            hint=CALMER,
        )

    def _halved(self) -> list[Batch]:
        """The same step in smaller micro-batches, and so the next ones: memory ran out."""
        state = self.state
        self.optimizer.zero_grad()
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        state.micro_batch = (state.micro_batch + 1) // 2
        cut = f"micro-batches of {state.micro_batch}, {math.ceil(self.sequences / state.micro_batch)} of them a step"
        self.context.warn(f"step {state.step + 1}: out of memory; going on with {cut}")
        self._note(state.step + 1, "out of memory", cut)
        self.validation.batches = self.batches.validation(state.micro_batch)
        self._feed_from(state.step + 1)
        return [batch.to(self.device) for batch in self._cut(state.step + state.shift)]

    def _feed_from(self, step: int) -> None:
        self._stop_feeding()
        self.feed = Prefetcher(self._cut, step + self.state.shift, self.device)

    def _stop_feeding(self) -> None:
        if self.feed:
            self.feed.close()

    def _cut(self, number: int) -> list[Batch]:
        """This process's share of the data of that number, in micro-batches."""
        first, count = self.group.rows(number * self.sequences, self.sequences)
        size = self.state.micro_batch
        return [self.batches.rows(first + start, min(size, count - start)) for start in range(0, count, size)]

    @torch.no_grad()
    def _evaluate(self, record: Record) -> None:
        """Validation loss of the weights and of their average; keeps the better where it is the best so far."""
        self.network.eval()
        if self.validation.batches:
            self._judge(record)
        else:
            self._keep(record.get("loss", self.state.loss_mean))
        if self.speak and self.group.first and not self.group.sharded:
            for sample in self.speak(self.network):
                self.records.write(SAMPLES, {"step": self.state.step, **sample})

    def _judge(self, record: Record) -> None:
        for name, loss in self.validation.losses():
            record[name] = loss
            if loss < self.state.best_loss or (self.config.keep == "last" and name == "val_loss"):
                self._keep(loss)
        self.val_loss = min(record["val_loss"], record.get("val_loss_ema", math.inf))
        if not math.isfinite(self.val_loss):
            raise StageError(f"step {self.state.step}: validation loss {self.val_loss}", hint=CALMER)
        if self.bytes_per_token:
            record["bits_per_byte"] = self.val_loss / math.log(2) / self.bytes_per_token

    def _keep(self, loss: float) -> None:
        """Leave these weights; `best_loss` and `best_step` tell of them, also where they are the last, not the best."""
        self.state.best_loss, self.state.best_step = loss, self.state.step
        kept = self.group.whole(held(self.network))
        self._only_first(save_model, self.context.out, self.network, kept)

    def _save(self, *, anew: bool = False) -> None:
        """Write a checkpoint, unless this step has one or its weights are broken, which the next step will find."""
        if anew or (self.saved_step != self.state.step and not self._broken()):
            parts = {"model": self.group.whole(held(self.network)), "optimizer": self.optimizer.tensors()}
            if self.ema:
                parts["ema"] = self.ema.tensors()
            if self.group.first:
                checkpoint.save(self.folder, parts, self.state, keep=self.config.keep_checkpoints)
            self.saved_step = self.state.step

    def _load(self, parts: Parts) -> None:
        """Take over a checkpoint; ValueError, with nothing changed, where it does not fit this run."""
        if ("ema" in parts) != (self.ema is not None):
            raise ValueError("it was made with other averaging of the weights")
        require_fit(self.network, parts["model"])
        if self.ema:
            self.ema.load(parts["ema"])
        self.optimizer.load(parts["optimizer"])
        fill(self.network, self.group.shares(parts["model"], dict(self.network.named_parameters())))

    def _checkpoint_is_due(self, saved: float) -> bool:
        """Asked after each step; the first process's clock counts for all."""
        every = self.config.checkpoint_every_steps
        timely = time.monotonic() - saved >= 60 * self.config.checkpoint_every_minutes
        return self.group.first and (timely or bool(every and self.state.step % every == 0))

    def _only_first(self, write: Callable[..., Any], *arguments: Any) -> None:
        if self.group.first:
            write(*arguments)

    def _note(self, step: int, event: str, found: str) -> None:
        self._only_first(self.records.write, METRICS, {"step": step, "event": event, "found": found})

    def _show(self, bar: ProgressBar, record: Record, tokens: int, seconds: float) -> None:
        timing = self.pace.of(tokens, seconds)
        self._only_first(self.records.write, TIMING, {"step": self.state.step, "seconds": round(seconds, 4), **timing})
        if "loss" not in record:
            bar.advance(1, record["event"])
            return
        parts = [f"loss {record['loss']:.3f}"]
        if not math.isnan(self.val_loss):
            parts.append(f"val {self.val_loss:.3f}")
        parts += [f"lr {record['learning_rate']:.1e}", f"grad {record['grad_norm']:.2f}"]
        bar.advance(1, "  ".join([*parts, self.pace.told(self.state.tokens, self.state.seconds)]))

    def _metrics(self) -> Metrics:
        state = self.state
        return {
            "steps": state.step,
            "tokens": state.tokens,
            "best_step": state.best_step,
            "val_loss": round(state.best_loss, 6),
            "perplexity": round(math.exp(min(state.best_loss, 700)), 4),
            **self.pace.of(state.tokens, state.seconds),
            "parameters": sum(parameter.numel() for parameter in self.network.parameters()),
            "precision": self.precision,
            "micro_batch": state.micro_batch,
            "processes": self.group.size,
            "rollbacks": state.rollbacks,
            **self.records.summary(),
            "device": torch.cuda.get_device_name() if self.device.type == "cuda" else "cpu",
        }
