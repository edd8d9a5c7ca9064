"""The part of a model card that says how to run the model."""

from __future__ import annotations

import json
import shlex
from typing import Any

from stages.release.facts import Facts
from stages.release.markdown import block, line

HUGGINGFACE = "huggingface"
FROM_HERE = f'folder = "{HUGGINGFACE}"'
CHAT = "tokenizer.apply_chat_template("
BEFORE, AFTER = "def add(a, b):\n    return ", "\n\nprint(add(1, 2))\n"


def usage(facts: Facts) -> str:
    """How to run a release in Ollama, llama.cpp and transformers: commands and a program that work as they are."""
    question = line(facts.corpus.question) or "Hello!"
    parts = ["## How to run it", "### Ollama"]
    parts.append(block(f"ollama create {facts.name} -f Modelfile\nollama run {facts.name}", "sh"))
    if facts.fim:
        asked = json.dumps({"model": facts.name, "prompt": BEFORE, "suffix": AFTER, "stream": False})
        parts.append("It fills in what belongs between a prompt and a suffix:")
        parts.append(block(f"curl http://localhost:11434/api/generate -d {shlex.quote(asked)}", "sh"))
    parts.append("### llama.cpp")
    system = f" -sys {shlex.quote(line(facts.system))}" if facts.system else ""
    if facts.answers:
        ask = f"llama-cli -m {facts.chosen} --temp 0.2{system} -p {shlex.quote(question)}"
    else:
        ask = f"llama-completion -m {facts.chosen} --temp 0.2 -n 128 -p {shlex.quote(question)}"
    parts.append(block(f"{ask}\nllama-server -m {facts.chosen} -c {facts.shape['context_length']}", "sh"))
    if facts.fim:
        asked = json.dumps({"input_prefix": BEFORE, "input_suffix": AFTER, "n_predict": 64})
        parts.append("The server fills gaps for editors:")
        parts.append(block(f"curl http://localhost:8080/infill -d {shlex.quote(asked)}", "sh"))
    parts += ["### transformers", block(_python(facts, question), "python")]
    parts.append(
        "Text that may hold the spelling of a special token (`<bos>`) is encoded as plain text with "
        "`tokenizer(text, split_special_tokens=True)`."
    )
    return "\n\n".join(parts)


def _python(facts: Facts, question: str) -> str:
    messages = [{"role": "system", "content": facts.system}] if facts.system else []
    messages.append({"role": "user", "content": question})
    room = max(1, min(256, facts.shape["context_length"] // 2))
    if facts.answers:
        said = "".join(f"    {_literal(message)},\n" for message in messages)
        asked = f"messages = [\n{said}]\n"
        asked += f"asked = {CHAT}\n    messages, add_generation_prompt=True, return_dict=True, "
        asked += 'return_tensors="pt"\n)'
    else:
        asked = f'asked = tokenizer({_literal(question)}, return_tensors="pt")'
    return f"""from transformers import AutoModelForCausalLM, AutoTokenizer

{FROM_HERE}
tokenizer = AutoTokenizer.from_pretrained(folder)
model = AutoModelForCausalLM.from_pretrained(folder)
{asked}
written = model.generate(**asked, max_new_tokens={room}, do_sample=True, temperature=0.2)
print(tokenizer.decode(written[0, asked["input_ids"].shape[1] :], skip_special_tokens=True))"""


def _literal(value: Any) -> str:
    """A value as Python says it, on one line."""
    text = json.dumps(value, ensure_ascii=False)
    return text if text.isprintable() else json.dumps(value)
