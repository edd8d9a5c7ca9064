"""Level 2: PWM for light, sound, servos and motors."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from stages.evaluation.checks import edges, end, level_at, near, pwm, pwm_at, require
from stages.evaluation.sandbox import Outcome
from stages.evaluation.task import BY_ITSELF, Task
from stages.evaluation.tasks._inputs import button
from stages.evaluation.tasks._pairs import differ
from stages.evaluation.tasks._states import in_turn, tones
from stages.evaluation.wiring import Setup


def _duty(outcome: Outcome, pin: int, t: float, freq: int, wanted: float, tolerance: float) -> None:
    found = pwm_at(outcome, pin, t)
    require(found.freq == freq, f"pin {pin} has {found.freq} Hz at {t:.2f} s instead of {freq} Hz")
    about = f"pin {pin} has {found.duty:.1%} at {t:.2f} s instead of {wanted:.1%}"
    require(near(found.duty, wanted, tolerance), about)


def _glows(outcome: Outcome) -> None:
    steps = pwm(outcome, 15)
    require(all(step.freq == 1000 for step in steps if step.duty > 0), "the frequency is not always 1000 Hz")
    falls = [here.t for before, here in pairwise(steps) if before.duty > 0.9 and here.duty < 0.1]
    require(len(falls) >= 5, f"it falls from full to dark {len(falls)} times in {end(outcome):.0f} s")
    require(near(falls[0], 1.5, 0.15), f"it falls for the first time at {falls[0]:.2f} s")
    for start, stop in pairwise(falls):
        require(near(stop - start, 1.5, 0.09), f"it rises for {stop - start:.2f} s instead of 1.5 s")
        inside = [step for step in steps if start <= step.t < stop]
        require(len(inside) >= 45, f"it rises in {len(inside)} steps, which are longer than 30 ms")
        for step in inside:
            wanted = (step.t - start) / (stop - start)
            about = f"pin 15 has {step.duty:.0%} {step.t - start:.2f} s after it was dark"
            require(near(step.duty, wanted, 0.05), about)


def _gauge(outcome: Outcome) -> None:
    for place in range(11):
        degrees, t = (0, 30, 75, 90)[place % 4], 0.6 * place + 0.3
        found = pwm_at(outcome, 4, t)
        require(found.freq == 50, f"{found.freq} Hz instead of 50 Hz")
        us, wanted = found.duty * 20_000, 1000 + 1000 * degrees / 90
        require(near(us, wanted, 15), f"a pulse of {us:.0f} µs at {t:.1f} s instead of {wanted:.0f} µs")


def _colours(outcome: Outcome) -> None:
    colours = ((1.0, 0.0, 0.0), (1.0, 0.4, 0.0), (0.0, 1.0, 0.0), (0.2, 0.0, 1.0))
    for place in range(10):
        for pin, bright in zip((18, 19, 20), colours[place % 4], strict=True):
            _duty(outcome, pin, 0.5 * place + 0.25, 1000, 1 - bright, 0.02)


def _chime(outcome: Outcome) -> None:
    begins = (0.7, 2.5, 4.9)
    found = [state for state in tones(outcome, 22) if state.shown != (0,)]
    wanted = [(t + late, freq, length) for t in begins for late, freq, length in ((0, 660, 0.3), (0.3, 520, 0.5))]
    heard = [(round(state.t, 2), state.shown[0]) for state in found]
    require(len(found) == len(wanted), f"{len(found)} tones instead of {len(wanted)}: {heard}")
    for state, (t, freq, length) in zip(found, wanted, strict=True):
        require(state.shown == (freq,), f"{state.shown[0]} Hz at {state.t:.2f} s instead of {freq} Hz")
        require(near(state.t, t + 0.025, 0.04), f"{freq} Hz begins at {state.t:.3f} s instead of {t:.1f} s")
        require(near(state.length, length, 0.02), f"{freq} Hz lasts {state.length:.3f} s instead of {length} s")
        _duty(outcome, 22, state.t + length / 2, freq, 0.5, 0.02)
    require(pwm_at(outcome, 22, end(outcome)).duty in (0.0, 1.0), "the buzzer is not silent in the end")


def _brightness(outcome: Outcome) -> None:
    script = ((0.0, 0.5), *((0.5 + 0.5 * place, level / 100) for place, level in enumerate(LEVELS)), (6.5, 0.25))
    for (start, level), (stop, _) in pairwise(script):
        for t in (start + 0.12, stop - 0.02):
            _duty(outcome, 15, t, 500, level, 0.015)


LEVELS = (75, 100, 100, 75, 50, 25, 0, 0, 25, 0, 25)  # after the presses, one each 0.5 s


def _metronome(outcome: Outcome) -> None:
    beats = [((freq,), length) for tone in (1600, 1000, 1000, 1000) for freq, length in ((tone, 0.02), (0, 0.48))]
    found = tones(outcome, 16)
    in_turn(found, beats, 0.004)
    clicks = [state for state in found if state.shown != (0,)]
    for before, after in pairwise(clicks):
        require(near(after.t - before.t, 0.5, 0.005), f"beats {after.t - before.t:.4f} s apart instead of 0.5 s")
    for click in clicks[:4]:
        _duty(outcome, 16, click.t + 0.01, click.shown[0], 0.5, 0.02)


def _ramps(outcome: Outcome, pin: int, freq: int, profile: Sequence[tuple[float, float]]) -> None:
    """The duty runs along these (instant, duty) points, with instants that may be 5 % and 50 ms off. Raises Wrong."""
    for (start, low), (stop, high) in pairwise(profile):
        for part in (0.2, 0.35, 0.5, 0.65, 0.8):
            t = start + part * (stop - start)
            around = [max(0.0, part + side * (0.05 + 0.05 * t) / (stop - start)) for side in (-1, 1)]
            least, most = sorted(low + min(1.0, place) * (high - low) for place in around)
            _duty(outcome, pin, t, freq, (least + most) / 2, (most - least) / 2 + 0.03)


def _crossfade(outcome: Outcome) -> None:
    _ramps(outcome, 10, 1000, [(3.0 * place, 1.0 - place % 2) for place in range(4)])
    _ramps(outcome, 11, 1000, [(3.0 * place, place % 2) for place in range(4)])
    for place in range(1, 99):
        both = sum(pwm_at(outcome, pin, 0.1 * place + 0.003).duty for pin in (10, 11))
        require(near(both, 1.0, 0.025), f"the two have {both:.0%} together at {0.1 * place:.1f} s")


def _soft_start(outcome: Outcome) -> None:
    _ramps(outcome, 14, 20_000, ((0.0, 0.0), (1.0, 0.8), (2.0, 0.8), (3.0, 0.0), (4.0, 0.8), (5.0, 0.8), (6.0, 0.0)))
    for t in (0.3, 1.5, 2.7, 3.3, 4.5, 5.6):
        require(level_at(outcome, 12, t) == (t < 3), f"the direction is wrong at {t:.1f} s")
    for edge in edges(outcome, 12):
        require(pwm_at(outcome, 14, edge.t).duty == 0, f"the direction changes at {edge.t:.2f} s while the motor runs")
    require(pwm_at(outcome, 14, end(outcome)).duty == 0, "the motor does not stop in the end")


TASKS = (
    Task(
        id="pins/rising-glow",
        level=2,
        prompt=(
            "The LED on pin 15 glows with PWM at 1 kHz: its duty rises evenly from dark to full within 1.5 seconds, in "
            "steps of 30 ms or less, then it is dark at once and rises again, for ever."
        ),
        check=_glows,
        seconds=9.5,
        reference="""\
import time
from machine import PWM, Pin

led = PWM(Pin(15), freq=1000, duty_u16=0)
while True:
    for step in range(75):
        led.duty_u16(65535 * step // 74)
        time.sleep_ms(20)
""",
        wrong="""\
import time
from machine import PWM, Pin

led = PWM(Pin(15))
led.freq(1000)
while True:
    for duty in range(0, 1024, 14):
        led.duty_u16(duty)
        time.sleep_ms(20)
""",
        mistake="ten bits of duty where sixteen are meant",
    ),
    Task(
        id="pins/gauge-needle",
        level=2,
        prompt=(
            "A small servo on pin 4 turns the needle of a gauge. It wants 50 pulses a second, 1.0 ms long for 0 "
            "degrees and 2.0 ms long for 90 degrees, in proportion in between. Beginning at once, put the needle at 0, "
            "30, 75 and 90 degrees, 0.6 seconds at each of them, and then from 0 degrees again, for ever."
        ),
        check=_gauge,
        seconds=6.6,
        **differ(
            """\
import time
from machine import PWM, Pin

servo = PWM(Pin(4), freq=50)
while True:
    for degrees in (0, 30, 75, 90):
        servo.duty_ns(1_000_000 + 1_000_000 * degrees // 90)
        time.sleep_ms(600)
""",
            ("1_000_000 + 1_000_000 * degrees // 90", "500_000 + 2_000_000 * degrees // 180"),
        ),
        mistake="takes the pulses of another servo, 0.5 to 2.5 ms for 180 degrees",
    ),
    Task(
        id="pins/common-anode",
        level=2,
        prompt=(
            "An RGB LED has its common anode at 3.3 V and its cathodes, through resistors, at pin 18 (red), pin 19 "
            "(green) and pin 20 (blue), so that the longer a pin is low, the brighter the colour. Drive all three with "
            "PWM at 1 kHz. Beginning at once, show for 0.5 seconds each and over and over: red at 100 %; red at 100 % "
            "with green at 40 %; green at 100 %; blue at 100 % with red at 20 %. Colours that are not named are off."
        ),
        check=_colours,
        seconds=5.0,
        **differ(
            """\
import time
from machine import PWM, Pin

COLOURS = ((100, 0, 0), (100, 40, 0), (0, 100, 0), (20, 0, 100))
pins = [PWM(Pin(number), freq=1000, duty_u16=65535) for number in (18, 19, 20)]
while True:
    for colour in COLOURS:
        for pin, percent in zip(pins, colour):
            pin.duty_u16(65535 * (100 - percent) // 100)
        time.sleep_ms(500)
""",
            ("65535 * (100 - percent) // 100", "65535 * percent // 100"),
        ),
        mistake="the duty is not inverted for the common anode",
    ),
    Task(
        id="pins/door-chime",
        level=2,
        prompt=(
            "Build a door bell: a button between pin 9 and ground (use the internal pull-up; it bounces for up to 10 "
            "ms) and a passive buzzer on pin 22, driven by PWM with 50 % duty. A press plays 660 Hz for 0.3 seconds "
            "and directly after it 520 Hz for 0.5 seconds; then the buzzer is silent, as it is before. It begins "
            "within 50 ms of the press. A button that is held rings once; it rings again only when it was released and "
            "is pressed anew."
        ),
        setup=Setup(pins={9: button((0.7, 0.2), (2.5, 1.6), (4.9, 0.1))}),
        check=_chime,
        seconds=6.5,
        **differ(
            """\
import time
from machine import PWM, Pin

button = Pin(9, Pin.IN, Pin.PULL_UP)
buzzer = PWM(Pin(22), freq=660, duty_u16=0)


def tone(hertz, ms):
    buzzer.freq(hertz)
    buzzer.duty_u16(32768)
    time.sleep_ms(ms)
    buzzer.duty_u16(0)


while True:
    if button.value() == 0:
        tone(660, 300)
        tone(520, 500)
        while button.value() == 0:
            time.sleep_ms(10)
        time.sleep_ms(20)
    time.sleep_ms(10)
""",
            ("        while button.value() == 0:\n            time.sleep_ms(10)\n        time.sleep_ms(20)\n", ""),
        ),
        mistake="rings again while the button is held",
    ),
    Task(
        id="pins/brighter-darker",
        level=2,
        prompt=(
            "A reading lamp, an LED on pin 15 with PWM at 500 Hz, begins at a duty of 50 %. Each press of the button "
            "on pin 10 makes it brighter by 25 percent points, each press of the button on pin 11 darker by 25. At 100 "
            "% the first button does nothing more, at 0 % the second. The buttons connect to ground (use the internal "
            "pull-ups) and bounce for up to 10 ms; holding one counts as one press. React within 80 ms."
        ),
        setup=Setup(
            pins={
                10: button(*((0.5 + 0.5 * place, 0.2) for place in (0, 1, 2, 8, 10))),
                11: button(*((0.5 + 0.5 * place, 0.2) for place in (3, 4, 5, 6, 7, 9))),
            }
        ),
        check=_brightness,
        seconds=6.5,
        **differ(
            """\
import time
from machine import PWM, Pin

brighter = Pin(10, Pin.IN, Pin.PULL_UP)
darker = Pin(11, Pin.IN, Pin.PULL_UP)
lamp = PWM(Pin(15), freq=500, duty_u16=32768)
level = 50
before = (1, 1)
while True:
    now = (brighter.value(), darker.value())
    if now[0] < before[0]:
        level = min(100, level + 25)
    if now[1] < before[1]:
        level = max(0, level - 25)
    lamp.duty_u16(65535 * level // 100)
    before = now
    time.sleep_ms(20)
""",
            ("min(100, level + 25)", "(level + 25) % 125"),
            ("max(0, level - 25)", "(level - 25) % 125"),
        ),
        mistake="goes from the brightest to dark and the other way instead of staying at the end",
    ),
    Task(
        id="pins/metronome",
        level=2,
        prompt=(
            "Make a metronome with a passive buzzer on pin 16: 120 beats a minute, for ever. A beat is a click of 20 "
            "ms, PWM with 50 % duty at 1000 Hz, but 1600 Hz for the first of every four beats, with which it begins; "
            "between clicks the buzzer is silent. The beats must be 500 ms apart, not more than 1 % off."
        ),
        check=_metronome,
        seconds=8.2,
        **differ(
            """\
import time
from machine import PWM, Pin

buzzer = PWM(Pin(16), freq=1600, duty_u16=0)
while True:
    for hertz in (1600, 1000, 1000, 1000):
        buzzer.freq(hertz)
        buzzer.duty_u16(32768)
        time.sleep_ms(20)
        buzzer.duty_u16(0)
        time.sleep_ms(480)
""",
            ("time.sleep_ms(480)", "time.sleep_ms(60000 // 120)"),
        ),
        mistake="the click comes on top of the pause, so that the beats are 520 ms apart",
    ),
    Task(
        id="pins/warm-and-cold",
        level=2,
        prompt=(
            "A lamp has warm LEDs on pin 10 and cold LEDs on pin 11, both with PWM at 1 kHz. Beginning at once with "
            "warm at full duty and cold dark, fade over linearly in 3 seconds to cold only, then back to warm only in "
            "3 seconds, for ever, in steps of at most 50 ms; times may be off by 5 %. The two duties always make 100 % "
            "together."
        ),
        check=_crossfade,
        seconds=10.0,
        **differ(
            """\
import time
from machine import PWM, Pin

warm = PWM(Pin(10), freq=1000, duty_u16=65535)
cold = PWM(Pin(11), freq=1000, duty_u16=0)


def mix(step):
    share = 65535 * step // 150
    warm.duty_u16(65535 - share)
    cold.duty_u16(share)
    time.sleep_ms(20)


while True:
    for step in range(150):
        mix(step)
    for step in range(150, 0, -1):
        mix(step)
""",
            ("    for step in range(150, 0, -1):\n        mix(step)\n", ""),
        ),
        mistake="jumps back to warm instead of fading",
    ),
    Task(
        id="pins/soft-motor",
        level=2,
        prompt=(
            "A motor driver takes the speed as PWM at 20 kHz on pin 14 and the direction on pin 12 (high: "
            "forwards). Beginning at once, do this a single time: forwards, raise the duty linearly from 0 to "
            "80 % in 1 second, keep it for 1 second, lower it to 0 in 1 second; then the same backwards; then "
            "stop and end the program. Ramps have at least 20 steps, and the direction only changes while the "
            "duty is 0."
        ),
        check=_soft_start,
        ends=BY_ITSELF,
        **differ(
            """\
import time
from machine import PWM, Pin

speed = PWM(Pin(14), freq=20_000, duty_u16=0)
direction = Pin(12, Pin.OUT)
for forwards in (1, 0):
    direction.value(forwards)
    for percent in range(0, 80):
        speed.duty_u16(65535 * percent // 100)
        time.sleep_us(12_500)
    speed.duty_u16(65535 * 80 // 100)
    time.sleep(1)
    for percent in range(79, -1, -1):
        speed.duty_u16(65535 * percent // 100)
        time.sleep_us(12_500)
""",
            ("range(79, -1, -1)", "range(80, 0, -1)"),
        ),
        mistake="the ramp downwards ends at 1 %, so that the direction changes while the motor runs",
    ),
)
