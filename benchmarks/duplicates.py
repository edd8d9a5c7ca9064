"""Near-duplicates among many texts: our shingles and MinHash beside datasketch and rensa, on the same files in one run.

    python benchmarks/duplicates.py FOLDER [--repeat 3] [--suffix .py]

Each finds the files that repeat an earlier one: five words in a row are the same by 0.8 or more. Ours takes the exact
similarity of each likely pair, the others that of their sketches; what is true is computed exactly for all pairs that
any of them found. Peers that are not installed (`pip install datasketch rensa`) are left out.
"""

from __future__ import annotations

import argparse
import platform
import re
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from statistics import median

import numpy as np

from stages.corpus.near.pairs import likely_pairs, signatures
from stages.corpus.near.shingles import common, jaccard, shingles

THRESHOLD = 0.8
HASHES = 128
WORD = re.compile(r"\w+", re.ASCII)
Pairs = set[tuple[int, int]]


def grams(text: str) -> set[str]:
    words = WORD.findall(text.lower())
    return {" ".join(words[place : place + 5]) for place in range(max(1, len(words) - 4))}


def similarity(first: set[str], second: set[str]) -> float:
    return len(first & second) / max(1, len(first | second))


def alike(texts: list[str], pairs: Iterable[tuple[int, int]]) -> Pairs:
    """The pairs that are alike by the definition above, computed with sets of Python."""
    return {(a, b) for a, b in pairs if similarity(grams(texts[a]), grams(texts[b])) >= THRESHOLD}


def ours(texts: list[str]) -> Pairs:
    hashes, ends = shingles(texts)
    starts = np.concatenate([[0], ends[:-1]])
    likely = likely_pairs(signatures(hashes, ends), np.flatnonzero(ends > starts))
    found = set()
    for first, second in likely.tolist():
        one, other = hashes[starts[first] : ends[first]], hashes[starts[second] : ends[second]]
        if jaccard(common(one, other), len(one), len(other)) >= THRESHOLD:
            found.add((first, second))
    return found


def datasketch(texts: list[str]) -> Pairs:
    from datasketch import MinHash, MinHashLSH

    index, found = MinHashLSH(threshold=THRESHOLD, num_perm=HASHES), set()
    for number, text in enumerate(texts):
        sketch = MinHash(num_perm=HASHES)
        sketch.update_batch([gram.encode() for gram in grams(text)])
        found |= {(other, number) for other in index.query(sketch)}
        index.insert(number, sketch)
    return found


def rensa(texts: list[str]) -> Pairs:
    from rensa import RMinHash, RMinHashLSH

    index, found = RMinHashLSH(threshold=THRESHOLD, num_perm=HASHES, num_bands=16), set()
    for number, text in enumerate(texts):
        sketch = RMinHash(num_perm=HASHES, seed=1)
        sketch.update(list(grams(text)))
        found |= {(other, number) for other in index.query(sketch)}
        index.insert(number, sketch)
    return found


FINDERS: dict[str, Callable[[list[str]], Pairs]] = {"ours": ours, "datasketch": datasketch, "rensa": rensa}


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("folder", type=Path)
    arguments.add_argument("--repeat", type=int, default=3)
    arguments.add_argument("--suffix", default=".py")
    given = arguments.parse_args()
    files = sorted(path for path in given.folder.rglob(f"*{given.suffix}") if path.is_file())
    texts = [path.read_text(encoding="utf-8", errors="replace") for path in files]
    texts = [text for text in texts if WORD.search(text)]
    size = sum(len(text.encode()) for text in texts) / 1e6
    seconds: dict[str, list[float]] = {}
    found: dict[str, Pairs] = {}
    for _ in range(given.repeat):
        for name, finder in FINDERS.items():
            try:
                begun = time.process_time()
                found[name] = finder(texts)
                seconds.setdefault(name, []).append(time.process_time() - begun)
            except ImportError:
                print(f"{name}: not installed")
    true = alike(texts, set().union(*found.values()))
    own = median(seconds["ours"])
    print(f"\n{len(texts)} files, {size:.1f} MB, {platform.processor() or platform.machine()}, one process, CPU time")
    repeats = {later for _, later in true}
    print(f"{len(repeats)} files are alike by {THRESHOLD} or more to an earlier one that one or another found\n")
    print("| finder | MB/s | speed against ours | of those files | pairs less alike |\n|---|---|---|---|---|")
    for name, times in seconds.items():
        middle, right = median(times), found[name] & true
        share = 100 * len({later for _, later in right}) / max(1, len(repeats))
        wrong = len(found[name]) - len(right)
        print(f"| {name} | {size / middle:.1f} | {own / middle:.2f} | {share:.1f} % | {wrong} |")


if __name__ == "__main__":
    main()
