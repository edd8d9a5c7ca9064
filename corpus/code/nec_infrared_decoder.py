"""Decode the remote controls of the NEC family with an infrared receiver and a pin interrupt.

Wiring (Raspberry Pi Pico): receiver (TSOP38238 or VS1838B) OUT to GP15, VCC to 3V3.
"""
import time
import micropython
from machine import Pin

# Without this a mistake inside the interrupt handler would end without a traceback.
micropython.alloc_emergency_exception_buf(100)

IR_PIN = 15

# Times between two falling edges, in microseconds, halfway between what may occur:
# bit 0 1125, bit 1 2250, repeat 11250, start 13500.
MIN_BIT = 850
ZERO_ONE = 1690
MAX_BIT = 2700
MIN_REPEAT = 10_300
REPEAT_START = 12_300
MAX_START = 14_800

BUTTONS = {
    0x45: "power",
    0x46: "volume up",
    0x15: "volume down",
    0x40: "play",
    0x43: "next",
    0x44: "previous",
}


class NECReceiver:
    """Collect 32 bits between falling edges; everything in the handler is allocation free."""

    def __init__(self, pin):
        self._data = bytearray(4)
        self._bits = -1  # -1: waiting for a start
        self._last = time.ticks_us()
        # The handler fills a small ring, so that a slow main loop loses nothing.
        self._ring = bytearray(8 * 4)
        self._write = 0
        self._read = 0
        self._repeats = 0
        self._pin = pin
        pin.irq(self._edge, Pin.IRQ_FALLING, hard=True)

    def _edge(self, pin):
        now = time.ticks_us()
        gap = time.ticks_diff(now, self._last)
        self._last = now
        if REPEAT_START < gap < MAX_START:
            self._bits = 0
        elif MIN_REPEAT < gap <= REPEAT_START:
            self._repeats += 1
            self._bits = -1
        elif self._bits >= 0:
            if not MIN_BIT < gap < MAX_BIT:
                self._bits = -1
                return
            # Bytes instead of one 32-bit number, which would not fit into a small integer.
            index = self._bits >> 3
            byte = self._data[index] >> 1  # the lowest bit comes first
            if gap > ZERO_ONE:
                byte |= 0x80
            self._data[index] = byte
            self._bits += 1
            if self._bits == 32:
                self._store()

    def _store(self):
        self._bits = -1
        following = (self._write + 1) & 7
        if following == self._read:
            return  # full: drop the newest
        start = self._write * 4
        for i in range(4):
            self._ring[start + i] = self._data[i]
        self._write = following
        self._repeats = 0

    def receive(self):
        """Return (address, command) of the oldest new code, or None."""
        while self._read != self._write:
            start = self._read * 4
            address, inverse, command, check = self._ring[start:start + 4]
            self._read = (self._read + 1) & 7
            if command ^ check != 0xFF:
                continue  # a bit was lost
            if address ^ inverse != 0xFF:
                address |= inverse << 8  # the extended form has 16 address bits
            return address, command
        return None

    def held(self):
        """Return how often the last code was repeated since the previous call."""
        count = self._repeats
        self._repeats = 0
        return count

    def close(self):
        self._pin.irq(None)


def main():
    receiver = NECReceiver(Pin(IR_PIN, Pin.IN, Pin.PULL_UP))
    name = None
    volume = 50
    print("Point a remote control at the receiver.")
    try:
        while True:
            code = receiver.receive()
            steps = receiver.held()
            if code:
                address, command = code
                name = BUTTONS.get(command, "button 0x%02X" % command)
                print("address 0x%04X: %s" % (address, name))
                steps = 1
            if steps and name in ("volume up", "volume down"):
                change = steps if name == "volume up" else -steps
                volume = max(0, min(100, volume + change))
                print("volume", volume)
            time.sleep_ms(20)
    finally:
        receiver.close()


if __name__ == "__main__":
    main()
