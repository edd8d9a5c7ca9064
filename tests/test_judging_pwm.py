"""Level 2: right solutions in another style and subtly wrong ones are judged rightly: PWM and chips."""

from __future__ import annotations

import pytest

from stages.evaluation.node import SandboxUnavailable, find_interpreter
from stages.evaluation.task import judge_all
from stages.evaluation.tasks import SUITE

TASKS = {task.id: task for task in SUITE}

RIGHT = {
    "pins/gauge-needle": """\
from machine import Pin, PWM
import time
def angle(servo, degrees):
    us = 1000 + degrees * 1000 / 90
    servo.duty_u16(int(us / 20000 * 65535))
servo = PWM(Pin(4))
servo.freq(50)
positions = [0, 30, 75, 90]
i = 0
while True:
    angle(servo, positions[i])
    i = (i + 1) % len(positions)
    time.sleep(0.6)
""",
    "pins/common-anode": """\
from machine import Pin, PWM
import time
r, g, b = PWM(Pin(18)), PWM(Pin(19)), PWM(Pin(20))
for p in (r, g, b):
    p.freq(1000)
def colour(red=0, green=0, blue=0):
    for p, share in ((r, red), (g, green), (b, blue)):
        p.duty_u16(65535 - int(65535 * share))
while True:
    colour(1); time.sleep(0.5)
    colour(1, 0.4); time.sleep(0.5)
    colour(green=1); time.sleep(0.5)
    colour(red=0.2, blue=1); time.sleep(0.5)
""",
    "pins/door-chime": """\
import asyncio
from machine import Pin, PWM
async def main():
    button = Pin(9, Pin.IN, Pin.PULL_UP)
    while True:
        while button.value():
            await asyncio.sleep_ms(5)
        pwm = PWM(Pin(22))
        for f, s in ((660, 0.3), (520, 0.5)):
            pwm.freq(f)
            pwm.duty_u16(1 << 15)
            await asyncio.sleep(s)
        pwm.duty_u16(0)
        pwm.deinit()
        quiet = 0
        while quiet < 4:
            quiet = quiet + 1 if button.value() else 0
            await asyncio.sleep_ms(10)
asyncio.run(main())
""",
    "pins/brighter-darker": """\
from machine import Pin, PWM
import time
led = PWM(Pin(15))
led.freq(500)
duty = 2
def show():
    led.duty_u16(min(65535, duty * 16384))
show()
last = {}
def handler(pin):
    global duty
    now = time.ticks_ms()
    quiet = time.ticks_diff(now, last.get(pin, -1000)) > 30
    last[pin] = now
    if quiet and pin.value() == 0:
        if pin is up and duty < 4: duty += 1
        if pin is down and duty > 0: duty -= 1
        show()
up = Pin(10, Pin.IN, Pin.PULL_UP)
down = Pin(11, Pin.IN, Pin.PULL_UP)
for p in (up, down):
    p.irq(handler, Pin.IRQ_FALLING | Pin.IRQ_RISING)
""",
    "pins/metronome": """\
from machine import Pin, PWM, Timer
import time
buzzer = PWM(Pin(16))
buzzer.freq(1600)
buzzer.duty_u16(0)
beat = 0
def click(t=None):
    global beat
    buzzer.freq(1000 if beat % 4 else 1600)
    buzzer.duty_u16(32767)
    time.sleep_ms(20)
    buzzer.duty_u16(0)
    beat += 1
Timer(-1, freq=2, callback=click)
click()
""",
    "pins/warm-and-cold": """\
import time
from machine import Pin, PWM
warm, cold = PWM(Pin(10)), PWM(Pin(11))
warm.freq(1000)
cold.freq(1000)
t0 = time.ticks_ms()
while True:
    t = time.ticks_diff(time.ticks_ms(), t0) % 6000
    c = t / 3000 if t < 3000 else (6000 - t) / 3000
    warm.duty_u16(int(65535 * (1 - c)))
    cold.duty_u16(int(65535 * c))
    time.sleep(0.04)
""",
    "pins/soft-motor": """\
from machine import Pin, PWM
from time import sleep
d = Pin(12, Pin.OUT, value=1)
m = PWM(Pin(14))
m.freq(20000)
top = int(0.8 * 65535)
def ramp(a, b):
    for i in range(1, 41):
        m.duty_u16(a + (b - a) * i // 40)
        sleep(1 / 40)
def run():
    ramp(0, top)
    sleep(1)
    ramp(top, 0)
m.duty_u16(0)
run()
d.off()
run()
m.duty_u16(0)
m.deinit()
""",
    "pins/seven-segment-countdown": """\
from machine import Pin
import time
CODES = [0x3F, 0x06, 0x5B, 0x4F, 0x66, 0x6D, 0x7D, 0x07, 0x7F, 0x6F]
pins = []
for n in range(2, 9):
    pins.append(Pin(n, Pin.OUT))
def write(mask):
    for i in range(7):
        pins[i].value((mask >> i) & 1)
for code in reversed(CODES):
    write(code)
    time.sleep(0.5)
write(0)
""",
    "pins/register-bar": """\
from machine import Pin, Timer
ser, clk, lat = Pin(10, Pin.OUT), Pin(11, Pin.OUT), Pin(12, Pin.OUT)
n = 0
def update(t):
    global n
    n = n % 8 + 1
    lat(0)
    for place in range(8):
        clk(0)
        ser(1 if 8 - place <= n else 0)
        clk(1)
    lat(1)
update(None)
timer = Timer(period=200, callback=update)
""",
    "pins/half-steps": """\
from machine import Pin
import time
pins = [Pin(i, Pin.OUT) for i in (6, 7, 8, 9)]
SEQ = [0b1000, 0b1100, 0b0100, 0b0110, 0b0010, 0b0011, 0b0001, 0b1001]
pos = 0
def out(mask):
    for i in range(4):
        pins[i].value(mask >> (3 - i) & 1)
def step(by):
    global pos
    pos += by
    out(SEQ[pos % 8])
    time.sleep(0.01)
step(0)
for by in (1, -1):
    for _ in range(20):
        step(by)
out(0)
""",
    "pins/encoder-choice": """\
from machine import Pin
leds = [Pin(n, Pin.OUT) for n in (6, 7, 8, 9, 10)]
a = Pin(18, Pin.IN, Pin.PULL_UP)
b = Pin(19, Pin.IN, Pin.PULL_UP)
TABLE = (0, -1, 1, 0, 1, 0, 0, -1, -1, 0, 0, 1, 0, 1, -1, 0)
state = 3
quarters = 0
at = 2
leds[at].on()
def turned(pin):
    global state, quarters, at
    new = a.value() << 1 | b.value()
    quarters += TABLE[state << 2 | new]
    state = new
    if new == 3:
        to = at + (1 if quarters >= 3 else -1 if quarters <= -3 else 0)
        quarters = 0
        if 0 <= to <= 4 and to != at:
            leds[at].off()
            leds[to].on()
            at = to
for pin in (a, b):
    pin.irq(turned, Pin.IRQ_RISING | Pin.IRQ_FALLING)
""",
    "pins/serial-by-hand": """\
from machine import Pin
import time
BIT = 1_000_000 // 300
tx = Pin(8, Pin.OUT)
tx.on()
time.sleep(0.02)
t = time.ticks_us()
def put(level):
    global t
    tx.value(level)
    t = time.ticks_add(t, BIT)
    while time.ticks_diff(t, time.ticks_us()) > 0:
        pass
t = time.ticks_us()
for c in "Pi 3":
    put(0)
    n = ord(c)
    for _ in range(8):
        put(n & 1)
        n >>= 1
    put(1)
""",
}

# what is changed in the right solution above: it runs, and is wrong
CHANGES = (
    ("pins/gauge-needle", "us / 20000 * 65535", "us / 20000 * 1023"),
    ("pins/common-anode", "colour(green=1)", "colour(1, green=1)"),
    ("pins/door-chime", "        pwm.duty_u16(0)\n        pwm.deinit()\n", ""),
    ("pins/brighter-darker", " and pin.value() == 0", ""),
    ("pins/metronome", "beat % 4 else", "(beat + 1) % 4 else"),
    ("pins/warm-and-cold", "65535 * (1 - c)", "65535 * c"),
    ("pins/soft-motor", "    ramp(top, 0)\n", "    m.duty_u16(0)\n"),
    ("pins/seven-segment-countdown", "0x7F, 0x6F", "0x7F, 0x67"),
    ("pins/register-bar", "8 - place <= n", "place < n"),
    ("pins/half-steps", "range(20)", "range(21)"),
    ("pins/encoder-choice", "quarters += ", "quarters -= "),
    ("pins/serial-by-hand", "// 300", "// 330"),
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
