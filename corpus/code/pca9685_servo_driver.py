"""Move several servos smoothly with a PCA9685 sixteen-channel PWM board.

Wiring (Raspberry Pi Pico): SDA to GP12, SCL to GP13, VCC to 3V3. The servos' supply (5 V,
some amperes) goes to V+ of the board, never through the Pico; connect all grounds.
"""
import time
from machine import I2C, Pin

ADDRESS = 0x40

MODE1 = 0x00
MODE2 = 0x01
LED0_ON_L = 0x06
ALL_OFF_H = 0xFD
PRESCALE = 0xFE

SLEEP = 0x10
AUTO_INCREMENT = 0x20
RESTART = 0x80
TOTEM_POLE = 0x04
FULL_OFF = 0x10

OSCILLATOR_HZ = 25_000_000
SERVO_HZ = 50
FRAME_MS = 20


class PCA9685:
    def __init__(self, i2c, address=ADDRESS, frequency=SERVO_HZ):
        self.i2c = i2c
        self.address = address
        self._set(ALL_OFF_H, FULL_OFF)
        self._set(MODE2, TOTEM_POLE)
        # The divider may only be written while the oscillator sleeps.
        self._set(MODE1, SLEEP | AUTO_INCREMENT)
        divider = round(OSCILLATOR_HZ / (4096 * frequency)) - 1
        self._set(PRESCALE, min(255, max(3, divider)))
        self._set(MODE1, AUTO_INCREMENT)
        time.sleep_us(500)
        self._set(MODE1, AUTO_INCREMENT | RESTART)
        self.period_us = 1_000_000 // frequency

    def _set(self, register, value):
        self.i2c.writeto_mem(self.address, register, bytes((value,)))

    def pulse_us(self, channel, width):
        """Give a channel a pulse of the given width; None switches it off."""
        register = LED0_ON_L + 4 * channel
        if width is None:
            data = bytes((0, 0, 0, FULL_OFF))
        else:
            off = min(4095, width * 4096 // self.period_us)
            data = bytes((0, 0, off & 0xFF, off >> 8))
        self.i2c.writeto_mem(self.address, register, data)

    def all_off(self):
        self._set(ALL_OFF_H, FULL_OFF)


class Servo:
    def __init__(self, board, channel, low_us=600, high_us=2400, travel=180, start=90):
        self.board = board
        self.channel = channel
        self.low_us = low_us
        self.span_us = high_us - low_us
        self.travel = travel
        self.angle = start

    def write(self, angle):
        self.angle = min(self.travel, max(0, angle))
        width = self.low_us + int(self.span_us * self.angle / self.travel)
        self.board.pulse_us(self.channel, width)

    def release(self):
        self.board.pulse_us(self.channel, None)


def ease(t):
    """Start and stop gently: 0 to 1 for t from 0 to 1."""
    return t * t * (3 - 2 * t)


def glide(moves, duration_ms):
    """Bring several servos to their angles so that all of them arrive together."""
    paths = [(servo, servo.angle, target - servo.angle) for servo, target in moves]
    frames = max(1, duration_ms // FRAME_MS)
    for frame in range(1, frames + 1):
        share = ease(frame / frames)
        for servo, origin, distance in paths:
            servo.write(origin + distance * share)
        time.sleep_ms(FRAME_MS)


def main():
    board = PCA9685(I2C(0, sda=Pin(12), scl=Pin(13), freq=400_000))
    base = Servo(board, 0)
    arm = Servo(board, 1, start=45)
    gripper = Servo(board, 2, low_us=1000, high_us=2000, start=0)
    try:
        for servo in (base, arm, gripper):
            servo.write(servo.angle)
            time.sleep_ms(300)  # one after the other, or the supply may sag
        while True:
            glide(((base, 20), (arm, 120)), 1500)
            glide(((gripper, 150),), 500)
            glide(((base, 160), (arm, 60)), 2000)
            glide(((gripper, 20),), 500)
    finally:
        board.all_off()


main()
