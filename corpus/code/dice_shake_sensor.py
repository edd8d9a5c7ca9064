"""Electronic dice: shake it, the seven LEDs roll and come to rest on a number.

Wiring (Raspberry Pi Pico): vibration switch SW-18010 between GP15 and GND; LEDs through
330 ohm: corner pairs GP2 and GP3, middle pair GP4 (two LEDs each), centre GP5.
"""

import random
import time
from machine import Pin
from micropython import alloc_emergency_exception_buf, const, schedule

alloc_emergency_exception_buf(100)

SHAKE_PIN = const(15)
DIAGONAL_A, DIAGONAL_B, MIDDLE, CENTRE = 2, 3, 4, 5

SHAKE_EDGES = const(4)        # edges needed within the window
SHAKE_WINDOW_MS = const(300)
SHOW_MS = const(5000)

# The pips of a die come in pairs, so four outputs draw all six faces.
FACES = {
    1: (CENTRE,),
    2: (DIAGONAL_A,),
    3: (DIAGONAL_A, CENTRE),
    4: (DIAGONAL_A, DIAGONAL_B),
    5: (DIAGONAL_A, DIAGONAL_B, CENTRE),
    6: (DIAGONAL_A, DIAGONAL_B, MIDDLE),
}


class ShakeSensor:
    """Recognise a shake: several contacts of the vibration switch in a short time."""

    def __init__(self, pin_number):
        self._pin = Pin(pin_number, Pin.IN, Pin.PULL_UP)
        self._edges = 0
        self._window_start = time.ticks_ms()
        self._pending = False
        self.entropy = 0
        self.shaken = False
        self._count_ref = self._count  # bound here, since binding allocates
        self._pin.irq(handler=self._on_edge, trigger=Pin.IRQ_FALLING, hard=True)

    def _on_edge(self, pin):
        # A hard interrupt may not allocate memory, so it only queues one job at a time.
        if not self._pending:
            self._pending = True
            try:
                schedule(self._count_ref, time.ticks_us())
            except RuntimeError:
                self._pending = False  # queue full, this edge is lost

    def _count(self, now_us):
        self._pending = False
        # The exact moment of a shake is unpredictable and feeds the random seed.
        self.entropy = (self.entropy * 31 + now_us) & 0x3FFFFFFF
        now = time.ticks_ms()
        if time.ticks_diff(now, self._window_start) > SHAKE_WINDOW_MS:
            self._window_start = now
            self._edges = 0
        self._edges += 1
        if self._edges >= SHAKE_EDGES:
            self.shaken = True

    def clear(self):
        self._edges = 0
        self.shaken = False

    def close(self):
        self._pin.irq(handler=None)


class Face:
    def __init__(self):
        outputs = (DIAGONAL_A, DIAGONAL_B, MIDDLE, CENTRE)
        self._leds = {number: Pin(number, Pin.OUT, value=0) for number in outputs}

    def show(self, value):
        """Show 1 to 6; any other value leaves all LEDs dark."""
        lit = FACES.get(value, ())
        for number, led in self._leds.items():
            led.value(number in lit)


def other_face(value):
    """Return a random face that differs from value, so that every step is visible."""
    return (value - 1 + random.randint(1, 5)) % 6 + 1


def roll(face):
    """Tumble slower and slower, then settle on an evenly distributed number."""
    value = random.randint(1, 6)
    pause = 40
    while pause < 450:
        value = other_face(value)
        face.show(value)
        time.sleep_ms(pause)
        pause = pause * 5 // 4
    value = random.randint(1, 6)
    face.show(value)
    return value


def main():
    face = Face()
    sensor = ShakeSensor(SHAKE_PIN)
    statistics = [0] * 6
    try:
        print("shake me")
        while True:
            if not sensor.shaken:
                time.sleep_ms(20)
                continue
            random.seed(sensor.entropy)
            value = roll(face)
            statistics[value - 1] += 1
            print("rolled", value, "- so far", statistics)
            sensor.clear()
            shown = time.ticks_ms()
            while not sensor.shaken and time.ticks_diff(time.ticks_ms(), shown) < SHOW_MS:
                time.sleep_ms(20)
            face.show(None)
    finally:
        sensor.close()
        face.show(None)


main()
