"""Scroll messages over four chained MAX7219 8x8 LED matrices.

Wiring (Raspberry Pi Pico): DIN to GP19, CLK to GP18, CS to GP17, VCC to VBUS (5 V).
The modules' input side is at the right, as on the usual four-in-one boards.
"""
import time
import framebuf
from machine import SPI, Pin
from micropython import const

MODULES = 4
WIDTH = MODULES * 8
STEP_MS = 35

_DECODE_MODE = const(0x09)
_INTENSITY = const(0x0A)
_SCAN_LIMIT = const(0x0B)
_SHUTDOWN = const(0x0C)
_DISPLAY_TEST = const(0x0F)


class MatrixChain:
    def __init__(self, spi, cs, modules=MODULES):
        self.spi = spi
        self.cs = cs
        self.modules = modules
        self.row_bytes = bytearray(modules * 8)
        self.canvas = framebuf.FrameBuffer(self.row_bytes, modules * 8, 8, framebuf.MONO_HLSB)
        self.packet = bytearray(modules * 2)
        self.cs.value(1)
        self._all(_SHUTDOWN, 0)
        self._all(_DISPLAY_TEST, 0)
        self._all(_DECODE_MODE, 0)  # plain pixels, no digit font
        self._all(_SCAN_LIMIT, 7)
        self.brightness(2)
        self.show()
        self._all(_SHUTDOWN, 1)

    def _send(self):
        self.cs.value(0)
        self.spi.write(self.packet)
        self.cs.value(1)  # all chips take over their word on this edge

    def _all(self, register, value):
        for i in range(0, len(self.packet), 2):
            self.packet[i] = register
            self.packet[i + 1] = value
        self._send()

    def brightness(self, level):
        """Set the brightness from 0 to 15; 15 on four modules can take over an ampere."""
        self._all(_INTENSITY, max(0, min(15, level)))

    def show(self):
        # The first word sent is pushed through to the far end, the leftmost matrix.
        for row in range(8):
            start = row * self.modules
            for module in range(self.modules):
                self.packet[2 * module] = row + 1
                self.packet[2 * module + 1] = self.row_bytes[start + module]
            self._send()

    def off(self):
        self._all(_SHUTDOWN, 0)


def scroll(chain, text, step_ms=STEP_MS):
    """Let a text enter at the right and leave at the left."""
    for offset in range(WIDTH, -8 * len(text) - 1, -1):
        started = time.ticks_ms()
        chain.canvas.fill(0)
        chain.canvas.text(text, offset, 0)
        chain.show()
        # Subtracting the drawing time keeps the speed equal for all texts.
        time.sleep_ms(max(0, step_ms - time.ticks_diff(time.ticks_ms(), started)))


def pulse(chain, text, times=3):
    """Show a short text in the middle and let its brightness breathe."""
    chain.canvas.fill(0)
    chain.canvas.text(text, (WIDTH - 8 * len(text)) // 2, 0)
    chain.show()
    for _ in range(times):
        for level in (0, 2, 4, 7, 10, 7, 4, 2):
            chain.brightness(level)
            time.sleep_ms(60)
    chain.brightness(2)


def main():
    # The chip reads at most 10 MHz; long wires like it slower.
    spi = SPI(0, baudrate=5_000_000, polarity=0, phase=0, sck=Pin(18), mosi=Pin(19))
    chain = MatrixChain(spi, Pin(17, Pin.OUT, value=1))
    try:
        while True:
            pulse(chain, "Hi!")
            scroll(chain, "MicroPython on four little matrices")
            scroll(chain, "It is %02d:%02d" % time.localtime()[3:5])
    except KeyboardInterrupt:
        pass
    finally:
        chain.off()
        spi.deinit()


if __name__ == "__main__":
    main()
