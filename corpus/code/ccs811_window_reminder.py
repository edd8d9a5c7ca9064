"""Say when to open the window: CCS811 with a baseline that survives a restart.

Wiring (ESP8266): SDA GPIO4, SCL GPIO5, VCC 3V3, WAKE to GND; LED on GPIO2 (active low).
The sensor needs 20 minutes to warm up, and its first two days to settle.
"""
import os
import time
from machine import Pin, SoftI2C

CCS811 = 0x5A
STATUS, MEAS_MODE, ALG_RESULT, ENV_DATA, BASELINE, HW_ID, ERROR_ID = 0x00, 0x01, 0x02, 0x05, 0x11, 0x20, 0xE0
APP_START = 0xF4

ERRORS = ("invalid write", "invalid read", "invalid mode", "heater resistance", "heater current", "heater voltage")
BASELINE_FILE = "ccs811.base"


class AirSensor:
    def __init__(self, i2c):
        self.i2c = i2c
        if self.read(HW_ID, 1)[0] != 0x81:
            raise RuntimeError("not a CCS811")
        if not self.read(STATUS, 1)[0] & 0x10:
            raise RuntimeError("sensor has no valid application")
        # From its boot loader the chip starts by a bare command, no data.
        i2c.writeto(CCS811, bytes([APP_START]))
        time.sleep_ms(100)
        self.write(MEAS_MODE, b"\x10")  # one measurement each second

    def read(self, register, count):
        return self.i2c.readfrom_mem(CCS811, register, count)

    def write(self, register, data):
        self.i2c.writeto_mem(CCS811, register, data)

    def measurement(self):
        """(eCO2 in ppm, TVOC in ppb), or None when nothing new is there."""
        data = self.read(ALG_RESULT, 6)
        if data[4] & 0x01:
            bits = self.read(ERROR_ID, 1)[0]
            raise OSError(", ".join(text for i, text in enumerate(ERRORS) if bits >> i & 1))
        if not data[4] & 0x08:
            return None
        return data[0] << 8 | data[1], data[2] << 8 | data[3]

    def surroundings(self, celsius, humidity):
        """Let the chip correct for the climate; units are 1/512, the temperature from -25 up."""
        h = int(humidity * 512 + 0.5)
        t = int((celsius + 25) * 512 + 0.5)
        self.write(ENV_DATA, bytes((h >> 8, h & 0xFF, t >> 8, t & 0xFF)))

    def save_baseline(self):
        with open(BASELINE_FILE, "wb") as file:
            file.write(self.read(BASELINE, 2))

    def load_baseline(self):
        if BASELINE_FILE in os.listdir():
            with open(BASELINE_FILE, "rb") as file:
                self.write(BASELINE, file.read(2))
            return True
        return False


class Advisor:
    """Remembers what it said, so that it says each thing once."""

    LEVELS = ((2000, "open the window now"), (1200, "fresh air would be good"), (0, "air is fine"))

    def __init__(self):
        self.said = None

    def judge(self, ppm):
        for limit, advice in self.LEVELS:
            # A margin of 100 ppm downwards keeps it from changing its mind all the time.
            margin = 100 if self.said == advice else 0
            if ppm >= limit - margin:
                break
        if advice != self.said:
            self.said = advice
            return advice
        return None


def main():
    led = Pin(2, Pin.OUT, value=1)
    sensor = AirSensor(SoftI2C(sda=Pin(4), scl=Pin(5), freq=100_000))  # it stretches the clock
    sensor.surroundings(21.0, 45.0)
    started = time.time()
    restored = saved = False
    advisor = Advisor()
    while True:
        time.sleep(1)
        age = time.time() - started
        try:
            values = sensor.measurement()
        except OSError as error:
            print("CCS811:", error)
            continue
        if values is None or age < 1200:
            continue
        if not restored:
            restored = True
            print("baseline restored" if sensor.load_baseline() else "no baseline yet")
        if age % 86400 < 2:
            if not saved:
                sensor.save_baseline()
                saved = True
        else:
            saved = False
        advice = advisor.judge(values[0])
        if advice:
            print("eCO2 %d ppm, TVOC %d ppb:" % values, advice)
            led.value(advice == Advisor.LEVELS[-1][1])  # lit unless all is well


main()
