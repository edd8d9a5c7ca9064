"""Instruction pairs: JSON Lines of conversations."""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Iterator
from typing import Any

from stages.corpus.documents import conversation_text
from stages.corpus.readers.part import Part, Unreadable, decoded, encodable

KNOWN_ROLES = ("system", "user", "assistant")
Conversation = tuple[dict[str, str], ...]


def read_pair_lines(data: bytes) -> Iterator[Part | Unreadable]:
    for pair in read_pairs(json_lines(decoded(data))):
        yield pair if isinstance(pair, Unreadable) else Part(conversation_text(pair), "pair", messages=pair)


def json_lines(text: str) -> Iterable[str]:
    """The lines of JSON Lines. `splitlines` would also cut at U+2028 and its like, which JSON leaves as they are."""
    return io.StringIO(text, newline="\n")


def read_pairs(lines: Iterable[str]) -> Iterator[Conversation | Unreadable]:
    """The conversation of each line, or why it has none.

    A line is `{"messages": [{"role", "content"}, …]}`, or has `prompt` or `instruction` with `response` or `output`;
    the `input` that may come with an instruction ends the question.
    Roles alternate after an optional system message, and the assistant has the last word.
    """
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            yield _conversation(json.loads(line))
        except json.JSONDecodeError as error:
            yield Unreadable(f"pair: line {number}: not JSON: {error.msg} at character {error.pos + 1}")
        except ValueError as error:
            yield Unreadable(f"pair: line {number}: {error}")
        except (KeyError, TypeError, AttributeError, RecursionError):
            yield Unreadable(f"pair: line {number}: not a conversation")


def _conversation(value: Any) -> Conversation:
    if "messages" not in value:
        prompt, answer = value.get("prompt", value.get("instruction")), value.get("response", value.get("output"))
        if prompt and value.get("input"):
            prompt = f"{prompt}\n\n{value['input']}"
        value = {"messages": [{"role": "user", "content": prompt}, {"role": "assistant", "content": answer}]}
    messages = tuple({"role": message["role"], "content": message["content"]} for message in value["messages"])
    for message in messages:
        if message["role"] not in KNOWN_ROLES:
            raise ValueError(f"unknown role {message['role']!r}")
        if not isinstance(message["content"], str) or not message["content"].strip():
            raise ValueError("an empty message")
        if not encodable(message["content"]):
            raise ValueError("half a surrogate pair")
    turns = messages[1:] if messages and messages[0]["role"] == "system" else messages
    if not turns or len(turns) % 2 or any(turn["role"] != KNOWN_ROLES[1 + i % 2] for i, turn in enumerate(turns)):
        raise ValueError("user and assistant have to take turns, the assistant last")
    return messages
