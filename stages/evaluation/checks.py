"""What a program did, asked of its event log: the vocabulary in which the checks of tasks are written.

Instants and durations are virtual seconds. Every function takes the Outcome first. `require` and the functions that
say so raise Wrong; its message is for people who read why a model's answer failed.
"""

from __future__ import annotations

import ast
import math
import re
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple

from stages.evaluation.sandbox import Outcome
from stages.evaluation.wiring import Pin


class Wrong(Exception):
    """The program did not do what its task asked for."""


class Edge(NamedTuple):
    t: float
    value: int


class Pulse(NamedTuple):
    start: float
    length: float


class Pwm(NamedTuple):
    t: float
    freq: float
    duty: float  # 0 to 1


class Transfer(NamedTuple):
    t: float
    write: bytes
    read: bytes
    ack: bool


class Frame(NamedTuple):
    t: float
    colours: tuple[tuple[int, ...], ...]


class Line(NamedTuple):
    t: float
    text: str


@dataclass(frozen=True)
class Verdict:
    """`kind` is what to count an answer under: passed, wrong, not simulated, does not compile, exception, timeout, …"""

    passed: bool
    reason: str
    kind: str


def require(fact: object, message: str) -> None:
    if not fact:
        raise Wrong(message)


def of_kind(outcome: Outcome, what: str, **fields: object) -> list[dict[str, Any]]:
    """The events of a kind whose fields have these values, each with `t` in seconds."""
    return [
        {**event, "t": event["t"] / 1e6}
        for event in outcome.events
        if event["what"] == what and all(event.get(name) == value for name, value in fields.items())
    ]


def end(outcome: Outcome) -> float:
    return outcome.end_us / 1e6


# -- what was printed and returned ---------------------------------------------------------------------------------


def lines(outcome: Outcome) -> list[Line]:
    """Printed lines that are not blank, with the instants at which they were complete."""
    return [Line(event["t"], event["text"].strip()) for event in of_kind(outcome, "print") if event["text"].strip()]


def texts(outcome: Outcome) -> list[str]:
    return [line.text for line in lines(outcome)]


def numbers(text: str) -> list[float]:
    """The numbers in a text, in order: `T=-3.5 C, 40%` gives −3.5 and 40."""
    return [float(found) for found in re.findall(r"(?<![\w.])[-+]?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?", text, re.ASCII)]


def tells(text: str, wanted: float, tolerance: float = 0.0) -> bool:
    """Whether one of the numbers in a text is the wanted one: `pulses in the last 1 s: 50` tells 50."""
    return any(near(number, wanted, tolerance) for number in numbers(text))


def returned(outcome: Outcome, place: int) -> Any:
    """The literal value of a task's call; raises Wrong where it raised an exception or gave something else."""
    require(place < len(outcome.values), "the program ended before it could be called")
    value = outcome.values[place]
    require(value.ok, f"call {place + 1} raised {value.text}")
    require(len(value.text) < 10_000, f"call {place + 1} gave something very long")
    try:
        return ast.literal_eval(value.text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        raise Wrong(f"call {place + 1} gave {value.text[:80]}") from None


def returns(outcome: Outcome, *wanted: object) -> None:
    """Compare all calls in order; an exception class stands for that exception. Raises Wrong."""
    for place, expected in enumerate(wanted):
        if isinstance(expected, type) and issubclass(expected, BaseException):
            require(place < len(outcome.values), "the program ended before it could be called")
            value = outcome.values[place]
            require(not value.ok, f"call {place + 1} gave {value.text[:80]} instead of raising {expected.__name__}")
            require(value.text == expected.__name__, f"call {place + 1} raised {value.text}, not {expected.__name__}")
        else:
            found = returned(outcome, place)
            require(same(found, expected), f"call {place + 1} gave {found!r:.80}, not {expected!r:.80}")


def same(found: object, expected: object) -> bool:
    """Equal, with floats to a millionth, and neither True for 1 nor a tuple for a list."""
    if isinstance(expected, float):
        return isinstance(found, int | float) and math.isclose(found, expected, rel_tol=1e-6, abs_tol=1e-9)
    if isinstance(expected, list | tuple):
        return (
            isinstance(found, list | tuple)
            and type(found) is type(expected)
            and len(found) == len(expected)
            and all(same(a, b) for a, b in zip(found, expected, strict=True))
        )
    return type(found) is type(expected) and found == expected


# -- pins --------------------------------------------------------------------------------------------------------------


def mode(outcome: Outcome, pin: Pin) -> str:
    """`out`, `in up`, `in down`, `in`, `open_drain`, …; empty where the pin was never set up. The last one counts."""
    found = of_kind(outcome, "pin_mode", pin=pin)
    return "" if not found else (found[-1]["mode"] + ("" if found[-1]["pull"] == "none" else f" {found[-1]['pull']}"))


def edges(outcome: Outcome, pin: Pin) -> list[Edge]:
    """The changes of an output's level, the first of them from low, which is what an output begins with."""
    found: list[Edge] = []
    level = 0
    for event in of_kind(outcome, "pin", pin=pin):
        if event["value"] != level:
            level = event["value"]
            found.append(Edge(event["t"], level))
    return found


def high_times(outcome: Outcome, pin: Pin, value: int = 1) -> list[Pulse]:
    """The stretches for which an output was at `value`, without one that was cut off by the end."""
    changes = edges(outcome, pin)
    return [Pulse(here.t, after.t - here.t) for here, after in pairwise(changes) if here.value == value]


def low_times(outcome: Outcome, pin: Pin) -> list[Pulse]:
    return high_times(outcome, pin, 0)


def level_at(outcome: Outcome, pin: Pin, t: float) -> int:
    changes = edges(outcome, pin)
    place = bisect_right([edge.t for edge in changes], t)
    return changes[place - 1].value if place else 0


def follows(outcome: Outcome, pin: Pin, wanted: Iterable[tuple[float, int]], margin: float = 0.05) -> None:
    """The output has each wanted level from `margin` after its instant until the next instant, the last one for ever.

    Raises Wrong.
    """
    script = [*wanted]
    ends = [t for t, _ in script[1:]] + [math.inf]  # also where the run ended before
    for (start, level), stop in zip(script, ends, strict=True):
        begin = start + margin
        if begin >= stop:
            continue
        bad = level_at(outcome, pin, begin) != level or any(begin < edge.t < stop for edge in edges(outcome, pin))
        until = "the end" if stop == math.inf else f"{stop:.3f} s"
        require(not bad, f"pin {pin} is not steadily {level} between {begin:.3f} s and {until}")


def regular(instants: Sequence[float], period: float, *, tolerance: float = 0.05, until: float, what: str) -> None:
    """Instants one `period` apart, at least two, from about the first period on and until two before the run's end.

    Raises Wrong.
    """
    require(len(instants) >= 2, f"{what} {len(instants)} times")
    require(instants[0] <= 1.1 * period + 0.8, f"{what} first at {instants[0]:.3f} s")
    require(until - instants[-1] <= 2 * period, f"{what} for the last time at {instants[-1]:.3f} of {until:.1f} s")
    for before, after in pairwise(instants):
        gap = after - before
        require(abs(gap - period) <= tolerance * period, f"{what} {gap:.4f} s apart, not {period:.4f} s")


def pwm(outcome: Outcome, pin: Pin) -> list[Pwm]:
    """The settings of a PWM output that changed something; frequency 0 where it was switched off."""
    found: list[Pwm] = []
    for event in of_kind(outcome, "pwm", pin=pin):
        step = Pwm(event["t"], event["freq"], event["duty"] / 65535)
        if not found or found[-1][1:] != step[1:]:
            found.append(step)
    return found


def pwm_at(outcome: Outcome, pin: Pin, t: float) -> Pwm:
    """The setting in force at an instant; frequency and duty 0 before the first."""
    found = [step for step in pwm(outcome, pin) if step.t <= t]
    return found[-1] if found else Pwm(0.0, 0.0, 0.0)


# -- buses -----------------------------------------------------------------------------------------------------------


def i2c_transfers(outcome: Outcome, address: int) -> list[Transfer]:
    return [
        Transfer(event["t"], bytes.fromhex(event["write"]), bytes.fromhex(event["read"]), event["ack"])
        for event in of_kind(outcome, "i2c", address=address)
    ]


def i2c_registers(outcome: Outcome, address: int) -> dict[int, int]:
    """What was written last to each register of a device of one-byte register numbers."""
    found: dict[int, int] = {}
    for transfer in i2c_transfers(outcome, address):
        if transfer.ack and transfer.write:
            found.update({transfer.write[0] + i: byte for i, byte in enumerate(transfer.write[1:])})
    return found


def spi_transfers(outcome: Outcome, cs: Pin) -> list[Transfer]:
    """Transfers made while this device was selected."""
    return [
        Transfer(event["t"], bytes.fromhex(event["write"]), bytes.fromhex(event["read"]), True)
        for event in of_kind(outcome, "spi")
        if cs in event["cs"]
    ]


def uart_written(outcome: Outcome, id: int) -> bytes:
    return b"".join(bytes.fromhex(event["data"]) for event in of_kind(outcome, "uart", uart=id))


def frames(outcome: Outcome, pin: Pin) -> list[Frame]:
    """What was sent to a chain of NeoPixels, colours in the order in which the program gave them."""
    found = []
    for event in of_kind(outcome, "neopixel", pin=pin):
        data, width = bytes.fromhex(event["data"]), event["width"]
        colours = tuple(tuple(data[i : i + width]) for i in range(0, len(data), width))
        found.append(Frame(event["t"], colours))
    return found


def adc_reads(outcome: Outcome, pin: Pin) -> list[tuple[float, int]]:
    """Instants and 16-bit values of readings; equal ones in a loop without a pause have the first one's instant."""
    events = of_kind(outcome, "adc", pin=pin)
    return [(event["t"], event["value"]) for event in events for _ in range(event.get("count", 1))]


# -- numbers ---------------------------------------------------------------------------------------------------------


def near(found: float, wanted: float, tolerance: float) -> bool:
    return abs(found - wanted) <= tolerance
