"""The same pause in the other unit: `sleep(0.5)` and `sleep_ms(500)`, with the import mended."""

from __future__ import annotations

import ast
import random
import re
from collections.abc import Iterator, Sequence
from fractions import Fraction

from stages.corpus.rewrite.synonyms import word_set
from stages.corpus.rewrite.texts import Code, Doubt, Edit, Words

_SLEEP = re.compile(r"(?P<module>(?:u?time|u?asyncio)\.)?(?P<name>sleep|sleep_ms)")
# Modules that only MicroPython has, and modules that tell of another Python, where there is no sleep_ms.
_MICROPYTHON = word_set(
    "machine micropython utime uasyncio neopixel network rp2 esp esp32 espnow bluetooth onewire dht framebuf"
)
_OTHER_PYTHON = word_set(
    "board digitalio analogio busio pwmio microcontroller supervisor RPi gpiozero pyb microbit serial subprocess"
    " argparse tempfile threading multiprocessing pathlib pytest usb numpy"
)


def other_units(code: Sequence[Code], words: Sequence[Words], rng: random.Random) -> list[Edit]:
    """Edits that give every pause of a text in the other unit. Raises Doubt where words speak of the call itself."""
    imported = {name for part in code for name in _imported(part)}
    if not imported & _MICROPYTHON or imported & _OTHER_PYTHON or any(each.startswith("adafruit") for each in imported):
        raise Doubt("not for certain a program in MicroPython, where alone there is sleep_ms")
    if any("sleep" in span.content for span in words):
        raise Doubt("words about the call")
    calls = {old: [each for part in code for each in _calls(part, old)] for old in ("sleep", "sleep_ms")}
    possible = [old for old, found in calls.items() if found]
    if not possible:
        raise Doubt("no pause to write in another unit")
    old = rng.choice(possible)
    new = "sleep_ms" if old == "sleep" else "sleep"
    edits = []
    for part, call, value in calls[old]:
        function = re.sub(r"\w+$", new, part.source(call.func))
        edits.append(Edit(part.text, *part.span(call), f"{function}({_written(value, new)})"))
    for part in code:
        edits += _imports(part, old, new, [call for owner, call, _ in calls[old] if owner is part])
    return edits


def _imported(code: Code) -> Iterator[str]:
    """The first words of the modules that a program imports."""
    for node in ast.walk(code.tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module.partition(".")[0]


def _calls(code: Code, name: str) -> Iterator[tuple[Code, ast.Call, Fraction]]:
    """The calls with a plain number that reads well in the other unit."""
    for node in ast.walk(code.tree):
        match node:
            case ast.Call(func=function, args=[ast.Constant(value=int() | float() as given)], keywords=[]):
                called = _SLEEP.fullmatch(code.source(function))
                if called is None or called["name"] != name or isinstance(given, bool):
                    continue
                value = Fraction(str(given))
                whole = value * 1000
                to_ms = whole.denominator == 1 and value <= 2
                reads_well = to_ms if name == "sleep" else value % 10 == 0 and value >= 100
                if value > 0 and reads_well:
                    yield code, node, value


def _written(value: Fraction, new: str) -> str:
    if new == "sleep_ms":
        return str(int(value * 1000))
    seconds = value / 1000
    return str(int(seconds)) if seconds.denominator == 1 else f"{float(seconds):.3f}".rstrip("0")


def _imports(code: Code, old: str, new: str, changed: Sequence[ast.Call]) -> Iterator[Edit]:
    """`from time import sleep` has to name what is called now."""
    bare = {id(call.func) for call in changed if isinstance(call.func, ast.Name)}
    if not bare:
        return
    still = any(isinstance(node, ast.Name) and node.id == old and id(node) not in bare for node in ast.walk(code.tree))
    imports = [
        node
        for node in ast.walk(code.tree)
        if isinstance(node, ast.ImportFrom) and any(alias.name == old and not alias.asname for alias in node.names)
    ]
    if len(imports) != 1 or imports[0].lineno != imports[0].end_lineno:
        raise Doubt("an import that is not understood")
    names = [ast.unparse(alias) for alias in imports[0].names]
    if still:
        names = names if new in names else [*names, new]
    else:
        names = [name for name in names if name != old] if new in names else [new if n == old else n for n in names]
    yield Edit(code.text, *code.span(imports[0]), f"from {imports[0].module} import {', '.join(names)}")
