"""The training loop: what one step computes, what a run leaves behind, and that no interruption changes either."""

from __future__ import annotations

import json
import math
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
import torch.nn.functional as F
from test_data import numbered, write_tokens
from torch import Tensor

from pipeline.errors import Interrupted, StageError
from pipeline.interrupts import Interrupts
from pipeline.shards import map_ordered
from pipeline.stage import Context, Section
from stages.training import checkpoint
from stages.training.data import Batch, TextBatches
from stages.training.loop import Trainer, train
from stages.training.model import load_model
from stages.training.networks.llama import Llama
from stages.training.networks.network import Network
from stages.training.parallel import Group
from stages.training.settings import TrainingConfig
from stages.training.shape import ModelConfig

VOCAB_SIZE, CONTEXT = 40, 8
torch.set_num_threads(1)  # matrices so small only wait for a second thread, and for long on a busy machine


@dataclass
class Bar:
    """A progress bar that only counts, and calls `after` with the steps done."""

    after: Callable[[float], None] = lambda done: None
    done: float = 0

    def advance(self, amount: float = 1, note: str | None = None) -> None:
        self.done += amount
        self.after(self.done)


@dataclass
class Stand:
    """A context to train in, and what was said and warned of."""

    out: Path
    inputs: Mapping[str, Path] = field(default_factory=dict)
    sections: Sequence[Section] = ()
    seed: int = 7
    bar: Bar = field(default_factory=Bar)
    deferred: Callable[[], AbstractContextManager[Callable[[], bool]]] = lambda: nullcontext(lambda: False)
    said: list[str] = field(default_factory=list)
    warned: list[str] = field(default_factory=list)

    @property
    def context(self) -> Context:
        self.out.mkdir(parents=True, exist_ok=True)
        return Context(
            sections={str(index): section for index, section in enumerate(self.sections)},
            inputs=self.inputs,
            out=self.out,
            seed=self.seed,
            base=self.out,
            name="tiny",
            map=map_ordered,
            say=self.said.append,
            warn=self.warned.append,
            progress=lambda total, unit: nullcontext(self.bar),
            deferred_interrupts=self.deferred,
        )

    @property
    def log(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (self.out / "metrics.jsonl").read_text().splitlines()]


@dataclass
class Fixed:
    """Batches from a list, over and over."""

    batches: list[Batch]
    held_back: list[Batch] = field(default_factory=list)

    def rows(self, first: int, count: int) -> Batch:
        rows = [self.row(number) for number in range(first, first + count)]
        return Batch(*(torch.cat([getattr(row, part) for row in rows]) for part in ("inputs", "targets")))

    def row(self, number: int) -> Batch:
        joined = Batch(*(torch.cat([getattr(b, part) for b in self.batches]) for part in ("inputs", "targets")))
        here = number % len(joined.inputs)
        return Batch(joined.inputs[here : here + 1], joined.targets[here : here + 1])

    def epochs(self, sequences: int) -> float:
        return sequences / sum(len(batch.inputs) for batch in self.batches)

    def validation(self, batch_size: int) -> list[Batch]:
        return self.held_back


def tiny(dropout: float = 0.0, seed: int = 0) -> Llama:
    torch.manual_seed(seed)
    shape = ModelConfig(d_model=32, n_layers=2, n_heads=4, n_kv_heads=2, d_ff=48, dropout=dropout)
    return Llama(shape, VOCAB_SIZE, CONTEXT)


def config(**values: Any) -> TrainingConfig:
    quick: dict[str, Any] = dict(
        precision="fp32",
        optimizer="adamw",
        schedule="cosine",
        compile=False,
        batch_size=2,
        max_steps=6,
        learning_rate=0.01,
        min_lr=0.001,
        warmup_steps=2,
        eval_every=2,
    )
    return TrainingConfig(**(quick | values))


def random_batch(seed: int, *, counted: int | None = None, rows: int = 2) -> Batch:
    """Random tokens; with `counted`, only so many of the targets count."""
    source = torch.Generator().manual_seed(seed)
    inputs, targets = torch.randint(VOCAB_SIZE, (2, rows, CONTEXT), generator=source)
    if counted is None:
        return Batch(inputs, targets)
    left_out = torch.randperm(rows * CONTEXT, generator=source)[counted:]
    targets.view(-1)[left_out] = -100
    return Batch(inputs, targets)


def by_hand(network: Llama, batches: Sequence[Batch]) -> float:
    """Mean cross-entropy over all targets that count, by torch's own function."""
    logits, targets = [], []
    with torch.no_grad():
        for batch in batches:
            counts = batch.targets != -100
            logits.append(network(batch.inputs)[counts])
            targets.append(batch.targets[counts])
    return F.cross_entropy(torch.cat(logits), torch.cat(targets)).item()


def test_accumulated_masked_batches_make_the_same_step_as_one_large_batch(tmp_path: Path) -> None:
    small = [random_batch(seed, counted=counted) for seed, counted in enumerate((1, 16, 0, 5))]
    runs = []
    for batch_size, accumulation, micro_batch in ((8, 1, 8), (2, 4, 2), (8, 1, 3), (8, 1, 1)):
        stand, network = Stand(tmp_path / f"{batch_size}-{micro_batch}"), tiny()
        wanted = config(batch_size=batch_size, gradient_accumulation=accumulation)
        trainer = Trainer(stand.context, network, Fixed(small), wanted, Group())
        trainer.state.micro_batch = micro_batch
        trainer.run()
        runs.append((stand.log, network.state_dict()))
    log, weights = runs[0]
    for other_log, other in runs[1:]:
        for record, expected in zip(other_log, log, strict=True):
            assert record == pytest.approx(expected, rel=1e-3)
        for name, tensor in other.items():
            torch.testing.assert_close(tensor, weights[name], rtol=0, atol=2e-4, msg=name)

    assert log[0]["loss"] == pytest.approx(by_hand(tiny(), small), rel=1e-5)
    mean_of_means = sum(by_hand(tiny(), [batch]) for batch in small if batch.counted) / 3
    assert abs(log[0]["loss"] - mean_of_means) > 1e-3  # the mistake that this test is about would show


def test_every_step_takes_the_next_batches(tmp_path: Path) -> None:
    asked: list[int] = []

    class Noted(Fixed):
        def rows(self, first: int, count: int) -> Batch:
            asked.extend(range(first, first + count))
            return super().rows(first, count)

    train(Stand(tmp_path).context, tiny(), Noted([random_batch(0)]), config(max_steps=4, gradient_accumulation=3))
    assert asked[:24] == list(range(24))  # and then those that are made ahead


def test_the_norm_in_the_log_is_that_of_the_gradient_and_the_step_takes_the_clipped_one(tmp_path: Path) -> None:
    batch = random_batch(0)
    network = tiny()
    loss = F.cross_entropy(network(batch.inputs).flatten(0, 1), batch.targets.flatten())
    gradients = torch.autograd.grad(loss, list(network.parameters()))
    norm = torch.cat([gradient.flatten() for gradient in gradients]).norm().item()

    stand = Stand(tmp_path)
    trainer = Trainer(stand.context, tiny(), Fixed([batch]), config(max_steps=1, grad_clip=norm / 3), Group())
    taken: list[Tensor] = []
    (optimizer,) = trainer.optimizer.members
    optimizer.register_step_pre_hook(
        lambda *_: taken.extend(p.grad.clone() for p in trainer.network.parameters() if p.grad is not None)
    )
    trainer.run()
    assert stand.log[0]["grad_norm"] == pytest.approx(norm, rel=1e-4)
    for gradient, clipped in zip(gradients, taken, strict=True):
        torch.testing.assert_close(clipped, gradient / 3, rtol=1e-3, atol=1e-7)


def test_the_log_has_a_line_per_step_with_the_rate_of_the_schedule(tmp_path: Path) -> None:
    stand = Stand(tmp_path)
    metrics = train(stand.context, tiny(), Fixed([random_batch(0)], [random_batch(1)]), config(max_steps=5))
    assert [record["step"] for record in stand.log] == [1, 2, 3, 4, 5]
    rates = [0.005, 0.01, 0.01, 0.0055 + 0.0045 * math.cos(math.pi / 3), 0.0055 + 0.0045 * math.cos(2 * math.pi / 3)]
    assert [record["learning_rate"] for record in stand.log] == pytest.approx(rates)
    assert [record["step"] for record in stand.log if "val_loss" in record] == [2, 4, 5]
    assert metrics["steps"] == 5 and metrics["tokens"] == 5 * 2 * CONTEXT
    assert metrics["parameters"] == tiny().config.parameters(VOCAB_SIZE)
    assert stand.bar.done == 5
    assert max(path.name for path in (stand.out / ".checkpoints").iterdir()) == "step-000005"


def test_the_weights_of_the_best_validation_loss_are_kept_and_their_loss_is_true(tmp_path: Path) -> None:
    """Learning one text by heart makes another ever less likely, after the first steps."""
    held_back = [random_batch(1, counted=9), random_batch(2, counted=3, rows=1)]
    stand = Stand(tmp_path)
    metrics = train(stand.context, tiny(), Fixed([random_batch(0)], held_back), config(max_steps=40, eval_every=1))
    losses = {record["step"]: record["val_loss"] for record in stand.log}
    assert metrics["best_step"] == min(losses, key=lambda step: losses[step])
    assert 1 <= metrics["best_step"] < 40 and losses[40] > losses[metrics["best_step"]] + 0.5
    best = by_hand(load_model(tmp_path), held_back)
    assert metrics["val_loss"] == pytest.approx(best, abs=2e-6)
    assert metrics["perplexity"] == pytest.approx(math.exp(best), rel=1e-4)


def test_the_last_weights_are_kept_where_they_are_asked_for_also_by_a_run_that_was_interrupted(tmp_path: Path) -> None:
    held_back, batches = [random_batch(1, counted=9)], [random_batch(0)]
    wanted = config(max_steps=40, eval_every=20, keep="last")
    whole, network = Stand(tmp_path / "whole"), tiny()
    metrics = train(whole.context, network, Fixed(batches, held_back), wanted)
    (first, lower), (last, loss) = metrics["validation"]
    assert (first, last) == (20, 40) and loss > lower + 0.1
    kept = load_model(whole.out).state_dict()
    assert all(torch.equal(tensor, kept[name]) for name, tensor in network.state_dict().items())
    assert metrics["best_step"] == 40 and metrics["val_loss"] == pytest.approx(by_hand(network, held_back), abs=2e-6)
    for steps in (20, 30, 40):  # 40: there is nothing left to do, and still it knows what was kept
        cut = Stand(tmp_path / f"cut-{steps}")
        cut.deferred = interrupted_after(cut, steps)
        with pytest.raises(Interrupted):
            train(cut.context, tiny(), Fixed(batches, held_back), wanted)
        cut.deferred = lambda: nullcontext(lambda: False)
        again = train(cut.context, tiny(), Fixed(batches, held_back), wanted)
        assert {name: again[name] for name in ("best_step", "val_loss", "validation")} == {
            name: metrics[name] for name in ("best_step", "val_loss", "validation")
        }
        assert outputs(cut.out) == outputs(whole.out)


def test_without_validation_the_last_weights_are_kept(tmp_path: Path) -> None:
    network = tiny()
    train(Stand(tmp_path).context, network, Fixed([random_batch(0)]), config(eval_every=4))
    kept = load_model(tmp_path).state_dict()
    assert all(torch.equal(tensor, kept[name]) for name, tensor in network.state_dict().items())


def test_a_validation_loss_that_is_not_finite_stops_the_run(tmp_path: Path) -> None:
    """A run that ends well leaves weights behind; without this it would end and leave none."""
    network = tiny()
    network.norm.register_forward_hook(lambda module, inputs, x: x if network.training else x * math.nan)
    with pytest.raises(StageError, match="step 2: validation loss nan"):
        train(Stand(tmp_path).context, network, Fixed([random_batch(0)], [random_batch(1)]), config())


def test_bf16_keeps_master_weights_and_optimizer_in_float32(tmp_path: Path) -> None:
    network, seen = tiny(), set()
    network.blocks[0].feed_forward.down.register_forward_hook(lambda *args: seen.add(args[2].dtype))  # type: ignore[union-attr]
    stand = Stand(tmp_path)
    wanted = config(precision="bf16-mixed", max_steps=40)
    trainer = Trainer(stand.context, network, Fixed([random_batch(0)]), wanted, Group())
    trainer.run()
    assert seen == {torch.bfloat16}
    assert {parameter.dtype for parameter in network.parameters()} == {torch.float32}
    assert {tensor.dtype for tensor in trainer.optimizer.tensors().values()} == {torch.float32}
    assert stand.log[0]["loss"] == pytest.approx(by_hand(tiny(), [random_batch(0)]), rel=0.01)
    assert stand.log[-1]["loss"] < 0.5 * stand.log[0]["loss"]


def test_the_average_of_the_weights_is_judged_beside_them_and_the_better_is_kept(tmp_path: Path) -> None:
    held_back = [random_batch(1)]
    stand, network = Stand(tmp_path), tiny()
    wanted = config(max_steps=30, ema=0.9, eval_every=10, learning_rate=0.03, min_lr=0.03)
    metrics = train(stand.context, network, Fixed([random_batch(0)], held_back), wanted)
    judged = [record for record in stand.log if "val_loss" in record]
    assert len(judged) == 3 and all(record["val_loss_ema"] != record["val_loss"] for record in judged)
    assert metrics["val_loss"] == pytest.approx(min(min(r["val_loss"], r["val_loss_ema"]) for r in judged), abs=1e-6)
    assert by_hand(load_model(tmp_path), held_back) == pytest.approx(metrics["val_loss"], abs=1e-5)
    assert by_hand(network, held_back) == pytest.approx(judged[-1]["val_loss"], abs=1e-5)  # the weights are put back


def test_texts_are_written_at_each_evaluation_without_changing_the_run(tmp_path: Path) -> None:
    def speak(network: Network) -> list[dict[str, Any]]:
        torch.manual_seed(0)  # whatever it draws
        return [{"prompt": "p", "text": str(float(next(network.parameters()).sum()))}]

    plain, spoken = Stand(tmp_path / "plain"), Stand(tmp_path / "spoken")
    batches = Fixed([random_batch(0)], [random_batch(1)])
    train(plain.context, tiny(dropout=0.2), batches, config())
    train(spoken.context, tiny(dropout=0.2), batches, config(), speak=speak)
    written = outputs(spoken.out)
    samples = [json.loads(line) for line in written.pop("samples.jsonl").splitlines()]
    assert [sample["step"] for sample in samples] == [2, 4, 6] and len({sample["text"] for sample in samples}) == 3
    assert written == outputs(plain.out)


def test_the_pace_is_told_and_is_no_part_of_the_result(tmp_path: Path) -> None:
    stand = Stand(tmp_path)
    metrics = train(stand.context, tiny(), Fixed([random_batch(0)], [random_batch(1)]), config(max_steps=250))
    steps = [point[0] for point in metrics["pace"]]
    assert 50 <= len(steps) <= 100 and steps == sorted(steps) and steps[-1] == 250
    assert all(rate > 0 for _, rate, _ in metrics["pace"])
    assert sorted(outputs(tmp_path)) == ["metrics.jsonl", "model.json", "model.safetensors"]


def test_the_metrics_tell_the_course_of_the_run(tmp_path: Path) -> None:
    def speak(network: Network) -> list[dict[str, str]]:
        return [{"prompt": "p", "text": "said"}]

    stand = Stand(tmp_path)
    batches = Fixed([random_batch(0)], [random_batch(1)])
    metrics = train(stand.context, tiny(), batches, config(max_steps=5), speak=speak)
    log = stand.log
    assert [record["tokens"] for record in log] == [step * 2 * CONTEXT for step in range(1, 6)]
    for name, values in metrics["curve"].items():
        assert values == pytest.approx([record[name] for record in log], rel=1e-5)
    judged = [[record["step"], record["val_loss"]] for record in log if "val_loss" in record]
    assert [step for step, _ in judged] == [2, 4, 5]
    assert metrics["validation"] == [[step, pytest.approx(loss, rel=1e-5)] for step, loss in judged]
    assert metrics["samples"] == [[2, "p", "said"], [4, "p", "said"], [5, "p", "said"]]


def interrupted_after(stand: Stand, steps: int) -> Callable[[], AbstractContextManager[Callable[[], bool]]]:
    """Deferred interrupts as of a signal that comes during that step."""

    @contextmanager
    def deferred() -> Iterator[Callable[[], bool]]:
        yield lambda: stand.bar.done >= steps
        raise Interrupted("stopped", signal_number=signal.SIGTERM)

    return deferred


def outputs(folder: Path) -> dict[str, bytes]:
    """Every file that a run leaves to its artifact: those under a leading dot are scratch."""
    files = ((path.relative_to(folder).as_posix(), path) for path in folder.rglob("*") if path.is_file())
    return {name: path.read_bytes() for name, path in files if not name.startswith(".")}


def test_a_run_interrupted_at_any_step_says_so_saves_it_and_goes_on_from_it(tmp_path: Path) -> None:
    batches = Fixed([random_batch(seed) for seed in range(5)], [random_batch(9)])
    whole = Stand(tmp_path / "whole")
    expected = train(whole.context, tiny(dropout=0.2), batches, config())
    for steps in range(1, 7):
        cut = Stand(tmp_path / f"cut-{steps}")
        cut.deferred = interrupted_after(cut, steps)
        with pytest.raises(Interrupted):
            train(cut.context, tiny(dropout=0.2), batches, config())
        assert cut.said == [f"saved step {steps} of 6"]
        cut.deferred = lambda: nullcontext(lambda: False)
        metrics = train(cut.context, tiny(dropout=0.2, seed=steps), batches, config())
        assert cut.said[1:] == [f"going on from step {steps}"]
        assert outputs(cut.out) == outputs(whole.out)
        for timed in (metrics, expected):
            for name in ("tokens_per_second", "pace", "peak_memory", "mfu"):
                timed.pop(name, None)
        assert metrics == expected


def test_what_a_killed_run_left_half_written_is_removed_or_written_anew(tmp_path: Path) -> None:
    batches = Fixed([random_batch(0)], [random_batch(1)])
    whole, cut = Stand(tmp_path / "whole"), Stand(tmp_path / "cut")
    train(whole.context, tiny(), batches, config())
    cut.deferred = interrupted_after(cut, 2)
    with pytest.raises(Interrupted):
        train(cut.context, tiny(), batches, config())
    with (cut.out / "metrics.jsonl").open("a") as file:
        file.write('{"step": 3, "loss": 2.5}\n{"step": 4, "lo')
    (cut.out / ".model.json.4242.tmp").write_text("{")
    (cut.out / ".model.safetensors").write_text("half")
    cut.deferred = lambda: nullcontext(lambda: False)
    train(cut.context, tiny(), batches, config())
    assert outputs(cut.out) == outputs(whole.out)


# What follows runs in processes of its own that are killed. Their fork server has all modules loaded: lives are short.

PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(["torch._dynamo", __name__])
KINDS = {"two-threads": ("fp32", 0.0, 2), "dropout": ("fp32", 0.2, 1), "bf16-dropout": ("bf16-mixed", 0.2, 1)}
OPTIONS: dict[str, dict[str, Any]] = {
    "two-threads": {},
    "dropout": {"optimizer": "muon", "ema": 0.9, "schedule": "wsd"},
    "bf16-dropout": {"optimizer": "adamw-8bit"},
}
CHANGES = {"open", "os.rename", "os.remove", "os.mkdir", "os.rmdir"}


def live(folder: Path, kind: str, die_before: int, terminate_after: int, tear: str) -> None:
    """One life of a run of 6 steps with a checkpoint after each.

    It ends by SIGKILL before its `die_before`-th operation on a file, by a SIGTERM during a step, or by SIGKILL when
    half of the weights are written to a path that ends with `tear`. A whole life leaves its count of operations.
    """
    operations = 0

    def audit(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal operations
        if event in CHANGES and (event != "open" or str(arguments[0]).startswith(str(folder / "out"))):
            operations += 1
            if operations == die_before:
                os.kill(os.getpid(), signal.SIGKILL)

    def terminate(done: float) -> None:
        if terminate_after and done == terminate_after:
            os.kill(os.getpid(), signal.SIGTERM)

    def save(tensors: dict[str, Tensor], path: Path) -> None:
        data = safetensors.torch.save(tensors)
        if tear and str(path).endswith(tear):
            path.write_bytes(data[: len(data) // 2])
            os.kill(os.getpid(), signal.SIGKILL)
        path.write_bytes(data)

    if tear:
        for module in (checkpoint, safetensors.torch):  # both names under which the project saves
            setattr(module, "save_file", save)  # noqa: B010
    precision, dropout, threads = KINDS[kind]
    torch.set_num_threads(threads)
    batches = TextBatches(folder / "tokens", seed=7, validation_tokens=40)
    wanted = config(precision=precision, checkpoint_every_steps=1, gradient_accumulation=2, **OPTIONS[kind])
    sys.addaudithook(audit)
    try:
        with Interrupts() as interrupts:
            stand = Stand(folder / "out", bar=Bar(terminate), deferred=interrupts.deferred)
            train(stand.context, tiny(dropout), batches, wanted)
    except Interrupted as error:
        raise SystemExit(error.exit_code) from None
    counted = operations
    (folder / "operations").write_text(str(counted))


def run_life(folder: Path, kind: str, die_before: int = 0, terminate_after: int = 0, tear: str = "") -> int | None:
    """The exit code of a life; minus 9 where it was killed."""
    process = PROCESSES.Process(target=live, args=(folder, kind, die_before, terminate_after, tear))
    process.start()
    process.join(60)
    assert not process.is_alive()
    return process.exitcode


def home(folder: Path) -> Path:
    """A place for a run, with its tokens."""
    tokens = [token % (VOCAB_SIZE - 4) + 4 for token in numbered(150)]
    write_tokens(folder / "tokens", tokens, tokens[7:60], context_length=CONTEXT, vocab_size=VOCAB_SIZE)
    return folder


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The home of an uninterrupted run of a kind; each is run once."""
    done: dict[str, Path] = {}

    def of(kind: str) -> Path:
        if kind not in done:
            folder = home(tmp_path_factory.mktemp(kind))
            assert run_life(folder, kind) == 0
            done[kind] = folder
        return done[kind]

    return of


def test_an_uninterrupted_run_is_the_same_twice(tmp_path: Path, uninterrupted: Callable[[str], Path]) -> None:
    first = outputs(uninterrupted("dropout") / "out")
    assert sorted(first) == ["metrics.jsonl", "model.json", "model.safetensors"]
    assert run_life(home(tmp_path), "dropout") == 0
    assert outputs(tmp_path / "out") == first
    assert first["model.safetensors"] != outputs(uninterrupted("two-threads") / "out")["model.safetensors"]


@pytest.mark.parametrize("moment", range(16))
def test_kill_9_at_any_moment_then_the_same_again_gives_the_uninterrupted_result(
    tmp_path: Path, uninterrupted: Callable[[str], Path], moment: int
) -> None:
    kind = "two-threads" if moment == 7 else ("dropout", "bf16-dropout")[moment % 2]
    expected = uninterrupted(kind)
    operations = int((expected / "operations").read_text())
    assert run_life(home(tmp_path), kind, die_before=1 + moment * operations // 16) == -signal.SIGKILL
    assert run_life(tmp_path, kind) == 0
    assert outputs(tmp_path / "out") == outputs(expected / "out")


@pytest.mark.parametrize(
    "tear", [".step-000004/model.safetensors", ".step-000004/optimizer.safetensors", "out/.model.safetensors"]
)
def test_a_weights_file_that_was_half_written_is_not_believed(
    tmp_path: Path, uninterrupted: Callable[[str], Path], tear: str
) -> None:
    assert run_life(home(tmp_path), "dropout", tear=tear) == -signal.SIGKILL
    assert run_life(tmp_path, "dropout") == 0
    assert outputs(tmp_path / "out") == outputs(uninterrupted("dropout") / "out")


def test_a_run_killed_again_and_again_arrives(tmp_path: Path, uninterrupted: Callable[[str], Path]) -> None:
    expected = uninterrupted("dropout")
    lives = int((expected / "operations").read_text()) * 2 // 5
    home(tmp_path)
    codes: list[int | None] = []
    while not codes or codes[-1] == -signal.SIGKILL:
        codes.append(run_life(tmp_path, "dropout", die_before=lives))
        assert len(codes) < 20
    assert codes[-1] == 0 and len(codes) > 3
    assert outputs(tmp_path / "out") == outputs(expected / "out")


@pytest.mark.parametrize(("kind", "step"), [("two-threads", 1), ("dropout", 3), ("bf16-dropout", 5), ("dropout", 6)])
def test_sigterm_ends_a_run_in_order_and_the_same_again_gives_the_uninterrupted_result(
    tmp_path: Path, uninterrupted: Callable[[str], Path], kind: str, step: int
) -> None:
    assert run_life(home(tmp_path), kind, terminate_after=step) == 128 + signal.SIGTERM
    assert max(path.name for path in (tmp_path / "out" / ".checkpoints").iterdir()) == f"step-{step:06d}"
    assert run_life(tmp_path, kind) == 0
    assert outputs(tmp_path / "out") == outputs(uninterrupted(kind) / "out")
