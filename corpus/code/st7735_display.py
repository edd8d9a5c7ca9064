"""Fill areas and write text on a 128x160 ST7735 colour display, with little memory.

Wiring (Raspberry Pi Pico): SCK to GP10, SDA to GP11, RES to GP12, DC to GP13, CS to GP9,
BLK to GP14, VCC to 3V3.
"""
import random
import time
import framebuf
from machine import PWM, SPI, Pin

WIDTH = 128
HEIGHT = 160
# Some panels begin a few pixels into the controller's memory: try 2 and 1 if the edge is noisy.
X_OFFSET = 0
Y_OFFSET = 0

SWRESET = 0x01
SLPOUT = 0x11
DISPOFF = 0x28
DISPON = 0x29
CASET = 0x2A
RASET = 0x2B
RAMWR = 0x2C
MADCTL = 0x36
COLMOD = 0x3A


def rgb(red, green, blue):
    """Return a 16-bit colour with its bytes swapped: the display wants the high byte first."""
    colour = (red & 0xF8) << 8 | (green & 0xFC) << 3 | blue >> 3
    return (colour & 0xFF) << 8 | colour >> 8


BLACK = rgb(0, 0, 0)
WHITE = rgb(255, 255, 255)
NAVY = rgb(0, 0, 96)
PALETTE = (rgb(230, 60, 50), rgb(240, 190, 40), rgb(60, 180, 80), rgb(50, 130, 220))


class ST7735:
    def __init__(self, spi, cs, dc, reset):
        self.spi = spi
        self.cs = cs
        self.dc = dc
        self.band = bytearray(WIDTH * 8 * 2)  # eight lines; the whole picture would take 40 KB
        reset.value(0)
        time.sleep_ms(20)
        reset.value(1)
        time.sleep_ms(150)
        self.command(SWRESET)
        time.sleep_ms(150)
        self.command(SLPOUT)
        time.sleep_ms(150)
        self.command(COLMOD, b"\x05")  # 16 bits per pixel
        self.command(MADCTL, b"\xc0")  # upside down; b"\xc8" if red and blue are swapped
        self.fill(BLACK)
        self.command(DISPON)

    def _send(self, is_data, content):
        self.dc.value(is_data)
        self.cs.value(0)
        self.spi.write(content)
        self.cs.value(1)

    def command(self, code, data=b""):
        self._send(0, bytes((code,)))
        if data:
            self._send(1, data)

    def window(self, x, y, width, height):
        left = x + X_OFFSET
        top = y + Y_OFFSET
        self.command(CASET, bytes((0, left, 0, left + width - 1)))
        self.command(RASET, bytes((0, top, 0, top + height - 1)))
        self.command(RAMWR)

    def fill_rect(self, x, y, width, height, colour):
        if width <= 0 or height <= 0:
            return
        band = framebuf.FrameBuffer(self.band, WIDTH, 8, framebuf.RGB565)
        band.fill(colour)
        self.window(x, y, width, height)
        rest = width * height * 2
        view = memoryview(self.band)
        while rest > 0:
            count = min(rest, len(self.band))
            self._send(1, view[:count])
            rest -= count

    def fill(self, colour):
        self.fill_rect(0, 0, WIDTH, HEIGHT, colour)

    def text(self, message, x, y, colour=WHITE, background=BLACK):
        """Write one line of 8x8 characters; what does not fit is cut off."""
        message = message[:(WIDTH - x) // 8]
        if not message:
            return
        width = 8 * len(message)
        part = memoryview(self.band)[:width * 8 * 2]
        canvas = framebuf.FrameBuffer(part, width, 8, framebuf.RGB565)
        canvas.fill(background)
        canvas.text(message, 0, 0, colour)
        self.window(x, y, width, 8)
        self._send(1, part)


def main():
    spi = SPI(1, baudrate=20_000_000, sck=Pin(10), mosi=Pin(11))
    cs, dc, reset = (Pin(number, Pin.OUT, value=1) for number in (9, 13, 12))
    display = ST7735(spi, cs, dc, reset)
    backlight = PWM(Pin(14), freq=1000, duty_u16=40_000)
    display.fill(NAVY)
    display.text("Four channels", 12, 6, WHITE, NAVY)
    levels = [50, 50, 50, 50]
    try:
        while True:
            for i, colour in enumerate(PALETTE):
                levels[i] = max(0, min(100, levels[i] + random.randint(-6, 6)))
                x = 8 + 30 * i
                display.fill_rect(x, 24, 22, 100 - levels[i], NAVY)
                display.fill_rect(x, 124 - levels[i], 22, levels[i], colour)
                display.text("%3d" % levels[i], x, 134, WHITE, NAVY)
            time.sleep_ms(50)
    finally:
        display.command(DISPOFF)
        backlight.deinit()


main()
