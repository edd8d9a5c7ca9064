"""Level 2: displays, registers, motors and signals made by setting single pins."""

from __future__ import annotations

from itertools import pairwise

from stages.evaluation.checks import Edge, edges, end, follows, level_at, near, of_kind, require
from stages.evaluation.sandbox import Outcome
from stages.evaluation.task import BY_ITSELF, Task
from stages.evaluation.tasks._pairs import differ
from stages.evaluation.tasks._pulls import pulled
from stages.evaluation.tasks._states import Shown, in_turn, settled, states
from stages.evaluation.wiring import Levels, Pin, Setup

DIGITS = ("abcdef", "bc", "abged", "abgcd", "fgbc", "afgcd", "afgedc", "abc", "abcdefg", "abcdfg")


def _countdown(outcome: Outcome) -> None:
    shown = [tuple(int(segment in DIGITS[digit]) for segment in "abcdefg") for digit in range(9, -1, -1)]
    in_turn(states(outcome, range(2, 9)), [*((digit, 0.5) for digit in shown), ((0,) * 7, 0.0)], 0.02, once=True)


def _register(outcome: Outcome) -> None:
    """A shift register as it hears its three pins: the first bit goes on to Q7."""
    now, held = {10: 0, 11: 0, 12: 0}, 0
    outputs: list[tuple[float, Shown]] = [(0.0, (0,))]
    for event in of_kind(outcome, "pin"):
        pin, value = event["pin"], event["value"]
        if pin not in now or now[pin] == value:
            continue
        now[pin] = value
        if (pin, value) == (11, 1):
            held = (held << 1 | now[10]) & 0xFF
        elif (pin, value) == (12, 1):
            outputs.append((event["t"], (held,)))
    in_turn(settled(outputs, end(outcome), 0.003), [((2**count - 1,), 0.2) for count in range(1, 9)], 0.015)


HALF_STEPS = (
    (1, 0, 0, 0),
    (1, 1, 0, 0),
    (0, 1, 0, 0),
    (0, 1, 1, 0),
    (0, 0, 1, 0),
    (0, 0, 1, 1),
    (0, 0, 0, 1),
    (1, 0, 0, 1),
)


def _half_steps(outcome: Outcome) -> None:
    places = [*range(21), *range(19, -1, -1)]
    wanted = [*((HALF_STEPS[place % 8], 0.01) for place in places), ((0, 0, 0, 0), 0.0)]
    in_turn(states(outcome, (6, 7, 8, 9), 0.002), wanted, 0.001, once=True)


TURNS = (1, 1, 1, -1, 1, -1, -1, -1, -1, -1, 1)  # one every 0.4 s from 0.5 s on; clockwise is positive


def _turned() -> dict[Pin, Levels]:
    signals: dict[int, list[tuple[float, int | None]]] = {18: [(0.0, None)], 19: [(0.0, None)]}
    for place, turn in enumerate(TURNS):
        t = 0.5 + 0.4 * place
        for pin, late in ((18, 0.0), (19, 0.004)) if turn > 0 else ((19, 0.0), (18, 0.004)):
            signals[pin] += [(t + late, 0), (t + late + 0.008, None)]
    return {pin: tuple(script) for pin, script in signals.items()}


def _chosen(outcome: Outcome) -> None:
    pulled(outcome, 18, 19)
    place, script = 2, [(0.0, 2)]
    for number, turn in enumerate(TURNS):
        place = min(4, max(0, place + turn))
        script.append((0.5 + 0.4 * number, place))
    for led in range(5):
        follows(outcome, 6 + led, [(t, int(lit == led)) for t, lit in script], margin=0.06)


BIT = 1 / 300


def _sent(outcome: Outcome) -> bytes:
    """The characters on pin 8, read in the middle of each bit."""
    found = bytearray()
    changes = [edge for edge in edges(outcome, 8) if edge.t > 0.015]
    t = 0.0
    for edge in changes:
        if edge.t < t or edge.value == 1:
            continue
        bits = [level_at(outcome, 8, edge.t + (place + 0.5) * BIT) for place in range(10)]
        require(bits[0] == 0 and bits[9] == 1, f"no start and stop bit at {edge.t:.4f} s: {bits}")
        found.append(sum(bit << place for place, bit in enumerate(bits[1:9])))
        t = edge.t + 9.5 * BIT
    return bytes(found)


def _by_hand(outcome: Outcome) -> None:
    changes: list[Edge] = edges(outcome, 8)
    require(changes and changes[0].t < 0.01, "the line is not high before the first character")
    require(len(changes) > 1 and changes[1].t - changes[0].t >= 0.0195, "the line is high for less than 20 ms at first")
    for before, after in pairwise(changes[1:]):
        bits = (after.t - before.t) / BIT
        require(before.value == 1 or near(bits, round(bits), 0.15), f"the line is low for {bits:.2f} bits")
    require(_sent(outcome) == b"Pi 3", f"{_sent(outcome)!r} instead of b'Pi 3'")
    require(changes[-1].value == 1, "the line is low in the end")


TASKS = (
    Task(
        id="pins/seven-segment-countdown",
        level=2,
        prompt=(
            "A seven-segment digit with common cathode has its segments a, b, c, d, e, f and g on the pins 2, 3, 4, 5, "
            "6, 7 and 8, in this order; a high level lights a segment. Segment a is the top one, b to f follow "
            "clockwise, g is in the middle. Count down from 9 to 0, half a second for each digit, then turn all "
            "segments off and end the program. The 6 is shown with segment a, the 7 with a, b and c only, the 9 with "
            "segment d."
        ),
        check=_countdown,
        ends=BY_ITSELF,
        **differ(
            """\
import time
from machine import Pin

DIGITS = ("abcdef", "bc", "abdeg", "abcdg", "bcfg", "acdfg", "acdefg", "abc", "abcdefg", "abcdfg")
segments = {name: Pin(2 + place, Pin.OUT, value=0) for place, name in enumerate("abcdefg")}


def show(lit):
    for name, pin in segments.items():
        pin.value(name in lit)


for digit in range(9, -1, -1):
    show(DIGITS[digit])
    time.sleep_ms(500)
show("")
""",
            ("range(9, -1, -1)", "range(9, 0, -1)"),
        ),
        mistake="range() ends before the 0",
    ),
    Task(
        id="pins/register-bar",
        level=2,
        prompt=(
            "Eight LEDs hang on a 74HC595: data on pin 10, shift clock on pin 11, latch on pin 12. A bit is "
            "taken at each rising edge of the clock; the first of eight ends up at output Q7, the last at Q0; "
            "a rising edge of the latch shows all eight. Set the pins yourself, without SPI. Show a growing "
            "bar, 200 ms for each step: first only Q0 is high, then Q0 and Q1, and so on up to all eight, then "
            "only Q0 again, for ever."
        ),
        check=_register,
        seconds=5.1,
        **differ(
            """\
import time
from machine import Pin

data = Pin(10, Pin.OUT, value=0)
clock = Pin(11, Pin.OUT, value=0)
latch = Pin(12, Pin.OUT, value=0)


def show(value):
    for bit in range(7, -1, -1):
        data.value(value >> bit & 1)
        clock.on()
        clock.off()
    latch.on()
    latch.off()


while True:
    for count in range(1, 9):
        show((1 << count) - 1)
        time.sleep_ms(200)
""",
            ("range(7, -1, -1)", "range(8)"),
        ),
        mistake="sends the lowest bit first, so that the bar grows from Q7",
    ),
    Task(
        id="pins/half-steps",
        level=2,
        prompt=(
            "The coils of a stepper motor are on the pins 6, 7, 8 and 9 (high: on). Its half steps are: 6 "
            "alone, 6 and 7, 7 alone, 7 and 8, 8 alone, 8 and 9, 9 alone, 9 and 6, and so on from the "
            "beginning. Start with 6 alone, go 20 half steps forwards, then 20 back through the same "
            "positions, so that it ends with 6 alone. Hold every position, the first, the turning point and "
            "the last too, for 10 ms. Then turn all coils off and end the program."
        ),
        check=_half_steps,
        ends=BY_ITSELF,
        **differ(
            """\
import time
from machine import Pin

POSITIONS = ((0,), (0, 1), (1,), (1, 2), (2,), (2, 3), (3,), (3, 0))
coils = [Pin(number, Pin.OUT, value=0) for number in (6, 7, 8, 9)]


def hold(position):
    for number, coil in enumerate(coils):
        coil.value(number in POSITIONS[position % 8])
    time.sleep_ms(10)


for position in range(21):
    hold(position)
for position in range(19, -1, -1):
    hold(position)
for coil in coils:
    coil.off()
""",
            ("range(19, -1, -1)", "range(7, -13, -1)"),
        ),
        mistake="the way back begins at the end of the table instead of where the motor is, which jumps",
    ),
    Task(
        id="pins/encoder-choice",
        level=2,
        prompt=(
            "A rotary encoder has contact A on pin 18 and B on pin 19, both to ground, open at rest (use the "
            "internal pull-ups; no bounce). A detent clockwise is: A closes, B closes, A opens, B opens; "
            "anticlockwise: B closes, A closes, B opens, A opens, 4 ms or more apart. Of the LEDs on pins 6 to "
            "10 exactly one is lit, at first pin 8. A detent clockwise moves it to the next higher pin, "
            "anticlockwise to the next lower one; at the two ends it stays. React within 40 ms."
        ),
        setup=Setup(pins=_turned()),
        check=_chosen,
        seconds=5.5,
        **differ(
            """\
import time
from machine import Pin

a = Pin(18, Pin.IN, Pin.PULL_UP)
b = Pin(19, Pin.IN, Pin.PULL_UP)
leds = [Pin(number, Pin.OUT, value=0) for number in range(6, 11)]
place = 2
leds[place].on()
before = 1
while True:
    now = a.value()
    if now != before:
        if now == 0:
            leds[place].off()
            place = min(4, place + 1) if b.value() else max(0, place - 1)
            leds[place].on()
        before = now
    time.sleep_ms(1)
""",
            ("now == 0:", "True:"),
            ("if b.value() else", "if b.value() != now else"),
        ),
        mistake="counts both edges of A, two places for a detent",
    ),
    Task(
        id="pins/serial-by-hand",
        level=2,
        prompt=(
            'Send the text "Pi 3" as a serial signal on pin 8 by switching the pin yourself, without UART or PIO: 300 '
            "bits per second, one start bit (low), eight data bits with the lowest first, no parity, one stop bit "
            "(high). The line is high when idle: set it high at once, wait for at least 20 ms before the first "
            "character, and leave it high at the end. Then the program ends."
        ),
        check=_by_hand,
        ends=BY_ITSELF,
        **differ(
            """\
import time
from machine import Pin

line = Pin(8, Pin.OUT, value=1)
time.sleep_ms(30)
for byte in b"Pi 3":
    for bit in range(10):
        frame = 1 << 9 | byte << 1
        line.value(frame >> bit & 1)
        time.sleep_us(3333)
""",
            (
                "        line.value(frame >> bit & 1)",
                "        line.value(frame >> (9 - bit if 0 < bit < 9 else bit) & 1)",
            ),
        ),
        mistake="sends the highest data bit first",
    ),
)
