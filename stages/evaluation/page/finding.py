"""What a judgement of a figure is: how good, in a sentence, and what to try next."""

from __future__ import annotations

from dataclasses import dataclass

from stages.evaluation.page.run import Run
from stages.evaluation.page.values import number

REPEATED = 8.0  # epochs; from about four on a repeated text teaches less than a new one (arXiv 2305.16264)


@dataclass(frozen=True)
class Finding:
    """A sentence, how it is meant, and what to try; `brief` is the same in a few words for the headline."""

    grade: str
    text: str
    next: str = ""
    command: str = ""
    brief: str = ""


def graded(value: float, limits: tuple[float, float], *, more: bool = True) -> str:
    good, weak = limits
    if more:
        return "good" if value >= good else "doubtful" if value >= weak else "bad"
    return "good" if value <= good else "doubtful" if value <= weak else "bad"


def longer(run: Run, stage: str) -> tuple[str, str]:
    """What to try and how, where training more may help; more text, where what there is was read often."""
    steps = number(run.config(stage, stage, "max_steps"))
    epochs = run.number(stage, "epochs")
    if epochs and epochs > REPEATED / 2 and stage == "pretrain":
        return "add text: what there is was already read often", ""
    doing = "pretraining" if stage == "pretrain" else "finetuning"
    return f"twice the {doing}", run.again(f"{stage}.max_steps={2 * steps:.0f}") if steps else ""
