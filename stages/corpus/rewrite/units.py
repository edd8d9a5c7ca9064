"""Other units and other constants that keep a program true to its comments and to the question it answers."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence

from stages.corpus.rewrite.quantities import other_address, other_frequency, other_threshold
from stages.corpus.rewrite.spelling import other_units
from stages.corpus.rewrite.texts import Doubt, edited, read
from stages.corpus.rewrite.timing import scaled_times

_CHANGES = (scaled_times, other_frequency, other_address, other_threshold, other_units)


def change_units(texts: Sequence[str], rng: random.Random) -> list[str] | None:
    """Texts that belong together with another speed, frequency, address, limit or unit; None where all may be wrong.

    Each change is made on the result of the one before, and only where it can be made in code and words alike.
    """
    changed = list(texts)
    for change in _CHANGES:
        try:
            code, words = read(changed)
            if code:
                changed = edited(changed, change(code, words, rng))
        except (Doubt, RecursionError):
            continue
    return changed if changed != list(texts) else None


def change_units_in_messages(messages: Sequence[Mapping[str, str]], rng: random.Random) -> list[dict[str, str]] | None:
    """The same for a conversation, so that question, comments and code agree; all but `content` is kept."""
    changed = change_units([message["content"] for message in messages], rng)
    if changed is None:
        return None
    return [{**message, "content": content} for message, content in zip(messages, changed, strict=True)]
