"""Training speed and memory of ours, transformers' Llama in a plain loop, litgpt and nanoGPT, on the same work.

    python benchmarks/training.py [--shapes 5m 25m] [--nanogpt PATH] [--threads N] [--slices 7] [--cuda]

Every contender is a process of its own that waits while another one runs: a slice is one optimizer step (zero, forward
and backward over micro-batches, clip, fused AdamW) on the same number of tokens, the contenders take turns, and the
ratio is of the medians. Each first tries the micro-batches and keeps the one that is fastest for it. litgpt is used
if it can be imported, nanoGPT if the path of its checkout is given; benchmarks/README.md says how to install them.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

SHAPES: dict[str, dict[str, int]] = {
    "5m": dict(d_model=256, n_layers=6, n_heads=4, n_kv_heads=2, d_ff=768, vocab_size=4096, context_length=256),
    "25m": dict(d_model=512, n_layers=8, n_heads=8, n_kv_heads=4, d_ff=1536, vocab_size=8192, context_length=512),
    "50m": dict(d_model=640, n_layers=10, n_heads=10, n_kv_heads=5, d_ff=1792, vocab_size=8192, context_length=1024),
}
NAMES = ("ours", "ours-gpt2", "transformers", "litgpt", "nanogpt")
TRIED = {"cpu": (2048, 4096, 8192), "cuda": (8192, 16384, 32768, 65536)}  # tokens of a micro-batch
Loss = Callable[[Any, Any], Any]  # the mean loss of tokens and targets


@dataclass(frozen=True)
class Job:
    """What a contender's process is told."""

    name: str
    compiled: bool
    shape: str
    device: str
    threads: int
    step_tokens: int
    nanogpt: str = ""
    fp32: bool = False
    dropout: float = 0.0

    @property
    def title(self) -> str:
        return f"{self.name} {'compiled' if self.compiled else 'eager'}"


def build(job: Job) -> tuple[Any, Loss]:
    """The contender's network and its mean loss under bf16 autocast."""
    import torch
    import torch.nn.functional as F

    shape = SHAPES[job.shape]
    device = torch.device(job.device)
    precision = "fp32" if job.fp32 else "bf16-mixed"
    if job.name.startswith("ours"):
        return build_ours(job, shape, device, precision)
    network: Any = {"transformers": make_transformers, "litgpt": make_litgpt, "nanogpt": make_nanogpt}[job.name](
        job, shape
    )
    network.to(device)
    run = torch.compile(network) if job.compiled else network

    def loss(tokens: Any, targets: Any) -> Any:
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=not job.fp32):
            if job.name == "nanogpt":
                return run(tokens, targets)[1]
            logits = run(tokens) if job.name == "litgpt" else run(input_ids=tokens, use_cache=False).logits
            return F.cross_entropy(logits.flatten(0, 1).float(), targets.flatten())

    return network, loss


def build_ours(job: Job, shape: dict[str, int], device: Any, precision: str) -> tuple[Any, Loss]:
    from stages.training.compiling import prepare
    from stages.training.model import make_model
    from stages.training.shape import ModelConfig

    sizes = {key: shape[key] for key in ("d_model", "n_layers", "n_heads", "n_kv_heads", "d_ff")}
    if job.name == "ours-gpt2":
        sizes |= dict(n_kv_heads=shape["n_heads"], d_ff=4 * shape["d_model"])
    architecture = "gpt2" if job.name == "ours-gpt2" else "llama"
    config = ModelConfig(architecture=architecture, dropout=job.dropout, **sizes)
    network = make_model(config, shape["vocab_size"], shape["context_length"]).to(device)
    run = prepare(network, job.compiled, device=device, precision=precision, warn=report, say=report)
    return network, lambda tokens, targets: run(tokens, targets, None) / targets.numel()


def make_transformers(job: Job, shape: dict[str, int]) -> Any:
    from transformers import LlamaConfig, LlamaForCausalLM

    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=shape["vocab_size"],
            hidden_size=shape["d_model"],
            intermediate_size=shape["d_ff"],
            num_hidden_layers=shape["n_layers"],
            num_attention_heads=shape["n_heads"],
            num_key_value_heads=shape["n_kv_heads"],
            max_position_embeddings=shape["context_length"],
            tie_word_embeddings=True,
            attn_implementation="sdpa",
        )
    )


def make_litgpt(job: Job, shape: dict[str, int]) -> Any:
    from litgpt import GPT, Config

    network = GPT(
        Config(
            n_layer=shape["n_layers"],
            n_embd=shape["d_model"],
            n_head=shape["n_heads"],
            n_query_groups=shape["n_kv_heads"],
            intermediate_size=shape["d_ff"],
            block_size=shape["context_length"],
            vocab_size=shape["vocab_size"],
            padded_vocab_size=shape["vocab_size"],
            rotary_percentage=1.0,
            parallel_residual=False,
            bias=False,
            norm_class_name="RMSNorm",
            mlp_class_name="LLaMAMLP",
        )
    )
    network.lm_head.weight = network.transformer.wte.weight
    return network


def make_nanogpt(job: Job, shape: dict[str, int]) -> Any:
    sys.path.insert(0, job.nanogpt)
    from model import GPT, GPTConfig  # type: ignore[import-not-found]

    return GPT(
        GPTConfig(
            block_size=shape["context_length"],
            vocab_size=shape["vocab_size"],
            n_layer=shape["n_layers"],
            n_head=shape["n_heads"],
            n_embd=shape["d_model"],
            dropout=job.dropout,
            bias=True,
        )
    )


def report(message: str) -> None:
    print(message, file=sys.stderr)


def contend(job: Job) -> None:
    """A contender's process: answers each line on stdin, a number of tokens per micro-batch, with the seconds taken."""
    answers = os.fdopen(os.dup(1), "w")
    with contextlib.redirect_stdout(sys.stderr):  # nanoGPT prints
        import torch

        torch.set_num_threads(job.threads)
        torch.manual_seed(1)
        network, loss = build(job)
        optimizer = torch.optim.AdamW(network.parameters(), lr=3e-4, betas=(0.9, 0.95), weight_decay=0.1, fused=True)
        shape = SHAPES[job.shape]
        rows = job.step_tokens // shape["context_length"]
        text = torch.randint(shape["vocab_size"], (rows, shape["context_length"] + 1), device=job.device)
        network.train()

        def step(micro: int) -> float:
            began = time.perf_counter()
            parts = text.split(micro // shape["context_length"])
            for part in parts:
                (loss(part[:, :-1].contiguous(), part[:, 1:].contiguous()) / len(parts)).backward()
            torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            if job.device == "cuda":
                torch.cuda.synchronize()
            return time.perf_counter() - began

        for line in sys.stdin:
            seconds = step(int(line))
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
            if job.device == "cuda":
                peak = torch.cuda.max_memory_allocated()
            print(json.dumps({"seconds": seconds, "peak": peak}), file=answers, flush=True)


class Contender:
    """A contender's process, seen from outside."""

    def __init__(self, job: Job) -> None:
        self.job, self.micro, self.times, self.peak = job, 0, [], 0
        self._start()

    times: list[float]

    def _start(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, __file__, "--job", json.dumps(vars(self.job))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def step(self, micro: int) -> float:
        """The seconds of one step in micro-batches of so many tokens. Raises RuntimeError if the process died."""
        assert self.process.stdin and self.process.stdout
        try:
            self.process.stdin.write(f"{micro}\n")
            self.process.stdin.flush()
            answer = json.loads(self.process.stdout.readline())
        except (OSError, ValueError) as error:
            raise RuntimeError(f"{self.job.title} died") from error
        self.peak = answer["peak"]
        return float(answer["seconds"])

    def stop(self) -> None:
        assert self.process.stdin
        with contextlib.suppress(OSError):
            self.process.stdin.close()
        self.process.wait()

    def choose(self, tried: list[int]) -> None:
        """Find the fastest micro-batch; then begin afresh, so that the peak of memory is of that one alone."""
        found: dict[int, float] = {}
        for micro in tried:
            try:
                self.step(micro)
                self.step(micro)
                found[micro] = min(self.step(micro) for _ in range(2))
            except RuntimeError as error:
                report(f"{error} at micro-batches of {micro}")
                self.stop()
                self._start()
        if not found:
            raise RuntimeError(f"{self.job.title} does not run")
        self.micro = min(found, key=lambda micro: found[micro])
        told = ", ".join(f"{micro}: {self.job.step_tokens / took:,.0f}" for micro, took in found.items())
        report(f"{self.job.title}: tok/s by micro-batch {told}")
        if len(tried) > 1:
            self.stop()
            self._start()
        for _ in range(3):
            self.step(self.micro)


def compare(jobs: list[Job], tried: list[int], slices: int) -> None:
    """Let the contenders take turns and print the table of one shape."""
    contenders: list[Contender] = []
    for job in jobs:
        contender = Contender(job)
        try:
            contender.choose(tried)
            contenders.append(contender)
        except RuntimeError as error:
            report(str(error))
            contender.stop()
    for turn in range(slices):
        for contender in contenders if turn % 2 else reversed(contenders):
            contender.times.append(contender.step(contender.micro))
    for contender in contenders:
        contender.stop()
    rates = {c.job.title: c.job.step_tokens / statistics.median(c.times) for c in contenders}
    best = {
        kind: max((rate for title, rate in rates.items() if kind in title and "ours" not in title), default=0.0)
        for kind in ("compiled", "eager")
    }
    overall = max(best.values())
    print(f"\n### {jobs[0].shape}: {json.dumps(SHAPES[jobs[0].shape])}\n")
    print("| | tokens/s | spread | × best peer | × best peer so run | micro-batch | peak memory |")
    print("|---|---|---|---|---|---|---|")
    for c in contenders:
        rate = rates[c.job.title]
        low, high = (c.job.step_tokens / edge for edge in (max(c.times), min(c.times)))
        same = best["compiled" if c.job.compiled else "eager"]
        ratios = " | ".join(f"{rate / peer:.2f}" if peer else "–" for peer in (overall, same))
        speed = f"{rate:,.0f} | {low:,.0f}–{high:,.0f} | {ratios}"
        print(f"| {c.job.title} | {speed} | {c.micro} | {c.peak / 2**30:.2f} GiB |")
    sys.stdout.flush()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--job", help=argparse.SUPPRESS)
    parser.add_argument("--shapes", nargs="+", choices=SHAPES, default=["5m", "25m"])
    parser.add_argument("--only", nargs="+", choices=NAMES, default=list(NAMES))
    parser.add_argument("--modes", nargs="+", choices=("eager", "compiled"), default=["eager", "compiled"])
    parser.add_argument("--nanogpt", default="", help="path of a checkout of nanoGPT")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--slices", type=int, default=7)
    parser.add_argument("--step-tokens", type=int, default=8192)
    parser.add_argument("--micro", type=int, nargs="+", help="micro-batches to try, in tokens")
    parser.add_argument("--dropout", type=float, default=0.0, help="for ours and nanoGPT; the others have none")
    parser.add_argument("--fp32", action="store_true")
    parser.add_argument("--cuda", action="store_true")
    options = parser.parse_args()
    if options.job:
        contend(Job(**json.loads(options.job)))
        return
    device = "cuda" if options.cuda else "cpu"
    describe_machine(options.threads, device)
    for shape in options.shapes:
        jobs = [
            Job(
                name=name,
                compiled=mode == "compiled",
                shape=shape,
                device=device,
                threads=options.threads,
                step_tokens=options.step_tokens,
                nanogpt=options.nanogpt,
                fp32=options.fp32,
                dropout=options.dropout,
            )
            for mode in options.modes
            for name in options.only
            if name != "nanogpt" or options.nanogpt
        ]
        tried = [micro for micro in options.micro or TRIED[device] if micro <= options.step_tokens]
        compare(jobs, tried, options.slices)


def describe_machine(threads: int, device: str) -> None:
    from importlib.metadata import PackageNotFoundError, version

    import torch

    from pipeline.hardware import describe
    from stages.training.speed import peak_flops

    torch.set_num_threads(threads)
    versions = []
    for package in ("torch", "transformers", "litgpt"):
        with contextlib.suppress(PackageNotFoundError):
            versions.append(f"{package} {version(package)}")
    told = describe()
    where = torch.cuda.get_device_name() if device == "cuda" else f"{told['processor']}, {threads} threads"
    peak = peak_flops(torch.device(device), torch.bfloat16)
    print(f"{where}; bf16 matrix products {peak / 1e9:,.0f} GFLOP/s; {', '.join(versions)}")


if __name__ == "__main__":
    main()
