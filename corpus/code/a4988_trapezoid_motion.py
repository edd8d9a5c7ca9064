"""Move a stepper smoothly with an A4988: acceleration ramp, cruise and braking, in a timer's rhythm.

Wiring (ESP32): STEP GPIO26, DIR GPIO27, ENABLE GPIO25, end switch from GPIO33 to GND;
MS1 to MS3 high for sixteen microsteps; 100 uF at the motor supply.
"""
import time
from machine import Pin
from math import sqrt

STEPS_PER_MM = 80
MAX_SPEED = 4000  # steps per second
ACCELERATION = 9000  # steps per second squared
HOMING_SPEED = 600


def delays(steps, top=MAX_SPEED, acceleration=ACCELERATION):
    """Yield the microseconds between the steps of a move from rest to rest.

    With constant acceleration the time of step n is sqrt(2 n / a), so a delay is the difference
    of two roots. A short move has no cruise: it brakes from the middle on.
    """
    ramp = min(int(top * top / (2 * acceleration)), steps // 2)
    factor = 1e6 * sqrt(2 / acceleration)
    up = [int(factor * (sqrt(n + 1) - sqrt(n))) for n in range(ramp)]
    cruise = int(1e6 / top) if ramp and ramp < steps // 2 else None
    for delay in up:
        yield delay
    middle = cruise or (up[-1] if up else int(factor))
    for _ in range(steps - 2 * ramp):
        yield middle
    for delay in reversed(up):
        yield delay


class Axis:
    def __init__(self, step, direction, enable, end_switch):
        self.step = Pin(step, Pin.OUT, value=0)
        self.direction = Pin(direction, Pin.OUT, value=0)
        self.enable = Pin(enable, Pin.OUT, value=1)  # active low
        self.end = Pin(end_switch, Pin.IN, Pin.PULL_UP)
        self.position = None

    def _pulse(self):
        self.step.on()
        time.sleep_us(2)  # the driver asks for one microsecond
        self.step.off()

    def _run(self, steps):
        """Make the steps; ends early at the switch when moving towards it. Returns the steps made."""
        forward = steps > 0
        self.direction.value(forward)
        made = 0
        due = time.ticks_us()
        for delay in delays(abs(steps)):
            if not forward and self.end.value() == 0:
                break
            while time.ticks_diff(due, time.ticks_us()) > 0:
                pass
            self._pulse()
            made += 1
            due = time.ticks_add(due, delay)
        return made if forward else -made

    def home(self):
        """Find the switch slowly, leave it, and call that place zero."""
        self.enable.off()
        self.direction.off()
        limit = 400 * STEPS_PER_MM
        while self.end.value():
            self._pulse()
            time.sleep_us(1_000_000 // HOMING_SPEED)
            limit -= 1
            if not limit:
                raise RuntimeError("end switch not found")
        self.direction.on()
        while not self.end.value():
            self._pulse()
            time.sleep_ms(5)
        self.position = 0

    def to(self, millimetres):
        if self.position is None:
            raise RuntimeError("home first")
        wanted = int(millimetres * STEPS_PER_MM)
        made = self._run(wanted - self.position)
        self.position += made
        if self.position != wanted:
            self.position = None  # we met the switch: the count is wrong somewhere
            raise RuntimeError("ran into the end switch")

    def relax(self):
        self.enable.on()
        self.position = None  # nothing holds the axis any more


def main():
    # The longest ramp ends near the top speed, and as many delays come out as steps were asked for.
    assert all(len(list(delays(n))) == n for n in (0, 1, 2, 3, 50, 5000))
    axis = Axis(26, 27, 25, 33)
    try:
        axis.home()
        for place in (50, 10, 120, 5, 60.5):
            started = time.ticks_ms()
            axis.to(place)
            print("%6.1f mm after %d ms" % (place, time.ticks_diff(time.ticks_ms(), started)))
            time.sleep_ms(300)
    finally:
        axis.relax()


main()
