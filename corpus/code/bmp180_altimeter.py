"""Barometer and altimeter with a BMP180, the compensation in whole numbers as Bosch describes it.

Wiring (ESP8266): SDA to GPIO4 (D2), SCL to GPIO5 (D1), VIN to 3V3.
Press the button on GPIO0 (FLASH) to call the present height zero.
"""
import time
from machine import I2C, Pin
from struct import unpack

ADDRESS = 0x77
REG_CALIBRATION = 0xAA
REG_ID = 0xD0
REG_CONTROL = 0xF4
REG_RESULT = 0xF6

CMD_TEMPERATURE = 0x2E
CMD_PRESSURE = 0x34
WAIT_MS = (5, 8, 14, 26)  # longest conversion for each oversampling setting


class BMP180:
    def __init__(self, i2c, oversampling=2):
        self.i2c = i2c
        self.oversampling = oversampling
        if i2c.readfrom_mem(ADDRESS, REG_ID, 1) != b"\x55":
            raise RuntimeError("the chip at 0x77 is no BMP180")
        raw = i2c.readfrom_mem(ADDRESS, REG_CALIBRATION, 22)
        # AC4, AC5 and AC6 are the only unsigned words among the eleven.
        self.calibration = unpack(">hhhHHHhhhhh", raw)
        if 0 in self.calibration or -1 in self.calibration:
            raise RuntimeError("the calibration memory is damaged")

    def _convert(self, command, wait_ms, size):
        self.i2c.writeto_mem(ADDRESS, REG_CONTROL, bytes([command]))
        time.sleep_ms(wait_ms)
        return int.from_bytes(self.i2c.readfrom_mem(ADDRESS, REG_RESULT, size), "big")

    def read(self):
        """Return the temperature in tenths of a degree and the pressure in pascal."""
        ac1, ac2, ac3, ac4, ac5, ac6, b1, b2, mb, mc, md = self.calibration
        oss = self.oversampling
        ut = self._convert(CMD_TEMPERATURE, 5, 2)
        up = self._convert(CMD_PRESSURE | oss << 6, WAIT_MS[oss], 3) >> (8 - oss)

        x1 = (ut - ac6) * ac5 >> 15
        x2 = (mc << 11) // (x1 + md)
        b5 = x1 + x2
        temperature = (b5 + 8) >> 4

        b6 = b5 - 4000
        x1 = b2 * (b6 * b6 >> 12) >> 11
        x2 = ac2 * b6 >> 11
        b3 = (((ac1 * 4 + x1 + x2) << oss) + 2) >> 2
        x1 = ac3 * b6 >> 13
        x2 = b1 * (b6 * b6 >> 12) >> 16
        b4 = ac4 * (((x1 + x2 + 2) >> 2) + 32768) >> 15
        b7 = (up - b3) * (50000 >> oss)
        pressure = b7 * 2 // b4
        x1 = (pressure >> 8) ** 2
        x1 = x1 * 3038 >> 16
        x2 = -7357 * pressure >> 16
        return temperature, pressure + ((x1 + x2 + 3791) >> 4)


def height_above(pressure, reference):
    """Metres above the level of the reference pressure, in the standard atmosphere."""
    return 44330 * (1 - (pressure / reference) ** (1 / 5.255))


def averaged(sensor, count=8):
    temperature = pressure = 0
    for _ in range(count):
        t, p = sensor.read()
        temperature += t
        pressure += p
    return temperature / count / 10, pressure / count


def main():
    button = Pin(0, Pin.IN, Pin.PULL_UP)
    sensor = BMP180(I2C(scl=Pin(5), sda=Pin(4), freq=100000))
    reference = averaged(sensor)[1]
    while True:
        celsius, pascal = averaged(sensor)
        if not button.value():
            reference = pascal
            print("--- zero ---")
        print("{:5.1f} C  {:7.2f} hPa  {:+6.1f} m".format(
            celsius, pascal / 100, height_above(pascal, reference)))
        time.sleep(1)


main()
