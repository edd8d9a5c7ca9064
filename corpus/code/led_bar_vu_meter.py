"""Sound level meter: a microphone module drives a bar of ten LEDs in decibel steps.

Wiring (Raspberry Pi Pico): MAX4466 output to GP26, its supply from 3V3; LEDs on GP2-GP11,
green first, red last, each through 330 ohm to GND.
"""

import math
import time
from machine import ADC, Pin

MIC_PIN = 26
LED_PINS = (2, 3, 4, 5, 6, 7, 8, 9, 10, 11)

WINDOW_MS = 25          # long enough for one period of 40 Hz
DB_PER_LED = 3
TOP_DB = -3             # level of the last LED, relative to full scale
PEAK_HOLD_MS = 700
PEAK_FALL_MS = 120
RELEASE = 0.35          # the bar rises at once and falls slowly


class BarGraph:
    def __init__(self, pin_numbers):
        self._leds = [Pin(n, Pin.OUT, value=0) for n in pin_numbers]

    def __len__(self):
        return len(self._leds)

    def show(self, bar, peak):
        """Light the lowest `bar` LEDs, and the LED numbered `peak` above them."""
        for number, led in enumerate(self._leds, 1):
            led.value(number <= bar or number == peak)

    def clear(self):
        self.show(0, 0)


class PeakHold:
    """Remember the highest bar for a moment, then let it fall LED by LED."""

    def __init__(self):
        self.level = 0
        self._due = time.ticks_ms()

    def update(self, bar):
        now = time.ticks_ms()
        if bar >= self.level:
            self.level = bar
            self._due = time.ticks_add(now, PEAK_HOLD_MS)
        elif time.ticks_diff(now, self._due) >= 0:
            self.level -= 1
            self._due = time.ticks_add(now, PEAK_FALL_MS)
        return self.level


def measure(adc):
    """Return the RMS of the sound during one window, 1.0 being a full-scale sine.

    The sum of squares minus the square of the sum removes the DC offset of the
    microphone without knowing it.
    """
    count = total = squares = 0
    start = time.ticks_ms()
    while time.ticks_diff(time.ticks_ms(), start) < WINDOW_MS:
        # Twelve bits are real; shifted down, the sums stay small integers longer.
        sample = (adc.read_u16() >> 4) - 2048
        total += sample
        squares += sample * sample
        count += 1
    variance = squares / count - (total / count) ** 2
    return math.sqrt(max(variance, 0.0)) / 2048 * math.sqrt(2)


def decibels(level):
    return 20 * math.log10(level) if level > 0.0001 else -80.0


def bar_length(db, leds):
    """Map decibels to a number of lit LEDs."""
    bottom = TOP_DB - leds * DB_PER_LED
    return max(0, min(leds, int((db - bottom) / DB_PER_LED)))


adc = ADC(MIC_PIN)
graph = BarGraph(LED_PINS)
peak = PeakHold()
smooth_db = -80.0
frames = 0

try:
    for number in range(len(graph) + 1):
        graph.show(number, 0)
        time.sleep_ms(60)

    while True:
        db = decibels(measure(adc))
        smooth_db = db if db > smooth_db else smooth_db + RELEASE * (db - smooth_db)
        bar = bar_length(smooth_db, len(graph))
        graph.show(bar, peak.update(bar))
        frames += 1
        if frames % 40 == 0:
            print("{:6.1f} dB  peak LED {}".format(smooth_db, peak.level))
finally:
    graph.clear()
