"""Feed the watchdog of a Pico only while every part of the program meets its deadline.

Wiring: button from GP14 to GND; it freezes the "sensor" part on purpose, to see the reset.
The name of the part that failed is left on flash and shown at the next start.
"""

import os
import time

import machine
from machine import ADC, WDT, Pin

HANG_PIN = 14
WATCHDOG_MS = 5000  # at most 8388 on the RP2040
BLAME_FILE = "blame.txt"


class Part:
    """A piece of work with a period, and the longest time it may stay away."""

    def __init__(self, name, period_ms, deadline_ms, function):
        self.name = name
        self.period_ms = period_ms
        self.deadline_ms = deadline_ms
        self.function = function
        self.last_run = time.ticks_ms()
        self.last_success = self.last_run

    def poll(self, now):
        if time.ticks_diff(now, self.last_run) < self.period_ms:
            return
        self.last_run = now
        # A part counts as alive only when it says so itself.
        if self.function():
            self.last_success = time.ticks_ms()

    def overdue(self, now):
        return time.ticks_diff(now, self.last_success) > self.deadline_ms


class Supervisor:
    def __init__(self, parts, watchdog_ms):
        self.parts = parts
        self.watchdog = WDT(timeout=watchdog_ms)
        self.blamed = False

    def run(self):
        while True:
            for part in self.parts:
                try:
                    part.poll(time.ticks_ms())
                except OSError as err:
                    print(part.name, "raised", err)
            late = [p.name for p in self.parts if p.overdue(time.ticks_ms())]
            if not late:
                self.watchdog.feed()
            elif not self.blamed:
                # Write once: the reset comes within WATCHDOG_MS and must not hit a write.
                self.blamed = True
                leave_blame(late)
            time.sleep_ms(10)


def leave_blame(names):
    text = " and ".join(names)
    print("deadline missed by {}, the watchdog will reset".format(text))
    with open(BLAME_FILE, "w") as f:
        f.write(text)


def take_blame():
    """The culprit of the last reset, or None; the note is removed."""
    try:
        with open(BLAME_FILE) as f:
            name = f.read()
        os.remove(BLAME_FILE)
        return name
    except OSError:
        return None


def make_sensor_part():
    sensor = ADC(ADC.CORE_TEMP)
    hang_button = Pin(HANG_PIN, Pin.IN, Pin.PULL_UP)
    hanging = False

    def read():
        nonlocal hanging
        hanging = hanging or hang_button.value() == 0
        if hanging:
            return False
        celsius = 27 - (sensor.read_u16() * 3.3 / 65535 - 0.706) / 0.001721
        print("{:.1f} C".format(celsius))
        return -20 < celsius < 85  # an absurd value is a failure as well

    return read


def make_led_part():
    led = Pin("LED", Pin.OUT)

    def toggle():
        led.toggle()
        return True

    return toggle


def main():
    if machine.reset_cause() == machine.WDT_RESET:
        print("restarted by the watchdog, culprit:", take_blame() or "the main loop itself")
    supervisor = Supervisor(
        [
            Part("sensor", 1000, 4000, make_sensor_part()),
            Part("led", 250, 1000, make_led_part()),
        ],
        WATCHDOG_MS,
    )
    supervisor.run()


main()
