"""Which variants of the training documents help: every method against plain repetition, at equal steps.

    python benchmarks/augmentation.py WORK [--seeds 1 2 3] [--only none rename …] [--set section.key=value …]

Runs the real stages with the cpu profile in folders under WORK. What the corpus is, how it is split and which variants
are drawn is the same in all runs of a setting; only training has the seed. Where a method makes nothing but pairs, the
weights are those that were pretrained without variants, and only finetuning is run again. Results are kept in
WORK/results.json as they come, so that the same command goes on where it was stopped; at the end, and with --table at
once, they are printed as Markdown. The lower the bits per byte, the better.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
TEXTS, PAIRS = ["rename", "pins", "units", "fim"], ["rephrase", "docstring", "bugfix"]
SETTINGS: dict[str, list[str]] = {
    "none": [],
    **{method: [method] for method in (*TEXTS, *PAIRS)},
    "rename+pins": ["rename", "pins"],
    "rewrites": ["rename", "pins", "units", "rephrase"],
    "pairs": PAIRS,
    "all but fim": ["rename", "pins", "units", *PAIRS],
    "all": [*TEXTS, *PAIRS],
}
BASE = "none"


def pipeline(folder: Path, *arguments: str, overrides: Sequence[str]) -> None:
    """One command of the pipeline in `folder`, whose store is `folder`/artifacts. Its output goes into a log there."""
    command = [sys.executable, "-c", "from pipeline.cli import main; main()", "run"]
    command += ["--config", str(ROOT / "configs/micropython.yaml"), "--profile", "cpu", *arguments]
    command += [part for override in overrides for part in ("--set", override)]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    with (folder / "log.txt").open("a", encoding="utf-8") as log:
        done = subprocess.run(command, cwd=folder, env=environment, stdout=log, stderr=subprocess.STDOUT, check=False)
    if done.returncode:
        tail = "".join((folder / "log.txt").read_text(encoding="utf-8").splitlines(keepends=True)[-15:])
        sys.exit(f"error: {' '.join(arguments)} ended with exit code {done.returncode} in {folder}\n{tail}")


def newest(folder: Path, stage: str) -> tuple[Path, dict[str, Any]]:
    """The newest artifact of a stage and its metrics."""
    path = max((folder / "artifacts" / stage).glob("v*"))
    return path, json.loads((path / "manifest.json").read_bytes())["metrics"]


def prepared(work: Path, name: str, source: Path | None) -> Path:
    """A fresh folder for a run, with a copy of the artifacts of another."""
    folder = work / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    if source is not None:
        shutil.copytree(source / "artifacts", folder / "artifacts")
    return folder


def methods_set(methods: Sequence[str]) -> list[str]:
    return [f"augment.methods=[{', '.join(methods)}]"] if methods else ["augment.copies=0"]


def corpus(work: Path, overrides: Sequence[str]) -> Path:
    """The folder in which gather, extract and clean have run; made once."""
    folder = work / "corpus"
    if not (folder / "done").exists():
        say("reading the corpus")
        folder = prepared(work, "corpus", None)
        pipeline(folder, "--until", "clean", overrides=overrides)
        (folder / "done").touch()
    return folder


def base(work: Path, seed: int, overrides: Sequence[str]) -> Path:
    """The folder with the weights pretrained without variants; made once for each seed."""
    folder = work / f"base-{seed}"
    if not (folder / "done").exists():
        folder = prepared(work, folder.name, corpus(work, overrides))
        without = [*overrides, *methods_set([])]
        pipeline(folder, "--from", "augment", "--until", "tokenize", overrides=without)
        pipeline(folder, "--from", "pretrain", "--until", "pretrain", overrides=[*without, f"seed={seed}"])
        (folder / "done").touch()
    return folder


def run(work: Path, name: str, seed: int, overrides: Sequence[str]) -> dict[str, Any]:
    """Train with a setting and a seed; what was measured."""
    methods = SETTINGS[name]
    only_pairs = not set(methods) & {*TEXTS}
    source = base(work, seed, overrides) if only_pairs else corpus(work, overrides)
    folder = prepared(work, "run", source)
    chosen = [*overrides, *methods_set(methods)]
    pipeline(folder, "--from", "augment", "--until", "tokenize", overrides=chosen)
    first = "finetune" if only_pairs else "pretrain"
    pipeline(folder, "--from", first, "--until", "finetune", overrides=[*chosen, f"seed={seed}"])
    tokens, tokenized = newest(folder, "tokenize")
    pretrained, finetuned = newest(folder, "pretrain")[1], newest(folder, "finetune")[1]
    result = {
        "text": pretrained["bits_per_byte"],
        "steps": pretrained["steps"],
        "epochs": pretrained["epochs"],
        "answers": finetuned["val_loss"] / math.log(2) * tokens_per_byte(tokens, newest(folder, "tokenizer")[0]),
        "train_tokens": tokenized["train"]["tokens"],
        "conversations": tokenized["train_pairs"]["conversations"],
        "variants": newest(folder, "augment")[1]["methods"],
    }
    shutil.rmtree(folder)
    return result


def tokens_per_byte(tokens: Path, tokenizer: Path) -> float:
    """Tokens that count in the loss for each byte of the answers of validation."""
    import numpy as np

    from stages.tokens.encoding import load_encoding

    dtype = json.loads((tokens / "meta.json").read_bytes())["dtype"]
    ids = np.fromfile(tokens / "val_pairs.bin", dtype=dtype)
    learnt = ids[np.fromfile(tokens / "val_pairs.mask", dtype=np.uint8).astype(bool)]
    size = len(load_encoding(tokenizer).decode(learnt.tolist()).encode())
    return len(learnt) / max(size, 1)


def table(kept: dict[str, Any]) -> str:
    """Mean and standard deviation over the seeds, and the difference to plain repetition with the same seeds."""
    measures = ["text, bits per byte", "change", "pairs", "answers, bits per byte", "change"]
    heads = ["variants", "seeds", "train tokens", "epochs", *measures]
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    plain = kept["results"].get(BASE, {})
    for name in SETTINGS:
        found = kept["results"].get(name, {})
        if not found:
            continue
        one = next(iter(found.values()))
        cells = [name, str(len(found)), f"{one['train_tokens']:,}", f"{one['epochs']:.1f}"]
        for what in ("text", "answers"):
            values = [each[what] for each in found.values()]
            spread = f" ± {stdev(values):.4f}" if len(values) > 1 else ""
            changes = [each[what] - plain[seed][what] for seed, each in found.items() if seed in plain]
            change = f"{mean(changes):+.4f}" if changes and name != BASE else ""
            cells += [str(one["conversations"])] * (what == "answers") + [f"{mean(values):.4f}{spread}", change]
        lines.append(f"| {' | '.join(cells)} |")
    machine = ", ".join(f"{key} {value}" for key, value in kept["machine"].items())
    steps = sorted({each["steps"] for found in kept["results"].values() for each in found.values()})
    lines += ["", f"Pretraining of {', '.join(map(str, steps))} steps with the cpu profile. Machine: {machine}."]
    return "\n".join(lines)


def say(message: str) -> None:
    print(time.strftime("%H:%M:%S"), message, file=sys.stderr, flush=True)


def main() -> None:
    from pipeline.hardware import describe
    from pipeline.store import write_atomic

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path, help="folder for stores and results")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--only", nargs="+", choices=SETTINGS, default=list(SETTINGS), metavar="SETTING")
    parser.add_argument("--set", action="append", default=[], help="override a value of the config, in all runs")
    parser.add_argument("--table", action="store_true", help="only print what is known so far")
    given = parser.parse_args()

    given.work.mkdir(parents=True, exist_ok=True)
    path = given.work.resolve() / "results.json"
    kept: dict[str, Any] = {"overrides": given.set, "machine": describe(), "results": {}}
    if path.exists():
        kept = json.loads(path.read_bytes())
        if kept["overrides"] != given.set:
            sys.exit(f"error: {path} was made with --set {' '.join(kept['overrides'])}; use another folder")
    waiting = [(seed, name) for seed in given.seeds for name in SETTINGS if name in given.only]
    waiting = [(seed, name) for seed, name in waiting if str(seed) not in kept["results"].get(name, {})]
    for number, (seed, name) in enumerate([] if given.table else waiting, 1):
        began = time.monotonic()
        say(f"{number}/{len(waiting)} {name}, seed {seed}")
        result = run(given.work.resolve(), name, seed, given.set)
        kept["results"].setdefault(name, {})[str(seed)] = result
        write_atomic(path, json.dumps(kept, indent=1).encode())
        told = f"text {result['text']:.4f}, answers {result['answers']:.4f} bits per byte"
        say(f"    {told}; {time.monotonic() - began:.0f} s")
    print(table(kept))


if __name__ == "__main__":
    main()
