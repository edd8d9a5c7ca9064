"""Text on a 16x2 character LCD behind a PCF8574 I2C backpack.

Wiring (Raspberry Pi Pico): SDA to GP8, SCL to GP9, VCC to VBUS (5 V), GND to GND.
Use a level shifter or remove the backpack's pull-ups: the Pico's pins are not 5 V tolerant.
"""
import time
from machine import ADC, I2C, Pin

ADDRESS = 0x27
COLUMNS = 16

# How the backpack wires the eight port pins to the display
RS = 0x01  # low: command, high: character
ENABLE = 0x04
BACKLIGHT = 0x08

CLEAR = 0x01
ENTRY_LEFT_TO_RIGHT = 0x06
DISPLAY_ON = 0x0C
FOUR_BIT_TWO_LINES = 0x28
SET_GLYPH = 0x40
SET_CURSOR = 0x80
ROW_START = (0x00, 0x40)

DEGREE = chr(223)  # in the usual character ROM
THERMOMETER = (0x04, 0x0A, 0x0A, 0x0A, 0x0E, 0x1F, 0x1F, 0x0E)


class CharacterLCD:
    def __init__(self, i2c, address=ADDRESS):
        self.i2c = i2c
        self.address = address
        self.light = BACKLIGHT
        time.sleep_ms(50)
        # Three times "8 bit" brings the controller to a known state from any other.
        for pause in (5, 1, 1):
            self._nibble(0x30)
            time.sleep_ms(pause)
        self._nibble(0x20)
        for command in (FOUR_BIT_TWO_LINES, DISPLAY_ON, ENTRY_LEFT_TO_RIGHT):
            self._byte(command)
        self.clear()

    def _nibble(self, bits):
        """Put the upper four bits on the data lines and pulse ENABLE."""
        bits |= self.light
        self.i2c.writeto(self.address, bytes((bits | ENABLE, bits)))

    def _byte(self, value, mode=0):
        self._nibble(value & 0xF0 | mode)
        self._nibble(value << 4 & 0xF0 | mode)

    def clear(self):
        self._byte(CLEAR)
        time.sleep_ms(2)  # by far the slowest command

    def move_to(self, column, row):
        self._byte(SET_CURSOR | ROW_START[row] + column)

    def write(self, text):
        for character in text:
            self._byte(ord(character), RS)

    def line(self, row, text):
        """Replace a whole row; padding with blanks avoids the flicker of clear()."""
        self.move_to(0, row)
        self.write(text[:COLUMNS] + " " * (COLUMNS - len(text)))

    def define(self, slot, rows):
        """Store a 5x8 picture that chr(slot) shows, slot being 0 to 7."""
        self._byte(SET_GLYPH | slot << 3)
        for row in rows:
            self._byte(row, RS)

    def backlight(self, on):
        self.light = BACKLIGHT if on else 0
        self.i2c.writeto(self.address, bytes((self.light,)))


def chip_celsius(adc):
    volts = adc.read_u16() * 3.3 / 65535
    return 27 - (volts - 0.706) / 0.001721


def uptime_text(seconds):
    return "%d:%02d:%02d" % (seconds // 3600, seconds // 60 % 60, seconds % 60)


def main():
    i2c = I2C(0, sda=Pin(8), scl=Pin(9), freq=100_000)  # a PCF8574 allows no more
    lcd = CharacterLCD(i2c)
    lcd.define(0, THERMOMETER)
    sensor = ADC(ADC.CORE_TEMP)
    seconds = 0
    next_tick = time.ticks_ms()
    try:
        while True:
            lcd.line(0, "Up " + uptime_text(seconds))
            lcd.line(1, "%s %.1f%sC" % (chr(0), chip_celsius(sensor), DEGREE))
            # Counting from the last planned tick keeps the clock free of drift.
            next_tick = time.ticks_add(next_tick, 1000)
            time.sleep_ms(max(0, time.ticks_diff(next_tick, time.ticks_ms())))
            seconds += 1
    except KeyboardInterrupt:
        lcd.clear()
        lcd.backlight(False)


if __name__ == "__main__":
    main()
