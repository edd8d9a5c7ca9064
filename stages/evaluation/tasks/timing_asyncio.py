"""Level 4: asyncio tasks: at once, in time, cancelled."""

from __future__ import annotations

from itertools import pairwise

from stages.evaluation.checks import edges, end, follows, lines, near, numbers, regular, require, tells
from stages.evaluation.sandbox import Outcome
from stages.evaluation.task import BY_ITSELF, Task
from stages.evaluation.tasks._pairs import differ
from stages.evaluation.wiring import Setup


def _two_rates(outcome: Outcome) -> None:
    until = end(outcome)
    for pin, interval in ((2, 0.3), (3, 0.7)):
        changes = [edge.t for edge in edges(outcome, pin)]
        regular(changes, interval, tolerance=0.03, until=until, what=f"pin {pin} changes")
    printed = [line for line in lines(outcome) if line.text == "alive"]
    regular([line.t for line in printed], 1.0, tolerance=0.03, until=until, what="`alive` is printed")


def _timeouts(outcome: Outcome) -> None:
    printed = lines(outcome)
    require(len(printed) == 6, f"{len(printed)} lines instead of 6")
    for line, value in zip(printed, (1020, None, 1050, 1150, None, 1030), strict=True):
        good = "timeout" in line.text.lower() if value is None else tells(line.text, value)
        require(good, f"{line.text!r} instead of {value or 'timeout'}")
    for (here, after), gap in zip(pairwise(printed), (1.2, 1.05, 1.15, 1.2, 1.03), strict=True):
        require(near(after.t - here.t, gap, 0.03), f"{after.text!r} comes {after.t - here.t:.2f} s after the last line")


def _gathered(outcome: Outcome) -> None:
    printed = lines(outcome)
    require(len(printed) == 4, f"{len(printed)} lines instead of 4")
    for line, (number, value) in zip(printed, ((1, 210), (2, 470), (3, None), (4, 65)), strict=True):
        found = numbers(line.text)
        require(found[:1] == [number], f"{line.text!r} instead of a line for sensor {number}")
        good = "error" in line.text.lower() if value is None else found[1:] == [value]
        require(good, f"{line.text!r} instead of {number} {value or 'error'}")
        require(0.69 <= line.t <= 0.8, f"{line.text!r} is printed at {line.t:.2f} s")


def _mixer(outcome: Outcome) -> None:
    motor = ((0.0, 1), (1.7, 0), (2.5, 1), (5.5, 0), (7.0, 1), (10.0, 0))
    valve = ((0.0, 0), (5.5, 1), (6.2, 0), (10.0, 1), (12.0, 0))
    follows(outcome, 11, motor, margin=0.06)
    follows(outcome, 12, valve, margin=0.06)


TASKS = (
    Task(
        id="timing/two-rates",
        level=4,
        prompt=(
            "With asyncio, toggle the LED on pin 2 every 300 ms and the LED on pin 3 every 700 ms, independently of "
            'each other, and print "alive" once a second, for ever.'
        ),
        check=_two_rates,
        reference="""\
import asyncio
from machine import Pin


async def toggle(number, ms):
    led = Pin(number, Pin.OUT)
    while True:
        led.toggle()
        await asyncio.sleep_ms(ms)


async def main():
    asyncio.create_task(toggle(2, 300))
    asyncio.create_task(toggle(3, 700))
    while True:
        print("alive")
        await asyncio.sleep(1)


asyncio.run(main())
""",
        wrong="""\
import asyncio
import time
from machine import Pin


async def toggle(number, ms):
    led = Pin(number, Pin.OUT)
    while True:
        led.toggle()
        time.sleep_ms(ms)
        await asyncio.sleep_ms(0)


async def main():
    asyncio.create_task(toggle(2, 300))
    asyncio.create_task(toggle(3, 700))
    while True:
        print("alive")
        await asyncio.sleep(1)


asyncio.run(main())
""",
        mistake="time.sleep_ms() holds up the other tasks",
    ),
    Task(
        id="timing/patience",
        level=4,
        prompt=(
            "There is a coroutine read_sensor() that returns a number, mostly within 200 ms but sometimes much later. "
            "Call it six times with asyncio, and give up a call that has taken 200 ms. Print the number of each call, "
            'or "timeout" as soon as it is given up, and sleep for one second between two calls. Then end the program.'
        ),
        given="""\
import asyncio

_waits = [20, 900, 50, 150, 700, 30]


async def read_sensor():
    ms = _waits.pop(0)
    await asyncio.sleep_ms(ms)
    return 1000 + ms


""",
        check=_timeouts,
        seconds=12.0,
        ends=BY_ITSELF,
        **differ(
            """\
import asyncio


async def main():
    for _ in range(6):
        try:
            print(await asyncio.wait_for(read_sensor(), 0.2))
        except asyncio.TimeoutError:
            print("timeout")
        await asyncio.sleep(1)


asyncio.run(main())
""",
            ("0.2", "200"),
        ),
        mistake="wait_for() takes seconds, not milliseconds",
    ),
    Task(
        id="timing/all-at-once",
        level=4,
        prompt=(
            "There is a coroutine read(n) for the sensors 1 to 4. It takes some time and returns a number or raises "
            "OSError. Read all four at the same time with asyncio. As soon as all of them have finished, print four "
            'lines in the order 1 to 4: the number of the sensor, a space and its value, or the word "error" instead '
            "of the value where it failed."
        ),
        given="""\
import asyncio


async def read(n):
    await asyncio.sleep_ms((300, 700, 500, 200)[n - 1])
    if n == 3:
        raise OSError(5)
    return (210, 470, 0, 65)[n - 1]


""",
        check=_gathered,
        ends=BY_ITSELF,
        reference="""\
import asyncio


async def main():
    results = await asyncio.gather(*[read(n) for n in range(1, 5)], return_exceptions=True)
    for n, result in enumerate(results, 1):
        print(n, "error" if isinstance(result, OSError) else result)


asyncio.run(main())
""",
        wrong="""\
import asyncio


async def main():
    results = []
    for n in range(1, 5):
        try:
            results.append(await read(n))
        except OSError:
            results.append("error")
    for n, result in enumerate(results, 1):
        print(n, result)


asyncio.run(main())
""",
        mistake="reads one after the other",
    ),
    Task(
        id="timing/mixer-door",
        level=4,
        prompt=(
            "Control a mixer with asyncio. A cycle runs the motor on pin 11 for 3 seconds, then opens the "
            "valve on pin 12 for 2 seconds; high means running or open. Pin 13 is low while the door is "
            "closed. A cycle begins when the door is closed, also right at the start. When the door opens "
            "during a cycle, cancel it: motor and valve are off within 50 ms. Closing the door begins a whole "
            "new cycle. After a complete cycle nothing happens until the door has been opened and closed again."
        ),
        setup=Setup(pins={13: ((0.0, 0), (1.7, 1), (2.5, 0), (6.2, 1), (7.0, 0))}),
        check=_mixer,
        seconds=14.0,
        reference="""\
import asyncio
from machine import Pin

motor = Pin(11, Pin.OUT, value=0)
valve = Pin(12, Pin.OUT, value=0)
door = Pin(13, Pin.IN)


async def cycle():
    try:
        motor.on()
        await asyncio.sleep(3)
        motor.off()
        valve.on()
        await asyncio.sleep(2)
    finally:
        motor.off()
        valve.off()


async def main():
    while True:
        task = asyncio.create_task(cycle())
        while not door.value():
            await asyncio.sleep_ms(20)
        task.cancel()
        while door.value():
            await asyncio.sleep_ms(20)


asyncio.run(main())
""",
        wrong="""\
import asyncio
from machine import Pin

motor = Pin(11, Pin.OUT, value=0)
valve = Pin(12, Pin.OUT, value=0)
door = Pin(13, Pin.IN)


async def cycle():
    motor.on()
    await asyncio.sleep(3)
    motor.off()
    valve.on()
    await asyncio.sleep(2)
    valve.off()


async def main():
    while True:
        task = asyncio.create_task(cycle())
        while not door.value():
            await asyncio.sleep_ms(20)
        task.cancel()
        while door.value():
            await asyncio.sleep_ms(20)


asyncio.run(main())
""",
        mistake="a cancelled cycle leaves the motor running",
    ),
)
