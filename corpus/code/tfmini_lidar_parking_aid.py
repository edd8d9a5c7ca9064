"""Parking aid for a garage: distance from a TFmini lidar, shown as a strip of NeoPixels.

Wiring (ESP32): lidar TX to GPIO16, RX to GPIO17, 5 V; strip of 16 on GPIO13 with 5 V.
"""
import time
from machine import Pin, UART
from neopixel import NeoPixel

HEADER = 0x59
STOP_CM = 40
START_CM = 240
PIXELS = 16


def frames(uart):
    """Generator: (distance in cm, strength) per frame, None while nothing complete is there."""
    frame = bytearray(9)
    have = 0
    while True:
        if not uart.any():
            yield None
            continue
        byte = uart.read(1)[0]
        if have < 2 and byte != HEADER:
            have = 0
            continue
        frame[have] = byte
        have += 1
        if have == 9:
            have = 0
            if sum(frame[:8]) & 0xFF == frame[8]:
                yield frame[2] | frame[3] << 8, frame[4] | frame[5] << 8


class Median:
    """The middle of the last values: a single stray echo has no effect at all."""

    def __init__(self, size=5):
        self.ring = [0] * size
        self.next = 0
        self.filled = 0

    def __call__(self, value):
        self.ring[self.next] = value
        self.next = (self.next + 1) % len(self.ring)
        self.filled = min(self.filled + 1, len(self.ring))
        return sorted(self.ring[:self.filled])[self.filled // 2]


def colour_for(cm):
    if cm < STOP_CM:
        return (60, 0, 0)
    if cm < STOP_CM * 2:
        return (50, 25, 0)
    return (0, 40, 0)


def draw(strip, cm, blink):
    """The bar grows towards the middle from both ends as the car comes in."""
    strip.fill((0, 0, 0))
    if cm is not None and cm < START_CM:
        share = (START_CM - max(cm, STOP_CM)) / (START_CM - STOP_CM)
        lit = int(share * PIXELS / 2 + 0.5)
        if cm >= STOP_CM or blink:
            colour = colour_for(cm)
            for i in range(lit):
                strip[i] = strip[PIXELS - 1 - i] = colour
    strip.write()


class Standstill:
    """Turns the strip off when the distance has not changed for half a minute."""

    def __init__(self, quiet_ms=30_000, tolerance=3):
        self.quiet_ms = quiet_ms
        self.tolerance = tolerance
        self.reference = None
        self.since = time.ticks_ms()

    def __call__(self, cm):
        now = time.ticks_ms()
        if self.reference is None or abs(cm - self.reference) > self.tolerance:
            self.reference = cm
            self.since = now
        if time.ticks_diff(now, self.since) < self.quiet_ms:
            return False
        # Pulled along, so that the counter of ticks cannot overtake it after days.
        self.since = time.ticks_add(now, -self.quiet_ms)
        return True


def main():
    uart = UART(2, baudrate=115200, rx=16, tx=17, rxbuf=512)
    strip = NeoPixel(Pin(13), PIXELS)
    median, parked = Median(), Standstill()
    redraw = time.ticks_ms()
    latest = None
    for reading in frames(uart):
        if reading is not None:
            cm, strength = reading
            # Weak or saturated echoes are guesses.
            if 100 <= strength < 65535 and cm > 0:
                latest = median(cm)
        if time.ticks_diff(time.ticks_ms(), redraw) >= 0:
            redraw = time.ticks_add(redraw, 50)
            off = latest is None or parked(latest)
            draw(strip, None if off else latest, blink=time.ticks_ms() // 125 % 2)
        elif reading is None:
            time.sleep_ms(2)


main()
