"""Blink two LEDs with timers while the main loop stays free for other work.

Wiring (Raspberry Pi Pico): the on-board LED is on GP25. A second LED goes from GP15
through 330 ohm to GND.
"""

import time
from machine import Pin, Timer
from micropython import const

HEARTBEAT_PIN = const(25)
ALERT_PIN = const(15)
REPORT_MS = const(2000)

# On and off times in milliseconds, always in pairs.
HEARTBEAT = (60, 140, 60, 740)
SLOW = (500, 500)
SOS = (150, 150, 150, 150, 150, 400,
       400, 150, 400, 150, 400, 400,
       150, 150, 150, 150, 150, 1200)


class Blinker:
    """Repeat a pattern of on and off times on one LED."""

    def __init__(self, pin_number, pattern):
        self._led = Pin(pin_number, Pin.OUT, value=0)
        self._timer = Timer()
        self._running = False
        self.flashes = 0
        self.set_pattern(pattern)

    def set_pattern(self, pattern):
        if not pattern or len(pattern) % 2:
            raise ValueError("a pattern needs pairs of on and off times")
        # The timer may call in between: step 0 exists in both patterns, so reset it first.
        self._step = 0
        self._pattern = pattern

    def start(self):
        if not self._running:
            self._running = True
            self._advance(self._timer)

    def stop(self):
        self._running = False
        self._timer.deinit()
        self._led.off()

    def _advance(self, timer):
        # A callback that was already queued can still arrive after stop().
        if not self._running:
            return
        lit = self._step % 2 == 0
        self._led.value(lit)
        if lit:
            self.flashes += 1
        duration = self._pattern[self._step]
        self._step = (self._step + 1) % len(self._pattern)
        # A one-shot timer armed anew each time allows steps of unequal length.
        timer.init(mode=Timer.ONE_SHOT, period=duration, callback=self._advance)


def main():
    heartbeat = Blinker(HEARTBEAT_PIN, HEARTBEAT)
    alert = Blinker(ALERT_PIN, SLOW)
    patterns = (SLOW, SOS)
    turn = 0

    heartbeat.start()
    alert.start()
    try:
        while True:
            # The LEDs keep blinking during this sleep: the timers do the work.
            time.sleep_ms(REPORT_MS)
            print("heartbeats:", heartbeat.flashes // 2, "alert flashes:", alert.flashes)
            turn += 1
            if turn % 4 == 0:
                alert.set_pattern(patterns[turn // 4 % 2])
    except KeyboardInterrupt:
        print("stopped")
    finally:
        heartbeat.stop()
        alert.stop()


main()
