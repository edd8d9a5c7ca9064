"""How fast texts are written, beside transformers' generate with the same weights and our way without a cache.

    python benchmarks/sampling.py ARTIFACTS [--rows 1 8 64] [--tokens 100] [--slices 5] [--threads 1] [--cuda]

ARTIFACTS is the folder of a run's artifacts, finished up to convert. Prompts are the questions of its validation
conversations; with each contender so many rows are written after them at once. `greedy` has no token that ends a text,
so that all write the same number of tokens, and tells of how many texts the ids are the same; `drawn` has temperature
0.8 and top_k 50, and the tokens count up to the end of a text. Without a cache one text is written after another, as it
was before there was one; its rate does not depend on rows. Contenders take turns, slice by slice; medians. On the
processor the time is that of the process, not the clock's, so that other work on the machine counts little.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import cycle, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from stages.corpus.documents import read_documents  # noqa: E402
from stages.tokens.encoding import load_encoding  # noqa: E402
from stages.tokens.sampling import Sampling  # noqa: E402
from stages.training.sample import generate_batch  # noqa: E402

if TYPE_CHECKING:
    from stages.training.networks.network import Network

Texts = list[list[int]]
Write = Callable[[Sequence[Sequence[int]]], Texts]
SETTINGS = {"greedy": Sampling(0), "drawn": Sampling(0.8, 50)}


def newest(artifacts: Path, stage: str) -> Path:
    return sorted((artifacts / stage).glob("v*"))[-1]


def questions(artifacts: Path, longest: int) -> Iterator[list[int]]:
    """Prompts in the chat format, over and over."""
    encoding = load_encoding(newest(artifacts, "tokenizer"))
    documents = read_documents(newest(artifacts, "clean") / "val")
    asked = [encoding.encode_chat(each.messages[:-1], prompt=True)[0] for each in documents if each.kind == "pair"]
    return cycle(ids for ids in asked if len(ids) <= longest)


def ours(model: Network, tokens: int, sampling: Sampling, stop: frozenset[int]) -> Write:
    def write(prompts: Sequence[Sequence[int]]) -> Texts:
        seeds = range(len(prompts))
        found = generate_batch(model, prompts, max_tokens=tokens, sampling=sampling, stop=stop, seeds=seeds)
        return [list(text.ids) for text in found]

    return write


def uncached(model: Network, tokens: int, sampling: Sampling, stop: frozenset[int]) -> Write:
    """The first prompt alone, the whole text computed again for each token."""

    def write(prompts: Sequence[Sequence[int]]) -> Texts:
        import numpy as np
        import torch

        from stages.tokens.sampling import choose

        ids, random = list(prompts[0]), np.random.default_rng(0)
        for _ in range(tokens):
            with torch.no_grad():
                logits = model(torch.tensor([ids], device=model.embedding.weight.device))[0, -1].float().cpu()
            token = choose(logits.numpy(), sampling, ids, random)
            if token in stop:
                break
            ids.append(token)
        return [ids[len(prompts[0]) :]]

    return write


def theirs(model: Any, tokens: int, sampling: Sampling, stop: frozenset[int]) -> Write:
    """transformers' generate; prompts are padded on the left."""
    drawn: dict[str, Any] = dict(do_sample=False)
    if sampling.temperature:
        drawn = dict(do_sample=True, temperature=sampling.temperature, top_k=sampling.top_k, top_p=1.0)
    model.generation_config.max_length = None

    def write(prompts: Sequence[Sequence[int]]) -> Texts:
        import torch

        longest = max(map(len, prompts))
        missing = [longest - len(prompt) for prompt in prompts]
        ids = [[0] * count + list(prompt) for count, prompt in zip(missing, prompts, strict=True)]
        mask = [[0] * count + [1] * (longest - count) for count in missing]
        model.generation_config.eos_token_id = sorted(stop) or None
        given, seen = (torch.tensor(rows, device=model.device) for rows in (ids, mask))
        found = model.generate(given, attention_mask=seen, max_new_tokens=tokens, pad_token_id=0, **drawn)
        texts = found[:, longest:].tolist()
        return [text[: next((n for n, token in enumerate(text) if token in stop), len(text))] for text in texts]

    return write


def seconds(cuda: bool) -> float:
    import torch

    if not cuda:
        return time.process_time()
    torch.cuda.synchronize()
    return time.perf_counter()


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("artifacts", type=Path)
    parser.add_argument("--rows", type=int, nargs="+", default=[1, 8, 64])
    parser.add_argument("--tokens", type=int, default=100)
    parser.add_argument("--slices", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--cuda", action="store_true")
    arguments = parser.parse_args()

    import torch
    from transformers import AutoModelForCausalLM

    from stages.training.model import load_model

    torch.set_num_threads(arguments.threads)
    device = torch.device("cuda" if arguments.cuda else "cpu")
    model = load_model(newest(arguments.artifacts, "finetune")).to(device)
    other = AutoModelForCausalLM.from_pretrained(newest(arguments.artifacts, "convert"), dtype=torch.float32)
    other = other.to(device).eval()
    stops = load_encoding(newest(arguments.artifacts, "tokenizer")).stops
    asked = questions(arguments.artifacts, model.context_length - arguments.tokens)
    print(f"{sum(p.numel() for p in model.parameters()):,} weights, {arguments.tokens} tokens, {device.type}\n")
    print("| texts | tokens | ours, per s | transformers | ratio | without a cache | ratio | same texts |")
    print("|---|---|---|---|---|---|---|---|")
    for rows in arguments.rows:
        for name, sampling in SETTINGS.items():
            stop = stops if name == "drawn" else frozenset[int]()
            writers = [
                ours(model, arguments.tokens, sampling, stop),
                theirs(other, arguments.tokens, sampling, stop),
                uncached(model, arguments.tokens, sampling, stop),
            ]
            rates: list[list[float]] = [[] for _ in writers]
            same = written = 0
            for number in range(arguments.slices + 1):
                prompts, texts = list(islice(asked, rows)), list[Texts]()
                for writer, found in zip(writers, rates, strict=True):
                    began = seconds(arguments.cuda)
                    texts.append(writer(prompts))
                    found.append(sum(map(len, texts[-1])) / (seconds(arguments.cuda) - began))
                if number:
                    same += sum(mine == its for mine, its in zip(texts[0], texts[1], strict=True))
                    written += rows
            mine, its, before = (statistics.median(found[1:]) for found in rates)  # the first is to warm up
            agree = f"{same} of {written}" if name == "greedy" else ""
            print(
                f"| {rows} | {name} | {mine:,.0f} | {its:,.0f} | {mine / its:.2f} | {before:,.0f} "
                f"| {mine / before:.1f} | {agree} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
