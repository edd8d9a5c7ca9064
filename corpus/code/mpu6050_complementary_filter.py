"""Estimate roll and pitch with an MPU6050 and a complementary filter.

The gyroscope is fast but drifts, the accelerometer is noisy but knows where down is.
Wiring (Raspberry Pi Pico): SDA to GP6, SCL to GP7, VCC to 3V3, AD0 to GND.
"""
import math
import struct
import time
from machine import I2C, Pin

ADDRESS = 0x68
WHO_AM_I = 0x75
PWR_MGMT_1 = 0x6B
SMPLRT_DIV = 0x19  # followed by CONFIG, GYRO_CONFIG and ACCEL_CONFIG
ACCEL_XOUT_H = 0x3B

ACCEL_LSB_PER_G = 8192  # range +-4 g
GYRO_LSB_PER_DPS = 65.5  # range +-500 degrees per second

LOOP_MS = 10
PRINT_EVERY = 20
TIME_CONSTANT_S = 0.5  # the gyroscope dominates on shorter times than this


class MPU6050:
    def __init__(self, i2c, address=ADDRESS):
        self.i2c = i2c
        self.address = address
        self.buffer = bytearray(14)
        self.gyro_bias = (0.0, 0.0, 0.0)
        identity = i2c.readfrom_mem(address, WHO_AM_I, 1)[0]
        if identity not in (0x68, 0x70, 0x72, 0x98):  # 0x68 is genuine, the rest are relatives
            raise RuntimeError("not an MPU6050: id 0x%02X" % identity)
        # Wake up on the gyroscope's clock, which is steadier than the internal one.
        i2c.writeto_mem(address, PWR_MGMT_1, b"\x01")
        time.sleep_ms(100)
        # 200 Hz output, 44 Hz low-pass filter, +-500 deg/s, +-4 g
        i2c.writeto_mem(address, SMPLRT_DIV, bytes((4, 3, 1 << 3, 1 << 3)))

    def _raw(self):
        self.i2c.readfrom_mem_into(self.address, ACCEL_XOUT_H, self.buffer)
        return struct.unpack(">7h", self.buffer)

    def read(self):
        """Return acceleration in g, rotation in degrees per second, and Celsius."""
        ax, ay, az, temperature, gx, gy, gz = self._raw()
        accel = (ax / ACCEL_LSB_PER_G, ay / ACCEL_LSB_PER_G, az / ACCEL_LSB_PER_G)
        bx, by, bz = self.gyro_bias
        gyro = (
            gx / GYRO_LSB_PER_DPS - bx,
            gy / GYRO_LSB_PER_DPS - by,
            gz / GYRO_LSB_PER_DPS - bz,
        )
        return accel, gyro, temperature / 340 + 36.53

    def calibrate_gyro(self, samples=200):
        """Average the rotation at rest; the board must lie still meanwhile."""
        totals = [0, 0, 0]
        for _ in range(samples):
            raw = self._raw()
            for axis in range(3):
                totals[axis] += raw[4 + axis]
            time.sleep_ms(5)
        self.gyro_bias = tuple(t / samples / GYRO_LSB_PER_DPS for t in totals)


class ComplementaryFilter:
    def __init__(self, time_constant):
        self.time_constant = time_constant
        self.roll = None
        self.pitch = None

    def update(self, accel, gyro, dt):
        ax, ay, az = accel
        accel_roll = math.degrees(math.atan2(ay, az))
        accel_pitch = math.degrees(math.atan2(-ax, math.sqrt(ay * ay + az * az)))
        if self.roll is None:
            self.roll, self.pitch = accel_roll, accel_pitch
            return
        keep = self.time_constant / (self.time_constant + dt)
        self.roll = keep * (self.roll + gyro[0] * dt) + (1 - keep) * accel_roll
        self.pitch = keep * (self.pitch + gyro[1] * dt) + (1 - keep) * accel_pitch


def main():
    i2c = I2C(1, sda=Pin(6), scl=Pin(7), freq=400_000)
    sensor = MPU6050(i2c)
    print("Keep the board still ...")
    sensor.calibrate_gyro()
    print("Gyro bias: %.2f %.2f %.2f deg/s" % sensor.gyro_bias)

    attitude = ComplementaryFilter(TIME_CONSTANT_S)
    last = time.ticks_us()
    count = 0
    while True:
        try:
            accel, gyro, celsius = sensor.read()
        except OSError:
            print("I2C error, sample skipped")
            time.sleep_ms(LOOP_MS)
            continue
        now = time.ticks_us()
        attitude.update(accel, gyro, time.ticks_diff(now, last) / 1_000_000)
        last = now
        count += 1
        if count % PRINT_EVERY == 0:
            print("roll %6.1f  pitch %6.1f  %4.1f C" % (attitude.roll, attitude.pitch, celsius))
        time.sleep_ms(LOOP_MS)


main()
