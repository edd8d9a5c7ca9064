"""Level 5: programs that people operate with buttons."""

from __future__ import annotations

import re

from stages.evaluation.checks import edges, follows, lines, near, require, tells, texts
from stages.evaluation.sandbox import Outcome
from stages.evaluation.task import Task
from stages.evaluation.tasks._inputs import CLEAN, button
from stages.evaluation.tasks._pairs import differ
from stages.evaluation.wiring import Setup


def _crossing(outcome: Outcome) -> None:
    starts = (4.0, 15.0)  # of the change from green to yellow
    script: dict[int, list[tuple[float, int]]] = {16: [(0, 0)], 17: [(0, 0)], 18: [(0, 1)], 19: [(0, 1)], 20: [(0, 0)]}
    for t in starts:
        script[16] += [(t + 1, 1), (t + 7, 0)]
        script[17] += [(t, 1), (t + 1, 0), (t + 6, 1), (t + 7, 0)]
        script[18] += [(t, 0), (t + 7, 1)]
        script[19] += [(t + 2, 0), (t + 5, 1)]
        script[20] += [(t + 2, 1), (t + 5, 0)]
    for pin, wanted in script.items():
        follows(outcome, pin, wanted, margin=0.1)


ATTEMPTS = (0.4, 3.0, 3.5, 6.0, 9.0, 12.0, 15.0)


def _reaction(outcome: Outcome) -> None:
    printed = lines(outcome)
    require(len(printed) == len(ATTEMPTS), f"{len(printed)} lines after {len(ATTEMPTS)} presses")
    rises = [edge.t for edge in edges(outcome, 10) if edge.value]
    falls = [edge.t for edge in edges(outcome, 10) if not edge.value]
    waits = []
    for line, before, press in zip(printed, (0.0, *ATTEMPTS), ATTEMPTS, strict=False):
        lit = [t for t in rises if before < t < press]
        require(near(line.t, press, 0.05), f"{line.text!r} at {line.t:.2f} s, not after the press at {press} s")
        if press - before < 1:
            require(not lit and "early" in line.text.lower(), f"{line.text!r} after a press before the LED was lit")
            continue
        require(len(lit) == 1, f"the LED is lit {len(lit)} times between {before} and {press} s")
        waits.append(lit[0] - before)
        require(0.98 <= waits[-1] <= 2.15, f"the LED is lit {waits[-1]:.2f} s after the beginning of the round")
        ms = 1000 * (press - lit[0])
        require(tells(line.text, ms, 25), f"{line.text!r} instead of {ms:.0f} ms")
        require(any(near(t, press, 0.05) for t in falls), f"the LED stays on after the press at {press} s")
    require(max(waits) - min(waits) > 0.02, "the wait is always the same")


PLACES = ("Light", "Fan", "Pump", "Light", "Fan")


def _menu(outcome: Outcome) -> None:
    found = [name for text in texts(outcome) for name in ("Light", "Fan", "Pump") if name.lower() in text.lower()]
    require(found == [*PLACES], f"printed {found}")
    follows(outcome, 10, ((0.0, 0), (2.5, 1)), margin=0.1)
    follows(outcome, 11, ((0.0, 0), (1.0, 1), (4.2, 0), (4.7, 1)), margin=0.1)
    follows(outcome, 12, ((0.0, 0), (1.75, 1)), margin=0.1)


def _stopwatch(outcome: Outcome) -> None:
    found = [time for text in texts(outcome) for time in re.findall(r"\d+:\d+\.\d+", text)]
    require(found == ["0:01.2", "0:02.3", "0:00.0", "1:01.2"], f"printed {found}")


def _taps(outcome: Outcome) -> None:
    follows(outcome, 8, ((0.0, 0), (10.3, 1), (12.3, 0)), margin=0.2)
    follows(outcome, 7, ((0.0, 0), (4.3, 1), (5.3, 0), (17.0, 1), (18.0, 0)), margin=0.2)


def _indicator(outcome: Outcome) -> None:
    left = (0.0, 0.5, 0.9, 1.3, 1.7, 2.1, 2.2, 5.0, 5.4, 5.8, 6.2, 6.6, 6.9)
    right = (0.0, 2.2, 2.6, 3.0, 3.4, 3.8, 4.1)
    for pin, changes in ((4, left), (5, right)):
        follows(outcome, pin, ((t, i % 2) for i, t in enumerate(changes)), margin=0.05)


TASKS = (
    Task(
        id="programs/pedestrian-crossing",
        level=5,
        prompt=(
            "Program a pedestrian crossing: cars have red on pin 16, yellow on 17, green on 18; pedestrians "
            "red on 19, green on 20. At rest cars have green and pedestrians red. A press of the button from "
            "pin 15 to ground (no bounce, at least 100 ms) starts: cars yellow 1 s, cars red 1 s, pedestrians "
            "green 3 s, pedestrians red 1 s (cars stay red all the while), cars red with yellow 1 s, cars "
            "green. Cars keep green for at least 4 s, also after the start. A press is remembered until it can "
            "be served, but ignored during the pedestrians' green."
        ),
        setup=Setup(pins={15: button((1.0, 0.1), (9.5, 0.1), (18.0, 0.1), bounce=CLEAN)}),
        check=_crossing,
        seconds=28.0,
        **differ(
            """\
import time
from machine import Pin

button = Pin(15, Pin.IN, Pin.PULL_UP)
lights = [Pin(number, Pin.OUT, value=0) for number in (16, 17, 18, 19, 20)]
asked = False


def show(pattern, ms, listening=True):
    global asked
    for light, on in zip(lights, pattern):
        light.value(on == "1")
    start = time.ticks_ms()
    while time.ticks_diff(time.ticks_ms(), start) < ms:
        if listening and not button.value():
            asked = True
        time.sleep_ms(10)


while True:
    show("00110", 4000)
    while not asked:
        show("00110", 20)
    asked = False
    show("01010", 1000)
    show("10010", 1000)
    show("10001", 3000, listening=False)
    show("10010", 1000)
    show("11010", 1000)
""",
            (
                '    show("10010", 1000)\n    show("11010", 1000)\n',
                '    show("10010", 1000, listening=False)\n    show("11010", 1000, listening=False)\n',
            ),
        ),
        mistake="a press after the green of the pedestrians is lost",
    ),
    Task(
        id="programs/reaction-game",
        level=5,
        prompt=(
            "Write a reaction game with an LED on pin 10 and a button from pin 11 to ground (no bounce). In a "
            "round the LED is off for a random time between 1 and 2 seconds, then lights up. When the button "
            "is pressed after that, turn the LED off and print the reaction time in milliseconds; when it is "
            'pressed before, print "too early". Either way the next round, with a new random time, begins at '
            "once. The first begins with the program; play for ever."
        ),
        setup=Setup(pins={11: button(*((t, 0.1) for t in ATTEMPTS), bounce=CLEAN)}),
        check=_reaction,
        seconds=15.5,
        reference="""\
import random
import time
from machine import Pin

led = Pin(10, Pin.OUT, value=0)
button = Pin(11, Pin.IN, Pin.PULL_UP)


before = 1


def pressed_within(ms):
    global before
    start = time.ticks_ms()
    while ms is None or time.ticks_diff(time.ticks_ms(), start) < ms:
        now = button.value()
        pressed = before and not now
        before = now
        if pressed:
            return True
        time.sleep_ms(2)
    return False


while True:
    if pressed_within(random.randint(1000, 2000)):
        print("too early")
    else:
        led.on()
        lit = time.ticks_ms()
        pressed_within(None)
        led.off()
        print(time.ticks_diff(time.ticks_ms(), lit), "ms")
""",
        wrong="""\
import random
import time
from machine import Pin

led = Pin(10, Pin.OUT, value=0)
button = Pin(11, Pin.IN, Pin.PULL_UP)
while True:
    time.sleep_ms(random.randint(1000, 2000))
    if not button.value():
        print("too early")
        continue
    led.on()
    lit = time.ticks_ms()
    while button.value():
        pass
    led.off()
    print(time.ticks_diff(time.ticks_ms(), lit), "ms")
""",
        mistake="does not see a press during the wait",
    ),
    Task(
        id="programs/two-button-menu",
        level=5,
        prompt=(
            'Make a menu of "Light", "Fan" and "Pump" for the outputs on pins 10, 11 and 12, all off at first. '
            "The button Next from pin 2 to ground selects the next entry, after the last one the first; the "
            "button OK from pin 3 to ground switches the output of the selected entry on or off. Print the "
            "selected name on a line of its own at the start and after each press of Next, and nothing else. "
            "Both buttons bounce for up to 10 ms when they close and open, and may be held for a second."
        ),
        setup=Setup(
            pins={
                2: button((0.5, 0.2), (1.5, 0.1), (2.0, 0.1), (3.0, 0.8)),
                3: button((1.0, 0.2), (1.75, 0.1), (2.5, 0.1), (4.2, 0.1), (4.7, 0.6)),
            }
        ),
        check=_menu,
        seconds=6.0,
        **differ(
            """\
import time
from machine import Pin

NAMES = ("Light", "Fan", "Pump")
outputs = [Pin(number, Pin.OUT, value=0) for number in (10, 11, 12)]
following = Pin(2, Pin.IN, Pin.PULL_UP)
okay = Pin(3, Pin.IN, Pin.PULL_UP)
selected = 0
before = (1, 1)
print(NAMES[selected])
while True:
    now = (following.value(), okay.value())
    if before[0] and not now[0]:
        selected = (selected + 1) % len(NAMES)
        print(NAMES[selected])
    if before[1] and not now[1]:
        outputs[selected].toggle()
    before = now
    time.sleep_ms(20)
""",
            ("time.sleep_ms(20)", "time.sleep_ms(1)"),
        ),
        mistake="looks so often that it sees the contacts bounce",
    ),
    Task(
        id="programs/stopwatch",
        level=5,
        prompt=(
            "Build a stopwatch. The button from pin 2 to ground starts it, stops it and lets it go on from "
            "there. Whenever it stops, print the whole time as minutes, a colon, seconds with two digits, a "
            "point and tenths, for example 0:07.4; cut off what is less than a tenth. The button from pin 3 to "
            "ground, only while the watch is stopped, sets the time to zero and prints 0:00.0. The buttons do "
            "not bounce."
        ),
        setup=Setup(
            pins={
                2: button(*((t, 0.15) for t in (0.5, 1.75, 3.0, 4.1, 6.0, 67.27)), bounce=CLEAN),
                3: button((3.5, 0.15), (5.0, 0.15), bounce=CLEAN),
            }
        ),
        check=_stopwatch,
        seconds=68.0,
        **differ(
            """\
import time
from machine import Pin

start_stop = Pin(2, Pin.IN, Pin.PULL_UP)
reset = Pin(3, Pin.IN, Pin.PULL_UP)
total = 0
since = None


def show():
    tenths = total // 100
    print("{}:{:02}.{}".format(tenths // 600, tenths // 10 % 60, tenths % 10))


before = (1, 1)
while True:
    now = (start_stop.value(), reset.value())
    if before[0] and not now[0]:
        if since is None:
            since = time.ticks_ms()
        else:
            total += time.ticks_diff(time.ticks_ms(), since)
            since = None
            show()
    if before[1] and not now[1] and since is None:
        total = 0
        show()
    before = now
    time.sleep_ms(5)
""",
            ("total += time", "total = time"),
        ),
        mistake="begins at zero when it goes on",
    ),
    Task(
        id="programs/tap-lock",
        level=5,
        prompt=(
            "A lock is opened by tapping a code on the button from pin 9 to ground (no bounce; presses and "
            "pauses last at least 100 ms). The code has three groups of presses: 2, 3 and 1. A group ends 0.8 "
            "s after its last press went down. At the end of the third group turn pin 8 on for 2 s if all "
            "three numbers were right, otherwise the red LED on pin 7 for 1 s. Then a new code can be entered. "
            "Presses while pin 8 or the LED is on do not count."
        ),
        setup=Setup(
            pins={
                9: button(
                    *((t, 0.1) for t in (0.5, 0.8, 2.0, 2.3, 3.5)),
                    *((t, 0.1) for t in (6.0, 6.3, 7.5, 7.8, 8.1, 9.5, 11.0)),
                    *((t, 0.1) for t in (13.0, 13.2, 13.4, 14.6, 14.9, 16.2)),
                    bounce=CLEAN,
                )
            }
        ),
        check=_taps,
        seconds=19.0,
        **differ(
            """\
import time
from machine import Pin

CODE = [2, 3, 1]
button = Pin(9, Pin.IN, Pin.PULL_UP)
lock = Pin(8, Pin.OUT, value=0)
red = Pin(7, Pin.OUT, value=0)
groups = []
taps = 0
last = 0
before = 1
while True:
    now = button.value()
    if before and not now:
        taps += 1
        last = time.ticks_ms()
    before = now
    if taps and time.ticks_diff(time.ticks_ms(), last) >= 800:
        groups.append(taps)
        taps = 0
    if len(groups) == len(CODE):
        right = groups == CODE
        groups = []
        output = lock if right else red
        output.on()
        time.sleep(2 if right else 1)
        output.off()
        before = button.value()
    time.sleep_ms(10)
""",
            ("groups == CODE", "sum(groups) == sum(CODE)"),
        ),
        mistake="looks only at how many presses there were altogether",
    ),
    Task(
        id="programs/turn-indicator",
        level=5,
        prompt=(
            "Make turn indicators: the button from pin 2 to ground is for the left LED on pin 4, the button "
            "from pin 3 to ground for the right LED on pin 5. A press starts blinking on its side: lit at once "
            "for 400 ms, dark for 400 ms, and so on. Another press of the same button stops it, dark at once. "
            "A press of the other button ends it at once and starts the other side. React within 40 ms. No "
            "bounce; presses take at least 100 ms."
        ),
        setup=Setup(
            pins={
                2: button((0.5, 0.2), (5.0, 0.2), (6.9, 0.2), bounce=CLEAN),
                3: button((2.2, 0.2), (4.1, 0.2), bounce=CLEAN),
            }
        ),
        check=_indicator,
        seconds=8.0,
        **differ(
            """\
import time
from machine import Pin

buttons = [Pin(number, Pin.IN, Pin.PULL_UP) for number in (2, 3)]
leds = [Pin(number, Pin.OUT, value=0) for number in (4, 5)]
before = [1, 1]
side = None
start = 0
while True:
    for i in range(2):
        now = buttons[i].value()
        if before[i] and not now:
            side = None if side == i else i
            start = time.ticks_ms()
        before[i] = now
    bright = time.ticks_diff(time.ticks_ms(), start) % 800 < 400
    for i in range(2):
        leds[i].value(side == i and bright)
    time.sleep_ms(10)
""",
            (
                "    for i in range(2):\n        leds[i].value(side == i and bright)\n",
                "    if side is not None:\n        leds[side].value(bright)\n",
            ),
        ),
        mistake="an LED that is lit at the end of its blinking stays lit",
    ),
)
