"""The model card: what the model was made from, how it was measured, and how to run it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.console import size


@dataclass(frozen=True)
class Source:
    """Where training documents came from: their licence (SPDX), who has to be named, and how many there are."""

    name: str
    license: str
    attribution: str
    documents: int

    @property
    def terms(self) -> str:
        """The licence, and who has to be named."""
        return f"{self.license}, {self.attribution}" if self.attribution else self.license


def model_card(
    name: str,
    shape: Mapping[str, Any],
    sources: Sequence[Source],
    files: Mapping[str, Mapping[str, Any]],
    proof: Mapping[str, Any],
    chosen: str,
) -> str:
    """Markdown with the front matter that the HuggingFace Hub reads."""
    model = shape["model"]
    start = model.get("init_from")
    origin = f"from {start} (whose own terms go with it)" if start else "from nothing"
    data = "\n".join(f"| {_cell(source.name)} | {_cell(source.terms)} | {source.documents} |" for source in sources)
    rows = "\n".join(f"| {entry['file']} | {quant} | {size(entry['bytes'])} |" for quant, entry in files.items())
    return f"""---
license: {json.dumps(list(dict.fromkeys(source.license.lower() for source in sources)))}
library_name: transformers
pipeline_tag: text-generation
tags: [gguf]
---

# {name}

A small language model, trained {origin} on the sources below.

{_architecture(model)} architecture: d_model {model["d_model"]}, {model["n_layers"]} layers, {model["n_heads"]} heads
({model["n_kv_heads"]} for keys and values), d_ff {model["d_ff"]}, vocabulary {shape["vocab_size"]},
context {shape["context_length"]} tokens.

## Data

| source | licence | documents |
|---|---|---|
{data}

Where a licence demands that its notice travels on, it is in `NOTICES.txt`.

## Files

| file | quantisation | size |
|---|---|---|
{rows}

Checked in llama.cpp before release: {proof["tokens_compared"]:,} token ids equal to the trainer's; the F16 file's
likeliest token is the trained model's in {proof["top1_agreement_f16"]:.2%} of places.

## Use

    ollama create {name} -f Modelfile && ollama run {name}
    llama-cli -m {chosen} -cnv
    python -c "from transformers import pipeline; print(pipeline('text-generation', 'huggingface')('import machine'))"

In transformers, text that may hold the spelling of a special token (`<bos>`) is encoded as plain text with
`tokenizer(text, split_special_tokens=True)`.

## Limits

It knows what its few sources say and nothing else. It makes mistakes: read and test its code before a board runs it.
"""


def _architecture(model: Mapping[str, Any]) -> str:
    """The name of the stock architecture that the files have."""
    if model["architecture"] == "gpt2":
        return "GPT-2"
    return "Qwen3" if model["qk_norm"] else "Llama"


def _cell(text: str) -> str:
    """A text that stays in its cell of a table."""
    return text.replace("|", "\\|")
