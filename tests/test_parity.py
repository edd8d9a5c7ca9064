"""The three tokenizers on strings at which such have been found to differ; benchmarks/parity.py does it at scale."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Callable
from pathlib import Path

import pytest
from test_convert import make_release

from stages.release.gguf import GgufMetadata, write_gguf
from stages.release.nasty import nasty_strings
from stages.release.runtime import Runtime

CASES: list[str] = json.loads((Path(__file__).parent / "cases/nasty.json").read_bytes())
RUNS = [part * (4_000 // len(part)) for part in (" ", "\n", "a", "=", "0", "é", "ab ", "漢", "\x00", "\t \n", "<bos>")]


@pytest.mark.parametrize("kind", ["sentencepiece", "byte_level", "gpt2"])
def test_no_id_differs_between_trainer_transformers_and_llama_cpp(tmp_path: Path, kind: str) -> None:
    from tokenizers import Tokenizer
    from transformers import AutoTokenizer

    release = make_release(tmp_path / "artifacts", kind=kind)
    release.convert()
    folder, encoding = release.root / "convert", release.encoding
    write_gguf(folder, tmp_path / "tiny.gguf", file_type="f16", metadata=GgufMetadata("tiny"))
    loaded, alone = AutoTokenizer.from_pretrained(folder), Tokenizer.from_file(str(folder / "tokenizer.json"))
    alone.encode_special_tokens = True
    with Runtime(tmp_path / "tiny.gguf", threads=1) as runtime:
        readers: dict[str, Callable[[str], list[int]]] = {
            "transformers": lambda text: list(
                loaded.encode(text, add_special_tokens=False, split_special_tokens=True, verbose=False)
            ),
            "tokenizer.json": lambda text: list(alone.encode(text, add_special_tokens=False).ids),
            "llama.cpp": runtime.tokenize,
        }
        special = {encoding.bos_id, encoding.eos_id, encoding.pad_id, encoding.token_id("<|im_end|>")}
        for text in [*CASES, *nasty_strings(), *RUNS]:
            ids = encoding.encode(text)
            assert not special & set(ids)
            wrong = [name for name, encode in readers.items() if encode(text) != ids]
            assert not wrong, (wrong, text[:80])
            assert encoding.decode(ids) == (text.replace("\u2581", " ") if kind == "sentencepiece" else text)


def test_the_strings_are_of_all_kinds() -> None:
    strings = {*CASES, *nasty_strings()}
    kinds = {unicodedata.category(letter) for text in strings for letter in text}
    assert len(strings) > 700 and len(kinds) == 29  # all of Unicode's but surrogates, which are no characters
    assert {"\x00", "\r", "\u2581", "<bos>", "<|im_end|>"} <= {*CASES} and "\u2028" in "".join(CASES)
