"""Mistakes with pins, pauses, buses and interrupts: each with what one sees of it and why (see `mistakes`)."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from stages.corpus.rewrite.bindings import last_name, number_of
from stages.corpus.rewrite.boards import ESP32, LINES, PICO, board_of
from stages.corpus.rewrite.mistakes import Bug, Mistake, replaced
from stages.corpus.rewrite.texts import Code, Edit


def wrong_unit_of_a_pause(code: Code) -> Iterator[Bug]:
    """Seconds for milliseconds and the reverse."""
    for call in _calls(code):
        name = code.source(call.func)
        if name not in ("time.sleep", "time.sleep_ms") or len(call.args) != 1:
            continue
        given = call.args[0]
        value = given.value if isinstance(given, ast.Constant) else None
        if name == "time.sleep_ms":
            wrong = f"time.sleep({code.source(given)})"
            symptom = "It hangs: every pause takes many seconds or even minutes."
            if isinstance(value, int) and value >= 50:
                cause = f"`time.sleep` counts seconds, so `{wrong}` waits {value} of them"
            elif isinstance(given, ast.Name) and given.id.lower().endswith("_ms"):
                cause = f"`time.sleep` counts seconds, but `{given.id}` is in milliseconds"
            else:
                continue
            cause += f"; for milliseconds it is `{code.source(call)}`."
        else:
            wrong = f"time.sleep_ms({code.source(given)})"
            if isinstance(value, int) and 1 <= value <= 20:
                symptom = "The pauses are so short that one hardly notices them."
                cause = f"`time.sleep_ms` counts milliseconds, so `{wrong}` waits {value} ms"
            elif isinstance(value, float):
                symptom = "It stops with `TypeError: can't convert float to int`."
                cause = "`time.sleep_ms` wants whole milliseconds"
            else:
                continue
            cause += f"; for seconds it is `{code.source(call)}`."
        yield Bug("unit of a pause", replaced(code, call, wrong), symptom, cause)


def not_an_output(code: Code) -> Iterator[Bug]:
    """`Pin(15)` that is switched."""
    for name, call in _named_pins(code):
        switched = re.search(rf"(?<!\w){re.escape(name)}\.(?:on|off|toggle|high|low)\(\)", code.content)
        if not switched or len(call.args) != 2 or call.keywords:
            continue
        if last_name(call.args[1]) == "OUT" and not isinstance(getattr(call.args[0], "value", None), str):
            wrong = f"{code.source(call.func)}({code.source(call.args[0])})"
            yield Bug(
                "no output",
                replaced(code, call, wrong),
                f"`{name}` never changes its level.",
                f"The pin was never made an output; say so when it is made: `{code.source(call)}`.",
            )


def wrong_pull(code: Code) -> Iterator[Bug]:
    """A button to ground without its pull-up."""
    for name, call in _named_pins(code):
        if len(call.args) != 3 or call.keywords or last_name(call.args[2]) != "PULL_UP":
            continue
        escaped = re.escape(name)
        reads_low = re.search(rf"not {escaped}\.value\(\)|{escaped}\.value\(\) == 0|IRQ_FALLING", code.content)
        if not reads_low:
            continue
        pin, number, mode = (code.source(part) for part in (call.func, *call.args[:2]))
        yield Bug(
            "no pull-up",
            replaced(code, call, f"{pin}({number}, {mode})"),
            f"`{name}` seems to be pressed at random, even when nobody touches it.",
            "Between presses the input floats and picks up noise. The internal pull-up holds it high until it is"
            f" connected to ground: `{code.source(call)}`.",
        )
        down = code.source(call.args[2]).replace("PULL_UP", "PULL_DOWN")
        yield Bug(
            "wrong pull",
            replaced(code, call, f"{pin}({number}, {mode}, {down})"),
            f"`{name}` reads 0 all the time, pressed or not.",
            "What is read as a 0 connects the pin to ground. Between presses something has to hold it high, and"
            f" `PULL_DOWN` holds it low: `{code.source(call)}`.",
        )


def wrong_edge(code: Code) -> Iterator[Bug]:
    """A button to ground that is noticed when it is let go."""
    if "PULL_UP" not in code.content or "PULL_DOWN" in code.content or "IRQ_RISING" in code.content:
        return
    for call in _calls(code):
        for keyword in call.keywords:
            if last_name(call.func) == "irq" and keyword.arg == "trigger" and last_name(keyword.value) == "IRQ_FALLING":
                right = code.source(keyword.value)
                wrong = right.replace("IRQ_FALLING", "IRQ_RISING")
                yield Bug(
                    "wrong edge",
                    replaced(code, keyword.value, wrong),
                    "It reacts when the button is released, not when it is pressed.",
                    f"With a pull-up, pressing makes the level fall, so the interrupt has to come on `{right}`.",
                )


def pin_instead_of_its_level(code: Code) -> Iterator[Bug]:
    """`button == 0`."""
    for node in ast.walk(code.tree):
        match node:
            case ast.Compare(left=ast.Call(func=ast.Attribute(value=pin, attr="value"), args=[]), ops=[ast.Eq()]):
                name = code.source(pin)
                other = code.source(node.comparators[0])
                if re.fullmatch(r"[\w.]+", name) and other in ("0", "1"):
                    yield Bug(
                        "object instead of value",
                        replaced(code, node, f"{name} == {other}"),
                        f"The condition on `{name}` is never true.",
                        f"`{name}` is the object, and an object never equals {other}; `{name}.value()` reads the"
                        " level.",
                    )


def called_instead_of_passed(code: Code) -> Iterator[Bug]:
    """`handler=pressed()`."""
    takes_one = {
        node.name
        for node in code.tree.body
        if isinstance(node, ast.FunctionDef)
        and len(node.args.args) == 1
        and not node.args.defaults
        and not node.args.vararg
    }
    for call in _calls(code):
        for keyword in call.keywords:
            name = code.source(keyword.value)
            if keyword.arg in ("handler", "callback") and name in takes_one:
                yield Bug(
                    "handler called",
                    replaced(code, keyword.value, f"{name}()"),
                    "It stops at once with `TypeError: function takes 1 positional arguments but 0 were given`.",
                    f"`{keyword.arg}={name}()` calls the function right there; pass the function itself, without"
                    f" parentheses: `{keyword.arg}={name}`.",
                )


def allocates_in_a_hard_interrupt(code: Code) -> Iterator[Bug]:
    """Text is built where nothing may be allocated."""
    hard = {
        code.source(keyword.value)
        for call in _calls(code)
        if any(each.arg == "hard" and code.source(each.value) == "True" for each in call.keywords)
        for keyword in call.keywords
        if keyword.arg in ("handler", "callback")
    }
    for function in code.tree.body:
        if isinstance(function, ast.FunctionDef) and function.name in hard and function.args.args:
            first = next((node for node in function.body if not _is_docstring(node)), None)
            if first is None or isinstance(first, ast.Global):
                first = function.body[-1]
            line = code.offset(first.lineno, 0)
            indent = " " * first.col_offset
            said = f'print("interrupt from " + str({function.args.args[0].arg}))'
            yield Bug(
                "allocation in an interrupt",
                Edit(code.text, line, line, f"{indent}{said}\n"),
                "As soon as the interrupt comes there is `MemoryError: memory allocation failed, heap is locked`.",
                f"`{function.name}` runs as a hard interrupt, where nothing may be allocated, and `{said}` builds a"
                " text. Only set numbers and flags there, and print from the main program.",
            )


def duty_of_another_range(code: Code) -> Iterator[Bug]:
    """A duty of 0 to 1023 for `duty_u16`."""
    for call in _calls(code):
        value = number_of(call.args[0]) if last_name(call.func) == "duty_u16" and len(call.args) == 1 else None
        if value is not None and 8192 <= value <= 65535:
            small = value * 1023 // 65535
            yield Bug(
                "range of the duty",
                replaced(code, call.args[0], str(small)),
                "The output is far too weak: the signal is hardly ever high.",
                f"`duty_u16` goes from 0 to 65535, so {small} is only {small / 655.35:.1f} percent; the share meant is"
                f" `{code.source(call)}`.",
            )


def reading_of_another_range(code: Code) -> Iterator[Bug]:
    """A reading of `read_u16` taken for one of 12 bits."""
    if "read_u16" not in code.content:
        return
    for node in ast.walk(code.tree):
        match node:
            case ast.BinOp(op=ast.Div(), right=ast.Constant(value=65535) as full):
                yield Bug(
                    "range of the reading",
                    replaced(code, full, "4095"),
                    "The result is about 16 times too high.",
                    "`read_u16` gives 0 to 65535 on every board, however many bits its converter has; so full scale is"
                    " 65535 and not 4095.",
                )


def swapped_lines(code: Code) -> Iterator[Bug]:
    """SDA and SCL the wrong way round."""
    board = board_of(code.content)
    for call in _calls(code):
        name = last_name(call.func)
        lines = {keyword.arg: keyword.value for keyword in call.keywords if keyword.arg in ("sda", "scl")}
        numbers = {line: _pin_number(value) for line, value in lines.items()}
        if name not in ("I2C", "SoftI2C") or len(lines) != 2 or None in numbers.values() or "scan" not in code.content:
            continue
        sda, scl = lines["sda"], lines["scl"]
        start, end = code.span(sda)[0], code.span(scl)[1]
        between = code.content[code.span(sda)[1] - code.start : code.span(scl)[0] - code.start]
        if re.fullmatch(r",\s*scl=", between) is None:
            continue
        wrong = f"{code.source(scl)}{between}{code.source(sda)}"
        bus = number_of(call.args[0]) if call.args else None
        if name == "I2C" and board is PICO and bus is not None and board.bases is not None:
            legal = (numbers["sda"] or 0) - LINES["sda"] in board.bases.get(("I2C", bus), ())
            if not legal:
                continue
            symptom = "It stops with `ValueError: bad SCL pin`."
            why = f"On this bus GP{numbers['scl']} can only be SCL and GP{numbers['sda']} only SDA"
        elif name == "SoftI2C" or board is ESP32:
            symptom, why = "`scan()` finds nothing: it gives an empty list.", "The two lines of the bus are swapped"
        else:
            continue
        yield Bug(
            "lines swapped",
            Edit(code.text, start, end, wrong),
            symptom,
            f"{why}; it has to be `sda={code.source(sda)}, scl={code.source(scl)}`.",
        )


def address_with_its_direction_bit(code: Code) -> Iterator[Bug]:
    """An I2C address of 8 bits, as some datasheets print it."""
    for statement in code.tree.body:
        match statement:
            case ast.Assign(targets=[ast.Name(id=name)], value=value):
                if not re.search(rf"\.(?:readfrom|writeto)\w*\(\s*{name}\b", code.content):
                    continue
                number = number_of(value.args[0] if isinstance(value, ast.Call) and value.args else value)
                if number is None or not 0x08 <= number <= 0x77:
                    continue
                right = code.source(value)
                wrong = re.sub(r"0x[0-9a-fA-F]+", f"0x{number << 1:02X}", right)
                if wrong != right:
                    yield Bug(
                        "wrong address",
                        replaced(code, value, wrong),
                        "The first access to the chip stops with an `OSError`: no device answers at that address.",
                        f"0x{number << 1:02X} is the address with the read/write bit, as some datasheets print it;"
                        f" `machine.I2C` wants the 7 bits before it: 0x{number:02X}.",
                    )


def subtracts_ticks(code: Code) -> Iterator[Bug]:
    """The tick counter wraps around."""
    for call in _calls(code):
        if code.source(call.func) == "time.ticks_diff" and len(call.args) == 2:
            later, earlier = (code.source(argument) for argument in call.args)
            if "ticks_us" not in code.content and "while " in code.content and "\n" not in later + earlier:
                yield Bug(
                    "ticks subtracted",
                    replaced(code, call, f"({later} - {earlier})"),
                    "It runs well for days, and then the timing suddenly goes wrong.",
                    "The millisecond counter wraps around, on most boards after 12.4 days, and a plain difference is"
                    f" wrong then; `{code.source(call)}` copes with it.",
                )


def _calls(code: Code) -> Iterator[ast.Call]:
    return (node for node in ast.walk(code.tree) if isinstance(node, ast.Call))


def _named_pins(code: Code) -> Iterator[tuple[str, ast.Call]]:
    """Pins that are made once and kept under a name."""
    for node in ast.walk(code.tree):
        match node:
            case ast.Assign(targets=[ast.Name() | ast.Attribute() as target], value=ast.Call() as call):
                if last_name(call.func) == "Pin":
                    yield code.source(target), call


def _pin_number(node: ast.expr) -> int | None:
    return (
        number_of(node.args[0]) if isinstance(node, ast.Call) and last_name(node.func) == "Pin" and node.args else None
    )


def _is_docstring(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


HARDWARE_MISTAKES: tuple[Mistake, ...] = (
    *(wrong_unit_of_a_pause, not_an_output, wrong_pull, wrong_edge, pin_instead_of_its_level, called_instead_of_passed),
    *(allocates_in_a_hard_interrupt, duty_of_another_range, reading_of_another_range, swapped_lines),
    *(address_with_its_direction_bit, subtracts_ticks),
)
