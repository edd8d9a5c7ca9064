"""Level 3: right solutions in another style and subtly wrong ones are judged rightly: ADC, UART, sensors."""

from __future__ import annotations

import pytest

from stages.evaluation.node import SandboxUnavailable, find_interpreter
from stages.evaluation.task import judge_all
from stages.evaluation.tasks import SUITE

TASKS = {task.id: task for task in SUITE}

RIGHT = {
    "buses/four-step-bar": """
import asyncio
from machine import ADC, Pin
async def main():
    adc = ADC(Pin(26, Pin.IN))
    while True:
        n = sum(adc.read_u16() >= limit for limit in (10000, 25000, 40000, 55000))
        for i in range(4):
            Pin(2 + i, Pin.OUT, value=1 if i < n else 0)
        await asyncio.sleep(0.1)
asyncio.run(main())
""",
    "buses/uart-countdown": """
from machine import UART, Timer
uart = UART(0, 38400)
uart.init(tx=16, rx=17)
n = 10
def tick(timer):
    global n
    print(n, end="...")
    uart.write(b"%d" % n)
    uart.write("\\r\\n")
    if n == 0:
        timer.deinit()
    n -= 1
timer = Timer(mode=Timer.PERIODIC, period=250, callback=tick)
""",
    "buses/pixel-traffic-light": """
from machine import Pin, Timer
import neopixel
np = neopixel.NeoPixel(Pin("GP7"), 3)
timer = Timer()
def show(i):
    np[(i - 1) % 3] = (0,) * 3
    np.write()
    np[i] = ((60, 0, 0), (60, 40, 0), (0, 60, 0))[i]
    np.write()
    timer.init(mode=Timer.ONE_SHOT, period=(1000, 400, 1600)[i], callback=lambda t: show((i + 1) % 3))
show(0)
""",
    "buses/charger-two-thresholds": """
from machine import ADC, Pin, Timer
adc, relay, on = ADC(1), Pin("GP14", Pin.OUT), False
LOW, HIGH = (int(v * 22 / 122 / 3.3 * 65535) for v in (11.8, 13.6))
def look(t):
    global on
    raw = adc.read_u16()
    on = raw < LOW or on and raw <= HIGH
    relay.value(on)
Timer(freq=10, callback=look)
""",
    "buses/mean-over-hum": """
import asyncio
from machine import ADC, Pin
async def measure(adc):
    samples = []
    while len(samples) < 100:
        samples.append(adc.read_uv() / 1e6)
        await asyncio.sleep_ms(1)
    print("U = %.3f V" % (sum(samples) / 100))
async def main():
    adc = ADC(Pin(28))
    while True:
        await asyncio.gather(measure(adc), asyncio.sleep(1))
asyncio.run(main())
""",
    "buses/slider-ratio": """
import machine, utime
def percent():
    top = machine.ADC(machine.Pin(27)).read_u16()
    if top >= 1000:
        return f"position: {machine.ADC(machine.Pin(26)).read_u16() / top * 100:.1f}%"
    return "No supply"
start = utime.ticks_ms()
while True:
    print(percent())
    start = utime.ticks_add(start, 500)
    while utime.ticks_diff(start, utime.ticks_ms()) > 0:
        pass
""",
    "buses/chip-temperature-extremes": """
from machine import ADC, Timer
import time
adc = ADC(ADC.CORE_TEMP)
low = high = None
count = 0
def read(timer):
    global low, high, count
    t = 27 - (adc.read_u16() / 65535 * 3.3 - 0.706) / 0.001721
    low = t if low is None or t < low else low
    high = t if high is None or t > high else high
    count += 1
    print("reading", count, "is", round(t, 1))
    if count == 5:
        timer.deinit()
        print("lowest: %.1f C, highest: %.1f C" % (low, high))
Timer().init(period=1000, callback=read)
""",
    "buses/gps-speed": """
import asyncio
from machine import UART
async def main():
    reader = asyncio.StreamReader(UART(0, 9600, tx=0, rx=1))
    while True:
        line = (await reader.readline()).strip()
        star = line.find(b"*")
        if line[:6] != b"$GPRMC" or star < 0:
            continue
        check = 0
        for byte in line[1:star]:
            check ^= byte
        f = line[:star].split(b",")
        if check == int(line[star + 1:], 16) and f[2] != b"V":
            print(f"{float(f[7]) * 1.852:.1f} km/h")
asyncio.run(main())
""",
    "buses/modem-questions": """
from machine import Pin, UART
import time
modem = UART(1, 115200, tx=Pin(4), rx=Pin(5), timeout=50)
for command in ["AT+CGMM", "AT+COPS?", "AT+CSQ"]:
    modem.write(command.encode() + b"\\r\\n")
    end = time.ticks_add(time.ticks_ms(), 2000)
    first, complete = None, False
    while not complete and time.ticks_diff(end, time.ticks_ms()) > 0:
        line = modem.readline()
        if not line:
            continue
        line = line.strip().decode()
        if line in ("OK", "ERROR"):
            complete = True
        elif line and first is None:
            first = line
    print(command, "->", first if complete else "no answer")
""",
    "buses/sign-of-life": """
from machine import Pin, Timer, UART
import time
uart = UART(1, 9600, tx=Pin(8), rx=Pin(9))
led = Pin(15, Pin.OUT)
alarm = Timer()
def rearm():
    led.off()
    alarm.init(mode=Timer.ONE_SHOT, period=1500, callback=lambda t: led.on())
rearm()
line = bytearray()
while True:
    byte = uart.read(1)
    if byte is None:
        time.sleep_ms(20)
    elif byte == b"\\n":
        if line == b"PING":
            rearm()
        line = bytearray()
    else:
        line.extend(byte)
""",
    "buses/framed-commands": """
import asyncio
from machine import Pin, UART
uart = UART(0, 19200, tx=Pin(12), rx=Pin(13))
async def main():
    buffer = b""
    while True:
        if uart.any():
            buffer += uart.read()
        start = buffer.find(b"~")
        buffer = buffer[start:] if start >= 0 else b""
        if len(buffer) > 1 and len(buffer) >= buffer[1] + 3:
            n = buffer[1]
            x = 0
            for b in buffer[2 : n + 3]:
                x ^= b
            uart.write(bytes([0x15 if x else 6]))
            buffer = buffer[n + 3 :]
        await asyncio.sleep_ms(10)
asyncio.run(main())
""",
    "buses/dht22-no-answer": """
import dht
from machine import Pin, Timer
d = dht.DHT22(Pin(16, Pin.IN, Pin.PULL_UP))
def read(t):
    try:
        d.measure()
    except OSError as e:
        print("no answer", e)
        return
    print("temperature %.1f humidity %.1f" % (d.temperature(), d.humidity()))
Timer(period=2000, callback=read)
""",
    "buses/coldest-of-three": """
import asyncio, binascii, ds18x20, onewire
from machine import Pin
bus = ds18x20.DS18X20(onewire.OneWire(Pin(22)))
async def main():
    while True:
        bus.convert_temp()
        await asyncio.sleep_ms(800)
        found = {binascii.hexlify(rom).decode(): bus.read_temp(rom) for rom in bus.scan()}
        rom = sorted(found, key=lambda rom: found[rom])[0]
        print("%s %.2f" % (rom.upper(), found[rom]))
        await asyncio.sleep_ms(1200)
asyncio.run(main())
""",
    "buses/water-level": """
from machine import Pin
import time
trig, echo = Pin(3, Pin.OUT), Pin(2, Pin.IN)
def width():
    trig.low(); time.sleep_us(2); trig.high(); time.sleep_us(15); trig.low()
    begin = time.ticks_us()
    while not echo.value():
        if time.ticks_diff(time.ticks_us(), begin) > 30000:
            return None
    up = time.ticks_us()
    while echo.value():
        pass
    return time.ticks_diff(time.ticks_us(), up)
while True:
    w = width()
    if w is None:
        print("No echo")
    else:
        cm = w / 58
        if cm < 20: cm = 20
        if cm > 120: cm = 120
        print("{:.0f} %".format((120 - cm) / (120 - 20) * 100))
    time.sleep_ms(970)
""",
    "buses/ring-of-hands": """
from machine import Pin, RTC, Timer
import neopixel
np = neopixel.NeoPixel(Pin(6), 12)
rtc = RTC()
def show(t):
    h, m = rtc.datetime()[4:6]
    np.fill((0, 0, 0))
    np[h % 12] = (40, 0, 0)
    r, g, b = np[m // 5]
    np[m // 5] = (r, g, 40)
    np.write()
show(None)
Timer(period=500, callback=show)
""",
    "buses/pixel-curtain": """
import asyncio
from machine import Pin
from neopixel import NeoPixel
np = NeoPixel(Pin(20, Pin.OUT), 9)
async def move(order, colour):
    for i in order:
        np[i] = colour
        np.write()
        np[8 - i] = colour
        np.write()
        await asyncio.sleep_ms(200)
np.write()
asyncio.run(move(range(5), (0, 30, 0)))
asyncio.run(move(range(4, -1, -1), (0, 0, 0)))
""",
}

# what is different in the right solution of the same task, and why the task does not want it
MISTAKES = (
    ("buses/four-step-bar", "10000, 25000, 40000, 55000", "13107, 26214, 39321, 52428"),
    ("buses/four-step-bar", "1 if i < n else 0", "1 if i == n - 1 else 0"),
    ("buses/uart-countdown", "38400", "9600"),
    ("buses/uart-countdown", '"\\r\\n"', '"\\n"'),
    ("buses/pixel-traffic-light", "np[(i - 1) % 3] = (0,) * 3", "pass"),
    ("buses/pixel-traffic-light", "(60, 40, 0)", "(40, 60, 0)"),
    ("buses/charger-two-thresholds", "on and raw <= HIGH", "on and raw <= LOW"),  # one threshold
    ("buses/charger-two-thresholds", "/ 3.3 * 65535", "/ 3.3 * 4095"),  # twelve bits
    ("buses/mean-over-hum", "/ 1e6", "/ 1e3"),  # millivolts
    ("buses/slider-ratio", "/ top * 100", "// top * 100"),
    ("buses/slider-ratio", "top >= 1000", "top > 0"),
    ("buses/chip-temperature-extremes", "count == 5", "count == 4"),
    ("buses/chip-temperature-extremes", "% (low, high)", "% (high, low)"),
    ("buses/gps-speed", ' and f[2] != b"V"', ""),
    ("buses/gps-speed", "line[1:star]", "line[:star]"),  # the dollar sign counted
    ("buses/gps-speed", "* 1.852", "/ 1.852"),
    ("buses/modem-questions", "time.ticks_ms(), 2000", "time.ticks_ms(), 200"),
    ("buses/modem-questions", "first is None", "first is not None"),
    ("buses/modem-questions", 'first if complete else "no answer"', 'first or "no answer"'),  # half an answer
    ("buses/sign-of-life", 'line == b"PING"', 'line.endswith(b"PING")'),
    ("buses/sign-of-life", "period=1500", "period=1700"),
    ("buses/framed-commands", "0x15 if x else 6", "0x15 if x != n else 6"),
    ("buses/framed-commands", "buffer[n + 3 :]", 'b""'),  # the frame behind it is lost
    ("buses/dht22-no-answer", '"no answer", e', "e"),
    ("buses/coldest-of-three", "sleep_ms(800)", "sleep_ms(600)"),
    ("buses/coldest-of-three", "[rom])[0]", "[rom])[-1]"),  # the warmest
    ("buses/water-level", "if cm < 20: cm = 20", "if cm < 0: cm = 0"),
    ("buses/water-level", "w / 58", "w / 29"),
    ("buses/ring-of-hands", "h % 12", "h % 11"),
    ("buses/ring-of-hands", "(r, g, 40)", "(0, 0, 40)"),
    ("buses/ring-of-hands", "np.fill((0, 0, 0))", "pass"),  # the hands leave a trail
    ("buses/pixel-curtain", "range(4, -1, -1)", "range(5)"),  # opened from the outside
    ("buses/pixel-curtain", "sleep_ms(200)", "sleep_ms(250)"),
)


def _judged(pairs: list[tuple[str, str]], expected: bool) -> list[tuple[str, str]]:
    """The ids and reasons of those that are judged otherwise than expected."""
    try:
        find_interpreter()
    except SandboxUnavailable as missing:
        pytest.skip(str(missing))
    judged = judge_all([(TASKS[id], source) for id, source in pairs], workers=2)
    return [(task.id, verdict.reason) for task, _, verdict in judged if verdict.passed != expected]


def test_right_solutions_in_another_style_pass() -> None:
    assert _judged([*RIGHT.items()], True) == []


def test_subtly_wrong_solutions_fail() -> None:
    for id, right, _ in MISTAKES:
        assert RIGHT[id].count(right) == 1, (id, right)
    wrong = [(id, RIGHT[id].replace(right, mistaken)) for id, right, mistaken in MISTAKES]
    assert _judged(wrong, False) == []
