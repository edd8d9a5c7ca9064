"""Level 3: analogue inputs and what hangs on I2C, SPI and UART."""

from __future__ import annotations

from stages.evaluation.checks import (
    lines,
    of_kind,
    regular,
    require,
    spi_transfers,
    tells,
    texts,
    uart_written,
)
from stages.evaluation.sandbox import Outcome
from stages.evaluation.task import BY_ITSELF, Task
from stages.evaluation.wiring import I2CDevice, Serial, Setup, SPIDevice

# LM75: eleven bits, two's complement, an eighth of a degree each, at the top of two bytes
LM75 = ((0.0, 25.125), (2.5, -3.5), (5.5, 0.0), (7.5, -40.25))


def _lm75_bytes(celsius: float) -> bytes:
    return (round(celsius * 8) * 32 & 0xFFFF).to_bytes(2, "big")


def _temperatures(outcome: Outcome) -> None:
    printed = lines(outcome)
    regular([line.t for line in printed], 1.0, tolerance=0.1, until=10.0, what="a line is printed")
    for line in printed:
        change = min(abs(line.t - t) for t, _ in LM75[1:])
        if change < 0.1:
            continue
        wanted = [celsius for t, celsius in LM75 if t <= line.t][-1]
        require(tells(line.text, wanted, 0.051), f"{line.text!r} at {line.t:.1f} s instead of {wanted}")


def _channel(outcome: Outcome) -> None:
    require(spi_transfers(outcome, 17), "nothing was sent while pin 17 was low")
    printed = texts(outcome)
    require(printed and tells(printed[-1], 949), f"{printed[-1:]} printed instead of 949")


def _echo(outcome: Outcome) -> None:
    require(uart_written(outcome, 1) == b"OK 5\r\nOK 12\r\nERROR\r\n", f"answered {uart_written(outcome, 1)!r}")


def _countdown(outcome: Outcome) -> None:
    written = uart_written(outcome, 0)
    require(written == b"".join(b"%d\r\n" % n for n in range(10, -1, -1)), f"{written!r} was sent")
    ends = [event["t"] for event in of_kind(outcome, "uart", uart=0) if event["data"].endswith("0a")]
    regular(ends, 0.25, until=ends[-1], what="a line is sent")
    opened = of_kind(outcome, "uart_init", uart=0)[-1]
    require(opened["rate"] == 38400 and opened["tx"] == 16, f"{opened['rate']} baud on pin {opened['tx']}")


TASKS = (
    Task(
        id="buses/lm75-below-zero",
        level=3,
        prompt=(
            "An LM75 temperature sensor has I2C address 0x48, SDA on pin 4 and SCL on pin 5. Register 0 holds two "
            "bytes, most significant first: the top 11 bits are the temperature as a two's complement number in steps "
            "of 0.125 degrees. Print the temperature in degrees Celsius once a second; it may be below zero."
        ),
        setup=Setup(
            i2c=(
                I2CDevice(
                    0x48,
                    registers={0: _lm75_bytes(LM75[0][1])},
                    changes=tuple((t, 0, _lm75_bytes(celsius)) for t, celsius in LM75[1:]),
                    sda=4,
                    scl=5,
                ),
            )
        ),
        check=_temperatures,
        reference=(
            "import time\n"
            "from machine import I2C, Pin\n"
            "\n"
            "i2c = I2C(0, sda=Pin(4), scl=Pin(5), freq=400_000)\n"
            "while True:\n"
            "    high, low = i2c.readfrom_mem(0x48, 0, 2)\n"
            "    steps = (high << 8 | low) >> 5\n"
            "    if steps & 0x400:\n"
            "        steps -= 0x800\n"
            '    print("{:.3f}".format(steps * 0.125))\n'
            "    time.sleep(1)\n"
        ),
        wrong=(
            "import time\n"
            "from machine import I2C, Pin\n"
            "\n"
            "i2c = I2C(0, sda=Pin(4), scl=Pin(5))\n"
            "while True:\n"
            "    data = i2c.readfrom_mem(0x48, 0x00, 2)\n"
            "    raw = (data[0] << 3) | (data[1] >> 5)\n"
            "    print(raw * 0.125)\n"
            "    time.sleep(1)\n"
        ),
        mistake="the sign is not looked at",
    ),
    Task(
        id="buses/mcp3008-channel",
        level=3,
        prompt=(
            "An MCP3008 analogue converter is on SPI 0 (SCK 18, MOSI 19, MISO 16), its chip select on pin 17, active "
            "low. To read channel n in single-ended mode send the bytes 0x01, 0x80 | n << 4, 0x00; the ten bits of the "
            "result come back in the two lowest bits of the second byte and in the third. Print the value of channel 2 "
            "once."
        ),
        setup=Setup(spi=(SPIDevice(17, {b"\x01\xa0": b"\x00\xff\xb5", b"\x01\x80": b"\x00\x01\x11"}, 18, 19, 16),)),
        check=_channel,
        ends=BY_ITSELF,
        reference=(
            "from machine import SPI, Pin\n"
            "\n"
            "spi = SPI(0, baudrate=1_000_000, sck=Pin(18), mosi=Pin(19), miso=Pin(16))\n"
            "select = Pin(17, Pin.OUT, value=1)\n"
            "reply = bytearray(3)\n"
            "select.off()\n"
            "spi.write_readinto(bytes([0x01, 0x80 | 2 << 4, 0x00]), reply)\n"
            "select.on()\n"
            "print((reply[1] & 3) << 8 | reply[2])\n"
        ),
        wrong=(
            "from machine import SPI, Pin\n"
            "\n"
            "spi = SPI(0, baudrate=1_000_000, sck=Pin(18), mosi=Pin(19), miso=Pin(16))\n"
            "select = Pin(17, Pin.OUT, value=1)\n"
            "reply = bytearray(3)\n"
            "select.off()\n"
            "spi.write_readinto(bytes([0x01, 0x80 | 2 << 4, 0x00]), reply)\n"
            "select.on()\n"
            "print(reply[1] << 8 | reply[2])\n"
        ),
        mistake="the undefined bits above the result are not masked",
    ),
    Task(
        id="buses/uart-adder",
        level=3,
        prompt=(
            'Answer requests on UART 1 (9600 baud, TX on pin 8, RX on pin 9). Each request is a line "ADD a b" with '
            'two whole numbers and ends with a line feed; answer "OK", a space and their sum. Answer anything else '
            'with "ERROR". End every answer with \\r\\n. Requests can arrive in pieces.'
        ),
        setup=Setup(
            uart={
                1: Serial(
                    input=((0.5, b"ADD 2 3\n"), (1.5, b"ADD 1"), (1.9, b"4 -2\n"), (3.0, b"SUB 1 2\n")),
                    baudrate=9600,
                    tx=8,
                    rx=9,
                )
            }
        ),
        check=_echo,
        seconds=5.0,
        reference=(
            "import time\n"
            "from machine import UART, Pin\n"
            "\n"
            "uart = UART(1, baudrate=9600, tx=Pin(8), rx=Pin(9))\n"
            'line = b""\n'
            "while True:\n"
            "    while uart.any():\n"
            "        character = uart.read(1)\n"
            '        if character != b"\\n":\n'
            "            line += character\n"
            "            continue\n"
            "        words = line.decode().split()\n"
            '        line = b""\n'
            "        try:\n"
            "            verb, a, b = words\n"
            '            if verb != "ADD":\n'
            "                raise ValueError\n"
            '            uart.write("OK {}\\r\\n".format(int(a) + int(b)))\n'
            "        except ValueError:\n"
            '            uart.write("ERROR\\r\\n")\n'
            "    time.sleep_ms(10)\n"
        ),
        wrong=(
            "import time\n"
            "from machine import UART, Pin\n"
            "\n"
            "uart = UART(1, baudrate=9600, tx=Pin(8), rx=Pin(9))\n"
            "while True:\n"
            "    if uart.any():\n"
            "        words = uart.read().decode().split()\n"
            '        if len(words) == 3 and words[0] == "ADD":\n'
            '            uart.write("OK {}\\r\\n".format(int(words[1]) + int(words[2])))\n'
            "        else:\n"
            '            uart.write("ERROR\\r\\n")\n'
            "    time.sleep_ms(10)\n"
        ),
        mistake="what has arrived so far is taken for a whole line",
    ),
    Task(
        id="buses/uart-countdown",
        level=3,
        prompt=(
            "Send the numbers from 10 down to 0 on UART 0 (38400 baud, TX on pin 16, RX on pin 17), each on a line of "
            "its own that ends with \\r\\n, one every 250 ms, and end."
        ),
        check=_countdown,
        ends=BY_ITSELF,
        seconds=5.0,
        reference=(
            "import time\n"
            "from machine import UART, Pin\n"
            "\n"
            "uart = UART(0, baudrate=38400, tx=Pin(16), rx=Pin(17))\n"
            "for n in range(10, -1, -1):\n"
            '    uart.write("{}\\r\\n".format(n))\n'
            "    time.sleep_ms(250)\n"
        ),
        wrong=(
            "import time\n"
            "from machine import UART, Pin\n"
            "\n"
            "uart = UART(0, baudrate=38400, tx=Pin(16), rx=Pin(17))\n"
            "for i in range(10, 0, -1):\n"
            '    uart.write(str(i) + "\\r\\n")\n'
            "    time.sleep(0.25)\n"
        ),
        mistake="range() ends before its second argument",
    ),
)
