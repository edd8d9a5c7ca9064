"""Level 4: right solutions in another style and subtly wrong ones are judged rightly: timers and interrupts."""

from __future__ import annotations

import pytest

from stages.evaluation.node import SandboxUnavailable, find_interpreter
from stages.evaluation.task import judge_all
from stages.evaluation.tasks import SUITE

TASKS = {task.id: task for task in SUITE}

RIGHT = {
    # polling instead of interrupt and timer
    "timing/fan-after-run": """
from machine import Pin
import utime
light, fan = Pin(14, Pin.IN, Pin.PULL_DOWN), Pin(15, Pin.OUT)
off_at = None
while True:
    if light.value():
        fan.value(1)
        off_at = utime.ticks_add(utime.ticks_ms(), 1500)
    elif off_at is not None and utime.ticks_diff(off_at, utime.ticks_ms()) <= 0:
        fan.value(0)
    utime.sleep_ms(20)
""",
    "timing/largest-of-twelve": """
import machine
from machine import Timer
adc = machine.ADC(26)
n, best = 0, 0
done = False
def cb(t):
    global n, best, done
    best = max(best, adc.read_u16())
    n += 1
    if n >= 12:
        t.deinit()
        done = True
tim = Timer()
tim.init(freq=10, mode=Timer.PERIODIC, callback=cb)
while not done:
    pass
print('max =', best)
""",
    "timing/two-frequencies": """
from machine import Pin, Timer
pins = [Pin(2, Pin.OUT), Pin(3, Pin.OUT)]
left = [60, 15]
def step(i):
    def cb(t):
        left[i] -= 1
        if left[i] <= 0:
            t.deinit()
            pins[i].low()
        else:
            pins[i].value(not pins[i].value())
    return cb
t1, t2 = Timer(), Timer()
t1.init(period=50, mode=Timer.PERIODIC, callback=step(0))
t2.init(period=200, mode=Timer.PERIODIC, callback=step(1))
""",
    "timing/timers-in-a-loop": """
from machine import Pin, Timer
keep = []
for n, ms in [(2, 200), (3, 300), (4, 500)]:
    led = Pin(n, Pin.OUT, value=1)
    keep.append((Timer(period=ms, mode=Timer.PERIODIC, callback=lambda t, led=led: led(not led())), led))
while True:
    pass
""",
    "timing/light-barrier-speed": """
from machine import Pin, time_pulse_us
p = Pin(17, Pin.IN)
while True:
    us = time_pulse_us(p, 0, 10_000_000)
    if us > 0:
        print('%d cm/s' % round(8 / (us / 1e6)))
""",
    "timing/frequency-meter": """
from machine import Pin, Timer
import time
last = period = 0
def edge(p):
    global last, period
    t = time.ticks_us()
    period = time.ticks_diff(t, last)
    last = t
Pin(18).irq(edge, Pin.IRQ_RISING)
Timer(period=500, callback=lambda t: print(f'{1e6 / period:.1f}') if period else print(0))
""",
    "timing/duty-cycle": """
from machine import Pin
import time
p = Pin(19, Pin.IN)
t0 = time.ticks_us()
high = 0
rise = t0 if p.value() else None
def h(pin):
    global rise, high
    t = time.ticks_us()
    if pin.value():
        rise = t
    elif rise is not None:
        high += time.ticks_diff(t, rise)
        rise = None
p.irq(h)
while True:
    time.sleep_ms(1000)
    t = time.ticks_us()
    print('duty: {:.1f}'.format(100 * high / time.ticks_diff(t, t0)))
    t0, high = t, 0
""",
    "timing/turnstile": """
import asyncio
from machine import Pin
class Gate:
    def __init__(self):
        self.pin = Pin(20, Pin.IN, Pin.PULL_UP)
        self.flag = asyncio.ThreadSafeFlag()
        self.pin.irq(lambda p: self.flag.set(), Pin.IRQ_FALLING | Pin.IRQ_RISING)
        self.count = 0
    async def run(self):
        state = 1
        while True:
            await self.flag.wait()
            await asyncio.sleep_ms(30)
            new = self.pin.value()
            if state and not new:
                self.count += 1
            state = new
async def main():
    g = Gate()
    asyncio.create_task(g.run())
    while True:
        await asyncio.sleep(2)
        print('visitors so far:', g.count)
asyncio.run(main())
""",
    "timing/no-edge-lost": """
from machine import Pin
from array import array
stamps = array('i', [0] * 16)
head = tail = 0
def irq(pin):
    global head
    stamps[head & 15] = time.ticks_ms()
    head += 1
pin = Pin(21, Pin.IN)
pin.irq(irq, Pin.IRQ_RISING)
while True:
    while tail < head:
        save(stamps[tail & 15])
        tail += 1
""",
    "timing/every-across-wrap": """
import time
class Every:
    def __init__(self, period_ms, start):
        self.p, self.last = period_ms, start
    def due(self, now):
        if time.ticks_diff(now, self.last) >= self.p:
            self.last = time.ticks_add(self.last, self.p)
            return True
        return False
""",
    "timing/fixed-grid": """
from machine import Timer
n = 0
def cb(t):
    global n
    if n < 40:
        measure()
        n += 1
t = Timer(period=100, mode=Timer.PERIODIC, callback=cb)
while n < 40:
    pass
t.deinit()
print('done')
""",
    "timing/school-bell": """
import time
from machine import Pin, Timer
bell = Pin(9, Pin.OUT)
def check(t):
    h, m, s = time.localtime()[3:6]
    if (h, m, s) == (8, 0, 0): bell.on()
    if (h, m, s) == (8, 0, 3): bell.off()
    if (h, m, s) == (8, 0, 20): bell.on()
    if (h, m, s) == (8, 0, 25): bell.off()
Timer(-1).init(period=150, callback=check)
""",
    "timing/heartbeat-watchdog": """
from machine import Pin, WDT
wdt = WDT(timeout=1500)
Pin(14, Pin.IN).irq(lambda p: wdt.feed(), Pin.IRQ_RISING | Pin.IRQ_FALLING)
while True:
    pass
""",
    "timing/valve-watchdog": """
import asyncio
from machine import Pin, WDT
w = WDT(timeout=2000)
async def feed():
    while True:
        w.feed()
        await asyncio.sleep_ms(500)
async def main():
    asyncio.create_task(feed())
    v = Pin(5, Pin.OUT)
    while True:
        v(1); await asyncio.sleep(7); v(0); await asyncio.sleep(3)
asyncio.run(main())
""",
    "timing/double-flash": """
import asyncio
from machine import Pin
b, l = Pin(8, Pin.IN, Pin.PULL_UP), Pin(9, Pin.OUT)
b.irq(lambda p: l.value(1 - p.value()), Pin.IRQ_RISING | Pin.IRQ_FALLING)
async def main():
    f = Pin(7, Pin.OUT)
    while True:
        for i in range(2):
            f.on(); await asyncio.sleep_ms(100); f.off(); await asyncio.sleep_ms(100)
        await asyncio.sleep_ms(600)
asyncio.run(main())
""",
    "timing/vigilance": """
from machine import Pin, Timer
bz = Pin(5, Pin.OUT)
t = Timer()
def arm(p=None):
    bz.off()
    t.init(period=2000, mode=Timer.ONE_SHOT, callback=lambda t: bz.on())
Pin(6, Pin.IN, Pin.PULL_UP).irq(arm, Pin.IRQ_FALLING)
arm()
""",
    "timing/slow-pwm": """
from machine import Pin, ADC, Timer
h = Pin(22, Pin.OUT)
a = ADC(26)
off = Timer()
def period(t):
    ms = int(a.read_u16() / 65535 * 2000)
    h.value(ms > 0)
    if 0 < ms < 2000:
        off.init(mode=Timer.ONE_SHOT, period=ms, callback=lambda t: h.value(0))
period(None)
Timer(period=2000, mode=Timer.PERIODIC, callback=period)
""",
    "timing/pulses-per-second": """
from machine import Pin
import time
p = Pin(12, Pin.IN)
n, old, t = 0, p.value(), time.ticks_ms()
while True:
    v = p.value()
    if v and not old: n += 1
    old = v
    if time.ticks_diff(time.ticks_ms(), t) >= 1000:
        print('%d pulses' % n)
        n = 0
        t = time.ticks_add(t, 1000)
""",
}


def spoilt(id: str, old: str, new: str) -> tuple[str, str]:
    assert RIGHT[id].count(old) == 1, (id, old)
    return id, RIGHT[id].replace(old, new)


WRONG = [
    spoilt("timing/fan-after-run", "1500)", "1000)"),
    spoilt("timing/largest-of-twelve", "best = max(best, adc.read_u16())", "best = adc.read_u16()"),
    spoilt("timing/two-frequencies", "            pins[i].low()\n", ""),
    spoilt("timing/timers-in-a-loop", "lambda t, led=led:", "lambda t:"),
    spoilt("timing/light-barrier-speed", "(us / 1e6)", "(us / 1e3)"),
    spoilt("timing/frequency-meter", "Pin.IRQ_RISING", "Pin.IRQ_RISING | Pin.IRQ_FALLING"),
    spoilt("timing/duty-cycle", "    t0, high = t, 0\n", "    high = 0\n"),
    spoilt("timing/turnstile", "asyncio.sleep_ms(30)", "asyncio.sleep_ms(3)"),
    ("timing/no-edge-lost", RIGHT["timing/no-edge-lost"].replace("& 15", "& 3")),
    spoilt("timing/every-across-wrap", "time.ticks_add(self.last, self.p)", "now"),
    spoilt("timing/fixed-grid", "period=100", "period=99"),
    spoilt("timing/school-bell", "if (h, m, s) == (8, 0, 25)", "if (h, m, s) == (8, 0, 23)"),
    spoilt("timing/heartbeat-watchdog", "Pin.IRQ_RISING | Pin.IRQ_FALLING", "Pin.IRQ_LOW_LEVEL"),
    (
        "timing/heartbeat-watchdog",
        TASKS["timing/heartbeat-watchdog"].reference.replace("        before = now\n", ""),
    ),
    spoilt("timing/valve-watchdog", "sleep_ms(500)", "sleep_ms(2500)"),
    spoilt("timing/double-flash", "l.value(1 - p.value())", "l.value(p.value())"),
    spoilt("timing/vigilance", "\narm()\n", "\n"),
    spoilt("timing/slow-pwm", "    h.value(ms > 0)\n", "    h.value(1)\n"),
    spoilt("timing/pulses-per-second", "        n = 0\n", ""),
]


@pytest.mark.parametrize(("answers", "expected"), [([*RIGHT.items()], True), (WRONG, False)], ids=["right", "wrong"])
def test_other_solutions_are_judged_rightly(answers: list[tuple[str, str]], expected: bool) -> None:
    try:
        find_interpreter()
    except SandboxUnavailable as missing:
        pytest.skip(str(missing))
    pairs = [(TASKS[id], source) for id, source in answers]
    surprises = [(task.id, v.reason) for task, _, v in judge_all(pairs, workers=2) if v.passed != expected]
    assert surprises == []
