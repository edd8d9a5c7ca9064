"""Three asyncio tasks on a Pico: blink an LED, read a button, feed the hardware watchdog.

Wiring: LED with 330 ohm from GP15 to GND, push button from GP14 to GND.
The watchdog is fed only while the other two tasks report that they are alive.
"""

import asyncio
import time

from machine import WDT, Pin

LED_PIN = 15
BUTTON_PIN = 14
PERIODS_MS = (1000, 400, 100)
DEBOUNCE_MS = 20
HOLD_MS = 800
WATCHDOG_MS = 8000
CHECK_MS = 1000
SILENCE_MS = 3000


class Heartbeats:
    """Remembers when each task last gave a sign of life."""

    def __init__(self):
        self.last = {}

    def beat(self, name):
        self.last[name] = time.ticks_ms()

    def silent(self, limit_ms):
        now = time.ticks_ms()
        return [n for n, t in self.last.items() if time.ticks_diff(now, t) > limit_ms]


class Blinker:
    def __init__(self, pin):
        self.led = Pin(pin, Pin.OUT, value=0)
        self.speed = 0
        self.enabled = True

    def next_speed(self):
        self.speed = (self.speed + 1) % len(PERIODS_MS)

    async def run(self, beats):
        while True:
            if self.enabled:
                self.led.toggle()
            else:
                self.led.off()
            beats.beat("blink")
            await asyncio.sleep_ms(PERIODS_MS[self.speed] // 2)


async def watch_button(pin, beats, on_press, on_hold):
    """Poll the button: a short press and a long one call different functions."""
    button = Pin(pin, Pin.IN, Pin.PULL_UP)
    pressed_at = None
    held = False
    while True:
        beats.beat("button")
        down = button.value() == 0
        now = time.ticks_ms()
        if down and pressed_at is None:
            pressed_at, held = now, False
        elif down and not held and time.ticks_diff(now, pressed_at) >= HOLD_MS:
            held = True
            on_hold()
        elif not down and pressed_at is not None:
            # Contacts bounce for some milliseconds: ignore anything shorter.
            if not held and time.ticks_diff(now, pressed_at) >= DEBOUNCE_MS:
                on_press()
            pressed_at = None
        await asyncio.sleep_ms(10)


async def feed_watchdog(beats):
    """If a task dies or blocks, stop feeding: the board restarts after WATCHDOG_MS."""
    watchdog = WDT(timeout=WATCHDOG_MS)
    while True:
        silent = beats.silent(SILENCE_MS)
        if silent:
            print("no sign of life from", silent)
        else:
            watchdog.feed()
        await asyncio.sleep_ms(CHECK_MS)


async def main():
    beats = Heartbeats()
    blinker = Blinker(LED_PIN)

    def faster():
        blinker.next_speed()
        print("period", PERIODS_MS[blinker.speed], "ms")

    def toggle_blinking():
        blinker.enabled = not blinker.enabled
        print("blinking", "on" if blinker.enabled else "off")

    await asyncio.gather(
        blinker.run(beats),
        watch_button(BUTTON_PIN, beats, faster, toggle_blinking),
        feed_watchdog(beats),
    )


asyncio.run(main())
