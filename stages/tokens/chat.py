"""The one chat format, said three times: as parts for training, as Jinja for HuggingFace and GGUF, as Go for Ollama.

A conversation reads (each `⏎` a line end):

    <bos><|im_start|>user⏎question<|im_end|>⏎<|im_start|>assistant⏎answer<|im_end|>⏎

The markers are those of ChatML (github.com/openai/openai-python, chatml.md), which llama.cpp and Ollama know: an
`<|im_end|>` ends generation in both without further ado.
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
    "{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)

OLLAMA_TEMPLATE = (
    "{{- range .Messages }}<|im_start|>{{ .Role }}\n{{ .Content }}<|im_end|>\n{{ end }}<|im_start|>assistant\n"
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
    the runtimes cut them.
    """
    for message in messages:
        answer = message["role"] == "assistant"
        yield Part(CHAT_START, True, False)
        yield from _turn(message["role"] + "\n", message["content"], answer)
        yield Part(CHAT_END, True, answer)
        yield Part("\n", False, False)
    if prompt:
        yield Part(CHAT_START, True, False)
        yield Part("assistant\n", False, False)


def _turn(role: str, content: str, answer: bool) -> Iterator[Part]:
    if answer:
        # At inference the prompt ends after the role's line end, so the answer has to be tokenised apart from it.
        yield Part(role, False, False)
        yield Part(content, False, True)
    else:
        yield Part(role + content, False, False)
