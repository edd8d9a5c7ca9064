"""Level 5: programs around motors and lights."""

from __future__ import annotations

from itertools import pairwise

from stages.evaluation.checks import frames, near, pwm, pwm_at, require
from stages.evaluation.sandbox import Outcome
from stages.evaluation.task import Task
from stages.evaluation.tasks._inputs import CLEAN, button
from stages.evaluation.tasks._pairs import differ
from stages.evaluation.wiring import Serial, Setup


def _ramp(points: tuple[tuple[float, float], ...], t: float) -> float:
    """The value at `t` on the straight lines between (instant, value) points."""
    for (t0, a), (t1, b) in pairwise(points):
        if t0 <= t <= t1:
            return a + (b - a) * (t - t0) / (t1 - t0)
    return points[0][1] if t < points[0][0] else points[-1][1]


POSITIONS = ((0.0, 90.0), (1.0, 90.0), (2.0, 180.0), (3.0, 180.0), (5.0, 0.0), (6.0, 0.0))


def _servo(outcome: Outcome) -> None:
    for tenth in range(2, 59):
        found = pwm_at(outcome, 15, tenth / 10)
        require(found.freq == 50, f"{found.freq} Hz instead of 50 Hz")
        degrees, wanted = (found.duty * 20 - 0.5) * 90, _ramp(POSITIONS, tenth / 10)
        require(near(degrees, wanted, 8), f"{degrees:.0f} degrees at {tenth / 10} s instead of {wanted:.0f}")
    steps = [(step.duty * 20 - 0.5) * 90 for step in pwm(outcome, 15) if step.duty > 0]
    largest = max(abs(b - a) for a, b in pairwise(steps))
    require(largest < 3.3, f"a step of {largest:.1f} degrees")
    require(near(steps[0], 90, 1) and near(steps[-1], 0, 1), f"from {steps[0]:.0f} to {steps[-1]:.0f} degrees")


SPEEDS = ((0.5, 0), (2.5, 80), (3.5, 80), (4.5, 0), (5, 0), (6, 40), (6.5, 0), (7, 0), (8, 40), (8.25, 20), (9, 50))


def _motor(outcome: Outcome) -> None:
    for tenth in range(2, 90):
        found, wanted = pwm_at(outcome, 14, tenth / 10), _ramp(SPEEDS, tenth / 10) / 100
        require(near(found.duty, wanted, 0.05), f"{found.duty:.0%} at {tenth / 10} s instead of {wanted:.0%}")
        require(found.freq == 5000 or found.duty == 0, f"{found.freq} Hz instead of 5000 Hz")
    largest = max(abs(b.duty - a.duty) for a, b in pairwise(pwm(outcome, 14)))
    require(largest < 0.031, f"a step of {largest:.1%}")


BARS = ((0.9, 0, 0), (1.9, 2, 32), (2.15, 2, 32), (2.9, 8, 0), (3.9, 8, 0), (5.4, 4, 77), (5.9, 0, 0))


def _bar(outcome: Outcome) -> None:
    sent = frames(outcome, 28)
    for t, full, part in BARS:
        shown = [frame.colours for frame in sent if frame.t <= t]
        found = shown[-1] if shown else ((0, 0, 0),) * 8
        wanted = ((0, 0, 80),) * full + ((0, 0, part),) + ((0, 0, 0),) * (7 - full) if full < 8 else ((0, 80, 0),) * 8
        require(len(found) == 8, f"{len(found)} pixels instead of 8")
        for i, (mine, its) in enumerate(zip(found, wanted, strict=True)):
            good = all(near(a, b, 1) for a, b in zip(mine, its, strict=True))
            require(good, f"pixel {i + 1} is {mine} at {t} s instead of {its}")


UPS = (0.5, 0.9, 1.3, 3.3, *(round(3.7 + 0.3 * i, 1) for i in range(11)))
DOWNS = (1.7, 2.1, 2.5, 2.9, 7.2)


def _dimmer(outcome: Outcome) -> None:
    level = 0
    presses = sorted([(t, 1) for t in UPS] + [(t, -1) for t in DOWNS])
    for (t, step), (until, _) in pairwise([*presses, (8.0, 0)]):
        level = min(10, max(0, level + step))
        found, wanted = pwm_at(outcome, 15, min(t + 0.2, until)), (level / 10) ** 2.2
        require(near(found.duty, wanted, 0.01), f"{found.duty:.1%} at level {level} instead of {wanted:.1%}")
        require(found.freq == 1000 or level == 0, f"{found.freq} Hz instead of 1000 Hz")


TASKS = (
    Task(
        id="programs/servo-slew",
        level=5,
        prompt=(
            "The potentiometer on the analogue input of pin 26 chooses the angle of the servo on pin 15: 0 is 0 "
            "degrees, 65535 is 180 degrees. The servo wants pulses at 50 Hz, 0.5 ms long for 0 degrees and 2.5 ms for "
            "180 degrees. Begin at 90 degrees, and let the servo follow the potentiometer at no more than 90 degrees a "
            "second, in steps of at most 3 degrees; when the potentiometer has moved, it goes on at that speed until "
            "it is there."
        ),
        setup=Setup(adc={26: ((0, 32768), (1, 65535), (3, 0))}),
        check=_servo,
        seconds=6.0,
        **differ(
            """\
import time
from machine import ADC, PWM, Pin

knob = ADC(Pin(26))
servo = PWM(Pin(15), freq=50)
STEP = 90 * 0.02
angle = 90
while True:
    servo.duty_ns(round(500_000 + angle / 180 * 2_000_000))
    time.sleep_ms(20)
    target = knob.read_u16() * 180 / 65535
    angle += max(-STEP, min(STEP, target - angle))
""",
            ("angle += max(-STEP, min(STEP, target - angle))", "angle = target"),
        ),
        mistake="jumps to the new angle",
    ),
    Task(
        id="programs/motor-soft-start",
        level=5,
        prompt=(
            "Drive a motor with PWM of 5 kHz on pin 14. While the switch between pin 13 and ground is closed, the duty "
            "cycle rises by 40 percentage points a second up to 80 percent and stays there; while it is open, it falls "
            "by 80 percentage points a second down to 0. When the switch changes on the way, the duty cycle goes on "
            "from where it is. Steps are 2 percentage points or smaller. The switch does not bounce and is open at "
            "first."
        ),
        setup=Setup(pins={13: button((0.5, 3.0), (5.0, 1.0), (7.0, 1.0), (8.25, 2.0), bounce=CLEAN)}),
        check=_motor,
        seconds=9.0,
        reference="""\
import time
from machine import PWM, Pin

motor = PWM(Pin(14), freq=5000, duty_u16=0)
switch = Pin(13, Pin.IN, Pin.PULL_UP)
percent = 0.0
while True:
    if switch.value() == 0:
        percent = min(80, percent + 40 * 0.02)
    else:
        percent = max(0, percent - 80 * 0.02)
    motor.duty_u16(int(percent * 655.35))
    time.sleep_ms(20)
""",
        wrong="""\
import time
from machine import PWM, Pin

motor = PWM(Pin(14), freq=5000, duty_u16=0)
switch = Pin(13, Pin.IN, Pin.PULL_UP)


def ramp(start, stop, step, ms):
    for percent in range(start, stop + step, step):
        motor.duty_u16(percent * 65535 // 100)
        time.sleep_ms(ms)


while True:
    while switch.value():
        time.sleep_ms(5)
    ramp(0, 80, 1, 25)
    while not switch.value():
        time.sleep_ms(5)
    ramp(80, 0, -2, 25)
""",
        mistake="a ramp that has begun goes on to its end whatever the switch does",
    ),
    Task(
        id="programs/progress-bar",
        level=5,
        prompt=(
            "Eight NeoPixels on pin 28 show a progress in percent, 12.5 each. It comes on UART 0 (9600 baud, "
            "TX on pin 0, RX on pin 1) as lines that end with \\n, which can arrive in pieces. Pixels that are "
            "wholly reached are (0, 0, 80), one that is partly reached has blue in proportion (at 30 percent "
            "the third is (0, 0, 32)), the others are dark; at 100 all are (0, 80, 0). Lines that are not a "
            "whole number from 0 to 100 change nothing. All are dark at first. Show a number within 0.2 s."
        ),
        setup=Setup(
            uart={
                0: Serial(
                    input=(
                        (0.5, b"0\n"),
                        (1.0, b"30\n"),
                        (2.0, b"1"),
                        (2.2, b"00\n"),
                        (3.0, b"done\n"),
                        (4.0, b"62\n"),
                        (5.0, b"101\n"),
                        (5.5, b"0\n"),
                    ),
                    baudrate=9600,
                    tx=0,
                    rx=1,
                )
            }
        ),
        check=_bar,
        seconds=6.0,
        **differ(
            """\
import time
from machine import UART, Pin
from neopixel import NeoPixel

uart = UART(0, baudrate=9600, tx=Pin(0), rx=Pin(1))
pixels = NeoPixel(Pin(28, Pin.OUT), 8)


def show(percent):
    for i in range(8):
        share = min(1, max(0, percent / 12.5 - i))
        pixels[i] = (0, 80, 0) if percent == 100 else (0, 0, round(80 * share))
    pixels.write()


show(0)
line = b""
while True:
    while uart.any():
        character = uart.read(1)
        if character != b"\\n":
            line += character
            continue
        try:
            percent = int(line)
            if 0 <= percent <= 100:
                show(percent)
        except ValueError:
            pass
        line = b""
    time.sleep_ms(20)
""",
            ("        share = min(1, max(0, percent / 12.5 - i))\n", "        share = i < percent * 8 // 100\n"),
        ),
        mistake="shows whole pixels only",
    ),
    Task(
        id="programs/dimmer-gamma",
        level=5,
        prompt=(
            "Dim the LED on pin 15 with PWM of 1 kHz in the levels 0 to 10, beginning at 0. The button between pin 2 "
            "and ground goes one level up, the button between pin 3 and ground one level down; at 10 and at 0 it stays "
            "there. So that the steps look even, the duty cycle is (level / 10) to the power of 2.2. The buttons "
            "bounce for up to 10 ms and are pressed for at least 50 ms."
        ),
        setup=Setup(pins={2: button(*((t, 0.1) for t in UPS)), 3: button(*((t, 0.1) for t in DOWNS))}),
        check=_dimmer,
        seconds=8.0,
        **differ(
            """\
import time
from machine import PWM, Pin

led = PWM(Pin(15), freq=1000, duty_u16=0)
buttons = [(Pin(2, Pin.IN, Pin.PULL_UP), 1), (Pin(3, Pin.IN, Pin.PULL_UP), -1)]
before = [1, 1]
level = 0
while True:
    for i, (button, step) in enumerate(buttons):
        now = button.value()
        if before[i] and not now:
            level = min(10, max(0, level + step))
            led.duty_u16(round(65535 * (level / 10) ** 2.2))
        before[i] = now
    time.sleep_ms(20)
""",
            ("(level / 10) ** 2.2", "(level / 10)"),
        ),
        mistake="the duty cycle grows evenly, without the exponent",
    ),
)
