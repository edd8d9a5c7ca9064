"""Level 5: right solutions in another style and subtly wrong ones are judged rightly: data, links, outputs."""

from __future__ import annotations

import pytest

from stages.evaluation.node import SandboxUnavailable, find_interpreter
from stages.evaluation.task import judge_all
from stages.evaluation.tasks import SUITE

TASKS = {task.id: task for task in SUITE}

RIGHT = {
    "programs/dimmer-gamma": """
from machine import Pin, PWM
import time
TABLE = [int(65535 * (i / 10) ** 2.2) for i in range(11)]
pwm = PWM(Pin(15)); pwm.freq(1000); pwm.duty_u16(0)
lv = 0
def make(n, d):
    pin = Pin(n, Pin.IN, Pin.PULL_UP)
    st = {'last': 1, 't': 0}
    def poll():
        global lv
        v = pin.value()
        if v != st['last'] and time.ticks_diff(time.ticks_ms(), st['t']) > 25:
            st['last'], st['t'] = v, time.ticks_ms()
            if not v and 0 <= lv + d <= 10:
                lv += d
                pwm.duty_u16(TABLE[lv])
    return poll
up, down = make(2, 1), make(3, -1)
while True:
    up(); down()
    time.sleep_ms(2)
""",
    "programs/numbered-runs": """
from machine import Pin, ADC, Timer
import os
a, sw = ADC(Pin(26)), Pin(12, Pin.IN, Pin.PULL_UP)
f, t = None, Timer()
def exists(n):
    try:
        os.stat(n)
        return True
    except OSError:
        return False
def write(_):
    f.write(str(a.read_u16()) + '\\n')
def change(p):
    global f
    if p.value() == 0:
        i = 1
        while exists('run%d.csv' % i): i += 1
        f = open('run%d.csv' % i, 'w')
        write(0)
        t.init(period=200, callback=write)
    elif f:
        t.deinit()
        f.close()
        f = None
sw.irq(change, Pin.IRQ_FALLING | Pin.IRQ_RISING)
""",
    "programs/kitchen-scale": """
import ujson, os, time
from machine import Pin, ADC, Timer
cal = {'zero': 0, 'scale': 0.02}
if 'cal.json' in os.listdir():
    cal.update(ujson.loads(open('cal.json').read()))
adc = ADC(28)
def tare(p):
    cal['zero'] = adc.read_u16()
    with open('cal.json', 'w') as f: f.write(ujson.dumps(cal))
Pin(14, Pin.IN, Pin.PULL_UP).irq(tare, Pin.IRQ_FALLING)
while True:
    time.sleep(.5)
    print('weight: %.1f' % ((adc.read_u16() - cal['zero']) * cal['scale']))
""",
    "programs/steady-reading": """
from machine import ADC, Timer
a, ring, n = ADC(26), [0] * 5, 0
def tick(t):
    global n
    ring[n % 5] = a.read_u16()
    n += 1
    if n >= 5: print((sum(ring) - min(ring) - max(ring) + 1) // 3)
Timer(freq=10, callback=tick)
""",
    "programs/morse-sender": """
import asyncio
from machine import Pin, UART
led = Pin(15, Pin.OUT)
u = UART(1, 9600, tx=Pin(4), rx=Pin(5))
M = {'a': '.-', 'e': '.', 'm': '--', 'n': '-.', 'o': '---', 's': '...', 't': '-'}
async def tone(on, off):
    led.on(); await asyncio.sleep_ms(on); led.off(); await asyncio.sleep_ms(off)
async def main():
    r = asyncio.StreamReader(u)
    while True:
        text = (await r.readline()).decode().strip().lower()
        for i, c in enumerate(text):
            if c == ' ':
                await asyncio.sleep_ms(350 - 150)
                continue
            code = M[c]
            for k, m in enumerate(code):
                await tone(50 if m == '.' else 150, 150 if k == len(code) - 1 else 50)
asyncio.run(main())
""",
    "programs/pin-commands": """
import asyncio
from machine import Pin, UART
u = UART(1, baudrate=115200, tx=Pin(8), rx=Pin(9))
P = {n: Pin(n, Pin.OUT) for n in (10, 11, 12)}
async def pulse(p, ms):
    p.on()
    await asyncio.sleep_ms(ms)
    p.off()
def run(line):
    w = line.split()
    try:
        p = P[int(w[1])]
        if w[0] == 'get': return str(p.value())
        v = int(w[2])
    except Exception:
        return 'error'
    if w[0] == 'set' and v in (0, 1):
        p.value(v)
        return 'ok'
    if w[0] == 'pulse':
        asyncio.create_task(pulse(p, v))
        return 'ok'
    return 'error'
async def main():
    r = asyncio.StreamReader(u)
    while True:
        line = await r.readline()
        u.write(run(line.decode()) + '\\n')
asyncio.run(main())
""",
    "programs/wlan-fallback": """
import network, time
from machine import Pin, Timer
led = Pin(15, Pin.OUT)
w = network.WLAN(network.STA_IF); w.active(True)
t = Timer(period=100, mode=Timer.PERIODIC, callback=lambda t: led.toggle())
for s, k in [('workshop', 'sawdust'), ('attic', 'cobweb'), ('garage', 'oil+grease')]:
    w.connect(s, k)
    t0 = time.ticks_ms()
    while not w.isconnected() and w.status() >= 0 and time.ticks_diff(time.ticks_ms(), t0) < 5000:
        time.sleep_ms(50)
    if w.isconnected():
        t.deinit()
        led.on()
        print(f'Connected: {s}, {w.ifconfig()[0]}')
        break
""",
    "programs/servo-slew": """
from machine import Pin, PWM, ADC
import time
p, a = PWM(Pin(15)), ADC(Pin(26))
p.freq(50)
def put(d): p.duty_u16(int((0.5 + d / 90) / 20 * 65535))
now = 90
put(now)
while True:
    time.sleep_ms(11)
    goal = a.read_u16() / 65535 * 180
    if now < goal: now = min(now + 1, goal)
    elif now > goal: now = max(now - 1, goal)
    put(now)
""",
    "programs/motor-soft-start": """
from machine import Pin, PWM, Timer
m, s = PWM(Pin(14), freq=5000), Pin(13, Pin.IN, Pin.PULL_UP)
d = 0
def step(t):
    global d
    d += -80 if s.value() else 40
    d = max(0, min(8000, d))
    m.duty_u16(65535 * d // 10000)
Timer(period=10, mode=Timer.PERIODIC, callback=step)
""",
    "programs/progress-bar": """
import asyncio, neopixel
from machine import Pin, UART
np = neopixel.NeoPixel(Pin(28), 8)
r = asyncio.StreamReader(UART(0, 9600, tx=Pin(0), rx=Pin(1)))
async def main():
    while True:
        s = (await r.readline()).decode().strip()
        if not s.isdigit() or int(s) > 100: continue
        x = int(s) * 8
        for i in range(8):
            part = max(0, min(100, x - 100 * i))
            np[i] = (0, 80, 0) if x == 800 else (0, 0, 80 * part // 100)
        np.write()
asyncio.run(main())
""",
}


def spoilt(id: str, old: str, new: str) -> tuple[str, str]:
    assert RIGHT[id].count(old) == 1, (id, old)
    return id, RIGHT[id].replace(old, new)


WRONG = [
    spoilt("programs/dimmer-gamma", "and 0 <= lv + d <= 10:", "and 0 <= lv + d <= 9:"),
    spoilt("programs/dimmer-gamma", "> 25:", "> 0:"),
    spoilt("programs/numbered-runs", "        while exists('run%d.csv' % i): i += 1\n", ""),
    spoilt("programs/kitchen-scale", "cal.update(ujson.loads(open('cal.json').read()))", "pass"),
    spoilt("programs/steady-reading", " - min(ring) - max(ring) + 1) // 3", ") // 5"),
    spoilt("programs/morse-sender", "350 - 150", "350"),
    spoilt("programs/pin-commands", "        asyncio.create_task(pulse(p, v))\n", "        p.on()\n"),
    spoilt("programs/pin-commands", " and v in (0, 1)", ""),
    spoilt("programs/wlan-fallback", "        t.deinit()\n", ""),
    spoilt("programs/wlan-fallback", "        led.on()\n", "        led.off()\n"),
    spoilt("programs/servo-slew", "now - 1", "now - 2"),
    spoilt("programs/servo-slew", "0.5 + d / 90", "1 + d / 180"),
    spoilt("programs/motor-soft-start", "-80 if", "-40 if"),
    spoilt("programs/progress-bar", " or int(s) > 100", ""),
    spoilt("programs/progress-bar", "(0, 0, 80 * part // 100)", "(0, 0, 80 if part else 0)"),
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
