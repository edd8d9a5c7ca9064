"""Measure temperature with a 10 k NTC thermistor and the Steinhart-Hart equation.

Wiring (Raspberry Pi Pico): 3V3 - 10 k resistor (1 %) - GP28 - NTC - GND, 100 nF from
GP28 to GND. A fan transistor on GP17 runs above a limit.
"""

from math import exp, log
from time import sleep_ms

from machine import ADC, Pin

NTC_PIN = 28
FAN_PIN = 17
R_SERIES = 10_000
OVERSAMPLE = 64

# Three points of the part's data sheet: degrees Celsius and ohms.
CALIBRATION = ((0, 32650), (25, 10000), (50, 3603))

FAN_ON_C = 45.0
FAN_OFF_C = 40.0
KELVIN = 273.15


class SensorFault(Exception):
    pass


def solve_steinhart_hart(points):
    """Return (a, b, c) of 1/T = a + b ln R + c (ln R)^3 through three points."""
    (x1, y1), (x2, y2), (x3, y3) = [
        (log(ohms), 1 / (celsius + KELVIN)) for celsius, ohms in points
    ]
    slope2 = (y2 - y1) / (x2 - x1)
    slope3 = (y3 - y1) / (x3 - x1)
    c = (slope3 - slope2) / (x3 - x2) / (x1 + x2 + x3)
    b = slope2 - c * (x1 * x1 + x1 * x2 + x2 * x2)
    a = y1 - (b + x1 * x1 * c) * x1
    return a, b, c


class Thermistor:
    def __init__(self, pin, coefficients):
        self._adc = ADC(pin)
        self._a, self._b, self._c = coefficients

    def resistance(self):
        """Return the resistance in ohms; raise SensorFault on open or shorted wires."""
        raw = sum(self._adc.read_u16() for _ in range(OVERSAMPLE)) / OVERSAMPLE
        if raw > 64500:
            raise SensorFault("sensor open")
        if raw < 800:
            raise SensorFault("sensor shorted")
        # Divider and ADC share the 3.3 V rail, so its exact value cancels out.
        return R_SERIES * raw / (65535 - raw)

    def celsius(self):
        x = log(self.resistance())
        return 1 / (self._a + self._b * x + self._c * x ** 3) - KELVIN


def beta(points):
    """Return the simpler beta constant of the two outer points, for comparison."""
    (t1, r1), _, (t2, r2) = points
    return log(r1 / r2) / (1 / (t1 + KELVIN) - 1 / (t2 + KELVIN))


def print_table(thermistor_beta, reference_ohms=10_000):
    """Print the resistance to expect, handy for checking the wiring with a meter."""
    for celsius in range(0, 61, 10):
        exponent = thermistor_beta * (1 / (celsius + KELVIN) - 1 / (25 + KELVIN))
        print("{:3d} C  about {:6.0f} ohm".format(celsius, reference_ohms * exp(exponent)))


def main():
    coefficients = solve_steinhart_hart(CALIBRATION)
    print("a={:.6e} b={:.6e} c={:.6e}".format(*coefficients))
    print_table(beta(CALIBRATION))

    thermistor = Thermistor(NTC_PIN, coefficients)
    fan = Pin(FAN_PIN, Pin.OUT, value=0)
    try:
        while True:
            try:
                temperature = thermistor.celsius()
            except SensorFault as fault:
                # Without a trustworthy reading the safe choice is to cool.
                print("fault:", fault)
                fan.on()
            else:
                if temperature > FAN_ON_C:
                    fan.on()
                elif temperature < FAN_OFF_C:
                    fan.off()
                print("{:6.2f} C  fan {}".format(temperature, "on" if fan.value() else "off"))
            sleep_ms(1000)
    finally:
        fan.off()


main()
