"""Solutions that belong together: a reference, and the wrong one as what is different in it."""

from __future__ import annotations

from typing import TypedDict


class Solutions(TypedDict):
    reference: str
    wrong: str


def differ(reference: str, *changes: tuple[str, str]) -> Solutions:
    """Both solutions; each change is (a piece that occurs once in the reference, what stands there instead)."""
    wrong = reference
    for right, mistaken in changes:
        if wrong.count(right) != 1:
            raise ValueError(f"{right!r} occurs {wrong.count(right)} times")
        wrong = wrong.replace(right, mistaken)
    return Solutions(reference=reference, wrong=wrong)
