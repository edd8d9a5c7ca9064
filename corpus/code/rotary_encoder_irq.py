"""Read a rotary encoder with interrupts and set a lamp's brightness with it.

Wiring (Raspberry Pi Pico): encoder A on GP10, B on GP11, push switch on GP12, common
to GND; LED on GP13 through 330 ohm to GND.
"""

import micropython
from machine import PWM, Pin
from time import sleep_ms, ticks_diff, ticks_ms

# Gives an exception inside an interrupt handler room for its message.
micropython.alloc_emergency_exception_buf(100)

PIN_A, PIN_B, PIN_SWITCH, PIN_LED = 10, 11, 12, 13
STEPS_PER_CLICK = 4
LEVEL_MAX = 20
SWITCH_LOCKOUT_MS = 250

# Index: old A, old B, new A, new B as four bits. Value: direction of that step.
# A change of both bits at once is impossible without a lost edge, so it counts 0.
TRANSITIONS = (0, -1, 1, 0, 1, 0, 0, -1, -1, 0, 0, 1, 0, 1, -1, 0)


class RotaryEncoder:
    """Count quadrature steps in the interrupt handler; hand out whole clicks."""

    def __init__(self, pin_a, pin_b):
        self._a = Pin(pin_a, Pin.IN, Pin.PULL_UP)
        self._b = Pin(pin_b, Pin.IN, Pin.PULL_UP)
        self._state = self._a.value() << 1 | self._b.value()
        self._steps = 0
        self._taken = 0
        edges = Pin.IRQ_RISING | Pin.IRQ_FALLING
        for pin in (self._a, self._b):
            pin.irq(handler=self._on_edge, trigger=edges, hard=True)

    def _on_edge(self, pin):
        # A hard interrupt must not allocate memory: small integers only.
        self._state = (self._state << 2 | self._a.value() << 1 | self._b.value()) & 0x0F
        self._steps += TRANSITIONS[self._state]
        self._state &= 0x03

    def clicks(self):
        """Return how many detents the knob turned since the last call."""
        moved = self._steps - self._taken
        # Round towards zero, so that a half-turned click counts only when complete.
        count = moved // STEPS_PER_CLICK if moved >= 0 else -(-moved // STEPS_PER_CLICK)
        self._taken += count * STEPS_PER_CLICK
        return count

    def close(self):
        self._a.irq(handler=None)
        self._b.irq(handler=None)


def main():
    encoder = RotaryEncoder(PIN_A, PIN_B)
    switch = Pin(PIN_SWITCH, Pin.IN, Pin.PULL_UP)
    led = PWM(Pin(PIN_LED))
    led.freq(1000)

    level = LEVEL_MAX // 2
    lit = True
    last_push = ticks_ms()
    shown = None

    try:
        while True:
            level = min(LEVEL_MAX, max(0, level + encoder.clicks()))
            if not switch.value() and ticks_diff(ticks_ms(), last_push) > SWITCH_LOCKOUT_MS:
                last_push = ticks_ms()
                lit = not lit
            if (level, lit) != shown:
                shown = (level, lit)
                # Squaring makes the low levels finer, as the eye expects.
                led.duty_u16(65535 * level * level // LEVEL_MAX ** 2 if lit else 0)
                print("level", level, "on" if lit else "off")
            sleep_ms(10)
    finally:
        encoder.close()
        led.duty_u16(0)
        led.deinit()


main()
