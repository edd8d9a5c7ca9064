"""Level 2: lights that are switched on and off."""

from __future__ import annotations

from stages.evaluation.checks import edges, end, high_times, low_times, near, regular, require
from stages.evaluation.sandbox import Outcome
from stages.evaluation.task import BY_ITSELF, Task
from stages.evaluation.tasks._pairs import differ
from stages.evaluation.tasks._states import in_turn, states


def _lighthouse(outcome: Outcome) -> None:
    group = [((1,), 0.4), ((0,), 0.8), ((1,), 0.4), ((0,), 0.8), ((1,), 0.4), ((0,), 5.2)]
    in_turn(states(outcome, (16,)), group, 0.02)


def _traffic(outcome: Outcome) -> None:
    phases = [((1, 0, 0), 3.0), ((1, 1, 0), 1.0), ((0, 0, 1), 2.0), ((0, 1, 0), 1.0)]
    in_turn(states(outcome, (6, 7, 8)), phases, 0.03)


def _one_low(outcome: Outcome) -> None:
    wanted = [(tuple(int(i != lit) for i in range(4)), 0.25) for lit in range(4)]
    in_turn(states(outcome, (10, 11, 12, 13)), wanted, 0.01)


def _shorter(outcome: Outcome) -> None:
    highs, lows = high_times(outcome, 20), low_times(outcome, 20)
    require(len(highs) == 8, f"{len(highs)} flashes instead of 8")
    for number, pulse in enumerate(highs):
        wanted = 0.4 - 0.04 * number
        require(near(pulse.length, wanted, 0.005), f"flash {number + 1} is {pulse.length:.3f} s, not {wanted:.2f} s")
    for pulse in lows[: len(highs) - 1]:
        require(near(pulse.length, 0.15, 0.005), f"a pause of {pulse.length:.3f} s instead of 0.15 s")
    require(edges(outcome, 20)[-1].value == 0, "the LED stays on at the end")


def _third(outcome: Outcome) -> None:
    highs, thirds = high_times(outcome, 3), high_times(outcome, 4)
    regular([pulse.start for pulse in highs], 0.3, tolerance=0.03, until=end(outcome), what="pin 3 rises")
    together = highs[2::3]
    require(len(thirds) == len(together), f"pin 4 flashes {len(thirds)} times in {len(highs)} flashes of pin 3")
    for both in (highs, thirds):
        for pulse in both:
            require(near(pulse.length, 0.1, 0.005), f"a flash of {pulse.length:.3f} s instead of 0.1 s")
    for mine, other in zip(thirds, together, strict=True):
        require(
            near(mine.start, other.start, 0.025), f"pin 4 flashes at {mine.start:.3f} s, not at {other.start:.3f} s"
        )


def _strobe(outcome: Outcome) -> None:
    flashes = [(1, 0), (1, 0), (0, 1), (0, 1)]
    in_turn(states(outcome, (10, 11)), [(shown, 0.06) for flash in flashes for shown in (flash, (0, 0))], 0.006)


def _bounces(outcome: Outcome) -> None:
    wanted = [(tuple(int(i == lit) for i in range(5)), 0.15) for lit in (0, 1, 2, 3, 4, 3, 2, 1)]
    in_turn(states(outcome, (2, 3, 4, 5, 6)), wanted, 0.008)


TASKS = (
    Task(
        id="pins/lighthouse",
        level=2,
        prompt=(
            "The lamp on pin 16 is a lighthouse. Every 8 seconds, counted from the beginning of one group to that of "
            "the next, it gives a group of three flashes of 0.4 seconds each, whose beginnings are 1.2 seconds apart. "
            "The first group comes at once, and so on for ever."
        ),
        check=_lighthouse,
        seconds=19.0,
        **differ(
            """\
import time
from machine import Pin

lamp = Pin(16, Pin.OUT, value=0)
while True:
    for dark in (800, 800, 5200):
        lamp.on()
        time.sleep_ms(400)
        lamp.off()
        time.sleep_ms(dark)
""",
            ("(800, 800, 5200)", "(800, 800, 8000)"),
        ),
        mistake="counts the 8 seconds from the end of the group",
    ),
    Task(
        id="pins/traffic-phases",
        level=2,
        prompt=(
            "A crossing has a red lamp on pin 6, a yellow one on pin 7 and a green one on pin 8, each lit by a high "
            "level. Go through these phases over and over: red alone for 3 seconds, red and yellow together for 1 "
            "second, green alone for 2 seconds, yellow alone for 1 second."
        ),
        check=_traffic,
        seconds=16.5,
        **differ(
            """\
import time
from machine import Pin

red, yellow, green = [Pin(number, Pin.OUT, value=0) for number in (6, 7, 8)]
while True:
    red.on()
    time.sleep(3)
    yellow.on()
    time.sleep(1)
    red.off()
    yellow.off()
    green.on()
    time.sleep(2)
    green.off()
    yellow.on()
    time.sleep(1)
    yellow.off()
""",
            ("    time.sleep(3)\n    yellow.on()", "    time.sleep(3)\n    red.off()\n    yellow.on()"),
        ),
        mistake="red goes off when yellow comes on",
    ),
    Task(
        id="pins/low-lights",
        level=2,
        prompt=(
            "Four LEDs are wired between 3.3 V and the pins 10, 11, 12 and 13, each with its resistor. Light them one "
            "after the other in this order, exactly one at a time and each for 250 ms, over and over."
        ),
        check=_one_low,
        seconds=5.1,
        reference="""\
import time
from machine import Pin

leds = [Pin(number, Pin.OUT, value=1) for number in (10, 11, 12, 13)]
while True:
    for led in leds:
        led.off()
        time.sleep_ms(250)
        led.on()
""",
        wrong="""\
import time
from machine import Pin

leds = [Pin(number, Pin.OUT) for number in range(10, 14)]
while True:
    for led in leds:
        led.on()
        time.sleep_ms(250)
        led.off()
""",
        mistake="these LEDs light when the pin is low",
    ),
    Task(
        id="pins/shorter-flashes",
        level=2,
        prompt=(
            "Let the LED on pin 20 flash eight times. The first flash lasts 400 ms, every further one 40 ms less than "
            "the one before, and between two flashes the LED is dark for 150 ms. Leave it off then and end the "
            "program."
        ),
        check=_shorter,
        ends=BY_ITSELF,
        **differ(
            """\
import time
from machine import Pin

led = Pin(20, Pin.OUT, value=0)
length = 400
for _ in range(8):
    led.on()
    time.sleep_ms(length)
    led.off()
    time.sleep_ms(150)
    length -= 40
""",
            ("length -= 40", "length = length * 9 // 10"),
        ),
        mistake="each flash is a tenth shorter than the one before",
    ),
    Task(
        id="pins/every-third-flash",
        level=2,
        prompt=(
            "The LED on pin 3 flashes for ever: 100 ms on, 200 ms off. The LED on pin 4 lights together with every "
            "third of these flashes, that is the third, the sixth and so on, and is off otherwise."
        ),
        check=_third,
        seconds=6.05,
        **differ(
            """\
import time
from machine import Pin

first = Pin(3, Pin.OUT, value=0)
second = Pin(4, Pin.OUT, value=0)
count = 0
while True:
    count += 1
    first.on()
    if count % 3 == 0:
        second.on()
    time.sleep_ms(100)
    first.off()
    second.off()
    time.sleep_ms(200)
""",
            ("    count += 1\n", ""),
            (
                "    second.off()\n    time.sleep_ms(200)\n",
                "    second.off()\n    time.sleep_ms(200)\n    count += 1\n",
            ),
        ),
        mistake="counts from 0, so that the first and the fourth flash are taken",
    ),
    Task(
        id="pins/double-strobe",
        level=2,
        prompt=(
            "Make the blue lights of a toy police car: the left LED on pin 10 flashes twice, then the right LED on pin "
            "11 flashes twice, then it is the left one's turn again, for ever. A flash lasts 60 ms, and after each "
            "flash both LEDs are dark for 60 ms."
        ),
        check=_strobe,
        seconds=4.0,
        reference="""\
import time
from machine import Pin

lights = Pin(10, Pin.OUT, value=0), Pin(11, Pin.OUT, value=0)
while True:
    for light in lights:
        for _ in range(2):
            light.on()
            time.sleep_ms(60)
            light.off()
            time.sleep_ms(60)
""",
        wrong="""\
import time
from machine import Pin

left = Pin(10, Pin.OUT)
right = Pin(11, Pin.OUT)
while True:
    for light in (left, right) * 2:
        light.value(1)
        time.sleep_ms(60)
        light.value(0)
        time.sleep_ms(60)
""",
        mistake="changes sides after every flash",
    ),
    Task(
        id="pins/bouncing-dot",
        level=2,
        prompt=(
            "Five LEDs are on the pins 2 to 6. A single lit LED wanders from pin 2 to pin 6 and back to pin 2, over "
            "and over. Each is lit for 150 ms at a time, the ones at the two ends no longer than the others, and "
            "exactly one is lit at any time."
        ),
        check=_bounces,
        seconds=5.0,
        **differ(
            """\
import time
from machine import Pin

leds = [Pin(number, Pin.OUT, value=0) for number in range(2, 7)]
path = leds + leds[-2:0:-1]
while True:
    for led in path:
        led.on()
        time.sleep_ms(150)
        led.off()
""",
            ("leds[-2:0:-1]", "leds[::-1]"),
        ),
        mistake="the LEDs at the ends are lit twice as long",
    ),
)
