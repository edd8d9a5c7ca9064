"""Drive a DC motor through an L298N H-bridge with a speed ramp in both directions.

Wiring (Raspberry Pi Pico): IN1 GP2, IN2 GP3, ENA GP4 (jumper on ENA removed); motor supply
on the bridge, grounds joined. Speed potentiometer on GP26, emergency stop GP15 to GND.
"""

import time
from machine import ADC, PWM, Pin

FORWARD_PIN = 2
REVERSE_PIN = 3
ENABLE_PIN = 4
SPEED_ADC_PIN = 26
STOP_PIN = 15

PWM_HZ = 20_000       # above hearing, the motor does not whine
UPDATE_MS = 10
FULL_RAMP_MS = 1500   # from standstill to full speed
MIN_DUTY = 0.25       # below this the motor only hums
IDLE_BAND = 0.08


class Motor:
    """An H-bridge channel whose speed follows a target at a limited rate."""

    def __init__(self, forward, reverse, enable):
        self._forward = Pin(forward, Pin.OUT, value=0)
        self._reverse = Pin(reverse, Pin.OUT, value=0)
        self._pwm = PWM(Pin(enable))
        self._pwm.freq(PWM_HZ)
        self._pwm.duty_u16(0)
        self._step = UPDATE_MS / FULL_RAMP_MS
        self.speed = 0.0
        self.target = 0.0

    def set_target(self, speed):
        """Ask for a speed between -1.0 (full reverse) and 1.0 (full forward)."""
        self.target = max(-1.0, min(1.0, speed))

    def update(self):
        """Move one ramp step; call this every UPDATE_MS milliseconds."""
        gap = self.target - self.speed
        if abs(gap) <= self._step:
            self.speed = self.target
        else:
            # Going through zero step by step spares gears and bridge a hard reversal.
            self.speed += self._step if gap > 0 else -self._step
        self._apply()

    def _apply(self):
        size = abs(self.speed)
        if size < 0.005:
            self.coast()
            return
        self._forward.value(self.speed > 0)
        self._reverse.value(self.speed < 0)
        self._pwm.duty_u16(int(65535 * (MIN_DUTY + (1 - MIN_DUTY) * size)))

    def coast(self):
        """Let the motor run out freely."""
        self._pwm.duty_u16(0)
        self._forward.off()
        self._reverse.off()

    def brake(self):
        """Short both motor terminals to the same side: it stops at once."""
        self.speed = self.target = 0.0
        self._forward.on()
        self._reverse.on()
        self._pwm.duty_u16(65535)

    def close(self):
        self.coast()
        self._pwm.deinit()


def read_wish(adc):
    """Map the potentiometer to -1.0..1.0 with a quiet zone in the middle."""
    wish = adc.read_u16() / 32767.5 - 1.0
    return 0.0 if abs(wish) < IDLE_BAND else wish


def main():
    motor = Motor(FORWARD_PIN, REVERSE_PIN, ENABLE_PIN)
    knob = ADC(SPEED_ADC_PIN)
    stop = Pin(STOP_PIN, Pin.IN, Pin.PULL_UP)
    stopped = False
    tick = 0

    try:
        while True:
            wish = read_wish(knob)
            if stop.value() == 0 and not stopped:
                motor.brake()
                stopped = True
                print("emergency stop: turn the knob to the middle to go on")
            elif stopped and stop.value() == 1 and wish == 0.0:
                stopped = False
                motor.coast()
                print("ready")

            if not stopped:
                motor.set_target(wish)
                motor.update()
            tick += 1
            if tick % 50 == 0:
                print("target {:+.2f}  speed {:+.2f}".format(motor.target, motor.speed))
            time.sleep_ms(UPDATE_MS)
    finally:
        motor.close()


main()
