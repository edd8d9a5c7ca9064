"""Orientation from a BNO055: wait for its calibration, keep it in a file, print the Euler angles.

Wiring (Raspberry Pi Pico): SDA GP4, SCL GP5, VIN 3V3, ADR open (0x28).
This sensor stretches the clock, so the bus is kept slow and given a generous timeout.
"""
import struct
import time
from machine import Pin, SoftI2C

CHIP_ID = 0x00
PAGE_ID = 0x07
EULER = 0x1A
CALIBRATION_STATUS = 0x35
OPERATION_MODE = 0x3D
POWER_MODE = 0x3E
TRIGGER = 0x3F
OFFSETS = 0x55
OFFSETS_SIZE = 22

CONFIG_MODE = 0x00
NDOF_MODE = 0x0C
PROFILE = "bno055.bin"


class BNO055:
    def __init__(self, i2c, address=0x28):
        self.i2c = i2c
        self.address = address
        self._wait_for_chip()
        self.mode(CONFIG_MODE)
        try:
            self._set(TRIGGER, 0x20)  # reset; the chip may be gone before it acknowledges
        except OSError:
            pass
        time.sleep_ms(650)
        self._wait_for_chip()
        self._set(POWER_MODE, 0)
        self._set(PAGE_ID, 0)
        self._set(TRIGGER, 0)

    def _set(self, register, value):
        self.i2c.writeto_mem(self.address, register, bytes([value]))

    def _get(self, register, count):
        return self.i2c.readfrom_mem(self.address, register, count)

    def _wait_for_chip(self, tries=20):
        for _ in range(tries):
            try:
                if self._get(CHIP_ID, 1)[0] == 0xA0:
                    return
            except OSError:
                pass
            time.sleep_ms(50)
        raise RuntimeError("BNO055 does not start")

    def mode(self, mode):
        self._set(OPERATION_MODE, mode)
        time.sleep_ms(25)  # the longest change of mode takes 19 ms

    def calibration(self):
        """Four grades from 0 to 3: system, gyroscope, accelerometer, magnetometer."""
        status = self._get(CALIBRATION_STATUS, 1)[0]
        return status >> 6, status >> 4 & 3, status >> 2 & 3, status & 3

    def offsets(self, data=None):
        """Read the calibration profile, or write one; both in configuration mode only."""
        self.mode(CONFIG_MODE)
        if data is None:
            data = self._get(OFFSETS, OFFSETS_SIZE)
        else:
            self.i2c.writeto_mem(self.address, OFFSETS, data)
        self.mode(NDOF_MODE)
        return data

    def euler(self):
        """Heading, roll and pitch in degrees; the chip counts sixteenths."""
        return tuple(v / 16 for v in struct.unpack("<hhh", self._get(EULER, 6)))


def restore(sensor):
    try:
        with open(PROFILE, "rb") as file:
            data = file.read()
    except OSError:
        return False
    if len(data) != OFFSETS_SIZE:
        return False
    sensor.offsets(data)
    return True


def calibrate(sensor):
    hints = ("", "lay it down and do not touch it", "put it on each of its six sides", "draw an eight in the air")
    while True:
        grades = sensor.calibration()
        weak = [i for i in (1, 2, 3) if grades[i] < 3]
        if not weak:
            break
        print("sys %d gyro %d accel %d mag %d -" % grades, hints[weak[0]])
        time.sleep(1)
    with open(PROFILE, "wb") as file:
        file.write(sensor.offsets())
    print("calibration stored")


def main():
    sensor = BNO055(SoftI2C(sda=Pin(4), scl=Pin(5), freq=100_000, timeout=100_000))
    if restore(sensor):
        print("using the stored calibration")
    else:
        sensor.mode(NDOF_MODE)
        calibrate(sensor)
    while True:
        print("heading %6.1f  roll %6.1f  pitch %6.1f" % sensor.euler(), sensor.calibration())
        time.sleep_ms(200)


main()
