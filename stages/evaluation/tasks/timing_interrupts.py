"""Level 4: interrupts of pins."""

from __future__ import annotations

from stages.evaluation.checks import end, lines, near, numbers, regular, require, tells, texts
from stages.evaluation.sandbox import Outcome
from stages.evaluation.task import Task
from stages.evaluation.tasks._inputs import button, square
from stages.evaluation.tasks._pairs import differ
from stages.evaluation.wiring import Setup


def _counts(outcome: Outcome) -> None:
    printed = lines(outcome)
    regular([line.t for line in printed], 1.0, tolerance=0.05, until=end(outcome), what="a line is printed")
    for line in printed:
        wanted = 50.0 if line.t <= 3.5 else 120.0 if line.t > 4.5 else None
        require(numbers(line.text), f"no number in {line.text!r}")
        require(wanted is None or tells(line.text, wanted, 2), f"{line.text!r} at {line.t:.1f} s instead of {wanted}")


CARS = ((0.5, 0.08), (1.5, 0.16), (2.2, 0.064), (3.7, 0.32))  # (into the barrier at, for so long)


def _speeds(outcome: Outcome) -> None:
    printed = lines(outcome)
    require(len(printed) == len(CARS), f"{len(printed)} lines for {len(CARS)} cars")
    for line, (t, length) in zip(printed, CARS, strict=True):
        wanted = 8 / length
        require(tells(line.text, wanted, 0.03 * wanted), f"{line.text!r} instead of {wanted:.1f} cm/s")
        require(line.t > t + length - 0.01, f"{line.text!r} is printed before the car has passed")


TONES = ((0.0, 36.0), (2.0, 440.0), (4.0, 1000.0))


def _hertz(outcome: Outcome) -> None:
    printed = lines(outcome)
    regular([line.t for line in printed], 0.5, tolerance=0.15, until=end(outcome), what="a line is printed")
    for line in printed:
        since, wanted = next((t, hertz) for t, hertz in reversed(TONES) if t <= line.t)
        if line.t < since + 0.6:
            continue
        good = tells(line.text, wanted, max(3.0, 0.02 * wanted))
        require(good, f"{line.text!r} at {line.t:.1f} s instead of {wanted} Hz")


SHARES = ((0.0, 20.0), (3.0, 70.0), (6.0, 45.0))


def _percent(outcome: Outcome) -> None:
    printed = lines(outcome)
    regular([line.t for line in printed], 1.0, tolerance=0.05, until=end(outcome), what="a line is printed")
    for line in printed:
        since, wanted = next((t, share) for t, share in reversed(SHARES) if t <= line.t)
        if line.t < since + 1.1:
            continue
        require(tells(line.text, wanted, 3), f"{line.text!r} at {line.t:.1f} s instead of {wanted} %")


VISITORS = ((0.7, 0.3), (1.3, 0.9), (2.6, 0.06), (2.85, 0.3), (3.6, 0.2), (5.1, 0.4))
ROUGH = ((0.0, True), (0.002, False), (0.005, True), (0.009, False), (0.015, True))


def _visitors(outcome: Outcome) -> None:
    printed = lines(outcome)
    regular([line.t for line in printed], 2.0, tolerance=0.05, until=end(outcome), what="a line is printed")
    for line in printed:
        wanted = sum(t < line.t for t, _ in VISITORS)
        require(tells(line.text, wanted), f"{line.text!r} at {line.t:.1f} s instead of {wanted}")


EDGES = (*(0.5 + 0.02 * i for i in range(10)), 2.3, 4.5, 4.52, 4.54)


def _saved(outcome: Outcome) -> None:
    printed = [numbers(text)[0] for text in texts(outcome) if text.startswith("saved")]
    require(len(printed) == len(EDGES), f"{len(printed)} of {len(EDGES)} edges were saved")
    for found, wanted in zip(printed, EDGES, strict=True):
        require(near(found, 1000 * wanted, 3), f"saved {found:.0f} ms instead of {1000 * wanted:.0f} ms")


TASKS = (
    Task(
        id="timing/pulses-per-second",
        level=4,
        prompt=(
            "A flow meter gives pulses on pin 12. Count the rising edges in an interrupt handler and print, once a "
            "second, how many came in that second."
        ),
        setup=Setup(pins={12: (*square(0.0, 4.0, 50), *square(4.0, 10.0, 120))}),
        check=_counts,
        **differ(
            """\
import time
from machine import Pin

pulses = 0


def on_pulse(pin):
    global pulses
    pulses += 1


meter = Pin(12, Pin.IN)
meter.irq(handler=on_pulse, trigger=Pin.IRQ_RISING)
while True:
    time.sleep(1)
    count, pulses = pulses, 0
    print(count)
""",
            ("trigger=Pin.IRQ_RISING", "trigger=Pin.IRQ_RISING | Pin.IRQ_FALLING"),
        ),
        mistake="counts both edges",
    ),
    Task(
        id="timing/light-barrier-speed",
        level=4,
        prompt=(
            "Toy cars drive through a light barrier whose output is on pin 17: it is low while a car is in the "
            "barrier and high otherwise. Every car is 8 cm long. Print one line for each car, when it has left the "
            "barrier: its speed in centimetres per second, right to 2 percent."
        ),
        setup=Setup(pins={17: ((0.0, 1), *(entry for t, length in CARS for entry in ((t, 0), (t + length, 1))))}),
        check=_speeds,
        seconds=5.0,
        **differ(
            """\
from machine import Pin
from time import ticks_diff, ticks_us

entered = None


def on_edge(pin):
    global entered
    now = ticks_us()
    if pin.value() == 0:
        entered = now
    elif entered is not None:
        print("{:.1f} cm/s".format(8_000_000 / ticks_diff(now, entered)))
        entered = None


barrier = Pin(17, Pin.IN)
barrier.irq(handler=on_edge, trigger=Pin.IRQ_FALLING | Pin.IRQ_RISING)
""",
            ("pin.value() == 0", "pin.value() == 1"),
        ),
        mistake="times the gaps between the cars: a low level is taken for a free barrier",
    ),
    Task(
        id="timing/frequency-meter",
        level=4,
        prompt=(
            "A square wave of 30 Hz to 1 kHz arrives on pin 18. Measure its frequency and print it in hertz every "
            "half second; 3 Hz or 2 percent of error are allowed, whichever is more."
        ),
        setup=Setup(
            pins={18: tuple(e for (t, hertz) in TONES for e in square(t, t + 2, hertz))},
        ),
        check=_hertz,
        seconds=6.0,
        **differ(
            """\
import time
from machine import Pin

GATE_MS = 500
edges = 0


def count(pin):
    global edges
    edges += 1


Pin(18, Pin.IN).irq(handler=count, trigger=Pin.IRQ_RISING)
before = 0
while True:
    time.sleep_ms(GATE_MS)
    total = edges
    print((total - before) * 1000 // GATE_MS, "Hz")
    before = total
""",
            ("(total - before) * 1000 // GATE_MS", "total - before"),
        ),
        mistake="prints how many came in half a second",
    ),
    Task(
        id="timing/duty-cycle",
        level=4,
        prompt=(
            "Pin 19 receives a rectangular signal of roughly 50 Hz. Once a second, print for which share of the time "
            "it is high, in percent and right to 2 percentage points. Use interrupts on both edges."
        ),
        setup=Setup(
            pins={19: tuple(e for (t, share) in SHARES for e in square(t, t + 3, 50, share / 100))},
        ),
        check=_percent,
        seconds=9.0,
        **differ(
            """\
import time
from machine import Pin

high_us = low_us = 0
last = time.ticks_us()


def on_edge(pin):
    global high_us, low_us, last
    now = time.ticks_us()
    if pin.value():
        low_us = time.ticks_diff(now, last)
    else:
        high_us = time.ticks_diff(now, last)
    last = now


Pin(19, Pin.IN).irq(handler=on_edge, trigger=Pin.IRQ_RISING | Pin.IRQ_FALLING)
while True:
    time.sleep(1)
    print(round(100 * high_us / (high_us + low_us)), "%")
""",
            ("(high_us + low_us)", "low_us"),
        ),
        mistake="divides by the low time instead of the period",
    ),
    Task(
        id="timing/turnstile",
        level=4,
        prompt=(
            "The contact of a turnstile connects pin 20 to ground for every visitor. It stays closed for at least 50 "
            "ms, sometimes for a second, and open for at least 150 ms between two visitors; whenever it closes or "
            "opens, it bounces for up to 15 ms. Count the visitors with the help of an interrupt and print every 2 "
            "seconds how many there have been since the start."
        ),
        setup=Setup(pins={20: button(*VISITORS, bounce=ROUGH)}),
        check=_visitors,
        seconds=9.0,
        reference="""\
import time
from machine import Pin, Timer

contact = Pin(20, Pin.IN, Pin.PULL_UP)
settled = Timer(-1)
visitors = 0
closed = False


def look(timer):
    global visitors, closed
    now = contact.value() == 0
    if now and not closed:
        visitors += 1
    closed = now


def on_edge(pin):
    settled.init(mode=Timer.ONE_SHOT, period=20, callback=look)


contact.irq(handler=on_edge, trigger=Pin.IRQ_FALLING | Pin.IRQ_RISING)
while True:
    time.sleep(2)
    print(visitors)
""",
        wrong="""\
import time
from machine import Pin

visitors = 0
last = time.ticks_ms()


def on_close(pin):
    global visitors, last
    now = time.ticks_ms()
    if time.ticks_diff(now, last) > 100:
        visitors += 1
        last = now


contact = Pin(20, Pin.IN, Pin.PULL_UP)
contact.irq(handler=on_close, trigger=Pin.IRQ_FALLING)
while True:
    time.sleep(2)
    print(visitors)
""",
        mistake="the contact bounces when it opens too, which counts as another visitor",
    ),
    Task(
        id="timing/no-edge-lost",
        level=4,
        prompt=(
            "There is a function save(ms) that stores a time stamp; it takes 300 ms, so it must not be called in an "
            "interrupt handler. Call it once for every rising edge on pin 21, in the order of the edges, with what "
            "time.ticks_ms() was at the edge. Up to ten edges may follow each other at intervals of 20 ms, also while "
            "save() is busy; none of them may be lost."
        ),
        given=("import time\n\n\ndef save(ms):\n    time.sleep_ms(300)\n    print(f'saved {ms}')\n\n\n"),
        setup=Setup(pins={21: ((0.0, 0), *(entry for t in EDGES for entry in ((t, 1), (t + 0.005, 0))))}),
        check=_saved,
        seconds=7.0,
        reference="""\
import time
from machine import Pin

waiting = []


def on_edge(pin):
    waiting.append(time.ticks_ms())


Pin(21, Pin.IN).irq(handler=on_edge, trigger=Pin.IRQ_RISING)
while True:
    if waiting:
        save(waiting.pop(0))
    else:
        time.sleep_ms(5)
""",
        wrong="""\
import time
from machine import Pin

seen = False
stamp = 0


def on_edge(pin):
    global seen, stamp
    seen = True
    stamp = time.ticks_ms()


Pin(21, Pin.IN).irq(handler=on_edge, trigger=Pin.IRQ_RISING)
while True:
    if seen:
        seen = False
        save(stamp)
    time.sleep_ms(5)
""",
        mistake="one flag cannot remember several edges",
    ),
)
