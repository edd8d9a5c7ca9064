"""Values of manifests, which may be of any shape, as numbers and as texts that can be shown."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Iterable, Mapping
from html import escape
from typing import Any

from pipeline.console import duration, size

LINE = 120  # characters of a name or value in a table
TEXT = 4000  # characters of a text that somebody or something wrote
ALL_TEXTS, ALL_VALUES = 300_000, 200_000  # bytes of such texts, and of values, on one page
_HIDDEN = frozenset({"Cc", "Cf", "Cs", "Co", "Zl", "Zp"})
_RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
_PREFIXES = ((1e12, " T"), (1e9, " G"), (1e6, " M"), (1e3, " k"))
Object = Mapping[str, Any]


def number(value: object) -> float | None:
    """A finite number, or None for whatever else it is."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        found = float(value)
    except OverflowError:
        return None
    return found if math.isfinite(found) else None


def mapping(value: object) -> Object:
    return value if isinstance(value, dict) else {}


def rows(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def dig(value: object, *path: str) -> Any:
    """What lies at a path of keys; None where nothing does."""
    for key in path:
        value = mapping(value).get(key)
    return value


def counts(value: object) -> list[tuple[str, float]]:
    """The positive numbers of an object, largest first."""
    found = [(str(key), amount) for key, each in mapping(value).items() if (amount := number(each)) and amount > 0]
    return sorted(found, key=lambda pair: (-pair[1], pair[0]))


def total(value: object) -> float:
    return sum(amount for _, amount in counts(value))


def points(xs: object, ys: object) -> list[tuple[float, float]]:
    """The pairs of two lists in which both are numbers, in the order of the first."""
    pairs = zip(rows(xs), rows(ys), strict=False)
    found = [
        (x, y) for first, second in pairs if (x := number(first)) is not None and (y := number(second)) is not None
    ]
    return sorted(found)


def column(value: object, place: int) -> list[tuple[float, float]]:
    """Of rows that begin with a step: each step with the number at a place."""
    wide = [row for row in rows(value) if isinstance(row, list) and len(row) > place]
    return points([row[0] for row in wide], [row[place] for row in wide])


# -- texts -------------------------------------------------------------------------------------------------------------


def shown(text: object, most: int = TEXT) -> str:
    """A text whose controls, marks of direction and other invisible characters can be seen, cut after `most`."""
    whole = text if isinstance(text, str) else "" if text is None else str(text)
    cut = whole[:most]
    seen = "".join(_seen(letter) for letter in cut.replace("\r\n", "\n"))
    return seen if len(cut) == len(whole) else f"{seen} … and {len(whole) - most:,} more characters"


def line(text: object, most: int = LINE) -> str:
    """The same on one line, cut in its middle."""
    whole = str(text)
    if len(whole) > most:
        head = (most - 1) * 2 // 3
        whole = f"{whole[:head]}…{whole[-(most - 1 - head) :]}"
    return " ".join("".join(_seen(letter) if letter not in "\n\t" else " " for letter in whole).split())


def _seen(letter: str) -> str:
    if letter in "\n\t" or (letter.isascii() and letter.isprintable()):
        return letter
    code = ord(letter)
    hidden = unicodedata.category(letter) in _HIDDEN or code & 0xFFFE == 0xFFFE or 0xFDD0 <= code <= 0xFDEF
    return f"⟨U+{code:04X}⟩" if hidden else letter


class Room:
    """What is left on the page for texts of others, in bytes: however many there are, the page stays small."""

    def __init__(self, left: int = ALL_TEXTS) -> None:
        self.left = left

    def text(self, text: object, most: int = TEXT) -> str:
        return self._fitting(shown(text, most), shown(text, 60))

    def line(self, text: object, most: int = LINE) -> str:
        return self._fitting(line(text, most), line(text, 40))

    def _fitting(self, whole: str, cut: str) -> str:
        fits = whole if len(escape(whole).encode()) <= self.left else cut
        self.left = max(self.left - len(escape(fits).encode()), 0)
        return fits


# -- numbers -----------------------------------------------------------------------------------------------------------


def power(value: float) -> str:
    """3.2×10⁻⁵."""
    digits, _, exponent = f"{value:.2e}".partition("e")
    digits = digits.rstrip("0").rstrip(".")
    return f"{digits}×10{str(int(exponent)).translate(_RAISED)}"


def count(value: float | None) -> str:
    """1,234,567; from a thousand million on rounded, with the prefix."""
    if value is None:
        return ""
    if abs(value) >= 1e15:
        return power(value)
    return f"{value:,.0f}" if abs(value) < 1e9 else short(value)


def short(value: float) -> str:
    """12,345 as 12.3 k."""
    if abs(value) >= 1e15:
        return power(value)
    for least, prefix in _PREFIXES:
        if abs(value) >= least:
            return f"{value / least:.{2 if abs(value) < 10 * least else 1 if abs(value) < 100 * least else 0}f}{prefix}"
    return f"{value:,.0f}"


def share(value: float | None) -> str:
    """A part of one in percent: 0.42 %, 4.2 %, 42.1 %."""
    if value is None:
        return ""
    percent = value * 100
    if abs(percent) >= 1e6:
        return f"{power(percent)} %"
    if abs(percent) < 0.995:  # 0 % too
        return f"{percent:.2g} %"
    return f"{percent:.1f} %" if abs(percent) < 99.95 else f"{percent:,.0f} %"


def plain(value: float | None, places: int = 3) -> str:
    """A number as it is read best: 0.000226, 3.794, 44.4, 12,345."""
    if value is None:
        return ""
    if value == 0:
        return "0"
    if abs(value) >= 1e6 or abs(value) < 1e-4:
        return power(value)
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    if abs(value) < 0.1:
        return f"{value:.{places}g}"
    return f"{value:.{places if abs(value) < 10 else max(places - 1, 1) if abs(value) < 100 else 1}f}"


def weight(value: float | None) -> str:
    """Bytes."""
    if value is None:
        return ""
    return size(value) if abs(value) < 1e18 else f"{power(value)} B"


def time(value: float | None) -> str:
    """Seconds."""
    if value is None:
        return ""
    return duration(value) if 0 <= value < 1e9 else f"{power(value)} s"


def plural(amount: float, word: str, many: str = "") -> str:
    return f"{count(amount)} {word if amount == 1 else many or word + 's'}"


def listed(words: Iterable[str]) -> str:
    """a, b and c."""
    *most, last = words
    return f"{', '.join(most)} and {last}" if most else last
