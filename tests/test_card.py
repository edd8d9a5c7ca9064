"""The model card: front matter that YAML reads, and tables that say what the release was made from."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from stages.release.card import Source, model_card

SHAPE: dict[str, Any] = {
    "model": {
        "architecture": "llama",
        "qk_norm": False,
        "d_model": 64,
        "n_layers": 2,
        "n_heads": 4,
        "n_kv_heads": 2,
        "d_ff": 96,
    },
    "vocab_size": 420,
    "context_length": 128,
}
FILES: dict[str, Any] = {
    "f16": {"file": "tiny-f16.gguf", "bytes": 2_500_000},
    "q8_0": {"file": "tiny-q8_0.gguf", "bytes": 1300},
}
PROOF = {"tokens_compared": 12_345, "top1_agreement_f16": 0.9987}
SOURCES = [Source("corpus/code", "CC0-1.0", "", 96), Source("a | b", "CC-BY-4.0", "Ada Lovelace", 3)]


def card() -> str:
    return model_card("tiny", SHAPE, SOURCES, FILES, PROOF, "tiny-q8_0.gguf")


@pytest.mark.parametrize(
    ("model", "told"),
    [
        ({}, "trained from nothing on the sources below. Llama architecture: "),
        ({"qk_norm": True}, "Qwen3 architecture: "),
        (
            {"architecture": "gpt2", "init_from": "openai-community/gpt2"},
            "trained from openai-community/gpt2 (whose own",
        ),
        ({"architecture": "gpt2"}, "GPT-2 architecture: d_model 64"),
    ],
)
def test_what_the_model_is_and_where_it_comes_from(model: dict[str, Any], told: str) -> None:
    shape = SHAPE | {"model": SHAPE["model"] | model}
    assert told in " ".join(model_card("tiny", shape, SOURCES, FILES, PROOF, "tiny-q8_0.gguf").split())


def tables(text: str) -> list[list[list[str]]]:
    """The rows of each Markdown table, without its heading."""
    found: list[list[list[str]]] = []
    before = ""
    for line in text.split("\n"):
        if line.startswith("|"):
            cells = [cell.strip().replace("\0", "|") for cell in line.replace("\\|", "\0").strip("|").split("|")]
            if not before.startswith("|"):
                found.append([])
            found[-1].append(cells)
        before = line
    return [table[2:] for table in found]


def test_the_front_matter_is_yaml() -> None:
    before, front, _ = card().split("---\n", 2)
    assert before == ""
    assert yaml.safe_load(front) == {
        "license": ["cc0-1.0", "cc-by-4.0"],
        "library_name": "transformers",
        "pipeline_tag": "text-generation",
        "tags": ["gguf"],
    }


def test_every_source_is_named_with_its_terms_and_every_file_with_its_size() -> None:
    assert tables(card()) == [
        [["corpus/code", "CC0-1.0", "96"], ["a | b", "CC-BY-4.0, Ada Lovelace", "3"]],
        [["tiny-f16.gguf", "f16", "2.5 MB"], ["tiny-q8_0.gguf", "q8_0", "1.3 kB"]],
    ]


def test_the_figures_and_the_commands_are_those_of_this_model() -> None:
    text = " ".join(card().split())
    for told in (
        "# tiny ", "d_model 64, 2 layers, 4 heads (2 for keys", "vocabulary 420, context 128", "12,345 token ids",
        "99.87%", "ollama create tiny -f Modelfile && ollama run tiny", "llama-cli -m tiny-q8_0.gguf",
    ):  # fmt: skip
        assert told in text
