"""Look at the release: what its proof measured in llama.cpp, and what it writes."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Annotated, ClassVar

from pydantic import Field

from pipeline.stage import Context, Metrics, Section, Stage
from stages.release.modelfile import read_modelfile
from stages.release.runtime import Runtime
from stages.tokens.chat import Message, with_system
from stages.tokens.encoding import Encoding, load_encoding


class EvaluateConfig(Section):
    """`prompts` go to the file that the Modelfile takes."""

    prompts: Annotated[tuple[str, ...], Field(min_length=1)] = (
        "Blink the LED on pin 15 twice a second.",
        "How do I read a potentiometer on GP26?",
        "Scan the I2C bus and print the addresses.",
    )
    max_tokens: Annotated[int, Field(ge=1)] = 160
    temperature: Annotated[float, Field(ge=0, le=2)] = 0.2

    foreign_names: ClassVar[Mapping[str, str]] = {"tokens": "export.proof_tokens"}


def run(context: Context) -> Metrics:
    config = context.section(EvaluateConfig)
    encoding = load_encoding(context.inputs["tokenizer"])
    release = context.inputs["export"]
    proof = json.loads((release / "proof.json").read_bytes())
    scores = proof["files"]
    for name, found in scores.items():
        context.say(f"{name:<8} perplexity {found['perplexity']:.3f}, {found['bits_per_byte']:.3f} bits per byte")

    taken = next(told.value for told in read_modelfile(release / "Modelfile") if told.name == "FROM").removeprefix("./")
    speaker = next(name for name, found in scores.items() if found["file"] == taken)
    system = json.loads((context.inputs["tokenize"] / "meta.json").read_bytes())["system"]
    with Runtime(release / taken) as runtime:
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


def answer(runtime: Runtime, encoding: Encoding, messages: Sequence[Message], config: EvaluateConfig, seed: int) -> str:
    """What a GGUF in llama.cpp says next in a conversation; nothing where the conversation fills the context."""
    ids, _ = encoding.encode_chat(messages, prompt=True)
    if len(ids) >= runtime.context_length:
        return ""
    tokens = runtime.generate(ids, max_tokens=config.max_tokens, temperature=config.temperature, top_k=40, seed=seed)
    return encoding.decode(list(tokens))


STAGE = Stage(
    name="evaluate",
    version=2,
    module=__name__,
    run=run,
    sections={"evaluate": EvaluateConfig},
    needs=("export", "tokenize", "tokenizer"),
    seeded=True,
)
