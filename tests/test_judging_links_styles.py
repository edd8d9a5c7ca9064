"""Level 5: more right solutions pass: data, links, outputs."""

from __future__ import annotations

import pytest

from stages.evaluation.node import SandboxUnavailable, find_interpreter
from stages.evaluation.task import judge_all
from stages.evaluation.tasks import SUITE

TASKS = {task.id: task for task in SUITE}

RIGHT = {
    "programs/numbered-runs": """
import os, time
from machine import ADC, Pin
adc = ADC(26); sw = Pin(12, Pin.IN, Pin.PULL_UP)
def next_name():
    files = os.listdir()
    n = 1
    while True:
        name = f"run{n}.csv"
        if name not in files: return name
        n += 1
f = None; last = 0
while True:
    closed = sw.value() == 0
    if closed and f is None:
        f = open(next_name(), "w")
        last = time.ticks_add(time.ticks_ms(), -200)
    if not closed and f is not None:
        f.close(); f = None
    if f is not None and time.ticks_diff(time.ticks_ms(), last) >= 200:
        last = time.ticks_add(last, 200)
        print(adc.read_u16(), file=f)
        f.flush()
    time.sleep_ms(5)
""",
    "programs/kitchen-scale": """
import asyncio, json
from machine import ADC, Pin
cell, btn = ADC(Pin(28)), Pin(14, Pin.IN, Pin.PULL_UP)
def load():
    try:
        with open("cal.json") as f: return json.load(f)
    except OSError: return {"zero": 0, "scale": 0.02}
cfg = load()
async def button():
    while True:
        if not btn.value():
            cfg["zero"] = cell.read_u16()
            f = open("cal.json", "w"); json.dump(cfg, f); f.close()
            while not btn.value(): await asyncio.sleep_ms(20)
        await asyncio.sleep_ms(20)
async def main():
    asyncio.create_task(button())
    while True:
        g = (cell.read_u16() - cfg["zero"]) * cfg["scale"]
        print(f"{g:.1f}g")
        await asyncio.sleep_ms(500)
asyncio.run(main())
""",
    "programs/wlan-fallback": """
import network, asyncio
from machine import Pin
led = Pin(15, Pin.OUT)
wlan = network.WLAN(network.WLAN.IF_STA)
async def blink():
    while True:
        led.toggle()
        await asyncio.sleep_ms(100)
async def attempt(s, k):
    wlan.connect(s, k)
    while not wlan.isconnected():
        if wlan.status() in (network.STAT_WRONG_PASSWORD, network.STAT_NO_AP_FOUND, network.STAT_CONNECT_FAIL):
            return False
        await asyncio.sleep_ms(50)
    return True
async def main():
    wlan.active(True)
    b = asyncio.create_task(blink())
    for s, k in (("workshop", "sawdust"), ("attic", "cobweb"), ("garage", "oil+grease")):
        try:
            if await asyncio.wait_for(attempt(s, k), 5):
                b.cancel()
                led.on()
                print(s)
                return
        except asyncio.TimeoutError:
            wlan.disconnect()
    b.cancel()
asyncio.run(main())
""",
    "programs/servo-slew": """
from machine import ADC, PWM, Pin, Timer
servo = PWM(Pin(15)); servo.freq(50)
pot = ADC(Pin(26)); pos = 90.0
def out(d): servo.duty_u16(int(1638 + (8192 - 1638) * d / 180))
out(pos)
def step(t):
    global pos
    want = pot.read_u16() / 65535 * 180
    diff = want - pos
    if abs(diff) > 0.9: diff = 0.9 if diff > 0 else -0.9
    pos += diff
    out(pos)
Timer(period=10, mode=Timer.PERIODIC, callback=step)
""",
    "programs/motor-soft-start": """
import time
from machine import PWM, Pin
pwm = PWM(Pin(14)); pwm.freq(5000); pwm.duty_u16(0)
sw = Pin(13, Pin.IN, Pin.PULL_UP)
speed = 0.0; last = time.ticks_us()
while True:
    now = time.ticks_us()
    dt = time.ticks_diff(now, last) / 1e6
    last = now
    speed += (40 if not sw.value() else -80) * dt
    speed = min(80.0, max(0.0, speed))
    pwm.duty_u16(int(speed / 100 * 65535))
    time.sleep_ms(10)
""",
    "programs/progress-bar": """
from machine import Pin, UART
import neopixel, time
np = neopixel.NeoPixel(Pin(28), 8)
uart = UART(0, baudrate=9600, tx=Pin(0), rx=Pin(1))
np.fill((0, 0, 0)); np.write()
buf = ""
def draw(p):
    if p == 100:
        np.fill((0, 80, 0))
    else:
        lit = p / 12.5
        for i in range(8):
            if i + 1 <= lit: np[i] = (0, 0, 80)
            elif i < lit: np[i] = (0, 0, int((lit - i) * 80 + .5))
            else: np[i] = (0, 0, 0)
    np.write()
while True:
    if uart.any():
        buf += uart.read().decode()
        while "\\n" in buf:
            i = buf.index("\\n")
            line, buf = buf[:i].strip(), buf[i + 1:]
            if line.isdigit() and 0 <= int(line) <= 100: draw(int(line))
    time.sleep_ms(50)
""",
    "programs/steady-reading": """
from machine import ADC, Pin
import time
adc = ADC(Pin(26)); buf = []
next_t = time.ticks_ms()
while True:
    buf = (buf + [adc.read_u16()])[-5:]
    if len(buf) == 5:
        s = sorted(buf)
        print(int(sum(s[1:-1]) / 3 + 0.5))
    next_t = time.ticks_add(next_t, 100)
    time.sleep_ms(max(0, time.ticks_diff(next_t, time.ticks_ms())))
""",
    "programs/pin-commands": """
from machine import Pin, UART
import time
uart = UART(1, 115200, tx=Pin(8), rx=Pin(9))
outs = {10: Pin(10, Pin.OUT), 11: Pin(11, Pin.OUT), 12: Pin(12, Pin.OUT)}
for p in outs.values(): p.off()
ends = {}
buf = bytearray()
def handle(cmd):
    parts = cmd.split()
    if len(parts) == 2 and parts[0] == "get" and parts[1].isdigit() and int(parts[1]) in outs:
        return str(outs[int(parts[1])].value())
    if len(parts) == 3 and parts[1].isdigit() and int(parts[1]) in outs and parts[2].isdigit():
        n, v = int(parts[1]), int(parts[2])
        if parts[0] == "set" and v in (0, 1):
            outs[n].value(v)
            ends.pop(n, None)
            return "ok"
        if parts[0] == "pulse":
            outs[n].on()
            ends[n] = time.ticks_add(time.ticks_ms(), v)
            return "ok"
    return "error"
while True:
    if uart.any():
        buf.extend(uart.read())
    i = buf.find(b"\\n")
    if i >= 0:
        line = bytes(buf[:i]).decode()
        buf = buf[i + 1:]
        uart.write(handle(line) + "\\n")
    for n in list(ends):
        if time.ticks_diff(time.ticks_ms(), ends[n]) >= 0:
            outs[n].off()
            del ends[n]
    time.sleep_ms(2)
""",
    "programs/dimmer-gamma": """
from machine import Pin, PWM, Timer
led = PWM(Pin(15), freq=1000); led.duty_u16(0)
level = 0
up, down = Pin(2, Pin.IN, Pin.PULL_UP), Pin(3, Pin.IN, Pin.PULL_UP)
state = {2: 1, 3: 1}
def scan(t):
    global level
    for n, p, d in ((2, up, 1), (3, down, -1)):
        v = p.value()
        if v == 0 and state[n] == 1:
            level += d
            if level < 0: level = 0
            if level > 10: level = 10
            led.duty_u16(int(pow(level / 10, 2.2) * 65535))
        state[n] = v
Timer(-1).init(period=30, mode=Timer.PERIODIC, callback=scan)
""",
    "programs/morse-sender": """
from machine import Pin, UART
import time
u = UART(1, 9600, tx=Pin(4), rx=Pin(5)); led = Pin(15, Pin.OUT)
D = {"A": ".-", "E": ".", "M": "--", "N": "-.", "O": "---", "S": "...", "T": "-"}
UNIT = 50
def play(text):
    words = text.split(" ")
    for wi, word in enumerate(words):
        for li, letter in enumerate(word):
            for si, sym in enumerate(D[letter]):
                led.on(); time.sleep_ms(UNIT if sym == "." else 3 * UNIT); led.off()
                if si < len(D[letter]) - 1: time.sleep_ms(UNIT)
            if li < len(word) - 1: time.sleep_ms(3 * UNIT)
        if wi < len(words) - 1: time.sleep_ms(7 * UNIT)
buf = b""
while True:
    data = u.read()
    if data: buf += data
    while b"\\n" in buf:
        line, _, buf = buf.partition(b"\\n")
        play(line.decode().strip().upper())
    time.sleep_ms(20)
""",
}


def test_right_solutions_pass() -> None:
    try:
        find_interpreter()
    except SandboxUnavailable as missing:
        pytest.skip(str(missing))
    pairs = [(TASKS[id], source) for id, source in RIGHT.items()]
    assert [(task.id, v.reason) for task, _, v in judge_all(pairs, workers=2) if not v.passed] == []
