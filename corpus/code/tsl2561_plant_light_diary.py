"""Count the light a plant gets in a day with a TSL2561, and keep a diary of the days.

Wiring (Pico): SDA to GP2, SCL to GP3, VCC to 3V3, ADDR open (address 0x39).
The file light.csv gets a line a day: kilolux hours and the hours above 2000 lux.
"""
from machine import I2C, Pin, RTC
from micropython import const
import time

_COMMAND = const(0x80)
_WORD = const(0x20)
_CONTROL = const(0x0)
_TIMING = const(0x1)
_ID = const(0xA)
_CHANNEL0 = const(0xC)  # visible and infrared
_CHANNEL1 = const(0xE)  # infrared alone
_GAIN_16X = const(0x10)
_INTEGRATE_402MS = const(0x02)

BRIGHT_LUX = 2000
SAMPLE_S = 60


class TSL2561:
    def __init__(self, i2c, address=0x39):
        self.i2c = i2c
        self.address = address
        if self._byte(_ID) >> 4 not in (0x1, 0x5):
            raise RuntimeError("no TSL2561")
        self.gain = 16

    def _byte(self, register, value=None):
        if value is None:
            return self.i2c.readfrom_mem(self.address, _COMMAND | register, 1)[0]
        self.i2c.writeto_mem(self.address, _COMMAND | register, bytes([value]))

    def _word(self, register):
        low, high = self.i2c.readfrom_mem(self.address, _COMMAND | _WORD | register, 2)
        return high << 8 | low

    def _integrate(self):
        self._byte(_TIMING, _INTEGRATE_402MS | (_GAIN_16X if self.gain == 16 else 0))
        self._byte(_CONTROL, 3)
        time.sleep_ms(450)
        counts = self._word(_CHANNEL0), self._word(_CHANNEL1)
        self._byte(_CONTROL, 0)  # asleep it takes a few microamperes only
        return counts

    def lux(self):
        """Measure, with the other gain again if the first try was too bright or too dark.

        Returns None when even the low gain is saturated (about 40,000 lux).
        """
        both, infrared = self._integrate()
        if self.gain == 16 and max(both, infrared) >= 65000:
            self.gain = 1
            both, infrared = self._integrate()
        elif self.gain == 1 and both < 2000:
            self.gain = 16
            both, infrared = self._integrate()
        if both >= 65535 or infrared >= 65535:
            return None
        if both == 0:
            return 0.0
        scale = 16 // self.gain
        return lux_from_counts(both * scale, infrared * scale)


def lux_from_counts(both, infrared):
    """Piecewise formula of the data sheet (packages T, FN and CL), for gain 16 and 402 ms."""
    ratio = infrared / both
    if ratio <= 0.50:
        return 0.0304 * both - 0.062 * both * ratio ** 1.4
    if ratio <= 0.61:
        return 0.0224 * both - 0.031 * infrared
    if ratio <= 0.80:
        return 0.0128 * both - 0.0153 * infrared
    if ratio <= 1.30:
        return 0.00146 * both - 0.00112 * infrared
    return 0.0


class Diary:
    def __init__(self, path="light.csv"):
        self.path = path
        self.day = None
        self.lux_seconds = 0.0
        self.bright_s = 0

    def add(self, date, lux, seconds):
        if self.day is not None and date != self.day:
            self._write()
        self.day = date
        self.lux_seconds += lux * seconds
        if lux >= BRIGHT_LUX:
            self.bright_s += seconds

    def _write(self):
        line = "%04d-%02d-%02d,%.1f,%.1f\n" % (
            self.day + (self.lux_seconds / 3.6e6, self.bright_s / 3600))
        with open(self.path, "a") as file:
            file.write(line)
        print("yesterday:", line.strip())
        self.lux_seconds = 0.0
        self.bright_s = 0


sensor = TSL2561(I2C(1, sda=Pin(2), scl=Pin(3), freq=100_000))
diary = Diary()
clock = RTC()
while True:
    brightness = sensor.lux()
    if brightness is None:
        brightness = 40_000  # direct sun; more cannot be told from it
    diary.add(tuple(clock.datetime()[:3]), brightness, SAMPLE_S)
    print("%.0f lux" % brightness)
    time.sleep(SAMPLE_S)
