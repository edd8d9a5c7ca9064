"""Level 2: several buttons or switches that decide together, and switches with a run-on."""

from __future__ import annotations

from stages.evaluation.checks import follows
from stages.evaluation.sandbox import Outcome
from stages.evaluation.task import Task
from stages.evaluation.tasks._inputs import button
from stages.evaluation.tasks._pulls import pulled
from stages.evaluation.wiring import Setup


def _latch(outcome: Outcome) -> None:
    pulled(outcome, 10, 11)
    follows(outcome, 15, [(0.0, 0), (0.5, 1), (1.5, 0), (2.3, 1), (3.0, 0), (4.6, 1)], margin=0.08)


def _run_on(outcome: Outcome) -> None:
    pulled(outcome, 12)
    follows(outcome, 13, [(0.0, 0), (0.5, 1), (3.46, 0), (4.0, 1), (9.96, 0)], margin=0.14)


def _two_way(outcome: Outcome) -> None:
    pulled(outcome, 6, 7, pull="down")
    follows(outcome, 8, [(0.0, 0), (1.0, 1), (2.0, 0), (3.1, 1), (4.3, 0), (5.0, 1)], margin=0.1)


def _quiz(outcome: Outcome) -> None:
    pulled(outcome, 2, 3, 4, 5)
    follows(outcome, 10, [(0.0, 0), (4.0, 1)], margin=0.06)
    follows(outcome, 11, [(0.0, 0), (0.5, 1), (1.5, 0)], margin=0.06)
    follows(outcome, 12, [(0.0, 0), (2.2, 1), (3.4, 0)], margin=0.06)


TASKS = (
    Task(
        id="pins/start-stop",
        level=2,
        prompt=(
            "A machine has a start button on pin 10 and a stop button on pin 11; each connects its pin to ground when "
            "pressed (use the internal pull-ups). The motor relay on pin 15 is on at a high level and off at first. "
            "Pressing start switches it on, pressing stop switches it off, and it stays so after the button is "
            "released. Safety first: as long as stop is pressed the motor is off, even when start is pressed as well. "
            "React within 40 ms."
        ),
        setup=Setup(
            pins={
                10: button((0.5, 0.3), (2.3, 0.3), (3.4, 0.3), (4.6, 0.3)),
                11: button((1.5, 0.2), (3.0, 1.0)),
            }
        ),
        check=_latch,
        seconds=5.5,
        reference="""\
import time
from machine import Pin

start = Pin(10, Pin.IN, Pin.PULL_UP)
stop = Pin(11, Pin.IN, Pin.PULL_UP)
motor = Pin(15, Pin.OUT, value=0)
while True:
    if stop.value() == 0:
        motor.off()
    elif start.value() == 0:
        motor.on()
    time.sleep_ms(5)
""",
        wrong="""\
import time
from machine import Pin

start = Pin(10, Pin.IN, Pin.PULL_UP)
stop = Pin(11, Pin.IN, Pin.PULL_UP)
motor = Pin(15, Pin.OUT, value=0)
while True:
    if not start.value():
        motor.on()
    elif not stop.value():
        motor.off()
    time.sleep_ms(5)
""",
        mistake="start wins when both are pressed",
    ),
    Task(
        id="pins/fan-run-on",
        level=2,
        prompt=(
            "The light switch of a bathroom connects pin 12 to ground while the light is on (use the internal "
            "pull-up). Let the fan on pin 13 (high: running) run whenever the light is on and for 2 more seconds after "
            "it went out. When the light comes back within these 2 seconds, the fan just keeps running, and the 2 "
            "seconds begin anew when the light goes out the next time. React within 50 ms."
        ),
        setup=Setup(pins={12: button((0.5, 1.0), (4.0, 0.5), (5.5, 2.5))}),
        check=_run_on,
        seconds=11.0,
        reference="""\
import time
from machine import Pin

switch = Pin(12, Pin.IN, Pin.PULL_UP)
fan = Pin(13, Pin.OUT, value=0)
last = None
while True:
    if switch.value() == 0:
        last = time.ticks_ms()
    fan.value(last is not None and time.ticks_diff(time.ticks_ms(), last) < 2000)
    time.sleep_ms(10)
""",
        wrong="""\
import time
from machine import Pin

switch = Pin(12, Pin.IN, Pin.PULL_UP)
fan = Pin(13, Pin.OUT, value=0)
while True:
    if switch.value() == 0:
        fan.on()
    elif fan.value() == 1:
        time.sleep(2)
        fan.off()
    time.sleep_ms(10)
""",
        mistake="does not look at the switch while it waits for 2 seconds",
    ),
    Task(
        id="pins/two-way-switches",
        level=2,
        prompt=(
            "Two switches at the ends of a corridor connect pin 6 and pin 7 to 3.3 V when they are closed; there are "
            "no resistors, so use the internal ones. The lamp on pin 8 (high: lit) is lit when exactly one of the two "
            "is closed. React within 50 ms."
        ),
        setup=Setup(
            pins={
                6: ((0.0, None), (1.0, 1), (3.1, None), (5.0, 1)),
                7: ((0.0, None), (2.0, 1), (4.3, None)),
            }
        ),
        check=_two_way,
        seconds=6.0,
        reference="""\
import time
from machine import Pin

one = Pin(6, Pin.IN, Pin.PULL_DOWN)
two = Pin(7, Pin.IN, Pin.PULL_DOWN)
lamp = Pin(8, Pin.OUT)
while True:
    lamp.value(one.value() != two.value())
    time.sleep_ms(20)
""",
        wrong="""\
import time
from machine import Pin

one = Pin(6, Pin.IN, Pin.PULL_UP)
two = Pin(7, Pin.IN, Pin.PULL_UP)
lamp = Pin(8, Pin.OUT)
while True:
    lamp.value(one.value() ^ two.value())
    time.sleep_ms(20)
""",
        mistake="with pull-ups both read as closed all the time",
    ),
    Task(
        id="pins/quiz-buzzers",
        level=2,
        prompt=(
            "Three players of a quiz have buttons on the pins 2, 3 and 4 and, in the same order, LEDs on the pins 10, "
            "11 and 12; the host has a button on pin 5. All buttons connect to ground (use the internal pull-ups). The "
            "first player to press lights their own LED, and from then on presses of players do nothing until the host "
            "presses: that turns the LED off and opens the next round. All LEDs are off at first. React within 20 ms."
        ),
        setup=Setup(
            pins={
                2: button((0.6, 0.3), (4.0, 0.3)),
                3: button((0.5, 0.3), (2.5, 0.2)),
                4: button((2.2, 0.2), (2.9, 0.2)),
                5: button((1.5, 0.2), (3.4, 0.2)),
            }
        ),
        check=_quiz,
        seconds=5.0,
        reference="""\
import time
from machine import Pin

buttons = [Pin(number, Pin.IN, Pin.PULL_UP) for number in (2, 3, 4)]
host = Pin(5, Pin.IN, Pin.PULL_UP)
leds = [Pin(number, Pin.OUT, value=0) for number in (10, 11, 12)]
taken = False
while True:
    if host.value() == 0:
        taken = False
        for led in leds:
            led.off()
    elif not taken:
        for button, led in zip(buttons, leds):
            if button.value() == 0:
                led.on()
                taken = True
                break
    time.sleep_ms(2)
""",
        wrong="""\
import time
from machine import Pin

buttons = [Pin(number, Pin.IN, Pin.PULL_UP) for number in (2, 3, 4)]
host = Pin(5, Pin.IN, Pin.PULL_UP)
leds = [Pin(number, Pin.OUT, value=0) for number in (10, 11, 12)]
while True:
    for button, led in zip(buttons, leds):
        if button.value() == 0:
            for other in leds:
                other.off()
            led.on()
    if host.value() == 0:
        for led in leds:
            led.off()
    time.sleep_ms(2)
""",
        mistake="the last press wins: a second player takes the round from the first",
    ),
)
