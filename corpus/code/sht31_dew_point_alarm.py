"""Warn before walls get wet: dew point from an SHT31 against the temperature of the wall.

Wiring (Raspberry Pi Pico W): SHT31 SDA to GP0, SCL to GP1; a DS18B20 glued to the coldest
corner, data to GP15 with 4.7 kOhm to 3V3; a red LED with resistor on GP14.
"""
import math
import time

import ds18x20
import onewire
from machine import I2C, Pin

MARGIN_K = 3.0  # warn when the wall comes this close to the dew point


class CRCError(OSError):
    pass


def crc8(data, crc=0xFF):
    """Sensirion's check byte: polynomial 0x31, start value 0xFF."""
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc << 1) ^ 0x31 if crc & 0x80 else crc << 1
        crc &= 0xFF
    return crc


class SHT31:
    SINGLE_SHOT = b"\x24\x00"  # high repeatability, no clock stretching
    SOFT_RESET = b"\x30\xa2"
    HEATER_ON = b"\x30\x6d"
    HEATER_OFF = b"\x30\x66"

    def __init__(self, i2c, address=0x44):
        self._i2c = i2c
        self._address = address
        self._buffer = bytearray(6)
        i2c.writeto(address, self.SOFT_RESET)
        time.sleep_ms(2)

    def measure(self):
        """Return (degrees Celsius, per cent relative humidity)."""
        self._i2c.writeto(self._address, self.SINGLE_SHOT)
        time.sleep_ms(16)
        buffer = self._buffer
        self._i2c.readfrom_into(self._address, buffer)
        for start in (0, 3):
            if crc8(buffer[start:start + 2]) != buffer[start + 2]:
                raise CRCError("check byte of the SHT31 is wrong")
        ticks_t = buffer[0] << 8 | buffer[1]
        ticks_rh = buffer[3] << 8 | buffer[4]
        return -45 + 175 * ticks_t / 65535, 100 * ticks_rh / 65535

    def dry_out(self, seconds):
        """Drive condensed water off the sensor; readings are useless meanwhile."""
        self._i2c.writeto(self._address, self.HEATER_ON)
        time.sleep(seconds)
        self._i2c.writeto(self._address, self.HEATER_OFF)


def dew_point(celsius, humidity):
    """Temperature at which this air begins to drip (Magnus formula, over water)."""
    a, b = 17.62, 243.12
    gamma = math.log(max(humidity, 0.1) / 100) + a * celsius / (b + celsius)
    return b * gamma / (a - gamma)


class WallProbe:
    def __init__(self, pin):
        self.bus = ds18x20.DS18X20(onewire.OneWire(Pin(pin)))
        found = self.bus.scan()
        if not found:
            raise RuntimeError("no DS18B20 at the wall")
        self.rom = found[0]

    def read(self):
        self.bus.convert_temp()
        time.sleep_ms(750)
        return self.bus.read_temp(self.rom)


def main():
    air = SHT31(I2C(0, sda=Pin(0), scl=Pin(1), freq=100_000))
    wall = WallProbe(15)
    warning = Pin(14, Pin.OUT, value=0)
    saturated = 0
    while True:
        try:
            celsius, humidity = air.measure()
            surface = wall.read()
        except OSError as error:
            print("no reading:", error)
            time.sleep(5)
            continue
        dew = dew_point(celsius, humidity)
        warning.value(surface - dew < MARGIN_K)
        print("air %.1f C %.0f %%  dew point %.1f C  wall %.1f C" % (celsius, humidity, dew, surface))
        # A wet sensor sticks at 100 per cent long after the air has dried.
        saturated = saturated + 1 if humidity > 99 else 0
        if saturated == 20:
            print("sensor looks wet, heating it")
            air.dry_out(30)
            saturated = 0
        time.sleep(10)


if __name__ == "__main__":
    main()
