"""A model's own chat template, rendered as transformers and llama.cpp do, with what people say kept text."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from functools import cache
from typing import TYPE_CHECKING, Any

from pipeline.errors import UsageError
from stages.tokens.chat import Message
from stages.tokens.encoding import FIM_MARKERS

if TYPE_CHECKING:
    from jinja2 import Template
    from jinja2.sandbox import ImmutableSandboxedEnvironment

Render = Callable[[Sequence[Message], bool], str]  # messages, and whether the answer is to begin
Tokenize = Callable[[str, bool], list[int]]  # a text, and whether special tokens in it are meant
# What leads prefix, suffix and middle of a text with a gap: ours and StarCoder's; Qwen's and others'; DeepSeek's.
GAP_MARKERS = (
    FIM_MARKERS,
    ("<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>"),
    ("<｜fim▁begin｜>", "<｜fim▁hole｜>", "<｜fim▁end｜>"),
)
PRIVATE = range(0xF8F0, 0xF900)  # characters of no meaning (Unicode's private use area)


def chat_ids(
    messages: Sequence[Message], *, render: Render, tokenize: Tokenize, specials: Callable[[], Sequence[str]]
) -> list[int]:
    """Ids of a conversation up to where the model goes on: with its answer, or with one that was begun.

    A special token that someone says, such as `<|im_end|>`, stays text. Then, and only then, the rendered text is cut
    at the `specials` of the template and each stretch tokenised alone, which is what tokenizers do themselves; one
    that takes white space beside a special token for a part of it is not followed in that.

    Raises UsageError for a template that does not show an answer that was begun.
    """
    contents = [message["content"] for message in messages]
    goes_on = messages[-1]["role"] == "assistant"
    guard, end = unused("".join(contents))
    pattern = None
    if any(tokenize(content, True) != tokenize(content, False) for content in contents):
        pattern = re.compile(f"({'|'.join(map(re.escape, sorted(specials(), key=len, reverse=True)))})")
        contents = [guarded(content, pattern, guard) for content in contents]
    if goes_on:
        contents[-1] += end
    asked = [{**message, "content": content} for message, content in zip(messages, contents, strict=True)]
    text = render(asked, not goes_on)
    if goes_on:
        text, found, _ = text.rpartition(end)
        if not found:
            raise UsageError("the model's chat template shows no answer that was begun: it cannot go on with one")
    if pattern is None:
        return tokenize(text, True)
    ids: list[int] = []
    for place, part in enumerate(pattern.split(text)):
        ids += tokenize(part.replace(guard, ""), place % 2 == 1) if part else []
    return ids


def unused(text: str) -> tuple[str, str]:
    """Two characters that are not in a text."""
    free = [character for character in map(chr, PRIVATE) if character not in text]
    if len(free) < 2:
        raise UsageError(f"a conversation with all of U+{PRIVATE[0]:X} to U+{PRIVATE[-1]:X} cannot be told to a model")
    return free[0], free[1]


def guarded(text: str, pattern: re.Pattern[str], guard: str) -> str:
    """A text in which each special token is broken by `guard`."""
    while (broken := pattern.sub(lambda found: found[0][0] + guard + found[0][1:], text)) != text:
        text = broken
    return text


def renderer(template: str, *, bos: str, eos: str, name: str) -> Render:
    """A function that renders conversations by a template in Jinja.

    In an environment that reaches neither files nor Python's objects. UsageError with the template's own words, or
    Jinja's, where it refuses a conversation.
    """

    @cache
    def compiled() -> Template:
        return _environment().from_string(template)

    def render(messages: Sequence[Message], begin: bool) -> str:
        from jinja2 import TemplateError

        given: Mapping[str, Any] = {
            "messages": messages, "add_generation_prompt": begin, "bos_token": bos, "eos_token": eos,
            "tools": None, "documents": None,
        }  # fmt: skip
        try:
            return compiled().render(given)
        except (TemplateError, TypeError, ValueError, KeyError, AttributeError, ArithmeticError, LookupError) as error:
            raise UsageError(f"{name}: its chat template refuses the conversation: {error}") from None

    return render


@cache
def _environment() -> ImmutableSandboxedEnvironment:
    """Jinja as transformers sets it up for chat templates (huggingface.co/docs/transformers, chat_templating)."""
    from jinja2 import TemplateError, nodes
    from jinja2.ext import Extension, loopcontrols
    from jinja2.parser import Parser
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    class Generation(Extension):
        """`{% generation %}` marks answers for training; here it says nothing."""

        tags = {"generation"}  # noqa: RUF012

        def parse(self, parser: Parser) -> nodes.Node | list[nodes.Node]:
            next(parser.stream)
            return parser.parse_statements(("name:endgeneration",), drop_needle=True)

    def raise_exception(message: str) -> None:
        raise TemplateError(message)

    def tojson(value: Any, indent: int | None = None, ensure_ascii: bool = False, **options: Any) -> str:
        return json.dumps(value, indent=indent, ensure_ascii=ensure_ascii, **options)

    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, loopcontrols]
    )
    environment.filters["tojson"] = tojson
    environment.globals["raise_exception"] = raise_exception
    environment.globals["strftime_now"] = lambda form: datetime.now().astimezone().strftime(form)
    return environment
