"""Play waveforms on an MCP4725 converter: tables are made once and sent in a single transfer.

Wiring (Raspberry Pi Pico): SDA to GP4, SCL to GP5, VCC to 3V3, OUT to an oscilloscope.
The console accepts: sine, ramp, triangle, steps, level <millivolts>, power-on <millivolts>.
"""
import math
import time
from array import array
from machine import I2C, Pin

POINTS = 64


def sine(i):
    return 0.5 + 0.5 * math.sin(2 * math.pi * i / POINTS)


def ramp(i):
    return i / (POINTS - 1)


def triangle(i):
    half = POINTS // 2
    return (i if i < half else POINTS - i) / half


def steps(i):
    return (i * 8 // POINTS) / 7


WAVES = {f.__name__: f for f in (sine, ramp, triangle, steps)}


class MCP4725:
    WRITE_DAC_AND_EEPROM = 0x60

    def __init__(self, i2c, address=0x60, supply_mv=3300):
        self.i2c = i2c
        self.address = address
        self.supply_mv = supply_mv

    def code(self, millivolts):
        return max(0, min(4095, millivolts * 4096 // self.supply_mv))

    def set(self, code):
        # Fast mode: two bytes, the upper four bits of the first are command and power-down.
        self.i2c.writeto(self.address, bytes((code >> 8, code & 0xFF)))

    def set_power_on(self, code):
        """Store the value that the output has after power comes on; about a million writes."""
        self.i2c.writeto(self.address, bytes((self.WRITE_DAC_AND_EEPROM, code >> 4, code << 4 & 0xF0)))
        while not self.i2c.readfrom(self.address, 1)[0] & 0x80:
            time.sleep_ms(5)  # the ready bit is down while the EEPROM is busy

    def play(self, codes, seconds):
        """Repeat a table of codes as fast as the bus allows; return the frequency reached."""
        stream = bytearray()
        for code in codes:
            # In a longer transfer every further pair of bytes is a new value.
            stream += bytes((code >> 8, code & 0xFF))
        block = bytes(stream)
        started = time.ticks_us()
        rounds = 0
        while time.ticks_diff(time.ticks_us(), started) < seconds * 1_000_000:
            self.i2c.writeto(self.address, block)
            rounds += 1
        return rounds * 1e6 / time.ticks_diff(time.ticks_us(), started)


def table(shape, low=0, high=4095):
    return array("H", (int(low + (high - low) * shape(i) + 0.5) for i in range(POINTS)))


def obey(dac, line):
    words = line.split()
    if not words:
        return
    name, arguments = words[0], words[1:]
    if name in WAVES:
        print("%.1f Hz" % dac.play(table(WAVES[name]), 5))
    elif name in ("level", "power-on") and len(arguments) == 1:
        code = dac.code(int(arguments[0]))
        if name == "level":
            dac.set(code)
        else:
            dac.set_power_on(code)
        print("code", code)
    else:
        print("commands:", ", ".join(sorted(WAVES)), ", level <mV>, power-on <mV>")


def main():
    # 1 MHz is beyond what the bus promises; short wires and strong pull-ups only.
    dac = MCP4725(I2C(0, sda=Pin(4), scl=Pin(5), freq=1_000_000))
    while True:
        try:
            obey(dac, input("dac> "))
        except ValueError:
            print("a whole number of millivolts, please")
        except OSError as error:
            print("bus error", error)


main()
