"""Precise bath temperature: a Pt100 on a MAX31865, with the Callendar-Van Dusen equation solved.

Wiring (STM32 Nucleo-64): SCK PA5, SDO PA6, SDI PA7, CS PB6, VIN 3V3. Three-wire probe,
reference resistor 430 ohm, mains of 50 Hz.
"""
import math
import time
from machine import Pin, SPI

R_REF = 430.0
R_ZERO = 100.0
A = 3.9083e-3
B = -5.775e-7

CONFIG = 0x00
RTD_MSB = 0x01
FAULT_STATUS = 0x07

BIAS = 0x80
ONE_SHOT = 0x20
THREE_WIRE = 0x10
CLEAR_FAULT = 0x02
FILTER_50HZ = 0x01

FAULT_NAMES = (
    (0x80, "resistance too high, probe open?"),
    (0x40, "resistance too low, probe shorted?"),
    (0x20, "reference input above 0.85 x bias"),
    (0x10, "reference input below 0.85 x bias, force line open?"),
    (0x08, "RTD input below 0.85 x bias, force line open?"),
    (0x04, "voltage out of range"),
)


class RTDConverter:
    def __init__(self, spi, cs):
        self.spi = spi
        self.cs = cs
        self.base = THREE_WIRE | FILTER_50HZ

    def write(self, register, value):
        self.cs(0)
        self.spi.write(bytes([register | 0x80, value]))  # bit 7 marks writing
        self.cs(1)

    def read(self, register, count):
        self.cs(0)
        self.spi.write(bytes([register]))
        data = self.spi.read(count)
        self.cs(1)
        return data

    def resistance(self):
        """One measurement in ohms. The bias is on only as long as needed, it warms the probe."""
        self.write(CONFIG, self.base | BIAS | CLEAR_FAULT)
        time.sleep_ms(10)
        self.write(CONFIG, self.base | BIAS | ONE_SHOT)
        time.sleep_ms(65)
        high, low = self.read(RTD_MSB, 2)
        self.write(CONFIG, self.base)
        if low & 1:
            status = self.read(FAULT_STATUS, 1)[0]
            raise OSError("; ".join(text for bit, text in FAULT_NAMES if status & bit))
        return (high << 7 | low >> 1) / 32768 * R_REF


def celsius(ohms):
    """Temperature of a Pt100. Above zero the quadratic is exact; below, a power series in R."""
    if ohms >= R_ZERO:
        return (-A + math.sqrt(A * A - 4 * B * (1 - ohms / R_ZERO))) / (2 * B)
    # The cubic term of the standard has no simple inverse: go there by Newton's steps.
    c = -4.183e-12
    t = (ohms / R_ZERO - 1) / A
    for _ in range(6):
        error = R_ZERO * (1 + A * t + B * t * t + c * (t - 100) * t ** 3) - ohms
        slope = R_ZERO * (A + 2 * B * t + c * (4 * t ** 3 - 300 * t * t))
        t -= error / slope
    return t


def check_curve():
    """Compare with the table of IEC 60751."""
    for expected, ohms in ((-100, 60.26), (-50, 80.31), (0, 100.0), (50, 119.40), (100, 138.51)):
        assert abs(celsius(ohms) - expected) < 0.02, (expected, celsius(ohms))


def main():
    check_curve()
    spi = SPI(1, baudrate=1_000_000, polarity=0, phase=1)
    probe = RTDConverter(spi, Pin("B6", Pin.OUT, value=1))
    window = []
    while True:
        try:
            window.append(celsius(probe.resistance()))
        except OSError as problem:
            window.clear()
            print(problem)
        if len(window) == 10:
            mean = sum(window) / 10
            spread = max(window) - min(window)
            print("%.3f C, spread %.3f K" % (mean, spread))
            window.clear()
        time.sleep_ms(200)


main()
