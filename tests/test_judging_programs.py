"""Level 5: right solutions in another style and subtly wrong ones are judged rightly: control and buttons."""

from __future__ import annotations

import pytest

from stages.evaluation.node import SandboxUnavailable, find_interpreter
from stages.evaluation.task import judge_all
from stages.evaluation.tasks import SUITE

TASKS = {task.id: task for task in SUITE}

RIGHT = {
    "programs/parking-sensor": """
import asyncio, time, machine
from machine import Pin
t, e = Pin(3, Pin.OUT), Pin(2, Pin.IN)
g, y, r = Pin(10, Pin.OUT), Pin(11, Pin.OUT), Pin(12, Pin.OUT)
async def main():
    while True:
        t(1); time.sleep_us(15); t(0)
        us = machine.time_pulse_us(e, 1, 30000)
        m = us / 2 * 0.000343 if us > 0 else None
        g.value(m is not None and m >= 1.0)
        y.value(m is not None and 0.3 <= m < 1.0)
        r.value(m is not None and m < 0.3)
        await asyncio.sleep(0.1)
asyncio.run(main())
""",
    "programs/thermostat-log": """
from machine import Pin, Timer
from dht import DHT22
import time
s, h = DHT22(Pin(16)), Pin(22, Pin.OUT)
t0 = time.ticks_ms()
def tick(t):
    s.measure()
    c = s.temperature()
    if c < 19: h(1)
    if c > 21: h(0)
    f = open('log.csv', 'a')
    print(time.ticks_diff(time.ticks_ms(), t0) // 1000, c, sep=',', file=f)
    f.close()
tick(None)
Timer(period=10000, callback=tick)
""",
    "programs/plant-watering": """
from machine import Pin, ADC
from time import ticks_ms, ticks_diff, ticks_add
adc, pump, led = ADC(27), Pin(15, Pin.OUT), Pin(13, Pin.OUT)
flt = Pin(14, Pin.IN, Pin.PULL_UP)
state, until = 'idle', ticks_ms()
while True:
    now = ticks_ms()
    empty = flt.value() == 1
    led.value(empty)
    over = ticks_diff(now, until) >= 0
    if state == 'pump' and (over or empty):
        pump.off()
        state, until = 'soak', ticks_add(now, 3000)
    elif over:
        if adc.read_u16() > 40000 and not empty:
            pump.on()
            state, until = 'pump', ticks_add(now, 1500)
        else:
            state, until = 'idle', ticks_add(now, 1000)
""",
    "programs/night-light": """
from machine import Pin, ADC, Timer
lamp, pir, ldr = Pin(15, Pin.OUT), Pin(16, Pin.IN), ADC(26)
t = Timer()
def on_motion(p):
    if p.value():
        if lamp.value():
            t.deinit()
        elif ldr.read_u16() < 20000:
            lamp.on()
    elif lamp.value():
        t.init(period=3000, mode=Timer.ONE_SHOT, callback=lambda t: lamp.off())
pir.irq(on_motion, Pin.IRQ_RISING | Pin.IRQ_FALLING)
""",
    "programs/burglar-alarm": """
import asyncio
from machine import Pin
key, door = Pin(2, Pin.IN, Pin.PULL_UP), Pin(3, Pin.IN, Pin.PULL_UP)
siren, led = Pin(4, Pin.OUT), Pin(5, Pin.OUT)
async def guard():
    try:
        while door.value(): await asyncio.sleep_ms(10)
        while not door.value(): await asyncio.sleep_ms(10)
        await asyncio.sleep(2)
        siren.on()
        while True: await asyncio.sleep(1)
    finally:
        siren.off()
async def main():
    task = None
    while True:
        while key.value(): await asyncio.sleep_ms(10)
        if task is None:
            task = asyncio.create_task(guard())
            led.on()
        else:
            task.cancel()
            task = None
            led.off()
        while not key.value(): await asyncio.sleep_ms(10)
asyncio.run(main())
""",
    "programs/pi-heater": """
from machine import ADC, PWM, Pin, Timer
p = PWM(Pin(16)); p.freq(100)
a = ADC(Pin(26))
s = 0
def control(t):
    global s
    volts = a.read_u16() / 65535 * 3.3
    e = 60 - volts * 100
    s = s + e
    if s > 200: s = 200
    elif s < 0: s = 0
    out = 2 * e + s / 2
    if out < 0: out = 0
    if out > 100: out = 100
    p.duty_u16(int(out / 100 * 65535))
control(0)
Timer(-1).init(period=1000, mode=Timer.PERIODIC, callback=control)
""",
    "programs/pedestrian-crossing": """
import asyncio
from machine import Pin
R, Y, G, r, g = [Pin(n, Pin.OUT) for n in (16, 17, 18, 19, 20)]
want = asyncio.Event()
walking = False
def pressed(p):
    if not walking: want.set()
Pin(15, Pin.IN, Pin.PULL_UP).irq(pressed, Pin.IRQ_FALLING)
async def main():
    global walking
    G.on(); r.on()
    while True:
        await asyncio.sleep(4)
        await want.wait()
        want.clear()
        G.off(); Y.on(); await asyncio.sleep(1)
        Y.off(); R.on(); await asyncio.sleep(1)
        walking = True
        r.off(); g.on(); await asyncio.sleep(3)
        g.off(); r.on()
        walking = False
        await asyncio.sleep(1)
        Y.on(); await asyncio.sleep(1)
        R.off(); Y.off(); G.on()
asyncio.run(main())
""",
    "programs/reaction-game": """
from machine import Pin, Timer
from time import ticks_ms, ticks_diff
import random
led, t = Pin(10, Pin.OUT, value=0), Timer()
t0 = 0
def light(_):
    global t0
    led.on()
    t0 = ticks_ms()
def new():
    led.off()
    t.init(mode=Timer.ONE_SHOT, period=1000 + random.getrandbits(16) % 1001, callback=light)
def press(p):
    print(f'{ticks_diff(ticks_ms(), t0)}' if led.value() else 'Too early!')
    new()
Pin(11, Pin.IN, Pin.PULL_UP).irq(press, Pin.IRQ_FALLING)
new()
""",
    "programs/two-button-menu": """
import asyncio
from machine import Pin
items = [('Light', Pin(10, Pin.OUT)), ('Fan', Pin(11, Pin.OUT)), ('Pump', Pin(12, Pin.OUT))]
i = 0
def nxt():
    global i
    i += 1
    if i == 3: i = 0
    print(items[i][0])
def ok():
    p = items[i][1]
    p.value(p.value() ^ 1)
async def watch(n, f):
    b = Pin(n, Pin.IN, Pin.PULL_UP)
    while True:
        while b.value(): await asyncio.sleep_ms(5)
        f()
        await asyncio.sleep_ms(15)
        while not b.value(): await asyncio.sleep_ms(5)
        await asyncio.sleep_ms(15)
async def main():
    print(items[0][0])
    await asyncio.gather(watch(2, nxt), watch(3, ok))
asyncio.run(main())
""",
    "programs/stopwatch": """
from machine import Pin
import utime as time
a, t0, run = 0, 0, False
def fmt(ms): return '%d:%02d.%d' % (ms // 60000, ms // 1000 % 60, ms % 1000 // 100)
def ss(p):
    global a, t0, run
    t = time.ticks_us()
    if run:
        a += time.ticks_diff(t, t0) / 1000
        print(fmt(int(a)))
    t0 = t
    run = not run
def rs(p):
    global a
    if not run:
        a = 0
        print(fmt(0))
Pin(2, Pin.IN, Pin.PULL_UP).irq(ss, Pin.IRQ_FALLING)
Pin(3, Pin.IN, Pin.PULL_UP).irq(rs, Pin.IRQ_FALLING)
""",
    "programs/tap-lock": """
from machine import Pin, Timer
b, lock, red = Pin(9, Pin.IN, Pin.PULL_UP), Pin(8, Pin.OUT), Pin(7, Pin.OUT)
t, code, n, busy = Timer(), '', 0, False
def idle(_):
    global busy
    lock.off(); red.off()
    busy = False
def group(_):
    global code, n, busy
    code += str(n)
    n = 0
    if len(code) == 3:
        good = code == '231'
        code, busy = '', True
        (lock if good else red).on()
        t.init(mode=Timer.ONE_SHOT, period=2000 if good else 1000, callback=idle)
def tap(p):
    global n
    if not busy:
        n += 1
        t.init(mode=Timer.ONE_SHOT, period=800, callback=group)
b.irq(tap, Pin.IRQ_FALLING)
""",
    "programs/turn-indicator": """
import asyncio
from machine import Pin
async def blink(led):
    try:
        while True:
            led.on(); await asyncio.sleep_ms(400); led.off(); await asyncio.sleep_ms(400)
    finally:
        led.off()
async def main():
    b = [Pin(2, Pin.IN, Pin.PULL_UP), Pin(3, Pin.IN, Pin.PULL_UP)]
    l = [Pin(4, Pin.OUT), Pin(5, Pin.OUT)]
    old, task, side = [1, 1], None, -1
    while True:
        for i in (0, 1):
            v = b[i].value()
            if old[i] == 1 and v == 0:
                if task: task.cancel()
                task, side = (None, -1) if side == i else (asyncio.create_task(blink(l[i])), i)
            old[i] = v
        await asyncio.sleep_ms(15)
asyncio.run(main())
""",
}


def spoilt(id: str, old: str, new: str) -> tuple[str, str]:
    assert RIGHT[id].count(old) == 1, (id, old)
    return id, RIGHT[id].replace(old, new)


WRONG = [
    spoilt("programs/parking-sensor", "us / 2 *", "us *"),
    spoilt("programs/thermostat-log", "if c > 21: h(0)", "if c >= 19: h(0)"),
    spoilt("programs/thermostat-log", "open('log.csv', 'a')", "open('log.csv', 'w')"),
    spoilt("programs/plant-watering", "ticks_add(now, 3000)", "ticks_add(now, 1000)"),
    spoilt("programs/plant-watering", " and not empty", ""),
    spoilt("programs/night-light", "            t.deinit()\n", "            pass\n"),
    spoilt("programs/burglar-alarm", "        while door.value(): await", "        while not door.value(): await"),
    spoilt("programs/burglar-alarm", "        await asyncio.sleep(2)\n", ""),
    spoilt("programs/pi-heater", "s / 2", "s / 5"),
    spoilt("programs/pi-heater", "    elif s < 0: s = 0\n", ""),
    spoilt("programs/pedestrian-crossing", "        walking = True\n", ""),
    spoilt("programs/pedestrian-crossing", "        await asyncio.sleep(4)\n", ""),
    spoilt("programs/reaction-game", "1000 + random.getrandbits(16) % 1001", "1500"),
    spoilt("programs/two-button-menu", "        while not b.value(): await asyncio.sleep_ms(5)\n", ""),
    spoilt("programs/stopwatch", "if not run:\n        a = 0", "if True:\n        a = 0"),
    spoilt("programs/stopwatch", "%02d", "%d"),
    spoilt("programs/tap-lock", "    if not busy:\n", "    if True:\n"),
    spoilt("programs/tap-lock", "code, busy = '', True", "busy = True"),
    spoilt("programs/turn-indicator", "                if task: task.cancel()\n", ""),
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
