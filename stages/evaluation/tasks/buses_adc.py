"""Level 3: voltages at the analogue inputs."""

from __future__ import annotations

import math

from stages.evaluation.checks import adc_reads, end, follows, lines, near, numbers, regular, require, texts
from stages.evaluation.sandbox import Outcome
from stages.evaluation.task import BY_ITSELF, Task
from stages.evaluation.tasks._readings import readings
from stages.evaluation.wiring import Setup

BATTERY = ((0.0, 12.5), (1.1, 11.7), (2.3, 12.6), (3.4, 13.7), (4.6, 12.0), (5.3, 11.75), (6.6, 13.65))
CHARGING = ((0.0, 0), (1.1, 1), (3.4, 0), (5.3, 1), (6.6, 0))

STEADY = ((0.0, 1.24), (2.55, 0.655))

SLIDER = (
    (0.0, 20000, 40000),
    (1.7, 15000, 30000),
    (3.1, 30000, 48000),
    (4.6, 12, 300),
    (6.1, 41000, 41000),
)
SLIDER_SAYS = ((0.0, (50.0,)), (3.1, (62.5,)), (4.6, "no supply"), (6.1, (100.0,)))

BAR = ((0.0, 9999), (0.7, 25000), (1.6, 55000), (2.5, 40000), (3.3, 10000), (4.2, 65535), (5.1, 0))
STEPS = {2: 10000, 3: 25000, 4: 40000, 5: 55000}

CHIP = ((0.0, -3.1), (0.5, -12.4), (1.5, -8.0), (2.5, -1.6), (3.5, -5.0))


def _raw(volts: float) -> float:
    return volts / 3.3 * 65535


def _hum() -> tuple[tuple[float, float], ...]:
    """Every 2 ms a step of a wave of 50 Hz, whose ten steps cancel out, on a steady voltage."""
    script = []
    for step in range(2500):
        t = step * 0.002
        steady = [volts for start, volts in STEADY if start <= t][-1]
        script.append((t, _raw(steady + 0.1 * math.cos(2 * math.pi * 50 * t + 0.6))))
    return tuple(script)


def _charger(outcome: Outcome) -> None:
    follows(outcome, 14, CHARGING, margin=0.3)


def _bar(outcome: Outcome) -> None:
    for pin, limit in STEPS.items():
        follows(outcome, pin, [(t, int(raw >= limit)) for t, raw in BAR], margin=0.25)


def _mean(outcome: Outcome) -> None:
    found = lines(outcome)
    regular([line.t for line in found], 1.0, tolerance=0.15, until=end(outcome), what="a line is printed")
    for line in found:
        if not 2.5 < line.t < 2.7:
            wanted = [volts for t, volts in STEADY if t <= line.t][-1]
            values = numbers(line.text)
            require(values and near(values[-1], wanted, 0.01), f"{line.text!r} at {line.t:.1f} s instead of {wanted}")


def _slider(outcome: Outcome) -> None:
    readings(outcome, SLIDER_SAYS, every=0.5, within=0.06)


def _extremes(outcome: Outcome) -> None:
    last = texts(outcome)[-1:]
    found = numbers(last[0]) if last else []
    right = len(found) >= 2 and near(found[0], -12.4, 0.06) and near(found[1], -1.6, 0.06)
    require(right, f"{last} printed instead of -12.4 and -1.6")
    taken = [t for t, _ in adc_reads(outcome, "temperature")]
    require(len(taken) == 5, f"{len(taken)} readings instead of 5")
    regular(taken, 1.0, until=taken[-1], what="the temperature is read")


TASKS = (
    Task(
        id="buses/four-step-bar",
        level=3,
        prompt=(
            "Four LEDs on pins 2, 3, 4 and 5 (on when high) are a bar for the analogue input on pin 26. The LED "
            "on pin 2 is on while the reading, from 0 to 65535, is 10000 or more, the one on pin 3 from 25000 on, "
            "pin 4 from 40000 on, and pin 5 from 55000 on, so that at the top all four are on. Bring them up to "
            "date ten times a second."
        ),
        setup=Setup(adc={26: BAR}),
        check=_bar,
        seconds=6.0,
        reference=(
            "import time\n"
            "from machine import ADC, Pin\n"
            "\n"
            "adc = ADC(26)\n"
            "limits = {2: 10000, 3: 25000, 4: 40000, 5: 55000}\n"
            "bar = [(Pin(number, Pin.OUT), limit) for number, limit in limits.items()]\n"
            "\n"
            "while True:\n"
            "    reading = adc.read_u16()\n"
            "    for led, limit in bar:\n"
            "        led.value(reading >= limit)\n"
            "    time.sleep_ms(100)\n"
        ),
        wrong=(
            "import time\n"
            "from machine import ADC, Pin\n"
            "\n"
            "adc = ADC(26)\n"
            "leds = [Pin(n, Pin.OUT) for n in (2, 3, 4, 5)]\n"
            "\n"
            "while True:\n"
            "    value = adc.read_u16()\n"
            "    for led in leds:\n"
            "        led.off()\n"
            "    if value >= 55000:\n"
            "        leds[3].on()\n"
            "    elif value >= 40000:\n"
            "        leds[2].on()\n"
            "    elif value >= 25000:\n"
            "        leds[1].on()\n"
            "    elif value >= 10000:\n"
            "        leds[0].on()\n"
            "    time.sleep_ms(100)\n"
        ),
        mistake="a dot instead of a bar: the LEDs below go out",
    ),
    Task(
        id="buses/charger-two-thresholds",
        level=3,
        prompt=(
            "A 12 V battery is measured on pin 27 through a divider: 100 kOhm from the battery to the pin and 22 "
            "kOhm from the pin to ground; a reading of 65535 stands for 3.3 V at the pin. Switch the charger on "
            "pin 14 on (high) when the battery has less than 11.8 V and off when it has more than 13.6 V; in "
            "between leave it as it is. It is off at first. Look at the battery ten times a second."
        ),
        setup=Setup(adc={27: tuple((t, _raw(volts * 22 / 122)) for t, volts in BATTERY)}),
        check=_charger,
        seconds=8.0,
        reference=(
            "import time\n"
            "from machine import ADC, Pin\n"
            "\n"
            "battery = ADC(Pin(27))\n"
            "charger = Pin(14, Pin.OUT, value=0)\n"
            "\n"
            "while True:\n"
            "    volts = battery.read_u16() * 3.3 / 65535 * (100 + 22) / 22\n"
            "    if volts < 11.8:\n"
            "        charger.on()\n"
            "    elif volts > 13.6:\n"
            "        charger.off()\n"
            "    time.sleep_ms(100)\n"
        ),
        wrong=(
            "import time\n"
            "from machine import ADC, Pin\n"
            "\n"
            "battery = ADC(Pin(27))\n"
            "charger = Pin(14, Pin.OUT, value=0)\n"
            "\n"
            "while True:\n"
            "    volts = battery.read_u16() * 3.3 / 65535 * 100 / 22\n"
            "    if volts < 11.8:\n"
            "        charger.on()\n"
            "    elif volts > 13.6:\n"
            "        charger.off()\n"
            "    time.sleep_ms(100)\n"
        ),
        mistake="the divider's factor is 122 / 22, not 100 / 22",
    ),
    Task(
        id="buses/mean-over-hum",
        level=3,
        prompt=(
            "The voltage on pin 28 is disturbed by mains hum of 50 Hz. Once a second take 100 readings, one every "
            "millisecond, so that they cover five whole periods, and print only their mean in volts with three "
            "decimals. A reading of 65535 stands for 3.3 V."
        ),
        setup=Setup(adc={28: _hum()}),
        check=_mean,
        seconds=5.0,
        reference=(
            "import time\n"
            "from machine import ADC\n"
            "\n"
            "adc = ADC(28)\n"
            "\n"
            "while True:\n"
            "    total = 0\n"
            "    for _ in range(100):\n"
            "        total += adc.read_u16()\n"
            "        time.sleep_ms(1)\n"
            '    print("{:.3f}".format(total / 100 * 3.3 / 65535))\n'
            "    time.sleep_ms(900)\n"
        ),
        wrong=(
            "import time\n"
            "from machine import ADC\n"
            "\n"
            "adc = ADC(28)\n"
            "\n"
            "while True:\n"
            "    mean = sum(adc.read_u16() for _ in range(100)) / 100\n"
            '    print("{:.3f}".format(mean * 3.3 / 65535))\n'
            "    time.sleep(1)\n"
        ),
        mistake="all readings are taken in the same moment of the hum's period",
    ),
    Task(
        id="buses/slider-ratio",
        level=3,
        prompt=(
            "A slide potentiometer has its own supply, which is not stable. Pin 26 measures the slider, pin 27 "
            "the supply. Twice a second print the slider's position in percent of the supply with one decimal, "
            'without regard to how high the supply is; where pin 27 reads less than 1000 (of 65535), print "no '
            'supply" instead.'
        ),
        setup=Setup(
            adc={26: tuple((t, slider) for t, slider, _ in SLIDER), 27: tuple((t, top) for t, _, top in SLIDER)}
        ),
        check=_slider,
        seconds=8.0,
        reference=(
            "import time\n"
            "from machine import ADC\n"
            "\n"
            "slider = ADC(26)\n"
            "supply = ADC(27)\n"
            "\n"
            "while True:\n"
            "    full = supply.read_u16()\n"
            "    if full < 1000:\n"
            '        print("no supply")\n'
            "    else:\n"
            '        print("{:.1f} %".format(100 * slider.read_u16() / full))\n'
            "    time.sleep_ms(500)\n"
        ),
        wrong=(
            "import time\n"
            "from machine import ADC\n"
            "\n"
            "slider = ADC(26)\n"
            "supply = ADC(27)\n"
            "\n"
            "while True:\n"
            "    if supply.read_u16() < 1000:\n"
            '        print("no supply")\n'
            "    else:\n"
            '        print("{:.1f} %".format(100 * slider.read_u16() / 65535))\n'
            "    time.sleep_ms(500)\n"
        ),
        mistake="percent of the full scale, not of the supply",
    ),
    Task(
        id="buses/chip-temperature-extremes",
        level=3,
        prompt=(
            "Take five readings of the temperature sensor inside the RP2040 (ADC channel 4), one second apart, "
            "then print the lowest and the highest temperature, in this order on one line, in degrees Celsius "
            "with one decimal, and end. The temperature is 27 - (U - 0.706) / 0.001721 with the voltage U in "
            "volts; 65535 stands for 3.3 V. The board stands in a freezer."
        ),
        setup=Setup(adc={"temperature": tuple((t, _raw(0.706 - (c - 27) * 0.001721)) for t, c in CHIP)}),
        check=_extremes,
        ends=BY_ITSELF,
        reference=(
            "import time\n"
            "from machine import ADC\n"
            "\n"
            "sensor = ADC(4)\n"
            "readings = []\n"
            "for n in range(5):\n"
            "    if n:\n"
            "        time.sleep(1)\n"
            "    volts = sensor.read_u16() * 3.3 / 65535\n"
            "    readings.append(27 - (volts - 0.706) / 0.001721)\n"
            'print("{:.1f} {:.1f}".format(min(readings), max(readings)))\n'
        ),
        wrong=(
            "import time\n"
            "from machine import ADC\n"
            "\n"
            "sensor = ADC(4)\n"
            "lowest = 100\n"
            "highest = 0\n"
            "for n in range(5):\n"
            "    volts = sensor.read_u16() * 3.3 / 65535\n"
            "    celsius = 27 - (volts - 0.706) / 0.001721\n"
            "    if celsius < lowest:\n"
            "        lowest = celsius\n"
            "    if celsius > highest:\n"
            "        highest = celsius\n"
            "    time.sleep(1)\n"
            'print("{:.1f} {:.1f}".format(lowest, highest))\n'
        ),
        mistake="the highest one begins at 0, which it never is in a freezer",
    ),
)
