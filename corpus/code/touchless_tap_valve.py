"""Touch-less water tap: an infrared sensor opens the valve, timeouts keep it safe.

Wiring (Raspberry Pi Pico W): IR proximity sensor output (low = hand) on GP16, solenoid valve
MOSFET on GP17 with 10 k to GND, flow sensor pulses on GP18, red LED on GP19.
"""

import time
from machine import WDT, Pin

HAND_PIN = 16
VALVE_PIN = 17
FLOW_PIN = 18
LED_PIN = 19

TICK_MS = 20
HAND_ON_MS = 100          # a hand must stay this long before water flows
AFTER_RUN_MS = 1200       # keep running between two movements of the hands
MAX_RUN_MS = 30_000
LOCK_MS = 20_000
PULSES_PER_LITRE = 450
LEAK_PULSES = 20          # flow while the valve is shut


class FlowMeter:
    def __init__(self, pin_number):
        self._pin = Pin(pin_number, Pin.IN, Pin.PULL_UP)
        self._pulses = 0
        self._taken = 0
        self._pin.irq(handler=self._tick, trigger=Pin.IRQ_FALLING)

    def _tick(self, pin):
        self._pulses += 1

    def take(self):
        """Return the pulses since the last call."""
        # Only the interrupt writes the counter, so no pulse can get lost in between.
        before = self._taken
        self._taken = self._pulses
        return self._taken - before


class Tap:
    """States are methods: the current one is called on every tick."""

    def __init__(self):
        self.hand = Pin(HAND_PIN, Pin.IN, Pin.PULL_UP)
        self.valve = Pin(VALVE_PIN, Pin.OUT, value=0)
        self.led = Pin(LED_PIN, Pin.OUT, value=0)
        self.flow = FlowMeter(FLOW_PIN)
        self.hand_seen = time.ticks_ms()
        self.leaked = 0
        self.total_ml = 0
        self.change(self.idle)

    def change(self, state, water=False):
        self.state = state
        self.since = time.ticks_ms()
        # The one place that moves the valve: it is shut unless a state asks for water.
        self.valve.value(water)

    def age(self):
        return time.ticks_diff(time.ticks_ms(), self.since)

    def tick(self):
        present = self.hand.value() == 0
        if present:
            self.hand_seen = time.ticks_ms()
        self.state(present)

    def idle(self, present):
        self.leaked += self.flow.take()
        if self.leaked > LEAK_PULSES:
            print("water flows although the valve is shut!")
            self.change(self.leaking)
        elif present:
            self.change(self.noticed)

    def noticed(self, present):
        if not present:
            self.change(self.idle)
        elif self.age() >= HAND_ON_MS:
            self.flow.take()
            self.change(self.running, water=True)

    def running(self, present):
        absent_ms = time.ticks_diff(time.ticks_ms(), self.hand_seen)
        if self.age() >= MAX_RUN_MS:
            print("running too long: is something lying in the basin?")
            self.finish(self.locked)
        elif absent_ms >= AFTER_RUN_MS:
            self.finish(self.idle)

    def finish(self, following):
        self.change(following)
        millilitres = self.flow.take() * 1000 // PULSES_PER_LITRE
        self.total_ml += millilitres
        self.leaked = 0
        print("used {} ml, total {:.2f} l".format(millilitres, self.total_ml / 1000))

    def locked(self, present):
        """Wait until the sensor is free and the time is over."""
        self.led.value(self.age() // 250 % 2)
        if not present and self.age() >= LOCK_MS:
            self.led.off()
            self.change(self.idle)

    def leaking(self, present):
        # Stays here on purpose: only a restart by a person clears a leak.
        self.led.value(self.age() // 100 % 2)

    def close(self):
        self.valve.off()
        self.led.off()


def main():
    tap = Tap()
    # If this program hangs, the watchdog resets the board and the valve closes. It cannot
    # be stopped again: after Ctrl-C the board restarts within two seconds.
    watchdog = WDT(timeout=2000)
    try:
        while True:
            tap.tick()
            watchdog.feed()
            time.sleep_ms(TICK_MS)
    finally:
        tap.close()


main()
