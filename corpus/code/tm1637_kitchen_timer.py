"""A kitchen timer: TM1637 display driven bit by bit, encoder-free with two buttons and a buzzer.

Wiring (ESP8266): CLK GPIO5, DIO GPIO4, plus button GPIO12, start/stop button GPIO14 (both to
GND), active buzzer GPIO13. The display runs on 3V3.
"""
from machine import Pin
from time import sleep_us, sleep_ms, ticks_ms, ticks_diff, ticks_add

DIGITS = b"\x3f\x06\x5b\x4f\x66\x6d\x7d\x07\x7f\x6f"


class TM1637:
    def __init__(self, clk, dio, brightness=4):
        # Both lines are only pulled low or let go; the module has the pull-ups.
        self.clk = Pin(clk, Pin.OPEN_DRAIN, value=1)
        self.dio = Pin(dio, Pin.OPEN_DRAIN, value=1)
        self.brightness = brightness

    def _start(self):
        self.dio(0)
        sleep_us(5)
        self.clk(0)

    def _stop(self):
        self.dio(0)
        sleep_us(5)
        self.clk(1)
        sleep_us(5)
        self.dio(1)

    def _byte(self, value):
        for _ in range(8):  # lowest bit first, unlike nearly everything else
            self.dio(value & 1)
            value >>= 1
            sleep_us(3)
            self.clk(1)
            sleep_us(5)
            self.clk(0)
        self.dio(1)
        sleep_us(5)
        self.clk(1)
        acknowledged = not self.dio()
        sleep_us(5)
        self.clk(0)
        return acknowledged

    def _send(self, *values):
        self._start()
        good = all([self._byte(value) for value in values])
        self._stop()
        return good

    def segments(self, four):
        self._send(0x40)  # data follows, address counts up
        self._send(0xC0, *four)
        return self._send(0x88 | self.brightness)

    def minutes(self, seconds, colon=True):
        m, s = divmod(seconds, 60)
        cells = [DIGITS[m // 10 % 10], DIGITS[m % 10], DIGITS[s // 10], DIGITS[s % 10]]
        if m < 10:
            cells[0] = 0
        if colon:
            cells[1] |= 0x80
        self.segments(cells)


class Button:
    """Reports a press once, and repeats while it is held down."""

    def __init__(self, number, repeat_ms=200):
        self.pin = Pin(number, Pin.IN, Pin.PULL_UP)
        self.repeat_ms = repeat_ms
        self.down = False
        self.next = 0

    def pressed(self):
        if self.pin():
            self.down = False
            return False
        now = ticks_ms()
        if not self.down:
            self.down = True
            self.next = ticks_add(now, 3 * self.repeat_ms)
            return True
        if ticks_diff(now, self.next) >= 0:
            self.next = ticks_add(now, self.repeat_ms)
            return True
        return False


def ring(buzzer, stop):
    for _ in range(20):
        buzzer(1)
        sleep_ms(120)
        buzzer(0)
        sleep_ms(180)
        if stop.pressed():
            return


def count_down(display, seconds, stop):
    """Return the seconds that are left: 0 at the end, more if stopped."""
    end = ticks_add(ticks_ms(), seconds * 1000)
    while True:
        left = ticks_diff(end, ticks_ms())
        if left <= 0:
            display.minutes(0)
            return 0
        display.minutes((left + 999) // 1000, colon=left % 1000 > 500)
        if stop.pressed():
            return (left + 999) // 1000
        sleep_ms(50)


display = TM1637(5, 4)
plus, start = Button(12), Button(14, repeat_ms=60_000)
buzzer = Pin(13, Pin.OUT, value=0)
chosen = 180
display.minutes(chosen)
while True:
    if plus.pressed():
        chosen = 30 if chosen >= 99 * 60 else chosen + 30
        display.minutes(chosen)
    if start.pressed():
        chosen = count_down(display, chosen, start)
        if chosen == 0:
            ring(buzzer, start)
            chosen = 180
        display.minutes(chosen)
    sleep_ms(20)
