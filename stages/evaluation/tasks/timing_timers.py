"""Level 4: hardware timers."""

from __future__ import annotations

from itertools import pairwise

from stages.evaluation.checks import adc_reads, edges, end, mode, near, numbers, regular, require, texts
from stages.evaluation.sandbox import Outcome
from stages.evaluation.task import BY_ITSELF, Task
from stages.evaluation.tasks._pairs import differ
from stages.evaluation.wiring import Setup


def _fan(outcome: Outcome) -> None:
    require(mode(outcome, 15).startswith("out"), "pin 15 is not an output")
    changes = [edge.t for edge in edges(outcome, 15)]
    wanted = (0.5, 3.5, 4.5, 9.5)  # on, off, on, off; polling may see the end of the light a little early
    require(len(changes) == len(wanted), f"pin 15 changes {len(changes)} times instead of {len(wanted)}")
    for found, t in zip(changes, wanted, strict=True):
        require(near(found, t, 0.2), f"pin 15 changes at {found:.2f} s instead of {t} s")


def _largest(outcome: Outcome) -> None:
    readings = [t for t, _ in adc_reads(outcome, 26)]
    require(len(readings) == 12, f"{len(readings)} readings instead of 12")
    for before, after in pairwise(readings):
        require(near(after - before, 0.1, 0.005), f"readings {after - before:.4f} s apart")
    printed = texts(outcome)
    require(printed and numbers(printed[-1])[-1:] == [30500.0], f"{printed[-1:]} printed instead of 30500")


def _two_frequencies(outcome: Outcome) -> None:
    for pin, half in ((2, 0.05), (3, 0.2)):
        changes = edges(outcome, pin)
        require(len(changes) >= 3 / half - 2, f"pin {pin} changes {len(changes)} times")
        require(changes[-1].value == 0 and 2.7 <= changes[-1].t <= 3.1, f"pin {pin} is not low from 3 s on")
        for before, after in pairwise(changes[:-1]):
            length = after.t - before.t
            require(near(length, half, 0.05 * half), f"pin {pin} keeps its level for {length:.3f} s")


def _loop(outcome: Outcome) -> None:
    for pin, interval in ((2, 0.2), (3, 0.3), (4, 0.5)):
        changes = [edge.t for edge in edges(outcome, pin)]
        regular(changes, interval, tolerance=0.03, until=end(outcome), what=f"pin {pin} changes")


TASKS = (
    Task(
        id="timing/fan-after-run",
        level=4,
        prompt=(
            "A bathroom fan on pin 15 (high turns it on) depends on the light: pin 14 is driven high while the light "
            "is on and low while it is off. The fan starts together with the light and runs on for 1.5 seconds after "
            "the light has gone off. When the light comes back within these 1.5 seconds, the fan just keeps running, "
            "and the 1.5 seconds begin anew when the light goes off again. Use an interrupt and a one-shot timer."
        ),
        setup=Setup(pins={14: ((0.0, 0), (0.5, 1), (2.0, 0), (4.5, 1), (5.5, 0), (6.5, 1), (8.0, 0))}),
        check=_fan,
        seconds=11.0,
        **differ(
            """\
from machine import Pin, Timer

light = Pin(14, Pin.IN)
fan = Pin(15, Pin.OUT, value=light.value())
after_run = Timer(-1)


def switched(pin):
    after_run.deinit()
    if light.value():
        fan.on()
    else:
        after_run.init(mode=Timer.ONE_SHOT, period=1500, callback=lambda timer: fan.off())


light.irq(handler=switched, trigger=Pin.IRQ_RISING | Pin.IRQ_FALLING)
""",
            ("    after_run.deinit()\n", ""),
        ),
        mistake="the timer is not stopped when the light comes back, and turns the fan off while the light is on",
    ),
    Task(
        id="timing/largest-of-twelve",
        level=4,
        prompt=(
            "Let a Timer read the analogue input on pin 26 every 100 ms. After exactly twelve readings stop the timer "
            "and print the largest of the twelve as a 16-bit number. Nothing else happens after that, so that the "
            "program comes to its end."
        ),
        setup=Setup(adc={26: ((0, 1000), (0.35, 30500), (0.65, 22000), (1.25, 60000))}),
        check=_largest,
        seconds=3.0,
        ends=BY_ITSELF,
        **differ(
            """\
from machine import ADC, Pin, Timer

adc = ADC(Pin(26))
readings = []


def sample(timer):
    readings.append(adc.read_u16())
    if len(readings) == 12:
        timer.deinit()
        print(max(readings))


Timer(-1).init(mode=Timer.PERIODIC, period=100, callback=sample)
""",
            ("len(readings) == 12", "len(readings) > 12"),
        ),
        mistake="takes a thirteenth reading",
    ),
    Task(
        id="timing/two-frequencies",
        level=4,
        prompt=(
            "With two timers put a square wave of 10 Hz on pin 2 and one of 2.5 Hz on pin 3, both high for half of "
            "the time. After 3 seconds stop both, leave both pins low and let the program end."
        ),
        check=_two_frequencies,
        seconds=5.0,
        ends=BY_ITSELF,
        **differ(
            """\
import time
from machine import Pin, Timer

fast = Pin(2, Pin.OUT, value=0)
slow = Pin(3, Pin.OUT, value=0)
timers = [
    Timer(-1, mode=Timer.PERIODIC, freq=2 * 10, callback=lambda timer: fast.toggle()),
    Timer(-1, mode=Timer.PERIODIC, freq=2 * 2.5, callback=lambda timer: slow.toggle()),
]
time.sleep(3)
for timer in timers:
    timer.deinit()
fast.off()
slow.off()
""",
            ("freq=2 * 10", "freq=10"),
            ("freq=2 * 2.5", "freq=2.5"),
        ),
        mistake="one toggle a period gives half of the frequency",
    ),
    Task(
        id="timing/timers-in-a-loop",
        level=4,
        prompt=(
            "The LEDs on pins 2, 3 and 4 shall toggle every 200, 300 and 500 ms. Keep the pairs of pin and interval "
            "in a list, and give every LED a Timer of its own in a loop over that list."
        ),
        check=_loop,
        seconds=6.0,
        reference="""\
from machine import Pin, Timer

PLAN = [(2, 200), (3, 300), (4, 500)]


def start(number, interval):
    led = Pin(number, Pin.OUT)
    timer = Timer(-1)
    timer.init(mode=Timer.PERIODIC, period=interval, callback=lambda timer: led.toggle())
    return timer


timers = [start(number, interval) for number, interval in PLAN]
""",
        wrong="""\
from machine import Pin, Timer

timers = []
for number, interval in [(2, 200), (3, 300), (4, 500)]:
    led = Pin(number, Pin.OUT)
    timer = Timer(-1)
    timer.init(mode=Timer.PERIODIC, period=interval, callback=lambda t: led.toggle())
    timers.append(timer)
""",
        mistake="every callback toggles the LED that the loop came to last",
    ),
)
