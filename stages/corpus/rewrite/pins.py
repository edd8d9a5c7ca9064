"""Other legal pins for the programs of a text, and for the prose, comments and prompts that speak of them.

The numbers in code are found by following them (`pinflow`), those in words by how they are named
(`pinwords`); `boards` deals the new ones. Where a number may be a pin or something else, there is no variant.
"""

from __future__ import annotations

import ast
import random
import re
import tokenize
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

from stages.corpus.rewrite.boards import ESP32, ESP8266, PICO, Board, Wiring, board_of, deal
from stages.corpus.rewrite.pinflow import PinFlow
from stages.corpus.rewrite.pinwords import (
    Place,
    Run,
    labelled,
    mentions,
    refuse_bare_numbers,
    refuse_facts,
    runs,
)
from stages.corpus.rewrite.texts import Code, Doubt, Edit, edited, read

# Code whose pins are tied to each other, or to bits, in ways that are not followed.
_TIED = re.compile(
    r"asm_pio|StateMachine|\bmem(?:8|16|32)\b|wake_on_ext|\bI2S\(|\bPCNT\b|Pin\.board|\bLAN\(|SDCard\(\w*slot"
)
_BUS_WORDS = re.compile(r"\b(?:SDA|SCL|SCK|MOSI|MISO|TXD?|RXD?|UART|I2C|I²C|SPI|CAN|I2S)\b", re.IGNORECASE)
_ANALOG_WORDS = re.compile(r"analog|\bADC\b|potentiometer|photoresistor|\bLDR\b|voltage|thermistor", re.IGNORECASE)
_PWM_WORDS = re.compile(r"\bPWM\b|servo|fade|\bdim\b|brightness|breath|tone|buzzer|motor|\bRGB\b", re.IGNORECASE)
_ONBOARD = re.compile(r"on-?board|built-?in|internal led|blue led|(?:boot|flash) button", re.IGNORECASE)
_BEYOND_GPIO16 = re.compile(r"PWM|irq|interrupt|PULL_|dht|onewire|neopixel|ws28|servo|I2C|deep ?sleep", re.IGNORECASE)
_DIGITAL_LABEL = re.compile(r"\bD\d{1,2}\b")
_NUMBERED_NAME = re.compile(r"(?:gp|gpio|pin|io|adc)_?(\d{1,2})|(?:led|button|btn|relay)_?(\d{2})", re.IGNORECASE)
_SHORT_NAME = re.compile(r"\bp(\d{1,2}) = (?:machine\.)?Pin\(")


def change_pins(text: str, rng: random.Random) -> str | None:
    """Give the pins in code (in Markdown, the fenced code and the prose around it) other legal numbers.

    One mapping, one to one, holds for the whole text. None where no pin can be changed with certainty.
    """
    changed = _change([text], rng)
    return changed[0] if changed else None


def change_pins_in_messages(messages: Sequence[Mapping[str, str]], rng: random.Random) -> list[dict[str, str]] | None:
    """The same, with one mapping across all turns, so that prompt, comments and code agree.

    Each message has a `content`; whatever else it has is kept.
    """
    changed = _change([message["content"] for message in messages], rng)
    if changed is None:
        return None
    return [{**message, "content": content} for message, content in zip(messages, changed, strict=True)]


def _change(texts: Sequence[str], rng: random.Random) -> list[str] | None:
    try:
        return _changed(texts, rng)
    except (Doubt, RecursionError):
        return None


def _changed(texts: Sequence[str], rng: random.Random) -> list[str]:
    whole = "\n".join(texts)
    board = board_of(whole)
    if board is None or _TIED.search(whole) or (board is ESP32 and _DIGITAL_LABEL.search(whole)):
        raise Doubt("pins that are not known well enough")
    code, words = read(texts)
    for span in words:
        refuse_facts(span)

    wiring = Wiring()
    flow = PinFlow(board, wiring, [part.tree for part in code])
    places = {place for part in code for place in _places(part, flow.literals)}
    named = {place for span in words for place in (*mentions(span), *labelled(span, board.labels))}
    named = {place for place in named if place.use != "perhaps" or place.number in wiring.uses}
    _enter_mentions(named, whole, bool(code), board, wiring)
    for run in {run for span in words for run in runs(span)}:
        _enter_run(run, bool(code), wiring)
    _fix_special_pins(board, whole, wiring)
    wiring.avoid |= flow.numbers - wiring.uses.keys()
    mapping = deal(board, wiring, rng)
    if not mapping or (flow.suspects | flow.shifts) & mapping.keys():
        raise Doubt("nothing to change, or a number that may be a pin")

    for part in code:
        _refuse_numbered_names(part, mapping)
    for span in words:
        refuse_bare_numbers(span, named, mapping)
    changed = [place for place in places | named if place.number in mapping]
    if any(place.label and mapping[place.number] not in board.labels for place in changed):
        raise Doubt("a pin without a label")
    return edited(texts, (_edit(place, mapping, board.labels) for place in changed))


def _edit(place: Place, mapping: Mapping[int, int], labels: Sequence[int]) -> Edit:
    new = mapping[place.number]
    return Edit(place.text, place.start, place.end, str(labels.index(new) if place.label else new))


def _places(part: Code, literals: Mapping[int, int]) -> Iterator[Place]:
    """Where those literals stand that belong to this program; they are known by the id of their node."""
    for node in ast.walk(part.tree):
        if isinstance(node, ast.Constant) and id(node) in literals:
            number = literals[id(node)]
            start, _ = part.span(node)
            if not re.match(rf"{number}(?!\w)", part.content[start - part.start :]):
                raise Doubt("a number inside of an f-string, or in another base")
            yield Place(part.text, start, start + len(str(number)), number)


def _enter_mentions(named: Iterable[Place], whole: str, beside_code: bool, board: Board, wiring: Wiring) -> None:
    """Enter the pins that only words name. Beside code these may be anything, and are a doubt."""
    in_code = wiring.uses.keys() | wiring.reserved | ({23, 24, 25, 29} if board is PICO else set())
    unknown = sorted((place.number, place.use) for place in named if place.number not in in_code)
    if unknown and (beside_code or _BUS_WORDS.search(whole)):
        raise Doubt(f"pins that the code does not have: {unknown}")
    is_analog, is_pwm = _ANALOG_WORDS.search(whole), _PWM_WORDS.search(whole)
    for number, use in unknown:
        if use:
            wiring.add(number, use)
        elif board is ESP32 and number >= 32:
            wiring.add(number, "analog" if is_analog and number >= 34 else "fixed")
        elif number in board.analog:
            wiring.add(number, "analog")
        else:
            wiring.add(number, "pwm" if is_pwm else "pin")


def _enter_run(run: Run, beside_code: bool, wiring: Wiring) -> None:
    """A range has to stay one; where only words name pins it makes all between its ends pins."""
    numbers = range(run.first, run.last + 1)
    if len(numbers) > 1 and wiring.uses.keys() >= set(numbers):
        wiring.runs.add((run.first, run.last))
    elif run.certain and len(numbers) > 1 and not beside_code:
        wiring.runs.add((run.first, run.last))
        for number in numbers:
            wiring.add(number, "pin")
    elif run.certain or (not beside_code and abs(run.last - run.first) > 1):
        raise Doubt("a range that may be pins")


def _fix_special_pins(board: Board, whole: str, wiring: Wiring) -> None:
    """Pins that some boards have wired to an LED, and GPIO16 of the ESP8266, which can do little."""
    if _ONBOARD.search(whole):
        special = {ESP32.name: {5, 22}, ESP8266.name: {16}}.get(board.name, set())
        for number in wiring.uses.keys() & special:
            wiring.add(number, "fixed")
    if board is ESP8266 and _BEYOND_GPIO16.search(whole):
        wiring.reserved.add(16)


def _refuse_numbered_names(part: Code, changing: Collection[int]) -> None:
    """`pin15 = Pin(15)`: the name would lie."""
    numbers = [int(name) for name in _SHORT_NAME.findall(part.content)]
    for token in part.tokens():
        named = _NUMBERED_NAME.fullmatch(token.string) if token.type == tokenize.NAME else None
        if named:
            numbers.append(int(named[1] or named[2]))
    if any(number in changing for number in numbers):
        raise Doubt("a name that holds the number")
