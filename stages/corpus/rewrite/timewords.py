"""How words speak of time (`0.5 s`, `half a second`, `every two minutes`, `twice a second`), and how to say another."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

from stages.corpus.rewrite.texts import Doubt, Edit, Words

_NUMBERS = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")
_VALUES = {word: number for number, word in enumerate(_NUMBERS, 1)} | {
    "fifteen": 15, "twenty": 20, "thirty": 30, "forty": 40, "fifty": 50, "sixty": 60,
}  # fmt: skip
_NUMBER = rf"(?P<number>\d+(?:\.\d+)?|{'|'.join(_VALUES)})"
_UNIT = r"(?P<unit>milliseconds?|ms|seconds?|secs?|s|minutes?|mins?|hours?)"
_WHOLE = r"(?P<unit>second|minute|hour)"
_FORMS: tuple[tuple[str, re.Pattern[str]], ...] = tuple(
    (name, re.compile(rf"(?<![\w.]){pattern}(?!\w)(?!\.\d)", re.IGNORECASE))
    for name, pattern in (
        ("rate", rf"(?:(?P<often>once|twice)|{_NUMBER} times) (?:a|per|every|each) {_WHOLE}"),
        ("hertz", rf"{_NUMBER} ?Hz"),
        ("every", rf"(?P<word>every|each) (?:{_NUMBER} |(?P<half>half (?:an? )?))?{_UNIT}"),
        ("half", rf"half an? {_WHOLE}"),
        ("length", rf"{_NUMBER}(?P<gap>[ -]?){_UNIT}"),
    )
)
# What may speak of time in another way, or would no longer be true of a slower or faster program.
_OTHER_TIME = re.compile(
    r"(?<!\w)(?:m?s|secs?|seconds?|minutes?|mins?|hours?|days?|daily|hourly|weeks?|millis\w*|micro(?:s|seconds?)|[µu]s"
    r"|[kM]?Hz|hertz|fps|bpm|rpm|tempo|baud|fast\w*|slow\w*|quick\w*|rapid\w*|short\w*|long\w*|brief\w*|moments?|instant\w*"
    r"|\w*bounc\w*|frequen\w*|speed\w*|smooth\w*|flicker\w*|half|quarter|per|immediately|timeout|beats?)(?!\w)",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Mention:
    """A length of time, or how often something happens, in words; `form` says how it is put."""

    words: Words
    match: re.Match[str]
    form: str

    def scaled(self, factor: Fraction) -> Edit:
        """The same with every length of time `factor` times as long. Raises Doubt where it cannot be said well."""
        start = self.words.start + self.match.start()
        new = getattr(self, f"_{self.form}")(factor)
        if self.match[0][0].isupper():
            new = new[0].upper() + new[1:]
        return Edit(self.words.text, start, start + len(self.match[0]), new)

    def _rate(self, factor: Fraction) -> str:
        often, unit = self.match["often"], self.match["unit"].lower()
        rate = Fraction({"once": 1, "twice": 2}[often.lower()] if often else _value(self.match["number"])) / factor
        joint = re.search(r" (a|per|every|each) \w+$", self.match[0])
        between = joint[1] if joint else "a"
        if rate.denominator == 1:
            count = int(rate)
            words = {1: "once", 2: "twice"}.get(count) or f"{self._like(count)} times"
            return f"{words} {between} {unit}"
        if rate.numerator == 1:
            return f"once every {_word(rate.denominator)} {unit}s"
        raise Doubt("a rate that is not whole")

    def _hertz(self, factor: Fraction) -> str:
        rate = _value(self.match["number"]) / factor
        return f"{_decimal(rate)}{self.match[0][len(self.match['number']) :]}"

    def _every(self, factor: Fraction) -> str:
        word, unit = self.match["word"], self.match["unit"]
        before = Fraction(1, 2) if self.match["half"] else _value(self.match["number"] or "1")
        value = before * factor
        single = _singular(unit)
        if value == 1 and single in ("second", "minute", "hour"):
            return f"{word} {single}"
        return f"{word} {self._like(value)} {_agreeing(unit, value)}"

    def _half(self, factor: Fraction) -> str:
        value, unit = factor / 2, self.match["unit"]
        if value == 1:
            return f"{'an' if unit == 'hour' else 'a'} {unit}"
        if value == Fraction(1, 4):
            return f"a quarter of a{'n' if unit == 'hour' else ''} {unit}"
        return f"{_word(value)} {unit}s"

    def _length(self, factor: Fraction) -> str:
        gap, unit = self.match["gap"], self.match["unit"]
        value = _value(self.match["number"]) * factor
        return f"{self._like(value)}{gap}{unit if gap == '-' else _agreeing(unit, value)}"

    def _like(self, value: Fraction | int) -> str:
        """A number as a word where it was one before or none, else in digits."""
        number = self.match["number"]
        return _decimal(Fraction(value)) if number and number[0].isdigit() else _word(Fraction(value))


def mentions_of_time(words: Words) -> Iterator[Mention]:
    """Every mention of a time. Raises Doubt where the words speak of time in a way that is not understood."""
    rest = words.content
    for form, pattern in _FORMS:
        for match in pattern.finditer(rest):
            yield Mention(words, match, form)
        rest = pattern.sub(lambda match: "#" * len(match[0]), rest)
    if other := _OTHER_TIME.search(rest):
        raise Doubt(f"words about time: {other[0]}")


def _value(number: str) -> Fraction:
    return Fraction(_VALUES.get(number.lower(), 0)) or Fraction(number)


def _word(value: Fraction | int) -> str:
    return _NUMBERS[int(value) - 1] if value in range(1, 13) else _decimal(Fraction(value))


def _decimal(value: Fraction) -> str:
    """In digits, with at most two decimals."""
    if (value * 100).denominator != 1:
        raise Doubt("a number of many digits")
    return f"{float(value):.2f}".rstrip("0").rstrip(".")


def _singular(unit: str) -> str:
    return unit if unit.lower() in ("s", "ms") else unit.removesuffix("s")


def _agreeing(unit: str, value: Fraction) -> str:
    """`second` or `seconds`."""
    return unit if unit.lower() in ("s", "ms") else _singular(unit) + ("" if value == 1 else "s")
