"""Read an analog joystick with calibration, dead zone and a curve for fine control.

Wiring (Raspberry Pi Pico): VRx on GP26, VRy on GP27, SW on GP22, joystick supply from
3V3. Hold SW during start to calibrate; the result is stored in joystick.json.
"""

import json
import math
import time
from machine import ADC, Pin

X_PIN, Y_PIN, SWITCH_PIN = 26, 27, 22
FILE_NAME = "joystick.json"
DEAD_ZONE = 0.10
CALIBRATE_MS = 5000
DIRECTIONS = ("right", "up-right", "up", "up-left", "left", "down-left", "down", "down-right")


class Axis:
    """One potentiometer of the joystick, scaled to -1.0 .. 1.0."""

    def __init__(self, pin, inverted=False):
        self._adc = ADC(pin)
        self._sign = -1 if inverted else 1
        self.low, self.center, self.high = 1000, 32768, 64500

    def raw(self):
        return sum(self._adc.read_u16() for _ in range(16)) >> 4

    def value(self):
        offset = self.raw() - self.center
        # The rest position is rarely in the middle, so each half has its own span.
        span = self.high - self.center if offset > 0 else self.center - self.low
        return self._sign * max(-1.0, min(1.0, offset / max(1, span)))

    def export(self):
        return [self.low, self.center, self.high]

    def load(self, numbers):
        self.low, self.center, self.high = numbers


def calibrate(axes):
    """Learn the rest position first, then the ends while the stick is moved around."""
    print("let go of the stick ...")
    time.sleep(1)
    for axis in axes:
        axis.center = axis.low = axis.high = axis.raw()
    print("now move it along its edge")
    end = time.ticks_add(time.ticks_ms(), CALIBRATE_MS)
    while time.ticks_diff(end, time.ticks_ms()) > 0:
        for axis in axes:
            reading = axis.raw()
            axis.low = min(axis.low, reading)
            axis.high = max(axis.high, reading)
        time.sleep_ms(5)
    with open(FILE_NAME, "w") as file:
        json.dump([axis.export() for axis in axes], file)
    print("saved:", [axis.export() for axis in axes])


def load_calibration(axes):
    try:
        with open(FILE_NAME) as file:
            for axis, numbers in zip(axes, json.load(file)):
                axis.load(numbers)
        return True
    except (OSError, ValueError):
        return False


def shape(x, y):
    """Apply a round dead zone and a square curve; return (strength 0..1, angle in rad)."""
    radius = math.sqrt(x * x + y * y)
    if radius < DEAD_ZONE:
        return 0.0, 0.0
    # Start again from zero at the border of the dead zone, so that nothing jumps.
    strength = min(1.0, (radius - DEAD_ZONE) / (1 - DEAD_ZONE))
    return strength * strength, math.atan2(y, x)


def direction(angle):
    """Name the nearest of eight compass-like directions."""
    return DIRECTIONS[round(angle / (math.pi / 4)) % 8]


def main():
    axes = (Axis(X_PIN), Axis(Y_PIN, inverted=True))
    switch = Pin(SWITCH_PIN, Pin.IN, Pin.PULL_UP)
    if not switch.value() or not load_calibration(axes):
        calibrate(axes)

    last = None
    while True:
        strength, angle = shape(axes[0].value(), axes[1].value())
        word = direction(angle) if strength else "center"
        report = (word, int(strength * 10), not switch.value())
        if report != last:
            last = report
            print("{:<10} {:>4.0%} {}".format(word, strength, "pressed" if report[2] else ""))
        time.sleep_ms(30)


main()
