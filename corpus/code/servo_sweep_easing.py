"""Move a hobby servo with easing curves instead of sudden jumps.

Wiring (ESP32): servo signal to GPIO18, servo power from a separate 5 V supply, and
the grounds of supply and ESP32 joined.
"""

import math
import time

import machine

SERVO_PIN = 18
FRAME_MS = 20  # a servo reads one pulse every 20 ms
PULSE_MIN_US = 600
PULSE_MAX_US = 2400
RANGE_DEGREES = 180


def linear(t):
    return t


def smooth(t):
    """Zero speed at both ends: 3t^2 - 2t^3."""
    return t * t * (3 - 2 * t)


def sine(t):
    return (1 - math.cos(math.pi * t)) / 2


def overshoot(t):
    """Run a little past the goal and come back."""
    s = 1.70158
    t -= 1
    return t * t * ((s + 1) * t + s) + 1


class Servo:
    def __init__(self, pin_number):
        self._pwm = machine.PWM(machine.Pin(pin_number), freq=1000 // FRAME_MS)
        self._angle = None

    @property
    def angle(self):
        """The last angle asked for, in degrees; None before the first move."""
        return self._angle

    def write(self, angle):
        """Jump to an angle; values outside the range are clipped."""
        angle = min(RANGE_DEGREES, max(0, angle))
        span = PULSE_MAX_US - PULSE_MIN_US
        pulse_us = PULSE_MIN_US + span * angle / RANGE_DEGREES
        self._pwm.duty_ns(int(pulse_us * 1000))
        self._angle = angle

    def glide(self, target, duration_ms, curve=smooth):
        """Travel to the target angle in the given time along an easing curve."""
        if self._angle is None:
            # The true position is unknown after power-up, so one jump is unavoidable.
            self.write(target)
            time.sleep_ms(500)
            return
        start = self._angle
        began = time.ticks_ms()
        while True:
            elapsed = time.ticks_diff(time.ticks_ms(), began)
            if elapsed >= duration_ms:
                break
            self.write(start + (target - start) * curve(elapsed / duration_ms))
            time.sleep_ms(FRAME_MS)
        self.write(target)

    def release(self):
        """Stop the pulses; most servos then go limp and silent."""
        self._pwm.duty_ns(0)
        self._pwm.deinit()


PROGRAM = (
    (30, 1200, sine),
    (150, 2000, smooth),
    (120, 600, linear),
    (60, 900, overshoot),
    (90, 700, smooth),
)


def main():
    servo = Servo(SERVO_PIN)
    try:
        servo.glide(90, 0)
        while True:
            for angle, duration_ms, curve in PROGRAM:
                print("to %3d degrees in %4d ms, %s" % (angle, duration_ms, curve.__name__))
                servo.glide(angle, duration_ms, curve)
                time.sleep_ms(300)
    except KeyboardInterrupt:
        servo.glide(90, 500)
    finally:
        servo.release()


main()
