"""Steps that are not finite, and losses that leap: when a run goes on, goes back, or is told of."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from statistics import fmean, pvariance

import pytest
import safetensors.torch
import torch
from test_loop import Fixed, Stand, config, outputs, random_batch, tiny

from pipeline.errors import StageError
from stages.training import guard, loop
from stages.training.checkpoint import State
from stages.training.data import Batch
from stages.training.networks.llama import Llama
from stages.training.shape import ModelConfig


def test_one_or_two_steps_passed_over_are_borne_a_third_is_too_many() -> None:
    state = State(step=4)
    assert not guard.skip(state)
    state.step = 60
    assert not guard.skip(state)
    state.step = 103
    assert guard.skip(state) and state.skipped == [5, 61, 104]


def test_what_lies_long_behind_is_forgotten() -> None:
    state = State()
    for step in range(0, 1000, 50):
        state.step = step
        assert not guard.skip(state)


@pytest.mark.parametrize("same_data", [True, False])
def test_going_back_takes_the_earlier_numbers_and_the_same_or_other_data(same_data: bool) -> None:
    earlier = State(step=40, tokens=4000, seconds=9.0, best_loss=2.0, best_step=30, shift=5, loss_mean=2.5)
    failed = State(
        step=52, tokens=5200, seconds=12.5, micro_batch=3, skipped=[50, 51, 53], rollbacks=1, shift=5,
        best_loss=1.75, best_step=50,
    )  # fmt: skip
    now = guard.roll_back(failed, earlier, same_data=same_data)
    assert (now.step, now.tokens, now.loss_mean) == (40, 4000, 2.5)
    assert (now.best_loss, now.best_step) == (1.75, 50)  # whose weights are still in the file
    assert (now.rollbacks, now.skipped, now.micro_batch, now.seconds) == (2, [], 3, 12.5)
    ahead = now.step + now.shift
    assert ahead == (earlier.step + earlier.shift if same_data else failed.step + failed.shift + 1)


def test_a_leap_is_told_and_ordinary_noise_is_not() -> None:
    state = State()
    told = []
    for step in range(1, 401):
        loss = 5.0 - step / 200 + 0.05 * math.sin(step * 1.7)
        if guard.spike(state, loss + (1.0 if step in (20, 200) else 0.0)):
            told.append(step)
    assert told == [200]  # at the 20th step nothing is known yet


def test_the_first_losses_give_their_plain_mean_and_variance() -> None:
    state, losses = State(), [3.0, 5.0, 4.5, 2.0, 7.25]
    for loss in losses:
        guard.spike(state, loss)
    assert state.loss_mean == pytest.approx(fmean(losses))
    assert state.loss_variance == pytest.approx(pvariance(losses))


def test_the_evidence_names_where_the_numbers_broke() -> None:
    network = Llama(ModelConfig(d_model=16, n_layers=2, n_heads=2, n_kv_heads=1, d_ff=16), 20, 8)
    inputs = torch.arange(16).view(2, 8)
    network(inputs).sum().backward()
    weight = network.get_parameter("blocks.1.attention.output.weight")
    assert weight.grad is not None
    weight.grad[0, 0] = math.nan
    with torch.no_grad():
        network.get_parameter("norm.weight")[3] = math.inf
    found = guard.evidence(network, [Batch(inputs, inputs)], step=9, loss=math.nan, norm=math.inf)
    assert found["gradients_not_finite"] == ["blocks.1.attention.output.weight"]
    assert found["weights_not_finite"] == ["norm.weight"]
    assert (found["step"], found["loss"], found["grad_norm"]) == (9, "nan", "inf")
    assert found["inputs"] == [inputs.tolist()]


BATCHES = Fixed([random_batch(seed) for seed in range(9)], [random_batch(99)])


def spoilt(network: Llama, where: str, *calls: int) -> Llama:
    """The network, whose loss or gradient is not finite in these of its training passes, counted from 1."""
    count = 0

    def loss(module: torch.nn.Module, inputs: object, x: torch.Tensor) -> torch.Tensor:
        nonlocal count
        count += network.training
        return x * math.inf if where == "loss" and network.training and count in calls else x

    network.norm.register_forward_hook(loss)
    network.norm.weight.register_hook(  # type: ignore[no-untyped-call]
        lambda gradient: gradient * math.nan if where == "gradient" and count in calls else gradient
    )
    return network


def events(stand: Stand) -> list[tuple[int, str]]:
    return [(record["step"], record["event"]) for record in stand.log if "event" in record]


@pytest.mark.parametrize("where", ["loss", "gradient"])
def test_a_fault_that_does_not_come_again_leaves_no_trace_but_a_line(tmp_path: Path, where: str) -> None:
    plain, hurt = Stand(tmp_path / "plain"), Stand(tmp_path / "hurt")
    loop.train(plain.context, tiny(dropout=0.2), BATCHES, config(optimizer="muon", ema=0.9))
    loop.train(hurt.context, spoilt(tiny(dropout=0.2), where, 4), BATCHES, config(optimizer="muon", ema=0.9))
    assert events(hurt) == [(4, "not finite, step taken again")]
    assert len(hurt.warned) == 1 and hurt.warned[0].startswith("step 4: loss ")
    expected, found = outputs(plain.out), outputs(hurt.out)
    lines = found.pop("metrics.jsonl").splitlines()
    assert [line for line in lines if b'"event"' not in line] == expected.pop("metrics.jsonl").splitlines()
    assert found == expected


def test_a_step_that_is_not_finite_twice_is_passed_over_and_its_data_with_it(tmp_path: Path) -> None:
    stand = Stand(tmp_path)
    network = spoilt(tiny(), "gradient", 3, 4)
    before: list[torch.Tensor] = []
    network.norm.register_forward_pre_hook(lambda *_: before.append(network.norm.weight.detach().clone()))
    metrics = loop.train(stand.context, network, BATCHES, config(eval_every=100))
    assert events(stand) == [(3, "not finite, step taken again"), (3, "passed over")]
    assert torch.equal(before[2], before[4]) and not torch.equal(before[4], before[5])
    assert [record["step"] for record in stand.log if "loss" in record] == [1, 2, 4, 5, 6]
    assert metrics["steps"] == 6 and metrics["rollbacks"] == 0


def test_several_in_a_row_send_the_run_back_and_on_with_other_data(tmp_path: Path) -> None:
    stand = Stand(tmp_path)
    asked: list[int] = []

    class Noted(Fixed):
        def rows(self, first: int, count: int) -> Batch:
            asked.append(first)
            return super().rows(first, count)

    wanted = config(max_steps=12, checkpoint_every_steps=4, eval_every=100, ema=0.5)
    network = spoilt(tiny(), "loss", *range(6, 12))  # steps 6, 7 and 8, twice each
    metrics = loop.train(stand.context, network, Noted(BATCHES.batches), wanted)
    assert metrics["steps"] == 12 and metrics["rollbacks"] == 1
    learnt = [record["step"] for record in stand.log if "loss" in record]
    assert learnt == list(range(1, 13))
    assert (4, "went back") in events(stand)
    assert asked.index(2 * 8) < len(asked) and asked.count(2 * 4) == 1  # the data of steps 5 to 8 do not come again


def test_a_run_that_cannot_go_on_ends_with_the_evidence_and_good_weights(tmp_path: Path) -> None:
    stand = Stand(tmp_path)
    network = spoilt(tiny(), "loss", *range(6, 10_000))
    with pytest.raises(StageError, match=r"loss (nan|inf), .* again and again; what is known of it is in ") as caught:
        loop.train(stand.context, network, BATCHES, config(max_steps=50, checkpoint_every_steps=2))
    assert caught.value.hint is not None and "learning_rate" in caught.value.hint
    assert all(bool(torch.isfinite(tensor).all()) for tensor in network.state_dict().values())
    told = json.loads((tmp_path / guard.EVIDENCE).read_text())
    assert told["loss"] in ("nan", "inf") and told["inputs"]
    assert [event for _, event in events(stand)].count("went back") == guard.MAX_ROLLBACKS


def out_of_memory(largest: int) -> Callable[[int], None]:
    def check(rows: int) -> None:
        if rows > largest:
            raise torch.OutOfMemoryError("tried to allocate 2.00 GiB")

    return check


def test_without_memory_the_micro_batch_is_halved_and_the_step_is_the_same(tmp_path: Path) -> None:
    plain, small = Stand(tmp_path / "plain"), Stand(tmp_path / "small")
    wanted = config(batch_size=6)
    loop.train(plain.context, tiny(), BATCHES, wanted)
    network, check = tiny(), out_of_memory(2)
    network.embedding.register_forward_pre_hook(lambda module, inputs: check(len(inputs[0])))
    held_back = Fixed(BATCHES.batches, [random_batch(99)])
    metrics = loop.train(small.context, network, held_back, wanted)
    assert metrics["micro_batch"] == 2
    assert small.warned == [
        "step 1: out of memory; going on with micro-batches of 3, 2 of them a step",
        "step 1: out of memory; going on with micro-batches of 2, 3 of them a step",
    ]
    learnt = [[record for record in stand.log if "loss" in record] for stand in (plain, small)]
    for record, expected in zip(*learnt, strict=True):
        assert record == pytest.approx(expected, rel=1e-3)


def test_without_memory_for_one_sequence_the_run_ends(tmp_path: Path) -> None:
    network, check = tiny(), out_of_memory(0)
    network.embedding.register_forward_pre_hook(lambda module, inputs: check(len(inputs[0])))
    with pytest.raises(StageError, match="out of memory: tried to allocate") as caught:
        loop.train(Stand(tmp_path).context, network, BATCHES, config())
    assert caught.value.hint is not None and "activation_checkpointing" in caught.value.hint


@pytest.mark.parametrize("at", [1, 4, 5, 6, 8])
def test_weights_that_break_are_taken_from_the_last_checkpoint_and_leave_no_trace_but_lines(
    tmp_path: Path, at: int
) -> None:
    plain, hurt = Stand(tmp_path / "plain"), Stand(tmp_path / "hurt")
    wanted = config(max_steps=8, optimizer="muon", ema=0.9, checkpoint_every_steps=3)
    loop.train(plain.context, tiny(dropout=0.2), BATCHES, wanted)
    network = tiny(dropout=0.2)
    done = False

    def after(steps: float) -> None:
        nonlocal done
        if steps == at and not done:
            done = True
            with torch.no_grad():
                network.get_parameter("norm.weight")[0] = math.nan

    hurt.bar.after = after
    loop.train(hurt.context, network, BATCHES, wanted)
    expected, found = outputs(plain.out), outputs(hurt.out)
    lines = found.pop("metrics.jsonl").splitlines()
    assert [line for line in lines if b'"event"' not in line] == expected.pop("metrics.jsonl").splitlines()
    assert found == expected


def test_a_checkpoint_never_holds_weights_that_are_not_finite(tmp_path: Path) -> None:
    stand = Stand(tmp_path)
    mad = config(
        learning_rate=0.9, min_lr=0.9, grad_clip=0.0, weight_decay=100.0, max_steps=60, checkpoint_every_steps=1
    )
    with pytest.raises(StageError, match="again and again"):
        loop.train(stand.context, tiny(), BATCHES, mad)
    for path in (tmp_path / ".checkpoints").glob("step-*/model.safetensors"):
        assert all(bool(tensor.isfinite().all()) for tensor in safetensors.torch.load_file(path).values())
    told = json.loads((tmp_path / guard.EVIDENCE).read_text())
    assert told["weights_not_finite"] or told["gradients_not_finite"] or told["loss"] == "nan"
