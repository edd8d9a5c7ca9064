"""A PID controller with clamped output and anti-windup, tried out on a simulated oven.

Runs anywhere, no wiring: replace Oven by a thermocouple and a relay for the real thing.
The simulation runs faster than real time and prints a bar chart of the temperature.
"""

import random

SETPOINT = 180.0
STEP_S = 2.0
DURATION_S = 1200
DOOR_OPENS_S = 700
DOOR_SHUTS_S = 740
PRINT_EVERY_S = 40


class PID:
    """Proportional-integral-derivative controller for a fixed time step."""

    def __init__(self, kp, ki, kd, low=0.0, high=1.0, smoothing=0.7):
        self.kp = kp
        self.ki = ki
        self.kd = kd
        self.low = low
        self.high = high
        self.smoothing = smoothing
        self.reset()

    def reset(self):
        self.integral = 0.0
        self.slope = 0.0
        self.last_value = None

    def update(self, setpoint, value, dt):
        """Return the new output for a measured value, dt seconds after the last one."""
        error = setpoint - value
        # The derivative follows the measurement, not the error: a new setpoint gives no kick.
        if self.last_value is not None:
            slope = (value - self.last_value) / dt
            self.slope += (1 - self.smoothing) * (slope - self.slope)
        self.last_value = value

        candidate = self.integral + self.ki * error * dt
        output = self.kp * error + candidate - self.kd * self.slope
        if output > self.high:
            limited = self.high
        elif output < self.low:
            limited = self.low
        else:
            limited = output
        # Anti-windup: at a limit, integrate only in the direction that leads away from it.
        if limited == output or (output > self.high) != (error > 0):
            self.integral = candidate
        return limited


class Oven:
    """Two thermal masses: the heating element, and the air with what is in it."""

    POWER_W = 1800.0
    ELEMENT_J_PER_K = 900.0
    AIR_J_PER_K = 1500.0
    ELEMENT_TO_AIR_W_PER_K = 9.0
    LOSS_W_PER_K = 4.0
    LOSS_DOOR_W_PER_K = 25.0

    def __init__(self, ambient=22.0):
        self.ambient = ambient
        self.element = ambient
        self.air = ambient
        self.door_open = False

    def step(self, duty, dt):
        """Advance by dt seconds with the heater on for a share of the time."""
        loss = self.LOSS_DOOR_W_PER_K if self.door_open else self.LOSS_W_PER_K
        into_air = self.ELEMENT_TO_AIR_W_PER_K * (self.element - self.air)
        self.element += (self.POWER_W * duty - into_air) * dt / self.ELEMENT_J_PER_K
        self.air += (into_air - loss * (self.air - self.ambient)) * dt / self.AIR_J_PER_K

    def measure(self):
        """The air temperature with the noise of a cheap thermocouple."""
        return self.air + random.uniform(-0.5, 0.5)


def show(seconds, value, duty):
    bar = "#" * int(value / 5)
    print("{:5d} s {:6.1f} C {:4.0f} % |{}".format(seconds, value, duty * 100, bar))


def simulate(pid):
    """Return (overshoot, mean absolute error in the last minutes)."""
    oven = Oven()
    highest = 0.0
    errors = []
    for n in range(int(DURATION_S / STEP_S)):
        seconds = int(n * STEP_S)
        oven.door_open = DOOR_OPENS_S <= seconds < DOOR_SHUTS_S
        duty = pid.update(SETPOINT, oven.measure(), STEP_S)
        oven.step(duty, STEP_S)
        highest = max(highest, oven.air)
        if seconds >= DURATION_S - 180:
            errors.append(abs(SETPOINT - oven.air))
        if seconds % PRINT_EVERY_S == 0:
            show(seconds, oven.air, duty)
    return highest - SETPOINT, sum(errors) / len(errors)


def main():
    pid = PID(kp=0.03, ki=0.00008, kd=0.6)
    overshoot, error = simulate(pid)
    print("overshoot {:.1f} K, remaining error {:.2f} K".format(overshoot, error))


main()
