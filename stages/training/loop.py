"""The training loop: steps, evaluation, checkpoints. Pretraining and finetuning differ only in their batches."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from pipeline.errors import StageError
from pipeline.hardware import fast_bf16
from pipeline.stage import Context, Metrics, ProgressBar
from pipeline.store import write_atomic
from stages.training import checkpoint
from stages.training.data import Batch, Batches
from stages.training.model import save_model
from stages.training.networks.network import Network
from stages.training.optim import learning_rate_at, make_optimizer
from stages.training.settings import TrainingConfig

LOG = "metrics.jsonl"
CALMER = "lower learning_rate or raise warmup_steps"


def train(context: Context, model: Network, batches: Batches, config: TrainingConfig) -> Metrics:
    """Train until `max_steps` and leave the weights of the best validation loss in `model.safetensors`.

    Goes on from the newest checkpoint in `context.out` if there is one, with the same result as an uninterrupted run.
    Raises StageError when the loss or a gradient is not finite, Interrupted after saving when a signal came.
    """
    return Trainer(context, model, batches, config).run()


class Trainer:
    """One training run: what it works on, and where it stands."""

    def __init__(self, context: Context, model: Network, batches: Batches, config: TrainingConfig) -> None:
        self.context, self.batches, self.config = context, batches, config
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.model = model.to(self.device)
        self.optimizer = make_optimizer(
            model,
            learning_rate=config.learning_rate,
            weight_decay=config.weight_decay,
            betas=(config.beta1, config.beta2),
        )
        self.folder = context.out / ".checkpoints"
        # Trying the compiled model draws random numbers for dropout, so the random state is restored after it.
        self.forward: Callable[[Tensor], Tensor] = self._compiled() if config.compile is True else model
        self.state = checkpoint.load_newest(self.folder, model, self.optimizer, context.warn)
        self.saved_step = self.state.step
        self.precision = resolve_precision(config.precision, self.device)
        self.validation = batches.validation()
        self.val_loss = math.nan

    def run(self) -> Metrics:
        config, state = self.config, self.state
        if state.step:
            self.context.say(f"going on from step {state.step}")
        self._keep_log_until(state.step)
        saved = time.monotonic()
        with self.context.progress(config.max_steps, "steps") as bar, self.context.deferred_interrupts() as interrupted:
            bar.advance(state.step)
            while state.step < config.max_steps and not interrupted():
                began = time.monotonic()
                record = self._step()
                state.seconds += time.monotonic() - began
                if state.step % config.eval_every == 0 or state.step == config.max_steps:
                    self._evaluate(record)
                self._log(record)
                self._show(bar, record)
                if time.monotonic() - saved >= 60 * config.checkpoint_every_minutes:
                    self._save()
                    saved = time.monotonic()
            self._save()
            if interrupted():
                self.context.say(f"saved step {state.step} of {config.max_steps}")
        return self._metrics()

    def _step(self) -> dict[str, Any]:
        """One optimizer step over `gradient_accumulation` micro-batches; losses are summed and divided once.

        Dividing by the targets of the whole step makes accumulation equal to one large batch, also with masks.
        """
        config, state = self.config, self.state
        rate = learning_rate_at(
            state.step,
            peak=config.learning_rate,
            minimum=config.min_lr,
            warmup_steps=config.warmup_steps,
            max_steps=config.max_steps,
        )
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        first = state.step * config.gradient_accumulation
        micro = [self.batches.batch(first + index) for index in range(config.gradient_accumulation)]
        counted = sum(batch.counted for batch in micro)
        self.model.train()
        total = torch.zeros((), device=self.device)
        for batch in micro:
            loss = self._loss_sum(batch) / max(counted, 1)
            loss.backward()  # type: ignore[no-untyped-call]
            total += loss.detach()
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), config.grad_clip)
        self._require_finite(float(total), float(norm))
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        state.step += 1
        state.tokens += sum(batch.inputs.numel() for batch in micro)
        return {"step": state.step, "loss": float(total), "learning_rate": rate, "grad_norm": float(norm)}

    def _loss_sum(self, batch: Batch) -> Tensor:
        """Cross-entropy summed over the targets that count, in nats."""
        with self._autocast():
            logits = self.forward(batch.inputs.to(self.device))
        targets = batch.targets.to(self.device)
        if batch.mask is not None:
            targets = targets.masked_fill(~batch.mask.to(self.device), -100)
        return F.cross_entropy(logits.float().flatten(0, 1), targets.flatten(), reduction="sum", ignore_index=-100)

    def _autocast(self) -> AbstractContextManager[Any]:
        if self.precision == "fp32":
            return nullcontext()
        return torch.autocast(self.device.type, dtype=torch.bfloat16)

    def _require_finite(self, loss: float, norm: float) -> None:
        if math.isfinite(loss) and math.isfinite(norm):
            return
        self._save()
        raise StageError(
            f"step {self.state.step + 1}: loss {loss}, gradient norm {norm}; the weights are untouched",
            hint=CALMER,
        )

    @torch.no_grad()
    def _evaluate(self, record: dict[str, Any]) -> None:
        """Validation loss; keeps the weights when it is the best so far."""
        if not self.validation:
            self._keep(record["loss"])
            return
        self.model.eval()
        losses = [float(self._loss_sum(batch)) for batch in self.validation]
        self.val_loss = math.fsum(losses) / max(sum(batch.counted for batch in self.validation), 1)
        if not math.isfinite(self.val_loss):
            raise StageError(f"step {self.state.step}: validation loss {self.val_loss}", hint=CALMER)
        record["val_loss"] = self.val_loss
        if self.val_loss < self.state.best_loss:
            self._keep(self.val_loss)

    def _keep(self, loss: float) -> None:
        self.state.best_loss, self.state.best_step = loss, self.state.step
        save_model(self.context.out, self.model)

    def _save(self) -> None:
        """Write a checkpoint, unless this step has one."""
        if self.saved_step != self.state.step:
            checkpoint.save(self.folder, self.model, self.optimizer, self.state)
            self.saved_step = self.state.step

    def _compiled(self) -> Callable[[Tensor], Tensor]:
        """torch.compile, or the plain model where it does not work (it needs a C++ compiler or Triton)."""
        try:
            compiled: Callable[[Tensor], Tensor] = torch.compile(self.model)
            with torch.no_grad():
                compiled(self.batches.batch(0).inputs.to(self.device))
            return compiled
        except Exception as error:
            self.context.warn(f"torch.compile does not work here ({type(error).__name__}); training goes on without it")
            return self.model

    def _log(self, record: dict[str, Any]) -> None:
        with (self.context.out / LOG).open("a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")

    def _keep_log_until(self, step: int) -> None:
        """Drop lines that a killed run wrote after its last checkpoint: those steps come again."""
        path = self.context.out / LOG
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        kept = []
        for line in lines:
            try:
                if json.loads(line)["step"] <= step:
                    kept.append(line + "\n")
            except (ValueError, KeyError):
                continue
        write_atomic(path, "".join(kept).encode())

    def _show(self, bar: ProgressBar, record: dict[str, Any]) -> None:
        rate = self.state.tokens / max(self.state.seconds, 1e-9)
        validation = "" if math.isnan(self.val_loss) else f"  val {self.val_loss:.3f}"
        note = f"loss {record['loss']:.3f}{validation}  lr {record['learning_rate']:.1e}  {rate:,.0f} tok/s"
        bar.advance(1, note)

    def _metrics(self) -> Metrics:
        state = self.state
        return {
            "steps": state.step,
            "tokens": state.tokens,
            "best_step": state.best_step,
            "val_loss": round(state.best_loss, 6),
            "perplexity": round(math.exp(min(state.best_loss, 700)), 4),
            "tokens_per_second": round(state.tokens / max(state.seconds, 1e-9), 1),
            "parameters": sum(parameter.numel() for parameter in self.model.parameters()),
            "precision": self.precision,
            "device": torch.cuda.get_device_name() if self.device.type == "cuda" else "cpu",
        }


def resolve_precision(wanted: str, device: torch.device) -> str:
    """`auto` as what it stands for on the device."""
    if wanted != "auto":
        return wanted
    fast = torch.cuda.is_bf16_supported() if device.type == "cuda" else fast_bf16()
    return "bf16-mixed" if fast else "fp32"
