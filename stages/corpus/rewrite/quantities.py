"""Other frequencies, I2C addresses and thresholds, wherever a text names them."""

from __future__ import annotations

import ast
import random
import re
from collections.abc import Iterable, Iterator, Sequence

from stages.corpus.rewrite.bindings import last_name, number_of
from stages.corpus.rewrite.follow import Numbers
from stages.corpus.rewrite.texts import Code, Doubt, Edit, Words

# What a PWM frequency matters to: only the brightness of a light is the same at any.
_HEARD_OR_TIMED = re.compile(
    r"servo|buzz|tone|note|sound|music|speaker|piezo|motor|\bfan\b|sweep|melod|beep|heat|\besc\b|Timer|tick|duty_ns|hertz"
    r"|signal|wave|flicker|frequenc",
    re.IGNORECASE,
)
_PWM_FREQUENCIES = (500, 800, 1000, 1200, 2000, 4000, 5000)
_SLOW_PWM = re.compile(r"esp-?8266|nodemcu|wemos", re.IGNORECASE)  # 1000 Hz at most
_BUS_SPEED = re.compile(r"\bfast|[kM]Hz|speed", re.IGNORECASE)
_HERTZ = re.compile(r"(?<![\w.])(?P<number>\d+(?:[_,]\d{3})*(?:\.\d+)?)(?P<gap> ?)(?P<unit>[kM]?Hz)(?!\w)")
_SCALE = {"Hz": 1, "kHz": 1000, "MHz": 1_000_000}

# Chips whose address can be chosen by a pin, with the addresses that they can have (their datasheets).
_CHIPS = {
    r"ssd1306|sh1106": (0x3C, 0x3D),
    r"bme280|bmp280|bme680|bmp180": (0x76, 0x77),
    r"mpu-?6050": (0x68, 0x69),
    r"ads1115|ads1015": (0x48, 0x49, 0x4A, 0x4B),
    r"mcp23017": tuple(range(0x20, 0x28)),
    r"pcf8574(?!a)": tuple(range(0x20, 0x28)),
    r"bh1750": (0x23, 0x5C),
    r"ina219": tuple(range(0x40, 0x50)),
    r"at24c\d+": tuple(range(0x50, 0x58)),
    r"tmp102|lm75": (0x48, 0x49, 0x4A, 0x4B),
    r"aht20|ds3231|vl53\w+|mlx90614": (),  # one address only; here to see when a text is about several chips
}
_WIRED_ADDRESS = re.compile(
    r"\b(?:ADDR|AD0|A0|A1|A2|SDO|SA0)\b|address pin|jumper|solder|strap|default|usual|either", re.IGNORECASE
)
_LIMIT_UNIT = r" ?(?:°C|°F|° C|C\b|degrees?\b|%|percent\b|lux\b|cm\b|mm\b|hPa\b|ppm\b|dB\b|km/h\b|rpm\b)"


def other_frequency(code: Sequence[Code], words: Sequence[Words], rng: random.Random) -> list[Edit]:
    """Another frequency of the PWM for lights, or the standard one for an I2C bus that is run fast."""
    numbers = Numbers(code)
    kinds = set()
    for part in code:
        for call in (node for node in ast.walk(part.tree) if isinstance(node, ast.Call)):
            name = last_name(call.func)
            for keyword in call.keywords:
                if keyword.arg == "freq":
                    kinds.add(name)
                    numbers.enter(keyword.value, "Hz")
            if name == "freq" and len(call.args) == 1 and not part.source(call.func).startswith("machine."):
                kinds.add("PWM")
                numbers.enter(call.args[0], "Hz")
    numbers.refuse_other_uses()
    values = {node.value for _, node, _ in numbers.found.values()}
    if len(kinds) != 1 or len(values) != 1:
        raise Doubt("no frequency, or several")
    old = int(str(values.pop()))
    texts = _texts(code, words)
    if kinds <= {"I2C", "SoftI2C"} and old == 400_000 and not any(_BUS_SPEED.search(text) for text in texts):
        new = 100_000
    elif kinds == {"PWM"} and 500 <= old <= 20_000 and not any(map(_HEARD_OR_TIMED.search, texts)):
        slow = any(_SLOW_PWM.search(text) for text in texts)
        new = rng.choice([each for each in _PWM_FREQUENCIES if each != old and (each <= 1000 or not slow)])
    else:
        raise Doubt("a frequency that something depends on")
    return [*_in_code(numbers, new), *_hertz_in_words(words, old, new)]


def _in_code(numbers: Numbers, new: int) -> Iterator[Edit]:
    for part, node, _ in numbers.found.values():
        yield Edit(part.text, *part.span(node), f"{new:_}" if "_" in part.source(node) else str(new))


def _hertz_in_words(words: Sequence[Words], old: int, new: int) -> Iterator[Edit]:
    for span in words:
        rest = span.content
        for match in _HERTZ.finditer(span.content):
            if float(re.sub("[_,]", "", match["number"])) * _SCALE[match["unit"]] != old:
                raise Doubt("another frequency")
            said = f"{new / _SCALE[match['unit']]:g}"
            start = span.start + match.start()
            yield Edit(span.text, start, start + len(match[0]), f"{said}{match['gap']}{match['unit']}")
            rest = rest.replace(match[0], "")
        if re.search(rf"(?<!\d){old}(?!\d)|{old:_}|{old:,}|[kM]?Hz|hertz", rest):
            raise Doubt("a number that may be the frequency")


def other_address(code: Sequence[Code], words: Sequence[Words], rng: random.Random) -> list[Edit]:
    """Another address of a chip that can have several, in the one place or all places where it stands."""
    texts = _texts(code, words)
    chips = [(name, legal) for name, legal in _CHIPS.items() if any(re.search(name, text, re.I) for text in texts)]
    if len(chips) != 1 or any(map(_WIRED_ADDRESS.search, (span.content for span in words))):
        raise Doubt("no chip, several, or words about how the address is chosen")
    legal = chips[0][1]
    found = [
        (part, node)
        for part in code
        for node in ast.walk(part.tree)
        if isinstance(node, ast.Constant) and number_of(node) in legal
    ]
    old = {number_of(node) for _, node in found}
    if len(old) != 1:
        raise Doubt("no address, or several")
    address = old.pop() or 0
    places = {id(node) for part in code for node in _addresses(part)}
    if not all(id(node) in places and part.source(node).lower() == f"{address:#04x}" for part, node in found):
        raise Doubt("a number that may be something else")
    taken = {number_of(node) for part in code for node in ast.walk(part.tree) if isinstance(node, ast.Constant)}
    free = [each for each in legal if each not in taken]
    if not free:
        raise Doubt("no other address")
    new = rng.choice(free)
    edits = [Edit(part.text, *part.span(node), f"0x{new:02X}") for part, node in found]
    for span in words:
        if re.search(rf"(?<![\w.]){address}(?!\w|\.\d)", span.content):
            raise Doubt("the address in another base")
        named = re.finditer(rf"(?<!\w)0x{address:02x}(?!\w)", span.content, re.IGNORECASE)
        edits += [Edit(span.text, span.start + each.start(), span.start + each.end(), f"0x{new:02X}") for each in named]
    return edits


def _addresses(code: Code) -> Iterator[ast.expr]:
    """Where a number can only be an address: in a name that says so, and as the first argument of a transfer."""
    for node in ast.walk(code.tree):
        match node:
            case ast.Assign(targets=[ast.Name(id=name) | ast.Attribute(attr=name)], value=value):
                if re.search(r"addr", name, re.I) and not re.search(r"reg|mem", name, re.I):
                    yield from value.args[:1] if isinstance(value, ast.Call) else [value]
            case ast.Call(func=ast.Attribute(attr=name), args=[first, *_]) if re.match(r"readfrom|writeto", name):
                yield first
            case ast.arguments(args=arguments, defaults=defaults):
                for argument, default in zip(reversed(arguments), reversed(defaults), strict=False):
                    if re.fullmatch(r"addr(?:ess)?|i2c_addr(?:ess)?", argument.arg):
                        yield default
            case ast.keyword(arg="addr" | "address", value=value):
                yield value
            case ast.Compare(left=ast.Constant() as left, ops=[ast.In() | ast.NotIn()]):
                yield left


def other_threshold(code: Sequence[Code], words: Sequence[Words], rng: random.Random) -> list[Edit]:
    """Another limit for what is measured: `above 30 degrees` and `> 30`, where the text names no other number of it."""
    limits = [(part, node) for part in code for node in _limits(part)]
    values = {node.value for _, node in limits}
    if len(values) != 1:
        raise Doubt("no limit, or several")
    old = values.pop()
    if not isinstance(old, int) or not 10 < old < 100:
        raise Doubt("a limit that may have a meaning of its own")
    elsewhere = (node for part in code for node in ast.walk(part.tree) if isinstance(node, ast.Constant))
    if sum(node.value == old and not isinstance(node.value, bool) for node in elsewhere) != len(limits):
        raise Doubt("the same number with another meaning")
    step = 5 if old % 5 == 0 else 1
    near = range(max(10 + step, old - 4 * step), min(100, old + 5 * step), step)
    used = {match for text in _texts(code, words) for match in re.findall(r"\d+", text)}
    free = [each for each in near if str(each) not in used and each % 10 != old % 10] or [
        each for each in near if str(each) not in used
    ]
    if not free or not all(re.fullmatch(r"\d+", part.source(node)) for part, node in limits):
        raise Doubt("no other limit")
    new = str(rng.choice(free))
    return [*(Edit(part.text, *part.span(node), new) for part, node in limits), *_limit_in_words(words, old, new)]


def _limits(code: Code) -> Iterator[ast.Constant]:
    """The numbers above 1 that something is compared with."""
    for node in ast.walk(code.tree):
        if isinstance(node, ast.Compare):
            numbers: Iterable[ast.expr] = (node.left, *node.comparators)
            for number in numbers:
                value = number_of(number) if not isinstance(number, ast.Constant) else number.value
                if isinstance(number, ast.Constant) and isinstance(value, int | float) and value > 1:
                    if not all(isinstance(op, ast.Gt | ast.Lt | ast.GtE | ast.LtE) for op in node.ops):
                        raise Doubt("a number that is compared for being equal")
                    yield number


def _limit_in_words(words: Sequence[Words], old: int, new: str) -> Iterator[Edit]:
    """The limit has to be named at least once, and always with its unit, so that it is clear what it is."""
    named = False
    for span in words:
        for match in re.finditer(rf"(?<![\w.,]){old}(?![\w.]\d|\w)", span.content):
            if not re.match(_LIMIT_UNIT, span.content[match.end() :]):
                raise Doubt("a number that may be the limit")
            named = True
            yield Edit(span.text, span.start + match.start(), span.start + match.end(), new)
        if re.search(rf"(?<![\w.]){old}\.\d", span.content):
            raise Doubt("a number near the limit")
    if not named:
        raise Doubt("a limit that no words explain")


def _texts(code: Sequence[Code], words: Sequence[Words]) -> list[str]:
    return [*(part.content for part in code), *(span.content for span in words)]
