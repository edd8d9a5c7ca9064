"""A clock with hands on a 240 x 240 ST7789, drawn in bands because a whole picture needs 115 kB.

Wiring (Raspberry Pi Pico): SCL GP18, SDA GP19, RES GP20, DC GP21, BLK GP22, no CS on these boards.
"""
import framebuf
import math
import time
from array import array
from machine import PWM, Pin, SPI

SIZE = 240
BAND = 40
CENTRE = SIZE // 2


def rgb(red, green, blue):
    """A colour of 16 bits with the bytes swapped, in the order in which the panel wants them."""
    colour = (red & 0xF8) << 8 | (green & 0xFC) << 3 | blue >> 3
    return (colour & 0xFF) << 8 | colour >> 8


BLACK, WHITE, GREY, RED = rgb(0, 0, 0), rgb(255, 255, 255), rgb(110, 110, 110), rgb(255, 40, 30)


class ST7789:
    def __init__(self, spi, dc, reset):
        self.spi = spi
        self.dc = dc
        reset(0)
        time.sleep_ms(20)
        reset(1)
        time.sleep_ms(120)
        self.command(0x11)  # out of sleep
        time.sleep_ms(120)
        self.command(0x3A, b"\x55")  # 16 bits per pixel
        self.command(0x36, b"\x00")
        self.command(0x21)  # these panels show everything inverted
        self.command(0x13)
        self.command(0x29)

    def command(self, code, data=b""):
        self.dc(0)
        self.spi.write(bytes([code]))
        if data:
            self.dc(1)
            self.spi.write(data)

    def window(self, x0, y0, x1, y1):
        self.command(0x2A, bytes((0, x0, 0, x1)))
        self.command(0x2B, bytes((0, y0, 0, y1)))
        self.command(0x2C)
        self.dc(1)


class Face:
    """Draws the same picture for each band, moved up by the start of the band."""

    def __init__(self, panel):
        self.panel = panel
        self.pixels = bytearray(SIZE * BAND * 2)
        self.canvas = framebuf.FrameBuffer(self.pixels, SIZE, BAND, framebuf.RGB565)
        self.marks = [self.point(i * 6, 104 if i % 5 else 94) + self.point(i * 6, 112) for i in range(60)]

    @staticmethod
    def point(degrees, radius):
        angle = math.radians(degrees)
        return CENTRE + int(radius * math.sin(angle)), CENTRE - int(radius * math.cos(angle))

    def hand(self, degrees, length, half_width):
        """The four corners of a pointed hand as one array for poly()."""
        corners = []
        for turn, radius in ((0, length), (90, half_width), (180, 14), (270, half_width)):
            corners.extend(self.point(degrees + turn, radius))
        return array("h", corners)

    def draw(self, hour, minute, second):
        hands = (
            (self.hand(hour % 12 * 30 + minute / 2, 58, 5), WHITE),
            (self.hand(minute * 6 + second / 10, 86, 4), WHITE),
            (self.hand(second * 6, 96, 1), RED),
        )
        self.panel.window(0, 0, SIZE - 1, SIZE - 1)
        for top in range(0, SIZE, BAND):
            self.canvas.fill(BLACK)
            for number, (x0, y0, x1, y1) in enumerate(self.marks):
                colour = GREY if number % 5 else WHITE
                self.canvas.line(x0, y0 - top, x1, y1 - top, colour)
            for corners, colour in hands:
                self.canvas.poly(0, -top, corners, colour, True)
            self.canvas.ellipse(CENTRE, CENTRE - top, 5, 5, RED, True)
            self.panel.spi.write(self.pixels)


def main():
    # Without CS the panel takes the clock in mode 3 only.
    spi = SPI(0, baudrate=40_000_000, polarity=1, phase=1, sck=Pin(18), mosi=Pin(19))
    panel = ST7789(spi, Pin(21, Pin.OUT), Pin(20, Pin.OUT))
    light = PWM(Pin(22), freq=1000)
    face = Face(panel)
    last = None
    while True:
        hour, minute, second = time.localtime()[3:6]
        if second != last:
            last = second
            face.draw(hour, minute, second)
            light.duty_u16(60_000 if 7 <= hour < 22 else 6_000)
        time.sleep_ms(10)


main()
