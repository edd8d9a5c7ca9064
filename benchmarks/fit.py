"""How much nearer to F16 a fitted mix stays than llama.cpp's mix of the same size, on text that none of them has seen.

    python benchmarks/fit.py ARTIFACTS [--presets q4_k_m q2_k] [--tokens 12000] [--work FOLDER]

ARTIFACTS is the folder of a run's artifacts, finished up to convert. Its validation documents are dealt out: of two,
one is for the importance matrix and for fitting, the other for measuring; at most `--tokens` of each are used. The
budget of each fit is the file size of the preset. All files run in llama.cpp over the same windows, and the divergence
(mean KL in nats per token) is that of their predictions from the F16 file's.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from stages.corpus.documents import Document, read_documents  # noqa: E402
from stages.release.fit import measure  # noqa: E402
from stages.release.gguf import GgufMetadata, write_gguf  # noqa: E402
from stages.release.imatrix import collect  # noqa: E402
from stages.release.quantize import quantize  # noqa: E402
from stages.release.runtime import Runtime  # noqa: E402
from stages.tokens.encoding import Encoding, load_encoding  # noqa: E402

PRESETS = ("q5_k_m", "q4_k_m", "q4_k_s", "q3_k_m", "q2_k")
Windows = list[list[int]]


def newest(artifacts: Path, stage: str) -> Path:
    return sorted((artifacts / stage).glob("v*"))[-1]


def windows_of(documents: Sequence[Document], encoding: Encoding, context_length: int, tokens: int) -> Windows:
    """Windows led by <bos> over whole documents, until there are `tokens`."""
    windows: Windows = []
    for document in documents:
        if sum(map(len, windows)) < tokens:
            ids, step = [*encoding.encode(document.text), encoding.eos_id], context_length - 1
            windows += [[encoding.bos_id, *ids[start : start + step]] for start in range(0, len(ids), step)]
    return windows


def predictions(path: Path, windows: Windows) -> Iterator[NDArray[np.float32]]:
    """Log-probabilities (len(window), vocab_size) of each window."""
    with Runtime(path) as runtime:
        for window in windows:
            logits = runtime.logits(window)
            logits -= logits.max(axis=-1, keepdims=True)
            yield logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))


def divergence(path: Path, base: Sequence[NDArray[np.float32]], windows: Windows) -> float:
    total = 0.0
    for wanted, found in zip(base, predictions(path, windows), strict=True):
        total += float((np.exp(wanted) * (wanted - found)).sum(dtype=np.float64))
    return total / sum(map(len, windows))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("artifacts", type=Path)
    parser.add_argument("--presets", nargs="+", default=PRESETS)
    parser.add_argument("--tokens", type=int, default=12_000)
    parser.add_argument("--work", type=Path, help="keep the files here")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        work = arguments.work or Path(temporary)
        work.mkdir(parents=True, exist_ok=True)
        compare(arguments.artifacts, work, arguments.presets, arguments.tokens)


def compare(artifacts: Path, work: Path, presets: Sequence[str], tokens: int) -> None:
    huggingface, base = newest(artifacts, "convert"), work / "f16.gguf"
    encoding = load_encoding(newest(artifacts, "tokenizer"))
    write_gguf(huggingface, base, file_type="f16", metadata=GgufMetadata("benchmark"))
    with Runtime(base) as runtime:
        context_length = runtime.context_length
    documents = [each for each in read_documents(newest(artifacts, "clean") / "val") if each.kind != "pair"]
    seen = windows_of(documents[0::2], encoding, context_length, tokens)
    unseen = windows_of(documents[1::2], encoding, context_length, tokens)

    started = time.perf_counter()
    importance = collect(huggingface, seen).columns
    collected = time.perf_counter()
    costs = measure(huggingface, base, seen, importance)
    measured = time.perf_counter()
    print(
        f"{costs.parameters:,} parameters; {sum(map(len, seen)):,} tokens seen, {sum(map(len, unseen)):,} unseen; "
        f"importance {collected - started:.1f} s, costs {measured - collected:.1f} s\n"
    )
    print("| size of | bytes | preset | with importance | fitted | bytes | expected | nearer |")
    print("|---|---|---|---|---|---|---|---|")
    wanted = list(predictions(base, unseen))
    for preset in presets:
        plain, weighed, fitted = (work / f"{preset}{kind}.gguf" for kind in ("", "-importance", "-fitted"))
        quantize(base, plain, preset)
        quantize(base, weighed, preset, importance=importance)
        mix = costs.fit(weighed.stat().st_size)
        quantize(base, fitted, preset, importance=importance, types=mix.types)
        first, second, third = (divergence(path, wanted, unseen) for path in (plain, weighed, fitted))
        print(
            f"| {preset} | {weighed.stat().st_size:,} | {first:.5f} | {second:.5f} | {third:.5f} "
            f"| {fitted.stat().st_size:,} | {mix.divergence:.5f} | {1 - third / min(first, second):.0%} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
