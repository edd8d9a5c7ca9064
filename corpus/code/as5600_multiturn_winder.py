"""Count the turns of a coil winder with an AS5600 magnetic angle sensor, and stop the motor in time.

Wiring (Pico): SDA GP4, SCL GP5, 3V3, DIR to GND; motor MOSFET gate GP15, foot pedal GP14 to GND.
The magnet is magnetised across its diameter and sits half a millimetre to three above the chip.
"""
import sys
import time
from machine import I2C, PWM, Pin

AS5600 = 0x36
STATUS = 0x0B
RAW_ANGLE = 0x0C
AGC = 0x1A
COUNTS = 4096


class AngleSensor:
    def __init__(self, i2c):
        self.i2c = i2c
        self.last = None
        self.total = 0

    def check_magnet(self):
        """Raise with a hint if the magnet is missing, too far or too near."""
        status = self.i2c.readfrom_mem(AS5600, STATUS, 1)[0]
        if status & 0x08:
            raise ValueError("magnet too strong, raise it")
        if status & 0x10:
            raise ValueError("magnet too weak, lower it")
        if not status & 0x20:
            raise ValueError("no magnet found")
        return self.i2c.readfrom_mem(AS5600, AGC, 1)[0]

    def raw(self):
        high, low = self.i2c.readfrom_mem(AS5600, RAW_ANGLE, 2)
        return (high & 0x0F) << 8 | low

    def update(self):
        """Add the shortest way from the last angle; call it at least twice per turn."""
        angle = self.raw()
        if self.last is not None:
            step = (angle - self.last + COUNTS // 2) % COUNTS - COUNTS // 2
            self.total += step
        self.last = angle
        return self.total

    @property
    def turns(self):
        return self.total / COUNTS


class Winder:
    SLOW_FROM = 20  # turns before the end
    CREEP = 16_000
    FULL = 52_000

    def __init__(self, sensor, motor, pedal):
        self.sensor = sensor
        self.motor = motor
        self.pedal = pedal

    def duty(self, left):
        if left <= 0:
            return 0
        if left >= self.SLOW_FROM:
            return self.FULL
        return self.CREEP + int((self.FULL - self.CREEP) * left / self.SLOW_FROM)

    def wind(self, wanted):
        """Run while the pedal is down until the turns are complete; return the overshoot."""
        self.sensor.update()
        start = self.sensor.total
        shown = -1
        ramp = 0
        while True:
            done = abs(self.sensor.update() - start) / COUNTS
            if done >= wanted:
                break
            target = 0 if self.pedal.value() else self.duty(wanted - done)
            # Up gently, so that the wire does not break; down at once.
            ramp = min(target, ramp + 300)
            self.motor.duty_u16(ramp)
            if int(done) != shown:
                shown = int(done)
                sys.stdout.write("\r%5d / %d " % (shown, wanted))
            time.sleep_ms(2)
        self.motor.duty_u16(0)
        time.sleep_ms(500)
        return abs(self.sensor.update() - start) / COUNTS - wanted


def main():
    sensor = AngleSensor(I2C(0, sda=Pin(4), scl=Pin(5), freq=1_000_000))
    print("magnet fine, gain", sensor.check_magnet())
    motor = PWM(Pin(15), freq=20_000, duty_u16=0)
    winder = Winder(sensor, motor, Pin(14, Pin.IN, Pin.PULL_UP))
    try:
        while True:
            wanted = int(input("\nturns: "))
            print("done, %.2f turns too many" % winder.wind(wanted))
    except (ValueError, KeyboardInterrupt) as reason:
        print("stopped", reason)
    finally:
        motor.deinit()


main()
