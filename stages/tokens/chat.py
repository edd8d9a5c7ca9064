"""The one chat format, said three times: as parts for training, as Jinja for HuggingFace and GGUF, as Go for Ollama.

A conversation reads (each `⏎` a line end):

    <bos><|im_start|>user⏎question<|im_end|>⏎<|im_start|>assistant⏎answer<|im_end|>⏎

The markers are those of ChatML (github.com/openai/openai-python, chatml.md), which llama.cpp and Ollama know: an
`<|im_end|>` ends generation in both without further ado.

Messages of one role in a row are one turn, with an empty line between them. Ollama joins them so before any template
sees them (github.com/ollama/ollama, template/template.go), and turns that alternate are all that training ever shows.

A conversation that ends with an answer is one whose answer was begun: asked to go on, a runtime gets that turn without
its end. Ollama's template says so, llama-server does so by itself, and transformers if told `continue_final_message`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

CHAT_START, CHAT_END = "<|im_start|>", "<|im_end|>"
CHAT_MARKERS = (CHAT_START, CHAT_END)
Message = Mapping[str, str]

CHAT_TEMPLATE = (
    "{{ bos_token }}"
    "{% for message in messages %}"
    "{% if not loop.first and messages[loop.index0 - 1]['role'] == message['role'] %}{{ '\\n\\n' }}"
    "{% else %}{{ '<|im_start|>' + message['role'] + '\\n' }}{% endif %}"
    "{{ message['content'] }}"
    "{% if loop.last or messages[loop.index0 + 1]['role'] != message['role'] %}{{ '<|im_end|>' + '\\n' }}{% endif %}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)

OLLAMA_TEMPLATE = (
    "{{ $open := false }}"
    "{{ range $index, $_ := .Messages }}"
    '{{ $open = and (eq .Role "assistant") (eq (len (slice $.Messages $index)) 1) }}'
    "<|im_start|>{{ .Role }}\n{{ .Content }}{{ if not $open }}<|im_end|>\n{{ end }}"
    "{{ end }}"
    "{{ if not $open }}<|im_start|>assistant\n{{ end }}"
)


def with_system(messages: Sequence[Message], system: str) -> tuple[Message, ...]:
    """The conversation led by a system message, unless it has one of its own or `system` is empty."""
    if not system or messages[0]["role"] == "system":
        return tuple(messages)
    return ({"role": "system", "content": system}, *messages)


@dataclass(frozen=True)
class Part:
    """A stretch of a rendered conversation: a special token or a text, and whether the model learns to say it."""

    text: str
    special: bool
    learned: bool


def chat_parts(messages: Sequence[Message], *, prompt: bool = False) -> Iterator[Part]:
    """The parts of a conversation after `<bos>`; each text between two special tokens is one part.

    That matters: a tokenizer joins characters across what were separate strings, so the parts have to be cut where
    the runtimes cut them. Only an answer at the end is learnt, and it stands apart from its role: a prompt ends after
    the role's line end. The answers before it are told as every runtime tells what was said before.

    With `prompt` nothing is learnt, and the parts end where the model goes on: with the start of its turn, or with the
    answer that was begun.
    """
    turns = merged(messages)
    for number, message in enumerate(turns, 1):
        last = number == len(turns) and message["role"] == "assistant"
        yield Part(CHAT_START, True, False)
        if last and not prompt:
            yield Part("assistant\n", False, False)
            yield Part(message["content"], False, True)
        else:
            yield Part(f"{message['role']}\n{message['content']}", False, False)
        if last and prompt:
            return
        yield Part(CHAT_END, True, last)
        yield Part("\n", False, False)
    if prompt:
        yield Part(CHAT_START, True, False)
        yield Part("assistant\n", False, False)


def answered(messages: Sequence[Message]) -> Iterator[Sequence[Message]]:
    """The conversation up to each of its answers, to learn every one as it will be asked for."""
    turns = merged(messages)
    return (turns[:number] for number, turn in enumerate(turns, 1) if turn["role"] == "assistant")


def merged(messages: Sequence[Message]) -> list[Message]:
    """The turns of a conversation: messages of one role in a row are one, with an empty line between them."""
    turns: list[Message] = []
    for message in messages:
        if turns and turns[-1]["role"] == message["role"]:
            message = {**message, "content": f"{turns.pop()['content']}\n\n{message['content']}"}
        turns.append(message)
    return turns
