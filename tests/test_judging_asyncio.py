"""Level 4: right solutions in another style and subtly wrong ones are judged rightly: asyncio."""

from __future__ import annotations

import pytest

from stages.evaluation.node import SandboxUnavailable, find_interpreter
from stages.evaluation.task import judge_all
from stages.evaluation.tasks import SUITE

TASKS = {task.id: task for task in SUITE}

RIGHT = {
    "timing/start-signal": """
import asyncio
from machine import Pin
async def led(ev, n, ms):
    p = Pin(n, Pin.OUT)
    await ev.wait()
    await asyncio.sleep(ms / 1000)
    p(1); await asyncio.sleep(0.3); p(0)
async def main():
    ev = asyncio.Event()
    flag = asyncio.ThreadSafeFlag()
    Pin(3, Pin.IN).irq(lambda p: flag.set(), Pin.IRQ_RISING)
    async def trigger():
        await flag.wait()
        ev.set()
    await asyncio.gather(trigger(), led(ev, 10, 200), led(ev, 11, 400), led(ev, 12, 600))
    print('finished')
asyncio.run(main())
""",
    "timing/whole-lines": """
import asyncio
free = asyncio.Event()
free.set()
async def send(text, n):
    while n:
        while not free.is_set():
            await free.wait()
        free.clear()
        for c in text: await put(c)
        free.set()
        n -= 1
        await asyncio.sleep(0.1)
async def main():
    t = [asyncio.create_task(send(x, 10)) for x in ('TEMP 21\\n', 'HUM 40\\n')]
    for x in t: await x
asyncio.run(main())
""",
    "timing/slow-consumer": """
import asyncio
from collections import deque
from machine import ADC
adc = ADC(26)
q = deque((), 10)
done = False
async def reader():
    global done
    for i in range(8):
        q.append(adc.read_u16())
        await asyncio.sleep_ms(100)
    done = True
async def worker():
    while q or not done:
        if q:
            await handle(q.popleft())
        else:
            await asyncio.sleep_ms(10)
async def main():
    t = asyncio.create_task(reader())
    await worker()
asyncio.run(main())
""",
    "timing/patience": """
import asyncio
async def main():
    for i in range(6):
        if i: await asyncio.sleep_ms(1000)
        try:
            value = await asyncio.wait_for_ms(read_sensor(), 200)
        except asyncio.TimeoutError:
            value = 'timeout'
        print(value)
asyncio.run(main())
""",
    "timing/all-at-once": """
import uasyncio as asyncio
async def safe(n):
    try:
        return str(await read(n))
    except OSError:
        return 'error'
async def main():
    tasks = [asyncio.create_task(safe(n)) for n in (1, 2, 3, 4)]
    found = []
    for t in tasks: found.append(await t)
    for i, x in enumerate(found): print(f'{i + 1} {x}')
asyncio.run(main())
""",
    # no task is cancelled here: a state machine
    "timing/mixer-door": """
from machine import Pin
import time
m, v, d = Pin(11, Pin.OUT), Pin(12, Pin.OUT), Pin(13, Pin.IN)
start = time.ticks_ms()
was_open = False
while True:
    if d.value():
        m.off(); v.off()
        was_open = True
    else:
        if was_open:
            start, was_open = time.ticks_ms(), False
        ms = time.ticks_diff(time.ticks_ms(), start)
        m.value(ms < 3000)
        v.value(3000 <= ms < 5000)
    time.sleep_ms(10)
""",
    "timing/knock-flash": """
import asyncio
from machine import Pin, Timer
led = Pin(17, Pin.OUT)
ev = asyncio.ThreadSafeFlag()
def h(p): ev.set()
Pin(16, Pin.IN, Pin.PULL_DOWN).irq(trigger=Pin.IRQ_RISING, handler=h)
async def flash():
    while True:
        await ev.wait()
        led.on()
        Timer(period=300, mode=Timer.ONE_SHOT, callback=lambda t: led.off())
async def beat():
    p = Pin(18, Pin.OUT)
    while True:
        p.on(); await asyncio.sleep_ms(250); p.off(); await asyncio.sleep_ms(250)
async def main():
    await asyncio.gather(flash(), beat())
asyncio.run(main())
""",
    "timing/two-rates": """
import asyncio
from machine import Pin, Timer
a, b = Pin(2, Pin.OUT), Pin(3, Pin.OUT)
Timer(period=1000, callback=lambda t: print('alive'))
async def blink(p, ms):
    while True:
        p.value(not p.value())
        await asyncio.sleep(ms / 1000)
loop = asyncio.get_event_loop()
loop.create_task(blink(a, 300))
loop.create_task(blink(b, 700))
loop.run_forever()
""",
}


def spoilt(id: str, old: str, new: str) -> tuple[str, str]:
    assert RIGHT[id].count(old) == 1, (id, old)
    return id, RIGHT[id].replace(old, new)


WRONG = [
    spoilt("timing/start-signal", "    await ev.wait()\n    await asyncio.sleep(ms / 1000)\n", "    await ev.wait()\n"),
    spoilt("timing/whole-lines", "        free.clear()\n", ""),
    spoilt("timing/slow-consumer", "deque((), 10)", "deque((), 1)"),
    spoilt("timing/patience", "_ms(read_sensor(), 200)", "(read_sensor(), 2)"),
    spoilt("timing/all-at-once", "        return 'error'", "        return '0'"),
    spoilt("timing/mixer-door", "start, was_open = time.ticks_ms(), False", "was_open = False"),
    spoilt("timing/knock-flash", "period=300", "period=200"),
    spoilt("timing/two-rates", "ms / 1000", "ms / 1100"),
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
