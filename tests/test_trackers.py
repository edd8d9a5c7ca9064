"""What TensorBoard and Weights & Biases get to see, read back by their own means where they are installed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import ModuleType, TracebackType
from typing import Any, ClassVar, Self

import pytest

from pipeline.errors import UsageError
from stages.evaluation.trackers import points, to_tensorboard, to_wandb

LINES: list[dict[str, Any]] = [
    {"stage": "pretrain", "step": 5, "tokens": 160, "loss": 4.5, "learning_rate": 0.001},
    {"stage": "pretrain", "step": 10, "loss": 3.25, "validation_loss": 3.5, "note": "text", "memory": None, "ok": True},
    {"stage": "finetune", "step": 5, "loss": 2.75},
    {"stage": "evaluate", "model": "q4_k_m", "compile_rate.value": 0.625, "kind": "gguf"},
    {"stage": "evaluate", "model": "f16", "compile_rate.value": 0.75},
]
SCALARS = {
    "pretrain/tokens": [(5, 160.0)],
    "pretrain/loss": [(5, 4.5), (10, 3.25)],
    "pretrain/learning_rate": [(5, pytest.approx(0.001))],
    "pretrain/validation_loss": [(10, 3.5)],
    "finetune/loss": [(5, 2.75)],
    "evaluate/q4_k_m/compile_rate.value": [(0, 0.625)],
    "evaluate/f16/compile_rate.value": [(0, 0.75)],
}


@pytest.fixture
def metrics(tmp_path: Path) -> Path:
    path = tmp_path / "metrics.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in LINES), encoding="utf-8")
    return path


def test_signs_that_some_take_for_the_end_of_a_line_are_part_of_a_name(tmp_path: Path) -> None:
    names = ["a\u2028b", "a\x85b", "a\x1cb"]
    path = tmp_path / "metrics.jsonl"
    lines = [json.dumps({"stage": "evaluate", "model": name, "asked": 2}, ensure_ascii=False) for name in names]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    assert list(points(path)) == [(f"evaluate/{name}", None, {"asked": 2}) for name in names]


def test_only_numbers_are_points(metrics: Path) -> None:
    assert list(points(metrics)) == [
        ("pretrain", 5, {"tokens": 160, "loss": 4.5, "learning_rate": 0.001}),
        ("pretrain", 10, {"loss": 3.25, "validation_loss": 3.5}),
        ("finetune", 5, {"loss": 2.75}),
        ("evaluate/q4_k_m", None, {"compile_rate.value": 0.625}),
        ("evaluate/f16", None, {"compile_rate.value": 0.75}),
    ]


@pytest.mark.parametrize("content", [None, b"{", b"[1]", b"\xff", b'{"stage": 1}'])
def test_a_file_that_is_none_of_a_report_is_told_by_name(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "metrics.jsonl"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UsageError, match=r"metrics.jsonl cannot be read: ") as caught:
        list(points(path))
    assert caught.value.hint and "pipeline report" in caught.value.hint


class Writer:
    """torch.utils.tensorboard.SummaryWriter, as far as it is documented, keeping what it is given."""

    made: ClassVar[list[Writer]] = []

    def __init__(self, log_dir: str, purge_step: int | None = None) -> None:
        self.log_dir, self.purge_step, self.closed = log_dir, purge_step, False
        self.scalars: dict[str, list[tuple[int, float]]] = {}
        self.made.append(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.closed = True

    def add_scalar(self, tag: str, scalar_value: float, global_step: int) -> None:
        self.scalars.setdefault(tag, []).append((global_step, scalar_value))


def test_tensorboard_gets_every_number_at_its_step(
    metrics: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = ModuleType("torch.utils.tensorboard")
    module.SummaryWriter = Writer  # type: ignore[attr-defined]
    monkeypatch.setattr(Writer, "made", [])
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", module)
    to_tensorboard(metrics, tmp_path / "board")
    (writer,) = Writer.made
    assert (writer.log_dir, writer.purge_step, writer.closed) == (str(tmp_path / "board"), 0, True)
    assert writer.scalars == SCALARS


def test_tensorboard_reads_back_what_was_sent_once_though_it_was_sent_twice(metrics: Path, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    read = """
import json, sys
from stages.evaluation.trackers import to_tensorboard
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from pathlib import Path
for _ in range(2):
    to_tensorboard(Path(sys.argv[1]), Path(sys.argv[2]))
found = EventAccumulator(sys.argv[2]).Reload()
print(json.dumps({tag: [(event.step, event.value) for event in found.Scalars(tag)] for tag in found.Tags()["scalars"]}))
"""
    told = subprocess.run(
        [sys.executable, "-c", read, metrics, tmp_path / "board"], capture_output=True, text=True, check=True
    ).stdout
    found = json.loads(told)
    assert {tag: [tuple(event) for event in events] for tag, events in found.items()} == SCALARS


class Refused(Exception):
    """wandb.Error."""


class Run:
    """wandb's run, as far as it is documented."""

    def __init__(self) -> None:
        self.logged: list[dict[str, float]] = []
        self.summary: dict[str, float] = {}
        self.axes: dict[str, str] = {}
        self.finished = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        self.finished = kind is None

    def define_metric(self, name: str, *, step_metric: str) -> None:
        self.axes[name] = step_metric

    def log(self, data: Mapping[str, float]) -> None:
        self.logged.append(dict(data))


@pytest.fixture
def wandb(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    module = ModuleType("wandb")
    module.Error, module.Settings = Refused, dict  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "wandb", module)
    return module


def test_weights_and_biases_gets_a_run_with_steps_for_each_stage_and_scores_in_its_summary(
    metrics: Path, wandb: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Run()
    asked: dict[str, Any] = {}

    def init(*, project: str, name: str, settings: dict[str, Any]) -> Run:
        asked.update(project=project, name=name, settings=settings)
        return run

    wandb.init = init  # type: ignore[attr-defined]
    monkeypatch.chdir(metrics.parent)
    to_wandb(Path(metrics.name), "boards")
    assert (asked["project"], asked["name"]) == ("boards", metrics.parent.name)
    assert asked["settings"]["console"] == "off" and asked["settings"]["disable_git"]
    assert run.finished and run.axes == {"pretrain/*": "pretrain/step", "finetune/*": "finetune/step"}
    assert run.logged == [
        {"pretrain/step": 5, "pretrain/tokens": 160, "pretrain/loss": 4.5, "pretrain/learning_rate": 0.001},
        {"pretrain/step": 10, "pretrain/loss": 3.25, "pretrain/validation_loss": 3.5},
        {"finetune/step": 5, "finetune/loss": 2.75},
    ]
    assert run.summary == {"evaluate/q4_k_m/compile_rate.value": 0.625, "evaluate/f16/compile_rate.value": 0.75}


@pytest.mark.parametrize("kind", [Refused, ValueError])
def test_what_weights_and_biases_refuses_is_told(metrics: Path, wandb: ModuleType, kind: type[Exception]) -> None:
    def init(**_: Any) -> Run:
        raise kind("No API key configured.")

    wandb.init = init  # type: ignore[attr-defined]
    with pytest.raises(UsageError, match=r"Weights & Biases: No API key configured\.") as caught:
        to_wandb(metrics, "boards")
    assert caught.value.hint and "WANDB_MODE=offline" in caught.value.hint


def stored_records(path: Path) -> Iterator[bytes]:
    """The records of a .wandb file: LevelDB's log format after a header of 7 bytes."""
    data, at, waiting = path.read_bytes(), 7, b""
    while at + 7 <= len(data):
        if 2**15 - at % 2**15 < 7:  # a block's end that is too short for a header
            at += 2**15 - at % 2**15
            continue
        size, kind = int.from_bytes(data[at + 4 : at + 6], "little"), data[at + 6]
        waiting += data[at + 7 : at + 7 + size]
        at += 7 + size
        if kind in (1, 4):  # whole, or the last part
            yield waiting
            waiting = b""


def values(items: Iterable[Any]) -> dict[str, Any]:
    return {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in items}


def test_weights_and_biases_keeps_a_run_offline(metrics: Path, tmp_path: Path) -> None:
    pytest.importorskip("wandb")
    from wandb.proto.wandb_internal_pb2 import Record

    send = """
import sys
from pathlib import Path
from stages.evaluation.trackers import to_wandb
to_wandb(Path(sys.argv[1]), "boards")
"""
    environment = {**os.environ, "WANDB_MODE": "offline", "WANDB_DIR": str(tmp_path), "HOME": str(tmp_path)}
    subprocess.run([sys.executable, "-c", send, metrics], env=environment, check=True, capture_output=True)
    (stored,) = tmp_path.glob("wandb/offline-run-*/run-*.wandb")
    records = [Record.FromString(data) for data in stored_records(stored)]
    (run,) = (record.run for record in records if record.WhichOneof("record_type") == "run")
    assert (run.project, run.display_name) == ("boards", metrics.parent.name)
    logged = [values(record.history.item) for record in records if record.WhichOneof("record_type") == "history"]
    logged = [{key: value for key, value in row.items() if not key.startswith("_")} for row in logged]
    assert logged == [
        {"pretrain/step": 5, "pretrain/tokens": 160, "pretrain/loss": 4.5, "pretrain/learning_rate": 0.001},
        {"pretrain/step": 10, "pretrain/loss": 3.25, "pretrain/validation_loss": 3.5},
        {"finetune/step": 5, "finetune/loss": 2.75},
    ]
    summary: dict[str, Any] = {}
    for record in records:
        if record.WhichOneof("record_type") == "summary":
            summary |= values(record.summary.update)
    assert summary["evaluate/q4_k_m/compile_rate.value"] == 0.625
    axes = {(record.metric.glob_name, record.metric.step_metric) for record in records if record.HasField("metric")}
    assert axes >= {("pretrain/*", "pretrain/step"), ("finetune/*", "finetune/step")}


@pytest.mark.parametrize(("module", "package"), [("torch.utils.tensorboard", "tensorboard"), ("wandb", "wandb")])
def test_without_the_package_the_command_that_installs_it_is_told(
    metrics: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: str, package: str
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(UsageError, match=f"{package} is not installed") as caught:
        if package == "wandb":
            to_wandb(metrics, "boards")
        else:
            to_tensorboard(metrics, tmp_path / "board")
    assert caught.value.hint == f"pip install 'pipeline[{package}]'"
    assert not (tmp_path / "board").exists()
