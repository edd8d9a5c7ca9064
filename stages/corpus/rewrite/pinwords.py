"""How prose, comments and strings speak of pins: `GP15`, `GPIO 15`, `pins 14 and 15`, quoted code.

Also what in them forbids a change: facts about pins, other parts' pins, and numbers that may mean a pin.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass

from stages.corpus.rewrite.pinflow import is_pin_name
from stages.corpus.rewrite.synonyms import word_set
from stages.corpus.rewrite.texts import Doubt, Words

_UNIT = (
    r"[\s-]?(?:[mµun]?s|sec|seconds?|minutes?|mins?|hours?|days?|times?|[kMG]?Hz|[mk]?V|volts?|m?A|%|percent"
    r"|°|degrees?|C|k?ohms?|k|Ω|[nµup]F|bits?|bytes?|[KMk]i?B|[cm]?m|rpm|x|px|baud|(?:RGB )?(?:LED|led)s?"
    r"|(?:neo)?pixels?|samples?|readings?|values?|steps?|lines?|char(?:acter)?s?|digits?|levels?|channels?"
    r"|buttons?|words?|entries|items?|rows?|columns?|cycles?|measurements?|retries|attempts?|tries|pulses?"
    r"|notes?|beats?|packets?|files?|messages?|numbers?|points?|colou?rs?|devices?|sensors?|boards?|servos?"
    r"|motors?|relays?|clients?|blocks?|registers?|dots?|elements?|turns)\b"
)
_PLAIN = r"\d{1,2}(?![\w%°]|\.\d)"
_NUMBER = rf"{_PLAIN}(?!{_UNIT})"
_GPIO = r"(?i:GPIO[ #_-]?|GP ?)"
_LINE = r"(?i:SDA|SCL|SCK|CLK|MOSI|MISO|CS|DC|RST|TX|RX|DIN|DOUT)(?:[ =]| ?[:=] )"
_MENTION = re.compile(
    rf"(?<![\w/-])(?:(?:{_GPIO}|IO(?=\d)){_PLAIN}"
    rf"|(?:{_LINE}(?:{_GPIO}|pin )?|(?i:pins?)(?: numbers?| no\.?)?(?: GPIO| GP)?[ #:]{{0,2}}){_NUMBER})"
    rf"(?:(?:,? (?:and|or|&) |, ?|/)(?:(?:{_GPIO}|pin ){_PLAIN}|{_NUMBER}))*"
)
_ON = re.compile(rf"\bon (?P<number>{_NUMBER})")
_CALL = re.compile(r"(?<!\w)(?P<name>Pin|PWM|ADC)\(\s*(?:Pin\(\s*)?(?P<number>\d{1,2})\b(?!\.)")
_ASSIGNED = re.compile(r"(?<![\w.])(?P<name>\w+) ?= ?(?:const\()?(?P<number>\d{1,2})\b(?!\.)")
_URL = re.compile(r"https?://\S+|\b[\w-]+\.(?:com|org|io|net)/\S+")
_BARE = re.compile(r"(?<![\w.#$])(?<!\d,)(?<!\w-)(\d{1,2})(?![\w%°]|[.,:]\d)")

_RANGE = re.compile(
    rf"(?<![\w/-])(?P<mark>{_GPIO}|(?i:pins?) )(?P<first>\d{{1,2}})(?P<sign> ?(?:-|–|\.\.+) ?| through | to )"
    rf"(?P<again>{_GPIO})?(?P<last>{_NUMBER})"
)
# What a text says about pins as such does not hold for others.
_FACTS = re.compile(
    r"\bslices?\b|strapping|input[- ]only|\bdefaults?\b[^.\n]{0,20}\bpins?\b|pins? (?:can|may) "
    r"|(?:ADC|PWM) pins|(?:which|any|all|other|free) (?:GPIO|pin)|pinout|physical|header pin"
    r"|pin numbers? (?:is|are)",
    re.IGNORECASE,
)
_PROPERTY = re.compile(
    rf"(?:{_GPIO}|\b[Pp]ins? )\d+(?:(?:, | and | or |/){_GPIO}?\d+)* "
    r"(?:is|are|has|have|belongs?|can|can't|cannot|supports?|works?|shares?|does|do|only)\b"
    r"(?! (?:not )?(?:pressed|released|high|low|on|off|connected|wired|driven|pulled|toggled|touched|held"
    r"|down|up|open|closed|active|grounded|read|set|changed|triggered|used|shorted|tied|true|false|not)\b)"
)
_OTHERS_PIN = re.compile(
    r"\b[Pp]ins? \d+ (?:of|on) (?!(?:the |your |an? )?(?:Raspberry|Pico|ESP|board|microcontroller))"
    r"|(?i:\b(?:sensor|module|display|chip|connector|driver|DHT\d+|LCD|OLED|IC)(?:'s)? pin \d)"
)
# Code outside of fences, which is not followed.
_UNFENCED = re.compile(
    r"^(?:>>> |\.\.\. )?[ \t]*(?:(?:import \w+|from \w+ import [\w, ]+)$|def \w+\("
    r"|\w+ = (?:\w+\.)?(?:Pin|PWM|ADC|I2C|SPI|UART)\()",
    re.MULTILINE,
)
# After these words a bare number is no pin: "step 3", "every 5". After others it may be one: "rows 2".
_NO_PIN_AFTER = word_set(
    "step channel line level slot phase version python pico core timer uart i2c spi bus number figure"
    " chapter page row column state day hour example part task every for after last first next about"
    " least most up only value values returns gives uart0 uart1 i2c0 i2c1 spi0 spi1 exactly roughly wait"
    " waits reads"
)
_LOOSELY_NAMED = re.compile(r"(?:GPIO|GP|pins?)[ #_:-]{0,2}(\d{1,2})(?!\d)", re.IGNORECASE)
_WORD_BEFORE = re.compile(r"([A-Za-z]\w*) $")
_LIST_ITEM = re.compile(r"^[ \t#>*-]*\d+[.)]\s", re.MULTILINE)


@dataclass(frozen=True)
class Place:
    """Where a pin stands in one of the texts: its number, or the digit of the board's label for it (D5).

    `use` is what its place says of it: one of `boards.Wiring`, "" for nothing, "perhaps" if it may be no pin.
    """

    text: int
    start: int
    end: int
    number: int
    use: str = ""
    label: bool = False


@dataclass(frozen=True)
class Run:
    """A range of pins; "GP2 to GP5" may as well be a wire between the two, and is not `certain`."""

    first: int
    last: int
    certain: bool


def runs(words: Words) -> Iterator[Run]:
    """The ranges that words name: `GP2-GP5`, `pins 2 to 5`."""
    for match in _RANGE.finditer(words.content):
        wire = match["sign"] == " to " and bool(match["again"])
        yield Run(int(match["first"]), int(match["last"]), not wire)


def labelled(words: Words, labels: tuple[int, ...]) -> Iterator[Place]:
    """The pins that words name by the board's own labels, which stand for `labels`."""
    for match in re.finditer(r"\bD(\d)\b(?! mini)", words.content):
        if int(match[1]) < len(labels):
            start = words.start + match.start(1)
            yield Place(words.text, start, start + 1, labels[int(match[1])], label=True)


def mentions(words: Words) -> Iterator[Place]:
    """The pins that words name: `GP15`, `pins 14 and 15`, and the numbers in code that they quote."""
    urls = [match.span() for match in _URL.finditer(words.content)]
    found: dict[int, tuple[str, str]] = {}
    for match in _ON.finditer(words.content):
        found[match.start("number")] = match["number"], "perhaps"
    for match in _RANGE.finditer(words.content):
        for name in ("first", "last"):
            found[match.start(name)] = match[name], ""
    for match in _MENTION.finditer(words.content):
        for number in re.finditer(r"\d+", match[0]):
            found[match.start() + number.start()] = number[0], ""
    for match in _ASSIGNED.finditer(words.content):
        if is_pin_name(match["name"]):
            found[match.start("number")] = match["number"], "pin"
    for match in _CALL.finditer(words.content):
        use = {"PWM": "pwm", "ADC": "analog", "Pin": "pin"}[match["name"]]
        found[match.start("number")] = match["number"], use
    for start, (digits, use) in sorted(found.items()):
        if digits == str(int(digits)) and not any(first <= start < last for first, last in urls):
            yield Place(words.text, words.start + start, words.start + start + len(digits), int(digits), use)


def refuse_facts(words: Words) -> None:
    """Raises Doubt where words speak of pins in a way that other numbers would make untrue."""
    if words.kind == "string":
        return
    for pattern in (_FACTS, _PROPERTY, _OTHERS_PIN):
        if found := pattern.search(words.content):
            raise Doubt(f"a fact about pins: {found[0]}")
    if words.kind == "prose" and _UNFENCED.search(words.content):
        raise Doubt("code outside of a fence")


def refuse_bare_numbers(words: Words, places: Collection[Place], changing: Collection[int]) -> None:
    """Raises Doubt where a number to change may be a pin but is none of the `places`: "rows 2-5"."""
    named = {place.start - words.start for place in places if place.text == words.text}
    suspicious = list(_LOOSELY_NAMED.finditer(words.content))
    if words.kind != "string":
        items = {match.end() for match in _LIST_ITEM.finditer(words.content)}
        suspicious += [
            match
            for match in _BARE.finditer(words.content)
            if not any(match.end() < end <= match.end() + 2 for end in items)
            and not re.match(_UNIT, words.content[match.end() :])
            and not _follows_a_noun(words.content, match.start())
        ]
    for match in suspicious:
        if int(match[1]) in changing and match.start(1) not in named:
            around = words.content[max(0, match.start() - 20) : match.end() + 10]
            raise Doubt(f"a number that may be a pin: {around!r}")


def _follows_a_noun(content: str, start: int) -> bool:
    before = _WORD_BEFORE.search(content, max(0, start - 30), start)
    return before is not None and before[1].lower() in _NO_PIN_AFTER
