"""Uses of the API: what exists, what does not, what cannot be told; on invented programs and on the whole corpus."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.evaluation.api import NOT_BUILT_IN, Uses, uses
from stages.evaluation.api_names import INDEX, api

PROJECT = Path(__file__).parents[1]


def unknown(code: str) -> tuple[str, ...]:
    return uses(code).unknown


@pytest.mark.parametrize(
    ("code", "names"),
    [
        # a module's names, however it was imported
        ("import time\ntime.delay(3)", ["time.delay"]),
        ("import utime as t\nt.monotonic()", ["time.monotonic"]),
        ("from time import sleep, millis", ["time.millis"]),
        ("import uos\nuos.path.exists('a')", ["os.path"]),
        ("import os\nos.makedirs('a')", ["os.makedirs"]),
        ("import json\njson.parse('1')", ["json.parse"]),
        ("import random\nrandom.shuffle([1])", ["random.shuffle"]),
        ("import asyncio\nq = asyncio.Queue()", ["asyncio.Queue"]),
        ("import re\nre.findall('a', 'b')", ["re.findall"]),
        ("import sys\nprint(sys.version_string)", ["sys.version_string"]),
        ("from machine import *\nPin(2).setMode(1)", ["machine.Pin.setMode"]),
        ("import machine\ndef f():\n    return machine.Button(3)", ["machine.Button"]),
        # modules that are none
        ("import RPi.GPIO as GPIO\nGPIO.setup(1)", ["RPi.GPIO"]),
        ("import numpy as np", ["numpy"]),
        ("from digitalio import DigitalInOut", ["digitalio"]),
        ("import board, time", ["board"]),
        # constants and methods of objects
        ("import machine\nmachine.Pin(2).blink()", ["machine.Pin.blink"]),
        ("from machine import Pin\nPin(1, Pin.OUTPUT)", ["machine.Pin.OUTPUT"]),
        ("from machine import ADC\nadc = ADC(26)\nprint(adc.read_volts())", ["machine.ADC.read_volts"]),
        ("import network\nw = network.WLAN(network.STA_IF)\nw.is_connected()", ["network.WLAN.is_connected"]),
        ("from neopixel import NeoPixel as N\nn = N(1, 8)\nn.show()", ["neopixel.NeoPixel.show"]),
        ("from machine import UART\nwith UART(1) as u:\n    u.available()", ["machine.UART.available"]),
        ("from machine import Timer\nTimer().start()", ["machine.Timer.start"]),
        ("import machine\nclass A:\n    machine = 3\n    def go(self):\n        machine.blink()", ["machine.blink"]),
        # of what is built in
        ("x = (1 + 2 * 3).bit_length()", ["int.bit_length"]),
        ("'a'.removeprefix('b')", ["str.removeprefix"]),
        ("print(f'{1}'.zfill(3))", ["str.zfill"]),
        ("('a' + x).trim()", ["str.trim"]),
        ("[1, 2].push(3)", ["list.push"]),
        ("x = {}\nx.has_key(2)", ["dict.has_key"]),
        ("print(vars())", ["vars"]),
        ("try:\n    go()\nexcept FileNotFoundError:\n    pass", ["FileNotFoundError"]),
        ("try:\n    go()\nexcept OSError as e:\n    print(e.strerror)", ["OSError.strerror"]),
        ("with open('a') as f:\n    f.readall()", ["io._File.readall"]),
        # followed through lists, loops, functions, classes and coroutines
        ("from machine import Pin\nfor i, p in enumerate([Pin(1), Pin(2)]):\n    p.flash()", ["machine.Pin.flash"]),
        ("from machine import Pin\nps = [Pin(n) for n in (1, 2)]\nps[0].flash()", ["machine.Pin.flash"]),
        ("from machine import Pin\nps = {'a': Pin(1)}\nfor k, p in ps.items():\n    p.flash()", ["machine.Pin.flash"]),
        ("from machine import I2C\na, b = I2C(0), I2C(1)\nb.read_byte()", ["machine.I2C.read_byte"]),
        ("from machine import I2C\ndef bus():\n    return I2C(0)\nbus().read_byte()", ["machine.I2C.read_byte"]),
        ("from machine import I2C\ndef go(bus: I2C):\n    bus.read_byte()", ["machine.I2C.read_byte"]),
        ("from machine import ADC\nx = None\ndef f():\n    global x\n    x = ADC(1)\nx.volts()", ["machine.ADC.volts"]),
        (
            "import machine\nclass A:\n    def __init__(self):\n        self.bus = machine.I2C(0)\n"
            "    def go(self):\n        self.bus.read_byte(1)\nA().bus.nothing()",
            ["machine.I2C.read_byte", "machine.I2C.nothing"],
        ),
        ("import framebuf\nclass D(framebuf.FrameBuffer):\n    def go(self):\n        self.circle()\nD().fill(0)",
         ["framebuf.FrameBuffer.circle"]),
        ("import asyncio\nasync def go():\n    r, w = await asyncio.open_connection()\n    await r.readuntil(b'x')",
         ["asyncio.StreamReader.readuntil"]),
        ("import time\nprint(time.localtime().tm_year)", ["tuple.tm_year"]),
        ("for part in 'a,b'.split(','):\n    part.trim()", ["str.trim"]),
        # each use counts, also where an error is caught that it does not raise
        ("import time\ntry:\n    time.delay(1)\nexcept OSError:\n    time.delay(2)", ["time.delay"] * 2),
        ("import time\ntry:\n    time.delay(1)\nexcept Exception:\n    pass", ["time.delay"]),
    ],
)  # fmt: skip
def test_a_name_that_micropython_lacks_is_unknown(code: str, names: list[str]) -> None:
    assert list(unknown(code)) == names


@pytest.mark.parametrize(
    "code",
    [
        # other kinds of the same name, parameters, what comes from elsewhere
        "from machine import Pin\nx = Pin(1)\nx = make()\nx.blink()",
        "def f(pin, *rest, **more):\n    pin.blink()\n    rest.blink()\n    more.blink()",
        "from machine import Pin\nps = [Pin(1)]\nps[0] = Other()\nps[0].blink()",
        "from machine import Pin\nps = [Pin(1)]\nps.append(Other())\nps[1].blink()",
        "led.blink()\nsleep_ms(3)",
        "from helpers_config import *\nprint(vars)",
        "import wifi_config\nwifi_config.anything",
        "from . import other\nother.anything()",
        # asked for before it is used, or its absence is handled
        "import machine\nif hasattr(machine, 'blink'):\n    machine.blink()",
        "try:\n    import foo\nexcept ImportError:\n    import bar as foo\nfoo.bar()",
        "import time\ntry:\n    time.monotonic()\nexcept AttributeError:\n    pass",
        # the program's own
        "class Pin:\n    def blink(self):\n        pass\nPin().blink()",
        "class A:\n    pass\na = A()\na.x = 3\nprint(a.x, A.y)",
        "def vars():\n    pass\nvars()",
        "class time:\n    delay = 3\ntime.delay",
        "import framebuf\nclass D(framebuf.FrameBuffer):\n    def go(self):\n        self.show()\n"
        "class E(D):\n    def show(self):\n        self.fill(0)\nE().go()",
        "class E(Exception):\n    pass\ntry:\n    go()\nexcept E as e:\n    print(e.reason)",
        # open classes, private and dunder names, stores
        "import uctypes\nuctypes.struct(0, {}).field",
        "from machine import Pin\nPin.board.LED_GREEN\nPin.cpu.A0",
        "import sys, machine\nsys.implementation._mpy\nmachine.Pin._x\nmachine.__name__",
        "import neopixel\nn = neopixel.NeoPixel(1, 2)\nn.brightness = 0.5",
        "from machine import Pin\nx = 1 + Pin(2)\nx.anything()\ny = 1 / 2\ny.bit_length()",
        # other languages
        "import rp2\n@rp2.asm_pio()\ndef f():\n    pins.nothing()\n    vars()",
    ],
)
def test_what_cannot_be_told_is_not_unknown(code: str) -> None:
    assert unknown(code) == ()


def test_uses_are_counted_one_by_one() -> None:
    code = "from machine import Pin\nled = Pin(15, Pin.OUT)\nled.on()\nlen(led.blink(x))\n"
    # machine, Pin, Pin.OUT, on, len; blink; x
    assert uses(code) == Uses(known=5, unknown=("machine.Pin.blink",), unchecked=1)


def test_a_name_of_another_port_is_known_and_told_with_its_port() -> None:
    found = uses("import esp32\nfrom machine import DAC\nimport logging\nlogging.getLogger('a')\nprint(pyb)")
    assert found.elsewhere == (
        "esp32 (esp32)", "machine.DAC (esp32, samd)", "logging (micropython-lib)",
    )  # fmt: skip
    assert found.unknown == () and found.unchecked == 2


def test_drivers_that_can_be_installed_are_known() -> None:
    for name in (
        "ssd1306",
        "neopixel",
        "dht",
        "onewire",
        "ds18x20",
        "sdcard",
        "umqtt.simple",
        "requests",
        "mip",
        "aioble",
    ):
        assert uses(f"import {name}").known == 1, name
    assert uses("from sdcard import SDCard\nSDCard(1, 2).anything()") == Uses(
        2, (), 1, ("sdcard (micropython-lib)", "sdcard.SDCard (micropython-lib)")
    )


@pytest.mark.parametrize("code", ["", "def f(:", "Turn it on.", "(" * 5000, "x = 1\0", "-" * 50_000 + "1", "\ud800"])
def test_what_is_no_program_uses_nothing(code: str) -> None:
    assert uses(code) == Uses()


def test_values_that_lead_in_circles_end() -> None:
    assert unknown("a = b\nb = a\na.x\nclass A(A):\n    pass\nA().x\ndef f():\n    return f()\nf().x") == ()
    chain = "\n".join(f"def f{i}():\n    return f{i + 1}()" for i in range(900))
    assert uses(f"{chain}\nimport time\ntime.delay(f0().x)") == Uses(1, ("time.delay",), 2)


def programs() -> Iterator[tuple[str, str]]:
    for path in sorted((PROJECT / "corpus/code").glob("*.py")):
        yield path.name, path.read_text(encoding="utf-8")
    for path in sorted((PROJECT / "corpus/pairs").glob("*.jsonl")):
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            for message in json.loads(line)["messages"]:
                if message["role"] == "assistant":
                    for block in re.findall(r"^```python\n(.*?)^```", message["content"], re.DOTALL | re.MULTILINE):
                        yield f"{path.name}:{number}", block


@cache
def corpus() -> dict[str, Uses]:
    return {name: uses(code) for name, code in programs()}


def test_the_corpus_uses_nothing_that_does_not_exist() -> None:
    """Its programs are meant to be right: what is unknown here is wrong in the index, the checker or the program."""
    found = [(name, told.unknown) for name, told in corpus().items() if told.unknown]
    # The boards' errno has no ENOSPC; the program would only come to it with a full disk.
    assert {*found} <= {("filesystem_tool_tree_copy_rotate.py", ("errno.ENOSPC",))}


def test_most_uses_in_the_corpus_can_be_told() -> None:
    known, unchecked = (sum(getattr(told, kind) for told in corpus().values()) for kind in ("known", "unchecked"))
    assert known > 8000 and unchecked < 0.1 * known


LINES = """
import machine|from machine import Pin as p|x = machine|x = p(1)|def x(): return y|class x(y): pass|y = x|x.on()
y.blink()|for x in y: x.on()|x = [y]|x, y = y, x|del x|y = lambda x: y|x = (y := x)|global x|y = y()
x = [y for y in x for x in y]
"""


@given(st.lists(st.sampled_from(LINES.strip().replace("\n", "|").split("|")), max_size=12))
@settings(max_examples=200, deadline=None)
def test_any_program_is_counted_and_every_unknown_use_stands_in_it(lines: list[str]) -> None:
    code = "\n".join(lines)
    found = uses(code)
    written = sum(isinstance(node, ast.Attribute | ast.Name | ast.alias) for node in ast.walk(ast.parse(code)))
    assert len(found.unknown) + found.known + found.unchecked <= written + code.count("from")
    assert all(name.rpartition(".")[2] in code for name in found.unknown)


def test_the_index_is_small_and_says_where_it_is_from() -> None:
    assert INDEX.stat().st_size < 150_000
    assert {(source["name"], source["license"]) for source in api().sources} >= {
        ("micropython-rp2-stubs", "MIT"), ("micropython-stdlib-stubs", "MIT"), ("micropython-esp32-stubs", "MIT"),
        ("micropython-lib", "MIT"),
    }  # fmt: skip
    assert all(source["version"] for source in api().sources)


def test_what_is_built_into_cpython_alone_is_not_in_the_index() -> None:
    assert not [name for name in NOT_BUILT_IN if api().in_module("builtins", name)]
