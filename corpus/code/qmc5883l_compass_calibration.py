"""An electronic compass with a QMC5883L: hard- and soft-iron calibration, stored in a file.

Wiring (ESP32): SDA GPIO21, SCL GPIO22, VCC 3V3. Hold the button on GPIO0 at the start to
calibrate: turn the board slowly through all directions until the dots end.
"""
import json
import math
import time
from machine import I2C, Pin
from struct import unpack

QMC5883L = 0x0D
FILE = "compass.json"
DECLINATION_DEG = 3.5  # local angle between magnetic and true north, east is positive

POINTS = ("N", "NNE", "NE", "ENE", "E", "ESE", "SE", "SSE",
          "S", "SSW", "SW", "WSW", "W", "WNW", "NW", "NNW")


class Magnetometer:
    def __init__(self, i2c):
        self.i2c = i2c
        i2c.writeto_mem(QMC5883L, 0x0A, b"\x80")  # soft reset
        time.sleep_ms(10)
        i2c.writeto_mem(QMC5883L, 0x0B, b"\x01")  # set/reset period, as recommended
        i2c.writeto_mem(QMC5883L, 0x09, b"\x0d")  # continuous, 200 Hz, 2 gauss, oversampling 512

    def read(self, timeout_ms=50):
        begun = time.ticks_ms()
        while True:
            status = self.i2c.readfrom_mem(QMC5883L, 0x06, 1)[0]
            if status & 0x02:
                raise ValueError("field too strong, is there a magnet near?")
            if status & 0x01:
                return unpack("<hhh", self.i2c.readfrom_mem(QMC5883L, 0x00, 6))
            if time.ticks_diff(time.ticks_ms(), begun) > timeout_ms:
                raise OSError("magnetometer gives no data")
            time.sleep_ms(1)


def collect(sensor, seconds=20):
    low, high = [32767] * 3, [-32768] * 3
    finish = time.ticks_add(time.ticks_ms(), seconds * 1000)
    shown = seconds
    while (left := time.ticks_diff(finish, time.ticks_ms())) > 0:
        if left // 1000 < shown:
            shown = left // 1000
            print(".", end="")
        for axis, value in enumerate(sensor.read()):
            low[axis] = min(low[axis], value)
            high[axis] = max(high[axis], value)
    print()
    return low, high


def corrections(low, high):
    """Centre of the ellipsoid (hard iron) and a factor that makes its axes equal (soft iron)."""
    offset = [(a + b) / 2 for a, b in zip(low, high)]
    radius = [(b - a) / 2 for a, b in zip(low, high)]
    if min(radius) < 500:
        raise ValueError("an axis hardly moved, turn the board in all directions")
    mean = sum(radius) / 3
    return {"offset": offset, "scale": [mean / r for r in radius]}


def load():
    try:
        with open(FILE) as file:
            return json.load(file)
    except (OSError, ValueError):
        return None


def save(calibration):
    with open(FILE, "w") as file:
        json.dump(calibration, file)


def heading(raw, calibration):
    """Degrees clockwise from true north, for a board that lies level with x forward."""
    x, y, _ = [(v - o) * s for v, o, s in zip(raw, calibration["offset"], calibration["scale"])]
    return (math.degrees(math.atan2(-y, x)) + DECLINATION_DEG) % 360


class AngleFilter:
    """A low-pass for angles: it filters sine and cosine, so that 359 and 1 average to 0."""

    def __init__(self, share=0.2):
        self.share = share
        self.s = self.c = None

    def add(self, degrees):
        s, c = math.sin(math.radians(degrees)), math.cos(math.radians(degrees))
        if self.s is None:
            self.s, self.c = s, c
        self.s += self.share * (s - self.s)
        self.c += self.share * (c - self.c)
        return math.degrees(math.atan2(self.s, self.c)) % 360


def main():
    sensor = Magnetometer(I2C(0, scl=Pin(22), sda=Pin(21), freq=400_000))
    calibration = load()
    if calibration is None or not Pin(0, Pin.IN, Pin.PULL_UP).value():
        print("calibrating, turn me")
        calibration = corrections(*collect(sensor))
        save(calibration)
    smooth = AngleFilter()
    while True:
        angle = smooth.add(heading(sensor.read(), calibration))
        print("%5.1f  %s" % (angle, POINTS[int(angle / 22.5 + 0.5) % 16]))
        time.sleep_ms(100)


main()
