"""The chat format's three forms render the same: parts for training, Jinja for transformers, Go for Ollama."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jinja2.sandbox import ImmutableSandboxedEnvironment

from stages.tokens.chat import CHAT_MARKERS, CHAT_TEMPLATE, OLLAMA_TEMPLATE, Message, chat_parts, with_system

contents = st.text(max_size=30) | st.sampled_from(
    ["", "\n", " x ", "{{ bos_token }}", "{% raw %}", "<|im_end|>", "<b>&"]
)
message = st.fixed_dictionaries({"role": st.sampled_from(["system", "user", "assistant"]), "content": contents})
talks = st.lists(message, max_size=5)

EXAMPLE: list[Message] = [
    {"role": "user", "content": "Blink."},
    {"role": "assistant", "content": "led.toggle()\n"},
]


def by_jinja(messages: Sequence[Message], *, prompt: bool) -> str:
    """As transformers sets jinja2 up for chat templates."""
    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string(CHAT_TEMPLATE)
    return template.render(messages=messages, bos_token="<bos>", add_generation_prompt=prompt)


def by_go(template: str, messages: Sequence[Message]) -> str:
    """The few actions of Go's text/template that the Ollama template uses, after the package's documentation."""
    parts = re.split(r"(\{\{.*?\}\})", template)
    for index in range(1, len(parts), 2):  # `{{- ` and ` -}}` cut the white space beside them
        if parts[index].startswith("{{- "):
            parts[index - 1] = parts[index - 1].rstrip(" \t\r\n")
        if parts[index].endswith(" -}}"):
            parts[index + 1] = parts[index + 1].lstrip(" \t\r\n")
    actions = [part.strip("{}- ") if number % 2 else part for number, part in enumerate(parts)]
    first, last = actions.index("range .Messages"), actions.index("end")
    assert first < last and first % 2 and last % 2

    def fields(start: int, end: int, values: dict[str, str]) -> str:
        return "".join(values[actions[i]] if i % 2 else actions[i] for i in range(start, end))

    body = "".join(
        fields(first + 1, last, {".Role": message["role"], ".Content": message["content"]}) for message in messages
    )
    return fields(0, first, {}) + body + fields(last + 1, len(actions), {})


def joined(messages: Sequence[Message], *, prompt: bool) -> str:
    return "".join(part.text for part in chat_parts(messages, prompt=prompt))


def test_a_conversation_reads_as_the_module_says() -> None:
    head = "<|im_start|>user\nBlink.<|im_end|>\n<|im_start|>assistant\n"
    assert joined(EXAMPLE, prompt=False) == head + "led.toggle()\n<|im_end|>\n"
    assert joined(EXAMPLE[:1], prompt=True) == head


@given(talks, st.booleans())
def test_jinja_renders_the_parts_after_bos(messages: list[Message], prompt: bool) -> None:
    assert by_jinja(messages, prompt=prompt) == "<bos>" + joined(messages, prompt=prompt)


@given(talks)
def test_ollama_renders_the_parts_and_leaves_bos_to_the_runtime(messages: list[Message]) -> None:
    assert by_go(OLLAMA_TEMPLATE, messages) == joined(messages, prompt=True)
    assert "<bos>" not in OLLAMA_TEMPLATE


@given(talks, st.booleans())
def test_only_answers_and_their_ends_are_learnt_and_only_markers_are_special(
    messages: list[Message], prompt: bool
) -> None:
    parts = list(chat_parts(messages, prompt=prompt))
    answers = [message["content"] for message in messages if message["role"] == "assistant"]
    assert [part.text for part in parts if part.learned] == [
        text for answer in answers for text in (answer, "<|im_end|>")
    ]
    markers = [part.text for part in parts if part.special]
    assert markers == ["<|im_start|>", "<|im_end|>"] * len(messages) + ["<|im_start|>"] * prompt
    assert set(markers) <= set(CHAT_MARKERS)


@given(talks, st.booleans())
def test_between_two_markers_there_is_one_part_save_that_an_answer_stands_apart(
    messages: list[Message], prompt: bool
) -> None:
    """The runtimes encode what stands between two special tokens in one go, and a prompt ends before the answer."""
    parts = list(chat_parts(messages, prompt=prompt))
    for before, after in pairwise(parts):
        assert before.special or after.special or (before.text == "assistant\n" and after.learned)


@pytest.mark.parametrize("first", ["user", "assistant"])
def test_a_system_message_leads_unless_there_is_one(first: str) -> None:
    talk: list[Message] = [{"role": first, "content": "a"}, {"role": "assistant", "content": "b"}]
    led = with_system(talk, "Be short.")
    assert led == ({"role": "system", "content": "Be short."}, *talk)
    assert with_system(led, "Be long.") == led
    assert with_system(talk, "") == tuple(talk)
