"""Silence a computer fan: temperature to speed by a curve, closed loop on its tachometer.

Wiring (Pico): fan PWM (pin 4) to GP16, tacho (pin 3) to GP17 with 10 kOhm to 3V3, fan supply 12 V;
LM35-type sensor (10 mV per degree) on GP26.
"""
import time
from machine import ADC, PWM, Pin, disable_irq, enable_irq

PULSES_PER_TURN = 2
CURVE = ((25, 0), (30, 500), (40, 900), (50, 1400), (60, 2200))  # Celsius, turns per minute
STALL_S = 4


class Tacho:
    """Counts edges in an interrupt; glitches shorter than any real pulse are dropped."""

    def __init__(self, pin):
        self.count = 0
        self.last_us = time.ticks_us()
        self.since = self.last_us
        pin.irq(self._edge, Pin.IRQ_FALLING)

    def _edge(self, pin):
        now = time.ticks_us()
        if time.ticks_diff(now, self.last_us) > 2000:
            self.count += 1
            self.last_us = now

    def rpm(self):
        """Mean speed since the last call."""
        state = disable_irq()
        count, self.count = self.count, 0
        enable_irq(state)
        now = time.ticks_us()
        span = time.ticks_diff(now, self.since)
        self.since = now
        return count * 60_000_000 / PULSES_PER_TURN / span if span > 0 else 0


def wanted_rpm(celsius):
    if celsius <= CURVE[0][0]:
        return 0
    for (t0, n0), (t1, n1) in zip(CURVE, CURVE[1:]):
        if celsius <= t1:
            return n0 + (n1 - n0) * (celsius - t0) / (t1 - t0)
    return CURVE[-1][1]


class FanLoop:
    """An integrator moves the duty until the speed fits; with a kick to start from rest."""

    GAIN = 0.004  # per cent per turn per minute and step
    MIN_DUTY = 12

    def __init__(self, pwm, tacho):
        self.pwm = pwm
        self.tacho = tacho
        self.duty = 0.0
        self.stalled_since = None
        self.set(0)

    def set(self, percent):
        self.duty = max(0.0, min(100.0, percent))
        self.pwm.duty_u16(int(self.duty * 655.35))

    def step(self, wanted):
        """One turn of the loop; returns the speed. Raises OSError if the fan does not move."""
        speed = self.tacho.rpm()
        if wanted == 0:
            self.set(0)
            self.stalled_since = None
            return speed
        if speed < 100:
            now = time.time()
            if self.stalled_since is None:
                self.stalled_since = now
            elif now - self.stalled_since > STALL_S:
                self.set(0)
                raise OSError("fan blocked or not connected")
            self.set(60)
            return speed
        self.stalled_since = None
        self.set(max(self.MIN_DUTY, self.duty + self.GAIN * (wanted - speed)))
        return speed


def read_celsius(adc, samples=64):
    return sum(adc.read_u16() for _ in range(samples)) / samples * 330 / 65535


def main():
    tacho = Tacho(Pin(17, Pin.IN, Pin.PULL_UP))
    loop = FanLoop(PWM(Pin(16), freq=25_000), tacho)
    sensor = ADC(Pin(26))
    smooth = read_celsius(sensor)
    goal = 0
    while True:
        smooth += 0.05 * (read_celsius(sensor) - smooth)
        new = wanted_rpm(smooth)
        # A fan that changes all the time is heard; one that is a little off is not.
        if abs(new - goal) > 60 or new == 0:
            goal = new
        try:
            speed = loop.step(goal)
            print("%.1f C  goal %4d  speed %4d  duty %3d %%" % (smooth, goal, speed, loop.duty))
        except OSError as error:
            print(error)
            time.sleep(10)
        time.sleep_ms(500)


main()
