"""Read four channels of a radio-control receiver with PIO: pulse widths to a microsecond, no CPU.

Wiring (Raspberry Pi Pico): receiver channels 1 to 4 by 1 kOhm to GP2, GP3, GP4 and GP5; it may
run from 5 V as long as its signals stay at 3.3 V.
"""
import rp2
import time
from machine import Pin

CLOCK = 2_000_000  # two instructions per count make one microsecond
LOST_MS = 100


@rp2.asm_pio()
def measure_high():
    # Starts outside of a pulse, then counts x down for as long as the pin is high.
    wrap_target()
    wait(0, pin, 0)
    mov(x, invert(null))
    wait(1, pin, 0)
    label("count")
    jmp(x_dec, "check")
    label("check")
    jmp(pin, "count")
    mov(isr, invert(x))
    push(noblock)
    wrap()


class Channel:
    """One input with a state machine of its own."""

    def __init__(self, machine_id, pin):
        self.pin = Pin(pin, Pin.IN, Pin.PULL_DOWN)
        self.sm = rp2.StateMachine(machine_id, measure_high, freq=CLOCK, in_base=self.pin, jmp_pin=self.pin)
        self.sm.active(1)
        self.width_us = None
        self.heard = time.ticks_ms()

    def update(self):
        """Take over the newest pulse; the older ones in the queue are history."""
        while self.sm.rx_fifo():
            width = self.sm.get()
            if 700 <= width <= 2300:
                self.width_us = width
                self.heard = time.ticks_ms()
        if time.ticks_diff(time.ticks_ms(), self.heard) > LOST_MS:
            self.width_us = None
        return self.width_us

    def position(self, dead=12):
        """From -100 to 100, with a small dead zone in the middle; None without a signal."""
        if self.width_us is None:
            return None
        away = self.width_us - 1500
        if abs(away) < dead:
            return 0
        return max(-100, min(100, away // 5))


class Switch:
    """A three-position switch with hysteresis between its places."""

    LIMITS = (1300, 1700)

    def __init__(self, channel):
        self.channel = channel
        self.place = 1

    def update(self):
        width = self.channel.width_us
        if width is not None:
            low, high = self.LIMITS
            if width < low - 40:
                self.place = 0
            elif low + 40 < width < high - 40:
                self.place = 1
            elif width > high + 40:
                self.place = 2
        return self.place


def bar(position, half=10):
    if position is None:
        return "no signal".center(2 * half + 1)
    cells = ["-"] * (2 * half + 1)
    cells[half] = "|"
    cells[half + position * half // 100] = "#"
    return "".join(cells)


def main():
    channels = [Channel(i, pin) for i, pin in enumerate((2, 3, 4, 5))]
    mode = Switch(channels[3])
    names = ("manual", "assisted", "return home")
    last = None
    while True:
        for channel in channels:
            channel.update()
        print("  ".join(bar(channel.position()) for channel in channels[:3]))
        place = mode.update()
        if place != last:
            last = place
            print("mode:", names[place])
        time.sleep_ms(100)


main()
