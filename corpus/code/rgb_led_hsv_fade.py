"""Fade an RGB LED around the colour circle; a knob sets speed, a button freezes it.

Wiring (Raspberry Pi Pico): red GP18, green GP19, blue GP20, each through 220 ohm;
potentiometer wiper on GP27; button between GP22 and GND. Set COMMON_ANODE to match.
"""

import time
from machine import ADC, PWM, Pin

COLOR_PINS = (18, 19, 20)
SPEED_PIN = 27
BUTTON_PIN = 22
COMMON_ANODE = False
# Green and blue look brighter than red at the same current.
BALANCE = (1.0, 0.7, 0.8)
FRAME_MS = 20


def hsv_to_rgb(hue, saturation, value):
    """Convert hue in degrees, saturation and value 0.0..1.0 to three floats 0.0..1.0."""
    hue %= 360
    sector = int(hue // 60)
    fraction = hue / 60 - sector
    low = value * (1 - saturation)
    falling = value * (1 - saturation * fraction)
    rising = value * (1 - saturation * (1 - fraction))
    return (
        (value, rising, low),
        (falling, value, low),
        (low, value, rising),
        (low, falling, value),
        (rising, low, value),
        (value, low, falling),
    )[sector]


class RgbLed:
    def __init__(self, pins, common_anode=False):
        self._inverted = common_anode
        self._channels = []
        for number in pins:
            channel = PWM(Pin(number))
            channel.freq(1200)
            self._channels.append(channel)
        self.set(0, 0, 0)

    def set(self, red, green, blue):
        for channel, level, factor in zip(self._channels, (red, green, blue), BALANCE):
            # Square for the eye, balance for the LED.
            duty = int(level * level * factor * 65535)
            channel.duty_u16(65535 - duty if self._inverted else duty)

    def close(self):
        self.set(0, 0, 0)
        for channel in self._channels:
            channel.deinit()
        for number in COLOR_PINS:
            Pin(number, Pin.OUT, value=self._inverted)


def degrees_per_second(adc):
    """The knob covers 5 to 180 degrees per second, finer at the slow end."""
    turn = adc.read_u16() / 65535
    return 5 + 175 * turn * turn


def main():
    led = RgbLed(COLOR_PINS, COMMON_ANODE)
    knob = ADC(SPEED_PIN)
    button = Pin(BUTTON_PIN, Pin.IN, Pin.PULL_UP)
    hue = 0.0
    frozen = False
    was_down = False
    last = time.ticks_ms()

    try:
        while True:
            now = time.ticks_ms()
            elapsed = time.ticks_diff(now, last)
            last = now

            # One sample per frame is slow enough to skip the contact bounce.
            down = not button.value()
            if down and not was_down:
                frozen = not frozen
                print("hue {:.0f}".format(hue), "frozen" if frozen else "moving")
            was_down = down

            if not frozen:
                hue = (hue + degrees_per_second(knob) * elapsed / 1000) % 360
            led.set(*hsv_to_rgb(hue, 1.0, 1.0))
            time.sleep_ms(FRAME_MS)
    except KeyboardInterrupt:
        print("last hue: {:.0f} degrees".format(hue))
    finally:
        led.close()


main()
