"""How long export takes beside llama.cpp's own tools: three files and their proof, three files and their perplexity.

    python benchmarks/export.py WORK --llama-cpp CHECKOUT [--bin FOLDER] [--tokens 8192] [--repeat 3]

CHECKOUT has convert_hf_to_gguf.py, FOLDER (CHECKOUT/build/bin) llama-quantize and llama-perplexity. Both sides make
f16, q8_0 and q4_k_m of one model: random weights of the preset small-50m, and a tokenizer that is trained on this
repository; WORK keeps them. Ours is what `pipeline export` does with the numbers: write F16, quantise it twice, prove
all three (token ids, logits beside torch, KL, perplexity, chat). Theirs is the converter, llama-quantize twice, and
llama-perplexity over the text of the proof in windows of the same length. Each step is a process that has all cores;
ours and theirs take turns, and the least of the repetitions counts.

Printed, as Markdown: seconds and processor seconds, and the ratios of ours to theirs, with one run of llama-perplexity
(over f16), and with one over each file, which tells as much of them as the proof does, but for KL. Below 1 is better.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from contextlib import nullcontext
from itertools import pairwise
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

QUANTS = ("q8_0", "q4_k_m")
STAGES = ("finetune", "tokenizer", "tokenize", "convert", "clean")
CONTEXT = 512
Cost = tuple[float, float]  # seconds, processor seconds


class Quiet:
    """A progress bar that nobody sees."""

    def advance(self, amount: float = 1, note: str | None = None) -> None: ...


def make_inputs(work: Path, vocab_size: int) -> dict[str, Path]:
    """The artifacts that export reads, of a random model."""
    inputs = {name: work / name for name in STAGES}
    if (work / "done").exists():
        return inputs
    import torch

    from pipeline.shards import map_ordered
    from pipeline.stage import Context
    from stages.corpus.documents import Document, document_id, write_documents
    from stages.release import convert
    from stages.tokens import tokenizer
    from stages.tokens.encoding import load_encoding
    from stages.training.model import make_model, save_model
    from stages.training.shape import ModelConfig

    for folder in inputs.values():
        folder.mkdir(parents=True, exist_ok=True)
    paths = sorted(path for path in ROOT.glob("*/**/*.py") if "/." not in str(path))
    texts = [path.read_text(encoding="utf-8") for path in paths]
    (inputs["tokenizer"] / "tokenizer.model").write_bytes(tokenizer.train(texts, vocab_size))
    documents = [
        Document(document_id("repository", path.name), text, "code", "repository", path.name, "AGPL-3.0-or-later")
        for path, text in zip(paths[::9], texts[::9], strict=True)
    ]
    write_documents(inputs["clean"] / "val", documents)
    (inputs["tokenize"] / "meta.json").write_text(json.dumps({"system": ""}))
    torch.manual_seed(0)
    size = load_encoding(inputs["tokenizer"]).vocab_size
    save_model(inputs["finetune"], make_model(ModelConfig.model_validate({"preset": "small-50m"}), size, CONTEXT))
    context = Context(
        sections={}, inputs=inputs, out=inputs["convert"], seed=0, base=work, name="bench", map=map_ordered,
        say=print, warn=print, progress=lambda total, unit: nullcontext(Quiet()),
        deferred_interrupts=lambda: nullcontext(lambda: False),
    )  # fmt: skip
    convert.run(context)
    (work / "done").touch()
    return inputs


def export(work: Path, tokens: int) -> None:
    """Our side, in a process of its own; the last line on stdout has the seconds by step."""
    from stages.release.gguf import GgufMetadata, write_gguf
    from stages.release.proof import prove
    from stages.release.quantize import quantize

    inputs, out = make_inputs(work, 0), work / "ours"
    out.mkdir(exist_ok=True)
    base = out / "f16.gguf"
    files, marks = {"f16": base}, [time.perf_counter()]
    write_gguf(inputs["convert"], base, file_type="f16", metadata=GgufMetadata("bench"))
    marks.append(time.perf_counter())
    for quant in QUANTS:
        files[quant] = out / f"{quant}.gguf"
        quantize(base, files[quant], quant)
    marks.append(time.perf_counter())
    proof = prove(files, base, inputs, tokens=tokens)
    marks.append(time.perf_counter())
    steps = dict(zip(("write", "quantise", "prove"), (b - a for a, b in pairwise(marks)), strict=True))
    print(json.dumps({"steps": steps, "files": proof["files"], "text": proof["text"]}))


def run(*command: str | Path, **environment: str) -> tuple[Cost, str]:
    """What a command costs and says on stdout; ends the benchmark where it fails."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run([*map(str, command)], env={**os.environ, **environment}, capture_output=True, text=True)
    seconds, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        sys.exit(f"error: {' '.join(map(str, command))}\n{done.stderr[-3000:]}")
    return (seconds, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime), done.stdout


def theirs(work: Path, converter: Path, tools: Path, threads: int) -> dict[str, Cost]:
    """llama.cpp's side: what each step costs."""
    out = work / "theirs"
    out.mkdir(exist_ok=True)
    files = {quant: out / f"{quant}.gguf" for quant in ("f16", *QUANTS)}
    for path in files.values():
        path.unlink(missing_ok=True)
    library = {"PYTHONPATH": str(converter.parent / "gguf-py")}
    told = ("--outfile", files["f16"], "--outtype", "f16")
    costs = {"convert": run(sys.executable, converter, work / "convert", *told, **library)[0]}
    for quant in QUANTS:
        name = f"quantise {quant}"
        costs[name] = run(tools / "llama-quantize", files["f16"], files[quant], quant.upper(), str(threads))[0]
    for quant, path in files.items():
        told = ("-f", work / "text.txt", "-c", str(CONTEXT), "-t", str(threads))
        costs[f"perplexity {quant}"] = run(tools / "llama-perplexity", "-m", path, *told)[0]
    return costs


def write_text(work: Path, inputs: dict[str, Path], tokens: int) -> int:
    """The text of the proof as a file, and how many tokens it has."""
    from stages.release.windows import validation_windows
    from stages.tokens.encoding import load_encoding

    encoding = load_encoding(inputs["tokenizer"])
    found = validation_windows(inputs["clean"] / "val", encoding, CONTEXT, tokens=tokens)
    text = "".join(encoding.decode(window[1:]) for window in found.proof)
    (work / "text.txt").write_text(text, encoding="utf-8", newline="\n")
    return sum(len(window) - 1 for window in found.proof)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path)
    parser.add_argument("--llama-cpp", type=Path, help="a checkout of llama.cpp")
    parser.add_argument("--bin", type=Path, help="where its tools are; default build/bin in the checkout")
    parser.add_argument("--tokens", type=int, default=8192)
    parser.add_argument("--vocab", type=int, default=8192)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--ours", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.ours:
        export(given.work, given.tokens)
        return
    from pipeline.hardware import describe, usable_cores

    given.work.mkdir(parents=True, exist_ok=True)
    work, tools = given.work.resolve(), (given.bin or given.llama_cpp / "build/bin").resolve()
    count = write_text(work, make_inputs(work, given.vocab), given.tokens)
    mine: list[Cost] = []
    steps: list[dict[str, float]] = []
    others: list[dict[str, Cost]] = []
    for _ in range(given.repeat):
        cost, told = run(sys.executable, Path(__file__), work, "--ours", "--tokens", str(given.tokens))
        mine.append(cost)
        steps.append(json.loads(told.splitlines()[-1])["steps"])
        others.append(theirs(work, (given.llama_cpp / "convert_hf_to_gguf.py").resolve(), tools, usable_cores()))
    print_table(mine, steps, others, count, describe())


def print_table(
    mine: list[Cost], steps: list[dict[str, float]], others: list[dict[str, Cost]], tokens: int, machine: dict[str, Any]
) -> None:
    least = {name: least_of([each[name] for each in others]) for name in others[0]}
    ours = least_of(mine)
    print(f"{tokens:,} tokens; {machine['processor']}, {machine['cores']} cores\n")
    print("| step | seconds | processor seconds |\n|---|---|---|")
    for name in steps[0]:
        print(f"| ours: {name} | {min(each[name] for each in steps):.1f} | |")
    print(f"| **ours, in all** | {ours[0]:.1f} | {ours[1]:.1f} |")
    for name, (seconds, processor) in least.items():
        print(f"| theirs: {name} | {seconds:.1f} | {processor:.1f} |")
    sums = {
        "perplexity of f16": [
            cost for name, cost in least.items() if name in ("convert", "perplexity f16") or "quant" in name
        ],
        "perplexity of each": list(least.values()),
    }
    for name, costs in sums.items():
        seconds, processor = (sum(column) for column in zip(*costs, strict=True))
        print(f"| **theirs, with {name}** | {seconds:.1f} | {processor:.1f} |")
        print(f"| **ratio** | {ours[0] / seconds:.2f} | {ours[1] / processor:.2f} |")


def least_of(costs: list[Cost]) -> Cost:
    return min(cost[0] for cost in costs), min(cost[1] for cost in costs)


if __name__ == "__main__":
    main()
