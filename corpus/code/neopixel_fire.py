"""A campfire on a vertical WS2812 strip: sparks at the bottom, heat that rises and cools.

Wiring (ESP8266, Wemos D1 mini): DIN to D4 (GPIO2), 5V to 5V, GND to GND.
The strip's first pixel is the bottom of the fire.
"""
import time
from random import getrandbits
from machine import Pin
from neopixel import NeoPixel

HEIGHT = 24
FRAME_MS = 35
COOLING = 14  # larger means shorter flames
SPARK_CHANCE = 110  # of 256, per frame
SPARK_ZONE = 4  # pixels at the bottom in which sparks appear

# Colours between which the palette blends: heat, (red, green, blue)
KEY_COLOURS = (
    (0, (0, 0, 0)),
    (60, (70, 5, 0)),
    (140, (180, 45, 0)),
    (210, (230, 120, 10)),
    (255, (255, 190, 90)),
)


def make_palette(keys, steps=64):
    """Blend the key colours into a table; 64 entries save memory and look the same."""
    palette = []
    for step in range(steps):
        heat = step * 255 // (steps - 1)
        for (low, cold), (high, warm) in zip(keys, keys[1:]):
            if low <= heat <= high:
                share = (heat - low) / (high - low)
                palette.append(tuple(int(a + (b - a) * share) for a, b in zip(cold, warm)))
                break
    return palette


def random_below(limit):
    """A quick random number from 0 to limit - 1, for limits up to 256."""
    return getrandbits(8) * limit >> 8


class Fire:
    def __init__(self, height):
        self.heat = bytearray(height)

    def cool(self):
        # Flames lose more of their heat towards the tip.
        height = len(self.heat)
        for y in range(height):
            loss = random_below(COOLING + COOLING * y // height)
            self.heat[y] = max(0, self.heat[y] - loss)

    def rise(self):
        """Every cell takes a mean of the cells below it, the lower one counting double."""
        heat = self.heat
        for y in range(len(heat) - 1, 1, -1):
            heat[y] = (heat[y - 1] + 2 * heat[y - 2]) // 3

    def spark(self):
        if random_below(256) < SPARK_CHANCE:
            y = random_below(SPARK_ZONE)
            self.heat[y] = min(255, self.heat[y] + 140 + random_below(90))

    def step(self):
        self.cool()
        self.rise()
        self.spark()


def show(strip, fire, palette):
    last = len(palette) - 1
    for y, heat in enumerate(fire.heat):
        strip[y] = palette[heat * last // 255]
    strip.write()


def main():
    strip = NeoPixel(Pin(2, Pin.OUT), HEIGHT)
    palette = make_palette(KEY_COLOURS)
    fire = Fire(HEIGHT)
    try:
        while True:
            started = time.ticks_ms()
            fire.step()
            show(strip, fire, palette)
            spent = time.ticks_diff(time.ticks_ms(), started)
            time.sleep_ms(max(1, FRAME_MS - spent))
    except KeyboardInterrupt:
        # Let it burn down instead of switching it off.
        while any(fire.heat):
            fire.cool()
            fire.rise()
            show(strip, fire, palette)
            time.sleep_ms(FRAME_MS)


main()
