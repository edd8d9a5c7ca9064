"""Level 2: buttons, by what their presses mean, and a light barrier."""

from __future__ import annotations

from stages.evaluation.checks import follows, high_times, near, require
from stages.evaluation.sandbox import Outcome
from stages.evaluation.task import Task
from stages.evaluation.tasks._inputs import button
from stages.evaluation.tasks._pulls import pulled
from stages.evaluation.wiring import Levels, Setup

PRESSES = (0.5, 1.2, 2.0, 2.7, 3.5, 4.2, 5.0, 5.8, 6.5)
ITEMS = (0.31, 0.52, 0.90, 1.13, 1.402, 1.431, 1.47, 2.3, 2.341, 2.6, 2.64, 2.68, 2.9, 3.3, 3.35, 3.38, 3.9)
DOUBLES = (0.5, 0.8, 1.5, 2.1, 2.9, 3.2, 4.0, 4.2, 4.35, 5.5)
STEADY = ((0.0, True),)


def _binary(outcome: Outcome) -> None:
    pulled(outcome, 14)
    for bit, pin in enumerate((2, 3, 4)):
        counts = enumerate((0.0, *PRESSES))
        follows(outcome, pin, [(t, (count >> bit) & 1) for count, t in counts], margin=0.15)


def _hold(outcome: Outcome) -> None:
    pulled(outcome, 16)
    follows(outcome, 17, [(0.0, 0), (2.97, 1), (7.47, 0)], margin=0.13)


def _items() -> Levels:
    script: list[tuple[float, int | None]] = [(0.0, 1)]
    for t in ITEMS:
        script += [(t, 0), (t + 0.001, 1)]
    return tuple(script)


def _fifths(outcome: Outcome) -> None:
    pulses = high_times(outcome, 9)
    require(len(pulses) == 3, f"{len(pulses)} flashes instead of 3")
    for pulse, t in zip(pulses, ITEMS[4::5], strict=True):
        require(-0.001 <= pulse.start - t <= 0.03, f"a flash at {pulse.start:.3f} s instead of {t:.3f} s")
        require(near(pulse.length, 0.1, 0.015), f"a flash of {pulse.length:.3f} s instead of 0.1 s")


def _double(outcome: Outcome) -> None:
    pulled(outcome, 20)
    follows(outcome, 21, [(0.0, 0), (0.8, 1), (3.2, 0), (4.2, 1)], margin=0.06)


TASKS = (
    Task(
        id="pins/binary-counter",
        level=2,
        prompt=(
            "A button connects pin 14 to ground. Count its presses and show the count in binary on the LEDs on pins 2 "
            "(lowest bit), 3 and 4; after 7 comes 0 again. Holding the button counts once, and contacts that bounce "
            "for up to 10 ms must not count twice. Use the internal pull-up. Begin with all LEDs off."
        ),
        setup=Setup(pins={14: button(*((t, 0.3) for t in PRESSES))}),
        check=_binary,
        seconds=7.2,
        reference="""\
import time
from machine import Pin

button = Pin(14, Pin.IN, Pin.PULL_UP)
leds = [Pin(number, Pin.OUT, value=0) for number in (2, 3, 4)]
count = 0
before = 1
while True:
    now = button.value()
    if now != before:
        time.sleep_ms(20)
        now = button.value()
        if now == 0 and before == 1:
            count = (count + 1) % 8
            for bit, led in enumerate(leds):
                led.value(count >> bit & 1)
        before = now
    time.sleep_ms(5)
""",
        wrong="""\
import time
from machine import Pin

button = Pin(14, Pin.IN, Pin.PULL_UP)
leds = [Pin(number, Pin.OUT, value=0) for number in (2, 3, 4)]
count = 0
while True:
    if button.value() == 0:
        count = (count + 1) % 8
        for bit, led in enumerate(leds):
            led.value(count >> bit & 1)
        time.sleep_ms(200)
    time.sleep_ms(5)
""",
        mistake="a button that is held counts again and again",
    ),
    Task(
        id="pins/hold-to-switch",
        level=2,
        prompt=(
            "The button on pin 16 connects it to ground (use the internal pull-up; the contacts bounce for up to 10 "
            "ms). The lamp on pin 17 changes between off, as it is at first, and on when the button has been held for "
            "1.5 seconds: at that moment, not when it is released, and only once for each time it is held. Shorter "
            "presses do nothing. React within 50 ms."
        ),
        setup=Setup(pins={16: button((0.5, 0.4), (1.5, 2.0), (4.0, 1.2), (6.0, 4.0))}),
        check=_hold,
        seconds=11.0,
        reference="""\
import time
from machine import Pin

button = Pin(16, Pin.IN, Pin.PULL_UP)
lamp = Pin(17, Pin.OUT, value=0)
held = 0
while True:
    if button.value() == 0:
        held += 10
        if held == 1500:
            lamp.toggle()
    else:
        held = 0
    time.sleep_ms(10)
""",
        wrong="""\
import time
from machine import Pin

button = Pin(16, Pin.IN, Pin.PULL_UP)
lamp = Pin(17, Pin.OUT, value=0)
while True:
    if button.value() == 0:
        start = time.ticks_ms()
        while button.value() == 0:
            time.sleep_ms(10)
        if time.ticks_diff(time.ticks_ms(), start) >= 1500:
            lamp.toggle()
    time.sleep_ms(10)
""",
        mistake="switches only when the button is released",
    ),
    Task(
        id="pins/every-fifth-item",
        level=2,
        prompt=(
            "A light barrier holds pin 7 high and pulls it low for 1 ms when an item passes; items may follow each "
            "other at any distance of 20 ms or more. After every fifth item switch on the LED on pin 9 for 100 ms, "
            "beginning within 20 ms of the item. Items that pass while the LED is lit count too."
        ),
        setup=Setup(pins={7: _items()}),
        check=_fifths,
        seconds=5.0,
        reference="""\
import time
from machine import Pin

items = 0


def passed(pin):
    global items
    items += 1


barrier = Pin(7, Pin.IN)
barrier.irq(handler=passed, trigger=Pin.IRQ_FALLING)
led = Pin(9, Pin.OUT, value=0)
due = 5
while True:
    if items >= due:
        due += 5
        led.on()
        time.sleep_ms(100)
        led.off()
    time.sleep_ms(5)
""",
        wrong="""\
import time
from machine import Pin

barrier = Pin(7, Pin.IN)
led = Pin(9, Pin.OUT, value=0)
items = 0
while True:
    while barrier.value() == 1:
        pass
    items += 1
    if items % 5 == 0:
        led.on()
        time.sleep_ms(100)
        led.off()
    while barrier.value() == 0:
        pass
""",
        mistake="misses the items that pass while the LED is lit",
    ),
    Task(
        id="pins/double-press",
        level=2,
        prompt=(
            "A button without bounce connects pin 20 to ground (use the internal pull-up). The LED on pin 21, off at "
            "first, changes between on and off when the button is pressed twice in quick succession: the second press "
            "begins less than 400 ms after the beginning of the first. It changes at the second press. Single presses "
            "do nothing. A press that completed a pair does not count as the first one of another pair. React within "
            "30 ms."
        ),
        setup=Setup(pins={20: button(*((t, 0.08) for t in DOUBLES), bounce=STEADY)}),
        check=_double,
        seconds=6.5,
        reference="""\
import time
from machine import Pin

button = Pin(20, Pin.IN, Pin.PULL_UP)
led = Pin(21, Pin.OUT, value=0)
before = 1
first = None
while True:
    now = button.value()
    if before == 1 and now == 0:
        t = time.ticks_ms()
        if first is not None and time.ticks_diff(t, first) < 400:
            led.toggle()
            first = None
        else:
            first = t
    before = now
    time.sleep_ms(5)
""",
        wrong="""\
import time
from machine import Pin

button = Pin(20, Pin.IN, Pin.PULL_UP)
led = Pin(21, Pin.OUT, value=0)
last_state = 1
last_press = -1000
while True:
    state = button.value()
    if last_state == 1 and state == 0:
        now = time.ticks_ms()
        if time.ticks_diff(now, last_press) < 400:
            led.value(not led.value())
        last_press = now
    last_state = state
    time.sleep_ms(5)
""",
        mistake="a third quick press makes another pair with the second",
    ),
)
