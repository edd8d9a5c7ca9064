"""Send what a PCF8591 hears on an input to its own output, slowed down, with a bar on the console.

Wiring (ESP8266): SDA GPIO4, SCL GPIO5, VCC 3V3. The usual blue board carries a trimmer on
AIN3, a thermistor on AIN1, a photo cell on AIN0 and an LED on the output.
"""
import time
from machine import I2C, Pin

OUTPUT_ON = 0x40
AUTO_INCREMENT = 0x04


class PCF8591:
    """8-bit converter with four inputs and one output.

    A read transfers the *previous* conversion while the chip makes the next one, so the
    first byte after a change of channel belongs to the old channel and is thrown away.
    """

    def __init__(self, i2c, address=0x48, vref=3.3):
        self.i2c = i2c
        self.address = address
        self.vref = vref
        self.control = OUTPUT_ON

    def input(self, channel):
        self.i2c.writeto(self.address, bytes([self.control | channel]))
        return self.i2c.readfrom(self.address, 2)[1]

    def inputs(self):
        """All four at once, with the channel counting up by itself."""
        self.i2c.writeto(self.address, bytes([self.control | AUTO_INCREMENT]))
        return tuple(self.i2c.readfrom(self.address, 5)[1:])

    def output(self, value):
        value = min(255, max(0, int(value)))
        self.i2c.writeto(self.address, bytes([self.control, value]))

    def volts(self, channel):
        return self.input(channel) * self.vref / 256


class SlewLimiter:
    """Follows a value, but never faster than a number of counts per second."""

    def __init__(self, rate):
        self.rate = rate
        self.value = 0.0
        self.at = time.ticks_ms()

    def follow(self, target):
        now = time.ticks_ms()
        largest = self.rate * time.ticks_diff(now, self.at) / 1000
        self.at = now
        self.value += max(-largest, min(largest, target - self.value))
        return self.value


def bar(value, width=32):
    filled = value * width // 256
    return "#" * filled + "." * (width - filled)


def self_test(chip):
    """With AOUT connected to AIN2 the converter can measure itself."""
    worst = 0
    for level in range(16, 256, 24):
        chip.output(level)
        time.sleep_ms(5)
        worst = max(worst, abs(chip.input(2) - level))
    return worst


def main():
    chip = PCF8591(I2C(scl=Pin(5), sda=Pin(4), freq=100000))
    error = self_test(chip)
    if error < 10:
        print("loop AOUT-AIN2 in place, largest error", error)
    trimmer = SlewLimiter(rate=80)
    while True:
        light, heat, _, knob = chip.inputs()
        chip.output(trimmer.follow(knob))
        print("%s knob %3d  light %3d  heat %3d" % (bar(knob), knob, light, heat), end="\r")
        time.sleep_ms(50)


try:
    main()
except OSError:
    print("\nno PCF8591 on the bus")
