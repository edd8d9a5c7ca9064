"""Drive 16 LEDs from three pins with two chained 74HC595 shift registers.

Wiring (Raspberry Pi Pico): GP19 (SPI0 TX) to SER of chip 1, GP18 (SCK) to SRCLK of both,
GP17 to RCLK of both, QH' of chip 1 to SER of chip 2, OE to GND, SRCLR to 3V3.
"""

import time
from machine import SPI, Pin
from micropython import const

SCK_PIN = const(18)
DATA_PIN = const(19)
UNUSED_MISO_PIN = const(16)  # the SPI block claims it, nothing is connected
LATCH_PIN = const(17)
CHIPS = const(2)
OUTPUTS = const(16)


class ShiftRegister:
    """A chain of 74HC595 chips, written as one bit mask."""

    def __init__(self, spi, latch, chips):
        self._spi = spi
        self._latch = latch
        self._latch.init(Pin.OUT, value=0)
        self._buffer = bytearray(chips)
        self.write(0)

    def write(self, mask):
        """Set all outputs at once: bit 0 is QA of the first chip."""
        # The first byte sent travels to the end of the chain.
        for i in range(len(self._buffer) - 1, -1, -1):
            self._buffer[i] = mask & 0xFF
            mask >>= 8
        self._spi.write(self._buffer)
        # The rising edge copies all bits to the outputs in the same moment.
        self._latch.on()
        self._latch.off()


def scanner(width):
    """A light that runs from one end to the other and back."""
    for i in range(width):
        yield 1 << i
    for i in range(width - 2, 0, -1):
        yield 1 << i


def curtain(width):
    """Close from both ends to the middle, then open again."""
    masks = []
    mask = 0
    for i in range(width // 2):
        mask |= 1 << i | 1 << (width - 1 - i)
        masks.append(mask)
    yield from masks
    yield from reversed(masks)


def counter(width):
    """Count in binary with a stride that reaches the upper bits soon."""
    for value in range(0, 1 << width, 937):
        yield value


def sparkle(width):
    """Pseudo-random patterns from a 16-bit linear feedback shift register."""
    state = 0xACE1
    for _ in range(60):
        low = state & 1
        state >>= 1
        if low:
            state ^= 0xB400
        yield state & ((1 << width) - 1)


SHOWS = ((scanner, 40, 4), (curtain, 70, 3), (counter, 60, 1), (sparkle, 80, 1))


def main():
    spi = SPI(0, baudrate=1_000_000, polarity=0, phase=0,
              sck=Pin(SCK_PIN), mosi=Pin(DATA_PIN), miso=Pin(UNUSED_MISO_PIN))
    leds = ShiftRegister(spi, Pin(LATCH_PIN), CHIPS)
    try:
        while True:
            for pattern, pause_ms, rounds in SHOWS:
                print("show:", pattern.__name__)
                for _ in range(rounds):
                    for mask in pattern(OUTPUTS):
                        leds.write(mask)
                        time.sleep_ms(pause_ms)
    except KeyboardInterrupt:
        print("bye")
    finally:
        leds.write(0)
        spi.deinit()


main()
