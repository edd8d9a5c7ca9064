"""The curves and scores of a report in TensorBoard, or at Weights & Biases: both read its `metrics.jsonl`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from pipeline.errors import UsageError

Point = tuple[str, int | None, dict[str, float]]


def points(metrics: Path) -> Iterator[Point]:
    """What each line is about (a stage, or stage/model), its step if it has one, and its numbers by name.

    Raises UsageError where the file cannot be read.
    """
    try:
        for text in metrics.read_text(encoding="utf-8").split("\n"):  # a text may have other signs of a line's end
            if not text:
                continue
            line = json.loads(text)
            about = "/".join(line.pop(name) for name in ("stage", "model") if name in line)
            step = line.pop("step", None)
            yield about, step, {name: value for name, value in line.items() if type(value) in (int, float)}
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise UsageError(f"{metrics} cannot be read: {error}", hint="pipeline report  writes it anew") from error


def to_tensorboard(metrics: Path, folder: Path) -> None:
    """Write an event file; one sent to the same folder before is superseded. Raises UsageError without tensorboard."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise _missing("tensorboard") from error
    told = [*points(metrics)]
    try:
        with SummaryWriter(str(folder), purge_step=0) as writer:
            for about, step, numbers in told:
                for name, value in numbers.items():
                    writer.add_scalar(f"{about}/{name}", value, step or 0)
    except OSError as error:
        raise UsageError(f"TensorBoard's files cannot be written to {folder}: {error}") from error


def to_wandb(metrics: Path, project: str) -> None:
    """Send a run, named as the folder of its report; its summary has the scores.

    Each stage counts its own steps. With WANDB_MODE=offline nothing is sent before `wandb sync`. Raises UsageError
    without wandb, and where it refuses.
    """
    try:
        import wandb
    except ImportError as error:
        raise _missing("wandb") from error
    told = [*points(metrics)]
    try:
        settings = wandb.Settings(console="off", disable_git=True, save_code=False)
        with wandb.init(project=project, name=metrics.resolve().parent.name, settings=settings) as run:
            for about in {about for about, step, _ in told if step is not None}:
                run.define_metric(f"{about}/*", step_metric=f"{about}/step")
            for about, step, numbers in told:
                named = {f"{about}/{name}": value for name, value in numbers.items()}
                if step is None:
                    run.summary.update(named)
                else:
                    run.log({f"{about}/step": step, **named})
    except (wandb.Error, ValueError) as error:  # a ValueError: a setting of its environment is none
        raise UsageError(f"Weights & Biases: {error}", hint="wandb login, or set WANDB_MODE=offline") from error


def _missing(package: str) -> UsageError:
    return UsageError(f"{package} is not installed", hint=f"pip install 'pipeline[{package}]'")
