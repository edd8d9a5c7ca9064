"""Half-step driver class for the 28BYJ-48 stepper motor with a ULN2003 board.

Wiring (Raspberry Pi Pico): IN1-IN4 of the ULN2003 to GP2-GP5, 5 V from VBUS, GND
to GND. A reference switch between GP6 and GND marks the zero position.
"""

from machine import Pin
from time import sleep_ms, sleep_us

COIL_PINS = (2, 3, 4, 5)
HOME_PIN = 6
STEPS_PER_TURN = 4096

# Coils that carry current in each of the eight half steps, IN1 in bit 0.
HALF_STEPS = (0b0001, 0b0011, 0b0010, 0b0110, 0b0100, 0b1100, 0b1000, 0b1001)

SLOWEST_US = 3000
FASTEST_US = 1100
RAMP_STEPS = 200


class HomingError(Exception):
    pass


class HalfStepper:
    """Keeps an absolute position in half steps and ramps up and down."""

    def __init__(self, pin_numbers):
        self._coils = tuple(Pin(n, Pin.OUT, value=0) for n in pin_numbers)
        self.position = 0

    def _step(self, direction):
        self.position += direction
        pattern = HALF_STEPS[self.position % len(HALF_STEPS)]
        for bit, coil in enumerate(self._coils):
            coil.value(pattern >> bit & 1)

    def move_to(self, goal):
        """Go to an absolute position; speed follows a trapezoid."""
        total = abs(goal - self.position)
        direction = 1 if goal > self.position else -1
        for done in range(total):
            # The nearer end of the journey decides how fast this step may be.
            edge = min(done, total - 1 - done, RAMP_STEPS)
            self._step(direction)
            sleep_us(SLOWEST_US - (SLOWEST_US - FASTEST_US) * edge // RAMP_STEPS)

    def move(self, steps):
        self.move_to(self.position + steps)

    def turn_to(self, degrees):
        """Rotate to an absolute angle, any number of turns away."""
        self.move_to(round(degrees * STEPS_PER_TURN / 360))

    @property
    def degrees(self):
        return self.position * 360 / STEPS_PER_TURN

    def home(self, switch):
        """Turn backwards until the switch closes and call that position zero."""
        if not switch.value():
            self.move(STEPS_PER_TURN // 16)  # already on the switch: leave it first
        for _ in range(STEPS_PER_TURN + RAMP_STEPS):
            if not switch.value():
                # Keep the coil phase in step with the position counter.
                self.position %= len(HALF_STEPS)
                return
            self._step(-1)
            sleep_us(SLOWEST_US)
        raise HomingError("reference switch not found within one turn")

    def release(self):
        """Switch all coils off; the gear box holds light loads by itself."""
        for coil in self._coils:
            coil.off()


def demo(motor):
    """Point like the hand of a clock: twelve stops, then straight back."""
    for hour in range(1, 13):
        motor.turn_to(hour * 30)
        print("hour", hour, "angle", round(motor.degrees, 1))
        motor.release()
        sleep_ms(400)
    motor.turn_to(0)
    motor.release()


stepper = HalfStepper(COIL_PINS)
try:
    stepper.home(Pin(HOME_PIN, Pin.IN, Pin.PULL_UP))
    while True:
        demo(stepper)
        sleep_ms(2000)
except HomingError as error:
    print("cannot start:", error)
finally:
    stepper.release()
