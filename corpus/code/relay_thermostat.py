"""Room thermostat: DS18B20 sensor, heater relay, hysteresis and a minimum rest time.

Wiring (ESP8266 NodeMCU): DS18B20 data to D2 (GPIO4) with 4.7 k to 3V3, relay input
on D1 (GPIO5), buttons warmer D5 (GPIO14) and colder D6 (GPIO12) to GND.
"""

import time

import ds18x20
import machine
import onewire
from machine import Pin
from micropython import const

SENSOR_PIN = const(4)
RELAY_PIN = const(5)
WARMER_PIN = const(14)
COLDER_PIN = const(12)

HYSTERESIS = 0.4            # kelvin above and below the set point
MIN_REST_MS = const(60000)  # between two switchings, spares relay and burner
MEASURE_MS = const(2000)
MAX_FAILURES = const(5)
SET_MIN, SET_MAX = 5.0, 28.0
POWER_ON_VALUE = 85.0       # what the sensor holds before its first conversion


class Thermometer:
    def __init__(self, pin):
        self._bus = ds18x20.DS18X20(onewire.OneWire(Pin(pin)))
        self._rom = None

    def read(self):
        """Return degrees Celsius, or None if the sensor does not answer properly."""
        try:
            if self._rom is None:
                found = self._bus.scan()
                if not found:
                    return None
                self._rom = found[0]
            self._bus.convert_temp()
            time.sleep_ms(750)  # a 12-bit conversion takes that long
            value = self._bus.read_temp(self._rom)
        except Exception as error:
            # OneWireError when the sensor is gone, a plain Exception on a bad checksum.
            print("sensor:", type(error).__name__, error)
            return None
        return None if value == POWER_ON_VALUE else value


class SetPoint:
    """The wanted temperature, changed by two buttons through interrupts.

    The main loop sleeps while the sensor converts and would miss short presses.
    """

    def __init__(self, value):
        self.value = value
        self._last = time.ticks_ms()
        self._warmer = Pin(WARMER_PIN, Pin.IN, Pin.PULL_UP)
        self._colder = Pin(COLDER_PIN, Pin.IN, Pin.PULL_UP)
        for pin in (self._warmer, self._colder):
            pin.irq(handler=self._pressed, trigger=Pin.IRQ_FALLING)

    def _pressed(self, pin):
        now = time.ticks_ms()
        if time.ticks_diff(now, self._last) < 200:
            return  # contact bounce
        self._last = now
        step = 0.5 if pin is self._warmer else -0.5
        self.value = min(SET_MAX, max(SET_MIN, self.value + step))


class Thermostat:
    """Two-point control of one relay."""

    def __init__(self, relay):
        self.relay = relay
        self.switched_at = None

    def _switch(self, on):
        if bool(self.relay.value()) == on:
            return
        now = time.ticks_ms()
        if self.switched_at is not None:
            if time.ticks_diff(now, self.switched_at) < MIN_REST_MS:
                return
        self.relay.value(on)
        self.switched_at = now
        print("heating", "on" if on else "off")

    def control(self, temperature, wanted):
        # Between the two limits the relay keeps its state.
        if temperature < wanted - HYSTERESIS:
            self._switch(True)
        elif temperature > wanted + HYSTERESIS:
            self._switch(False)

    def emergency_off(self):
        """Cut the heat at once, whatever the rest time says."""
        self.relay.off()
        self.switched_at = time.ticks_ms()


def main():
    thermometer = Thermometer(SENSOR_PIN)
    thermostat = Thermostat(Pin(RELAY_PIN, Pin.OUT, value=0))
    wanted = SetPoint(20.5)
    failures = 0
    try:
        while True:
            temperature = thermometer.read()
            if temperature is None:
                failures += 1
                print("no reading,", failures, "in a row")
                if failures >= MAX_FAILURES:
                    thermostat.emergency_off()
                    machine.reset()  # a fresh start often revives a stuck bus
            else:
                failures = 0
                thermostat.control(temperature, wanted.value)
                print("%.1f C, want %.1f C" % (temperature, wanted.value))
            time.sleep_ms(MEASURE_MS)
    finally:
        thermostat.emergency_off()


main()
