"""Watch a LiPo cell through a voltage divider: percent, trend, warning and cut-off.

Wiring (ESP32): battery plus through 220 k to GPIO35, GPIO35 through 100 k to GND with
100 nF in parallel; warning LED on GPIO2; load switch (high side, active high) on GPIO27.
"""

import time

import machine
from machine import ADC, Pin

ADC_PIN = 35
LED_PIN = 2
LOAD_PIN = 27

R_TOP = 220_000
R_BOTTOM = 100_000
CORRECTION = 1.000        # measured with a multimeter / shown by this program

WARN_MV = 3500
CUT_OFF_MV = 3200
RECOVER_MV = 3600
SAMPLE_S = 10
RETRY_SLEEP_MS = 15 * 60 * 1000

# Open-circuit voltage of a LiPo cell and the charge left at that voltage.
DISCHARGE_CURVE = (
    (4200, 100), (4060, 90), (3980, 80), (3920, 70), (3870, 60), (3820, 50),
    (3790, 40), (3770, 30), (3740, 20), (3680, 10), (3450, 5), (3200, 0),
)


class Battery:
    """Voltage behind a divider, smoothed, with a rough estimate of the time left."""

    def __init__(self, pin):
        self._adc = ADC(Pin(pin), atten=ADC.ATTN_11DB)
        self._factor = CORRECTION * (R_TOP + R_BOTTOM) / R_BOTTOM
        self.millivolts = self._measure()
        self._first = self.percent()
        self._start = time.time()

    def _measure(self):
        """Return the battery voltage in mV from 32 calibrated readings."""
        total = sum(self._adc.read_uv() for _ in range(32))
        return total / 32 / 1000 * self._factor

    def update(self):
        # A radio burst pulls the voltage down for moments; smoothing hides that.
        self.millivolts += 0.3 * (self._measure() - self.millivolts)
        return self.millivolts

    def percent(self):
        """Interpolate the charge from the discharge curve."""
        upper_mv, upper_pct = DISCHARGE_CURVE[0]
        if self.millivolts >= upper_mv:
            return 100.0
        for lower_mv, lower_pct in DISCHARGE_CURVE[1:]:
            if self.millivolts >= lower_mv:
                share = (self.millivolts - lower_mv) / (upper_mv - lower_mv)
                return lower_pct + share * (upper_pct - lower_pct)
            upper_mv, upper_pct = lower_mv, lower_pct
        return 0.0

    def hours_left(self):
        """Extrapolate the discharge so far; None while that says nothing yet."""
        hours = (time.time() - self._start) / 3600
        used = self._first - self.percent()
        if hours < 0.1 or used < 1:
            return None
        return self.percent() * hours / used


def report(battery):
    left = battery.hours_left()
    estimate = "unknown" if left is None else "{:.1f} h".format(left)
    print("{:.0f} mV  {:.0f} %  left: {}".format(battery.millivolts, battery.percent(), estimate))


def main():
    battery = Battery(ADC_PIN)
    led = Pin(LED_PIN, Pin.OUT, value=0)
    load = Pin(LOAD_PIN, Pin.OUT, value=0)

    # After a cut-off the unloaded cell bounces back; ask for more than that.
    woke_up = machine.reset_cause() == machine.DEEPSLEEP_RESET
    threshold = RECOVER_MV if woke_up else CUT_OFF_MV
    if battery.millivolts < threshold:
        print("battery at {:.0f} mV, not starting".format(battery.millivolts))
        machine.deepsleep(RETRY_SLEEP_MS)

    load.on()
    while True:
        voltage = battery.update()
        report(battery)
        if voltage < CUT_OFF_MV:
            print("cut-off: a LiPo cell below this voltage takes damage")
            load.off()
            led.off()
            machine.deepsleep(RETRY_SLEEP_MS)
        led.value(voltage < WARN_MV)
        time.sleep(SAMPLE_S)


main()
