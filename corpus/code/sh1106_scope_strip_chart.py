"""A strip chart recorder on an SH1106 display (1.3 inch): the ADC scrolls by, scaled by itself.

Wiring (Pico): SDA GP0, SCL GP1, 3V3; signal of 0 to 3.3 V on GP26; button GP15 to GND freezes.
"""
import framebuf
import time
from machine import ADC, I2C, Pin

WIDTH, HEIGHT = 128, 64
COLUMN_OFFSET = 2  # the chip has 132 columns, the glass shows the 128 in the middle


class SH1106(framebuf.FrameBuffer):
    """Page by page: unlike the SSD1306 this chip has no horizontal addressing mode."""

    INIT = bytes((
        0xAE, 0xD5, 0x80, 0xA8, 0x3F, 0xD3, 0x00, 0x40, 0xAD, 0x8B, 0xA1, 0xC8,
        0xDA, 0x12, 0x81, 0x80, 0xD9, 0x22, 0xDB, 0x35, 0xA4, 0xA6, 0xAF,
    ))

    def __init__(self, i2c, address=0x3C):
        self.i2c = i2c
        self.address = address
        self.pages = [bytearray(WIDTH + 1) for _ in range(HEIGHT // 8)]
        self.memory = bytearray(WIDTH * HEIGHT // 8)
        self.sent = [None] * (HEIGHT // 8)
        super().__init__(self.memory, WIDTH, HEIGHT, framebuf.MONO_VLSB)
        self.command(*self.INIT)
        for page in self.pages:
            page[0] = 0x40  # what follows are data

    def command(self, *codes):
        self.i2c.writeto(self.address, bytes((0x00,) + codes))

    def show(self):
        """Send the pages that changed since the last time."""
        view = memoryview(self.memory)
        for number, page in enumerate(self.pages):
            part = view[number * WIDTH:(number + 1) * WIDTH]
            if self.sent[number] is not None and page[1:] == part:
                continue
            page[1:] = part
            self.sent[number] = True
            self.command(0xB0 | number, COLUMN_OFFSET & 0x0F, 0x10 | COLUMN_OFFSET >> 4)
            self.i2c.writeto(self.address, page)


class Chart:
    TOP = 10

    def __init__(self, display):
        self.display = display
        self.values = []

    def add(self, value):
        self.values.append(value)
        if len(self.values) > WIDTH:
            del self.values[0]

    def limits(self):
        """Round the range outwards to steps of a quarter volt, at least half a volt high."""
        low = int(min(self.values) * 4) / 4
        high = -int(-max(self.values) * 4 // 1) / 4
        return low, max(high, low + 0.5)

    def draw(self, frozen):
        d = self.display
        d.fill(0)
        low, high = self.limits()
        scale = (HEIGHT - 1 - self.TOP) / (high - low)
        before = None
        for x, value in enumerate(self.values):
            y = HEIGHT - 1 - int((value - low) * scale)
            d.line(x - 1 if before is not None else x, y if before is None else before, x, y, 1)
            before = y
        for x in range(0, WIDTH, 16):
            d.pixel(x, self.TOP, 1)
            d.pixel(x, HEIGHT - 1, 1)
        d.text("%.2f-%.2fV" % (low, high), 0, 0)
        d.text("HOLD" if frozen else "%.2f" % self.values[-1], 92, 0)
        d.show()


def volts(adc, samples=32):
    return sum(adc.read_u16() for _ in range(samples)) / samples * 3.3 / 65535


def main():
    chart = Chart(SH1106(I2C(0, sda=Pin(0), scl=Pin(1), freq=400_000)))
    adc = ADC(Pin(26))
    button = Pin(15, Pin.IN, Pin.PULL_UP)
    frozen = False
    was_up = True
    due = time.ticks_ms()
    while True:
        up = button.value()
        if was_up and not up:
            frozen = not frozen
            chart.draw(frozen) if chart.values else None
        was_up = up
        if not frozen:
            chart.add(volts(adc))
            chart.draw(frozen)
        due = time.ticks_add(due, 100)
        time.sleep_ms(max(0, time.ticks_diff(due, time.ticks_ms())))


main()
