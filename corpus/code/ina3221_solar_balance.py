"""Energy balance of a small solar system with an INA3221: panel, battery and load on its channels.

Wiring (Pico W): SDA to GP20, SCL to GP21, VS to 3V3, A0 to GND (0x40); the shunts of the
common boards have 100 milliohm. Positive battery current means charging.
"""
import time
from collections import namedtuple
from machine import I2C, Pin

SHUNT_OHM = 0.1
REG_CONFIG = 0x00
REG_MAKER = 0xFE
REG_DIE = 0xFF

Reading = namedtuple("Reading", ("volts", "amps"))


class INA3221:
    """Three pairs of bus and shunt voltage; both have their lowest three bits unused."""

    def __init__(self, i2c, address=0x40):
        self.i2c = i2c
        self.address = address
        if (self._read(REG_MAKER), self._read(REG_DIE)) != (0x5449, 0x3220):
            raise RuntimeError("INA3221 not found")
        # All channels, 64 averages, 1.1 ms each for bus and shunt, continuous.
        self._write(REG_CONFIG, 0x7000 | 3 << 9 | 4 << 6 | 4 << 3 | 7)

    def _read(self, register):
        return int.from_bytes(self.i2c.readfrom_mem(self.address, register, 2), "big")

    def _write(self, register, value):
        self.i2c.writeto_mem(self.address, register, value.to_bytes(2, "big"))

    def _signed(self, register):
        value = self._read(register)
        return value - 0x10000 if value & 0x8000 else value

    def channel(self, number):
        """Volts at the load side and amperes of channel 1, 2 or 3."""
        shunt = self._signed(2 * number - 1) / 8 * 40e-6
        bus = self._signed(2 * number) / 8 * 8e-3
        return Reading(bus, shunt / SHUNT_OHM)


class Meter:
    """Adds up charge and energy by the trapezoid between two readings."""

    def __init__(self, name):
        self.name = name
        self.watt_hours = 0.0
        self.amp_hours = 0.0
        self.last = None

    def update(self, reading, hours):
        if self.last is not None:
            before = self.last
            self.amp_hours += (reading.amps + before.amps) / 2 * hours
            power = reading.volts * reading.amps + before.volts * before.amps
            self.watt_hours += power / 2 * hours
        self.last = reading

    def __str__(self):
        r = self.last
        return "{:8s}{:7.3f} V {:+7.3f} A {:+8.3f} Wh {:+8.3f} Ah".format(
            self.name, r.volts, r.amps, self.watt_hours, self.amp_hours)


def main():
    chip = INA3221(I2C(0, sda=Pin(20), scl=Pin(21), freq=400_000))
    meters = [Meter("panel"), Meter("battery"), Meter("load")]
    last_us = time.ticks_us()
    next_report = time.ticks_add(time.ticks_ms(), 60_000)
    while True:
        time.sleep_ms(500)
        now_us = time.ticks_us()
        hours = time.ticks_diff(now_us, last_us) / 3.6e9
        last_us = now_us
        try:
            for number, meter in enumerate(meters, 1):
                meter.update(chip.channel(number), hours)
        except OSError as error:
            print("I2C:", error)
            continue
        if time.ticks_diff(time.ticks_ms(), next_report) >= 0:
            next_report = time.ticks_add(next_report, 60_000)
            for meter in meters:
                print(meter)
            panel, battery, load = meters
            lost = panel.watt_hours - battery.watt_hours - load.watt_hours
            print("regulator and cables took {:.3f} Wh".format(lost))


main()
