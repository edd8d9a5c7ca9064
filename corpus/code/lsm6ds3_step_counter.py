"""Count steps with an LSM6DS3 worn at the belt; the steps are found in software, not by the chip.

Board: Seeed XIAO-style RP2040 with the sensor on I2C1, SDA GP6, SCL GP7.
The sum of steps of a day goes to a file each quarter of an hour.
"""
import time
from machine import I2C, Pin
from math import sqrt
from struct import unpack

ADDRESS = 0x6A
WHO_AM_I = 0x0F
CTRL1_XL = 0x10
CTRL3_C = 0x12
OUTX_L_XL = 0x28
G = 0.061e-3  # per count at +-2 g


def setup(i2c):
    identity = i2c.readfrom_mem(ADDRESS, WHO_AM_I, 1)[0]
    if identity not in (0x69, 0x6A):  # LSM6DS3 and LSM6DS3TR-C
        raise RuntimeError("unexpected identity %#x" % identity)
    i2c.writeto_mem(ADDRESS, CTRL3_C, b"\x44")  # whole samples only, addresses count up
    i2c.writeto_mem(ADDRESS, CTRL1_XL, b"\x40")  # 104 Hz, +-2 g


def magnitude(i2c):
    x, y, z = unpack("<3h", i2c.readfrom_mem(ADDRESS, OUTX_L_XL, 6))
    return G * sqrt(x * x + y * y + z * z)


class StepDetector:
    """Peaks of the acceleration that rise enough above its mean, at a human pace.

    A step is counted at the falling edge of a peak. Single bumps do not count: only from
    the fourth regular step on are the first ones added.
    """

    MIN_MS = 280
    MAX_MS = 1500
    NEEDED = 4

    def __init__(self):
        self.mean = 1.0
        self.smooth = 1.0
        self.peak = 0.0
        self.above = False
        self.last = None
        self.run = 0
        self.steps = 0

    def update(self, g, now):
        self.smooth += 0.25 * (g - self.smooth)
        self.mean += 0.01 * (self.smooth - self.mean)
        swing = self.smooth - self.mean
        if not self.above:
            if swing > 0.08:
                self.above = True
                self.peak = swing
        else:
            self.peak = max(self.peak, swing)
            if swing < self.peak / 2:
                self.above = False
                self._candidate(now)

    def _candidate(self, now):
        gap = None if self.last is None else time.ticks_diff(now, self.last)
        if gap is not None and gap < self.MIN_MS:
            return  # the heel rings after
        self.last = now
        if gap is None or gap > self.MAX_MS:
            self.run = 1
            return
        self.run += 1
        if self.run == self.NEEDED:
            self.steps += self.NEEDED
        elif self.run > self.NEEDED:
            self.steps += 1


def remember(steps):
    with open("steps.txt", "a") as log:
        log.write("%04d-%02d-%02d %02d:%02d %d\n" % (time.localtime()[:5] + (steps,)))


def main():
    i2c = I2C(1, sda=Pin(6), scl=Pin(7), freq=400_000)
    setup(i2c)
    detector = StepDetector()
    shown = saved = 0
    next_save = time.ticks_add(time.ticks_ms(), 900_000)
    while True:
        now = time.ticks_ms()
        detector.update(magnitude(i2c), now)
        if detector.steps != shown:
            shown = detector.steps
            print("steps:", shown)
        if time.ticks_diff(now, next_save) >= 0:
            next_save = time.ticks_add(next_save, 900_000)
            if detector.steps != saved:
                saved = detector.steps
                remember(saved)
        time.sleep_ms(20)


main()
