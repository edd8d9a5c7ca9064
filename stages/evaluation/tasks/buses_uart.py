"""Level 3: messages on a UART."""

from __future__ import annotations

from functools import reduce
from operator import xor

from stages.evaluation.checks import follows, lines, near, numbers, of_kind, require, uart_written
from stages.evaluation.sandbox import Outcome
from stages.evaluation.task import BY_ITSELF, Task
from stages.evaluation.wiring import Serial, Setup


def _sentence(body: str, damage: int = 0) -> bytes:
    total = reduce(xor, body.encode(), 0) ^ damage
    return f"${body}*{total:02X}\r\n".encode()


_FAST = _sentence("GPRMC,120003.00,A,4807.03,N,01131.00,E,22.4,084.4,230326,,")
_SLOW = _sentence("GPRMC,120007.00,A,4807.09,N,01131.02,E,0.8,,230326,,")
GPS = (
    (0.4, _sentence("GPGGA,120001.00,4807.03,N,01131.00,E,1,08,0.9,545.4,M,46.9,M,,")),
    (0.9, _FAST[:31]),
    (1.3, _FAST[31:]),
    (2.0, _sentence("GPRMC,120004.00,A,4807.03,N,01131.00,E,92.4,084.4,230326,,", damage=0x70)),
    (3.0, _sentence("GPRMC,120005.00,V,4807.03,N,01131.00,E,51.3,084.4,230326,,")),
    (4.0, _SLOW),
    (5.0, _sentence("GPRMC,120008.00,A,4807.09,N,01131.02,E,110.25,012.0,230326,,")),
)
SPEEDS = ((1.3, 41.4848), (4.0, 1.4816), (5.0, 204.183))

LIFE = (
    (0.7, b"PING\n"),
    (1.5, b"PING\n"),
    (2.2, b"STAT 5\n"),
    (2.9, b"STAT 7\n"),
    (3.9, b"PI"),
    (4.4, b"NG\n"),
    (5.0, b"PING\n"),
    (7.3, b"XPING\n"),
    (8.0, b"PING\n"),
)
ALARM = ((0.0, 0), (3.0, 1), (4.4, 0), (6.5, 1), (8.0, 0))


def _frame(payload: bytes, damage: int = 0) -> bytes:
    return bytes([0x7E, len(payload), *payload, reduce(xor, payload, 0) ^ damage])


_SPLIT = _frame(b"\x00\xff\x7e\x15\x06")
FRAMES = (
    (0.5, _frame(b"\x10\x7e\x20"), b"\x06"),
    (1.1, _frame(b"\x01\x02\x03\x04", damage=0x40), b"\x15"),
    (1.8, b"\x00\x33" + _frame(b"\x7e"), b"\x06"),
    (2.6, _SPLIT[:4], b""),
    (3.1, _SPLIT[4:], b"\x06"),
    (3.8, _frame(b"\x81\x80") + _frame(b"\x09", damage=0x01), b"\x06\x15"),
)


def _speeds(outcome: Outcome) -> None:
    found = lines(outcome)
    require(len(found) == len(SPEEDS), f"{[line.text for line in found]} printed")
    for line, (t, speed) in zip(found, SPEEDS, strict=True):
        values = numbers(line.text)
        require(values and near(values[-1], speed, 0.051), f"{line.text!r} instead of {speed:.1f}")
        require(0 <= line.t - t < 0.3, f"{line.text!r} printed at {line.t:.1f} s instead of {t} s")


QUESTIONS = (b"AT+CGMM\r\n", b"AT+COPS?\r\n", b"AT+CSQ\r\n")


def _modem(outcome: Outcome) -> None:
    require(uart_written(outcome, 1) == b"".join(QUESTIONS), f"{uart_written(outcome, 1)!r} was sent")
    found = lines(outcome)
    wanted = ("SIM800", "no answer", "+CSQ: 17,0")
    right = len(found) == 3 and all(part in line.text for part, line in zip(wanted, found, strict=True))
    require(right, f"{[line.text for line in found]} printed")
    waited = found[1].t - found[0].t
    require(1.9 < waited < 2.5, f"given up after {waited:.2f} s")


def _alarm(outcome: Outcome) -> None:
    follows(outcome, 15, ALARM, margin=0.1)


def _frames(outcome: Outcome) -> None:
    wanted = b"".join(answer for _, _, answer in FRAMES)
    require(uart_written(outcome, 0) == wanted, f"answered {uart_written(outcome, 0).hex()} instead of {wanted.hex()}")
    for t, _, answer in FRAMES:
        sent = b"".join(
            bytes.fromhex(event["data"]) for event in of_kind(outcome, "uart", uart=0) if t <= event["t"] < t + 0.2
        )
        require(sent == answer, f"answered {sent.hex()} to what came at {t} s, not {answer.hex()}")


TASKS = (
    Task(
        id="buses/gps-speed",
        level=3,
        prompt=(
            "A GPS receiver on UART 0 (9600 baud, TX on pin 0, RX on pin 1) sends sentences such as "
            "$GPRMC,123519,A*5A\\r\\n. The two hexadecimal digits after * are the XOR of all characters between "
            "$ and *. A sentence may arrive in pieces. In GPRMC sentences, counted from field 0, which is "
            "$GPRMC, the comma-separated field 2 is A where the position is valid, and field 7 is the speed in "
            "knots. For each valid GPRMC sentence with the right checksum print the speed in km/h with one "
            "decimal (1 knot = 1.852 km/h), and print nothing else."
        ),
        setup=Setup(uart={0: Serial(input=GPS, baudrate=9600, tx=0, rx=1)}),
        check=_speeds,
        seconds=6.0,
        reference=(
            "import time\n"
            "from machine import UART, Pin\n"
            "\n"
            "uart = UART(0, baudrate=9600, tx=Pin(0), rx=Pin(1))\n"
            "\n"
            "\n"
            "def checked(sentence):\n"
            '    body, star, digits = sentence[1:].partition("*")\n'
            "    total = 0\n"
            "    for character in body:\n"
            "        total ^= ord(character)\n"
            '    return star and "{:02X}".format(total) == digits.upper()\n'
            "\n"
            "\n"
            "def handle(sentence):\n"
            '    if not sentence.startswith("$GPRMC") or not checked(sentence):\n'
            "        return\n"
            '    fields = sentence.split(",")\n'
            '    if fields[2] == "A":\n'
            '        print("{:.1f}".format(float(fields[7]) * 1.852))\n'
            "\n"
            "\n"
            'line = b""\n'
            "while True:\n"
            "    while uart.any():\n"
            "        character = uart.read(1)\n"
            '        if character == b"\\n":\n'
            "            handle(line.decode().strip())\n"
            '            line = b""\n'
            "        else:\n"
            "            line += character\n"
            "    time.sleep_ms(20)\n"
        ),
        wrong=(
            "import time\n"
            "from machine import UART, Pin\n"
            "\n"
            "uart = UART(0, baudrate=9600, tx=Pin(0), rx=Pin(1))\n"
            'buffer = b""\n'
            "\n"
            "\n"
            "def checksum_ok(sentence):\n"
            '    body, digits = sentence[1:].split("*")\n'
            "    total = 0\n"
            "    for character in body:\n"
            "        total ^= ord(character)\n"
            "    return total == int(digits, 16)\n"
            "\n"
            "\n"
            "while True:\n"
            "    if uart.any():\n"
            "        buffer += uart.read()\n"
            '    while b"\\r\\n" in buffer:\n'
            '        line, buffer = buffer.split(b"\\r\\n", 1)\n'
            "        sentence = line.decode()\n"
            '        if sentence.startswith("$GPRMC") and checksum_ok(sentence):\n'
            '            print("%.1f" % (float(sentence.split(",")[7]) * 1.852))\n'
            "    time.sleep_ms(50)\n"
        ),
        mistake="whether the position is valid is not looked at",
    ),
    Task(
        id="buses/modem-questions",
        level=3,
        prompt=(
            'A modem is on UART 1 (115200 baud, TX on pin 4, RX on pin 5). Send "AT+CGMM", "AT+COPS?" and '
            '"AT+CSQ" in this order, each followed by \\r\\n. It answers with lines that end with \\r\\n, some of '
            "them empty, the last one OK or ERROR. For each question print one line: the first line of its "
            'answer that is neither empty nor OK nor ERROR, or "no answer" where the answer is not complete '
            "after 2 seconds. Ask the next one as soon as the answer is complete or the 2 seconds are over; "
            "end after the third."
        ),
        setup=Setup(
            uart={
                1: Serial(
                    replies={
                        QUESTIONS[0]: b"\r\nSIM800\r\n\r\nOK\r\n",
                        QUESTIONS[1]: b"\r\n+COPS: 0\r\n",  # and nothing more
                        QUESTIONS[2]: b"\r\n+CSQ: 17,0\r\n\r\nOK\r\n",
                    },
                    baudrate=115200,
                    tx=4,
                    rx=5,
                )
            }
        ),
        check=_modem,
        ends=BY_ITSELF,
        reference=(
            "import time\n"
            "from machine import UART, Pin\n"
            "\n"
            "uart = UART(1, baudrate=115200, tx=Pin(4), rx=Pin(5))\n"
            "\n"
            "\n"
            "def ask(question):\n"
            '    uart.write(question + "\\r\\n")\n'
            "    start = time.ticks_ms()\n"
            '    received = b""\n'
            "    while time.ticks_diff(time.ticks_ms(), start) < 2000:\n"
            "        if uart.any():\n"
            "            received += uart.read()\n"
            '            lines = [line for line in received.decode().split("\\r\\n")[:-1] if line]\n'
            '            if "OK" in lines or "ERROR" in lines:\n'
            "                return lines[0]\n"
            "        time.sleep_ms(10)\n"
            '    return "no answer"\n'
            "\n"
            "\n"
            'for question in ("AT+CGMM", "AT+COPS?", "AT+CSQ"):\n'
            "    print(ask(question))\n"
        ),
        wrong=(
            "from machine import UART, Pin\n"
            "\n"
            "uart = UART(1, baudrate=115200, tx=Pin(4), rx=Pin(5), timeout=2000)\n"
            "\n"
            "\n"
            "def ask(question):\n"
            '    uart.write(question + "\\r\\n")\n'
            "    line = uart.readline()\n"
            "    if line is None:\n"
            '        return "no answer"\n'
            "    return line.decode().strip()\n"
            "\n"
            "\n"
            'for question in ("AT+CGMM", "AT+COPS?", "AT+CSQ"):\n'
            "    print(ask(question))\n"
        ),
        mistake="the empty line that comes first is taken for the answer, and the rest for the next one",
    ),
    Task(
        id="buses/sign-of-life",
        level=3,
        prompt=(
            'Another board sends the line "PING", ended by a line feed, on UART 1 (9600 baud, TX on pin 8, RX on '
            "pin 9) as a sign of life; a line may arrive in pieces. Switch the alarm LED on pin 15 on (high) when "
            "there has been no PING for 1.5 seconds, counted from the last one or, before the first, from the "
            "start of the program. Switch it off with the next PING. Other lines are no sign of life. React "
            "within 50 ms."
        ),
        setup=Setup(uart={1: Serial(input=LIFE, baudrate=9600, tx=8, rx=9)}),
        check=_alarm,
        seconds=9.0,
        reference=(
            "import time\n"
            "from machine import UART, Pin\n"
            "\n"
            "uart = UART(1, baudrate=9600, tx=Pin(8), rx=Pin(9))\n"
            "alarm = Pin(15, Pin.OUT, value=0)\n"
            "last = time.ticks_ms()\n"
            'received = b""\n'
            "\n"
            "while True:\n"
            "    if uart.any():\n"
            "        received += uart.read()\n"
            '        *complete, received = received.split(b"\\n")\n'
            '        if b"PING" in complete:\n'
            "            last = time.ticks_ms()\n"
            "    alarm.value(time.ticks_diff(time.ticks_ms(), last) >= 1500)\n"
            "    time.sleep_ms(10)\n"
        ),
        wrong=(
            "import time\n"
            "from machine import UART, Pin\n"
            "\n"
            "uart = UART(1, baudrate=9600, tx=Pin(8), rx=Pin(9))\n"
            "led = Pin(15, Pin.OUT)\n"
            "led.off()\n"
            "last_seen = time.ticks_ms()\n"
            'buffer = b""\n'
            "\n"
            "while True:\n"
            "    if uart.any():\n"
            "        buffer += uart.read()\n"
            '        if b"PING\\n" in buffer:\n'
            "            last_seen = time.ticks_ms()\n"
            "            led.off()\n"
            "    if time.ticks_diff(time.ticks_ms(), last_seen) > 1500:\n"
            "        led.on()\n"
            "    time.sleep_ms(10)\n"
        ),
        mistake="the buffer is never emptied, so that every later line brings an old PING back",
    ),
    Task(
        id="buses/framed-commands",
        level=3,
        prompt=(
            "Frames arrive on UART 0 (19200 baud, TX on pin 12, RX on pin 13): the byte 0x7E, a byte n from 1 to "
            "8, n bytes of payload, and the XOR of the payload bytes. The payload may contain any byte, 0x7E too. "
            "Skip whatever comes between frames; it does not contain 0x7E. Answer every complete frame with one "
            "byte: 0x06 where the checksum is right and 0x15 where it is not. A frame may arrive in pieces, and "
            "frames may follow each other immediately."
        ),
        setup=Setup(uart={0: Serial(input=tuple((t, data) for t, data, _ in FRAMES), baudrate=19200, tx=12, rx=13)}),
        check=_frames,
        seconds=5.0,
        reference=(
            "import time\n"
            "from machine import UART, Pin\n"
            "\n"
            "uart = UART(0, baudrate=19200, tx=Pin(12), rx=Pin(13))\n"
            "\n"
            "\n"
            "def read_byte():\n"
            "    while not uart.any():\n"
            "        time.sleep_ms(5)\n"
            "    return uart.read(1)[0]\n"
            "\n"
            "\n"
            "while True:\n"
            "    while read_byte() != 0x7E:\n"
            "        pass\n"
            "    total = 0\n"
            "    for _ in range(read_byte()):\n"
            "        total ^= read_byte()\n"
            '    uart.write(b"\\x06" if read_byte() == total else b"\\x15")\n'
        ),
        wrong=(
            "import time\n"
            "from machine import UART, Pin\n"
            "\n"
            "uart = UART(0, baudrate=19200, tx=Pin(12), rx=Pin(13))\n"
            "frame = bytearray()\n"
            "\n"
            "while True:\n"
            "    while uart.any():\n"
            "        byte = uart.read(1)[0]\n"
            "        if byte == 0x7E:\n"
            "            frame = bytearray([byte])\n"
            "        elif frame:\n"
            "            frame.append(byte)\n"
            "        if len(frame) > 2 and len(frame) == frame[1] + 3:\n"
            "            checksum = 0\n"
            "            for value in frame[2:-1]:\n"
            "                checksum ^= value\n"
            '            uart.write(b"\\x06" if checksum == frame[-1] else b"\\x15")\n'
            "            frame = bytearray()\n"
            "    time.sleep_ms(5)\n"
        ),
        mistake="a 0x7E in the payload is taken for the beginning of a frame",
    ),
)
