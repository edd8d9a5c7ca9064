"""Level 3: clock, memory, port expander, light and humidity on I2C."""

from __future__ import annotations

from stages.evaluation.checks import end, follows, i2c_registers, i2c_transfers, require, texts
from stages.evaluation.sandbox import Outcome
from stages.evaluation.task import BY_ITSELF, Task
from stages.evaluation.tasks._readings import Says, readings
from stages.evaluation.wiring import I2CDevice, Setup

# what the clock holds (hour register with bit 6 for twelve hours, bit 5 for PM) and what that is in 24 hours
CLOCK = (
    (0.0, b"\x09\x05\x52", "00:05:09"),
    (2.3, b"\x58\x59\x71", "23:59:58"),
    (4.3, b"\x47\x30\x72", "12:30:47"),
    (6.3, b"\x07\x08\x49", "09:08:07"),
)

NOTE = "The spare key hangs behind the blue flowerpot, left of the door."
START, PAGE = 0x01F4, 32

BUTTONS = ((0.0, 0xFF), (0.73, 0xFE), (1.61, 0x7A), (2.43, 0x7F), (3.2, 0xFF), (3.94, 0x0F))

LUX = ((0.0, 100), (2.1, 12), (3.6, 35), (5.1, 60), (6.3, 30))
LAMP = ((0.0, 0), (2.1, 1), (5.1, 0))

HUMIDITY: tuple[tuple[float, Says], ...] = (
    (0.0, (48.2,)),
    (3.2, "CRC error"),
    (5.2, (93.7,)),
)


def _crc(data: bytes) -> int:
    crc = 0xFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc << 1 ^ (0x12F if crc & 0x80 else 0)) & 0xFF
    return crc


def _humid(percent: float, damage: int = 0) -> bytes:
    raw = round(percent * 655.35).to_bytes(2, "big")
    return raw + bytes([_crc(raw) ^ damage])


def _clock(outcome: Outcome) -> None:
    readings(outcome, [(t, says) for t, _, says in CLOCK], every=1.0)


def _note(outcome: Outcome) -> None:
    transfers = i2c_transfers(outcome, 0x50)
    memory: dict[int, int] = {}
    for transfer, after in zip(transfers, [*transfers[1:], None], strict=True):
        data = transfer.write[2:]
        if not data:
            continue
        address = int.from_bytes(transfer.write[:2], "big")
        require(
            address % PAGE + len(data) <= PAGE, f"{len(data)} bytes written from 0x{address:04x} cross a page's end"
        )
        memory.update({address + i: byte for i, byte in enumerate(data)})
        require(after is None or after.t - transfer.t > 0.005, "no 5 ms after a write")
    wanted = {START + i: byte for i, byte in enumerate(NOTE.encode())}
    require(memory == wanted, f"the memory holds {bytes(memory.values())!r} from {sorted(memory)[:1]}")
    require(any(transfer.read for transfer in transfers), "nothing was read back")
    require(NOTE in texts(outcome), "the text was not printed")


def _mirror(outcome: Outcome) -> None:
    final = i2c_registers(outcome, 0x27)
    require(final.get(0x01) == 0, "port B is no output")
    require(final.get(0x00, 0xFF) == 0xFF, "port A is no input")
    require(final.get(0x0C) == 0xFF, "the pull-ups of port A are off")
    history = [(0.0, 0)]
    for transfer in i2c_transfers(outcome, 0x27):
        for register, byte in enumerate(transfer.write[1:], transfer.write[0] if transfer.write else 0):
            if register in (0x13, 0x15) and byte != history[-1][1]:
                history.append((transfer.t, byte))
    stops = [t for t, _ in BUTTONS[1:]] + [end(outcome)]
    for (t, buttons), stop in zip(BUTTONS, stops, strict=True):
        wanted = buttons ^ 0xFF
        now = [byte for at, byte in history if at <= t + 0.15][-1]
        steady = not any(t + 0.15 < at < stop for at, _ in history)
        require(now == wanted and steady, f"port B shows {now:08b} after {t} s instead of {wanted:08b}")


def _lamp(outcome: Outcome) -> None:
    follows(outcome, 15, LAMP, margin=0.7)


def _humidity(outcome: Outcome) -> None:
    readings(outcome, HUMIDITY, every=1.0, within=0.06, late=0.15)


TASKS = (
    Task(
        id="buses/clock-of-twelve-hours",
        level=3,
        prompt=(
            "A clock chip with address 0x68 is on I2C 0 (SDA on pin 12, SCL on pin 13). Register 0 holds the "
            "seconds, register 1 the minutes, register 2 the hour, all in BCD (the tens in the upper four bits). "
            "The chip counts in twelve hours: in register 2, bit 6 is set, bit 5 is set after noon (PM), and bits "
            "4 to 0 are the hour in BCD, from 1 to 12. Once a second print the time in 24 hours as HH:MM:SS."
        ),
        setup=Setup(
            i2c=(
                I2CDevice(
                    0x68,
                    registers={0: CLOCK[0][1]},
                    changes=tuple((t, 0, held) for t, held, _ in CLOCK[1:]),
                    sda=12,
                    scl=13,
                ),
            )
        ),
        check=_clock,
        seconds=8.0,
        reference=(
            "import time\n"
            "from machine import I2C, Pin\n"
            "\n"
            "i2c = I2C(0, sda=Pin(12), scl=Pin(13))\n"
            "\n"
            "\n"
            "def from_bcd(byte):\n"
            "    return 10 * (byte >> 4) + (byte & 15)\n"
            "\n"
            "\n"
            "while True:\n"
            "    second, minute, hour = i2c.readfrom_mem(0x68, 0, 3)\n"
            "    hours = from_bcd(hour & 0x1F) % 12 + (12 if hour & 0x20 else 0)\n"
            '    print("{:02d}:{:02d}:{:02d}".format(hours, from_bcd(minute), from_bcd(second)))\n'
            "    time.sleep(1)\n"
        ),
        wrong=(
            "import time\n"
            "from machine import I2C, Pin\n"
            "\n"
            "i2c = I2C(0, sda=Pin(12), scl=Pin(13))\n"
            "\n"
            "\n"
            "def from_bcd(byte):\n"
            "    return (byte >> 4) * 10 + (byte & 0x0F)\n"
            "\n"
            "\n"
            "while True:\n"
            "    data = i2c.readfrom_mem(0x68, 0, 3)\n"
            "    hours = from_bcd(data[2] & 0x1F)\n"
            "    if data[2] & 0x20:\n"
            "        hours += 12\n"
            '    print("{:02d}:{:02d}:{:02d}".format(hours, from_bcd(data[1]), from_bcd(data[0])))\n'
            "    time.sleep(1)\n"
        ),
        mistake="12 AM becomes 12 and 12 PM becomes 24",
    ),
    Task(
        id="buses/eeprom-pages",
        level=3,
        prompt=(
            "An EEPROM with address 0x50 is on I2C 1 (SDA on pin 14, SCL on pin 15). It takes two address "
            "bytes, the high one first, then data. Its pages of 32 bytes begin at multiples of 32, and a write "
            'must not go beyond the end of a page. After each write wait at least 5 ms. Store the text "The '
            'spare key hangs behind the blue flowerpot, left of the door." from address 0x01F4 on, read it '
            "back, print what was read, and end."
        ),
        setup=Setup(i2c=(I2CDevice(0x50, registers={0x01E0: b"\xff" * 128}, reg_bytes=2, sda=14, scl=15),)),
        check=_note,
        ends=BY_ITSELF,
        reference=(
            "import time\n"
            "from machine import I2C, Pin\n"
            "\n"
            f'TEXT = b"{NOTE}"\n'
            "START = 0x01F4\n"
            "PAGE = 32\n"
            "\n"
            "i2c = I2C(1, sda=Pin(14), scl=Pin(15))\n"
            "done = 0\n"
            "while done < len(TEXT):\n"
            "    address = START + done\n"
            "    count = PAGE - address % PAGE\n"
            "    i2c.writeto_mem(0x50, address, TEXT[done : done + count], addrsize=16)\n"
            "    time.sleep_ms(6)\n"
            "    done += count\n"
            "print(i2c.readfrom_mem(0x50, START, len(TEXT), addrsize=16).decode())\n"
        ),
        wrong=(
            "import time\n"
            "from machine import I2C, Pin\n"
            "\n"
            f'text = "{NOTE}".encode()\n'
            "\n"
            "i2c = I2C(1, sda=Pin(14), scl=Pin(15))\n"
            "for offset in range(0, len(text), 32):\n"
            "    i2c.writeto_mem(0x50, 0x01F4 + offset, text[offset : offset + 32], addrsize=16)\n"
            "    time.sleep_ms(10)\n"
            "print(i2c.readfrom_mem(0x50, 0x01F4, len(text), addrsize=16).decode())\n"
        ),
        mistake="pieces of 32 bytes that do not begin at a page",
    ),
    Task(
        id="buses/expander-mirror",
        level=3,
        prompt=(
            "A port expander with address 0x27 is on I2C 0 (SDA on pin 16, SCL on pin 17). Eight buttons "
            "connect the pins of its port A to ground; on port B are eight LEDs that light when high. "
            "Registers: IODIRA 0x00 and IODIRB 0x01 (1: input, all 1 at power-on), GPPUA 0x0C (1: pull-up on "
            "port A, all 0 at power-on), GPIOA 0x12 (inputs of port A), OLATB 0x15 (outputs of port B). Switch "
            "on all pull-ups of port A and light LED n while button n is pressed, n from 0 to 7. Look every 50 "
            "ms."
        ),
        setup=Setup(
            i2c=(
                I2CDevice(
                    0x27,
                    registers={0: b"\xff\xff", 0x12: b"\xff"},
                    changes=tuple((t, 0x12, bytes([buttons])) for t, buttons in BUTTONS[1:]),
                    sda=16,
                    scl=17,
                ),
            )
        ),
        check=_mirror,
        seconds=5.0,
        reference=(
            "import time\n"
            "from machine import I2C, Pin\n"
            "\n"
            "ADDRESS = 0x27\n"
            "i2c = I2C(0, sda=Pin(16), scl=Pin(17))\n"
            'i2c.writeto_mem(ADDRESS, 0x01, b"\\x00")\n'
            'i2c.writeto_mem(ADDRESS, 0x0C, b"\\xff")\n'
            "\n"
            "while True:\n"
            "    pressed = i2c.readfrom_mem(ADDRESS, 0x12, 1)[0] ^ 0xFF\n"
            "    i2c.writeto_mem(ADDRESS, 0x15, bytes([pressed]))\n"
            "    time.sleep_ms(50)\n"
        ),
        wrong=(
            "import time\n"
            "from machine import I2C, Pin\n"
            "\n"
            "ADDRESS = 0x27\n"
            "i2c = I2C(0, sda=Pin(16), scl=Pin(17))\n"
            'i2c.writeto_mem(ADDRESS, 0x00, b"\\xff\\x00")\n'
            'i2c.writeto_mem(ADDRESS, 0x0C, b"\\xff")\n'
            "\n"
            "while True:\n"
            "    buttons = i2c.readfrom_mem(ADDRESS, 0x12, 1)\n"
            "    i2c.writeto_mem(ADDRESS, 0x15, buttons)\n"
            "    time.sleep_ms(50)\n"
        ),
        mistake="a pressed button reads 0, which switches its LED off",
    ),
    Task(
        id="buses/one-shot-light",
        level=3,
        prompt=(
            "A light sensor with address 0x23 is on I2C 1 (SDA on pin 26, SCL on pin 27). The command byte "
            "0x20 starts a measurement of up to 180 ms; after that two bytes can be read, high byte first, and "
            "that number divided by 1.2 is the brightness in lux. What is read earlier is 0 and means nothing. "
            "Measure twice a second. The lamp on pin 15 (high: on), off at first, goes on below 20 lux and off "
            "above 50; in between it stays as it is."
        ),
        setup=Setup(
            i2c=(
                I2CDevice(
                    0x23,
                    replies={b"\x20": tuple((t, round(lux * 1.2).to_bytes(2, "big")) for t, lux in LUX)},
                    ready=0.17,
                    sda=26,
                    scl=27,
                ),
            )
        ),
        check=_lamp,
        seconds=8.0,
        reference=(
            "import time\n"
            "from machine import I2C, Pin\n"
            "\n"
            "i2c = I2C(1, sda=Pin(26), scl=Pin(27))\n"
            "lamp = Pin(15, Pin.OUT, value=0)\n"
            "\n"
            "while True:\n"
            '    i2c.writeto(0x23, b"\\x20")\n'
            "    time.sleep_ms(180)\n"
            "    high, low = i2c.readfrom(0x23, 2)\n"
            "    lux = (high << 8 | low) / 1.2\n"
            "    if lux < 20:\n"
            "        lamp.on()\n"
            "    elif lux > 50:\n"
            "        lamp.off()\n"
            "    time.sleep_ms(200)\n"
        ),
        wrong=(
            "import time\n"
            "from machine import I2C, Pin\n"
            "\n"
            "i2c = I2C(1, sda=Pin(26), scl=Pin(27))\n"
            "lamp = Pin(15, Pin.OUT, value=0)\n"
            "\n"
            "while True:\n"
            '    i2c.writeto(0x23, b"\\x20")\n'
            "    data = i2c.readfrom(0x23, 2)\n"
            "    lux = (data[0] << 8 | data[1]) / 1.2\n"
            "    if lux < 20:\n"
            "        lamp.on()\n"
            "    elif lux > 50:\n"
            "        lamp.off()\n"
            "    time.sleep_ms(200)\n"
        ),
        mistake="the result is read before it is there",
    ),
    Task(
        id="buses/humidity-crc",
        level=3,
        prompt=(
            "A humidity sensor with address 0x45 is on I2C 0 (SDA on pin 4, SCL on pin 5). After the command "
            "byte 0xE5 it does not acknowledge for 30 ms; then three bytes can be read: the raw value, high "
            "byte first, and a CRC-8 of these two bytes (polynomial 0x2F, initial value 0xFF, most significant "
            "bit first, not inverted). The humidity in percent is 100 * raw / 65535. Once a second print it "
            'with one decimal, or "CRC error" where the checksum does not fit.'
        ),
        setup=Setup(
            i2c=(
                I2CDevice(
                    0x45,
                    replies={b"\xe5": ((0.0, _humid(48.2)), (3.2, _humid(48.2, 0x10)), (5.2, _humid(93.7)))},
                    ready=0.025,
                    busy=True,
                    sda=4,
                    scl=5,
                ),
            )
        ),
        check=_humidity,
        seconds=8.0,
        reference=(
            "import time\n"
            "from machine import I2C, Pin\n"
            "\n"
            "i2c = I2C(0, sda=Pin(4), scl=Pin(5))\n"
            "\n"
            "\n"
            "def crc8(data):\n"
            "    crc = 0xFF\n"
            "    for byte in data:\n"
            "        crc ^= byte\n"
            "        for _ in range(8):\n"
            "            carry = crc >> 7\n"
            "            crc = crc << 1 & 0xFF\n"
            "            if carry:\n"
            "                crc ^= 0x2F\n"
            "    return crc\n"
            "\n"
            "\n"
            "while True:\n"
            '    i2c.writeto(0x45, b"\\xe5")\n'
            "    time.sleep_ms(30)\n"
            "    answer = i2c.readfrom(0x45, 3)\n"
            "    if crc8(answer[:2]) == answer[2]:\n"
            '        print("{:.1f}".format(100 * (answer[0] << 8 | answer[1]) / 65535))\n'
            "    else:\n"
            '        print("CRC error")\n'
            "    time.sleep_ms(970)\n"
        ),
        wrong=(
            "import time\n"
            "from machine import I2C, Pin\n"
            "\n"
            "i2c = I2C(0, sda=Pin(4), scl=Pin(5))\n"
            "\n"
            "\n"
            "def crc8(data):\n"
            "    crc = 0\n"
            "    for byte in data:\n"
            "        crc ^= byte\n"
            "        for _ in range(8):\n"
            "            if crc & 0x80:\n"
            "                crc = (crc << 1) ^ 0x2F\n"
            "            else:\n"
            "                crc <<= 1\n"
            "        crc &= 0xFF\n"
            "    return crc\n"
            "\n"
            "\n"
            "while True:\n"
            '    i2c.writeto(0x45, b"\\xe5")\n'
            "    time.sleep_ms(50)\n"
            "    data = i2c.readfrom(0x45, 3)\n"
            "    if crc8(data[0:2]) != data[2]:\n"
            '        print("CRC error")\n'
            "    else:\n"
            '        print("{:.1f}".format(100 * ((data[0] << 8) + data[1]) / 65535))\n'
            "    time.sleep(1)\n"
        ),
        mistake="the CRC begins at 0 and its register grows beyond eight bits",
    ),
)
