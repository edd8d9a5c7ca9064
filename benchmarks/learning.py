"""How many of the tokens the defaults need to reach the final loss of AdamW with a cosine, tuned over its rate.

    python benchmarks/learning.py TOKENS WORK [--config micropython.yaml] [--profile cpu] [--seeds 1 2 3] [--only half]

TOKENS is an artifact of tokenize (artifacts/tokenize/v…), WORK a folder for the runs. The baseline has the config's
network, batches and steps; optimizer, schedule, rate and averaging differ. It is tuned over the rate with the first
seed, by its best validation loss, and then trained with each seed; the config as it stands is trained with each seed
twice, with all steps and with half of them. What is printed, as Markdown:

- `half`: the validation loss with half of the tokens, the schedule shortened; below the baseline's: the claim holds.
- `along`: the share of the tokens after which the run of all steps first passes the baseline, between two evaluations
  interpolated. Its learning rate has not come down by then, so this asks for more.

Each finished run is kept in WORK; an interrupted one goes on from its checkpoint. Processes for different kinds of runs
(--only) can share WORK.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path
from statistics import mean
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from pipeline.config import find_config, load_config  # noqa: E402
from pipeline.hardware import auto_profile, describe  # noqa: E402
from pipeline.interrupts import Interrupts  # noqa: E402
from pipeline.shards import map_ordered  # noqa: E402
from pipeline.stage import Context  # noqa: E402
from pipeline.store import write_atomic  # noqa: E402
from stages import ROAD  # noqa: E402
from stages.training import pretrain  # noqa: E402
from stages.training.pretrain import PretrainConfig  # noqa: E402
from stages.training.shape import ModelConfig  # noqa: E402

Setting = tuple[ModelConfig, PretrainConfig]
Curve = list[tuple[int, float]]
EVALUATIONS = 12
KINDS = ("baseline", "half", "default")


class Quiet:
    """A progress bar that nobody sees."""

    def advance(self, amount: float = 1, note: str | None = None) -> None: ...


class Runs:
    """Trainings by name, each done once; only those whose names start as one of `train` are begun."""

    def __init__(self, tokens: Path, work: Path, interrupts: Interrupts, train: Sequence[str]) -> None:
        self.tokens, self.work, self.interrupts, self.train = tokens, work, interrupts, train

    def curve(self, name: str, seed: int, setting: Setting) -> Curve | None:
        """(step, validation loss) at each evaluation, of the average of the weights where that is better."""
        model, config = setting
        told = {"model": model.model_dump(mode="json"), "pretrain": config.model_dump(mode="json")}
        folder = self.work / f"{name}-seed-{seed}".replace(" ", "-")
        path = folder / "result.json"
        found = json.loads(path.read_bytes()) if path.exists() else None
        if found is None and name.startswith(tuple(self.train)):
            began = time.monotonic()
            found = {**told, "machine": describe(), "curve": self._train(folder, seed, setting)}
            found["seconds"] = round(time.monotonic() - began)
            write_atomic(path, json.dumps(found, indent=1).encode())
            say(f"{name}, seed {seed}: {best(found['curve']):.4f} after {found['seconds']} s")
        if found and {key: found[key] for key in told} != told:
            sys.exit(f"error: {path} was made with other settings; use another folder")
        return [(step, loss) for step, loss in found["curve"]] if found else None

    def _train(self, out: Path, seed: int, setting: Setting) -> Curve:
        model, config = setting
        out.mkdir(parents=True, exist_ok=True)
        context = Context(
            sections={"model": model, "pretrain": config},
            inputs={"tokenize": self.tokens},
            out=out,
            seed=seed,
            base=ROOT,
            name=out.name,
            map=map_ordered,
            say=say,
            warn=say,
            progress=lambda total, unit: nullcontext(Quiet()),
            deferred_interrupts=self.interrupts.deferred,
        )
        pretrain.run(context)
        records = [json.loads(line) for line in (out / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
        return [
            (record["step"], min(record["val_loss"], record.get("val_loss_ema", record["val_loss"])))
            for record in records
            if "val_loss" in record
        ]


def baseline(setting: Setting, rate: float) -> Setting:
    """The same network, data and steps with AdamW and a cosine to a tenth of the rate."""
    return changed(
        setting,
        {"optimizer": "adamw", "schedule": "cosine", "learning_rate": rate, "min_lr": rate / 10, "warmup_steps": 100}
        | {"embedding_learning_rate": None, "weight_decay": 0.1, "beta1": 0.9, "beta2": 0.95, "ema": 0.0},
    )


def changed(setting: Setting, values: dict[str, Any]) -> Setting:
    """The setting with other values of training, checked as a config's are."""
    model, config = setting
    return model, PretrainConfig.model_validate(config.model_dump() | values)


def best(curve: Iterable[Sequence[float]]) -> float:
    return min(loss for _, loss in curve)


def passes(curve: Curve, loss: float) -> float | None:
    """The step at which a curve first comes down to the loss; None where it never does."""
    before: tuple[int, float] | None = None
    for step, value in curve:
        if value <= loss:
            if before is None:
                return float(step)
            return before[0] + (step - before[0]) * (before[1] - loss) / (before[1] - value)
        before = step, value
    return None


def report(runs: Runs, setting: Setting, seeds: Sequence[int], rates: Sequence[float]) -> Iterator[str]:
    """The lines of the two tables, training what is not done yet."""
    tried: dict[float, float] = {}
    for rate in rates:
        curve = runs.curve(f"baseline {rate:g}", seeds[0], baseline(setting, rate))
        if curve:
            tried[rate] = best(curve)
    yield f"| learning rate of the baseline | best validation loss, seed {seeds[0]} |"
    yield "|---|---|"
    yield from (f"| {rate:g} | {loss:.4f} |" for rate, loss in tried.items())
    rate = min(tried or rates, key=lambda value: tried.get(value, value))
    if tried and rate in (min(rates), max(rates)):
        say(f"the best rate of the baseline, {rate:g}, is at the edge of those tried: try more")
    half = changed(setting, {"max_steps": setting[1].max_steps // 2})
    yield from ("", "| seed | baseline | default | half | half − baseline | along |", "|---|---|---|---|---|---|")
    rows = []
    for seed in seeds:
        settings = {f"baseline {rate:g}": baseline(setting, rate), "half": half, "default": setting}
        curves = [runs.curve(name, seed, each) for name, each in settings.items()]
        goal, shortened, whole = (best(curve) if curve else math.nan for curve in curves)
        step = passes(curves[2] or [], goal)
        rows.append((goal, whole, shortened, shortened - goal, step / setting[1].max_steps if step else math.nan))
        yield f"| {seed} | " + " | ".join(f"{value:.4f}" for value in rows[-1]) + " |"
    if rows:
        yield "| mean | " + " | ".join(f"{mean(column):.4f}" for column in zip(*rows, strict=True)) + " |"


def say(message: str) -> None:
    print(time.strftime("%H:%M:%S"), message, file=sys.stderr, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tokens", type=Path, help="an artifact of tokenize")
    parser.add_argument("work", type=Path, help="folder for the runs and results.json")
    parser.add_argument("--config", default="micropython.yaml")
    parser.add_argument("--profile", default="cpu")
    parser.add_argument("--set", action="append", default=[], help="override a value of the config, in all runs")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--rates", type=float, nargs="+", default=[1e-3, 2e-3, 3e-3, 4.5e-3], help="of the baseline")
    parser.add_argument("--only", nargs="*", choices=KINDS, default=KINDS, help="what to train; with none: the tables")
    given = parser.parse_args()
    loaded = load_config(
        find_config(given.config), ROAD, profile=given.profile, overrides=given.set, detect=auto_profile()[0]
    )
    model, config = loaded.sections["model"], loaded.sections["pretrain"]
    assert isinstance(model, ModelConfig) and isinstance(config, PretrainConfig)
    often = {"eval_every": max(config.max_steps // EVALUATIONS, 1), "sample_prompts": ()}
    given.work.mkdir(parents=True, exist_ok=True)
    setting = changed((model, config), often)
    with Interrupts() as interrupts:
        runs = Runs(given.tokens.resolve(), given.work.resolve(), interrupts, given.only)
        for line in report(runs, setting, given.seeds, given.rates):
            print(line, flush=True)


if __name__ == "__main__":
    main()
