"""Level 3: converters and memory on SPI."""

from __future__ import annotations

from stages.evaluation.checks import lines, near, numbers, regular, require, texts
from stages.evaluation.sandbox import Outcome
from stages.evaluation.task import BY_ITSELF, Task
from stages.evaluation.tasks._readings import Says, readings
from stages.evaluation.wiring import Pin, Setup, SPIDevice

RAMP = [min(256 * step, 4095) for step in range(17)]

HOT = ((0.0, 23.75), (2.3, 1003.25), (4.4, None), (6.2, 0.0))
HOT_SAYS: tuple[tuple[float, Says], ...] = tuple((t, "open" if celsius is None else (celsius,)) for t, celsius in HOT)


def _transactions(outcome: Outcome, cs: Pin) -> list[tuple[float, bytes]]:
    """What was sent in each stretch of low chip select, with the instant of its first byte."""
    found: list[tuple[float, bytes]] = []
    fresh = True
    for event in outcome.events:
        if event["what"] == "spi_select" and event["cs"] == cs:
            fresh = True
        elif event["what"] == "spi" and cs in event["cs"]:
            data = bytes.fromhex(event["write"])
            if fresh:
                found.append((event["t"] / 1e6, data))
            else:
                found[-1] = (found[-1][0], found[-1][1] + data)
            fresh = False
    return found


def _erase(outcome: Outcome) -> None:
    sent = [data for _, data in _transactions(outcome, 13)]
    require(sent[:1] == [b"\x06"], f"{sent[0].hex() if sent else 'nothing'} in the first transaction, not 06 alone")
    require(sent[1:2] == [b"\x20\x03\xa0\x00"], f"{sent[1:2]} in the second transaction")
    require(len(sent) > 2 and all(data[0] == 5 and len(data) == 2 for data in sent[2:]), "the status is not asked for")
    found = lines(outcome)
    require(len(found) == 1 and "erased" in found[0].text.lower(), f"{[line.text for line in found]} printed")
    require(0.83 <= found[0].t < 0.9, f"erased at {found[0].t:.2f} s instead of 0.83 s")


def _ramps(outcome: Outcome) -> None:
    sent = _transactions(outcome, 5)
    wanted = [word.to_bytes(2, "big") for a in RAMP for word in (0x3000 | a, 0xB000 | 4095 - a)]
    require([data for _, data in sent] == wanted, f"{len(sent)} frames, first {[data.hex() for _, data in sent[:4]]}")
    regular([t for t, _ in sent[::2]], 0.1, tolerance=0.05, until=sent[-1][0], what="channel A changes")


def _modes(outcome: Outcome) -> None:
    modes: dict[object, int] = {}
    asked: list[Pin] = []
    for event in outcome.events:
        if event["what"] == "spi_init":
            modes[event["bus"]] = event["mode"]
        elif event["what"] == "spi" and event["cs"]:
            require(len(event["cs"]) == 1, "both chips are selected at once")
            chip = event["cs"][0]
            wanted = 0 if chip == 20 else 3
            require(modes[event["bus"]] == wanted, f"the chip on pin {chip} in mode {modes[event['bus']]}")
            if asked[-1:] != [chip]:
                asked.append(chip)
    require(asked == [20, 21, 20, 21], f"chips {asked} were asked")
    told = [[number for number in numbers(text) if number > 2] for text in texts(outcome)]  # “chip 1” is not meant
    require(told == [[51.0, 229.0]] * 2, f"{texts(outcome)} printed")
    first, second = (line.t for line in lines(outcome))
    require(near(second - first, 1.0, 0.1), f"the second line comes {second - first:.2f} s after the first")


def _hot(outcome: Outcome) -> None:
    readings(outcome, HOT_SAYS, every=1.0, within=0.01)


def _hot_bytes(celsius: float | None) -> bytes:
    word = 0x7FFC if celsius is None else round(celsius * 4) << 3
    return word.to_bytes(2, "big")


TASKS = (
    Task(
        id="buses/flash-erase",
        level=3,
        prompt=(
            "A flash chip is on SPI 1 (SCK 10, MOSI 11, MISO 12), chip select on pin 13, low during each "
            "transaction and high between them. Erase the sector at address 0x03A000: send the byte 0x06, "
            "which permits writing; then 0x20 and the three address bytes, high byte first; then every 10 ms "
            "send 0x05 and one more byte, during which the chip returns its status, until bit 0 of the status "
            'is 0. The other bits do not matter. Then print "erased" and end.'
        ),
        setup=Setup(spi=(SPIDevice(13, {b"\x05": ((0.0, b"\x00\x81"), (0.83, b"\x00\x82"))}, 10, 11, 12),)),
        check=_erase,
        ends=BY_ITSELF,
        seconds=3.0,
        reference=(
            "import time\n"
            "from machine import SPI, Pin\n"
            "\n"
            "spi = SPI(1, baudrate=2_000_000, sck=Pin(10), mosi=Pin(11), miso=Pin(12))\n"
            "select = Pin(13, Pin.OUT, value=1)\n"
            "\n"
            "\n"
            "def send(*data):\n"
            "    answer = bytearray(len(data))\n"
            "    select.off()\n"
            "    spi.write_readinto(bytes(data), answer)\n"
            "    select.on()\n"
            "    return answer\n"
            "\n"
            "\n"
            "send(0x06)\n"
            "send(0x20, 0x03, 0xA0, 0x00)\n"
            "while send(0x05, 0)[1] & 1:\n"
            "    time.sleep_ms(10)\n"
            'print("erased")\n'
        ),
        wrong=(
            "import time\n"
            "from machine import SPI, Pin\n"
            "\n"
            "spi = SPI(1, baudrate=2_000_000, sck=Pin(10), mosi=Pin(11), miso=Pin(12))\n"
            "cs = Pin(13, Pin.OUT, value=1)\n"
            "\n"
            "cs.value(0)\n"
            'spi.write(b"\\x06")\n'
            "spi.write(bytes([0x20, 0x03, 0xA0, 0x00]))\n"
            "cs.value(1)\n"
            "\n"
            "busy = True\n"
            "while busy:\n"
            "    time.sleep_ms(10)\n"
            "    cs.value(0)\n"
            '    spi.write(b"\\x05")\n'
            "    busy = spi.read(1)[0] & 1\n"
            "    cs.value(1)\n"
            'print("erased")\n'
        ),
        mistake="the permission to write shares a transaction with the command",
    ),
    Task(
        id="buses/dac-two-ramps",
        level=3,
        prompt=(
            "A converter with two 12-bit outputs is on SPI 0 (SCK 2, MOSI 3), chip select on pin 5, low during "
            "each frame and high in between. A frame of 16 bits, high byte first, sets an output: bit 15 is 0 "
            "for A and 1 for B, bit 14 is 0, bits 13 and 12 are 1, bits 11 to 0 are the value. In 17 steps, "
            "100 ms apart, let A rise from 0 by 256 each time, but to no more than 4095, and B be 4095 minus "
            "the value of A. In each step set A, then B. Then end."
        ),
        setup=Setup(spi=(SPIDevice(5, sck=2, mosi=3),)),
        check=_ramps,
        ends=BY_ITSELF,
        reference=(
            "import time\n"
            "from machine import SPI, Pin\n"
            "\n"
            "spi = SPI(0, baudrate=1_000_000, sck=Pin(2), mosi=Pin(3))\n"
            "select = Pin(5, Pin.OUT, value=1)\n"
            "\n"
            "\n"
            "def set_output(channel, value):\n"
            "    select.off()\n"
            '    spi.write((channel << 15 | 0x3000 | value).to_bytes(2, "big"))\n'
            "    select.on()\n"
            "\n"
            "\n"
            "for step in range(17):\n"
            "    value = min(256 * step, 4095)\n"
            "    set_output(0, value)\n"
            "    set_output(1, 4095 - value)\n"
            "    time.sleep_ms(100)\n"
        ),
        wrong=(
            "import struct\n"
            "import time\n"
            "from machine import SPI, Pin\n"
            "\n"
            "spi = SPI(0, baudrate=1_000_000, sck=Pin(2), mosi=Pin(3))\n"
            "cs = Pin(5, Pin.OUT, value=1)\n"
            "\n"
            "\n"
            "def write_dac(channel, value):\n"
            "    word = (channel << 15) | (0b11 << 12) | value\n"
            "    cs.value(0)\n"
            '    spi.write(struct.pack("H", word))\n'
            "    cs.value(1)\n"
            "\n"
            "\n"
            "for step in range(17):\n"
            "    a = min(step * 256, 4095)\n"
            "    write_dac(0, a)\n"
            "    write_dac(1, 4095 - a)\n"
            "    time.sleep_ms(100)\n"
        ),
        mistake="the low byte goes first, as struct does on this chip",
    ),
    Task(
        id="buses/two-spi-modes",
        level=3,
        prompt=(
            "Two chips share SPI 0 (SCK 18, MOSI 19, MISO 16) at 1 MHz: the first with chip select on pin 20 "
            "and mode 0 (polarity 0, phase 0), the second with chip select on pin 21 and mode 3 (polarity 1, "
            "phase 1); both selects are active low. A chip that was sent 0x8F returns its identification in "
            "the next byte. Read both, the first chip's first, and print them as decimal numbers on one line; "
            "one second later do the same again, and end."
        ),
        setup=Setup(
            spi=(SPIDevice(20, {b"\x8f": b"\x00\x33"}, 18, 19, 16), SPIDevice(21, {b"\x8f": b"\x00\xe5"}, 18, 19, 16))
        ),
        check=_modes,
        ends=BY_ITSELF,
        seconds=4.0,
        reference=(
            "import time\n"
            "from machine import SPI, Pin\n"
            "\n"
            "spi = SPI(0, 1_000_000, sck=Pin(18), mosi=Pin(19), miso=Pin(16))\n"
            "first = Pin(20, Pin.OUT, value=1)\n"
            "second = Pin(21, Pin.OUT, value=1)\n"
            "\n"
            "\n"
            "def identify(select, mode):\n"
            "    spi.init(baudrate=1_000_000, polarity=mode >> 1, phase=mode & 1)\n"
            "    select.off()\n"
            '    spi.write(b"\\x8f")\n'
            "    found = spi.read(1)[0]\n"
            "    select.on()\n"
            "    return found\n"
            "\n"
            "\n"
            "print(identify(first, 0), identify(second, 3))\n"
            "time.sleep(1)\n"
            "print(identify(first, 0), identify(second, 3))\n"
        ),
        wrong=(
            "import time\n"
            "from machine import SPI, Pin\n"
            "\n"
            'pins = {"sck": Pin(18), "mosi": Pin(19), "miso": Pin(16)}\n'
            "bus_a = SPI(0, baudrate=1_000_000, polarity=0, phase=0, **pins)\n"
            "bus_b = SPI(0, baudrate=1_000_000, polarity=1, phase=1, **pins)\n"
            "cs_a = Pin(20, Pin.OUT, value=1)\n"
            "cs_b = Pin(21, Pin.OUT, value=1)\n"
            "\n"
            "\n"
            "def read_id(bus, cs):\n"
            "    cs.value(0)\n"
            "    bus.write(bytes([0x8F]))\n"
            "    value = bus.read(1)[0]\n"
            "    cs.value(1)\n"
            "    return value\n"
            "\n"
            "\n"
            "for i in range(2):\n"
            "    print(read_id(bus_a, cs_a), read_id(bus_b, cs_b))\n"
            "    if i == 0:\n"
            "        time.sleep(1)\n"
        ),
        mistake="there is one SPI 0: the second object leaves it in mode 3 for both",
    ),
    Task(
        id="buses/thermocouple-open",
        level=3,
        prompt=(
            "A thermocouple converter is on SPI 1 (SCK 10, MOSI 11, MISO 12), its chip select on pin 9, active "
            "low. While it is selected, two bytes can be read, most significant first. Bits 14 to 3 of these "
            "sixteen count quarters of a degree Celsius, and bit 2 is set where no thermocouple is connected. "
            'Once a second print the temperature with two decimals, or "open" without one.'
        ),
        setup=Setup(spi=(SPIDevice(9, {b"": tuple((t, _hot_bytes(celsius)) for t, celsius in HOT)}, sck=10, miso=12),)),
        check=_hot,
        seconds=8.0,
        reference=(
            "import time\n"
            "from machine import SPI, Pin\n"
            "\n"
            "spi = SPI(1, baudrate=1_000_000, sck=Pin(10), mosi=Pin(11), miso=Pin(12))\n"
            "select = Pin(9, Pin.OUT, value=1)\n"
            "\n"
            "while True:\n"
            "    select.off()\n"
            '    word = int.from_bytes(spi.read(2), "big")\n'
            "    select.on()\n"
            "    if word & 4:\n"
            '        print("open")\n'
            "    else:\n"
            '        print("{:.2f}".format((word >> 3 & 0xFFF) / 4))\n'
            "    time.sleep(1)\n"
        ),
        wrong=(
            "import time\n"
            "from machine import SPI, Pin\n"
            "\n"
            "spi = SPI(1, baudrate=1_000_000, sck=Pin(10), mosi=Pin(11), miso=Pin(12))\n"
            "cs = Pin(9, Pin.OUT, value=1)\n"
            "\n"
            "while True:\n"
            "    cs.value(0)\n"
            "    data = spi.read(2)\n"
            "    cs.value(1)\n"
            "    value = (data[0] << 8) | data[1]\n"
            "    if value & 0x02:\n"
            '        print("open")\n'
            "    else:\n"
            '        print("{:.2f}".format((value >> 3) * 0.25))\n'
            "    time.sleep(1)\n"
        ),
        mistake="bit 2 is 0x04, not 0x02",
    ),
)
