"""Level 4: still other right solutions, in the styles that people and models write, pass."""

from __future__ import annotations

import pytest

from stages.evaluation.node import SandboxUnavailable, find_interpreter
from stages.evaluation.task import judge_all
from stages.evaluation.tasks import SUITE

TASKS = {task.id: task for task in SUITE}

RIGHT = {
    "timing/turnstile": """
from machine import Pin
import time
pin = Pin(20, Pin.IN, Pin.PULL_UP)
count = 0
edge = False
def handler(p):
    global edge
    edge = True
pin.irq(trigger=Pin.IRQ_FALLING | Pin.IRQ_RISING, handler=handler)
stable = 1
next_print = time.ticks_add(time.ticks_ms(), 2000)
while True:
    if edge:
        edge = False
        time.sleep_ms(20)
        v = pin.value()
        if v == 0 and stable == 1:
            count += 1
        stable = v
    if time.ticks_diff(time.ticks_ms(), next_print) >= 0:
        print("Visitors:", count)
        next_print = time.ticks_add(next_print, 2000)
    time.sleep_ms(1)
""",
    "timing/light-barrier-speed": """
from machine import Pin
import time
b = Pin(17, Pin.IN)
while True:
    while b.value(): pass
    t = time.ticks_us()
    while not b.value(): pass
    dt = time.ticks_diff(time.ticks_us(), t) / 1000000
    print("Speed: {:.2f} cm/s".format(8 / dt))
""",
    "timing/frequency-meter": """
from machine import Pin, time_pulse_us
import time
p = Pin(18, Pin.IN)
while True:
    t = time.ticks_ms()
    time_pulse_us(p, 1, 100000)
    total = time_pulse_us(p, 0, 100000) + time_pulse_us(p, 1, 100000)
    print("%.1f Hz" % (1e6 / total))
    time.sleep_ms(500 - time.ticks_diff(time.ticks_ms(), t))
""",
    "timing/duty-cycle": """
from machine import Pin
import time
p = Pin(19, Pin.IN)
highs = []; rise = 0; period = 1; hi = 0
def cb(pin):
    global rise, period, hi
    now = time.ticks_us()
    if pin.value() == 1:
        if rise: period = time.ticks_diff(now, rise)
        rise = now
    else:
        hi = time.ticks_diff(now, rise)
p.irq(handler=cb, trigger=Pin.IRQ_RISING | Pin.IRQ_FALLING)
while True:
    time.sleep(1)
    print(f"Duty cycle: {hi / period * 100:.1f}%")
""",
    "timing/fan-after-run": """
import asyncio
from machine import Pin
light, fan = Pin(14, Pin.IN), Pin(15, Pin.OUT)
async def main():
    while True:
        while not light.value(): await asyncio.sleep_ms(10)
        fan.on()
        left = 1500
        while left > 0:
            left = 1500 if light.value() else left - 10
            await asyncio.sleep_ms(10)
        fan.off()
asyncio.run(main())
""",
    "timing/mixer-door": """
import asyncio
from machine import Pin
motor = Pin(11, Pin.OUT); valve = Pin(12, Pin.OUT); door = Pin(13, Pin.IN)
opened = asyncio.Event()
async def cycle():
    motor.on()
    await asyncio.sleep_ms(3000)
    motor.off()
    valve.on()
    await asyncio.sleep_ms(2000)
    valve.off()
async def watch_door():
    while not door.value():
        await asyncio.sleep_ms(5)
async def main():
    while True:
        while door.value():
            await asyncio.sleep_ms(5)
        t = asyncio.create_task(cycle())
        await watch_door()
        t.cancel()
        try:
            await t
        except asyncio.CancelledError:
            pass
        motor.off()
        valve.off()
asyncio.run(main())
""",
    "timing/whole-lines": """
import asyncio
lock = asyncio.Lock()
async def send_line(s):
    await lock.acquire()
    try:
        for ch in s:
            await put(ch)
    finally:
        lock.release()
async def temp():
    for i in range(10):
        await send_line("TEMP 21\\n")
        await asyncio.sleep_ms(100)
async def hum():
    for i in range(10):
        await send_line("HUM 40\\n")
        await asyncio.sleep_ms(100)
async def main():
    await asyncio.gather(temp(), hum())
asyncio.run(main())
""",
    "timing/slow-consumer": """
import asyncio
from machine import ADC, Pin
class Queue:
    def __init__(self):
        self.items = []
        self.ev = asyncio.Event()
    def put(self, x):
        self.items.append(x)
        self.ev.set()
    async def get(self):
        if not self.items:
            self.ev.clear()
            await self.ev.wait()
        return self.items.pop(0)
adc = ADC(Pin(26))
async def producer(q):
    for _ in range(8):
        await asyncio.sleep_ms(100)
        q.put(adc.read_u16())
    q.put(None)
async def consumer(q):
    while True:
        v = await q.get()
        if v is None: return
        await handle(v)
async def main():
    q = Queue()
    asyncio.create_task(producer(q))
    await consumer(q)
asyncio.run(main())
""",
    "timing/slow-pwm": """
from machine import Pin, ADC
import time
heater = Pin(22, Pin.OUT); pot = ADC(Pin(26))
start = time.ticks_ms(); duty = pot.read_u16() / 65535
while True:
    e = time.ticks_diff(time.ticks_ms(), start)
    if e >= 2000:
        start = time.ticks_add(start, 2000)
        duty = pot.read_u16() / 65535
        e = time.ticks_diff(time.ticks_ms(), start)
    heater.value(1 if e < duty * 2000 else 0)
    time.sleep_ms(5)
""",
    "timing/every-across-wrap": """
import time
class Every:
    def __init__(self, period_ms, start):
        self._period = period_ms
        self._start = start
        self._n = 1
    def due(self, now):
        target = time.ticks_add(self._start, self._n * self._period)
        hit = time.ticks_diff(now, target) >= 0
        if hit:
            self._n += 1
        return hit
""",
    "timing/school-bell": """
from machine import Pin, RTC
import time
rtc = RTC(); bell = Pin(9, Pin.OUT, value=0)
def ring(s):
    bell.on(); time.sleep(s); bell.off()
while True:
    t = rtc.datetime()
    if t[4] == 8 and t[5] == 0 and t[6] == 0:
        ring(3)
    elif t[4] == 8 and t[5] == 0 and t[6] == 20:
        ring(5)
    time.sleep_ms(50)
""",
    "timing/knock-flash": """
import asyncio
from machine import Pin
l18, l17 = Pin(18, Pin.OUT), Pin(17, Pin.OUT)
hit = False
def irq(p):
    global hit
    hit = True
Pin(16, Pin.IN).irq(handler=irq, trigger=Pin.IRQ_RISING)
async def a():
    global hit
    while True:
        if hit:
            hit = False
            l17.value(1)
            await asyncio.sleep_ms(300)
            l17.value(0)
        await asyncio.sleep_ms(5)
async def b():
    while True:
        l18.toggle()
        await asyncio.sleep_ms(250)
asyncio.get_event_loop().create_task(a())
asyncio.run(b())
""",
    "timing/two-frequencies": """
from machine import Pin, Timer
import time
def square(n):
    p = Pin(n, Pin.OUT)
    p.value(1)
    return p
a, b = square(2), square(3)
t1 = Timer(period=50, mode=Timer.PERIODIC, callback=lambda t: a.toggle())
t2 = Timer(period=200, mode=Timer.PERIODIC, callback=lambda t: b.toggle())
def stop(t):
    t1.deinit(); t2.deinit()
    a.value(0); b.value(0)
Timer(period=3000, mode=Timer.ONE_SHOT, callback=stop)
""",
}


def test_right_solutions_pass() -> None:
    try:
        find_interpreter()
    except SandboxUnavailable as missing:
        pytest.skip(str(missing))
    pairs = [(TASKS[id], source) for id, source in RIGHT.items()]
    assert [(task.id, v.reason) for task, _, v in judge_all(pairs, workers=2) if not v.passed] == []
