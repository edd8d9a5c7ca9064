"""Read temperature and pressure from a BMP280 or BME280 and work out the altitude.

Wiring (Raspberry Pi Pico): SDA to GP0, SCL to GP1, VCC to 3V3, SDO to GND (address 0x76).
"""
import time
from struct import unpack
from machine import I2C, Pin

CHIP_NAMES = {0x58: "BMP280", 0x60: "BME280"}

REG_CALIBRATION = 0x88
REG_CHIP_ID = 0xD0
REG_RESET = 0xE0
REG_STATUS = 0xF3
REG_CTRL_MEAS = 0xF4
REG_CONFIG = 0xF5
REG_PRESSURE = 0xF7

# Temperature x2, pressure x16 oversampling; the low bits start one forced measurement.
FORCED_MODE = 0b010_101_01
FILTER_4 = 0b000_010_00
RESET_WORD = 0xB6

SEA_LEVEL_HPA = 1013.25


class WeatherSensor:
    def __init__(self, i2c, address=0x76):
        self.i2c = i2c
        self.address = address
        chip_id = self._read(REG_CHIP_ID, 1)[0]
        if chip_id not in CHIP_NAMES:
            raise RuntimeError("unexpected chip id 0x%02X" % chip_id)
        self.name = CHIP_NAMES[chip_id]
        self._write(REG_RESET, RESET_WORD)
        time.sleep_ms(5)
        # T1 and P1 are unsigned, the ten other words are signed.
        words = unpack("<HhhHhhhhhhhh", self._read(REG_CALIBRATION, 24))
        self.t_cal = words[:3]
        self.p_cal = words[3:]
        self._write(REG_CONFIG, FILTER_4)

    def _read(self, register, count):
        return self.i2c.readfrom_mem(self.address, register, count)

    def _write(self, register, value):
        self.i2c.writeto_mem(self.address, register, bytes([value]))

    def read(self):
        """Measure once and return (degrees Celsius, hectopascals)."""
        self._write(REG_CTRL_MEAS, FORCED_MODE)
        deadline = time.ticks_add(time.ticks_ms(), 100)
        time.sleep_ms(40)
        while self._read(REG_STATUS, 1)[0] & 0x08:
            if time.ticks_diff(deadline, time.ticks_ms()) < 0:
                raise OSError("measurement did not finish")
            time.sleep_ms(2)
        # One burst, so that both values belong to the same measurement.
        raw = self._read(REG_PRESSURE, 6)
        raw_pressure = raw[0] << 12 | raw[1] << 4 | raw[2] >> 4
        raw_temperature = raw[3] << 12 | raw[4] << 4 | raw[5] >> 4
        t_fine = self._fine_temperature(raw_temperature)
        return t_fine / 5120, self._pascal(raw_pressure, t_fine) / 100

    def _fine_temperature(self, raw):
        t1, t2, t3 = self.t_cal
        linear = (raw / 16384 - t1 / 1024) * t2
        bend = raw / 131072 - t1 / 8192
        return linear + bend * bend * t3

    def _pascal(self, raw, t_fine):
        p1, p2, p3, p4, p5, p6, p7, p8, p9 = self.p_cal
        offset = t_fine / 2 - 64000
        gain = (p3 * offset * offset / 524288 + p2 * offset) / 524288
        gain = (1 + gain / 32768) * p1
        if gain == 0:
            return 0.0  # blank calibration: avoid dividing by zero
        shift = offset * offset * p6 / 32768 + offset * p5 * 2
        shift = shift / 4 + p4 * 65536
        pressure = (1048576 - raw - shift / 4096) * 6250 / gain
        curve = p9 * pressure * pressure / 2147483648 + pressure * p8 / 32768
        return pressure + (curve + p7) / 16


def altitude_m(pressure_hpa, sea_level_hpa=SEA_LEVEL_HPA):
    return 44330 * (1 - (pressure_hpa / sea_level_hpa) ** 0.1903)


def main():
    i2c = I2C(0, sda=Pin(0), scl=Pin(1), freq=400_000)
    sensor = WeatherSensor(i2c)
    print("Found a", sensor.name)
    while True:
        try:
            celsius, hpa = sensor.read()
        except OSError as error:
            print("Read failed:", error)
        else:
            print(f"{celsius:6.2f} C  {hpa:8.2f} hPa  {altitude_m(hpa):7.1f} m")
        time.sleep(2)


if __name__ == "__main__":
    main()
