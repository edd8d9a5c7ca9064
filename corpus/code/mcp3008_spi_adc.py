"""Read eight analogue channels with an MCP3008: a potentiometer, a thermistor, a bridge.

Wiring (pyboard, SPI on the Y side): CS to Y5, CLK to Y6, DOUT to Y7, DIN to Y8,
VDD and VREF to 3V3. Potentiometer on channel 0; a 10k thermistor from channel 1 to GND and
10k from there to 3V3; the bridge between channels 2 and 3.
"""
import math
import time
from machine import SPI, Pin

FULL_SCALE = 1023
VREF = 3.3

POT_CHANNEL = 0
THERMISTOR_CHANNEL = 1

SERIES_OHMS = 10_000
NTC_OHMS_AT_25 = 10_000
NTC_BETA = 3950
KELVIN = 273.15


class MCP3008:
    """Ten-bit converter with eight single or four differential inputs."""

    def __init__(self, spi, cs):
        self.spi = spi
        self.cs = cs
        self.cs.value(1)
        self._request = bytearray(3)
        self._answer = bytearray(3)

    def _convert(self, command):
        # Start bit in the first byte, mode and channel in the upper half of the second.
        # Thus the ten result bits end exactly with the third byte.
        self._request[0] = 0x01
        self._request[1] = command << 4
        self._request[2] = 0
        self.cs.value(0)
        try:
            self.spi.write_readinto(self._request, self._answer)
        finally:
            self.cs.value(1)
        return (self._answer[1] & 0x03) << 8 | self._answer[2]

    def read(self, channel):
        if not 0 <= channel <= 7:
            raise ValueError("channels are 0 to 7")
        return self._convert(0x08 | channel)

    def read_difference(self, plus):
        """Measure input `plus` against its neighbour (0-1, 2-3, ...); never negative."""
        if not 0 <= plus <= 7:
            raise ValueError("channels are 0 to 7")
        return self._convert(plus)

    def mean(self, channel, samples=16):
        total = 0
        for _ in range(samples):
            total += self.read(channel)
        return total / samples


def thermistor_celsius(count):
    """Convert a count to degrees with the beta equation; None where the wire is open or short."""
    if count < 1 or count > FULL_SCALE - 1:
        return None
    ohms = SERIES_OHMS * count / (FULL_SCALE - count)
    inverse = 1 / (25 + KELVIN) + math.log(ohms / NTC_OHMS_AT_25) / NTC_BETA
    return 1 / inverse - KELVIN


def bar(fraction, width=20):
    filled = int(fraction * width + 0.5)
    return "#" * filled + "." * (width - filled)


def main():
    # The chip is rated for 1.35 MHz at 2.7 V, so stay at or below 1 MHz with 3.3 V.
    spi = SPI(2, baudrate=1_000_000, polarity=0, phase=0)
    adc = MCP3008(spi, Pin("Y5", Pin.OUT, value=1))
    try:
        while True:
            knob = adc.mean(POT_CHANNEL) / FULL_SCALE
            celsius = thermistor_celsius(adc.mean(THERMISTOR_CHANNEL))
            warmth = "  open " if celsius is None else "%5.1f C" % celsius
            bridge = adc.read_difference(2) * VREF / FULL_SCALE
            print("[%s] %3d %%  %s  %.3f V" % (bar(knob), knob * 100, warmth, bridge))
            time.sleep_ms(200)
    except KeyboardInterrupt:
        spi.deinit()


main()
