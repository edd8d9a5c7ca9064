"""Bugs: the broken program differs from the whole one in the mistake alone, and the answer says which it is."""

from __future__ import annotations

import json
import random
import re
from collections import Counter
from pathlib import Path

import pytest

from stages.corpus.rewrite import bugfix_pairs, compiles, fenced_python
from stages.corpus.rewrite.bugpairs import bugs_in
from stages.corpus.rewrite.texts import edited, parse

CORPUS = Path(__file__).parents[1] / "corpus"

# kind; the part of a program that is right; what it becomes; what the symptom, and what the cause has to say.
CASES = [
    ("unit of a pause", "time.sleep_ms(500)", "time.sleep(500)", "many seconds", "waits 500 of them"),
    ("unit of a pause", "time.sleep_ms(PAUSE_MS)", "time.sleep(PAUSE_MS)", "many seconds", "`PAUSE_MS` is in millis"),
    ("unit of a pause", "time.sleep(2)", "time.sleep_ms(2)", "so short", "waits 2 ms"),
    ("unit of a pause", "time.sleep(0.5)", "time.sleep_ms(0.5)", "can't convert float to int", "whole milliseconds"),
    ("no output", "led = Pin(15, Pin.OUT)\nled.on()", "led = Pin(15)\nled.on()", "`led` never changes", "Pin.OUT"),
    (
        "no pull-up", "b = Pin(1, Pin.IN, Pin.PULL_UP)\nprint(not b.value())",
        "b = Pin(1, Pin.IN)\nprint(not b.value())", "at random", "picks up noise",
    ),
    (
        "wrong pull", "b = Pin(1, Pin.IN, Pin.PULL_UP)\nprint(b.value() == 0)",
        "b = Pin(1, Pin.IN, Pin.PULL_DOWN)\nprint(b.value() == 0)", "reads 0 all the time", "holds it low",
    ),
    (
        "wrong edge", "b = Pin(1, Pin.IN, Pin.PULL_UP)\nb.irq(trigger=Pin.IRQ_FALLING, handler=print)",
        "b = Pin(1, Pin.IN, Pin.PULL_UP)\nb.irq(trigger=Pin.IRQ_RISING, handler=print)", "is released", "level fall",
    ),
    ("object instead of value", "if b.value() == 0:\n    b.on()", "if b == 0:\n    b.on()", "never true", "b.value()"),
    (
        "handler called", "def f(p):\n    pass\nb.irq(handler=f)", "def f(p):\n    pass\nb.irq(handler=f())",
        "takes 1 positional arguments but 0", "without parentheses",
    ),
    (
        "allocation in an interrupt", "def f(p):\n    n[0] += 1\nb.irq(handler=f, hard=True)",
        'def f(p):\n    print("interrupt from " + str(p))\n    n[0] += 1\nb.irq(handler=f, hard=True)',
        "heap is locked", "hard interrupt",
    ),
    ("range of the duty", "pwm.duty_u16(32768)", "pwm.duty_u16(511)", "too weak", "511 is only 0.8 percent"),
    ("range of the reading", "v = a.read_u16() / 65535", "v = a.read_u16() / 4095", "16 times", "0 to 65535"),
    (
        "lines swapped", "i2c = I2C(0, sda=Pin(4), scl=Pin(5))\ni2c.scan()",
        "i2c = I2C(0, scl=Pin(5), sda=Pin(4))\ni2c.scan()".replace("scl=Pin(5), sda=Pin(4)", "sda=Pin(5), scl=Pin(4)"),
        "bad SCL pin", "GP5 can only be SCL",
    ),
    (
        "lines swapped", "i2c = SoftI2C(sda=Pin(4), scl=Pin(5))\ni2c.scan()",
        "i2c = SoftI2C(sda=Pin(5), scl=Pin(4))\ni2c.scan()", "empty list", "swapped",
    ),
    (
        "wrong address", "MPU = 0x68\ni2c.writeto(MPU, b'')", "MPU = 0xD0\ni2c.writeto(MPU, b'')", "OSError",
        "7 bits before it: 0x68",
    ),
    (
        "ticks subtracted", "while True:\n    d = time.ticks_diff(now, last)", "while True:\n    d = (now - last)",
        "for days", "wraps around",
    ),
    ("missing import", "import time\nx = time.ticks_ms()", "x = time.ticks_ms()", "name 'time'", "`import time`"),
    (
        "missing import", "from machine import ADC, Pin\nx = ADC(Pin(26))", "from machine import Pin\nx = ADC(Pin(26))",
        "name 'ADC'", "from machine import ADC",
    ),
    ("= for ==", "if x == 1:\n    y()", "if x = 1:\n    y()", "SyntaxError", "`x == 1` compares"),
    (
        "== for =", "last = 0\nwhile a():\n    last = now", "last = 0\nwhile a():\n    last == now",
        "`last` always stays 0", "only compares",
    ),
    (
        "off by one", "for i in range(len(x)):\n    print(x[i])", "for i in range(len(x) + 1):\n    print(x[i])",
        "IndexError", "from 0 to `len(x) - 1`",
    ),
    (
        "off by one", "for i in range(len(x)):\n    print(x[i])", "for i in range(1, len(x)):\n    print(x[i])",
        "first element", "begin at 0",
    ),
    (
        "step of the wrong sign", "for i in range(9, -1, -1):\n    y(i)", "for i in range(9, -1, 1):\n    y(i)",
        "never entered", "negative",
    ),
    (
        "missing self", "class A:\n    def go(self, n):\n        return n\na = A()\na.go(1)",
        "class A:\n    def go(n):\n        return n\na = A()\na.go(1)", "takes 1 positional arguments but 2",
        "`def go(self, n)`",
    ),
    (
        "missing self", "class A:\n    def get(self):\n        return self._n",
        "class A:\n    def get(self):\n        return _n", "name '_n'", "`self._n`",
    ),
    (
        "missing await", "async def f():\n    while True:\n        await asyncio.sleep(1)",
        "async def f():\n    while True:\n        asyncio.sleep(1)", "Nothing else runs", "`await asyncio.sleep(1)`",
    ),
    ("missing parentheses", "led.toggle()", "led.toggle", "`led.toggle` seems", "`led.toggle()`"),
    (
        "missing global", "n = 0\ndef f():\n    global n\n    n += 1", "n = 0\ndef f():\n    n += 1",
        "referenced before assignment", "`global n`",
    ),
    ("missing return", "def f(x):\n    return x + 1", "def f(x):\n    x + 1", "`f` always gives", "`return x + 1`"),
    ("missing colon", "while a():\n    y()", "while a()\n    y()", "SyntaxError", "`while a():`"),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "right", "wrong", "symptom", "cause"), CASES)
def test_mistakes(kind: str, right: str, wrong: str, symptom: str, cause: str) -> None:
    source = right + "\n"
    code = parse(0, 0, source)
    assert code
    found = {edited([source], [bug.edit])[0].lstrip("\n"): bug for bug in bugs_in(code) if bug.kind == kind}
    bug = found[wrong + "\n"]
    assert symptom in bug.symptom and cause in bug.cause
    assert bug.symptom.endswith(".") and bug.cause.endswith(".") and bug.symptom[0] in "`ABCDEFGHIJKLMNOPQRSTUVWXYZ"


@pytest.mark.parametrize(
    ("kind", "source"),
    [
        ("missing import", "import micropython\n\n@micropython.native\ndef f():\n    pass\n"),  # compiles without
        ("missing import", "from micropython import const\nX = const(1)\n"),
        ("missing import", "import os as files\nfiles.listdir()\n"),
        ("unit of a pause", "time.sleep_ms(10)\ntime.sleep(x)\ntime.sleep(3600)\n"),
        ("no output", 'led = Pin("LED", Pin.OUT)\nled.on()\n'),  # the LED of a Pico W needs none
        ("no output", "led = Pin(15, Pin.OUT)\nprint(led)\n"),
        ("no pull-up", "b = Pin(1, Pin.IN, Pin.PULL_UP)\nprint(b.value())\n"),
        ("wrong edge", "b = Pin(1, Pin.IN, Pin.PULL_DOWN)\nb.irq(trigger=Pin.IRQ_FALLING)\n"),
        ("handler called", "def f(p, q=1):\n    pass\nb.irq(handler=f)\n"),
        ("allocation in an interrupt", "def f(p):\n    n[0] += 1\nb.irq(handler=f)\n"),
        ("range of the duty", "pwm.duty_u16(100)\npwm.duty_u16(x)\n"),
        ("lines swapped", "i2c = I2C(0, sda=Pin(2), scl=Pin(3))\ni2c.scan()\n"),  # no pins of this bus
        ("lines swapped", "# stm32\ni2c = I2C(0, sda=Pin(4), scl=Pin(5))\ni2c.scan()\n"),
        ("wrong address", "REG = 0x10\ni2c.writeto_mem(MPU, REG, b'')\n"),
        ("== for =", "n = 0\ndef f():\n    global n\n    n = 1\nn = 2\n"),
        ("== for =", "n = 0\nn = 1\nn = 2\n"),
        ("off by one", "for i in range(len(x)):\n    print(i)\n"),
        ("off by one", "for i in range(len(x)):\n    print(x[i], x[i - 1])\n"),
        ("step of the wrong sign", "for i in range(9, 20, -1):\n    y(i)\n"),
        ("missing self", "class A:\n    def go(self, n=1):\n        return n\na = A()\na.go(1)\n"),
        ("missing self", "_n = 1\nclass A:\n    def get(self):\n        return self._n + _n\n"),
        ("missing await", "async def f():\n    await asyncio.sleep(1)\n"),
        ("missing return", "def f(x):\n    if x:\n        return 1\n    return x + 1\n"),
        ("missing return", "def f(x):\n    yield x\n    return x\n"),
        ("ticks subtracted", "d = time.ticks_diff(now, last)\n"),
    ],
)
def test_where_the_text_would_not_be_true_there_is_no_mistake(kind: str, source: str) -> None:
    code = parse(0, 0, source)
    assert code and kind not in {bug.kind for bug in bugs_in(code)}


def answers() -> list[str]:
    return [
        "\n".join(message["content"] for message in json.loads(line)["messages"] if message["role"] == "assistant")
        for path in sorted((CORPUS / "pairs").glob("*.jsonl"))
        for line in path.read_text(encoding="utf-8").split("\n")[::9]
        if line
    ]


def test_pairs_of_the_shipped_corpus_hold_the_whole_program_in_the_answer_and_a_broken_one_in_the_question() -> None:
    texts = answers() + [path.read_text(encoding="utf-8") for path in sorted((CORPUS / "code").glob("*.py"))[::9]]
    made = 0
    for text in texts:
        for question, answer in bugfix_pairs(text, random.Random(text), 3):
            made += 1
            (broken,), (whole,) = fenced_python(question), fenced_python(answer)
            assert compiles(whole) and broken != whole
            assert len(set(broken.split("\n")) ^ set(whole.split("\n"))) <= 3
            assert compiles(broken) or "SyntaxError" in question
            asked, told = question.split("```")[0], answer.split("```")[0]
            assert asked.count("`") % 2 == told.count("`") % 2 == 0
            assert not re.search(r"\{|\}\}", asked.replace("{}", "")) or "`" in asked
    assert made >= 40


def test_kinds_do_not_repeat_and_rare_ones_come_first() -> None:
    source = (
        "from machine import Pin\nimport time\n\nled = Pin(15, Pin.OUT)\nwhile True:\n    led.toggle()\n"
        "    time.sleep(0.5)\n    led.off()\n"
    )
    for seed in range(5):
        asked = [question for question, _ in bugfix_pairs(source, random.Random(seed), 9)]
        assert len(asked) >= 5
    firsts = Counter(bugfix_pairs(source, random.Random(seed), 1)[0][0].split("```")[0] for seed in range(40))
    assert len(firsts) > 5 and not any("led.off` seems" in first for first in firsts)


def test_the_same_seed_gives_the_same_pairs_and_what_is_broken_gives_none() -> None:
    text = answers()[0]
    assert bugfix_pairs(text, random.Random(3), 2) == bugfix_pairs(text, random.Random(3), 2)
    assert bugfix_pairs("def def\n" * 6, random.Random(1), 2) == [] and bugfix_pairs("", random.Random(1), 2) == []
