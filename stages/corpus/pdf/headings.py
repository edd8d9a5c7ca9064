"""Headings: what tells them from text, the labels that look like them, and their levels."""

from __future__ import annotations

import re
from collections.abc import Sequence

from stages.corpus.pdf.texts import Body, Text
from stages.corpus.pdf.words import WORD

LARGER = 1.12  # times the size of the running text: a heading by its size alone
MAX_LINES = 4
MAX_CHARS = 200
NUMBERED = re.compile(r"(?:\d+(?:\.\d+)+\.?|[A-Z]\.\d+(?:\.\d+)*\.?|Appendix [A-Z]\b.?)\s")
ADMONITION = re.compile(
    r"(?:note|notes|tip|hint|warning|caution|important|attention|danger|error|see also|todo)\W*", re.IGNORECASE
)
CAPTION = re.compile(
    r"(?:figure|fig\.|table|listing|example|algorithm|program|code)\s+(?:[A-Z]\.?)?\d+(?:[.\u2013-]\d+)*\s*(?:[.:\u2014\u2013-]|\s|$)",
    re.IGNORECASE,
)
NUMBERS = (
    "one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|thirteen|fourteen|fifteen|sixteen|seventeen"
    r"|eighteen|nineteen|twenty(?:[- ]\w+)?|\d+"
)
LABEL = re.compile(rf"(?:chapter|part|appendix)(?: (?:{NUMBERS}|[ivxlc]+|[a-z]))?|{NUMBERS}", re.IGNORECASE)


def is_heading(group: Sequence[Text], joined: str, body: Body, clear: bool) -> bool:
    """Whether the lines of a paragraph are a heading; `clear` tells that room was left above them."""
    first = group[0]
    if len(group) > MAX_LINES or len(joined) > MAX_CHARS or not WORD.search(joined) or CAPTION.match(joined):
        return False
    if first.size >= LARGER * body.size:
        return True
    return (
        first.bold
        and clear
        and (first.size >= 0.98 * body.size or NUMBERED.match(joined) is not None)
        and len(group) <= 2
        and first.marker != "-"
        and joined[-1] not in ".,;:"
        and not ADMONITION.fullmatch(joined)
    )


def is_label(text: str) -> bool:
    """Whether a heading says only that a chapter begins: "Chapter", "SIX", "Part II"."""
    return LABEL.fullmatch(text) is not None


def levels(looks: set[tuple[float, bool]]) -> dict[tuple[float, bool], int]:
    """The level of headings by size and weight: the largest first, of one size bold before regular; six at most."""
    ranks: dict[tuple[float, bool], int] = {}
    rank, previous = 0, None
    for look in sorted(looks, reverse=True):
        if previous is None or previous[0] - look[0] > 0.3 or previous[1] != look[1]:
            rank += 1
        ranks[look] = min(rank, 6)
        previous = look
    return ranks
