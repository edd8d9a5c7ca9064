"""Level 5: programs that talk to the outside."""

from __future__ import annotations

from itertools import pairwise

from stages.evaluation.checks import (
    edges,
    follows,
    high_times,
    lines,
    low_times,
    near,
    of_kind,
    regular,
    require,
    uart_written,
)
from stages.evaluation.sandbox import Outcome
from stages.evaluation.task import EITHER, Task
from stages.evaluation.tasks._pairs import differ
from stages.evaluation.wiring import Serial, Setup

MORSE = {"A": ".-", "E": ".", "M": "--", "N": "-.", "O": "---", "S": "...", "T": "-"}
MESSAGES = ((0.3, "ME AT"), (4.2, "SON"))


def _keying(text: str) -> tuple[list[int], list[int]]:
    """Lengths of the marks and of the gaps between them, in dots."""
    marks: list[int] = []
    gaps: list[int] = []
    for word in text.split():
        for i, letter in enumerate(word):
            if marks:
                gaps.append(3 if i else 7)
            marks += [1 if mark == "." else 3 for mark in MORSE[letter]]
            gaps += [1] * (len(MORSE[letter]) - 1)
    return marks, gaps


def _morse(outcome: Outcome) -> None:
    highs, lows = high_times(outcome, 15), low_times(outcome, 15)
    total = sum(len(_keying(text)[0]) for _, text in MESSAGES)
    require(len(highs) == total, f"{len(highs)} marks instead of {total}")
    place = 0
    for t, text in MESSAGES:
        marks, gaps = _keying(text)
        require(near(highs[place].start, t + 0.1, 0.15), f"{text!r} is sent from {highs[place].start:.2f} s on")
        for pulse, units in zip(highs[place:], marks, strict=False):
            require(near(pulse.length, 0.05 * units, 0.01), f"a mark of {pulse.length:.3f} s in {text!r}")
        for pulse, units in zip(lows[place:], gaps, strict=False):
            wanted = 0.05 * units
            require(near(pulse.length, wanted, 0.01), f"a gap of {pulse.length:.3f} s instead of {wanted:.2f} s")
        place += len(marks)


COMMANDS: tuple[tuple[float, bytes, list[str]], ...] = (
    (0.5, b"set 10 1\n", ["ok"]),
    (1.0, b"get 10\n", ["1"]),
    (1.5, b"pulse 11 700\n", ["ok"]),
    (1.8, b"get 11\n", ["1"]),
    (2.0, b"set 12 1\nget 12\n", ["ok", "1"]),
    (2.6, b"get 11\n", ["0"]),
    (3.0, b"set 14 1\n", ["error"]),
    (3.5, b"set 10 2\n", ["error"]),
    (4.0, b"set", []),
    (4.3, b" 10 0\n", ["ok"]),
    (4.8, b"hello\n", ["error"]),
    (5.2, b"get\n", ["error"]),
    (5.4, b"set 11\n", ["error"]),
    (5.6, b"turn 10 1\n", ["error"]),
)


def _commands(outcome: Outcome) -> None:
    answers = uart_written(outcome, 1).decode("latin-1").split()
    wanted = [answer for _, _, group in COMMANDS for answer in group]
    require(answers == wanted, f"answered {answers}")
    events = of_kind(outcome, "uart", uart=1)
    for t, command, group in COMMANDS:
        quick = not group or any(t <= event["t"] <= t + 0.1 for event in events)
        require(quick, f"no answer to {command!r} within 0.1 s")
    follows(outcome, 10, ((0.0, 0), (0.5, 1), (4.3, 0)), margin=0.1)
    follows(outcome, 11, ((0.0, 0), (1.5, 1), (2.2, 0)), margin=0.1)
    follows(outcome, 12, ((0.0, 0), (2.0, 1)), margin=0.1)


def _fallback(outcome: Outcome) -> None:
    tries = of_kind(outcome, "wlan", op="connect")
    names = [event["ssid"] for event in tries]
    require(names == ["workshop", "attic", "garage"], f"tried {names}")
    keys = [event["key"] for event in tries]
    require(keys == ["sawdust", "cobweb", "oil+grease"], f"tried with {keys}")
    found = [line for line in lines(outcome) if "garage" in line.text]
    require(found, "the name of the network is not printed")
    require(near(found[-1].t, tries[-1]["t"] + 2, 0.3), f"{found[-1].text!r} is printed at {found[-1].t:.1f} s")
    for before, after in pairwise(tries):
        require(1.9 <= after["t"] - before["t"] <= 5.4, f"a try of {after['t'] - before['t']:.1f} s")
    for attempt in tries:
        changes = [edge.t for edge in edges(outcome, 15) if attempt["t"] + 0.2 < edge.t < attempt["t"] + 1.8]
        since = [t - attempt["t"] for t in changes]
        regular(since, 0.1, tolerance=0.25, until=1.8, what="while connecting pin 15 changes")
    follows(outcome, 15, ((tries[-1]["t"] + 2, 1),), margin=0.3)
    require(edges(outcome, 15)[-1].value == 1, "the LED is off in the end")


TASKS = (
    Task(
        id="programs/morse-sender",
        level=5,
        prompt=(
            "Lines of text arrive on UART 1 (9600 baud, TX on pin 4, RX on pin 5), each ended by a line feed. Send "
            "every complete line in Morse code with the LED on pin 15: a dot is 50 ms long, a dash 150 ms, the pause "
            "between the marks of a letter 50 ms, between letters 150 ms and between words 350 ms. Only spaces and "
            "the letters A .-  E .  M --  N -.  O ---  S ...  T - occur, as capitals or small. Begin at most 0.2 s "
            "after the line feed."
        ),
        setup=Setup(
            uart={1: Serial(input=((0.3, b"Me at\n"), (3.6, b"so"), (4.2, b"n\n")), baudrate=9600, tx=4, rx=5)}
        ),
        check=_morse,
        seconds=7.0,
        **differ(
            """\
import time
from machine import UART, Pin

CODES = {"A": ".-", "E": ".", "M": "--", "N": "-.", "O": "---", "S": "...", "T": "-"}
uart = UART(1, baudrate=9600, tx=Pin(4), rx=Pin(5))
led = Pin(15, Pin.OUT, value=0)


def send(text):
    for word in text.upper().split():
        for letter in word:
            for mark in CODES[letter]:
                led.on()
                time.sleep_ms(50 if mark == "." else 150)
                led.off()
                time.sleep_ms(50)
            time.sleep_ms(100)
        time.sleep_ms(200)


line = b""
while True:
    if uart.any():
        character = uart.read(1)
        if character == b"\\n":
            send(line.decode())
            line = b""
        else:
            line += character
    else:
        time.sleep_ms(10)
""",
            ("time.sleep_ms(100)", "time.sleep_ms(150)"),
            ("time.sleep_ms(200)", "time.sleep_ms(350)"),
        ),
        mistake="the pause after the last mark comes on top of the pause between letters",
    ),
    Task(
        id="programs/pin-commands",
        level=5,
        prompt=(
            "Control the outputs on pins 10, 11 and 12, low at first, with lines on UART 1 (115200 baud, TX on "
            'pin 8, RX on pin 9): "set PIN VALUE" with the value 0 or 1, "get PIN", "pulse PIN MS" (high for '
            'so many milliseconds, then low). Answer "ok" to set and, when the pulse begins, to pulse; "0" or '
            '"1" to get; "error" to everything else, such as another pin, another value or missing words. '
            "Lines and answers end with \\n. Answer within 0.1 s, also during a pulse. A line can arrive in "
            "pieces, and two at once."
        ),
        setup=Setup(uart={1: Serial(input=tuple((t, data) for t, data, _ in COMMANDS), baudrate=115200, tx=8, rx=9)}),
        check=_commands,
        seconds=6.0,
        reference="""\
import time
from machine import UART, Pin, Timer

uart = UART(1, baudrate=115200, tx=Pin(8), rx=Pin(9))
pins = {str(number): Pin(number, Pin.OUT, value=0) for number in (10, 11, 12)}
timers = {name: Timer(-1) for name in pins}


def execute(words):
    verb, pin = words[0], pins[words[1]]
    if verb == "get" and len(words) == 2:
        return str(pin.value())
    if verb == "set" and len(words) == 3 and words[2] in ("0", "1"):
        pin.value(int(words[2]))
        return "ok"
    if verb == "pulse" and len(words) == 3:
        ms = int(words[2])
        pin.on()
        timers[words[1]].init(mode=Timer.ONE_SHOT, period=ms, callback=lambda timer: pin.off())
        return "ok"
    return "error"


buffer = b""
while True:
    if uart.any():
        buffer += uart.read()
    while b"\\n" in buffer:
        line, buffer = buffer.split(b"\\n", 1)
        try:
            answer = execute(line.decode().split())
        except (IndexError, KeyError, ValueError):
            answer = "error"
        uart.write(answer + "\\n")
    time.sleep_ms(10)
""",
        wrong="""\
import time
from machine import UART, Pin

uart = UART(1, baudrate=115200, tx=Pin(8), rx=Pin(9))
pins = {str(number): Pin(number, Pin.OUT, value=0) for number in (10, 11, 12)}


def execute(words):
    verb, pin = words[0], pins[words[1]]
    if verb == "get" and len(words) == 2:
        return str(pin.value())
    if verb == "set" and len(words) == 3 and words[2] in ("0", "1"):
        pin.value(int(words[2]))
        return "ok"
    if verb == "pulse" and len(words) == 3:
        pin.on()
        time.sleep_ms(int(words[2]))
        pin.off()
        return "ok"
    return "error"


buffer = b""
while True:
    if uart.any():
        buffer += uart.read()
    while b"\\n" in buffer:
        line, buffer = buffer.split(b"\\n", 1)
        try:
            answer = execute(line.decode().split())
        except (IndexError, KeyError, ValueError):
            answer = "error"
        uart.write(answer + "\\n")
    time.sleep_ms(10)
""",
        mistake="nothing is answered while a pulse lasts",
    ),
    Task(
        id="programs/wlan-fallback",
        level=5,
        prompt=(
            'Connect to the first of these WLANs that works, tried once each in this order: "workshop" with '
            'the password "sawdust", "attic" with "cobweb", "garage" with "oil+grease". A try has failed after '
            "5 seconds, or earlier when the status says so. While connecting, the LED on pin 15 changes every "
            "100 ms. Once connected, it stays on, and the name of the network is printed within 0.2 s."
        ),
        setup=Setup(networks={"garage": "oil+grease", "attic": "spider"}, joining=1.95),
        check=_fallback,
        ends=EITHER,
        seconds=16.0,
        **differ(
            """\
import time
import network
from machine import Pin

NETWORKS = (("workshop", "sawdust"), ("attic", "cobweb"), ("garage", "oil+grease"))
led = Pin(15, Pin.OUT, value=0)
wlan = network.WLAN(network.STA_IF)
wlan.active(True)


def connect(name, password):
    wlan.connect(name, password)
    for _ in range(50):
        if wlan.isconnected():
            return True
        led.toggle()
        time.sleep_ms(100)
    return False


for name, password in NETWORKS:
    if connect(name, password):
        led.on()
        print("connected to", name)
        break
else:
    led.off()
""",
            ("        if wlan.isconnected():\n            return True\n", ""),
            ("    return False\n", "    return wlan.isconnected()\n"),
        ),
        mistake="waits and blinks for the whole 5 seconds although it is connected after 2",
    ),
)
