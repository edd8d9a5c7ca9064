"""Drive a 128x64 SSD1306 display and send only the pages that changed.

Wiring (Raspberry Pi Pico): SDA to GP16, SCL to GP17, VCC to 3V3; a potentiometer on GP26.
"""
import time
import framebuf
from machine import ADC, I2C, Pin

WIDTH = 128
HEIGHT = 64
ADDRESS = 0x3C

COMMAND = 0x80  # one command byte follows
DATA = 0x40  # pixels until the end of the transfer


class OLED(framebuf.FrameBuffer):
    """A monochrome frame buffer; call show() to bring it to the glass."""

    def __init__(self, i2c, width=WIDTH, height=HEIGHT, address=ADDRESS):
        self.i2c = i2c
        self.address = address
        self.width = width
        self.height = height
        self.pages = height // 8
        self.buffer = bytearray(width * self.pages)
        self.on_glass = bytearray(width * self.pages)
        # Room for the control byte, so that a page leaves in one transfer.
        self.page_out = bytearray(1 + width)
        self.page_out[0] = DATA
        super().__init__(self.buffer, width, height, framebuf.MONO_VLSB)
        self._start()

    def _command(self, *values):
        for value in values:
            self.i2c.writeto(self.address, bytes((COMMAND, value)))

    def _start(self):
        self._command(0xAE)  # off while we configure
        self._command(0xD5, 0x80, 0xA8, self.height - 1)  # clock, multiplex ratio
        self._command(0xD3, 0x00, 0x40)  # no vertical offset, start at line 0
        self._command(0x8D, 0x14)  # the charge pump makes the panel voltage
        self._command(0x20, 0x02)  # page addressing: we choose page and column ourselves
        self._command(0xA1, 0xC8)  # flip both axes: pins at the top
        self._command(0xDA, 0x12 if self.height == 64 else 0x02)
        self._command(0x81, 0xCF, 0xD9, 0xF1, 0xDB, 0x40)  # contrast and drive levels
        self._command(0xA4, 0xA6)  # show the memory, not inverted
        self.fill(0)
        self.show(everything=True)
        self._command(0xAF)

    def contrast(self, level):
        self._command(0x81, level & 0xFF)

    def invert(self, on):
        self._command(0xA7 if on else 0xA6)

    def power(self, on):
        self._command(0xAF if on else 0xAE)

    def show(self, everything=False):
        """Send changed pages and return how many were sent."""
        sent = 0
        for page in range(self.pages):
            start = page * self.width
            end = start + self.width
            fresh = self.buffer[start:end]
            if not everything and fresh == self.on_glass[start:end]:
                continue
            self._command(0xB0 | page, 0x00, 0x10)  # page, column 0
            self.page_out[1:] = fresh
            self.i2c.writeto(self.address, self.page_out)
            self.on_glass[start:end] = fresh
            sent += 1
        return sent


def draw_gauge(oled, percent):
    oled.fill_rect(0, 16, oled.width, 24, 0)
    oled.rect(4, 18, 120, 14, 1)
    oled.fill_rect(6, 20, 116 * percent // 100, 10, 1)


def main():
    i2c = I2C(0, sda=Pin(16), scl=Pin(17), freq=400_000)
    if ADDRESS not in i2c.scan():
        raise RuntimeError("no display at 0x%02X" % ADDRESS)
    oled = OLED(i2c)
    knob = ADC(26)
    oled.text("Potentiometer", 12, 2)
    ball_x, step = 8, 3
    try:
        while True:
            percent = knob.read_u16() * 100 // 65535
            draw_gauge(oled, percent)
            oled.fill_rect(0, 40, oled.width, 24, 0)
            oled.text("%3d %%" % percent, 44, 40)
            oled.ellipse(ball_x, 57, 5, 5, 1, True)
            ball_x += step
            if not 6 < ball_x < oled.width - 7:
                step = -step
            oled.show()
            time.sleep_ms(40)
    except KeyboardInterrupt:
        oled.power(False)


main()
