"""Level 4: doing several things in time without waiting for one of them; the clock and the watchdog."""

from __future__ import annotations

from stages.evaluation.checks import end, follows, high_times, low_times, mode, near, of_kind, require, returns, texts
from stages.evaluation.sandbox import Outcome
from stages.evaluation.task import BY_ITSELF, FOR_EVER, Task
from stages.evaluation.tasks._inputs import CLEAN, button
from stages.evaluation.tasks._pairs import differ
from stages.evaluation.wiring import Setup


def _every(outcome: Outcome) -> None:
    returns(
        outcome,
        [False, False, True, False, True, False, True],
        [False, False, False, True, False, False, True],
        [True, True, True, False],
    )


def _grid(outcome: Outcome) -> None:
    calls = high_times(outcome, 22)
    require(len(calls) == 40, f"{len(calls)} calls instead of 40")
    for i, call in enumerate(calls):
        late = call.start - calls[0].start - 0.1 * i
        require(near(late, 0, 0.005), f"call {i + 1} begins {1000 * late:.1f} ms too late")
    require(texts(outcome)[-1:] == ["done"], "`done` is not printed")


def _bell(outcome: Outcome) -> None:
    follows(outcome, 9, ((0.0, 0), (9.0, 1), (12.0, 0), (29.0, 1), (34.0, 0)), margin=0.25)


BEATS = tuple((i * 0.4, i % 2) for i in range(12))


def _heartbeat(outcome: Outcome) -> None:
    require(of_kind(outcome, "watchdog", period=1_500_000), "no watchdog of 1500 ms")
    for feed in of_kind(outcome, "watchdog"):
        since = min(feed["t"] - t for t, _ in BEATS if t <= feed["t"] + 1e-3)
        require(since <= 0.15, f"the watchdog is fed {since:.2f} s after a change of pin 14")
    resets = of_kind(outcome, "reset", why="watchdog")
    require(resets, "the watchdog is still fed long after the other board has stopped")
    require(near(resets[0]["t"], 5.9, 0.1), f"the watchdog resets the board at {resets[0]['t']:.2f} s")


def _valve(outcome: Outcome) -> None:
    require(of_kind(outcome, "watchdog", period=2_000_000), "no watchdog of 2 s")
    require(not of_kind(outcome, "reset"), f"the watchdog resets the board at {end(outcome):.2f} s")
    follows(outcome, 5, ((0.0, 1), (7.0, 0), (10.0, 1), (17.0, 0)), margin=0.15)


MIRROR = ((0.73, 0.2), (1.95, 0.4), (3.05, 0.05))


def _double_flash(outcome: Outcome) -> None:
    wanted = [(0.0, 0), *(entry for t, length in MIRROR for entry in ((t, 1), (t + length, 0)))]
    follows(outcome, 9, wanted, margin=0.025)
    flashes, pauses = high_times(outcome, 7), low_times(outcome, 7)
    require(len(flashes) >= 2 * int(end(outcome)) - 1, f"{len(flashes)} flashes in {end(outcome):.0f} s")
    for flash in flashes:
        require(near(flash.length, 0.1, 0.02), f"a flash of {flash.length:.3f} s")
    for i, pause in enumerate(pauses):
        length = 0.7 if i % 2 else 0.1
        require(near(pause.length, length, 0.02), f"a pause of {pause.length:.3f} s instead of {length} s")


def _vigilance(outcome: Outcome) -> None:
    follows(outcome, 5, ((0.0, 0), (2.0, 1), (2.7, 0), (6.0, 1), (8.5, 0), (10.5, 1), (11.2, 0)), margin=0.06)


def _slow_pwm(outcome: Outcome) -> None:
    require(mode(outcome, 22).startswith("out"), "pin 22 is not an output")
    wanted = ((0, 1), (0.5, 0), (2, 1), (2.5, 0), (4, 1), (6, 0), (8, 1), (9.5, 0), (10, 1), (10.2, 0))
    follows(outcome, 22, wanted, margin=0.06)


TASKS = (
    Task(
        id="timing/every-across-wrap",
        level=4,
        prompt=(
            "Write a class Every(period_ms, start) with a method due(now); start and now are values of "
            "time.ticks_ms(), whose counter wraps around. The first due instant is start + period_ms, the "
            "following ones are one period apart, however late due() is called. due(now) returns True when the "
            "next due instant has come, and moves on by one period, otherwise False; so after a long delay it "
            "returns True several times until it has caught up."
        ),
        prefix=(
            "import time\n\n\nclass Every:\n"
            '    """Tells when the next instant of a grid of period_ms has come; takes values of ticks_ms()."""\n'
        ),
        calls=(
            "(lambda e: [e.due(t) for t in (1500, 1999, 2000, 2001, 3100, 3900, 4000)])(Every(1000, 1000))",
            "(lambda e: [e.due(t) for t in (1073741820, 10, 75, 76, 100, 175, 180)])(Every(100, 1073741800))",
            "(lambda e: [e.due(t) for t in (95, 96, 97, 98)])(Every(30, 5))",
        ),
        check=_every,
        seconds=1.0,
        **differ(
            """\
import time


class Every:
    \"""Tells when the next instant of a grid of period_ms has come; takes values of ticks_ms().\"""

    def __init__(self, period_ms, start):
        self.period_ms = period_ms
        self.next = time.ticks_add(start, period_ms)

    def due(self, now):
        if time.ticks_diff(now, self.next) < 0:
            return False
        self.next = time.ticks_add(self.next, self.period_ms)
        return True
""",
            ("time.ticks_add(start, period_ms)", "start + period_ms"),
            ("time.ticks_diff(now, self.next) < 0", "now < self.next"),
            ("time.ticks_add(self.next, self.period_ms)", "self.next + self.period_ms"),
        ),
        mistake="compares ticks as if they never wrapped around",
    ),
    Task(
        id="timing/fixed-grid",
        level=4,
        prompt=(
            "There is a function measure() that takes between 5 and 60 ms. Call it 40 times so that the calls begin "
            "100 ms apart, however long each one takes; the time that the calls take must not add up. Then print "
            '"done" and end the program.'
        ),
        given="""\
import time
from machine import Pin

_probe = Pin(22, Pin.OUT, value=0)
_ms = [5, 30, 60, 12, 45]


def measure():
    _ms.append(_ms.pop(0))
    _probe.on()
    time.sleep_ms(_ms[0])
    _probe.off()


""",
        check=_grid,
        ends=BY_ITSELF,
        reference="""\
import time

begin = time.ticks_ms()
for i in range(40):
    wait = time.ticks_diff(time.ticks_add(begin, 100 * i), time.ticks_ms())
    if wait > 0:
        time.sleep_ms(wait)
    measure()
print("done")
""",
        wrong="""\
import time

for _ in range(40):
    measure()
    time.sleep_ms(100)
print("done")
""",
        mistake="sleeps 100 ms on top of the duration of the call",
    ),
    Task(
        id="timing/school-bell",
        level=4,
        prompt=(
            "Write the program of a school bell. The real-time clock of the board is set already. Every day the bell "
            "on pin 9 (high = ringing) rings for 3 seconds at 08:00:00 and for 5 seconds at 08:00:20, and is silent "
            "otherwise. It may begin and end up to 0.2 seconds late."
        ),
        setup=Setup(epoch=1_767_225_600 + 8 * 3600 - 9),
        check=_bell,
        seconds=75.0,
        **differ(
            """\
import time
from machine import RTC, Pin

bell = Pin(9, Pin.OUT, value=0)
clock = RTC()
while True:
    hour, minute, second = clock.datetime()[4:7]
    ringing = hour == 8 and minute == 0 and (second < 3 or 20 <= second < 25)
    bell.value(ringing)
    time.sleep_ms(100)
""",
            ("clock.datetime()[4:7]", "clock.datetime()[3:6]"),
        ),
        mistake="RTC.datetime() has the day of the week before the hour",
    ),
    Task(
        id="timing/heartbeat-watchdog",
        level=4,
        prompt=(
            "Another board changes the level of pin 14 every 400 ms as long as it works. Supervise it with the "
            "watchdog of this board, with a timeout of 1500 ms: feed it whenever pin 14 has changed and never "
            "otherwise, so that this board resets when the other one has stopped."
        ),
        setup=Setup(pins={14: BEATS}),
        check=_heartbeat,
        seconds=8.0,
        ends=(*FOR_EVER, "reset"),
        **differ(
            """\
import time
from machine import WDT, Pin

heartbeat = Pin(14, Pin.IN)
before = heartbeat.value()
watchdog = WDT(timeout=1500)
while True:
    now = heartbeat.value()
    if now != before:
        before = now
        watchdog.feed()
    time.sleep_ms(10)
""",
            ("        watchdog.feed()\n    time", "    watchdog.feed()\n    time"),
        ),
        mistake="feeds the watchdog whether or not the pin has changed",
    ),
    Task(
        id="timing/valve-watchdog",
        level=4,
        prompt=(
            "Start the watchdog with a timeout of 2 seconds. For ever, open the valve on pin 5 (high) for 7 seconds "
            "and close it for 3 seconds, beginning with open at once. The watchdog must not reset the board as long "
            "as the program works."
        ),
        check=_valve,
        seconds=19.0,
        ends=(*FOR_EVER, "reset"),
        **differ(
            """\
import time
from machine import WDT, Pin

valve = Pin(5, Pin.OUT, value=0)
watchdog = WDT(timeout=2000)


def wait(seconds):
    for _ in range(seconds):
        watchdog.feed()
        time.sleep(1)
    watchdog.feed()


while True:
    valve.on()
    wait(7)
    valve.off()
    wait(3)
""",
            ("    for _ in range(seconds):\n", ""),
            ("        watchdog.feed()\n        time.sleep(1)\n", "    time.sleep(seconds)\n"),
        ),
        mistake="sleeps for longer than the timeout of the watchdog",
    ),
    Task(
        id="timing/double-flash",
        level=4,
        prompt=(
            "The LED on pin 7 gives double flashes for ever: 100 ms on, 100 ms off, 100 ms on, 700 ms off. All the "
            "while the LED on pin 9 is on exactly as long as the button between pin 8 and ground is pressed, with no "
            "more than 20 ms of delay. The button does not bounce."
        ),
        setup=Setup(pins={8: button(*MIRROR, bounce=CLEAN)}),
        check=_double_flash,
        seconds=5.0,
        reference="""\
import time
from machine import Pin

button = Pin(8, Pin.IN, Pin.PULL_UP)
lamp = Pin(9, Pin.OUT, value=0)
flash = Pin(7, Pin.OUT, value=1)
LENGTHS = (100, 100, 100, 700)
step = 0
since = time.ticks_ms()
while True:
    if time.ticks_diff(time.ticks_ms(), since) >= LENGTHS[step]:
        since = time.ticks_add(since, LENGTHS[step])
        step = (step + 1) % 4
        flash.value(step % 2 == 0)
    lamp.value(not button.value())
    time.sleep_ms(2)
""",
        wrong="""\
import time
from machine import Pin

button = Pin(8, Pin.IN, Pin.PULL_UP)
lamp = Pin(9, Pin.OUT, value=0)
flash = Pin(7, Pin.OUT, value=1)
LENGTHS = (100, 100, 100, 700)
while True:
    for step, length in enumerate(LENGTHS):
        flash.value(step % 2 == 0)
        lamp.value(not button.value())
        time.sleep_ms(length)
""",
        mistake="looks at the button only when the flashing LED changes",
    ),
    Task(
        id="timing/vigilance",
        level=4,
        prompt=(
            "A train driver has to press the button between pin 6 and ground again and again. When 2 seconds have "
            "passed since the program started or since the button last went down, the buzzer on pin 5 (high) sounds "
            "until the button goes down the next time. Keeping the button pressed does not help: only the moment in "
            "which it goes down counts. The button does not bounce; react within 50 ms."
        ),
        setup=Setup(pins={6: button((2.7, 0.2), (4.0, 3.5), (8.5, 0.1), (11.2, 0.1), bounce=CLEAN)}),
        check=_vigilance,
        seconds=12.5,
        reference="""\
import time
from machine import Pin

button = Pin(6, Pin.IN, Pin.PULL_UP)
buzzer = Pin(5, Pin.OUT, value=0)
before = 1
last = time.ticks_ms()
while True:
    now = button.value()
    if before and not now:
        last = time.ticks_ms()
        buzzer.off()
    elif time.ticks_diff(time.ticks_ms(), last) >= 2000:
        buzzer.on()
    before = now
    time.sleep_ms(10)
""",
        wrong="""\
import time
from machine import Pin

button = Pin(6, Pin.IN, Pin.PULL_UP)
buzzer = Pin(5, Pin.OUT, value=0)
last = time.ticks_ms()
while True:
    if button.value() == 0:
        last = time.ticks_ms()
    buzzer.value(time.ticks_diff(time.ticks_ms(), last) >= 2000)
    time.sleep_ms(10)
""",
        mistake="a button that is held down counts as pressed again and again",
    ),
    Task(
        id="timing/slow-pwm",
        level=4,
        prompt=(
            "A heating element on pin 22 (high = on) is switched in periods of 2 seconds, one directly after the "
            "other. At the beginning of each period read the potentiometer on pin 26: the heating is on for that share "
            "of the period, and off for the rest of it. 0 means off and 65535 on for the whole period."
        ),
        setup=Setup(adc={26: ((0, 16384), (3, 65535), (5, 0), (7, 49152), (9, 6554))}),
        check=_slow_pwm,
        seconds=12.0,
        **differ(
            """\
import time
from machine import ADC, Pin

PERIOD_MS = 2000
heater = Pin(22, Pin.OUT, value=0)
knob = ADC(Pin(26))
while True:
    on_ms = PERIOD_MS * knob.read_u16() // 65535
    heater.value(on_ms > 0)
    time.sleep_ms(on_ms)
    heater.value(on_ms == PERIOD_MS)
    time.sleep_ms(PERIOD_MS - on_ms)
""",
            (
                "while True:\n    on_ms = PERIOD_MS * knob.read_u16() // 65535\n",
                "on_ms = PERIOD_MS * knob.read_u16() // 65535\nwhile True:\n",
            ),
        ),
        mistake="reads the potentiometer only once",
    ),
)
