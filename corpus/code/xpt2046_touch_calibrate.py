"""Read a resistive touch panel with an XPT2046 and calibrate it by three crosses.

Wiring (ESP32 with a 320 x 240 display): T_CLK GPIO18, T_DIN GPIO23, T_DO GPIO19, T_CS GPIO5,
T_IRQ GPIO4. The coefficients are stored in touch.json; where they exist, calibration is skipped.
"""
import json
import time
from machine import Pin, SPI

READ_X = 0xD0
READ_Y = 0x90
READ_Z1 = 0xB0
READ_Z2 = 0xC0
FILE = "touch.json"

WIDTH, HEIGHT = 320, 240
CROSSES = ((32, 24), (288, 120), (160, 216))  # not on one line, and away from the edges


class XPT2046:
    def __init__(self, spi, cs, irq):
        self.spi = spi
        self.cs = cs
        self.irq = irq
        self.out = bytearray(3)
        self.back = bytearray(3)

    def _convert(self, command):
        self.out[0] = command
        self.cs(0)
        self.spi.write_readinto(self.out, self.back)
        self.cs(1)
        return (self.back[1] << 8 | self.back[2]) >> 3

    def pressure(self):
        """Higher is firmer; near zero when nobody touches."""
        return self._convert(READ_Z1) + 4095 - self._convert(READ_Z2)

    def raw(self, samples=7):
        """The median of several conversions, or None if the pen went up meanwhile."""
        xs, ys = [], []
        for _ in range(samples):
            if self.irq.value() or self.pressure() < 300:
                return None
            xs.append(self._convert(READ_X))
            ys.append(self._convert(READ_Y))
        return sorted(xs)[samples // 2], sorted(ys)[samples // 2]


def determinant(a, b, c, d, e, f, g, h, i):
    return a * (e * i - f * h) - b * (d * i - f * g) + c * (d * h - e * g)


def solve(raw, wanted):
    """Coefficients (a, b, c) with a * x + b * y + c = wanted for three points, by Cramer's rule."""
    (x0, y0), (x1, y1), (x2, y2) = raw
    w0, w1, w2 = wanted
    d = determinant(x0, y0, 1, x1, y1, 1, x2, y2, 1)
    if abs(d) < 10_000:
        raise ValueError("the three touches lie nearly on one line")
    return (
        determinant(w0, y0, 1, w1, y1, 1, w2, y2, 1) / d,
        determinant(x0, w0, 1, x1, w1, 1, x2, w2, 1) / d,
        determinant(x0, y0, w0, x1, y1, w1, x2, y2, w2) / d,
    )


class Touch:
    """Turns raw readings into pixels; also undoes turned and mirrored panels."""

    def __init__(self, chip, coefficients):
        self.chip = chip
        self.for_x, self.for_y = coefficients

    def position(self):
        raw = self.chip.raw()
        if raw is None:
            return None
        x = self.for_x[0] * raw[0] + self.for_x[1] * raw[1] + self.for_x[2]
        y = self.for_y[0] * raw[0] + self.for_y[1] * raw[1] + self.for_y[2]
        return min(WIDTH - 1, max(0, round(x))), min(HEIGHT - 1, max(0, round(y)))


def wait_for_touch(chip):
    while True:
        raw = chip.raw(15)
        if raw is not None:
            while chip.irq.value() == 0:
                time.sleep_ms(20)
            time.sleep_ms(300)
            return raw
        time.sleep_ms(20)


def calibrate(chip):
    readings = []
    for x, y in CROSSES:
        print("touch the point %d, %d" % (x, y))
        readings.append(wait_for_touch(chip))
    return [solve(readings, [cross[axis] for cross in CROSSES]) for axis in (0, 1)]


def main():
    spi = SPI(2, baudrate=2_000_000, sck=Pin(18), mosi=Pin(23), miso=Pin(19))
    chip = XPT2046(spi, Pin(5, Pin.OUT, value=1), Pin(4, Pin.IN))
    try:
        with open(FILE) as stored:
            coefficients = json.load(stored)
    except (OSError, ValueError):
        coefficients = calibrate(chip)
        with open(FILE, "w") as stored:
            json.dump(coefficients, stored)
    touch = Touch(chip, coefficients)
    while True:
        place = touch.position()
        if place:
            print("%3d %3d" % place)
        time.sleep_ms(50)


main()
