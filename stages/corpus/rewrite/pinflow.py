"""Which integers of a program are pin numbers.

They are followed from `Pin(...)`, `ADC(...)` and the buses back to where they are written: through names,
attributes, parameters, loops over tuples and dictionaries, in all code of one text. A pin number that is
computed is a doubt.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator

from stages.corpus.rewrite.bindings import Bindings, Steps, last_name, number_of
from stages.corpus.rewrite.boards import ESP8266, LINES, PICO, Board, Line, Wiring
from stages.corpus.rewrite.synonyms import word_set, words_of
from stages.corpus.rewrite.texts import Doubt

_NOT_A_PIN = word_set(
    "count state value val values mode ms us s delay level code interval time timeout debounce mask bits"
    " width len length total freq hz active old last prev previous name names map event events"
)
_USES = {"Pin": "pin", "Signal": "pin", "PWM": "pwm", "ADC": "analog", "TouchPad": "fixed", "DAC": "fixed"}
_BUSES = ("I2C", "SPI", "UART")
_KNOWN_CLASSES = word_set(
    "Pin ADC PWM Signal I2C SPI UART SoftI2C SoftSPI Timer WDT RTC NeoPixel DHT11 DHT22 OneWire DS18X20"
    " TouchPad DAC Thread Lock Event Queue UUID WLAN BLE FrameBuffer Exception ValueError OSError"
    " RuntimeError SystemExit"
)
_SAME_ELEMENTS = word_set("list tuple set sorted reversed iter")


def is_pin_name(name: str) -> bool:
    """Whether a name says that it holds the number of a pin: `LED_PIN`, `PINS`, but not `pin_count`."""
    words = set(words_of(name))
    counted = "pins" in words and words & {"num", "number", "n", "max"}
    named = words & {"pin", "pins"} or ("gpio" in words and len(words) > 1)
    return bool(named) and not words & _NOT_A_PIN and not counted


class PinFlow:
    """Reads the programs of one text.

    `literals` are the pin numbers, by the id of their node; their uses are entered in `wiring`. `numbers` are
    all integers, `suspects` those given to classes that the text does not define (`Servo(15)`), `shifts`
    those that may stand for a bit of a register.
    """

    def __init__(self, board: Board, wiring: Wiring, programs: Iterable[ast.Module]) -> None:
        self._board, self._wiring = board, wiring
        self._known = Bindings(programs)
        self.numbers, self.shifts = self._known.numbers, self._known.shifts
        self.literals: dict[int, int] = {}
        self.suspects: set[int] = set()
        self._channels: set[int] = set()
        self._seen: set[tuple[int, str | Line, Steps]] = set()
        for call in self._known.calls:
            self._read_call(call)
        for name, value in self._known.described:
            self._hint(name, value)
        for name, number in self._known.compared:
            if number.value in wiring.uses:
                self._hint(name, number)
        for name, value in self._known.described:
            self._fix_line(name, value)

    def _read_call(self, call: ast.Call) -> None:
        name = last_name(call.func)
        first = _first_argument(call)
        if name in _USES and first is not None:
            self._mark(first, _USES[name])
        elif name in _BUSES or name in ("SoftI2C", "SoftSPI"):
            self._read_bus(name, call)
            return
        elif name == "map" and len(call.args) == 2 and last_name(call.args[0]) == "Pin":
            self._mark(call.args[1], "pin", ("each",))
        elif name[:1].isupper() and name not in _KNOWN_CLASSES and name not in self._known.callables:
            numbers = [number_of(argument) for argument in call.args]
            if None not in numbers:
                self.suspects.update(number for number in numbers if number is not None)
        for keyword in call.keywords:
            if keyword.arg in LINES and name not in self._known.callables:
                self._mark(keyword.value, "fixed")
            elif keyword.arg:
                self._known.described.append((keyword.arg, keyword.value))

    def _read_bus(self, name: str, call: ast.Call) -> None:
        kind = name.removeprefix("Soft")
        number: int | None = None
        first = _first_argument(call)
        if first is not None and (values := list(self._integers(first))) and len(set(values)) == 1:
            number = values[0]
        given = {keyword.arg for keyword in call.keywords}
        needed = {"I2C": {"sda", "scl"}, "SPI": {"sck", "mosi", "miso"}, "UART": {"tx", "rx"}}[kind]
        if name in _BUSES and not needed <= given and number is not None:
            self._wiring.reserved |= self._board.default_pins.get((kind, number), frozenset())
        for keyword in call.keywords:
            if keyword.arg in LINES:
                self._mark(keyword.value, self._bus_use(name, kind, number, keyword.arg))
            elif keyword.arg in ("cs", "rts", "cts"):
                self._mark(keyword.value, "fixed")
        if any(last_name(getattr(argument, "func", argument)) == "Pin" for argument in call.args):
            raise Doubt("pins of a bus by position")

    def _bus_use(self, name: str, kind: str, number: int | None, line: str) -> str | Line:
        if name != kind:
            return "soft"
        if self._board is ESP8266:
            return "soft" if kind == "I2C" else "fixed"
        if self._board is PICO and (number is None or (kind, number) not in (self._board.bases or {})):
            return "fixed"
        return Line(kind, number or 0, line)

    def _integers(self, node: ast.expr) -> Iterator[int]:
        """The integers an expression may be, as far as they are written in the text."""
        match node:
            case ast.Constant(value=int() as number):
                yield number
            case ast.Name():
                for value, steps in self._known.of_name(node):
                    if not steps and not isinstance(value, ast.Name):
                        yield from self._integers(value)
            case ast.Call(args=[value, *_]) if last_name(node.func) in ("const", "Pin"):
                yield from self._integers(value)

    def _hint(self, name: str, value: ast.expr) -> None:
        """A name that says pin, where no use of it is in the text: its number counts if it can be a pin's."""
        if not is_pin_name(name):
            return
        elements = value.elts if isinstance(value, ast.List | ast.Tuple | ast.Set) else [value]
        if isinstance(value, ast.Dict):
            elements = value.values
        words = words_of(name)
        if ("pins" in words) == (elements == [value]):
            return  # a single number is how many there are
        found = [self._constant(element) for element in elements]
        if not all(node and node.value in self._board.pins for node in found):
            return
        for node in found:
            if node and id(node) not in self.literals and id(node) not in self._channels:
                self._record(node, "pin")

    def _fix_line(self, name: str, value: ast.expr) -> None:
        """`sck = Pin(18)` without a bus that takes it: the line of some bus, but of which?"""
        is_pin = is_pin_name(name) or (isinstance(value, ast.Call) and last_name(value.func) == "Pin")
        if is_pin and set(words_of(name)) & set(LINES):
            for number in self._integers(value):
                uses = self._wiring.uses.get(number, set())
                if uses and not any(use == "soft" or isinstance(use, Line) for use in uses):
                    self._wiring.add(number, "fixed")

    def _constant(self, node: ast.expr) -> ast.Constant | None:
        if isinstance(node, ast.Call) and last_name(node.func) == "const" and len(node.args) == 1:
            return self._constant(node.args[0])
        return node if isinstance(node, ast.Constant) and number_of(node) is not None else None

    def _record(self, node: ast.Constant, use: str | Line) -> None:
        number = number_of(node)
        if number is None:
            return
        if use == "analog" and (self._board is ESP8266 or (self._board is PICO and number < 5)):
            self._channels.add(id(node))  # the number of a channel, not of a pin
            self._wiring.reserved |= {26 + number} & self._board.analog
            return
        self.literals[id(node)] = number
        self._wiring.add(number, use)

    def _mark(self, node: ast.expr, use: str | Line, steps: Steps = ()) -> None:
        """Enter the numbers that an expression, or what `steps` take out of it, can be."""
        if (id(node), use, steps) in self._seen:
            return
        self._seen.add((id(node), use, steps))
        match node:
            case ast.Name():
                for value, taken in self._known.of_name(node):
                    self._mark(value, use, (*taken, *steps))
            case ast.Attribute(attr=name):
                for value, taken in self._known.of_attribute(name):
                    self._mark(value, use, (*taken, *steps))
            case ast.IfExp(body=one, orelse=other):
                self._mark(one, use, steps)
                self._mark(other, use, steps)
            case ast.BoolOp(values=values):
                for value in values:
                    self._mark(value, use, steps)
            case ast.NamedExpr(value=value) | ast.Await(value=value):
                self._mark(value, use, steps)
            case ast.Subscript(value=container, slice=ast.Constant(value=int() as index)):
                self._mark(container, use, (index, *steps))
            case ast.Subscript(value=container):
                self._mark(container, use, ("values", *steps))
            case ast.Call():
                self._mark_call(node, use, steps)
            case _ if steps:
                self._mark_element(node, use, steps)
            case ast.Constant() if number_of(node) is not None:
                self._record(node, use)
            case ast.Constant(value=str() as text):
                self._record_name(text, use)
            case ast.BinOp() | ast.UnaryOp() | ast.JoinedStr():
                raise Doubt("a pin number is computed")

    def _record_name(self, text: str, use: str | Line) -> None:
        if named := re.fullmatch(r"(?:GP|GPIO)(\d+)", text):
            self._wiring.add(int(named[1]), use)
        elif text == "LED":
            self._wiring.reserved |= {25} & self._board.pins
        elif not text.startswith("WL_GPIO"):
            raise Doubt("a pin is known by a name")

    def _mark_call(self, node: ast.Call, use: str | Line, steps: Steps) -> None:
        name, arguments = last_name(node.func), node.args
        match name, steps:
            case (("Pin" | "const" | "int" | "PWM" | "ADC" | "Signal"), ()):
                for argument in arguments[:1]:
                    self._mark(argument, use)
            case "enumerate", ("each" | "values", 1, *rest) if arguments:
                self._mark(arguments[0], use, ("each", *rest))
            case "zip", ("each" | "values", int() as index, *rest) if index < len(arguments):
                self._mark(arguments[index], use, ("each", *rest))
            case "items", ("each" | "values", 1, *rest) if isinstance(node.func, ast.Attribute):
                self._mark(node.func.value, use, ("values", *rest))
            case "items", ("each" | "values", 0, *rest) if isinstance(node.func, ast.Attribute):
                self._mark(node.func.value, use, ("each", *rest))
            case "values", ("each" | "values", *rest) if isinstance(node.func, ast.Attribute):
                self._mark(node.func.value, use, ("values", *rest))
            case _, _ if name in _SAME_ELEMENTS and arguments and steps:
                self._mark(arguments[0], use, steps)
            case "range", _:
                raise Doubt("pins by a range")
            case _:
                for called in self._known.callables.get(name, ()):
                    for value in called.returns:
                        self._mark(value, use, steps)

    def _mark_element(self, node: ast.expr, use: str | Line, steps: Steps) -> None:
        step, rest = steps[0], steps[1:]
        match node:
            case ast.List(elts=parts) | ast.Tuple(elts=parts) | ast.Set(elts=parts):
                if isinstance(step, int):
                    parts = parts[step : step + 1] if step >= 0 else parts[step:][:1]
                for part in parts:
                    self._mark(part, use, rest)
            case ast.Dict():
                for key, value in zip(node.keys, node.values, strict=True):
                    if step != "each":
                        self._mark(value, use, rest)
                    elif key is not None:
                        self._mark(key, use, rest)
            case ast.ListComp() | ast.GeneratorExp() | ast.SetComp():
                self._mark(node.elt, use, rest)
            case ast.DictComp():
                self._mark(node.key if step == "each" else node.value, use, rest)
            case ast.Starred(value=value):
                self._mark(value, use, ("each", *rest))
            case ast.Constant(value=None):
                pass
            case _:
                raise Doubt("pins from something that is no list")


def _first_argument(call: ast.Call) -> ast.expr | None:
    if call.args:
        return call.args[0]
    return next((keyword.value for keyword in call.keywords if keyword.arg in ("id", "pin", "dest")), None)
