"""The figures by which runs are told apart: their names, where they lie, how they are written, what is better."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from stages.evaluation.page.run import Run
from stages.evaluation.page.values import Object, count, dig, mapping, number, plain, share, short, time, weight


@dataclass(frozen=True)
class Measure:
    """`better` is 1 where more is better, −1 where less is, 0 where neither; `key` ones head the page.

    `about` says more in a few words, `spread` gives the interval of an estimate.
    """

    name: str
    value: Callable[[Run], float | None]
    write: Callable[[float | None], str]
    better: int = 0
    key: bool = False
    about: Callable[[Run], str] = lambda run: ""
    spread: Callable[[Run], tuple[float, float] | None] = lambda run: None


def training_tokens(run: Run) -> float | None:
    sides = [run.number("tokenize", side, "tokens") for side in ("train", "train_pairs")]
    return sum(found for found in sides if found) if any(sides) else None


def parameters(run: Run) -> float | None:
    return run.number("pretrain", "parameters") or run.number("finetune", "parameters")


def chosen_file(run: Run, key: str) -> float | None:
    return number(run.files.get(run.chosen, {}).get(key))


def bits_per_byte(run: Run) -> float | None:
    """Of the model that people get; bits per byte can be compared between tokenizers, perplexity cannot."""
    found = run.score("validation", "bits_per_byte")
    return found if found is not None else run.number("pretrain", "bits_per_byte")


def seconds(run: Run) -> float | None:
    found = [number(manifest.get("seconds")) for manifest in run.manifests.values()]
    told = [amount for amount in found if amount is not None]
    return sum(told) if told else None


def interval(entry: Object) -> str:
    """`12.3 to 18.0 %`, where both ends are told."""
    low, high = number(entry.get("low")), number(entry.get("high"))
    return "" if low is None or high is None else f"{100 * low:.1f} to {100 * high:.1f} %"


def _about(run: Run, *path: str) -> str:
    text = interval(mapping(dig(run.speaker, *path)))
    return f"{text} (95 %)" if text else ""


def _spread(run: Run, *path: str) -> tuple[float, float] | None:
    low, high = run.score(*path, "low"), run.score(*path, "high")
    return None if low is None or high is None else (low, high)


def _short(value: float | None) -> str:
    return "" if value is None else short(value)


def _rate(name: str, *path: str, better: int = 1, key: bool = False) -> Measure:
    value: Callable[[Run], float | None] = lambda run: run.score(*path)  # noqa: E731
    about: Callable[[Run], str] = lambda run: _about(run, *path[:-1])  # noqa: E731
    return Measure(name, value, share, better, key, about, lambda run: _spread(run, *path[:-1]))


def _told(name: str, stage: str, *path: str, better: int = 0, write: Callable[[float | None], str] = plain) -> Measure:
    return Measure(name, lambda run: run.number(stage, *path), write, better)


def _architecture(run: Run) -> str:
    return str(run.config("pretrain", "model", "architecture") or "")


def _seen(run: Run) -> str:
    epochs = run.number("pretrain", "epochs")
    return "" if not epochs else f"seen {epochs:.3g} times"


MEASURES = (
    _rate("tasks solved at once (pass@1)", "pass", "1", "value", key=True),
    _rate("tasks solved in ten tries (pass@10)", "pass", "10", "value"),
    _rate("answers that compile", "compile_rate", "value", key=True),
    _rate("answers that end by themselves", "ended", "value", key=True),
    _rate("names that the API does not have", "unknown_api", "value", better=-1),
    _rate("windows copied from training", "verbatim", "share", better=-1),
    Measure("bits per byte", bits_per_byte, plain, -1, True, lambda run: "of held-back text"),
    _told("validation loss, pretraining", "pretrain", "val_loss", better=-1),
    _told("validation loss, finetuning", "finetune", "val_loss", better=-1),
    Measure("parameters", parameters, _short, 0, True, _architecture),
    Measure("tokens of training text", training_tokens, _short, 0, True, _seen),
    _told("bytes per token", "tokenizer", "bytes_per_token", better=1),
    _told("documents for training", "augment", "originals", write=count),
    Measure("file that people get", lambda run: chosen_file(run, "bytes"), weight, -1, True, lambda run: run.chosen),
    Measure("its divergence from F16 (KL)", lambda run: chosen_file(run, "kl"), plain, -1),
    Measure("tokens written a second, many at once", lambda run: run.score("tokens_per_second"), plain, 1),
    _told("tokens a second, pretraining", "pretrain", "tokens_per_second", better=1),
    _told("most memory, pretraining", "pretrain", "peak_memory", better=-1, write=weight),
    Measure("time of all stages", seconds, time, -1, True, lambda run: str(run.last.get("profile") or "")),
)
