"""ESP32 door counter: light sleep between events, woken by a reed switch or a timer.

Wiring: reed switch between GPIO33 and GND (closed while the door is shut), 10 k pull-up
from GPIO33 to 3.3 V, LED with 330 ohm from GPIO26 to GND. Prints a summary every minute.
"""

import time

import esp32
import machine
from machine import Pin

REED_PIN = 33  # must be an RTC-capable pin to wake the chip
LED_PIN = 26
SUMMARY_MS = 60_000
SETTLE_MS = 30

WAKE_NAMES = {
    machine.PIN_WAKE: "pin",
    machine.TIMER_WAKE: "timer",
}


class Door:
    """Follows the reed switch; arms the wake-up for the opposite of the present level."""

    def __init__(self, pin_number):
        self.pin = Pin(pin_number, Pin.IN)
        self.is_open = self.pin.value() == 1
        self.openings = 0

    def arm(self):
        # EXT0 reacts to a level, so waiting for the present one would wake at once.
        if self.is_open:
            esp32.wake_on_ext0(pin=self.pin, level=esp32.WAKEUP_ALL_LOW)
        else:
            esp32.wake_on_ext0(pin=self.pin, level=esp32.WAKEUP_ANY_HIGH)

    def update(self):
        """Read the switch after it has settled; True when the door has moved."""
        # The wake-up source leaves the pad with the RTC block: make it a plain input again.
        self.pin.init(Pin.IN)
        time.sleep_ms(SETTLE_MS)
        now_open = self.pin.value() == 1
        if now_open == self.is_open:
            return False
        self.is_open = now_open
        self.openings += now_open
        return True


def flash(led, times):
    for _ in range(times):
        led.on()
        time.sleep_ms(15)
        led.off()
        time.sleep_ms(100)


def sleep_until(deadline):
    """Light sleep until the deadline or the pin; RAM and variables are kept."""
    left = time.ticks_diff(deadline, time.ticks_ms())
    if left <= 0:
        return None
    # Let the last print leave the UART: its clock stops in light sleep.
    time.sleep_ms(20)
    machine.lightsleep(left)
    return machine.wake_reason()


def main():
    door = Door(REED_PIN)
    led = Pin(LED_PIN, Pin.OUT, value=0)
    slept_ms = 0
    began = time.ticks_ms()
    summary_due = time.ticks_add(began, SUMMARY_MS)

    while True:
        door.arm()
        before = time.ticks_ms()
        reason = sleep_until(summary_due)
        slept_ms += time.ticks_diff(time.ticks_ms(), before)

        if door.update():
            print("door", "open" if door.is_open else "shut",
                  "- woken by", WAKE_NAMES.get(reason, reason))
            flash(led, 2 if door.is_open else 1)

        now = time.ticks_ms()
        if time.ticks_diff(now, summary_due) >= 0:
            share = 100 * slept_ms / max(1, time.ticks_diff(now, began))
            print("{} openings in the last minute, asleep {:.1f} % of it".format(
                door.openings, share))
            door.openings = 0
            slept_ms = 0
            began = now
            summary_due = time.ticks_add(now, SUMMARY_MS)


try:
    main()
except KeyboardInterrupt:
    esp32.wake_on_ext0(pin=None)
    print("wake-up source removed")
