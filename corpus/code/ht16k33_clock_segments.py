"""A desk clock on a four-digit HT16K33 backpack, brightness by the hour of the day.

Wiring (ESP32-C3): SDA GPIO8, SCL GPIO9, VIN 3V3. Set the clock at the prompt or by NTP first;
a board that has never been set shows dashes.
"""
import time
from machine import I2C, Pin

# Segments, bit 0 is A (top), clockwise to F, bit 6 is G in the middle, bit 7 the point.
FONT = {
    "0": 0x3F, "1": 0x06, "2": 0x5B, "3": 0x4F, "4": 0x66, "5": 0x6D, "6": 0x7D, "7": 0x07,
    "8": 0x7F, "9": 0x6F, "-": 0x40, " ": 0x00, "A": 0x77, "b": 0x7C, "C": 0x39, "d": 0x5E,
    "E": 0x79, "F": 0x71, "H": 0x76, "L": 0x38, "o": 0x5C, "P": 0x73, "r": 0x50, "t": 0x78,
}


class SegmentDisplay:
    """The Adafruit-style board: digits in rows 0, 1, 3 and 4, the colon in row 2."""

    ROWS = (0, 2, 6, 8)

    def __init__(self, i2c, address=0x70):
        self.i2c = i2c
        self.address = address
        self.ram = bytearray(17)  # byte 0 is the start address for the transfer
        self._command(0x21)  # oscillator on
        self._command(0x81)  # display on, no blinking
        self.brightness(7)

    def _command(self, value):
        self.i2c.writeto(self.address, bytes([value]))

    def brightness(self, level):
        self._command(0xE0 | max(0, min(15, level)))

    def blink(self, rate):
        """0 is steady, 1 two times a second, 2 once, 3 every other second."""
        self._command(0x81 | rate << 1)

    def text(self, characters, colon=False):
        """Show up to four characters; a point after one belongs to it."""
        cells = []
        for character in characters:
            if character == "." and cells:
                cells[-1] |= 0x80
            else:
                cells.append(FONT.get(character, 0x40))
        cells = ([0] * 4 + cells)[-4:]
        for row, cell in zip(self.ROWS, cells):
            self.ram[1 + row] = cell
        self.ram[1 + 4] = 0x02 if colon else 0
        self.i2c.writeto(self.address, self.ram)


def brightness_at(hour, minute):
    """Dim at night, full at noon, with half an hour of fading in the morning and evening."""
    now = hour * 60 + minute
    dawn, dusk = 7 * 60, 21 * 60
    if dawn <= now < dusk:
        return min(12, 1 + (now - dawn) * 11 // 30) if now < dawn + 30 else 12
    late = now - dusk
    return max(1, 12 - late * 11 // 30) if 0 <= late < 30 else 1


def show_time(display):
    year, _, _, hour, minute, second = time.localtime()[:6]
    if year < 2025:
        display.text("----", colon=second % 2 == 0)
        return
    display.brightness(brightness_at(hour, minute))
    display.text("%2d%02d" % (hour, minute), colon=second % 2 == 0)


def main():
    display = SegmentDisplay(I2C(0, sda=Pin(8), scl=Pin(9), freq=400_000))
    display.text("HELo")
    time.sleep(1)
    last = -1
    while True:
        second = time.time()
        if second != last:
            last = second
            show_time(display)
        time.sleep_ms(20)


main()
