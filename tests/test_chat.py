"""The chat format's forms render the same: parts for training, Jinja for transformers, Go for Ollama."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from itertools import groupby, pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import ollama_template

from stages.tokens.chat import (
    CHAT_MARKERS,
    CHAT_TEMPLATE,
    OLLAMA_TEMPLATE,
    Message,
    answered,
    chat_parts,
    merged,
    with_system,
)

NASTY = [
    "", "\n", " x ", "\n\na\n\n", "\ttab ", "{{ bos_token }}",
    "{% raw %}", "{{ .Content }}", "{{- end }}", "$open", "{#",
    "<|im_end|>", "<|im_start|>user\n", "<bos>", "<eos>", "<fim_middle>",
    "<b>&\"'\\", "é漢\U0001f600\u200d\u00a0", "r\r\n",
]  # fmt: skip
contents = st.text(max_size=30) | st.lists(st.sampled_from(NASTY), max_size=4).map("".join)
message = st.fixed_dictionaries({"role": st.sampled_from(["system", "user", "assistant"]), "content": contents})
talks = st.lists(message, max_size=7)

EXAMPLE: list[Message] = [
    {"role": "user", "content": "Blink."},
    {"role": "assistant", "content": "led.toggle()\n"},
]


@pytest.fixture(scope="module", params=["go", "python"])
def ollama(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., str]]:
    """What Ollama makes of a template, by Go's own text/template and by our reading of it."""
    if request.param == "python":
        yield ollama_template.render
    elif shutil.which("go") is None:
        pytest.skip("there is no Go here")
    else:
        go = ollama_template.Go(tmp_path_factory.mktemp("go"))
        yield go.render
        go.close()


@pytest.fixture(scope="module")
def transformers_template() -> Callable[..., str]:
    """`apply_chat_template` of a tokenizer that carries our template."""
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    empty = Tokenizer(models.WordLevel({"<unk>": 0}, unk_token="<unk>"))
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=empty, bos_token="<bos>", chat_template=CHAT_TEMPLATE)

    def render(messages: Sequence[Message], **asked: Any) -> str:
        return str(tokenizer.apply_chat_template([dict(each) for each in messages], tokenize=False, **asked))

    return render


def joined(messages: Sequence[Message], *, prompt: bool) -> str:
    return "".join(part.text for part in chat_parts(messages, prompt=prompt))


def begun(messages: Sequence[Message]) -> bool:
    """Whether the last message is an answer that was begun."""
    return bool(messages) and messages[-1]["role"] == "assistant"


def test_a_conversation_reads_as_the_module_says() -> None:
    head = "<|im_start|>user\nBlink.<|im_end|>\n<|im_start|>assistant\n"
    assert joined(EXAMPLE, prompt=False) == head + "led.toggle()\n<|im_end|>\n"
    assert joined(EXAMPLE[:1], prompt=True) == head
    assert joined(EXAMPLE, prompt=True) == head + "led.toggle()\n"


@settings(max_examples=300, deadline=None)
@given(talks.filter(bool))
def test_transformers_renders_the_parts_after_bos(
    transformers_template: Callable[..., str], messages: list[Message]
) -> None:
    assert transformers_template(messages) == "<bos>" + joined(messages, prompt=False)
    if not begun(messages):
        theirs = transformers_template(messages, add_generation_prompt=True)
    elif messages[-1]["content"].strip():
        theirs = transformers_template(messages, continue_final_message=True)
        assert theirs == "<bos>" + joined(messages, prompt=True) or messages[-1]["content"][-1].isspace()
        return
    else:
        return  # transformers does not go on from nothing
    assert theirs == "<bos>" + joined(messages, prompt=True)


@settings(max_examples=300, deadline=None)
@given(talks)
def test_ollama_renders_the_parts_and_leaves_bos_to_the_runtime(
    ollama: Callable[..., str], messages: list[Message]
) -> None:
    assert ollama(OLLAMA_TEMPLATE, messages=messages) == joined(messages, prompt=True)
    assert "<bos>" not in OLLAMA_TEMPLATE


@given(talks)
def test_messages_of_one_role_in_a_row_are_one_turn(messages: list[Message]) -> None:
    turns = merged(messages)
    assert all(one["role"] != other["role"] for one, other in pairwise(turns))
    by_role = [(role, "\n\n".join(each["content"] for each in group)) for role, group in groupby(messages, _role)]
    assert [(turn["role"], turn["content"]) for turn in turns] == by_role
    assert joined(turns, prompt=True) == joined(messages, prompt=True)


def _role(message: Message) -> str:
    return message["role"]


@given(talks, st.booleans())
def test_only_the_last_answer_and_its_end_are_learnt_and_only_markers_are_special(
    messages: list[Message], prompt: bool
) -> None:
    parts = list(chat_parts(messages, prompt=prompt))
    turns = merged(messages)
    learnt = [turns[-1]["content"], "<|im_end|>"] if begun(messages) and not prompt else []
    assert [part.text for part in parts if part.learned] == learnt
    open_ended = prompt and begun(messages)
    markers = [part.text for part in parts if part.special]
    assert markers == (["<|im_start|>", "<|im_end|>"] * len(turns) + ["<|im_start|>"] * prompt)[: len(markers)]
    assert len(markers) == 2 * len(turns) + (-1 if open_ended else prompt)
    assert set(markers) <= set(CHAT_MARKERS)


@given(talks, st.booleans())
def test_between_two_markers_there_is_one_part_save_that_a_learnt_answer_stands_apart(
    messages: list[Message], prompt: bool
) -> None:
    """The runtimes encode what stands between two special tokens in one go, and a prompt ends before the answer."""
    parts = list(chat_parts(messages, prompt=prompt))
    for before, after in pairwise(parts):
        assert before.special or after.special or (before.text == "assistant\n" and after.learned)


@given(talks)
def test_every_answer_is_learnt_once_after_all_that_was_said_before(messages: list[Message]) -> None:
    found = list(answered(messages))
    answers = [turn["content"] for turn in merged(messages) if turn["role"] == "assistant"]
    assert [next(part.text for part in chat_parts(talk) if part.learned) for talk in found] == answers
    assert all(list(talk) == merged(messages)[: len(talk)] for talk in found)


@pytest.mark.parametrize("first", ["user", "assistant"])
def test_a_system_message_leads_unless_there_is_one(first: str) -> None:
    talk: list[Message] = [{"role": first, "content": "a"}, {"role": "assistant", "content": "b"}]
    led = with_system(talk, "Be short.")
    assert led == ({"role": "system", "content": "Be short."}, *talk)
    assert with_system(led, "Be long.") == led
    assert with_system(talk, "") == tuple(talk)
