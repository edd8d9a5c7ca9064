"""Parking aid with an HC-SR04: the closer the wall, the faster the beeps.

Wiring (ESP8266 NodeMCU): TRIG to D5 (GPIO14); ECHO through 1 k to D6 (GPIO12) with 2 k from
D6 to GND, because ECHO carries 5 V; active buzzer on D1 (GPIO5).
"""

import time
from machine import Pin, time_pulse_us
from micropython import const

TRIG_PIN = const(14)
ECHO_PIN = const(12)
BUZZER_PIN = const(5)

MAX_CM = const(300)
STOP_CM = const(15)
FAR_CM = const(120)
TEMPERATURE_C = const(20)
SAMPLES = const(5)


class EchoError(Exception):
    """No usable echo: nothing in range, or a broken wire."""


class HCSR04:
    def __init__(self, trig, echo, temperature_c=20):
        self._trig = Pin(trig, Pin.OUT, value=0)
        self._echo = Pin(echo, Pin.IN)
        # Sound gets 0.606 m/s faster with each degree; cm per us, there and back.
        self._cm_per_us = (331.3 + 0.606 * temperature_c) / 10_000 / 2
        self._timeout_us = int(MAX_CM / self._cm_per_us)

    def distance_cm(self):
        """Measure once; raise EchoError when no echo comes back."""
        self._trig.off()
        time.sleep_us(4)
        self._trig.on()
        time.sleep_us(10)
        self._trig.off()
        width = time_pulse_us(self._echo, 1, self._timeout_us)
        if width == -1:
            raise EchoError("out of range")
        if width < 0:
            raise EchoError("no answer, check the wiring")
        return width * self._cm_per_us

    def median_cm(self, samples):
        """Return the median of several measurements, which ignores single stray echoes."""
        values = []
        reason = None
        for _ in range(samples):
            try:
                values.append(self.distance_cm())
            except EchoError as error:
                reason = error
            time.sleep_ms(25)  # let old echoes die away
        if len(values) <= samples // 2:
            raise reason
        values.sort()
        return values[len(values) // 2]


def beep_pause(distance):
    """Return the silence between two beeps in ms: 0 is a steady tone, None is quiet."""
    if distance <= STOP_CM:
        return 0
    if distance >= FAR_CM:
        return None
    return int(40 + 760 * (distance - STOP_CM) / (FAR_CM - STOP_CM))


def bar(distance, width=30):
    filled = min(width, int(distance * width / MAX_CM))
    return "#" * filled + "." * (width - filled)


def main():
    sonar = HCSR04(TRIG_PIN, ECHO_PIN, TEMPERATURE_C)
    buzzer = Pin(BUZZER_PIN, Pin.OUT, value=0)
    try:
        while True:
            try:
                distance = sonar.median_cm(SAMPLES)
            except EchoError as error:
                print("--", error)
                buzzer.off()
                time.sleep_ms(200)
                continue

            print("{:6.1f} cm {}".format(distance, bar(distance)))
            pause = beep_pause(distance)
            if pause is None:
                buzzer.off()
                continue
            buzzer.on()
            if pause:
                time.sleep_ms(60)
                buzzer.off()
                time.sleep_ms(pause)
    finally:
        buzzer.off()


main()
