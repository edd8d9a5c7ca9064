"""What a reader gives: the parts of a file that become documents, and the reasons for what it leaves out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from stages.corpus.documents import Kind, Message


class Unreadable(Exception):
    """A file or a piece of one that gives no document; the message is the reason, a word before the colon to count."""


@dataclass(frozen=True)
class Part:
    """One text of a file. `license` is the SPDX expression that the text itself states, if it does."""

    text: str
    kind: Kind
    meta: Mapping[str, Any] = field(default_factory=dict)
    messages: tuple[Message, ...] = ()
    license: str | None = None


Reader = Callable[[bytes], Iterator[Part | Unreadable]]


def decoded(data: bytes) -> str:
    """UTF-8 text, with or without a byte order mark, its lines ended by a line feed; raises Unreadable."""
    refuse_binary(data)
    try:
        return with_line_feeds(data.decode("utf-8-sig"))
    except UnicodeDecodeError:
        raise Unreadable("encoding: not UTF-8") from None


def refuse_binary(data: bytes) -> None:
    """Raise Unreadable for nothing at all and for bytes that no text has."""
    if not data:
        raise Unreadable("empty")
    if b"\0" in data:
        raise Unreadable("binary: it has zero bytes")


def with_line_feeds(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n")


def names(text: str) -> frozenset[str]:
    """The words of a text, as a set."""
    return frozenset(text.split())


def encodable(text: str) -> bool:
    """Whether a text can be written as UTF-8: JSON's `\\ud800` alone cannot."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
