"""One-dimensional Kalman filters on simulated sensor data, compared with a moving average.

Runs on any port with floating point, no wiring. The first filter assumes a value that
hardly changes; the second also estimates its speed and so follows a ramp without lag.
"""

import math
import random

STEPS = 300
DT = 0.1
NOISE = 2.0
WINDOW = 10
PRINT_EVERY = 25


def gauss(sigma):
    """A normally distributed random number (Box-Muller); random has no gauss() here."""
    u = 1.0 - random.random()  # never zero, so the logarithm exists
    return sigma * math.sqrt(-2 * math.log(u)) * math.cos(2 * math.pi * random.random())


class Kalman1D:
    """Estimates a nearly constant value; process and measurement noise are variances."""

    def __init__(self, process, measurement):
        self.process = process
        self.measurement = measurement
        self.value = None
        self.variance = 0.0

    def update(self, reading):
        if self.value is None:
            self.value, self.variance = reading, self.measurement
            return reading
        # Predict: the value stays, but we are a little less sure of it.
        self.variance += self.process
        # Correct: the gain is the share of the new reading that we believe.
        gain = self.variance / (self.variance + self.measurement)
        self.value += gain * (reading - self.value)
        self.variance *= 1 - gain
        return self.value


class KalmanVelocity:
    """Estimates value and speed; the 2x2 matrices are written out for small boards."""

    def __init__(self, acceleration, measurement, dt):
        self.q = acceleration * acceleration
        self.r = measurement
        self.dt = dt
        self.x = 0.0
        self.v = 0.0
        # Covariance: position, position with speed, speed. Large means "unknown".
        self.pxx, self.pxv, self.pvv = 1000.0, 0.0, 1000.0

    def update(self, reading):
        dt = self.dt
        self.x += self.v * dt
        pxx = self.pxx + dt * (2 * self.pxv + dt * self.pvv) + self.q * dt ** 4 / 4
        pxv = self.pxv + dt * self.pvv + self.q * dt ** 3 / 2
        pvv = self.pvv + self.q * dt ** 2

        surprise = reading - self.x
        total = pxx + self.r
        gain_x, gain_v = pxx / total, pxv / total
        self.x += gain_x * surprise
        self.v += gain_v * surprise
        self.pxx = (1 - gain_x) * pxx
        self.pxv = (1 - gain_x) * pxv
        self.pvv = pvv - gain_v * pxv
        return self.x


class MovingAverage:
    def __init__(self, size):
        self.size = size
        self.values = []

    def update(self, reading):
        self.values.append(reading)
        if len(self.values) > self.size:
            self.values.pop(0)
        return sum(self.values) / len(self.values)


def true_level(step):
    """A tank: constant, then filling at 3 units per second, then constant again."""
    t = step * DT
    if t < 10:
        return 20.0
    return min(20.0 + 3.0 * (t - 10), 50.0)


def main():
    random.seed(7)
    filters = {
        "raw": None,
        "average": MovingAverage(WINDOW),
        "kalman": Kalman1D(process=0.05, measurement=NOISE ** 2),
        "speed": KalmanVelocity(acceleration=1.5, measurement=NOISE ** 2, dt=DT),
    }
    squares = {name: 0.0 for name in filters}
    names = sorted(filters)
    print("  time   true  " + "  ".join("{:>7s}".format(name) for name in names))
    for step in range(STEPS):
        truth = true_level(step)
        reading = truth + gauss(NOISE)
        row = []
        for name in names:
            estimate = filters[name].update(reading) if filters[name] else reading
            squares[name] += (estimate - truth) ** 2
            row.append("{:7.2f}".format(estimate))
        if step % PRINT_EVERY == 0:
            print("{:6.1f} {:6.1f}  {}".format(step * DT, truth, "  ".join(row)))
    print("root mean square error:")
    for name in names:
        print("  {:8s} {:.3f}".format(name, math.sqrt(squares[name] / STEPS)))


main()
