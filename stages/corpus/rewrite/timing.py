"""A program that does the same at another speed: every time in it and in the words about it, scaled alike.

Since all lengths of time and all rates change by one factor, whatever the words say of how they hang together (a pause
of 250 ms makes an LED blink twice a second) stays true. Programs with anything else that has a time of its own, such
as a bus, a sensor or a network, are left alone.
"""

from __future__ import annotations

import ast
import random
import re
import tokenize
from collections.abc import Sequence
from fractions import Fraction

from stages.corpus.rewrite.bindings import last_name
from stages.corpus.rewrite.follow import Numbers
from stages.corpus.rewrite.synonyms import word_set, words_of
from stages.corpus.rewrite.texts import Code, Doubt, Edit, Words
from stages.corpus.rewrite.timewords import mentions_of_time

FACTORS = tuple(
    Fraction(*parts) for parts in ((2, 1), (1, 2), (4, 1), (1, 4), (5, 1), (1, 5), (3, 1), (3, 2), (10, 1), (1, 10))
)
_OWN_TIME = re.compile(
    r"\b(?:I2C|SPI|UART|CAN|I2S|SoftI2C|SoftSPI|onewire|ds18x20|dht\w*|network|socket|u?requests|ntptime|WDT|RTC|rp2|PIO"
    r"|StateMachine|bluetooth|espnow|time_pulse_us|bitstream|irq|ticks_us|ticks_cpu|sleep_us|time_ns|gmtime|localtime"
    r"|mktime|convert_temp|measure|wait_for|wait_for_ms|micropython|hx711|stepper|servo|ir_rx|timeout|run_in_executor)\b"
    r"|\btime\.time\b|\bfrom u?time import [^\n]*\btime\b|@asm|ADC\.|duty_ns",
    re.IGNORECASE,
)
_SECONDS = re.compile(r"(?:u?time\.|u?asyncio\.)?sleep")
_MILLISECONDS = re.compile(r"(?:u?time\.|u?asyncio\.)?sleep_ms|(?:machine\.)?(?:light|deep)sleep")
_TIME_WORDS = word_set(
    "delay period interval pause wait duration timeout seconds secs sec ms s minutes hours hold rate bpm tempo fps time"
)
_TIMED_NAME = re.compile(r"\w*\d+_?(?:ms|s|secs?|seconds?|hz)(?:_\w*)?", re.IGNORECASE)


def scaled_times(code: Sequence[Code], words: Sequence[Words], rng: random.Random) -> list[Edit]:
    """Edits that make all that happens slower or faster by one factor. Raises Doubt where that may not stay true."""
    if any(_OWN_TIME.search(part.content) for part in code):
        raise Doubt("something that has a time of its own")
    numbers = Numbers(code)
    for part in code:
        _enter_times(numbers, part)
        for token in part.tokens():
            if token.type == tokenize.NAME and _TIMED_NAME.fullmatch(token.string):
                raise Doubt("a name that holds a time")
    if not numbers.found:
        raise Doubt("no time in the code")
    numbers.refuse_other_uses()
    for name, value in numbers.known.described:
        number = value.value if isinstance(value, ast.Constant) else None
        says_time = number and isinstance(number, int | float) and _TIME_WORDS & set(words_of(name))
        if says_time and id(value) not in numbers.found:
            raise Doubt("a time that is used in another way")
    mentioned = [mention for span in words for mention in mentions_of_time(span)]
    if any(mention.form == "hertz" for mention in mentioned) and any("freq" in part.content for part in code):
        raise Doubt("a frequency that may be no rate of this program")
    _refuse_bare_numbers(numbers, words, [mention.match for mention in mentioned])
    for factor in rng.sample(FACTORS, len(FACTORS)):
        try:
            edits = [mention.scaled(factor) for mention in mentioned]
            return edits + [_scaled(*each, factor) for each in numbers.found.values() if each[1].value]
        except Doubt:
            continue
    raise Doubt("no factor that gives round numbers")


def _enter_times(numbers: Numbers, code: Code) -> None:
    measured = set()
    for node in ast.walk(code.tree):
        match node:
            case ast.Call(func=function, args=[given]) if _SECONDS.fullmatch(code.source(function)):
                numbers.enter(given, "s")
            case ast.Call(func=function, args=[given]) if _MILLISECONDS.fullmatch(code.source(function)):
                numbers.enter(given, "ms")
            case ast.Call(func=function, args=[_, given]) if last_name(function) == "ticks_add":
                numbers.enter(given, "ms")
            case ast.Compare(left=left, comparators=[right]):
                for one, other in ((left, right), (right, left)):
                    if isinstance(one, ast.Call) and last_name(one.func) == "ticks_diff":
                        measured.add(id(one))
                        numbers.enter(other, "ms")
            case ast.Call(keywords=keywords) if "Timer" in code.content and last_name(node.func) in ("Timer", "init"):
                for keyword in keywords:
                    if keyword.arg in ("period", "freq"):
                        numbers.enter(keyword.value, "ms" if keyword.arg == "period" else "Hz")
        if isinstance(node, ast.Call) and re.search(r"sleep", code.source(node.func)) and len(node.args) != 1:
            raise Doubt("a pause that is not understood")
    for node in ast.walk(code.tree):
        if isinstance(node, ast.Call) and last_name(node.func) == "ticks_diff" and id(node) not in measured:
            raise Doubt("a time that is computed with")


def _refuse_bare_numbers(numbers: Numbers, words: Sequence[Words], mentioned: Sequence[re.Match[str]]) -> None:
    """A number of the code without its unit in the words may be that time."""
    known = {_plain(str(node.value)) for _, node, _ in numbers.found.values()} - {"0"}
    inside = [(match.string, match.span()) for match in mentioned]
    for span in words:
        for match in re.finditer(r"(?<![\w.])\d[\d_]*(?:\.\d+)?(?![\w.]\d)", span.content):
            own = any(text is span.content and a <= match.start() < b for text, (a, b) in inside)
            if not own and span.kind != "string" and _plain(match[0]) in known:
                raise Doubt(f"a number that may be a time: {match[0]}")


def _plain(number: str) -> str:
    number = number.replace("_", "")
    return number.rstrip("0").rstrip(".") if "." in number else number


def _scaled(code: Code, node: ast.Constant, unit: str, factor: Fraction) -> Edit:
    before = Fraction(str(node.value))
    after = before / factor if unit == "Hz" else before * factor
    milliseconds = 1000 / after if unit == "Hz" else after * (1000 if unit == "s" else 1)
    old = milliseconds / factor
    if milliseconds < 5 or (old >= 50 > milliseconds) or (old < 50 and not Fraction(1, 2) <= factor <= 2):
        raise Doubt("too fast or too slow for what it is")
    if (milliseconds > 120_000 and milliseconds > old) or len(_digits(after)) > max(2, len(_digits(before))):
        raise Doubt("a number that nobody would write")
    if unit != "s" and after.denominator != 1:
        raise Doubt("milliseconds that are not whole")
    return Edit(code.text, *code.span(node), _written(after, code.source(node)))


def _digits(value: Fraction) -> str:
    """The digits that matter: `25` of 0.25 and of 2500; many where there is no end to them."""
    if (value * 10**6).denominator != 1:
        return "0" * 9
    return str(int(value * 10**6)).strip("0")


def _written(value: Fraction, before: str) -> str:
    if value.denominator != 1:
        return f"{float(value):.6f}".rstrip("0")
    return f"{int(value):_}" if "_" in before else str(int(value))
