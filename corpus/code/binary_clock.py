"""Binary clock: hours, minutes and seconds as three rows of LEDs.

Wiring (Raspberry Pi Pico): seconds GP0-GP5, minutes GP6-GP11, hours GP12-GP16, lowest bit
first, each LED through 1 k to GND; buttons to GND: hour GP17, minute GP18, dim GP19.
"""

import time
from machine import RTC, Pin

SECOND_PINS = range(0, 6)
MINUTE_PINS = range(6, 12)
HOUR_PINS = range(12, 17)
HOUR_BUTTON, MINUTE_BUTTON, DIM_BUTTON = 17, 18, 19

DEBOUNCE_MS = 40
REPEAT_AFTER_MS = 600
REPEAT_MS = 150


class Row:
    """A number shown by one LED per bit."""

    def __init__(self, pin_numbers):
        self._leds = [Pin(n, Pin.OUT, value=0) for n in pin_numbers]

    def show(self, number):
        for bit, led in enumerate(self._leds):
            led.value(number >> bit & 1)


class RepeatButton:
    """Reports a press once, then repeatedly while it is held, like a keyboard."""

    def __init__(self, pin_number):
        self._pin = Pin(pin_number, Pin.IN, Pin.PULL_UP)
        self._down_since = None
        self._next_due = 0

    def fired(self):
        now = time.ticks_ms()
        if self._pin.value():
            self._down_since = None
            return False
        if self._down_since is None:
            self._down_since = now
            self._next_due = time.ticks_add(now, DEBOUNCE_MS)
            return False
        if time.ticks_diff(now, self._next_due) < 0:
            return False
        first = time.ticks_diff(now, self._down_since) < REPEAT_AFTER_MS
        self._next_due = time.ticks_add(now, REPEAT_AFTER_MS if first else REPEAT_MS)
        return True


def advance(rtc, hours=0, minutes=0):
    """Set the clock forward; each field wraps on its own, as on any alarm clock."""
    year, month, day, weekday, hour, minute, _, _ = rtc.datetime()
    hour = (hour + hours) % 24
    minute = (minute + minutes) % 60
    rtc.datetime((year, month, day, weekday, hour, minute, 0, 0))
    print("set to {:02d}:{:02d}:00".format(hour, minute))


def lamp_test(rows):
    for row in rows:
        row.show(0xFF)
        time.sleep_ms(300)
        row.show(0)


def main():
    rtc = RTC()
    hour_row, minute_row, second_row = rows = (Row(HOUR_PINS), Row(MINUTE_PINS), Row(SECOND_PINS))
    hour_button = RepeatButton(HOUR_BUTTON)
    minute_button = RepeatButton(MINUTE_BUTTON)
    dim_button = RepeatButton(DIM_BUTTON)
    dimmed = False
    lamp_test(rows)

    try:
        while True:
            if hour_button.fired():
                advance(rtc, hours=1)
            if minute_button.fired():
                advance(rtc, minutes=1)
            if dim_button.fired():
                dimmed = not dimmed

            _, _, _, _, hour, minute, second, _ = rtc.datetime()
            hour_row.show(hour)
            minute_row.show(minute)
            second_row.show(second)
            if dimmed:
                # Lit for 1 ms of every 10 ms: a tenth of the light, still no flicker.
                time.sleep_ms(1)
                for row in rows:
                    row.show(0)
                time.sleep_ms(9)
            else:
                time.sleep_ms(10)
    finally:
        for row in rows:
            row.show(0)


main()
