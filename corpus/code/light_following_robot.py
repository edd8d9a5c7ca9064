"""Two-wheeled robot that turns towards the brighter side and drives to the light.

Wiring (Raspberry Pi Pico): LDR dividers on GP26 (left) and GP27 (right), LDR to 3V3 and
10 k to GND; TB6612 driver: PWMA GP2, AIN1 GP3, AIN2 GP4, PWMB GP5, BIN1 GP6, BIN2 GP7,
STBY GP8; start button between GP15 and GND.
"""

import time
from machine import ADC, PWM, Pin

LEFT_LDR, RIGHT_LDR = 26, 27
LEFT_WHEEL = (2, 3, 4)
RIGHT_WHEEL = (5, 6, 7)
STANDBY_PIN = 8
BUTTON_PIN = 15

CRUISE = 0.55
GAIN = 1.4
DEAD_BAND = 0.04       # difference of both sides that counts as straight ahead
DARK = 0.06            # below this there is nothing to follow
ARRIVED = 0.93         # both sensors close to saturation: we stand under the lamp
LOOP_MS = 25


class Wheel:
    def __init__(self, pwm_pin, in1_pin, in2_pin):
        self.pwm = PWM(Pin(pwm_pin))
        self.pwm.freq(15_000)
        self.in1 = Pin(in1_pin, Pin.OUT, value=0)
        self.in2 = Pin(in2_pin, Pin.OUT, value=0)

    def drive(self, speed):
        """Turn the wheel at -1.0 (backwards) to 1.0 (forwards)."""
        speed = max(-1.0, min(1.0, speed))
        self.in1.value(speed > 0)
        self.in2.value(speed < 0)
        self.pwm.duty_u16(int(abs(speed) * 65535))


class Eye:
    """An LDR with a scale learnt from its own darkest and brightest reading."""

    def __init__(self, pin):
        self.adc = ADC(pin)
        self.low = 65535
        self.high = 0

    def raw(self):
        return sum(self.adc.read_u16() for _ in range(8)) // 8

    def learn(self):
        value = self.raw()
        self.low = min(self.low, value)
        self.high = max(self.high, value)

    def brightness(self):
        span = max(1, self.high - self.low)
        return max(0.0, min(1.0, (self.raw() - self.low) / span))


def calibrate(left_eye, right_eye, left_wheel, right_wheel):
    """Spin once on the spot so that both eyes see the darkest and brightest side."""
    end = time.ticks_add(time.ticks_ms(), 3000)
    left_wheel.drive(0.4)
    right_wheel.drive(-0.4)
    while time.ticks_diff(end, time.ticks_ms()) > 0:
        left_eye.learn()
        right_eye.learn()
        time.sleep_ms(5)
    left_wheel.drive(0)
    right_wheel.drive(0)
    print("left", left_eye.low, left_eye.high, "right", right_eye.low, right_eye.high)


def decide(left, right):
    """Return the wheel speeds (left, right) and a word for the log."""
    if left < DARK and right < DARK:
        return 0.3, -0.3, "searching"
    if left > ARRIVED and right > ARRIVED:
        return 0.0, 0.0, "arrived"
    error = right - left
    if abs(error) < DEAD_BAND:
        return CRUISE, CRUISE, "straight"
    # Brighter on the right: the left wheel runs faster and the robot turns right.
    turn = GAIN * error * CRUISE
    return CRUISE + turn, CRUISE - turn, "right" if error > 0 else "left"


def main():
    left_eye, right_eye = Eye(LEFT_LDR), Eye(RIGHT_LDR)
    left_wheel, right_wheel = Wheel(*LEFT_WHEEL), Wheel(*RIGHT_WHEEL)
    standby = Pin(STANDBY_PIN, Pin.OUT, value=0)
    button = Pin(BUTTON_PIN, Pin.IN, Pin.PULL_UP)

    print("put me on the floor and press the button")
    while button.value():
        time.sleep_ms(20)
    time.sleep_ms(1000)  # time to take the hand away

    last_word = None
    try:
        standby.on()
        calibrate(left_eye, right_eye, left_wheel, right_wheel)
        while True:
            left, right, word = decide(left_eye.brightness(), right_eye.brightness())
            left_wheel.drive(left)
            right_wheel.drive(right)
            if word != last_word:
                print(word)
                last_word = word
            time.sleep_ms(LOOP_MS)
    finally:
        standby.off()
        for wheel in (left_wheel, right_wheel):
            wheel.drive(0)
            wheel.pwm.deinit()


main()
