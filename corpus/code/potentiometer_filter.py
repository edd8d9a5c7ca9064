"""Compare filters on a noisy potentiometer: raw, moving average, exponential.

Wiring (Raspberry Pi Pico): potentiometer ends to 3V3 and GND, wiper to GP26;
LED on GP15 through 330 ohm shows the filtered value.
"""

from array import array
import math
import time

from machine import ADC, PWM, Pin

POT_PIN = 26
LED_PIN = 15
SAMPLE_MS = 10
WINDOW = 16
SHIFT = 3              # exponential weight of 1 / 2**SHIFT
STEPS = 100            # positions the knob is divided into
REPORT_EVERY = 100


class MovingAverage:
    """Mean of the last `size` samples in constant time per sample."""

    def __init__(self, size):
        self._ring = array("H", bytearray(2 * size))
        self._index = 0
        self._filled = 0
        self._sum = 0

    def update(self, sample):
        # Replace the oldest sample instead of adding everything up again.
        self._sum += sample - self._ring[self._index]
        self._ring[self._index] = sample
        self._index = (self._index + 1) % len(self._ring)
        self._filled = min(self._filled + 1, len(self._ring))
        return self._sum // self._filled


class Exponential:
    """First-order low-pass filter in integer arithmetic."""

    def __init__(self, shift):
        self._shift = shift
        self._scaled = None

    def update(self, sample):
        if self._scaled is None:
            self._scaled = sample << self._shift  # no slow climb from zero
        # Keeping the sum scaled saves the bits that a plain division would lose.
        self._scaled += sample - (self._scaled >> self._shift)
        return self._scaled >> self._shift


class Stepper:
    """Turn a value into steps with hysteresis, so that it never flickers between two."""

    def __init__(self, steps, full_scale=65535):
        self._width = full_scale / steps
        self._steps = steps
        self.step = 0

    def update(self, value):
        """Return True when the step changed."""
        distance = value - (self.step + 0.5) * self._width
        if abs(distance) <= 0.8 * self._width:
            return False
        self.step = min(self._steps - 1, int(value / self._width))
        return True


class Spread:
    """Running standard deviation (Welford's method)."""

    def __init__(self):
        self.reset()

    def reset(self):
        self._n = 0
        self._mean = 0.0
        self._m2 = 0.0

    def add(self, x):
        self._n += 1
        delta = x - self._mean
        self._mean += delta / self._n
        self._m2 += delta * (x - self._mean)

    def deviation(self):
        return math.sqrt(self._m2 / (self._n - 1)) if self._n > 1 else 0.0


adc = ADC(POT_PIN)
led = PWM(Pin(LED_PIN))
led.freq(1000)
filters = (("average", MovingAverage(WINDOW)), ("exponential", Exponential(SHIFT)))
spreads = {"raw": Spread(), "average": Spread(), "exponential": Spread()}
knob = Stepper(STEPS)
count = 0

try:
    while True:
        raw = adc.read_u16()
        spreads["raw"].add(raw)
        value = raw
        for name, low_pass in filters:
            value = low_pass.update(raw)
            spreads[name].add(value)

        led.duty_u16(value)
        if knob.update(value):
            print("knob at", knob.step)

        count += 1
        if count % REPORT_EVERY == 0:
            print("noise:", ", ".join("%s %.0f" % (n, s.deviation()) for n, s in spreads.items()))
            for spread in spreads.values():
                spread.reset()
        time.sleep_ms(SAMPLE_MS)
finally:
    led.duty_u16(0)
    led.deinit()
