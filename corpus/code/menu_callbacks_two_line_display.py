"""A nested menu with callbacks for a two-line display and three buttons (Pico).

Wiring: buttons from GP10 (up), GP11 (down) and GP12 (select) to GND, LED on GP15.
The display is any object with show(first, second); one for the console is included.
"""

import time
from collections import namedtuple

from machine import PWM, Pin

BUTTON_PINS = {"up": 10, "down": 11, "select": 12}
LED_PIN = 15
DEBOUNCE_MS = 30
WIDTH = 16


# An entry that calls a function; a text that it returns is shown until the next key.
Action = namedtuple("Action", ("label", "function"))
BACK = Action("back", None)


class ConsoleDisplay:
    """Stands for an LCD: prints both lines below a ruler."""

    def show(self, first, second):
        print("+" + "-" * WIDTH + "+")
        for text in (first, second):
            print("|{}|".format((text + " " * WIDTH)[:WIDTH]))


class Number:
    """An entry that edits a number; on_change hears every new value."""

    def __init__(self, label, value, limits, on_change):
        self.label = label
        self.value = value
        self.low, self.high, self.step = limits
        self.on_change = on_change

    def change(self, direction):
        self.value = min(self.high, max(self.low, self.value + direction * self.step))
        self.on_change(self.value)


class Menu:
    def __init__(self, label, *entries):
        self.label, self.entries, self.index = label, list(entries), 0


class Navigator:
    """Moves through the menus; the stack remembers the way back."""

    def __init__(self, root, display):
        self.stack = [root]
        self.display = display
        self.editing = None
        self.draw()

    def key(self, name):
        if self.editing:
            if name == "select":
                self.editing = None
            else:
                self.editing.change(1 if name == "up" else -1)
            return self.draw()
        menu = self.stack[-1]
        if name == "select":
            self.open(menu.entries[menu.index])
        else:
            step = -1 if name == "up" else 1
            menu.index = (menu.index + step) % len(menu.entries)
            self.draw()

    def open(self, entry):
        if entry is BACK:
            self.stack.pop()
        elif isinstance(entry, Menu):
            # Only menus that were opened from another one have a way back.
            if BACK not in entry.entries:
                entry.entries.append(BACK)
            entry.index = 0
            self.stack.append(entry)
        elif isinstance(entry, Number):
            self.editing = entry
        else:
            message = entry.function()
            if message:
                return self.display.show(entry.label, message)
        self.draw()

    def draw(self):
        if self.editing:
            self.display.show(self.editing.label, "< {} >".format(self.editing.value))
        else:
            menu = self.stack[-1]
            self.display.show(menu.label, "> " + menu.entries[menu.index].label)


def wait_for_key(buttons):
    """Block until a button has been pressed and released; return its name."""
    while True:
        for name, pin in buttons.items():
            if pin.value() == 0:
                # Waiting for the release also outlasts the bouncing contacts.
                while pin.value() == 0:
                    time.sleep_ms(DEBOUNCE_MS)
                return name
        time.sleep_ms(5)


def main():
    led = PWM(Pin(LED_PIN), freq=1000, duty_u16=0)
    light = Menu(
        "Light",
        Number("Brightness", 0, (0, 100, 10), lambda v: led.duty_u16(v * 65535 // 100)),
        Number("Frequency", 1000, (100, 2000, 100), led.freq),
    )
    seconds = Action("Running for", lambda: "{} s".format(time.ticks_ms() // 1000))
    navigator = Navigator(Menu("Main menu", light, seconds), ConsoleDisplay())
    buttons = {name: Pin(pin, Pin.IN, Pin.PULL_UP) for name, pin in BUTTON_PINS.items()}
    try:
        while True:
            navigator.key(wait_for_key(buttons))
    finally:
        led.deinit()


main()
