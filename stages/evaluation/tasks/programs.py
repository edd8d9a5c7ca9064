"""Level 5: small programs that join several parts."""

from __future__ import annotations

from itertools import pairwise

from stages.evaluation.checks import edges, follows, high_times, mode, near, numbers, of_kind, pwm_at, require
from stages.evaluation.sandbox import Outcome
from stages.evaluation.task import Task
from stages.evaluation.tasks._inputs import CLEAN, button
from stages.evaluation.tasks._pairs import differ
from stages.evaluation.wiring import Setup, Sonar

DISTANCES = ((0.0, 1080.0), (1.5, 930.0), (3.0, 330.0), (4.5, 270.0), (6.0, None), (8.0, 1500.0))
SPANS = tuple(t for t, _ in DISTANCES)


def _parking(outcome: Outcome) -> None:
    lit = {"green": (1, 0, 0, 0, 0, 1), "yellow": (0, 1, 1, 0, 0, 0), "red": (0, 0, 0, 1, 0, 0)}
    for pin, colour in ((10, "green"), (11, "yellow"), (12, "red")):
        follows(outcome, pin, zip(SPANS, lit[colour], strict=True), margin=0.6)


TEMPERATURES = ((0.0, 19.0), (60.0, 18.5), (120.0, 21.0), (180.0, 21.5), (240.0, 19.4), (300.0, 18.0))
HEATER = ((0.0, 0), (60.0, 1), (120.0, 1), (180.0, 0), (240.0, 0), (300.0, 1))


def _thermostat(outcome: Outcome) -> None:
    require(mode(outcome, 22).startswith("out"), "pin 22 is not an output")
    follows(outcome, 22, HEATER, margin=11.0)
    rows = [row for row in outcome.files.get("log.csv", "").splitlines() if row.strip()]
    require(34 <= len(rows) <= 37, f"log.csv has {len(rows)} lines after 6 minutes")
    for row in rows:
        require(row.count(",") == 1 and len(numbers(row.replace(",", " "))) == 2, f"{row!r} in log.csv")
    seconds, celsius = zip(*(numbers(row.replace(",", " ")) for row in rows), strict=True)
    require(0 <= seconds[0] <= 11, f"log.csv begins with second {seconds[0]}")
    require(all(8 <= b - a <= 12 for a, b in pairwise(seconds)), "the lines are not 10 s apart")
    require({*celsius} == {value for _, value in TEMPERATURES}, "log.csv has other temperatures")
    require(len(of_kind(outcome, "dht", pin=16)) >= 34, "the sensor is not read every 10 s")


def _watering(outcome: Outcome) -> None:
    follows(outcome, 13, ((0.0, 1), (1.6, 0), (8.75, 1), (10.5, 0)), margin=0.06)
    runs = high_times(outcome, 15)
    require(len(runs) == 3, f"the pump runs {len(runs)} times instead of 3")
    windows = ((2.9, 3.4), (7.4, 8.7), (11.6, 13.1))
    for run, (first, last) in zip(runs, windows, strict=True):
        require(first <= run.start <= last, f"the pump starts at {run.start:.2f} s")
    for run in (runs[0], runs[2]):
        require(near(run.length, 1.5, 0.1), f"the pump runs for {run.length:.2f} s instead of 1.5 s")
    stop = runs[1].start + runs[1].length
    require(near(stop, 8.78, 0.05), f"the pump stops at {stop:.2f} s, the tank is empty at 8.75 s")


def _night_light(outcome: Outcome) -> None:
    changes = [edge.t for edge in edges(outcome, 15)]
    require(len(changes) == 2, f"the lamp changes {len(changes)} times instead of going on and off once")
    require(near(changes[0], 3.0, 0.1), f"the lamp goes on at {changes[0]:.2f} s instead of 3 s")
    require(near(changes[1], 10.0, 0.35), f"the lamp goes off at {changes[1]:.2f} s instead of 10 s")


def _burglar(outcome: Outcome) -> None:
    follows(outcome, 5, ((0.0, 0), (0.5, 1), (4.0, 0), (5.0, 1), (7.0, 0), (7.5, 1), (9.0, 0), (9.6, 1)), margin=0.1)
    follows(outcome, 4, ((0.0, 0), (3.0, 1), (4.0, 0)), margin=0.1)


WARMING = ((0, 20), (6.5, 70), (10.5, 85), (18.5, 52))


def _pi(outcome: Outcome) -> None:
    total = 0.0
    for second in range(23):
        celsius = [value for t, value in WARMING if t <= second][-1]
        total = min(200.0, max(0.0, total + 60 - celsius))
        wanted = min(100.0, max(0.0, 2 * (60 - celsius) + 0.5 * total)) / 100
        found = pwm_at(outcome, 16, second + 0.4)
        require(near(found.duty, wanted, 0.01), f"{found.duty:.0%} at {second + 0.4} s instead of {wanted:.0%}")
        require(found.freq == 100 or wanted == 0, f"{found.freq} Hz instead of 100 Hz")


TASKS = (
    Task(
        id="programs/parking-sensor",
        level=5,
        prompt=(
            "Build a parking sensor with an HC-SR04: trigger on pin 3, echo on pin 2. Measure about ten times a second "
            "and light exactly one LED: green on pin 10 from 100 cm on, yellow on pin 11 from 30 cm to 100 cm, red on "
            "pin 12 nearer than that. When no echo comes back within 30 ms, turn all of them off. Sound travels 343 m "
            "in a second."
        ),
        setup=Setup(sonar=(Sonar(3, 2, DISTANCES),)),
        check=_parking,
        reference="""\
import time
from machine import Pin, time_pulse_us

trigger = Pin(3, Pin.OUT, value=0)
echo = Pin(2, Pin.IN)
green, yellow, red = [Pin(number, Pin.OUT, value=0) for number in (10, 11, 12)]


def centimetres():
    trigger.on()
    time.sleep_us(10)
    trigger.off()
    us = time_pulse_us(echo, 1, 30_000)
    return us * 0.0343 / 2 if us >= 0 else None


while True:
    cm = centimetres()
    green.value(cm is not None and cm >= 100)
    yellow.value(cm is not None and 30 <= cm < 100)
    red.value(cm is not None and cm < 30)
    time.sleep_ms(100)
""",
        wrong="""\
import time
from machine import Pin, time_pulse_us

trigger = Pin(3, Pin.OUT, value=0)
echo = Pin(2, Pin.IN)
green, yellow, red = [Pin(number, Pin.OUT, value=0) for number in (10, 11, 12)]
while True:
    trigger.on()
    time.sleep_us(10)
    trigger.off()
    cm = time_pulse_us(echo, 1, 30_000) * 0.0343 / 2
    green.value(cm >= 100)
    yellow.value(30 <= cm < 100)
    red.value(cm < 30)
    time.sleep_ms(100)
""",
        mistake="no echo reads as a negative distance and lights red",
    ),
    Task(
        id="programs/thermostat-log",
        level=5,
        prompt=(
            "Write a thermostat: read a DHT22 on pin 16 every 10 seconds and switch the heater on pin 22 on below 19 "
            "degrees and off above 21 degrees; in between it stays as it is, off at first. Append a line with the "
            "seconds since the start and the temperature, separated by a comma, to log.csv at every reading."
        ),
        setup=Setup(dht={16: tuple((t, celsius, 45.0) for t, celsius in TEMPERATURES)}),
        check=_thermostat,
        seconds=359.0,
        reference="""\
import time
import dht
from machine import Pin

sensor = dht.DHT22(Pin(16))
heater = Pin(22, Pin.OUT, value=0)
start = time.time()
while True:
    sensor.measure()
    celsius = sensor.temperature()
    if celsius < 19:
        heater.on()
    elif celsius > 21:
        heater.off()
    with open("log.csv", "a") as log:
        log.write("{},{:.1f}\\n".format(time.time() - start, celsius))
    time.sleep(10)
""",
        wrong="""\
import time
import dht
from machine import Pin

sensor = dht.DHT22(Pin(16))
heater = Pin(22, Pin.OUT, value=0)
start = time.time()
while True:
    sensor.measure()
    celsius = sensor.temperature()
    heater.value(celsius < 21)
    with open("log.csv", "a") as log:
        log.write("{},{}\\n".format(time.time() - start, celsius))
    time.sleep(10)
""",
        mistake="one threshold instead of two",
    ),
    Task(
        id="programs/plant-watering",
        level=5,
        prompt=(
            "Water a plant. The soil sensor on ADC pin 27 reads higher the drier the soil is; the pump is on "
            "pin 15 (high: runs); the float switch from pin 14 to ground is closed while there is water in the "
            "tank. Measure at the start and then once a second. Above 40000, if there is water, run the pump "
            "for 1.5 s, then wait 3 s before measuring again. When the tank runs empty, the pump stops within "
            "50 ms, and the 3 s follow then too. The LED on pin 13 is on whenever there is no water, also "
            "within 50 ms."
        ),
        setup=Setup(
            pins={14: ((0.0, None), (1.6, 0), (8.75, None), (10.5, 0))},
            adc={27: ((0, 52000), (1.3, 38500), (2.3, 45000), (13.0, 21000))},
        ),
        check=_watering,
        seconds=17.0,
        **differ(
            """\
import time
from machine import ADC, Pin

soil = ADC(Pin(27))
pump = Pin(15, Pin.OUT, value=0)
tank = Pin(14, Pin.IN, Pin.PULL_UP)
empty_led = Pin(13, Pin.OUT, value=0)


def wait(ms):
    start = time.ticks_ms()
    while time.ticks_diff(time.ticks_ms(), start) < ms:
        empty_led.value(tank.value())
        if tank.value():
            pump.off()
        time.sleep_ms(10)


while True:
    if soil.read_u16() > 40000 and not tank.value():
        pump.on()
        wait(1500)
        pump.off()
        wait(3000)
    else:
        wait(1000)
""",
            ("        if tank.value():\n            pump.off()\n", ""),
        ),
        mistake="the pump goes on when the tank runs empty during the 1.5 s",
    ),
    Task(
        id="programs/night-light",
        level=5,
        prompt=(
            "Control the lamp on pin 15 (high = on) in a hallway. A motion sensor holds pin 16 high while it sees "
            "somebody. The light sensor on the analogue input of pin 26 gives less the darker it is. When motion "
            "begins and the reading is below 20000, turn the lamp on. It stays on while there is motion and until 3 s "
            "after the last motion has ended. The lamp shines on the light sensor, so its reading must not matter "
            "while the lamp is on. React within 50 ms."
        ),
        setup=Setup(
            pins={16: ((0.0, 0), (0.5, 1), (1.0, 0), (3.0, 1), (3.6, 0), (5.0, 1), (7.0, 0), (13.0, 1), (13.5, 0))},
            adc={26: ((0, 21500), (2.0, 18500), (3.2, 45000), (10.2, 18500), (12.0, 21500))},
        ),
        check=_night_light,
        seconds=17.0,
        **differ(
            """\
import time
from machine import ADC, Pin

lamp = Pin(15, Pin.OUT, value=0)
motion = Pin(16, Pin.IN)
light = ADC(Pin(26))
lit = False
before = 0
last = 0
while True:
    now = motion.value()
    if now:
        if not before and not lit and light.read_u16() < 20000:
            lit = True
        last = time.ticks_ms()
    elif lit and time.ticks_diff(time.ticks_ms(), last) >= 3000:
        lit = False
    before = now
    lamp.value(lit)
    time.sleep_ms(20)
""",
            (
                "    if now:\n        if not before and not lit and light.read_u16() < 20000:\n            lit",
                "    if now and light.read_u16() < 20000:\n        lit",
            ),
        ),
        mistake="motion in the light of the lamp itself does not count",
    ),
    Task(
        id="programs/burglar-alarm",
        level=5,
        prompt=(
            "Write a burglar alarm. Each press of the button from pin 2 to ground arms or disarms it; it "
            "begins disarmed. The LED on pin 5 is on while it is armed. The contact from pin 3 to ground is "
            "closed while the door is closed. When the door opens while armed, the siren on pin 4 (high) "
            "sounds 2 s later, whether the door is closed again or not, until it is disarmed. Disarming within "
            "the 2 s ends the countdown; after that the door must open anew. React within 50 ms. No bounce; "
            "presses take at least 100 ms."
        ),
        setup=Setup(
            pins={
                2: button(*((t, 0.2) for t in (0.5, 4.0, 5.0, 7.0, 7.5, 9.0, 9.6)), bounce=CLEAN),
                3: ((0.0, 0), (1.0, None), (1.4, 0), (6.0, None), (6.3, 0), (7.15, None), (7.35, 0), (9.3, None)),
            }
        ),
        check=_burglar,
        seconds=13.0,
        reference="""\
import time
from machine import Pin

button = Pin(2, Pin.IN, Pin.PULL_UP)
door = Pin(3, Pin.IN, Pin.PULL_UP)
siren = Pin(4, Pin.OUT, value=0)
led = Pin(5, Pin.OUT, value=0)
opened = None
state = "disarmed"
button_before, door_before = button.value(), door.value()
while True:
    button_now, door_now = button.value(), door.value()
    if button_before and not button_now:
        state = "armed" if state == "disarmed" else "disarmed"
    elif state == "armed" and door_now and not door_before:
        state = "countdown"
        opened = time.ticks_ms()
    elif state == "countdown" and time.ticks_diff(time.ticks_ms(), opened) >= 2000:
        state = "alarm"
    led.value(state != "disarmed")
    siren.value(state == "alarm")
    button_before, door_before = button_now, door_now
    time.sleep_ms(10)
""",
        wrong="""\
import time
from machine import Pin, Timer

button = Pin(2, Pin.IN, Pin.PULL_UP)
door = Pin(3, Pin.IN, Pin.PULL_UP)
siren = Pin(4, Pin.OUT, value=0)
led = Pin(5, Pin.OUT, value=0)
countdown = Timer(-1)
armed = False


def alarm(timer):
    if armed:
        siren.on()


def door_opened(pin):
    if armed:
        countdown.init(mode=Timer.ONE_SHOT, period=2000, callback=alarm)


def toggle(pin):
    global armed
    armed = not armed
    led.value(armed)
    if not armed:
        siren.off()


button.irq(handler=toggle, trigger=Pin.IRQ_FALLING)
door.irq(handler=door_opened, trigger=Pin.IRQ_RISING)
""",
        mistake="an old countdown goes on after the alarm was disarmed and armed again",
    ),
    Task(
        id="programs/pi-heater",
        level=5,
        prompt=(
            "Regulate a heater on pin 16 (PWM, 100 Hz) with a PI controller. An LM35 on ADC pin 26 gives 10 mV "
            "per degree Celsius; a 16-bit reading of 65535 means 3.3 V. Once a second, first at once: the "
            "error is 60 degrees minus the temperature; add it to the sum of the errors, which begins at 0, "
            "and limit the sum to 0 to 200; the power in percent is 2 times the error plus 0.5 times the sum, "
            "limited to 0 to 100."
        ),
        setup=Setup(adc={26: tuple((t, celsius * 65535 / 330) for t, celsius in WARMING)}),
        check=_pi,
        seconds=23.0,
        **differ(
            """\
import time
from machine import ADC, PWM, Pin

sensor = ADC(Pin(26))
heater = PWM(Pin(16), freq=100, duty_u16=0)
total = 0
while True:
    celsius = sensor.read_u16() * 330 / 65535
    error = 60 - celsius
    total = min(200, max(0, total + error))
    power = min(100, max(0, 2 * error + 0.5 * total))
    heater.duty_u16(round(power * 655.35))
    time.sleep(1)
""",
            ("total = min(200, max(0, total + error))", "total += error"),
        ),
        mistake="the sum of the errors is not limited",
    ),
)
