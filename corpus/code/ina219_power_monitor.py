"""Watch a supply with an INA219: voltage, current, power and the energy used so far.

Wiring (Raspberry Pi Pico): SDA to GP2, SCL to GP3, VCC to 3V3; the load's plus line runs
through VIN+ and VIN-. A relay module on GP10 cuts the load when the current stays too high.
"""
import time
from machine import I2C, Pin

ADDRESS = 0x40
SHUNT_OHMS = 0.1
CURRENT_LSB_A = 0.0001  # counts of 0.1 mA reach 3.2 A

LIMIT_MA = 1500
TRIP_AFTER = 3  # so many readings in a row, so that a motor may start
PERIOD_MS = 500

CONFIG, SHUNT, BUS, POWER, CURRENT, CALIBRATION = range(6)

# 32 V range, +-320 mV shunt range, mean of 128 samples for both, continuous
CONFIG_WORD = 1 << 13 | 3 << 11 | 0b1111 << 7 | 0b1111 << 3 | 0b111


def read_word(i2c, register):
    data = i2c.readfrom_mem(ADDRESS, register, 2)
    return data[0] << 8 | data[1]


def read_signed(i2c, register):
    word = read_word(i2c, register)
    return word - 65536 if word > 32767 else word


def write_word(i2c, register, value):
    i2c.writeto_mem(ADDRESS, register, value.to_bytes(2, "big"))


def configure(i2c):
    write_word(i2c, CONFIG, CONFIG_WORD)
    # 0.04096 is a constant of the chip; it sets what one count of current means.
    write_word(i2c, CALIBRATION, int(0.04096 / (CURRENT_LSB_A * SHUNT_OHMS) + 0.5))


def measure(i2c):
    """Return volts, milliamperes and milliwatts; raise OverflowError beyond the range."""
    bus = read_word(i2c, BUS)
    if bus & 0x01:
        raise OverflowError("current beyond the measuring range")
    volts = (bus >> 3) * 0.004
    milliamperes = read_signed(i2c, CURRENT) * CURRENT_LSB_A * 1000
    milliwatts = read_word(i2c, POWER) * CURRENT_LSB_A * 20 * 1000
    return volts, milliamperes, milliwatts


class EnergyMeter:
    """Add up power over time, in milliwatt hours."""

    def __init__(self):
        self.mwh = 0.0
        self._last = time.ticks_ms()

    def add(self, milliwatts):
        now = time.ticks_ms()
        self.mwh += milliwatts * time.ticks_diff(now, self._last) / 3_600_000
        self._last = now


def main():
    i2c = I2C(1, sda=Pin(2), scl=Pin(3), freq=400_000)
    relay = Pin(10, Pin.OUT, value=0)
    configure(i2c)
    time.sleep_ms(150)  # the first mean of 128 samples takes 68 ms

    meter = EnergyMeter()
    overloads = 0
    relay.on()
    try:
        while overloads < TRIP_AFTER:
            try:
                volts, milliamperes, milliwatts = measure(i2c)
                too_much = milliamperes > LIMIT_MA
            except OverflowError as error:
                print(error)
                too_much = True
            else:
                meter.add(milliwatts)
                print(
                    "%6.3f V %8.1f mA %8.0f mW %9.3f mWh"
                    % (volts, milliamperes, milliwatts, meter.mwh)
                )
            overloads = overloads + 1 if too_much else 0
            time.sleep_ms(PERIOD_MS)
        print("Tripped: more than %d mA" % LIMIT_MA)
    finally:
        # Also on Ctrl-C or an I2C fault: an unwatched load must not stay on.
        relay.off()


if __name__ == "__main__":
    main()
