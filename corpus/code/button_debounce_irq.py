"""Debounce buttons with a pin interrupt and a timer; tell short from long presses.

Wiring (Raspberry Pi Pico): button 1 between GP14 and GND, button 2 between GP15
and GND. The internal pull-ups keep the inputs high while nobody presses.
"""

import time
from machine import Pin, Timer
from micropython import const

BUTTON_PINS = {"left": 14, "right": 15}
LED_PIN = const(25)
SETTLE_MS = const(25)
LONG_MS = const(800)


class Button:
    """A button to GND that reports clean events.

    The first edge of a bounce starts a one-shot timer. Further edges do nothing
    until the timer has fired, and only then is the settled level believed.
    """

    def __init__(self, pin_number, name, on_short, on_long):
        self.name = name
        self._on_short = on_short
        self._on_long = on_long
        self._pin = Pin(pin_number, Pin.IN, Pin.PULL_UP)
        self._timer = Timer(-1)
        self._settling = False
        self._pressed = False
        self._down_at = 0
        self._pin.irq(handler=self._edge, trigger=Pin.IRQ_FALLING | Pin.IRQ_RISING)

    def _edge(self, pin):
        if self._settling:
            return
        self._settling = True
        self._timer.init(mode=Timer.ONE_SHOT, period=SETTLE_MS, callback=self._settled)

    def _settled(self, timer):
        self._settling = False
        pressed = self._pin.value() == 0
        if pressed == self._pressed:
            return  # a spike shorter than the settling time
        self._pressed = pressed
        if pressed:
            self._down_at = time.ticks_ms()
            return
        held = time.ticks_diff(time.ticks_ms(), self._down_at)
        action = self._on_long if held >= LONG_MS else self._on_short
        action(self, held)

    def close(self):
        self._pin.irq(handler=None)
        self._timer.deinit()


led = Pin(LED_PIN, Pin.OUT, value=0)
counts = {name: 0 for name in BUTTON_PINS}


def count_press(button, held_ms):
    counts[button.name] += 1
    led.toggle()
    print("{}: press {} ({} ms)".format(button.name, counts[button.name], held_ms))


def clear_count(button, held_ms):
    counts[button.name] = 0
    print("{}: counter cleared after {} ms".format(button.name, held_ms))


def main():
    buttons = [
        Button(number, name, on_short=count_press, on_long=clear_count)
        for name, number in BUTTON_PINS.items()
    ]
    print("press a button, hold it for", LONG_MS, "ms to clear its counter")
    try:
        while True:
            # Nothing to poll: interrupt and timer call us.
            time.sleep(1)
    except KeyboardInterrupt:
        print("totals:", counts)
    finally:
        for button in buttons:
            button.close()
        led.off()


main()
