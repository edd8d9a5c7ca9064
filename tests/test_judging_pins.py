"""Level 2: right solutions in another style and subtly wrong ones are judged rightly: lights, buttons, switches."""

from __future__ import annotations

import pytest

from stages.evaluation.node import SandboxUnavailable, find_interpreter
from stages.evaluation.task import judge_all
from stages.evaluation.tasks import SUITE

TASKS = {task.id: task for task in SUITE}

RIGHT = {
    "pins/traffic-phases": """\
import asyncio
from machine import Pin
lamps = [Pin(n, Pin.OUT) for n in (6, 7, 8)]
async def main():
    while True:
        for pattern, seconds in (("100", 3), ("110", 1), ("001", 2), ("010", 1)):
            for lamp, c in zip(lamps, pattern):
                lamp.value(int(c))
            await asyncio.sleep(seconds)
asyncio.run(main())
""",
    "pins/low-lights": """\
from machine import Pin, Signal, Timer
leds = [Signal(Pin(n, Pin.OUT), invert=True) for n in range(10, 14)]
for led in leds: led.off()
index = 3
def step(timer):
    global index
    leds[index].off()
    index = (index + 1) % 4
    leds[index].on()
step(None)
Timer(period=250, mode=Timer.PERIODIC, callback=step)
while True:
    pass
""",
    "pins/shorter-flashes": """\
from machine import Pin
import utime
led = Pin(20, Pin.OUT)
led.value(0)
for i in range(8):
    if i > 0:
        utime.sleep(0.15)
    led.value(1)
    utime.sleep(0.4 - i * 0.04)
    led.value(0)
""",
    "pins/every-third-flash": """\
from machine import Pin
import time
a, b = Pin(3, Pin.OUT), Pin(4, Pin.OUT)
a.off(); b.off()
start = time.ticks_ms()
while True:
    n, phase = divmod(time.ticks_diff(time.ticks_ms(), start), 300)
    lit = phase < 100
    a.value(lit)
    b.value(lit and n % 3 == 2)
    time.sleep_ms(1)
""",
    "pins/double-strobe": """\
import time
from machine import Pin
left = Pin(10, Pin.OUT)
right = Pin(11, Pin.OUT)
def flash(p, times=2):
    for i in range(times * 2):
        p.value((i + 1) % 2)
        time.sleep(0.06)
while True:
    flash(left)
    flash(right)
""",
    "pins/bouncing-dot": """\
import time
from machine import Pin
pins = [Pin(i, Pin.OUT) for i in range(2, 7)]
position, direction = 0, 1
while True:
    for i, pin in enumerate(pins):
        pin.value(1 if i == position else 0)
    time.sleep(.15)
    if not 0 <= position + direction < len(pins):
        direction = -direction
    position += direction
""",
    "pins/start-stop": """\
from machine import Pin
start = Pin(10, Pin.IN, Pin.PULL_UP)
stop = Pin(11, Pin.IN, Pin.PULL_UP)
relay = Pin(15, Pin.OUT, value=0)
def on_start(p):
    if stop.value():
        relay.value(1)
def on_stop(p):
    relay.value(0)
start.irq(on_start, Pin.IRQ_FALLING)
stop.irq(on_stop, Pin.IRQ_FALLING)
""",
    "pins/fan-run-on": """\
from machine import Pin, Timer
light = Pin(12, Pin.IN, Pin.PULL_UP)
fan = Pin(13, Pin.OUT)
fan.off()
timer = Timer()
def changed(pin):
    if light.value() == 0:
        timer.deinit()
        fan.on()
    else:
        timer.init(mode=Timer.ONE_SHOT, period=2000, callback=lambda t: fan.off())
light.irq(trigger=Pin.IRQ_RISING | Pin.IRQ_FALLING, handler=changed)
""",
    "pins/two-way-switches": """\
from machine import Pin
import asyncio
switches = [Pin(p, Pin.IN, Pin.PULL_DOWN) for p in (6, 7)]
lamp = Pin(8, Pin.OUT, value=0)
async def main():
    while True:
        lamp(1 if sum(s() for s in switches) == 1 else 0)
        await asyncio.sleep_ms(10)
asyncio.run(main())
""",
    "pins/hold-to-switch": """\
import time
from machine import Pin
b = Pin(16, Pin.IN, Pin.PULL_UP)
lamp = Pin(17, Pin.OUT)
lamp.off()
since = None
done = False
while True:
    if b.value():
        since, done = None, False
    elif since is None:
        since = time.ticks_ms()
    elif not done and time.ticks_diff(time.ticks_ms(), since) >= 1500:
        lamp.value(1 - lamp.value())
        done = True
    time.sleep_ms(2)
""",
    "pins/quiz-buzzers": """\
from machine import Pin
winner = None
leds = {}
def pressed(pin):
    global winner
    if winner is None and pin in leds:
        winner = leds[pin]
        winner.on()
for b, l in ((2, 10), (3, 11), (4, 12)):
    p = Pin(b, Pin.IN, Pin.PULL_UP)
    leds[p] = Pin(l, Pin.OUT, value=0)
    p.irq(handler=pressed, trigger=Pin.IRQ_FALLING)
def reset(pin):
    global winner
    if winner:
        winner.off()
    winner = None
host = Pin(5, Pin.IN, Pin.PULL_UP)
host.irq(handler=reset, trigger=Pin.IRQ_FALLING)
""",
    "pins/every-fifth-item": """\
from machine import Pin, Timer
led = Pin(9, Pin.OUT, value=0)
n = 0
t = Timer(-1)
def item(pin):
    global n
    n += 1
    if n == 5:
        n = 0
        led.on()
        t.init(period=100, mode=Timer.ONE_SHOT, callback=lambda t: led.off())
Pin(7, Pin.IN, Pin.PULL_UP).irq(item, Pin.IRQ_FALLING)
""",
    "pins/double-press": """\
from machine import Pin
import time
led = Pin(21, Pin.OUT, value=0)
last = None
def pressed(pin):
    global last
    now = time.ticks_ms()
    if last is None or time.ticks_diff(now, last) >= 400:
        last = now
    else:
        led.toggle()
        last = None
button = Pin(20, Pin.IN, Pin.PULL_UP)
button.irq(trigger=Pin.IRQ_FALLING, handler=pressed)
while True:
    time.sleep(1)
""",
}

# what is changed in the right solution above: it runs, and is wrong
CHANGES = (
    ("pins/traffic-phases", '("010", 1)', '("010", 2)'),
    ("pins/low-lights", ", invert=True", ""),
    ("pins/shorter-flashes", "i * 0.04", "i * 0.4 / 8"),
    ("pins/every-third-flash", "n % 3 == 2", "n % 3 == 0"),
    ("pins/double-strobe", "times * 2", "times * 2 - 1"),
    (
        "pins/bouncing-dot",
        "        direction = -direction\n",
        "        direction, position = -direction, position - direction\n",
    ),
    ("pins/start-stop", "    if stop.value():\n        relay", "    relay"),
    ("pins/fan-run-on", "        timer.deinit()\n", ""),
    ("pins/two-way-switches", "== 1 else", ">= 1 else"),
    ("pins/hold-to-switch", "        done = True\n", "        since = None\n"),
    ("pins/quiz-buzzers", "    winner = None\nhost", "host"),
    ("pins/every-fifth-item", "n == 5", "n == 6"),
    ("pins/double-press", "        last = None\nbutton", "        last = now\nbutton"),
)


def spoilt(id: str, before: str, after: str) -> tuple[str, str]:
    assert RIGHT[id].count(before) == 1, (id, before)
    return id, RIGHT[id].replace(before, after)


WRONG = [spoilt(*change) for change in CHANGES]


@pytest.mark.parametrize(("answers", "expected"), [([*RIGHT.items()], True), (WRONG, False)], ids=["right", "wrong"])
def test_other_solutions_are_judged_rightly(answers: list[tuple[str, str]], expected: bool) -> None:
    try:
        find_interpreter()
    except SandboxUnavailable as missing:
        pytest.skip(str(missing))
    judged = [*judge_all([(TASKS[id], source) for id, source in answers], workers=2)]
    assert [(task.id, v.reason) for task, _, v in judged if v.passed != expected] == []
    assert [task.id for task, outcome, _ in judged if outcome.raised is not None] == []
