"""Several processes that train one model: two with gloo give what one gives, and each can go on from the other's."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from test_loop import Fixed, Stand, config, random_batch, tiny
from torch import Tensor

from pipeline.errors import Interrupted, StageError
from stages.training.loop import train
from stages.training.parallel import Group
from stages.training.settings import TrainingConfig

torch.set_num_threads(1)

STEPS, HALF = 10, 5
KINDS = {"ddp": dict(distributed="ddp"), "fsdp": dict(distributed="fsdp"), "muon": dict(optimizer="muon", ema=0.8)}


def settings(kind: str = "ddp") -> TrainingConfig:
    """Steps of eight sequences in four micro-batches, or two for each of two processes."""
    return config(**(dict(max_steps=STEPS, gradient_accumulation=4, eval_every=3) | KINDS[kind]))


def learn(folder: Path, kind: str, *, until: int = STEPS) -> None:
    """Train in float64 on sequences of which ever other targets count, or stop after some steps as if by a signal."""

    @contextmanager
    def deferred() -> Iterator[Callable[[], bool]]:
        asked = iter(range(STEPS + 2))
        yield lambda: next(asked) >= until

    batches = Fixed(
        [random_batch(seed, counted=3 + seed) for seed in range(12)],
        [random_batch(99 - seed, counted=9) for seed in range(3)],
    )
    stand = Stand(folder, deferred=deferred if until < STEPS and not int(os.environ.get("RANK", 0)) else whole_run)
    with suppress(Interrupted):
        train(stand.context, tiny().double(), batches, settings(kind))


@contextmanager
def whole_run() -> Iterator[Callable[[], bool]]:
    yield lambda: False


def records(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def checkpoint(folder: Path, name: str) -> dict[str, Tensor]:
    return load_file(max((folder / ".checkpoints").glob("step-*")) / f"{name}.safetensors")


def assert_same(one: Path, other: Path) -> None:
    """Losses, norms, validation, weights, averages and optimizer are the same but for rounding."""
    assert len(records(one)) == STEPS
    for mine, theirs in zip(records(one), records(other), strict=True):
        assert mine == pytest.approx(theirs, rel=1e-11)
    names = {path.name for path in (max((one / ".checkpoints").glob("step-*"))).glob("*.safetensors")}
    assert {"model.safetensors", "optimizer.safetensors"} <= names
    for name in sorted(path.removesuffix(".safetensors") for path in names):
        mine, theirs = checkpoint(one, name), checkpoint(other, name)
        assert mine.keys() == theirs.keys()
        for key in mine:
            torch.testing.assert_close(mine[key], theirs[key], rtol=1e-9, atol=1e-11)
    torch.testing.assert_close(load_file(one / "model.safetensors"), load_file(other / "model.safetensors"))


def work(folder: Path) -> None:
    """What each of two processes does; the first leaves what it saw in `told.json`."""
    told: dict[str, Any] = {}
    for kind in KINDS:
        learn(folder / kind / "two", kind)
        learn(folder / kind / "half of two", kind, until=HALF)
        learn(folder / kind / "half of one", kind)
    with Group.from_environment() as group:
        told["rows"] = group.rows(30, 10)
        told["share"] = [list(group.share(items)) for items in ("abcd", "abc", "a", "")]
        told["sum"] = float(group.sum(torch.tensor(group.rank + 1.5)))
        told["agree"] = [group.agree(flag) for flag in (False, group.first, not group.first, True)]
        told["decide"] = [group.decide(0.1 + group.rank), group.least(2.5 - group.rank)]
        group.seed(1, 2)
        told["drawn"] = float(torch.rand(()))
        for name, ask in (("uneven", lambda: group.rows(0, 7)), ("same", lambda: group.require_same(group.rank, "x"))):
            try:
                ask()
            except StageError as error:
                told[name] = [str(error), error.hint]
        group.require_same(3, "number")
    (folder / f"told-{group.rank}.json").write_text(json.dumps(told))


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with all that one process made, and two."""
    folder = tmp_path_factory.mktemp("two")
    for kind in KINDS:
        learn(folder / kind / "one", kind)
        learn(folder / kind / "half of one", kind, until=HALF)
        assert max(path.name for path in (folder / kind / "half of one" / ".checkpoints").iterdir()) == "step-000005"
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    meeting = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "OMP_NUM_THREADS": "1"}
    code = f"import test_parallel, pathlib; test_parallel.work(pathlib.Path({str(folder)!r}))"
    processes = [
        subprocess.Popen(
            [sys.executable, "-W", "error", "-c", code],
            env={**os.environ, **meeting, "RANK": str(rank), "PYTHONPATH": str(Path(__file__).parent)},
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    said = [process.communicate(timeout=300)[1] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], "\n".join(said)
    for kind in KINDS:
        assert max(path.name for path in (folder / kind / "half of two" / ".checkpoints").iterdir()) == "step-000005"
        learn(folder / kind / "half of two", kind)
    return folder


@pytest.mark.parametrize("kind", KINDS)
def test_two_processes_learn_what_one_learns(two: Path, kind: str) -> None:
    assert_same(two / kind / "one", two / kind / "two")


@pytest.mark.parametrize("kind", KINDS)
def test_two_go_on_from_the_checkpoint_of_one(two: Path, kind: str) -> None:
    assert_same(two / kind / "one", two / kind / "half of one")


@pytest.mark.parametrize("kind", KINDS)
def test_one_goes_on_from_the_checkpoint_of_two(two: Path, kind: str) -> None:
    assert_same(two / kind / "one", two / kind / "half of two")


def test_the_processes_of_a_group_act_as_one(two: Path) -> None:
    first, second = (json.loads((two / f"told-{rank}.json").read_text()) for rank in range(2))
    assert (first["rows"], second["rows"]) == ([30, 5], [35, 5])
    assert first["share"] == [[["a", True], ["c", True]], [["a", True], ["c", True]], [["a", True]], []]
    assert second["share"] == [[["b", True], ["d", True]], [["b", True], ["c", False]], [["a", False]], []]
    assert first["drawn"] != second["drawn"]
    for told in (first, second):
        assert told["sum"] == 4.0 and told["agree"] == [False, True, True, True] and told["decide"] == [0.1, 1.5]
        assert told["uneven"][0] == "7 sequences a step cannot be shared out to 2 processes"
        assert told["uneven"][1].startswith("make it 6 or 8:")
        assert told["same"][0] == "the processes do not see the same x"


def test_one_process_is_a_group_of_its_own_that_costs_nothing(tmp_path: Path) -> None:
    loaded = set(sys.modules)
    network = tiny()
    with Group.from_environment() as group:
        assert (group.rank, group.size, group.first, group.sharded) == (0, 1, True, False)
        assert group.wrap(network, "fsdp", "fp32") is network
        assert group.rows(30, 7) == (30, 7) and list(group.share("ab")) == [("a", True), ("b", True)]
        tensor = torch.tensor(3.0)
        assert group.sum(tensor) is tensor
        assert group.agree(True) and not group.agree(False) and group.decide(0.3) == group.least(0.3) == 0.3
        with group.accumulating(network, last=False):
            network(torch.zeros(1, 2, dtype=torch.int64)).sum().backward()
        group.barrier()
        kept = group.whole(network.state_dict())
        assert kept.keys() == network.state_dict().keys()
        assert group.shares(kept, kept) == kept
    assert not {name for name in set(sys.modules) - loaded if name.startswith("torch.distributed")}


def test_the_norm_is_that_before_clipping_and_zero_clips_nothing() -> None:
    parameters = [
        torch.nn.Parameter(torch.zeros(2)),
        torch.nn.Parameter(torch.zeros(1)),
        torch.nn.Parameter(torch.ones(1)),
    ]
    parameters[0].grad, parameters[1].grad = torch.tensor([3.0, 0.0]), torch.tensor([4.0])
    group = Group()
    assert float(group.clip(parameters, 0)) == 5.0 and float(parameters[1].grad) == 4.0
    assert float(group.clip(iter(parameters), 1.0)) == 5.0
    assert float(parameters[1].grad) == pytest.approx(0.8, rel=1e-5)


def test_random_numbers_follow_from_seed_step_and_process() -> None:
    def drawn(rank: int, seed: int, step: int) -> float:
        Group(rank, 2).seed(seed, step)
        return float(torch.rand(()))

    again = drawn(0, 7, 3)
    assert len({drawn(rank, seed, step) for rank in (0, 1) for seed in (7, 8) for step in (3, 4)}) == 8
    assert drawn(0, 7, 3) == again


def test_a_signal_to_any_process_ends_all_of_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    group = Group(1, 2)
    told = iter([False, True])
    monkeypatch.setattr(group, "agree", lambda flag: next(told))
    monkeypatch.setattr(group, "barrier", lambda: None)
    context = Stand(tmp_path, deferred=whole_run).context
    with pytest.raises(Interrupted, match="another process of this run") as caught, group.interrupts(context) as asked:
        assert [asked() for _ in range(3)] == [False, True, True]
    assert caught.value.exit_code == 143
