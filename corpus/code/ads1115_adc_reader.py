"""Read the four inputs of an ADS1115 16-bit converter with automatic gain.

Wiring (ESP32): SDA to GPIO21, SCL to GPIO22, VDD to 3V3, ADDR to GND (0x48).
A0 and A1 measure two voltages against GND, A2 minus A3 is measured as a difference.
"""
import time
from machine import I2C, Pin
from micropython import const

_REG_RESULT = const(0)
_REG_CONFIG = const(1)

_START = const(0x8000)  # reads back as 1 once the conversion is finished
_SINGLE_SHOT = const(0x0100)
_COMPARATOR_OFF = const(0x0003)

# Full scale in volts; the position in the tuple is the code of the gain field.
RANGES = (6.144, 4.096, 2.048, 1.024, 0.512, 0.256)
RATES = (8, 16, 32, 64, 128, 250, 475, 860)
PAIRS = {(0, 1): 0, (0, 3): 1, (1, 3): 2, (2, 3): 3}


class ADS1115:
    def __init__(self, i2c, address=0x48, rate=128):
        self.i2c = i2c
        self.address = address
        self.rate_code = RATES.index(rate)
        # Waiting a little too long is cheaper than asking over and over.
        self.conversion_ms = 1000 // rate + 1
        self._buffer = bytearray(2)

    def _write_config(self, value):
        self._buffer[0] = value >> 8
        self._buffer[1] = value & 0xFF
        self.i2c.writeto_mem(self.address, _REG_CONFIG, self._buffer)

    def _read_word(self, register):
        self.i2c.readfrom_mem_into(self.address, register, self._buffer)
        return self._buffer[0] << 8 | self._buffer[1]

    def convert(self, mux, gain):
        """Run one conversion and return its signed count."""
        self._write_config(
            _START | mux << 12 | gain << 9 | _SINGLE_SHOT | self.rate_code << 5 | _COMPARATOR_OFF
        )
        time.sleep_ms(self.conversion_ms)
        for _ in range(20):
            if self._read_word(_REG_CONFIG) & _START:
                break
            time.sleep_ms(1)
        else:
            raise OSError("conversion never finished")
        count = self._read_word(_REG_RESULT)
        return count - 0x10000 if count & 0x8000 else count

    def volts(self, channel, minus=None):
        """Measure a channel against GND, or against another input where minus is given."""
        mux = 4 + channel if minus is None else PAIRS[channel, minus]
        # Look once in the widest range, then again in the narrowest that fits.
        rough = abs(self.convert(mux, 0)) * RANGES[0] / 32768
        gain = 0
        while gain + 1 < len(RANGES) and rough < 0.9 * RANGES[gain + 1]:
            gain += 1
        return self.convert(mux, gain) * RANGES[gain] / 32768


# name, plus input, minus input, factor of the voltage divider or amplifier, unit
INPUTS = (
    ("battery", 0, None, 2.0, "V"),  # two equal resistors
    ("solar", 1, None, 5.7, "V"),  # 47k and 10k
    ("load", 2, 3, 10.0, "A"),  # 0.1 ohm shunt
)


def main():
    adc = ADS1115(I2C(0, scl=Pin(22), sda=Pin(21), freq=400_000))
    while True:
        line = []
        for name, plus, minus, factor, unit in INPUTS:
            try:
                line.append("%s %7.3f %s" % (name, adc.volts(plus, minus) * factor, unit))
            except OSError:
                line.append("%s   error" % name)
        print("   ".join(line))
        time.sleep(1)


if __name__ == "__main__":
    main()
