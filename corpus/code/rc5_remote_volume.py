"""Receive RC5 remote controls (Manchester code) with an edge interrupt, and keep a volume by them.

Wiring (ESP32): output of a 36 kHz receiver (TSOP4836 or alike) to GPIO15, 3V3.
A bit lasts 1778 us; a half of it 889 us. Held keys repeat every 114 ms with the same toggle bit.
"""
import time
from array import array
from machine import Pin

HALF = 889
TOLERANCE = 300
SILENCE_US = 3 * HALF

COMMANDS = {16: "volume up", 17: "volume down", 13: "mute", 12: "standby", 32: "channel up", 33: "channel down"}


class EdgeRecorder:
    """Notes the time of every edge in an interrupt; memory for it is taken beforehand."""

    def __init__(self, pin, size=32):
        self.times = array("I", [0] * size)
        self.size = size
        self.count = 0
        self.pin = pin
        pin.irq(self.on_edge, Pin.IRQ_FALLING | Pin.IRQ_RISING)

    def on_edge(self, pin):
        if self.count < self.size:
            self.times[self.count] = time.ticks_us()
            self.count += 1

    def take(self):
        """The lengths of the pulses of a finished burst, light first; else None."""
        if not self.count or time.ticks_diff(time.ticks_us(), self.times[self.count - 1]) < SILENCE_US:
            return None
        n = self.count
        gaps = [time.ticks_diff(self.times[i + 1], self.times[i]) for i in range(n - 1)]
        self.count = 0
        return gaps


def units(gap):
    """1 or 2 half bits; 0 if the length fits neither."""
    for number in (1, 2):
        if abs(gap - number * HALF) < TOLERANCE:
            return number
    return 0


def decode(gaps):
    """Return (address, command, toggle), or None where it is no RC5.

    A one is dark in its first half and light in its second, a zero the other way round. The
    first edge we see is therefore the middle of the first start bit, which is a one.
    """
    halves = [0]
    level = 1
    for gap in gaps:
        count = units(gap)
        if not count:
            return None
        halves += [level] * count
        level = 1 - level
    if len(halves) == 27:
        halves.append(0)  # a last zero ends in the dark, where no edge closes it
    if len(halves) != 28:
        return None
    value = 0
    for first, second in zip(halves[::2], halves[1::2]):
        if first == second:
            return None
        value = value << 1 | second
    # The second start bit doubles as an inverted seventh bit of the command.
    command = value & 0x3F | (0 if value & 0x1000 else 0x40)
    return value >> 6 & 0x1F, command, value >> 11 & 1


class Volume:
    def __init__(self):
        self.level = 20
        self.muted = False
        self.toggle = None

    def handle(self, command, toggle):
        fresh = toggle != self.toggle  # a new press, not the same one held
        self.toggle = toggle
        name = COMMANDS.get(command)
        if name == "volume up":
            self.level = min(63, self.level + 1)
            self.muted = False
        elif name == "volume down":
            self.level = max(0, self.level - 1)
        elif name == "mute" and fresh:
            self.muted = not self.muted
        elif fresh:
            print(name or "command %d" % command)
            return
        print("volume", "muted" if self.muted else self.level)


def self_test():
    """Build the pulses of address 0, command 16, toggle 0, and decode them."""
    bits = (1, 1, 0) + (0, 0, 0, 0, 0) + (0, 1, 0, 0, 0, 0)
    halves = []
    for bit in bits:
        halves += (0, 1) if bit else (1, 0)
    gaps = []
    run = 0
    last = 1
    for half in halves[1:]:
        if half != last:
            gaps.append(run * HALF)
            run = 0
            last = half
        run += 1
    assert decode(gaps) == (0, 16, 0), decode(gaps)


def main():
    self_test()
    recorder = EdgeRecorder(Pin(15, Pin.IN))
    volume = Volume()
    while True:
        gaps = recorder.take()
        if gaps:
            message = decode(gaps)
            if message is None:
                print("not understood:", len(gaps), "pulses")
            else:
                volume.handle(message[1], message[2])
        time.sleep_ms(2)


main()
