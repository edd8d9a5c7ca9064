"""Which integers of a program are pin numbers: followed from `Pin(...)`, `ADC(...)` and the buses back to where they are written.

Names, attributes, parameters, loops over tuples and dictionaries are followed through all code of one text. Whatever a
pin number is computed from, or cannot be followed, is a doubt.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from stages.corpus.boards import ESP8266, LINES, PICO, Board, Line, Wiring
from stages.corpus.synonyms import words_of

# How a value is taken from the expression it is bound to: an index, "each" element or key, or any of the "values".
Steps = tuple[int | str, ...]

_NOT_A_PIN = frozenset(
    "count state value val values mode ms us s delay level code interval time timeout debounce mask bits width len length"
    " total freq hz active old last prev previous name names map event events".split()
)
_BUSES = ("I2C", "SPI", "UART")
_KNOWN_CLASSES = frozenset(
    "Pin ADC PWM Signal I2C SPI UART SoftI2C SoftSPI Timer WDT RTC NeoPixel DHT11 DHT22 OneWire DS18X20 TouchPad DAC"
    " Thread Lock Event Queue UUID WLAN BLE FrameBuffer Exception ValueError OSError RuntimeError SystemExit".split()
)
_SAME_ELEMENTS = frozenset({"list", "tuple", "set", "sorted", "reversed", "iter"})


class Doubt(Exception):
    """The text cannot be changed with certainty."""


def is_pin_name(name: str) -> bool:
    """Whether a name says that it holds a pin's number: `LED_PIN`, `pin_button`, `PINS`, but not `pin_count`."""
    words = set(words_of(name))
    counted = "pins" in words and words & {"num", "number", "n", "max"}
    named = words & {"pin", "pins"} or ("gpio" in words and len(words) > 1)
    return bool(named) and not words & _NOT_A_PIN and not counted


@dataclass(eq=False)
class _Scope:
    parent: _Scope | None
    names: dict[str, list[tuple[ast.expr, Steps]]] = field(default_factory=dict)
    of_class: bool = False

    def bind(self, name: str, value: ast.expr, steps: Steps) -> None:
        self.names.setdefault(name, []).append((value, steps))


@dataclass(frozen=True)
class _Callable:
    """A function or class of the text; `returns` are what a function gives back."""

    scope: _Scope
    parameters: tuple[str, ...]
    returns: tuple[ast.expr, ...]


class PinFlow:
    """Reads the programs of one text.

    `literals` are the pin numbers; their uses are entered in `wiring`. `suspects` are numbers given to classes that the
    text does not define (`Servo(15)`), `shifts` those that may stand for a bit of a register.
    """

    def __init__(self, board: Board, wiring: Wiring, programs: Iterable[ast.Module]) -> None:
        self._board, self._wiring = board, wiring
        self.literals: dict[int, ast.Constant] = {}
        self.suspects: set[int] = set()
        self.shifts: set[int] = set()
        self.numbers: set[int] = set()
        self._channels: set[int] = set()
        self._module = _Scope(None)
        self._attributes = _Scope(None)
        self._scope_of: dict[int, _Scope] = {}
        self._callables: dict[str, list[_Callable]] = {}
        self._calls: list[ast.Call] = []
        self._hints: list[tuple[str, ast.expr]] = []
        self._compared: list[tuple[str, ast.Constant]] = []
        self._seen: set[tuple[int, str | Line, Steps]] = set()
        for program in programs:
            for statement in program.body:
                self._collect(statement, self._module)
        for call in self._calls:
            self._pass_arguments(call)
        for call in self._calls:
            self._read_call(call)
        for name, value in self._hints:
            self._hint(name, value)
        for name, number in self._compared:
            if number.value in wiring.uses:
                self._hint(name, number)
        for name, value in self._hints:
            self._fix_line(name, value)

    # First pass: what is bound where

    def _collect(self, node: ast.AST, scope: _Scope) -> None:
        inner = scope
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.Lambda():
                inner = self._enter_function(node, scope)
            case ast.ClassDef():
                inner = _Scope(scope, of_class=True)
                self._enter_class(node, inner)
                return
            case ast.ListComp() | ast.SetComp() | ast.DictComp() | ast.GeneratorExp():
                inner = _Scope(scope)
                for part in node.generators:
                    self._bind(part.target, part.iter, ("each",), inner)
            case ast.Assign():
                for target in node.targets:
                    self._bind(target, node.value, (), scope)
            case ast.AnnAssign(value=ast.expr() as value):
                self._bind(node.target, value, (), scope)
            case ast.NamedExpr():
                self._bind(node.target, node.value, (), scope)
            case ast.AugAssign():
                self._bind(node.target, ast.BinOp(node.target, node.op, node.value), (), scope)
            case ast.For() | ast.AsyncFor():
                self._bind(node.target, node.iter, ("each",), scope)
            case ast.Call():
                self._calls.append(node)
            case ast.Name():
                self._scope_of[id(node)] = scope
            case ast.Dict():
                for key, value in zip(node.keys, node.values, strict=True):
                    if isinstance(key, ast.Constant) and isinstance(key.value, str):
                        self._hints.append((key.value, value))
            case ast.Compare(left=name, comparators=[ast.Constant() as value]) if _number(value) is not None:
                self._compared.append((_last_name(name), value))
            case ast.BinOp(op=ast.LShift(), right=ast.Constant(value=int() as bit)):
                self.shifts.add(bit)
            case ast.Constant(value=int() as number) if not isinstance(node.value, bool):
                self.numbers.add(number)
        for child in ast.iter_child_nodes(node):
            self._collect(child, inner)

    def _enter_function(self, node: ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda, scope: _Scope) -> _Scope:
        inner = _Scope(scope)
        arguments = node.args
        positional = [*arguments.posonlyargs, *arguments.args]
        pairs = [
            *zip(positional[len(positional) - len(arguments.defaults) :], arguments.defaults, strict=True),
            *((name, value) for name, value in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True) if value),
        ]
        for parameter, default in pairs:
            inner.bind(parameter.arg, default, ())
            self._hints.append((parameter.arg, default))
        if not isinstance(node, ast.Lambda):
            names = [parameter.arg for parameter in (*positional, *arguments.kwonlyargs)]
            if scope.of_class and names[:1] in (["self"], ["cls"]):
                names = names[1:]
            returns = tuple(part.value for part in ast.walk(node) if isinstance(part, ast.Return) and part.value)
            self._callables.setdefault(node.name, []).append(_Callable(inner, tuple(names), returns))
        return inner

    def _enter_class(self, node: ast.ClassDef, inner: _Scope) -> None:
        for child in ast.iter_child_nodes(node):
            self._collect(child, inner)
        for name, values in inner.names.items():
            for value, steps in values:
                self._attributes.bind(name, value, steps)
        made = [part.name for part in node.body if isinstance(part, ast.FunctionDef) and part.name == "__init__"]
        known = self._callables.get("__init__", [])
        constructor = known[-1] if made else _Callable(inner, (), ())
        self._callables.setdefault(node.name, []).append(_Callable(constructor.scope, constructor.parameters, ()))

    def _bind(self, target: ast.expr, value: ast.expr, steps: Steps, scope: _Scope) -> None:
        match target:
            case ast.Name(id=name):
                scope.bind(name, value, steps)
                if not steps:
                    self._hints.append((name, value))
            case ast.Attribute(attr=name):
                self._attributes.bind(name, value, steps)
                if not steps:
                    self._hints.append((name, value))
            case ast.Tuple(elts=parts) | ast.List(elts=parts):
                for index, part in enumerate(parts):
                    if not steps and isinstance(value, ast.Tuple | ast.List) and len(value.elts) == len(parts):
                        self._bind(part, value.elts[index], (), scope)
                    else:
                        self._bind(part, value, (*steps, index), scope)
            case ast.Subscript(value=container):
                self._bind(container, ast.List([value]), steps, scope)
            case ast.Starred(value=part):
                self._bind(part, value, (*steps, "rest"), scope)

    def _pass_arguments(self, call: ast.Call) -> None:
        for called in self._callables.get(_last_name(call.func), ()):
            for position, argument in enumerate(call.args):
                if isinstance(argument, ast.Starred):
                    for name in called.parameters[position:]:
                        called.scope.bind(name, argument.value, ("each",))
                    break
                if position < len(called.parameters):
                    called.scope.bind(called.parameters[position], argument, ())
            for keyword in call.keywords:
                if keyword.arg in called.parameters:
                    called.scope.bind(keyword.arg or "", keyword.value, ())

    # Second pass: from each use back to the numbers

    def _read_call(self, call: ast.Call) -> None:
        name = _last_name(call.func)
        first = call.args[0] if call.args else next((k.value for k in call.keywords if k.arg in ("id", "pin", "dest")), None)
        use = {"Pin": "pin", "Signal": "pin", "PWM": "pwm", "ADC": "analog", "TouchPad": "fixed", "DAC": "fixed"}.get(name)
        if use and first is not None:
            self._mark(first, use)
        elif name in _BUSES or name in ("SoftI2C", "SoftSPI"):
            self._read_bus(name, call)
            return
        elif name == "map" and len(call.args) == 2 and _last_name(call.args[0]) == "Pin":
            self._mark(call.args[1], "pin", ("each",))
        elif name[:1].isupper() and name not in _KNOWN_CLASSES and name not in self._callables:
            numbers = [_number(argument) for argument in call.args]
            if None not in numbers:
                self.suspects.update(number for number in numbers if number is not None)
        for keyword in call.keywords:
            if keyword.arg in LINES and name not in self._callables:
                self._mark(keyword.value, "fixed")
            elif keyword.arg:
                self._hints.append((keyword.arg, keyword.value))

    def _read_bus(self, name: str, call: ast.Call) -> None:
        kind = name.removeprefix("Soft")
        number: int | None = None
        first = call.args[0] if call.args else next((k.value for k in call.keywords if k.arg == "id"), None)
        if first is not None and (values := list(self._integers(first))) and len(set(values)) == 1:
            number = values[0]
        given = {keyword.arg for keyword in call.keywords}
        needed = {"I2C": {"sda", "scl"}, "SPI": {"sck", "mosi", "miso"}, "UART": {"tx", "rx"}}[kind]
        if name in _BUSES and not needed <= given and number is not None:
            self._wiring.reserved |= self._board.default_pins.get((kind, number), frozenset())
        for keyword in call.keywords:
            if keyword.arg in ("sda", "scl", "tx", "rx", "miso", "mosi", "sck"):
                self._mark(keyword.value, self._bus_use(name, kind, number, keyword.arg))
            elif keyword.arg in ("cs", "rts", "cts"):
                self._mark(keyword.value, "fixed")
        if any(_last_name(getattr(argument, "func", argument)) == "Pin" for argument in call.args):
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
                for value, steps in self._bindings(node):
                    if not steps and not isinstance(value, ast.Name):
                        yield from self._integers(value)
            case ast.Call(args=[value, *_]) if _last_name(node.func) in ("const", "Pin"):
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
        is_pin = is_pin_name(name) or (isinstance(value, ast.Call) and _last_name(value.func) == "Pin")
        if is_pin and set(words_of(name)) & set(LINES):
            for number in self._integers(value):
                uses = self._wiring.uses.get(number, set())
                if uses and not any(use == "soft" or isinstance(use, Line) for use in uses):
                    self._wiring.add(number, "fixed")

    def _constant(self, node: ast.expr) -> ast.Constant | None:
        if isinstance(node, ast.Call) and _last_name(node.func) == "const" and len(node.args) == 1:
            return self._constant(node.args[0])
        return node if isinstance(node, ast.Constant) and _number(node) is not None else None

    def _record(self, node: ast.Constant, use: str | Line) -> None:
        number: int = node.value
        if use == "analog" and (self._board is ESP8266 or (self._board is PICO and number < 5)):
            self._channels.add(id(node))  # the number of a channel, not of a pin
            self._wiring.reserved |= {26 + number} & self._board.analog
            return
        self.literals[id(node)] = node
        self._wiring.add(number, use)

    def _bindings(self, node: ast.Name) -> list[tuple[ast.expr, Steps]]:
        scope: _Scope | None = self._scope_of.get(id(node))
        while scope is not None:
            if node.id in scope.names:
                return scope.names[node.id]
            scope = scope.parent
        return []

    def _mark(self, node: ast.expr, use: str | Line, steps: Steps = ()) -> None:
        """Enter the numbers that an expression, or what `steps` take out of it, can be."""
        if (id(node), use, steps) in self._seen:
            return
        self._seen.add((id(node), use, steps))
        match node:
            case ast.Name():
                for value, taken in self._bindings(node):
                    self._mark(value, use, (*taken, *steps))
            case ast.Attribute(attr=name):
                for value, taken in self._attributes.names.get(name) or self._module.names.get(name, ()):
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
            case ast.Constant() if _number(node) is not None:
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
        name, arguments = _last_name(node.func), node.args
        match name, steps:
            case ("Pin" | "const" | "int" | "PWM" | "ADC" | "Signal"), ():
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
                for called in self._callables.get(name, ()):
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
                taken = node.keys if step == "each" else node.values
                for part in taken:
                    if part is not None:
                        self._mark(part, use, rest)
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


def _last_name(node: ast.AST) -> str:
    return node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""


def _number(node: ast.expr) -> int | None:
    value = node.value if isinstance(node, ast.Constant) else None
    return value if isinstance(value, int) and not isinstance(value, bool) else None
