"""Level 4: asyncio tasks that wait for each other and share things."""

from __future__ import annotations

from itertools import pairwise

from stages.evaluation.checks import (
    adc_reads,
    edges,
    end,
    high_times,
    lines,
    near,
    numbers,
    of_kind,
    regular,
    require,
    texts,
    uart_written,
)
from stages.evaluation.sandbox import Outcome
from stages.evaluation.task import BY_ITSELF, Task
from stages.evaluation.tasks._pairs import differ
from stages.evaluation.wiring import Setup


def _starter(outcome: Outcome) -> None:
    for pin, delay in ((10, 0.2), (11, 0.4), (12, 0.6)):
        pulses = high_times(outcome, pin)
        require(len(pulses) == 1, f"LED {pin} lights {len(pulses)} times")
        require(near(pulses[0].start, 1.5 + delay, 0.03), f"LED {pin} lights at {pulses[0].start:.3f} s")
        require(near(pulses[0].length, 0.3, 0.02), f"LED {pin} is on for {pulses[0].length:.3f} s")
    printed = lines(outcome)
    require(printed and printed[-1].text == "finished", "`finished` is not printed")
    require(near(printed[-1].t, 2.4, 0.05), f"`finished` is printed at {printed[-1].t:.3f} s")
    require(outcome.returned_us is not None, "the program does not end")


def _whole_lines(outcome: Outcome) -> None:
    sent = uart_written(outcome, 0).decode("latin-1").splitlines()
    for wanted in ("TEMP 21", "HUM 40"):
        require(sent.count(wanted) == 10, f"{sent.count(wanted)} lines are {wanted!r}: {sent[:4]}")
        require(wanted in sent[:5], "the tasks do not take turns")
    require(len(sent) == 20, f"{len(sent)} lines instead of 20")
    for first, length in ((b"T", 0.08), (b"H", 0.07)):
        starts = [event["t"] for event in of_kind(outcome, "uart", data=first.hex())]
        for before, after in pairwise(starts):
            pause = after - before - length
            require(0.095 <= pause <= 0.21, f"a pause of {pause:.3f} s after a line")


STEPS = (1100, 2200, 3300, 4400, 5500, 6600, 7700, 8800, 9900, 11000)


def _handled(outcome: Outcome) -> None:
    readings = adc_reads(outcome, 26)
    require(len(readings) == 8, f"{len(readings)} readings instead of 8")
    for (before, _), (after, _) in pairwise(readings):
        require(near(after - before, 0.1, 0.01), f"readings {after - before:.3f} s apart")
    found = [numbers(text)[0] for text in texts(outcome) if text.startswith("handled")]
    require(found == [value for _, value in readings], f"handled {found}")


KNOCKS = (0.6, 1.33, 3.1)


def _flashes(outcome: Outcome) -> None:
    changes = [edge.t for edge in edges(outcome, 18)]
    regular(changes, 0.25, tolerance=0.05, until=end(outcome), what="pin 18 changes")
    flashes = high_times(outcome, 17)
    require(len(flashes) == len(KNOCKS), f"{len(flashes)} flashes for {len(KNOCKS)} knocks")
    for flash, t in zip(flashes, KNOCKS, strict=True):
        require(near(flash.start, t, 0.02), f"a flash at {flash.start:.3f} s instead of {t} s")
        require(near(flash.length, 0.3, 0.02), f"a flash of {flash.length:.3f} s")


TASKS = (
    Task(
        id="timing/start-signal",
        level=4,
        prompt=(
            "Three asyncio tasks wait for the same asyncio.Event, which is set when the start signal on pin 3 goes "
            "high. The first then waits 200 ms and lights the LED on pin 10 for 300 ms, the second waits 400 ms and "
            "lights pin 11 for 300 ms, the third waits 600 ms and lights pin 12 for 300 ms, all counted from the "
            'signal. Print "finished" when all three are done, and end the program.'
        ),
        setup=Setup(pins={3: ((0.0, 0), (1.5, 1))}),
        check=_starter,
        ends=BY_ITSELF,
        seconds=5.0,
        **differ(
            """\
import asyncio
from machine import Pin

signal = Pin(3, Pin.IN)


async def runner(start, number, delay):
    led = Pin(number, Pin.OUT, value=0)
    await start.wait()
    await asyncio.sleep_ms(delay)
    led.on()
    await asyncio.sleep_ms(300)
    led.off()


async def main():
    start = asyncio.Event()
    runners = [runner(start, 10, 200), runner(start, 11, 400), runner(start, 12, 600)]
    tasks = [asyncio.create_task(one) for one in runners]
    while not signal.value():
        await asyncio.sleep_ms(5)
    start.set()
    for task in tasks:
        await task
    print("finished")


asyncio.run(main())
""",
            ("    tasks = [asyncio.create_task(one) for one in runners]\n", ""),
            ("    for task in tasks:\n        await task\n", "    for one in runners:\n        await one\n"),
        ),
        mistake="awaits the coroutines one after the other",
    ),
    Task(
        id="timing/whole-lines",
        level=4,
        prompt=(
            "There is a coroutine put(character) that writes one character to a serial line and lets other tasks run "
            'meanwhile. Write two asyncio tasks that send text with it: one sends "TEMP 21\\n", the other "HUM 40\\n", '
            "each ten times with a pause of 100 ms after each line. They run at the same time, yet a line must never "
            "be mixed with one of the other task. End the program when both are done."
        ),
        given="""\
import asyncio
from machine import UART, Pin

uart = UART(0, baudrate=9600, tx=Pin(0), rx=Pin(1))


async def put(character):
    uart.write(character)
    await asyncio.sleep_ms(10)


""",
        check=_whole_lines,
        ends=BY_ITSELF,
        **differ(
            """\
import asyncio


async def sender(line, lock):
    for _ in range(10):
        async with lock:
            for character in line:
                await put(character)
        await asyncio.sleep_ms(100)


async def main():
    lock = asyncio.Lock()
    await asyncio.gather(sender("TEMP 21\\n", lock), sender("HUM 40\\n", lock))


asyncio.run(main())
""",
            ("        async with lock:\n            for", "        for"),
            ("                await put", "            await put"),
        ),
        mistake="no lock around a line",
    ),
    Task(
        id="timing/slow-consumer",
        level=4,
        prompt=(
            "There is a coroutine handle(value) that takes 250 ms. With asyncio, let one task read the analogue input "
            "on pin 26 (read_u16) every 100 ms, eight times, and let another pass every reading to handle(), one after "
            "the other and in order. No reading may be lost or handled twice, and the readings must not wait for the "
            "handling. MicroPython has no asyncio.Queue. End the program when all eight are handled."
        ),
        given="""\
import asyncio


async def handle(value):
    await asyncio.sleep_ms(250)
    print(f"handled {value}")


""",
        setup=Setup(adc={26: tuple((max(0.0, i * 0.1 - 0.05), value) for i, value in enumerate(STEPS))}),
        check=_handled,
        ends=BY_ITSELF,
        reference="""\
import asyncio
from machine import ADC, Pin

COUNT = 8
adc = ADC(Pin(26))
waiting = []
arrived = asyncio.Event()


async def produce():
    for _ in range(COUNT):
        waiting.append(adc.read_u16())
        arrived.set()
        await asyncio.sleep_ms(100)


async def consume():
    for _ in range(COUNT):
        while not waiting:
            arrived.clear()
            await arrived.wait()
        await handle(waiting.pop(0))


async def main():
    await asyncio.gather(produce(), consume())


asyncio.run(main())
""",
        wrong="""\
import asyncio
from machine import ADC, Pin

adc = ADC(Pin(26))
latest = 0
fresh = asyncio.Event()


async def produce():
    global latest
    for _ in range(8):
        latest = adc.read_u16()
        fresh.set()
        await asyncio.sleep_ms(100)


async def consume():
    while True:
        await fresh.wait()
        fresh.clear()
        await handle(latest)


async def main():
    consumer = asyncio.create_task(consume())
    await produce()
    await asyncio.sleep(2)
    consumer.cancel()


asyncio.run(main())
""",
        mistake="one variable holds only the newest reading",
    ),
    Task(
        id="timing/knock-flash",
        level=4,
        prompt=(
            "Use asyncio. The LED on pin 18 toggles every 250 ms and must never lose its rhythm. A knock sensor gives "
            "a high pulse of only 1 ms on pin 16, so let an interrupt wake a task that lights the LED on pin 17 for "
            "300 ms after each knock. Knocks are at least half a second apart."
        ),
        setup=Setup(pins={16: ((0.0, 0), *(entry for t in KNOCKS for entry in ((t, 1), (t + 0.001, 0))))}),
        check=_flashes,
        seconds=5.0,
        **differ(
            """\
import asyncio
import time
from machine import Pin

rhythm = Pin(18, Pin.OUT)
flash = Pin(17, Pin.OUT, value=0)
knocked = asyncio.ThreadSafeFlag()
Pin(16, Pin.IN).irq(handler=lambda pin: knocked.set(), trigger=Pin.IRQ_RISING)


async def answer():
    while True:
        await knocked.wait()
        flash.on()
        await asyncio.sleep_ms(300)
        flash.off()


async def main():
    asyncio.create_task(answer())
    while True:
        rhythm.toggle()
        await asyncio.sleep_ms(250)


asyncio.run(main())
""",
            ("await asyncio.sleep_ms(300)", "time.sleep_ms(300)"),
        ),
        mistake="time.sleep_ms() stops the other LED for as long as the flash lasts",
    ),
)
