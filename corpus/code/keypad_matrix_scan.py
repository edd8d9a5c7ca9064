"""Code lock with a 4x4 matrix keypad: type the code, # opens, * clears.

Wiring (Raspberry Pi Pico): keypad rows on GP2-GP5, columns on GP6-GP9; lock relay on
GP16, red LED on GP17. No resistors needed, the columns use internal pull-ups.
"""

import time
from machine import Pin

ROW_PINS = (2, 3, 4, 5)
COLUMN_PINS = (6, 7, 8, 9)
KEYS = ("123A", "456B", "789C", "*0#D")
LOCK_PIN = 16
RED_PIN = 17

SECRET = "2580"
OPEN_MS = 3000
MAX_TRIES = 3
PENALTY_MS = 15000
SCAN_MS = 8
STABLE_SCANS = 3


class Keypad:
    def __init__(self, row_pins, column_pins):
        # Open drain: two keys in one column can never short two driven rows.
        self._rows = [Pin(n, Pin.OPEN_DRAIN, value=1) for n in row_pins]
        self._columns = [Pin(n, Pin.IN, Pin.PULL_UP) for n in column_pins]
        self._candidate = None
        self._seen = 0
        self._reported = None

    def _scan(self):
        """Return the pressed key, or None for no key or several keys."""
        found = None
        for r, row in enumerate(self._rows):
            row.value(0)
            time.sleep_us(20)  # let the column lines settle
            for c, column in enumerate(self._columns):
                if column.value() == 0:
                    if found is not None:
                        row.value(1)
                        return None
                    found = KEYS[r][c]
            row.value(1)
        return found

    def read(self):
        """Scan once; return a key on the scan that confirms a new press, else None."""
        key = self._scan()
        if key != self._candidate:
            self._candidate = key
            self._seen = 0
            return None
        self._seen += 1
        if self._seen < STABLE_SCANS or key == self._reported:
            return None
        self._reported = key
        return key


lock = Pin(LOCK_PIN, Pin.OUT, value=0)
red = Pin(RED_PIN, Pin.OUT, value=0)


def open_door():
    print("open")
    lock.on()
    time.sleep_ms(OPEN_MS)
    lock.off()
    print("closed")


def refuse(tries):
    """Signal a wrong code; after too many of them make the user wait."""
    print("wrong code, try", tries, "of", MAX_TRIES)
    red.on()
    time.sleep_ms(PENALTY_MS if tries >= MAX_TRIES else 600)
    red.off()


def run(keypad):
    typed = ""
    tries = 0
    while True:
        key = keypad.read()
        if key == "*":
            typed = ""
            print("cleared")
        elif key == "#":
            if typed == SECRET:
                tries = 0
                open_door()
            else:
                tries += 1
                refuse(tries)
                tries %= MAX_TRIES
            typed = ""
        elif key:
            # Only the last digits count, so a long typo cannot fill the memory.
            typed = (typed + key)[-8:]
            print("*" * len(typed))
        time.sleep_ms(SCAN_MS)


try:
    run(Keypad(ROW_PINS, COLUMN_PINS))
finally:
    lock.off()
    red.off()
