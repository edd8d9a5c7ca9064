"""Kitchen timer on a four-digit seven-segment display, multiplexed by a timer.

Wiring (Raspberry Pi Pico): segments a-g on GP2-GP8 and the point on GP9, each through
220 ohm; digit cathodes through NPN transistors on GP10-GP13; start button GP14 to GND.
"""

import time
from machine import Pin, Timer

SEGMENT_PINS = range(2, 10)
DIGIT_PINS = range(10, 14)
BUTTON_PIN = 14
DIGIT_RATE_HZ = 400  # 100 full pictures per second: no visible flicker
START_SECONDS = 180

# One bit per segment, a in bit 0 to g in bit 6; bit 7 is the decimal point.
FONT = {
    " ": 0x00, "-": 0x40, "E": 0x79, "n": 0x54, "d": 0x5E,
    "0": 0x3F, "1": 0x06, "2": 0x5B, "3": 0x4F, "4": 0x66,
    "5": 0x6D, "6": 0x7D, "7": 0x07, "8": 0x7F, "9": 0x6F,
}
POINT = 0x80


class Display:
    """Show four characters; a periodic timer lights one digit after the other."""

    def __init__(self):
        self._segments = [Pin(n, Pin.OUT, value=0) for n in SEGMENT_PINS]
        self._digits = [Pin(n, Pin.OUT, value=0) for n in DIGIT_PINS]
        self._buffer = bytearray(len(self._digits))
        self._position = 0
        self._timer = Timer(mode=Timer.PERIODIC, freq=DIGIT_RATE_HZ, callback=self._refresh)

    def _refresh(self, timer):
        # Dark while the segments change, or the old digit would shine through.
        self._digits[self._position].off()
        self._position = (self._position + 1) % len(self._digits)
        bits = self._buffer[self._position]
        for segment in self._segments:
            segment.value(bits & 1)
            bits >>= 1
        self._digits[self._position].on()

    def show(self, text):
        """Show text, right-aligned; a point belongs to the character before it."""
        codes = []
        for character in text:
            if character == "." and codes:
                codes[-1] |= POINT
            else:
                codes.append(FONT.get(character, FONT["-"]))
        codes = codes[-len(self._buffer):]
        blank = len(self._buffer) - len(codes)
        for i in range(len(self._buffer)):
            self._buffer[i] = 0 if i < blank else codes[i - blank]

    def close(self):
        self._timer.deinit()
        for pin in self._digits + self._segments:
            pin.off()


def wait_for_button(button):
    while button.value():
        time.sleep_ms(10)
    time.sleep_ms(30)
    while not button.value():
        time.sleep_ms(10)


def count_down(display, seconds):
    """Show minutes and seconds until zero; the point blinks twice a second."""
    end = time.ticks_add(time.ticks_ms(), seconds * 1000)
    while True:
        left = time.ticks_diff(end, time.ticks_ms())
        if left <= 0:
            return
        whole = (left + 999) // 1000
        point = "." if left % 1000 > 500 else ""
        display.show("{:2d}{}{:02d}".format(whole // 60, point, whole % 60))
        time.sleep_ms(50)


def main():
    button = Pin(BUTTON_PIN, Pin.IN, Pin.PULL_UP)
    display = Display()
    try:
        while True:
            display.show("{:2d}.{:02d}".format(START_SECONDS // 60, START_SECONDS % 60))
            wait_for_button(button)
            count_down(display, START_SECONDS)
            for _ in range(6):
                display.show("End")
                time.sleep_ms(400)
                display.show("    ")
                time.sleep_ms(200)
    finally:
        display.close()


main()
