"""Token ids of the trainer, of transformers and of llama.cpp, on files and strings that no tokenizer has seen.

    python benchmarks/parity.py [--kinds sentencepiece byte_level] [--sizes 4096 8192 16384] [--megabytes 12]

Tokenizers of each kind and size are trained on the corpus that ships and on the standard library of this Python, less
500 of its files. These and 2,000 nasty strings are then encoded by the trainer's tokenizer, by the HuggingFace
directory that convert writes (as transformers loads it, and its tokenizer.json alone) and by llama.cpp from a GGUF
with that vocabulary. Ends with 1 where any id differs, or a text does not come back.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import random
import sys
import sysconfig
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from stages.release.nasty import nasty_strings  # noqa: E402
from stages.release.runtime import Runtime  # noqa: E402
from stages.tokens.encoding import Encoding  # noqa: E402

HELD_OUT, STRINGS = 500, 2000
Encode = Callable[[str], list[int]]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--kinds", nargs="+", choices=("sentencepiece", "byte_level"), default=("sentencepiece", "byte_level")
    )
    parser.add_argument("--sizes", nargs="+", type=int, default=(4096, 8192, 16384))
    parser.add_argument("--megabytes", type=float, default=12, help="of text to train on")
    options = parser.parse_args()
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    library = sorted(Path(sysconfig.get_path("stdlib")).rglob("*.py"))
    texts = [text for path in library if "site-packages" not in path.parts and (text := text_of(path))]
    random.Random(0).shuffle(texts)
    held_out, rest = texts[:HELD_OUT], texts[HELD_OUT:]
    shipped = [text_of(path) for path in sorted((ROOT / "corpus").rglob("*")) if path.suffix in (".py", ".md", ".rst")]
    training = list(up_to(int(options.megabytes * 1e6), [*shipped, *rest]))
    strings = list(nasty(STRINGS))
    print(f"{len(training)} texts to train on, {len(strings)} strings and {len(held_out)} files to compare")
    wrong = 0
    for kind in options.kinds:
        for size in options.sizes:
            with tempfile.TemporaryDirectory() as folder:
                wrong += compare(kind, size, Path(folder), training, held_out, strings)
    return 1 if wrong else 0


def compare(kind: str, size: int, folder: Path, training: list[str], files: list[str], strings: list[str]) -> int:
    """Print one line, and some for what differs; returns how many texts differ."""
    started = time.perf_counter()
    encoding = train(kind, size, folder, training)
    trained = time.perf_counter() - started
    counts, shown, tokens = {"files": 0, "strings": 0}, [], 0
    with Runtime(gguf_of(folder, encoding), threads=1) as runtime:
        readers: dict[str, Encode] = {**huggingface(folder), "llama.cpp": runtime.tokenize}
        for what, texts in (("files", files), ("strings", strings)):
            for text in texts:
                ids = encoding.encode(text)
                tokens += len(ids)
                found = [name for name, encode in readers.items() if encode(text) != ids]
                lossy = text.replace("\u2581", " ") if kind == "sentencepiece" else text
                if encoding.decode(ids) != lossy:
                    found.append("the way back")
                if found:
                    counts[what] += 1
                    shown.append(f"    {', '.join(found)}: {text[:60]!r}")
    told = ", ".join(
        f"{count} of {len(t)} {what} wrong" for (what, count), t in zip(counts.items(), (files, strings), strict=True)
    )
    print(f"{kind:13} {encoding.vocab_size:6,} pieces: {told}; {tokens:,} ids; {trained:.0f} s to train", flush=True)
    print("\n".join(shown[:20]), end="\n" if shown else "")
    return sum(counts.values())


def train(kind: str, size: int, folder: Path, texts: Iterable[str]) -> Encoding:
    """Train a tokenizer as the stage does, and write it as convert does to `folder`."""
    from stages.release.convert import write_tokenizer
    from stages.tokens import byte_level, tokenizer
    from stages.tokens.encoding import MODEL_FILE, load_encoding

    source = folder / "tokenizer"
    source.mkdir()
    if kind == "sentencepiece":
        (source / MODEL_FILE).write_bytes(tokenizer.train(texts, size))
    else:
        byte_level.train(texts, size).save(source)
    encoding = load_encoding(source)
    write_tokenizer(folder, source, encoding, 64)
    return encoding


def huggingface(folder: Path) -> dict[str, Encode]:
    from tokenizers import Tokenizer
    from transformers import AutoTokenizer

    loaded = AutoTokenizer.from_pretrained(folder)
    alone = Tokenizer.from_file(str(folder / "tokenizer.json"))
    alone.encode_special_tokens = True
    return {
        "transformers": lambda text: list(loaded.encode(text, add_special_tokens=False, split_special_tokens=True)),
        "tokenizer.json": lambda text: list(alone.encode(text, add_special_tokens=False).ids),
    }


def gguf_of(folder: Path, encoding: Encoding) -> Path:
    """A GGUF of the smallest model with the vocabulary of `folder`; what it computes does not matter."""
    import numpy as np
    import torch

    from stages.release.gguf import GgufMetadata, write_gguf
    from stages.release.tensorfile import write_tensors
    from stages.training.huggingface import each_huggingface_tensor, huggingface_config
    from stages.training.model import make_model
    from stages.training.shape import ModelConfig

    shape = ModelConfig.model_validate({"d_model": 32, "n_layers": 1, "n_heads": 1, "n_kv_heads": 1, "d_ff": 32})
    with torch.device("meta"):
        network = make_model(shape, encoding.vocab_size, 64)
    shapes = {name: tuple(t.shape) for name, t in each_huggingface_tensor(network, network.state_dict().__getitem__)}
    write_tensors(folder / "model.safetensors", shapes, (np.zeros(shape, np.float32) for shape in shapes.values()))
    huggingface_config(shape, encoding.vocab_size, 64).save_pretrained(folder)
    write_gguf(folder, folder / "tiny.gguf", file_type="f16", metadata=GgufMetadata("tiny"))
    return folder / "tiny.gguf"


def nasty(count: int) -> Iterator[str]:
    """The strings of the release's proof and those of the tests, some very long runs, and the rest put together."""
    cases: list[str] = json.loads((ROOT / "tests/cases/nasty.json").read_bytes())
    runs = [
        part * (30_000 // len(part))
        for part in (" ", "\n", "a", "=", "0", "é", "ab ", "漢", "\x00", "🐍", "\t \n", "<bos>")
    ]
    fixed = list(dict.fromkeys([*cases, *nasty_strings(), *runs]))
    yield from fixed
    short = [text for text in fixed if len(text) < 40]
    rng = random.Random(0)
    for _ in range(count - len(fixed)):
        yield "".join(rng.choices(short, k=rng.randint(2, 12))) + any_characters(rng, rng.randrange(20))


def any_characters(rng: random.Random, count: int) -> str:
    """Code points of any kind, assigned or not; surrogates are no characters."""
    codes = (int(math.exp(rng.uniform(0, math.log(0x110000)))) for _ in range(count))
    return "".join("\ufffd" if 0xD800 <= code < 0xE000 else chr(min(code, 0x10FFFF)) for code in codes)


def up_to(size: int, texts: Iterable[str]) -> Iterator[str]:
    for text in texts:
        size -= len(text.encode())
        if size < 0:
            return
        yield text


def text_of(path: Path) -> str:
    try:
        return path.read_bytes().decode()
    except (OSError, UnicodeDecodeError):
        return ""


if __name__ == "__main__":
    sys.exit(main())
