"""Our GGUF beside that of llama.cpp's own converter, from the same HuggingFace directory: every difference is printed.

    python benchmarks/converter.py HUGGINGFACE LLAMA_CPP [--type f16]

HUGGINGFACE is `huggingface/` of a release, LLAMA_CPP a checkout of llama.cpp (its converter is Python and needs no
build). Ends with 1 where a tensor differs in its type, shape or any bit; keys may differ and are listed. The converter
knows byte-level tokenizers by a checksum of theirs and refuses all others, so it is told the name that ours writes.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
Found = tuple[str, tuple[int, ...], Any]
THEIRS = """
import sys
sys.path[:0] = [sys.argv[1], sys.argv[1] + "/gguf-py"]
pre = sys.argv[2]
import convert_hf_to_gguf
from conversion.base import TextModel
TextModel.get_vocab_base_pre = lambda self, tokenizer: pre
sys.argv[:] = ["convert_hf_to_gguf.py", *sys.argv[3:]]
convert_hf_to_gguf.main()
"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("huggingface", type=Path)
    parser.add_argument("llama_cpp", type=Path)
    parser.add_argument("--type", choices=("f32", "f16", "bf16"), default="f16")
    options = parser.parse_args()
    from stages.release.gguf import GgufMetadata, write_gguf
    from stages.release.vocabulary import read_vocabulary

    with tempfile.TemporaryDirectory() as name:
        ours, theirs = Path(name, "ours.gguf"), Path(name, "theirs.gguf")
        write_gguf(options.huggingface, ours, file_type=options.type, metadata=GgufMetadata("ours"))
        pre = read_vocabulary(options.huggingface).pre
        converted = [str(options.huggingface), "--outfile", str(theirs), "--outtype", options.type]
        told = subprocess.run(
            [sys.executable, "-c", THEIRS, str(options.llama_cpp.resolve()), pre, *converted],
            env={**os.environ, "PYTHONWARNINGS": "ignore"},
            stderr=subprocess.PIPE,
            text=True,
        )
        if told.returncode:
            print(told.stderr[-3000:])
            return 2
        here, there = read_tensors(ours), read_tensors(theirs)
        wrong = list(tensor_differences(here, there))
        order = "in the same order" if list(here) == list(there) else "in another order"
        print(f"{options.huggingface}, {options.type}: {len(here)} tensors, ", end="")
        print(f"{len(wrong)} DIFFER" if wrong else f"the same bits, {order}")
        for line in [*wrong, *key_differences(read_keys(ours), read_keys(theirs))]:
            print(f"  {line}")
    return 1 if wrong else 0


def read_tensors(path: Path) -> dict[str, Found]:
    """The type, shape and data of each tensor."""
    from gguf import GGUFReader

    tensors = GGUFReader(path).tensors
    return {t.name: (t.tensor_type.name, tuple(map(int, t.shape)), t.data) for t in tensors}


def read_keys(path: Path) -> dict[str, tuple[str, Any]]:
    """The type and the value of each key."""
    from gguf import GGUFReader

    fields = GGUFReader(path).fields.items()
    return {name: (field.types[-1].name, field.contents()) for name, field in fields if not name.startswith("GGUF.")}


def tensor_differences(ours: Mapping[str, Found], theirs: Mapping[str, Found]) -> Iterator[str]:
    for name in sorted(ours.keys() | theirs.keys()):
        if name not in ours or name not in theirs:
            yield f"{name}: only {'ours' if name in ours else 'theirs'}"
        elif ours[name][:2] != theirs[name][:2]:
            yield f"{name}: ours {ours[name][:2]}, theirs {theirs[name][:2]}"
        elif not np.array_equal(ours[name][2].view(np.uint8), theirs[name][2].view(np.uint8)):
            yield f"{name}: other values"


def key_differences(ours: Mapping[str, tuple[str, Any]], theirs: Mapping[str, tuple[str, Any]]) -> Iterator[str]:
    for name in sorted(ours.keys() | theirs.keys()):
        if name not in theirs:
            yield f"only ours    {name} = {shown(ours[name])}"
        elif name not in ours:
            yield f"only theirs  {name} = {shown(theirs[name])}"
        elif ours[name] != theirs[name]:
            yield f"differs      {name}: ours {shown(ours[name])}, theirs {shown(theirs[name])}"


def shown(value: tuple[str, Any]) -> str:
    text = repr(value[1])
    return f"{value[0].lower()} {text if len(text) < 100 else text[:97] + '…'}"


if __name__ == "__main__":
    sys.exit(main())
