"""Level 3: registers of devices on I2C."""

from __future__ import annotations

import re
import struct

from stages.evaluation.checks import i2c_registers, lines, numbers, require, texts
from stages.evaluation.sandbox import Outcome
from stages.evaluation.task import BY_ITSELF, Task
from stages.evaluation.tasks._readings import readings
from stages.evaluation.wiring import I2CDevice, Setup

FIELD = 0xDB  # 110 in bits 4 to 2

TILT = (
    (0.0, (0.25, -0.513, 0.98)),
    (2.1, (-0.03, 0.707, -0.75)),
    (4.1, (1.95, -1.95, 0.01)),
)

PRESSURE = ((0.0, 0x9A3C51), (3.1, 0x9F80C4), (6.1, 0x9510FF))
OFFSET, GAIN = -93, 1660

DEGREES: dict[int, tuple[tuple[float, int], ...]] = {
    0x48: ((0.0, 21), (3.1, -7)),
    0x49: ((0.0, 0), (3.1, 35)),
    0x4B: ((0.0, -40), (5.1, 127)),
}

FRESH = ((0.52, 700), (1.31, 1044), (1.9, 1044), (2.75, 261), (3.4, 65000), (4.66, 12))


def _roll_call(outcome: Outcome) -> None:
    found = texts(outcome)
    require(len(found) == 4, f"{len(found)} lines instead of 4")
    addresses = [re.findall(r"\b0x[0-9a-f]+\b", line) for line in found[:3]]
    require(addresses == [["0x0d"], ["0x29"], ["0x5a"]], f"{found[:3]} instead of 0x0d, 0x29, 0x5a")
    require(numbers(found[3]) == [3.0], f"{found[3]!r} instead of 3")


def _field(outcome: Outcome) -> None:
    written = i2c_registers(outcome, 0x1D)
    require(set(written) == {0x2C}, f"registers {sorted(written)} written instead of 0x2c")
    require(written[0x2C] == 0xD7, f"0x2c holds {written[0x2C]:08b} instead of 11010111")


def _tilt(outcome: Outcome) -> None:
    readings(outcome, TILT, every=0.25, within=0.011)


def _pressure(outcome: Outcome) -> None:
    script = [(t, (raw * GAIN / 2**24 + OFFSET / 8,)) for t, raw in PRESSURE]
    readings(outcome, script, every=1.0, within=0.06)


def _some_missing(outcome: Outcome) -> None:
    script = []
    for start in (0.0, 3.1, 5.1):
        now = {address: [value for t, value in steps if t <= start][-1] for address, steps in DEGREES.items()}
        script.append((start, " ".join(str(now.get(address, "--")) for address in range(0x48, 0x4C))))
    readings(outcome, script, every=1.0)


def _fresh(outcome: Outcome) -> None:
    found = lines(outcome)
    values = [numbers(line.text)[-1:] for line in found]
    require(values == [[float(value)] for _, value in FRESH], f"{[line.text for line in found]} printed")
    for line, (t, value) in zip(found, FRESH, strict=True):
        require(0 <= line.t - t < 0.1, f"{value} of {t:.2f} s was printed at {line.t:.2f} s")


def _tilt_bytes(g: tuple[float, ...]) -> bytes:
    return struct.pack("<3h", *(round(value * 16384) for value in g))


TASKS = (
    Task(
        id="buses/i2c-roll-call",
        level=3,
        prompt=(
            "Look for devices on I2C bus 1 (SDA on pin 2, SCL on pin 3). Print the address of each on a line of "
            "its own, in ascending order, as 0x and two lower-case hexadecimal digits (0x08 for example), then a "
            "line with the number of devices. Then end."
        ),
        setup=Setup(i2c=tuple(I2CDevice(address, sda=2, scl=3) for address in (0x29, 0x0D, 0x5A))),
        check=_roll_call,
        ends=BY_ITSELF,
        reference=(
            "from machine import I2C, Pin\n"
            "\n"
            "i2c = I2C(1, sda=Pin(2), scl=Pin(3))\n"
            "found = sorted(i2c.scan())\n"
            "for address in found:\n"
            '    print("0x{:02x}".format(address))\n'
            "print(len(found))\n"
        ),
        wrong=(
            "from machine import I2C, Pin\n"
            "\n"
            "i2c = I2C(1, sda=Pin(2), scl=Pin(3))\n"
            "devices = i2c.scan()\n"
            "for device in devices:\n"
            "    print(hex(device))\n"
            "print(len(devices))\n"
        ),
        mistake="hex() gives no leading zero",
    ),
    Task(
        id="buses/i2c-bit-field",
        level=3,
        prompt=(
            "A motion sensor has address 0x1D on I2C 0 (SDA on pin 20, SCL on pin 21). Bits 4, 3 and 2 of its "
            "register 0x2C are a number that chooses the data rate; the other bits of this register belong to "
            "other settings, which must stay as they are. Set the data rate to 5, write to no other register, and "
            "end."
        ),
        setup=Setup(i2c=(I2CDevice(0x1D, registers={0x2C: bytes([FIELD])}, sda=20, scl=21),)),
        check=_field,
        ends=BY_ITSELF,
        reference=(
            "from machine import I2C, Pin\n"
            "\n"
            "i2c = I2C(0, sda=Pin(20), scl=Pin(21))\n"
            "old = i2c.readfrom_mem(0x1D, 0x2C, 1)[0]\n"
            "i2c.writeto_mem(0x1D, 0x2C, bytes([old & ~(7 << 2) & 0xFF | 5 << 2]))\n"
        ),
        wrong=(
            "from machine import I2C, Pin\n"
            "\n"
            "i2c = I2C(0, sda=Pin(20), scl=Pin(21))\n"
            "value = i2c.readfrom_mem(0x1D, 0x2C, 1)[0]\n"
            "value |= 5 << 2\n"
            "i2c.writeto_mem(0x1D, 0x2C, bytes([value]))\n"
        ),
        mistake="the field's old bits are not cleared",
    ),
    Task(
        id="buses/tilt-little-endian",
        level=3,
        prompt=(
            "An accelerometer with address 0x19 is on I2C 1 (SDA on pin 6, SCL on pin 7). Registers 0x28 to 0x2D "
            "hold x, y and z, each as a signed 16-bit number, low byte first; 16384 stands for 1 g. Four times a "
            "second print x, y and z in g on one line, each with two decimals."
        ),
        setup=Setup(
            i2c=(
                I2CDevice(
                    0x19,
                    registers={0x28: _tilt_bytes(TILT[0][1])},
                    changes=tuple((t, 0x28, _tilt_bytes(g)) for t, g in TILT[1:]),
                    sda=6,
                    scl=7,
                ),
            )
        ),
        check=_tilt,
        seconds=6.0,
        reference=(
            "import struct\n"
            "import time\n"
            "from machine import I2C, Pin\n"
            "\n"
            "i2c = I2C(1, sda=Pin(6), scl=Pin(7), freq=400_000)\n"
            "\n"
            "while True:\n"
            '    axes = struct.unpack("<hhh", i2c.readfrom_mem(0x19, 0x28, 6))\n'
            '    print("{:.2f} {:.2f} {:.2f}".format(*(axis / 16384 for axis in axes)))\n'
            "    time.sleep_ms(250)\n"
        ),
        wrong=(
            "import struct\n"
            "import time\n"
            "from machine import I2C, Pin\n"
            "\n"
            "i2c = I2C(1, sda=Pin(6), scl=Pin(7), freq=400_000)\n"
            "\n"
            "while True:\n"
            "    data = i2c.readfrom_mem(0x19, 0x28, 6)\n"
            '    x, y, z = struct.unpack(">hhh", data)\n'
            '    print("{:.2f} {:.2f} {:.2f}".format(x / 16384, y / 16384, z / 16384))\n'
            "    time.sleep(0.25)\n"
        ),
        mistake="the high byte is taken first",
    ),
    Task(
        id="buses/pressure-calibrated",
        level=3,
        prompt=(
            "A pressure sensor with address 0x5D is on I2C 0 (SDA on pin 8, SCL on pin 9). Its registers 0x10 to "
            "0x12 hold the raw value, 24 bits, unsigned, most significant byte first. Two constants have been "
            "stored in it in the factory, low byte first: the offset in 0x20 and 0x21, signed, and the gain in "
            "0x22 and 0x23, unsigned. The pressure in hPa is raw * gain / 2**24 + offset / 8. Print it once a "
            "second with one decimal."
        ),
        setup=Setup(
            i2c=(
                I2CDevice(
                    0x5D,
                    registers={0x10: PRESSURE[0][1].to_bytes(3, "big"), 0x20: struct.pack("<hH", OFFSET, GAIN)},
                    changes=tuple((t, 0x10, raw.to_bytes(3, "big")) for t, raw in PRESSURE[1:]),
                    sda=8,
                    scl=9,
                ),
            )
        ),
        check=_pressure,
        reference=(
            "import struct\n"
            "import time\n"
            "from machine import I2C, Pin\n"
            "\n"
            "i2c = I2C(0, sda=Pin(8), scl=Pin(9))\n"
            'offset, gain = struct.unpack("<hH", i2c.readfrom_mem(0x5D, 0x20, 4))\n'
            "\n"
            "while True:\n"
            '    raw = int.from_bytes(i2c.readfrom_mem(0x5D, 0x10, 3), "big")\n'
            '    print("{:.1f} hPa".format(raw * gain / 2**24 + offset / 8))\n'
            "    time.sleep(1)\n"
        ),
        wrong=(
            "import time\n"
            "from machine import I2C, Pin\n"
            "\n"
            "i2c = I2C(0, sda=Pin(8), scl=Pin(9))\n"
            "\n"
            "\n"
            "def read(register, count, order):\n"
            "    return int.from_bytes(i2c.readfrom_mem(0x5D, register, count), order)\n"
            "\n"
            "\n"
            'offset = read(0x20, 2, "little")\n'
            'gain = read(0x22, 2, "little")\n'
            "\n"
            "while True:\n"
            '    raw = read(0x10, 3, "big")\n'
            '    print("{:.1f} hPa".format(raw * gain / 2**24 + offset / 8))\n'
            "    time.sleep(1)\n"
        ),
        mistake="int.from_bytes() makes the offset unsigned",
    ),
    Task(
        id="buses/some-are-missing",
        level=3,
        prompt=(
            "Up to four temperature sensors are on I2C 0 (SDA on pin 0, SCL on pin 1), with the addresses 0x48, "
            "0x49, 0x4A and 0x4B. Register 0 of each is one signed byte, the temperature in whole degrees. Once a "
            "second print one line with four entries in the order of the addresses, separated by single spaces: "
            "the temperature, or -- for a sensor that does not answer. Any of the sensors may be missing."
        ),
        setup=Setup(
            i2c=tuple(
                I2CDevice(
                    address,
                    registers={0: (script[0][1] & 0xFF).to_bytes(1, "big")},
                    changes=tuple((t, 0, (value & 0xFF).to_bytes(1, "big")) for t, value in script[1:]),
                    sda=0,
                    scl=1,
                )
                for address, script in DEGREES.items()
            )
        ),
        check=_some_missing,
        seconds=8.0,
        reference=(
            "import time\n"
            "from machine import I2C, Pin\n"
            "\n"
            "i2c = I2C(0, sda=Pin(0), scl=Pin(1))\n"
            "\n"
            "\n"
            "def entry(address):\n"
            "    try:\n"
            "        celsius = i2c.readfrom_mem(address, 0, 1)[0]\n"
            "    except OSError:\n"
            '        return "--"\n'
            "    return str(celsius - 256 if celsius > 127 else celsius)\n"
            "\n"
            "\n"
            "while True:\n"
            '    print(" ".join(entry(address) for address in range(0x48, 0x4C)))\n'
            "    time.sleep(1)\n"
        ),
        wrong=(
            "import time\n"
            "from machine import I2C, Pin\n"
            "\n"
            "i2c = I2C(0, sda=Pin(0), scl=Pin(1))\n"
            "\n"
            "while True:\n"
            '    entries = ["--"] * 4\n'
            "    try:\n"
            "        for i in range(4):\n"
            "            celsius = i2c.readfrom_mem(0x48 + i, 0, 1)[0]\n"
            "            entries[i] = str(celsius - 256 if celsius > 127 else celsius)\n"
            "    except OSError:\n"
            "        pass\n"
            '    print(" ".join(entries))\n'
            "    time.sleep(1)\n"
        ),
        mistake="after a missing sensor the rest is not read any more",
    ),
    Task(
        id="buses/fresh-data-bit",
        level=3,
        prompt=(
            "A distance sensor with address 0x36 is on I2C 1 (SDA on pin 18, SCL on pin 19) and measures now "
            "and then, with at least 200 ms in between. When it has measured, bit 3 of register 0x07 is 1 for "
            "60 ms; the other bits mean other things. The result is in registers 0x08 (high byte) and 0x09 "
            "(low byte), unsigned. Look at the bit every 10 ms and print every measurement exactly once, as "
            "soon as it is there, and nothing else. Two measurements in a row may be equal."
        ),
        setup=Setup(
            i2c=(
                I2CDevice(
                    0x36,
                    registers={7: b"\x41\x00\x00"},
                    changes=tuple(
                        change
                        for t, value in FRESH
                        for change in ((t, 7, b"\x49" + value.to_bytes(2, "big")), (t + 0.06, 7, b"\x41"))
                    ),
                    sda=18,
                    scl=19,
                ),
            )
        ),
        check=_fresh,
        seconds=6.0,
        reference=(
            "import time\n"
            "from machine import I2C, Pin\n"
            "\n"
            "i2c = I2C(1, sda=Pin(18), scl=Pin(19))\n"
            "\n"
            "\n"
            "def ready():\n"
            "    return i2c.readfrom_mem(0x36, 0x07, 1)[0] & 0x08\n"
            "\n"
            "\n"
            "while True:\n"
            "    while not ready():\n"
            "        time.sleep_ms(10)\n"
            "    high, low = i2c.readfrom_mem(0x36, 0x08, 2)\n"
            "    print(high << 8 | low)\n"
            "    while ready():\n"
            "        time.sleep_ms(10)\n"
        ),
        wrong=(
            "import time\n"
            "from machine import I2C, Pin\n"
            "\n"
            "i2c = I2C(1, sda=Pin(18), scl=Pin(19))\n"
            "\n"
            "while True:\n"
            "    if i2c.readfrom_mem(0x36, 0x07, 1)[0] & 0x08:\n"
            "        data = i2c.readfrom_mem(0x36, 0x08, 2)\n"
            "        print(data[0] << 8 | data[1])\n"
            "    time.sleep_ms(20)\n"
        ),
        mistake="a measurement is printed again for as long as the bit is set",
    ),
)
