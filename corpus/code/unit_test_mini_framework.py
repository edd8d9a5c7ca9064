"""A unit-test framework small enough for the board, with tests of a sample function.

Runs on every port, no wiring. Mark functions with @test, use the expect_* helpers, and
call run(); it reports the time and memory of each test and the trace of each failure.
"""

import gc
import sys
import time

VERDICTS = ("ok", "skip", "FAIL", "ERROR")

_tests = []


class Skip(Exception):
    """Raised by a test that cannot run on this board."""


class Failure(Exception):
    """Raised by an expectation that was not met."""


def test(function):
    _tests.append((function, function.__name__, ()))
    return function


def cases(*rows):
    """Run the test once per row, with the row as its arguments."""
    def register(function):
        for row in rows:
            _tests.append((function, "{}{}".format(function.__name__, row), row))
        return function
    return register


def expect_equal(actual, expected):
    if actual != expected:
        raise Failure("expected {!r}, got {!r}".format(expected, actual))


def expect_near(actual, expected, tolerance=1e-6):
    # Written this way round, a NaN fails as well.
    if not abs(actual - expected) <= tolerance:
        raise Failure("expected {} +/- {}, got {}".format(expected, tolerance, actual))


class expect_raises:
    """Context manager: the block must raise the given exception."""

    def __init__(self, kind):
        self.kind = kind

    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace):
        if kind is None:
            raise Failure("{} was not raised".format(self.kind.__name__))
        return issubclass(kind, self.kind)


def run_one(function, args):
    """Return (verdict, error) of a single test."""
    try:
        function(*args)
        return "ok", None
    except Skip as reason:
        return "skip", reason
    except Failure as error:
        return "FAIL", error
    except Exception as error:
        return "ERROR", error


def run():
    """Run all tests and print a summary; True when all went well."""
    counts = {verdict: 0 for verdict in VERDICTS}
    for function, name, args in _tests:
        gc.collect()
        memory = gc.mem_alloc()
        started = time.ticks_us()
        verdict, error = run_one(function, args)
        took = time.ticks_diff(time.ticks_us(), started)
        memory = gc.mem_alloc() - memory
        counts[verdict] += 1
        print("{:5s} {:34s} {:6d} us {:6d} bytes".format(verdict, name, took, memory))
        if verdict == "skip":
            print("      reason:", error)
        elif error is not None:
            sys.print_exception(error)
    print(", ".join("{} {}".format(counts[verdict], verdict) for verdict in VERDICTS))
    return counts["FAIL"] + counts["ERROR"] == 0


# --- The code under test, and its tests ---

def scale(value, low, high):
    """The position of a reading in its range, in percent from 0 to 100."""
    if low == high:
        raise ValueError("empty input range")
    return 100 * min(1.0, max(0.0, (value - low) / (high - low)))


@cases((0, 0.0), (512, 50.0), (1024, 100.0), (-5, 0.0), (2000, 100.0))
def test_scale(value, expected):
    expect_near(scale(value, 0, 1024), expected)


@test
def test_empty_range():
    with expect_raises(ValueError):
        scale(1, 5, 5)


@test
def test_led_exists():
    try:
        from machine import Pin
        led = Pin("LED", Pin.OUT)
    except (ImportError, ValueError, TypeError):
        raise Skip("no pin called LED on this board")
    led.on()
    expect_equal(led.value(), 1)
    led.off()


if __name__ == "__main__":
    run()
