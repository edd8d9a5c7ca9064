"""Level 3: right solutions in another style and subtly wrong ones are judged rightly: I2C, SPI, chips."""

from __future__ import annotations

import pytest

from stages.evaluation.node import SandboxUnavailable, find_interpreter
from stages.evaluation.task import judge_all
from stages.evaluation.tasks import SUITE

TASKS = {task.id: task for task in SUITE}

RIGHT = {
    "buses/i2c-roll-call": """
from machine import SoftI2C, Pin
bus = SoftI2C(scl=Pin(3), sda=Pin(2), freq=100000)
n = 0
for a in range(0x08, 0x78):
    try:
        bus.readfrom(a, 1)
    except OSError:
        continue
    n += 1
    print("0x" + "0123456789abcdef"[a >> 4] + "0123456789abcdef"[a & 15])
print(n, "devices")
""",
    "buses/i2c-bit-field": """
from machine import I2C, Pin
i2c = I2C(0, scl=Pin(21), sda=Pin(20))
value = bytearray(1)
i2c.writeto(0x1D, b"\\x2c", False)
i2c.readfrom_into(0x1D, value)
i2c.writeto(0x1D, bytes([0x2C, value[0] & 0b11100011 | 0b00010100]))
""",
    "buses/tilt-little-endian": """
from machine import I2C, Pin, Timer
i2c = I2C(1, sda=Pin(6), scl=Pin(7))
def axis(register):
    value = i2c.readfrom_mem(0x19, register, 1)[0] + i2c.readfrom_mem(0x19, register + 1, 1)[0] * 256
    return (value if value < 32768 else value - 65536) / 16384
Timer(period=250, callback=lambda t: print("x=%.2f y=%.2f z=%.2f" % tuple(axis(r) for r in (0x28, 0x2A, 0x2C))))
""",
    "buses/pressure-calibrated": """
import ustruct, utime
from machine import I2C, Pin
class Sensor:
    def __init__(self, i2c, address=0x5D):
        self.i2c, self.address = i2c, address
        self.offset = ustruct.unpack("<h", self.read(0x20, 2))[0]
        self.gain = ustruct.unpack("<H", self.read(0x22, 2))[0]
    def read(self, register, count):
        return self.i2c.readfrom_mem(self.address, register, count)
    @property
    def pressure(self):
        a, b, c = self.read(0x10, 3)
        return (a * 65536 + b * 256 + c) * self.gain / 16777216 + self.offset * 0.125
sensor = Sensor(I2C(0, sda=Pin(8), scl=Pin(9), freq=100000))
while True:
    print(round(sensor.pressure, 1))
    utime.sleep_ms(1000)
""",
    "buses/some-are-missing": """
import struct, time
from machine import I2C, Pin
i2c = I2C(0, sda=Pin(0), scl=Pin(1))
while True:
    line = ""
    for address in (0x48, 0x49, 0x4A, 0x4B):
        try:
            line += "%d " % struct.unpack("b", i2c.readfrom_mem(address, 0, 1))
        except OSError as error:
            line += "-- "
    print(line[:-1])
    time.sleep(1)
""",
    "buses/fresh-data-bit": """
from machine import I2C, Pin, Timer
i2c = I2C(1, sda=Pin(18), scl=Pin(19))
was = 0
def look(timer):
    global was
    status, high, low = i2c.readfrom_mem(0x36, 7, 3)
    now = status >> 3 & 1
    if now and not was:
        print(high * 256 + low)
    was = now
Timer(-1, period=10, mode=Timer.PERIODIC, callback=look)
""",
    "buses/clock-of-twelve-hours": """
from machine import I2C, Pin
import time
i2c = I2C(0, sda=Pin(12), scl=Pin(13))
bcd = lambda b: int("%x" % b)
while True:
    s, m, h = (bcd(b) for b in i2c.readfrom_mem(0x68, 0, 2) + bytes([i2c.readfrom_mem(0x68, 2, 1)[0] & 0x1F]))
    pm = i2c.readfrom_mem(0x68, 2, 1)[0] & 0b100000
    if h == 12: h = 0
    if pm: h += 12
    print("Time: %02d:%02d:%02d" % (h, m, s))
    time.sleep(1)
""",
    "buses/eeprom-pages": """
from machine import I2C, Pin
from time import sleep_ms
i2c = I2C(1, sda=Pin(14), scl=Pin(15))
text = "The spare key hangs behind the blue flowerpot, left of the door."
for i, c in enumerate(text):
    a = 0x1F4 + i
    i2c.writeto(0x50, bytes([a >> 8, a & 255, ord(c)]))
    sleep_ms(5)
i2c.writeto(0x50, b"\\x01\\xf4")
print(str(i2c.readfrom(0x50, len(text)), "ascii"))
""",
    "buses/expander-mirror": """
import asyncio
from machine import I2C, Pin
i2c = I2C(0, sda=Pin(16), scl=Pin(17))
def write(register, value): i2c.writeto(0x27, bytes((register, value)))
async def main():
    for register, value in ((0x00, 0xFF), (0x01, 0x00), (0x0C, 0xFF)):
        write(register, value)
    last = None
    while True:
        leds = 0
        buttons = i2c.readfrom_mem(0x27, 0x12, 1)[0]
        for n in range(8):
            if not buttons & (1 << n):
                leds |= 1 << n
        if leds != last:
            write(0x15, leds)
            last = leds
        await asyncio.sleep_ms(50)
asyncio.run(main())
""",
    "buses/one-shot-light": """
from machine import I2C, Pin, Timer
i2c = I2C(1, scl=Pin(27), sda=Pin(26))
lamp = Pin(15, Pin.OUT)
def fetch(t):
    global lit
    lux = int.from_bytes(i2c.readfrom(0x23, 2), "big") / 1.2
    if lux < 20 or lux > 50:
        lamp(lux < 20)
    i2c.writeto(0x23, bytearray([0x20]))
i2c.writeto(0x23, bytearray([0x20]))
Timer(freq=2, callback=fetch)
""",
    "buses/humidity-crc": """
from machine import I2C, Pin
import time
bus = I2C(0, sda=Pin(4), scl=Pin(5))
def crc(a, b):
    r = (a ^ 0xFF) << 8 | b
    for i in range(16):
        r = r << 1 ^ (0x2F00 if r & 0x8000 else 0)
        r &= 0xFFFF
    return r >> 8
def measure():
    bus.writeto(0x45, b"\\xe5")
    while True:
        time.sleep_ms(5)
        try:
            return bus.readfrom(0x45, 3)
        except OSError:
            pass
next_time = time.ticks_ms()
while True:
    high, low, check = measure()
    print("humidity %.1f %%" % ((high * 256 + low) / 655.35) if crc(high, low) == check else "crc error")
    next_time = time.ticks_add(next_time, 1000)
    time.sleep_ms(time.ticks_diff(next_time, time.ticks_ms()))
""",
    "buses/flash-erase": """
from machine import SPI, Pin
import time
spi = SPI(1, 1_000_000, sck=Pin(10), mosi=Pin(11), miso=Pin(12))
cs = Pin(13, Pin.OUT)
cs.high()
class Selected:
    def __enter__(self): cs.low()
    def __exit__(self, *args): cs.high()
with Selected():
    spi.write(b"\\x06")
with Selected():
    spi.write(b"\\x20")
    spi.write((0x03A000).to_bytes(3, "big"))
while True:
    with Selected():
        spi.write(b"\\x05")
        status = spi.read(1, 0xFF)
    if not status[0] & 1:
        break
    time.sleep_ms(10)
print("Erased.")
""",
    "buses/dac-two-ramps": """
import asyncio
from machine import Pin, SoftSPI
spi = SoftSPI(sck=Pin(2), mosi=Pin(3), miso=Pin(4))
cs = Pin(5, Pin.OUT, value=1)
def put(word):
    cs(0)
    spi.write(bytes([word >> 8]))
    spi.write(bytes([word & 255]))
    cs(1)
async def main():
    for a in list(range(0, 4096, 256)) + [4095]:
        put(0b0011 << 12 | a)
        put(0b1011 << 12 | (4095 - a))
        await asyncio.sleep(0.1)
asyncio.run(main())
""",
    "buses/two-spi-modes": """
from machine import Pin, SPI
import time
a, b = Pin(20, Pin.OUT, value=1), Pin(21, Pin.OUT, value=1)
def read(cs, p):
    spi = SPI(0, 1000000, polarity=p, phase=p, sck=Pin(18), mosi=Pin(19), miso=Pin(16))
    buf = bytearray((0x8F, 0))
    cs.low(); spi.write_readinto(buf, buf); cs.high()
    return buf[1]
for n in (0, 1):
    x = read(a, 0)
    y = read(b, 1)
    print("chip 1: %d, chip 2: %d" % (x, y))
    if not n: time.sleep(1)
""",
    "buses/thermocouple-open": """
import struct
from machine import Pin, SPI, Timer
spi = SPI(1, sck=Pin(10), mosi=Pin(11), miso=Pin(12))
cs = Pin(9, Pin.OUT, value=1)
buf = bytearray(2)
def read(t):
    cs.off()
    spi.readinto(buf)
    cs.on()
    (v,) = struct.unpack(">H", buf)
    print("Open!" if v & (1 << 2) else "%.2f C" % ((v & 0x7FF8) / 32))
Timer().init(mode=Timer.PERIODIC, period=1000, callback=read)
""",
}

# what is different in the right solution of the same task, and why the task does not want it
MISTAKES = (
    ("buses/i2c-roll-call", "range(0x08, 0x78)", "range(0x10, 0x78)"),
    ("buses/i2c-bit-field", "0b11100011", "0b11101011"),  # one bit of the field is left
    ("buses/i2c-bit-field", "0b00010100", "0b00101000"),  # shifted by three
    ("buses/tilt-little-endian", "value if value < 32768 else value - 65536", "value"),
    ("buses/tilt-little-endian", "(0x28, 0x2A, 0x2C)", "(0x28, 0x29, 0x2A)"),
    ("buses/pressure-calibrated", '"<H", self', '">H", self'),
    ("buses/pressure-calibrated", "* 0.125", "/ 16"),
    ("buses/some-are-missing", '"b"', '"B"'),
    ("buses/some-are-missing", 'line += "-- "', "pass"),
    ("buses/fresh-data-bit", "now and not was", "now and not was and high < 128"),
    ("buses/fresh-data-bit", "if now and not was:", "if status == 8 and not was:"),  # the other bits
    ("buses/clock-of-twelve-hours", "& 0x1F", "& 0x0F"),  # the tens of the hour
    ("buses/clock-of-twelve-hours", "    if h == 12: h = 0\n", ""),
    ("buses/eeprom-pages", "sleep_ms(5)", "sleep_ms(4)"),
    ("buses/expander-mirror", ", (0x0C, 0xFF)", ""),  # no pull-ups
    ("buses/expander-mirror", "range(8)", "range(7)"),
    ("buses/one-shot-light", "lux < 20 or lux > 50", "lux < 50 or lux > 50"),
    ("buses/one-shot-light", '"big"', '"little"'),
    ("buses/humidity-crc", "0x2F00", "0x3100"),  # another polynomial
    ("buses/humidity-crc", "high * 256 + low", "high + low * 256"),
    ("buses/flash-erase", '"big"', '"little"'),
    ("buses/flash-erase", "not status[0] & 1", "not status[0] & 2"),
    ("buses/dac-two-ramps", "0b1011 << 12", "0b0011 << 12"),  # channel A twice
    ("buses/dac-two-ramps", "sleep(0.1)", "sleep(0.01)"),
    ("buses/two-spi-modes", "read(b, 1)", "read(b, 0)"),
    ("buses/thermocouple-open", "/ 32", "/ 8"),
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
