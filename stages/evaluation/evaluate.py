"""Measure the release: perplexity of the trained weights and of every GGUF in llama.cpp, and what it writes."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from pydantic import Field

from pipeline.stage import Context, Metrics, Section, Stage
from stages.corpus.documents import read_documents
from stages.release.runtime import Runtime
from stages.tokens.chat import Message, with_system
from stages.tokens.encoding import Encoding, load_encoding

if TYPE_CHECKING:
    from numpy.typing import NDArray

Logits = Callable[[Sequence[int]], "NDArray[np.float32]"]


class EvaluateConfig(Section):
    """`tokens` bounds the validation text that is scored; `prompts` go to the Q4_K_M file, or else the smallest."""

    tokens: Annotated[int, Field(ge=64)] = 8192
    prompts: Annotated[tuple[str, ...], Field(min_length=1)] = (
        "Blink the LED on pin 15 twice a second.",
        "How do I read a potentiometer on GP26?",
        "Scan the I2C bus and print the addresses.",
    )
    max_tokens: Annotated[int, Field(ge=1)] = 160
    temperature: Annotated[float, Field(ge=0, le=2)] = 0.2


def run(context: Context) -> Metrics:
    config = context.section(EvaluateConfig)
    encoding = load_encoding(context.inputs["tokenizer"])
    release = context.inputs["export"]
    files = {
        path.stem.rpartition("-")[2]: path for path in sorted(release.glob("*.gguf"), key=lambda p: -p.stat().st_size)
    }
    trained, context_length = trained_logits(context.inputs["finetune"])
    windows, size = validation_windows(context.inputs["clean"] / "val", encoding, config.tokens, context_length)

    scores: dict[str, dict[str, float]] = {}
    with context.progress((len(files) + 1) * len(windows), "windows") as bar:
        scores["trained"] = score(trained, windows, size, bar.advance)
        for quant, path in files.items():
            with Runtime(path) as runtime:
                scores[quant] = score(runtime.logits, windows, size, bar.advance)
    for name, found in scores.items():
        context.say(f"{name:<8} perplexity {found['perplexity']:.3f}, {found['bits_per_byte']:.3f} bits per byte")

    speaker = "q4_k_m" if "q4_k_m" in files else list(files)[-1]
    system = json.loads((context.inputs["tokenize"] / "meta.json").read_bytes())["system"]
    with Runtime(files[speaker]) as runtime:
        answers = [
            answer(runtime, encoding, with_system([{"role": "user", "content": prompt}], system), config, context.seed)
            for prompt in config.prompts
        ]
    for prompt, text in zip(config.prompts, answers, strict=True):
        context.say(f"{speaker} · {prompt}")
        for line in text.splitlines():
            context.say(f"  {line}")
    results = {
        "scores": scores,
        "answers": [{"prompt": p, "answer": a} for p, a in zip(config.prompts, answers, strict=True)],
    }
    (context.out / "evaluation.json").write_text(json.dumps(results, indent=1, ensure_ascii=False), encoding="utf-8")
    return {"scores": scores, "answered_by": speaker}


def trained_logits(folder: Path) -> tuple[Logits, int]:
    """A function from token ids to float32 logits (len, vocab_size) of the trained weights, and the context length."""
    import torch

    from stages.training.model import load_model

    model = load_model(folder)

    def logits(tokens: Sequence[int]) -> NDArray[np.float32]:
        with torch.no_grad():
            found: NDArray[np.float32] = model(torch.tensor([list(tokens)]))[0].numpy()
        return found

    return logits, model.context_length


def validation_windows(
    folder: Path, encoding: Encoding, tokens: int, context_length: int
) -> tuple[list[list[int]], int]:
    """Validation texts cut into windows of at most `context_length` + 1 ids, each led by `<bos>`, and their bytes.

    Takes whole documents until there are `tokens`; conversations are left to finetuning's own loss.
    """
    windows, taken, size = [], 0, 0
    for document in read_documents(folder):
        if document.kind == "pair" or taken >= tokens:
            continue
        ids = [*encoding.encode(document.text), encoding.eos_id]
        size += len(document.text.encode())
        taken += len(ids)
        windows += [[encoding.bos_id, *ids[i : i + context_length]] for i in range(0, len(ids), context_length)]
    return windows, size


def score(logits: Logits, windows: Sequence[Sequence[int]], size: int, advance: Callable[[], Any]) -> dict[str, float]:
    """Loss (nats per token), perplexity and bits per byte over windows that hold `size` bytes of text."""
    total, count = 0.0, 0
    for window in windows:
        inputs, targets = window[:-1], np.asarray(window[1:])
        rows = logits(inputs).astype(np.float64)
        rows -= rows.max(axis=-1, keepdims=True)
        chosen = rows[np.arange(len(targets)), targets]
        total += float((np.log(np.exp(rows).sum(axis=-1)) - chosen).sum())
        count += len(targets)
        advance()
    loss = total / count
    return {
        "loss": round(loss, 6),
        "perplexity": round(math.exp(loss), 4),
        "bits_per_byte": round(total / math.log(2) / size, 4),
        "tokens": count,
    }


def answer(runtime: Runtime, encoding: Encoding, messages: Sequence[Message], config: EvaluateConfig, seed: int) -> str:
    """What a GGUF in llama.cpp says next in a conversation; nothing where the conversation fills the context."""
    ids, _ = encoding.encode_chat(messages, prompt=True)
    if len(ids) >= runtime.context_length:
        return ""
    tokens = runtime.generate(ids, max_tokens=config.max_tokens, temperature=config.temperature, top_k=40, seed=seed)
    return encoding.decode(list(tokens))


STAGE = Stage(
    name="evaluate",
    version=1,
    module=__name__,
    run=run,
    sections={"evaluate": EvaluateConfig},
    needs=("export", "finetune", "tokenize", "tokenizer", "clean"),
    seeded=True,
)
