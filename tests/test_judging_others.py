"""Other people's solutions, right ones written quite differently and subtly wrong ones, are judged rightly."""

from __future__ import annotations

import pytest

from stages.evaluation.node import SandboxUnavailable, find_interpreter
from stages.evaluation.task import judge_all
from stages.evaluation.tasks import SUITE

TASKS = {task.id: task for task in SUITE}

RIGHT = {
    "pins/lighthouse": (
        "from machine import Pin, Timer\nfrom utime import ticks_ms, ticks_diff\nlamp = Pin('GP16', mode=Pin.OUT)\n"
        "begin = ticks_ms()\ndef look(t):\n    ms = ticks_diff(ticks_ms(), begin) % 8000\n"
        "    lamp(ms < 400 or 1200 <= ms < 1600 or 2400 <= ms < 2800)\nlook(None)\n"
        "Timer().init(period=5, mode=Timer.PERIODIC, callback=look)\n"
    ),
    "pins/binary-counter": (
        "from machine import Pin\nimport time\nb = Pin(14, Pin.IN, Pin.PULL_UP)\n"
        "leds = [Pin(n, Pin.OUT) for n in (2, 3, 4)]\nlast = time.ticks_ms()\ncount = 0\n"
        "def handler(pin):\n    global last, count\n    now = time.ticks_ms()\n"
        "    if time.ticks_diff(now, last) > 50 and pin.value() == 0:\n        count += 1\n"
        "        for i in range(3):\n            leds[i].value((count >> i) & 1)\n    last = now\n"
        "b.irq(trigger=Pin.IRQ_FALLING | Pin.IRQ_RISING, handler=handler)\n"
    ),
    "pins/rising-glow": (
        "from machine import Pin, PWM\nimport utime\npwm = PWM(Pin(15)); pwm.freq(1000)\nstart = utime.ticks_ms()\n"
        "while True:\n    ms = utime.ticks_diff(utime.ticks_ms(), start) % 1500\n"
        "    pwm.duty_ns(ms * 1000000 // 1500)\n    utime.sleep_ms(10)\n"
    ),
    "buses/lm75-below-zero": (
        "from machine import SoftI2C, Pin, Timer\nimport struct\ni2c = SoftI2C(scl=Pin(5), sda=Pin(4))\n"
        "buf = bytearray(2)\ndef read(t):\n    i2c.writeto(0x48, b'\\x00', False)\n    i2c.readfrom_into(0x48, buf)\n"
        "    print('Temperature: %.2f C' % (struct.unpack('>h', buf)[0] / 256))\n"
        "Timer().init(period=1000, mode=Timer.PERIODIC, callback=read)\n"
    ),
    "buses/uart-adder": (
        "import asyncio\nfrom machine import UART\nu = UART(1, 9600, tx=8, rx=9)\n"
        "async def main():\n    r = asyncio.StreamReader(u)\n    w = asyncio.StreamWriter(u, {})\n    while True:\n"
        "        line = (await r.readline()).decode().strip()\n        p = line.split(' ')\n"
        "        if len(p) == 3 and p[0] == 'ADD':\n            w.write(f'OK {int(p[1]) + int(p[2])}\\r\\n')\n"
        "        else:\n            w.write('ERROR\\r\\n')\n        await w.drain()\nasyncio.run(main())\n"
    ),
    "buses/mcp3008-channel": (
        "from machine import Pin, SPI\ncs = Pin(17, Pin.OUT)\ncs.value(1)\n"
        "spi = SPI(0, 500000, polarity=0, phase=0, sck=Pin(18), mosi=Pin(19), miso=Pin(16))\n"
        "def read(n):\n    cs(0)\n    spi.write(bytes((1,)))\n    high = bytearray(1)\n"
        "    spi.write_readinto(bytes((0x80 | n << 4,)), high)\n    low = spi.read(1)[0]\n    cs(1)\n"
        "    return ((high[0] & 3) << 8) + low\nprint('Channel 2:'[:0], read(2))\n"
    ),
    "timing/two-rates": (
        "import uasyncio as asyncio\nfrom machine import Pin\na, b = Pin(2, Pin.OUT), Pin(3, Pin.OUT)\n"
        "async def every(ms, f):\n    while True:\n        await asyncio.sleep_ms(ms)\n        f()\n"
        "async def main():\n    await asyncio.gather(every(300, a.toggle), every(700, b.toggle),\n"
        "        every(1000, lambda: print('alive')))\nasyncio.run(main())\n"
    ),
    "timing/pulses-per-second": (
        "from machine import Pin, Timer\ncount = [0]\ndef up(p): count[0] += 1\n"
        "Pin(12, Pin.IN, Pin.PULL_DOWN).irq(up, Pin.IRQ_RISING)\n"
        "def show(t):\n    print('pulses:', count[0])\n    count[0] = 0\n"
        "t = Timer(-1)\nt.init(freq=1, callback=show)\nwhile True: pass\n"
    ),
    "programs/parking-sensor": (
        "from machine import Pin\nimport time\ntrig = Pin(3, Pin.OUT)\necho = Pin(2, Pin.IN)\n"
        "leds = {10: Pin(10, Pin.OUT), 11: Pin(11, Pin.OUT), 12: Pin(12, Pin.OUT)}\n"
        "def measure():\n    trig.low()\n    time.sleep_us(2)\n    trig.high()\n    time.sleep_us(10)\n    trig.low()\n"
        "    t = time.ticks_us()\n    while echo.value() == 0:\n"
        "        if time.ticks_diff(time.ticks_us(), t) > 30000: return None\n    start = time.ticks_us()\n"
        "    while echo.value() == 1: pass\n    return time.ticks_diff(time.ticks_us(), start) / 58\n"
        "def show(which):\n    for n, led in leds.items(): led.value(n == which)\n"
        "while True:\n    d = measure()\n"
        "    show(None if d is None else 10 if d >= 100 else 11 if d >= 30 else 12)\n    time.sleep(0.1)\n"
    ),
}

WRONG = {
    "pins/lighthouse": RIGHT["pins/lighthouse"].replace("% 8000", "% 9200"),
    "pins/binary-counter": RIGHT["pins/binary-counter"].replace("Pin.IN, Pin.PULL_UP", "Pin.IN"),
    "pins/rising-glow": RIGHT["pins/rising-glow"].replace("ms * 1000000 // 1500", "1000000 - ms * 1000000 // 1500"),
    "buses/lm75-below-zero": RIGHT["buses/lm75-below-zero"].replace("'>h'", "'<h'"),
    "buses/uart-adder": RIGHT["buses/uart-adder"].replace("9600", "115200"),
    "buses/mcp3008-channel": RIGHT["buses/mcp3008-channel"].replace("    cs(0)\n", ""),
    "timing/two-rates": RIGHT["timing/two-rates"].replace("every(700,", "every(750,"),
    "timing/pulses-per-second": RIGHT["timing/pulses-per-second"].replace("    count[0] = 0\n", ""),
    "programs/parking-sensor": RIGHT["programs/parking-sensor"].replace("/ 58", "/ 29"),
}


@pytest.mark.parametrize(("answers", "expected"), [(RIGHT, True), (WRONG, False)], ids=["right", "wrong"])
def test_other_solutions_are_judged_rightly(answers: dict[str, str], expected: bool) -> None:
    try:
        find_interpreter()
    except SandboxUnavailable as missing:
        pytest.skip(str(missing))
    pairs = [(TASKS[id], source) for id, source in answers.items()]
    surprises = [(task.id, v.reason) for task, _, v in judge_all(pairs, workers=2) if v.passed != expected]
    assert surprises == []
