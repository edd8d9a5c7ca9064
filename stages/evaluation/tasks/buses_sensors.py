"""Level 3: sensors and lights with protocols of their own: DHT22, DS18B20, HC-SR04, NeoPixel."""

from __future__ import annotations

from itertools import pairwise

from stages.evaluation.checks import Frame, end, frames, lines, near, numbers, regular, require
from stages.evaluation.sandbox import Outcome
from stages.evaluation.task import BY_ITSELF, Task
from stages.evaluation.tasks._readings import Says, readings
from stages.evaluation.wiring import Setup, Sonar

WEATHER = ((3.0, 21.4, 65.5), (7.2, -4.6, 80.2))

ATTIC = bytes.fromhex("28ff640a12d4503c")
CELLAR = bytes.fromhex("28ab11c5d0770291")
PORCH = bytes.fromhex("28c07bd102ff8a1f")
CELSIUS = {
    ATTIC: ((0.0, 21.25), (4.1, -2.5), (8.1, 25.0)),
    CELLAR: ((0.0, 18.75), (6.1, 30.0)),
    PORCH: ((0.0, 19.0), (6.1, 3.0625)),
}
COLDEST = ((0.0, CELLAR, 18.75), (4.1, ATTIC, -2.5), (8.1, PORCH, 3.0625))

WATER = ((0.0, 450.0), (2.1, 1230.0), (4.1, 150.0), (5.1, None), (7.1, 843.0))
LEVEL: tuple[tuple[float, Says], ...] = (
    (0.0, (75.0,)),
    (2.1, (0.0,)),
    (4.1, (100.0,)),
    (5.1, "no echo"),
    (7.1, (35.5,)),
)

AFTERNOON = 1_767_225_600 + 15 * 3600 + 14 * 60 + 53  # 15:14:53
RED, BLUE, BOTH, DARK = (40, 0, 0), (0, 0, 40), (40, 0, 40), (0, 0, 0)

LIGHTS = (((60, 0, 0), DARK, DARK), (DARK, (60, 40, 0), DARK), (DARK, DARK, (0, 60, 0)))
PHASES = (1.0, 0.4, 1.6)

GREEN = (0, 30, 0)


def _weather(outcome: Outcome) -> None:
    script: list[tuple[float, Says]] = [(0.0, "no answer")]
    script += [(t, (celsius, humidity)) for t, celsius, humidity in WEATHER]
    readings(outcome, script, every=2.0, within=0.051)


def _coldest(outcome: Outcome) -> None:
    found = lines(outcome)
    regular([line.t for line in found], 2.0, tolerance=0.45, until=end(outcome), what="a line is printed")
    for line in found:
        if any(0 < line.t - t < 1.0 for t, _, _ in COLDEST[1:]):
            continue
        rom, celsius = [(rom, celsius) for t, rom, celsius in COLDEST if t <= line.t][-1]
        require(rom.hex() in line.text.lower(), f"{line.text!r} at {line.t:.1f} s instead of {rom.hex()}")
        values = numbers(line.text.lower().replace(rom.hex(), " "))
        require(values and near(values[-1], celsius, 0.006), f"{line.text!r} at {line.t:.1f} s instead of {celsius}")


def _level(outcome: Outcome) -> None:
    readings(outcome, LEVEL, every=1.0, within=1.1)


def _hands(outcome: Outcome) -> None:
    def ring(hands: dict[int, tuple[int, int, int]]) -> tuple[tuple[int, ...], ...]:
        return tuple(hands.get(place, DARK) for place in range(12))

    found = frames(outcome, 6)
    before, after = ring({3: RED, 2: BLUE}), ring({3: BOTH})
    for t, hands in ((0.913, before), (3.377, before), (6.939, before), (7.617, after), (9.841, after)):
        shown = [frame.colours for frame in found if frame.t <= t]
        require(shown, "nothing was sent to the ring")
        lit = {place: colour for place, colour in enumerate(shown[-1]) if colour != DARK}
        require(shown[-1] == hands, f"at {t} s the ring of {len(shown[-1])} shows {lit}")


def _changes(outcome: Outcome, pin: int, count: int) -> list[Frame]:
    """The pictures that were shown for more than 5 ms and differ from the one before, which is dark at first."""
    found: list[Frame] = []
    sent = frames(outcome, pin)
    for here, after in zip(sent, [*sent[1:], None], strict=True):
        if after is None or after.t - here.t > 0.005:
            before = found[-1].colours if found else (DARK,) * count
            if here.colours != before:
                found.append(here)
    return found


def _lights(outcome: Outcome) -> None:
    shown = _changes(outcome, 7, 3)
    require(len(shown) >= 9, f"{len(shown)} changes")
    for number, frame in enumerate(shown):
        require(frame.colours == LIGHTS[number % 3], f"picture {number + 1} is {frame.colours}")
    for number, (here, after) in enumerate(pairwise(shown)):
        length = after.t - here.t
        require(near(length, PHASES[number % 3], 0.03), f"picture {number + 1} is shown for {length:.2f} s")
    require(end(outcome) - shown[-1].t < 1.7, "the lights stop")


def _curtain(outcome: Outcome) -> None:
    sent = _changes(outcome, 20, 9)
    wanted = [
        tuple(GREEN if i < step or i >= 9 - step else DARK for i in range(9)) for step in (1, 2, 3, 4, 5, 4, 3, 2, 1, 0)
    ]
    for number, (frame, colours) in enumerate(zip(sent, wanted, strict=False), 1):
        shown = "".join(".#"[colour != DARK] for colour in frame.colours)
        require(frame.colours == colours, f"picture {number} is {shown}")
    require(len(sent) == len(wanted), f"{len(sent)} pictures instead of {len(wanted)}")
    regular([frame.t for frame in sent], 0.2, tolerance=0.05, until=sent[-1].t, what="the picture changes")


TASKS = (
    Task(
        id="buses/dht22-no-answer",
        level=3,
        prompt=(
            "Every 2 seconds read the DHT22 on pin 16 and print the temperature in degrees Celsius and the "
            "relative humidity in percent, in this order on one line, each with one decimal. Where the sensor "
            'does not answer (measure() then raises OSError), print "no answer" instead and go on.'
        ),
        setup=Setup(dht={16: WEATHER}),
        check=_weather,
        seconds=11.0,
        reference=(
            "import time\n"
            "from dht import DHT22\n"
            "from machine import Pin\n"
            "\n"
            "sensor = DHT22(Pin(16))\n"
            "\n"
            "while True:\n"
            "    try:\n"
            "        sensor.measure()\n"
            '        print("{:.1f} C {:.1f} %".format(sensor.temperature(), sensor.humidity()))\n'
            "    except OSError:\n"
            '        print("no answer")\n'
            "    time.sleep(2)\n"
        ),
        wrong=(
            "import dht\n"
            "import time\n"
            "from machine import Pin\n"
            "\n"
            "sensor = dht.DHT11(Pin(16))\n"
            "\n"
            "while True:\n"
            "    try:\n"
            "        sensor.measure()\n"
            '        print("{:.1f} C {:.1f} %".format(sensor.temperature(), sensor.humidity()))\n'
            "    except OSError:\n"
            '        print("no answer")\n'
            "    time.sleep(2)\n"
        ),
        mistake="the driver of the DHT11, which knows whole degrees only",
    ),
    Task(
        id="buses/coldest-of-three",
        level=3,
        prompt=(
            "Several DS18B20 sensors share the data line on pin 22. Every 2 seconds measure with all of them (a "
            "conversion takes 750 ms) and print one line about the coldest one: its ROM code as 16 hexadecimal "
            "digits, a space, and its temperature in degrees Celsius with two decimals."
        ),
        setup=Setup(ds18x20={22: CELSIUS}),
        check=_coldest,
        seconds=12.0,
        reference=(
            "import time\n"
            "from ds18x20 import DS18X20\n"
            "from machine import Pin\n"
            "from onewire import OneWire\n"
            "\n"
            "sensors = DS18X20(OneWire(Pin(22)))\n"
            "roms = sensors.scan()\n"
            "\n"
            "while True:\n"
            "    sensors.convert_temp()\n"
            "    time.sleep_ms(750)\n"
            "    celsius, rom = min((sensors.read_temp(rom), bytes(rom)) for rom in roms)\n"
            '    print(rom.hex(), "{:.2f}".format(celsius))\n'
            "    time.sleep_ms(1250)\n"
        ),
        wrong=(
            "import time\n"
            "from ds18x20 import DS18X20\n"
            "from machine import Pin\n"
            "from onewire import OneWire\n"
            "\n"
            "sensors = DS18X20(OneWire(Pin(22)))\n"
            "roms = sensors.scan()\n"
            "\n"
            "while True:\n"
            "    sensors.convert_temp()\n"
            "    coldest = None\n"
            "    for rom in roms:\n"
            "        celsius = sensors.read_temp(rom)\n"
            "        if coldest is None or celsius < coldest[0]:\n"
            "            coldest = (celsius, rom)\n"
            '    print("".join("%02x" % byte for byte in coldest[1]), "%.2f" % coldest[0])\n'
            "    time.sleep(2)\n"
        ),
        mistake="it does not wait for the conversion and reads the one before",
    ),
    Task(
        id="buses/water-level",
        level=3,
        prompt=(
            "An HC-SR04 (trigger on pin 3, echo on pin 2) looks down into a water butt: 20 cm or less means "
            "full, 100 percent, 120 cm or more means empty, 0 percent, in between in proportion. A pulse of 10 "
            "us on the trigger starts a measurement; the echo is then high for 58 us per centimetre. Once a "
            'second print the level in whole percent, or "no echo" where the echo has not begun after 30 ms.'
        ),
        setup=Setup(sonar=(Sonar(3, 2, WATER),)),
        check=_level,
        seconds=9.0,
        reference=(
            "import time\n"
            "from machine import Pin, time_pulse_us\n"
            "\n"
            "trigger = Pin(3, Pin.OUT, value=0)\n"
            "echo = Pin(2, Pin.IN)\n"
            "\n"
            "while True:\n"
            "    trigger.on()\n"
            "    time.sleep_us(10)\n"
            "    trigger.off()\n"
            "    width = time_pulse_us(echo, 1, 30_000)\n"
            "    if width < 0:\n"
            '        print("no echo")\n'
            "    else:\n"
            "        percent = round(120 - width / 58)\n"
            "        print(max(0, min(100, percent)))\n"
            "    time.sleep(1)\n"
        ),
        wrong=(
            "import time\n"
            "from machine import Pin, time_pulse_us\n"
            "\n"
            "trigger = Pin(3, Pin.OUT, value=0)\n"
            "echo = Pin(2, Pin.IN)\n"
            "\n"
            "while True:\n"
            "    trigger.value(1)\n"
            "    time.sleep_us(10)\n"
            "    trigger.value(0)\n"
            "    duration = time_pulse_us(echo, 1, 30000)\n"
            "    if duration < 0:\n"
            '        print("no echo")\n'
            "    else:\n"
            "        distance = duration / 58\n"
            "        print(int(max(0, 120 - distance)))\n"
            "    time.sleep(1)\n"
        ),
        mistake="more than 100 percent is shown when the water is very near",
    ),
    Task(
        id="buses/pixel-traffic-light",
        level=3,
        prompt=(
            "Three NeoPixels on pin 7 are a traffic light. For ever: pixel 0 in red (60, 0, 0) for 1 second, then "
            "pixel 1 in yellow (60, 40, 0) for 0.4 seconds, then pixel 2 in green (0, 60, 0) for 1.6 seconds, and "
            "so on. Only one pixel shines at a time."
        ),
        check=_lights,
        reference=(
            "import time\n"
            "from machine import Pin\n"
            "from neopixel import NeoPixel\n"
            "\n"
            "lights = NeoPixel(Pin(7), 3)\n"
            "phases = (((60, 0, 0), 1000), ((60, 40, 0), 400), ((0, 60, 0), 1600))\n"
            "\n"
            "while True:\n"
            "    for place, (colour, ms) in enumerate(phases):\n"
            "        lights.fill((0, 0, 0))\n"
            "        lights[place] = colour\n"
            "        lights.write()\n"
            "        time.sleep_ms(ms)\n"
        ),
        wrong=(
            "import time\n"
            "from machine import Pin\n"
            "from neopixel import NeoPixel\n"
            "\n"
            "np = NeoPixel(Pin(7), 3)\n"
            "\n"
            "while True:\n"
            "    np[0] = (60, 0, 0)\n"
            "    np.write()\n"
            "    time.sleep(1)\n"
            "    np[1] = (60, 40, 0)\n"
            "    np.write()\n"
            "    time.sleep(0.4)\n"
            "    np[2] = (0, 60, 0)\n"
            "    np.write()\n"
            "    time.sleep(1.6)\n"
            "    np.fill((0, 0, 0))\n"
        ),
        mistake="the pixels before are not switched off",
    ),
    Task(
        id="buses/ring-of-hands",
        level=3,
        prompt=(
            "A ring of 12 NeoPixels on pin 6 is a clock: pixel 0 is at twelve, pixel 1 at one, and so on. Show "
            "the board's time (time.localtime()): the pixel of the hour in red (40, 0, 0), where 13 o'clock is "
            "pixel 1, and the pixel of the minute, minute // 5, in blue (0, 0, 40). Where both fall on the same "
            "pixel, it is (40, 0, 40). All others are dark. Update the ring twice a second."
        ),
        setup=Setup(epoch=AFTERNOON),
        check=_hands,
        reference=(
            "import time\n"
            "from machine import Pin\n"
            "from neopixel import NeoPixel\n"
            "\n"
            "ring = NeoPixel(Pin(6), 12)\n"
            "\n"
            "while True:\n"
            "    now = time.localtime()\n"
            "    hour = now[3] % 12\n"
            "    minute = now[4] // 5\n"
            "    for i in range(12):\n"
            "        ring[i] = (40 if i == hour else 0, 0, 40 if i == minute else 0)\n"
            "    ring.write()\n"
            "    time.sleep_ms(250)\n"
        ),
        wrong=(
            "import time\n"
            "from machine import Pin\n"
            "from neopixel import NeoPixel\n"
            "\n"
            "ring = NeoPixel(Pin(6), 12)\n"
            "\n"
            "while True:\n"
            "    now = time.localtime()\n"
            "    ring.fill((0, 0, 0))\n"
            "    ring[now[3] % 12] = (40, 0, 0)\n"
            "    ring[now[4] // 5] = (0, 0, 40)\n"
            "    ring.write()\n"
            "    time.sleep_ms(250)\n"
        ),
        mistake="where both hands meet, the second one hides the first",
    ),
    Task(
        id="buses/pixel-curtain",
        level=3,
        prompt=(
            "Nine NeoPixels on pin 20 are a curtain in (0, 30, 0), open (all dark) at first. Close it: light the "
            "two outermost pixels, 200 ms later also the next one on either side, and so on until the one in the "
            "middle is lit as well, every 200 ms. Another 200 ms later begin to open it in the same way "
            "backwards: first the middle one goes dark, then the two beside it, until all are dark. Then end."
        ),
        check=_curtain,
        ends=BY_ITSELF,
        seconds=5.0,
        reference=(
            "import time\n"
            "from machine import Pin\n"
            "from neopixel import NeoPixel\n"
            "\n"
            "pixels = NeoPixel(Pin(20), 9)\n"
            "for step in (1, 2, 3, 4, 5, 4, 3, 2, 1, 0):\n"
            "    for i in range(9):\n"
            "        pixels[i] = (0, 30, 0) if i < step or i >= 9 - step else (0, 0, 0)\n"
            "    pixels.write()\n"
            "    time.sleep_ms(200)\n"
        ),
        wrong=(
            "import time\n"
            "from machine import Pin\n"
            "from neopixel import NeoPixel\n"
            "\n"
            "N = 9\n"
            "np = NeoPixel(Pin(20), N)\n"
            "\n"
            "for i in range(N // 2):\n"
            "    np[i] = (0, 30, 0)\n"
            "    np[N - 1 - i] = (0, 30, 0)\n"
            "    np.write()\n"
            "    time.sleep(0.2)\n"
            "for i in reversed(range(N // 2)):\n"
            "    np[i] = (0, 0, 0)\n"
            "    np[N - 1 - i] = (0, 0, 0)\n"
            "    np.write()\n"
            "    time.sleep(0.2)\n"
        ),
        mistake="half of nine leaves the pixel in the middle dark",
    ),
)
