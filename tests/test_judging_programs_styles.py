"""Level 5: more right solutions pass: control and buttons."""

from __future__ import annotations

import pytest

from stages.evaluation.node import SandboxUnavailable, find_interpreter
from stages.evaluation.task import judge_all
from stages.evaluation.tasks import SUITE

TASKS = {task.id: task for task in SUITE}

RIGHT = {
    "programs/reaction-game": """
import time, random
from machine import Pin
led, btn = Pin(10, Pin.OUT), Pin(11, Pin.IN, Pin.PULL_UP)
while True:
    led.value(0)
    target = time.ticks_add(time.ticks_ms(), int(1000 + random.random() * 1000))
    early = False
    while time.ticks_diff(target, time.ticks_ms()) > 0:
        if btn.value() == 0:
            early = True
            break
        time.sleep_ms(1)
    if early:
        print("too early")
    else:
        led.value(1)
        t0 = time.ticks_ms()
        while btn.value() == 1:
            time.sleep_ms(1)
        print("Reaction time: {} ms".format(time.ticks_diff(time.ticks_ms(), t0)))
        led.value(0)
    while btn.value() == 0:
        time.sleep_ms(1)
""",
    "programs/stopwatch": """
import time
from machine import Pin
b1, b2 = Pin(2, Pin.IN, Pin.PULL_UP), Pin(3, Pin.IN, Pin.PULL_UP)
running = False; elapsed = 0; start = 0
def show(ms):
    m, ms = divmod(ms, 60000)
    s, ms = divmod(ms, 1000)
    print(f"{m}:{s:02d}.{ms // 100}")
while True:
    if not b1.value():
        if running:
            elapsed += time.ticks_diff(time.ticks_ms(), start)
            show(elapsed)
        else:
            start = time.ticks_ms()
        running = not running
        while not b1.value(): time.sleep_ms(1)
    if not b2.value() and not running:
        elapsed = 0
        show(0)
        while not b2.value(): time.sleep_ms(1)
    time.sleep_ms(1)
""",
    "programs/tap-lock": """
import asyncio
from machine import Pin
btn = Pin(9, Pin.IN, Pin.PULL_UP); lock = Pin(8, Pin.OUT); red = Pin(7, Pin.OUT)
async def read_group():
    while btn.value(): await asyncio.sleep_ms(5)
    n = 1; quiet = 0; last = 0
    while quiet < 800:
        await asyncio.sleep_ms(5)
        quiet += 5
        v = btn.value()
        if last and not v:
            n += 1
            quiet = 0
        last = v
    return n
async def main():
    while True:
        code = []
        for _ in range(3): code.append(await read_group())
        if code == [2, 3, 1]:
            lock.on(); await asyncio.sleep(2); lock.off()
        else:
            red.on(); await asyncio.sleep(1); red.off()
asyncio.run(main())
""",
    "programs/pedestrian-crossing": """
import time
from machine import Pin
cr, cy, cg = Pin(16, Pin.OUT), Pin(17, Pin.OUT), Pin(18, Pin.OUT)
pr, pg = Pin(19, Pin.OUT), Pin(20, Pin.OUT)
btn = Pin(15, Pin.IN, Pin.PULL_UP)
STEPS = [((0,0,1,1,0), 4000), ((0,1,0,1,0), 1000), ((1,0,0,1,0), 1000),
         ((1,0,0,0,1), 3000), ((1,0,0,1,0), 1000), ((1,1,0,1,0), 1000)]
def apply(s):
    for p, v in zip((cr, cy, cg, pr, pg), s): p.value(v)
state = 0; request = False; t0 = time.ticks_ms(); apply(STEPS[0][0])
while True:
    if btn.value() == 0 and state != 3: request = True
    if time.ticks_diff(time.ticks_ms(), t0) >= STEPS[state][1] and (state > 0 or request):
        if state == 0: request = False
        state = (state + 1) % 6
        apply(STEPS[state][0])
        t0 = time.ticks_ms()
    time.sleep_ms(5)
""",
    "programs/burglar-alarm": """
from machine import Pin, Timer
btn, door = Pin(2, Pin.IN, Pin.PULL_UP), Pin(3, Pin.IN, Pin.PULL_UP)
siren, led, timer = Pin(4, Pin.OUT), Pin(5, Pin.OUT), Timer(-1)
armed = False
counting = False
def fire(t):
    siren.value(1)
def on_btn(p):
    global armed, counting
    armed = not armed
    led.value(armed)
    if not armed:
        timer.deinit()
        counting = False
        siren.value(0)
def on_door(p):
    global counting
    if armed and not counting:
        counting = True
        timer.init(mode=Timer.ONE_SHOT, period=2000, callback=fire)
btn.irq(trigger=Pin.IRQ_FALLING, handler=on_btn)
door.irq(trigger=Pin.IRQ_RISING, handler=on_door)
""",
    "programs/plant-watering": """
import asyncio
from machine import ADC, Pin
soil, pump, tank, led = ADC(27), Pin(15, Pin.OUT), Pin(14, Pin.IN, Pin.PULL_UP), Pin(13, Pin.OUT)
async def watch():
    while True:
        led.value(tank.value())
        if tank.value(): pump.off()
        await asyncio.sleep_ms(20)
async def main():
    asyncio.create_task(watch())
    while True:
        if soil.read_u16() > 40000 and tank.value() == 0:
            pump.on()
            for _ in range(75):
                await asyncio.sleep_ms(20)
                if tank.value(): break
            pump.off()
            await asyncio.sleep(3)
            continue
        await asyncio.sleep(1)
asyncio.run(main())
""",
    "programs/night-light": """
import asyncio
from machine import ADC, Pin
lamp, pir, ldr = Pin(15, Pin.OUT), Pin(16, Pin.IN), ADC(26)
async def main():
    while True:
        while not pir.value(): await asyncio.sleep_ms(10)
        if ldr.read_u16() < 20000:
            lamp.on()
            quiet = 0
            while quiet < 300:
                quiet = 0 if pir.value() else quiet + 1
                await asyncio.sleep_ms(10)
            lamp.off()
        while pir.value(): await asyncio.sleep_ms(10)
asyncio.run(main())
""",
    "programs/turn-indicator": """
from machine import Pin, Timer
L, R = Pin(4, Pin.OUT), Pin(5, Pin.OUT)
active = None
t = Timer(-1)
def go(led):
    global active
    t.deinit()
    L.off(); R.off()
    if active is led:
        active = None
        return
    active = led
    led.on()
    t.init(period=400, mode=Timer.PERIODIC, callback=lambda t: led.toggle())
Pin(2, Pin.IN, Pin.PULL_UP).irq(lambda p: go(L), Pin.IRQ_FALLING)
Pin(3, Pin.IN, Pin.PULL_UP).irq(lambda p: go(R), Pin.IRQ_FALLING)
""",
    "programs/two-button-menu": """
from machine import Pin, Timer
import time
names = ["Light", "Fan", "Pump"]
outs = [Pin(i, Pin.OUT) for i in (10, 11, 12)]
for o in outs: o.value(0)
class Button:
    def __init__(self, n, action):
        self.pin, self.action = Pin(n, Pin.IN, Pin.PULL_UP), action
        self.state, self.since, self.raw = 1, time.ticks_ms(), 1
    def update(self):
        v = self.pin.value()
        now = time.ticks_ms()
        if v != self.raw:
            self.raw, self.since = v, now
        if v != self.state and time.ticks_diff(now, self.since) >= 15:
            self.state = v
            if v == 0: self.action()
sel = 0
def nxt():
    global sel
    sel = (sel + 1) % 3
    print(">", names[sel])
def ok():
    outs[sel].value(not outs[sel].value())
print(">", names[sel])
bs = [Button(2, nxt), Button(3, ok)]
while True:
    for b in bs: b.update()
    time.sleep_ms(1)
""",
    "programs/thermostat-log": """
import time, dht
from machine import Pin
d = dht.DHT22(Pin(16)); heater = Pin(22, Pin.OUT); heater.off()
on = False
t0 = time.ticks_ms(); nxt = t0
log = open("log.csv", "a")
while True:
    d.measure(); t = d.temperature()
    if on and t > 21: on = False
    elif not on and t < 19: on = True
    heater.value(on)
    log.write(f"{time.ticks_diff(time.ticks_ms(), t0) / 1000:.0f},{t}\\n"); log.flush()
    nxt = time.ticks_add(nxt, 10000)
    while time.ticks_diff(nxt, time.ticks_ms()) > 0: time.sleep_ms(100)
""",
    "programs/pi-heater": """
import time
from machine import ADC, PWM, Pin
adc, pwm = ADC(26), PWM(Pin(16))
pwm.freq(100)
integral = 0
nxt = time.ticks_ms()
while True:
    t = adc.read_uv() / 10000
    err = 60 - t
    integral += err
    if integral > 200: integral = 200
    if integral < 0: integral = 0
    p = 2 * err + 0.5 * integral
    p = 0 if p < 0 else 100 if p > 100 else p
    pwm.duty_u16(int(p * 65535 / 100))
    nxt = time.ticks_add(nxt, 1000)
    while time.ticks_diff(nxt, time.ticks_ms()) > 0: time.sleep_ms(10)
""",
}


def test_right_solutions_pass() -> None:
    try:
        find_interpreter()
    except SandboxUnavailable as missing:
        pytest.skip(str(missing))
    pairs = [(TASKS[id], source) for id, source in RIGHT.items()]
    assert [(task.id, v.reason) for task, _, v in judge_all(pairs, workers=2) if not v.passed] == []
