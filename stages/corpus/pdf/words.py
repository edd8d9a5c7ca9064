"""Lines joined to running text: words broken at a line's end are made whole by the words of the document."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence

from stages.corpus.pdf.chars import HYPHENS, INVISIBLE, LIGATURES, UNKNOWN

WORD = re.compile(r"[^\W\d_]+(?:['\u2019][^\W\d_]+)?")
COMPOUND = r"[^\W_]+(?:[-'\u2010\u2019][^\W_]+)*"
LOST = re.compile(rf"[^\W\d_]*{UNKNOWN}[^\W\d_]*")
LOST_LIGATURES = ("ff", "ffi", "ffl", "fi", "fl", "tt", "ti", "ft")  # in this order where the document does not tell


def vocabulary(lines: Iterable[str]) -> Counter[str]:
    """The words of the document, and its words with a hyphen, as they stand within lines, in lower case."""
    words: Counter[str] = Counter()
    broken = False
    for line in lines:
        parts = re.findall(COMPOUND, line.lower())
        parts = parts[1:] if broken else parts
        broken = line[-1] in HYPHENS
        parts = parts[:-1] if broken else parts
        words.update(part.replace("\u2010", "-") for part in parts)
        words.update(word for part in parts for word in WORD.findall(part) if word != part)
    return words


def join_lines(lines: Sequence[str], words: Counter[str]) -> str:
    parts: list[str] = []
    for line in lines:
        if parts:
            parts[-1], line = _joint(parts[-1], line, words)
        parts.append(line)
    text = "".join(parts).translate(INVISIBLE).translate(LIGATURES)
    return LOST.sub(lambda match: _with_ligature(match[0], words), text) if UNKNOWN in text else text


def _joint(above: str, below: str, words: Counter[str]) -> tuple[str, str]:
    """Two lines that follow each other, changed so that they can be put together without anything between them."""
    if above.endswith("`") and below.startswith("`"):
        return above[:-1], ("" if above[-2:-1] in HYPHENS else " ") + below[1:]
    if above[-1:] not in HYPHENS or len(above) < 2 or not above[-2].isalpha() or not below[:1].isalpha():
        return above, f" {below}"
    head = (re.findall(COMPOUND + "$", above[:-1]) or [""])[0].lower()
    tail = (re.findall("^" + COMPOUND, below) or [""])[0].lower()
    return above[:-1], below if _is_broken_word(head, tail, words) else f"-{below}"


def _is_broken_word(head: str, tail: str, words: Counter[str]) -> bool:
    """Whether a hyphen at a line's end is only there for the line's end."""
    joined, hyphened = words[head + tail], words[f"{head}-{tail}"]
    if joined or hyphened:
        return joined >= hyphened
    if not tail.islower():
        return False
    return not (words[head] > 1 and words[tail] > 1 and len(head) > 2 and len(tail) > 2)


def _with_ligature(word: str, words: Counter[str]) -> str:
    """A word whose ligature has no character in the PDF: the ligature is the one that makes a word of the document.

    Where none does, the letters after it tell: before a consonant English has ffi or ffl (difficult, shuffle), else ff.
    """
    if len(word) < 2 or word.count(UNKNOWN) > 1:
        return word
    options = [word.replace(UNKNOWN, ligature) for ligature in LOST_LIGATURES]
    known = max(options, key=lambda option: words[option.lower()])
    if words[known.lower()]:
        return known
    after = word.partition(UNKNOWN)[2][:1]
    return (
        options[1]
        if after in ("c", "x", "n")
        else options[2]
        if after == "e" and word[-2:] == UNKNOWN + "e"
        else options[0]
    )
