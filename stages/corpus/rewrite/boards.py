"""Which numbers a pin may have on three families of boards, and how a program's pins are dealt others.

Sources: RP2040 datasheet (table of GPIO functions, PWM slices), ESP32 and ESP8266 datasheets (strapping,
flash and input-only pins), and the MicroPython quick references for the pins a bus uses when none are given.
"""

from __future__ import annotations

import itertools
import random
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

TRIES = 60


@dataclass(frozen=True)
class Board:
    """The pins of a family of boards.

    `digital` and `analog` are the pins a program may be given, `pins` all that it may name. `movable` are
    those it may lose for another digital one: not those to which the board itself has wired something, nor
    those that can only read. `bases` has, for a bus that is tied to groups of pins, the first pin of each
    group; None: a bus takes any pin. `default_pins` are taken by a bus that is opened without naming its
    pins. `labels` are the pins that the board calls D0, D1, …
    """

    name: str
    words: str
    pins: frozenset[int]
    movable: frozenset[int]
    digital: frozenset[int]
    analog: frozenset[int]
    bases: Mapping[tuple[str, int], frozenset[int]] | None
    default_pins: Mapping[tuple[str, int], frozenset[int]]
    labels: tuple[int, ...] = ()


# In the order of the RP2040's function table: where a line stands in its group of four (SPI) or two pins.
LINES = {"sda": 0, "scl": 1, "tx": 0, "rx": 1, "miso": 0, "sck": 2, "mosi": 3}

PICO = Board(
    name="pico",
    words=r"pico|rp2040|rp2350|rp2",
    pins=frozenset(range(30)),
    movable=frozenset({*range(23), 26, 27, 28}),
    digital=frozenset(range(23)),
    analog=frozenset({26, 27, 28}),
    bases={
        ("I2C", 0): frozenset({0, 4, 8, 12, 16, 20}),
        ("I2C", 1): frozenset({2, 6, 10, 14, 18}),
        ("UART", 0): frozenset({0, 12, 16}),
        ("UART", 1): frozenset({4, 8, 20}),
        ("SPI", 0): frozenset({0, 4, 16}),
        ("SPI", 1): frozenset({8, 12}),
    },
    default_pins={
        ("I2C", 0): frozenset({4, 5, 8, 9}), ("I2C", 1): frozenset({6, 7}),
        ("UART", 0): frozenset({0, 1}), ("UART", 1): frozenset({4, 5}),
        ("SPI", 0): frozenset({16, 18, 19}), ("SPI", 1): frozenset({8, 10, 11}),
    },
)  # fmt: skip
ESP32 = Board(
    name="esp32",
    words=r"esp-?32|esp-wroom-32|wroom",
    pins=frozenset({*range(28), *range(32, 40)}) - {20, 24},
    movable=frozenset({4, 5, *range(12, 28), 32, 33}) - {20, 24},
    # Not 0, 2, 5, 12, 14, 15 (read or driven at start), 1, 3 (console), 6-11 (flash), 16, 17 (memory), nor
    # 34-39 (inputs).
    digital=frozenset({4, 13, 18, 19, 21, 22, 23, 25, 26, 27, 32, 33}),
    analog=frozenset({32, 33, 34, 35, 36, 39}),
    bases=None,
    default_pins={
        ("I2C", 0): frozenset({18, 19}), ("I2C", 1): frozenset({25, 26}),
        ("UART", 1): frozenset({4, 5}), ("UART", 2): frozenset({16, 17}),
        ("SPI", 1): frozenset({12, 13, 14}), ("SPI", 2): frozenset({18, 19, 23}),
    },
)  # fmt: skip
ESP8266 = Board(
    name="esp8266",
    words=r"esp-?8266|nodemcu|wemos|d1 mini",
    pins=frozenset({*range(6), *range(12, 17)}),
    movable=frozenset({4, 5, *range(12, 17)}),
    # Not 0, 2, 15: they are read at start, and pulled.
    digital=frozenset({4, 5, 12, 13, 14, 16}),
    analog=frozenset(),
    bases=None,
    default_pins={("SPI", 1): frozenset({12, 13, 14})},
    labels=(16, 5, 4, 0, 2, 14, 12, 13, 15),  # NodeMCU and Wemos D1
)
BOARDS = (PICO, ESP32, ESP8266)

# Boards that number their pins in another way, or whose pins these tables do not hold.
_OTHER_BOARDS = re.compile(
    r"esp32-?[csph]\d|pyboard|\bpyb\b|stm32|nucleo|micro:?bit|teensy|xiao|feather|m5stack|gpiozero|\brpi\b"
    r"|samd|\bnrf|raspberry pi (?:zero|[1-5])|mimxrt|zephyr|wipy|lopy|tinypico|wrover|lilygo|ttgo|arduino"
    r"|circuitpython|picozero",
    re.IGNORECASE,
)


def board_of(text: str) -> Board | None:
    """The board a text is about, a Pico if it names none; None where it names several or an unknown one."""
    if _OTHER_BOARDS.search(text):
        return None
    named = [board for board in BOARDS if re.search(rf"\b(?:{board.words})\b", text, re.IGNORECASE)]
    return PICO if not named else named[0] if len(named) == 1 else None


@dataclass(frozen=True)
class Line:
    """A line of a hardware bus: `Line("I2C", 0, "sda")`."""

    bus: str
    number: int
    name: str


@dataclass
class Wiring:
    """What a text does with its pins.

    `uses` has a number's uses: "pin" (no more is known), "soft" (a bus by software), "analog", "pwm", "fixed"
    or a `Line`. `runs` are pins, first and last, that the text names as a range. `reserved` are pins that are
    in use though no number says so; `avoid` are numbers with another meaning in the text, better not given to
    a pin.
    """

    uses: dict[int, set[str | Line]] = field(default_factory=dict)
    runs: set[tuple[int, int]] = field(default_factory=set)
    reserved: set[int] = field(default_factory=set)
    avoid: set[int] = field(default_factory=set)

    def add(self, number: int, use: str | Line) -> None:
        self.uses.setdefault(number, set()).add(use)


def deal(board: Board, wiring: Wiring, rng: random.Random) -> dict[int, int] | None:
    """Other legal numbers for the pins of a text, one to one; pins with a fixed or mixed use keep theirs.

    None where nothing may change or a pin is not one of this board's.
    """
    if not wiring.uses.keys() <= board.pins:
        return None
    groups: dict[tuple[str, int, int], set[int]] = {}
    analog: list[int] = []
    digital: list[int] = []
    pwm: set[int] = set()
    for pin, uses in sorted(wiring.uses.items()):
        kinds = uses - {"pin", "soft"}
        if not kinds or kinds == {"pwm"}:
            if pin in board.movable:
                digital.append(pin)
                pwm.update({pin} if kinds else ())
        elif kinds == {"analog"}:
            if pin in board.analog:
                analog.append(pin)
        elif len(kinds) == 1 and isinstance(line := next(iter(kinds)), Line):
            if board.bases is None:
                digital.append(pin)
                continue
            base = pin - LINES[line.name]
            if base not in board.bases.get((line.bus, line.number), ()):
                return None
            groups.setdefault((line.bus, line.number, base), set()).add(pin)
    moving = {*analog, *digital, *(pin for pins in groups.values() for pin in pins)}
    staying = wiring.reserved | (wiring.uses.keys() - moving)
    in_runs = [pin for first, last in wiring.runs for pin in range(first, last + 1)]
    if len(in_runs) != len(set(in_runs)) or not set(in_runs) <= set(digital):
        return None
    alone = [pin for pin in digital if pin not in in_runs]
    for _ in range(TRIES):
        dealt: dict[int, int] = {}
        complete = (
            _deal_buses(board, groups, staying, dealt, rng)
            and _deal_pins(analog, board.analog - staying, dealt, wiring.avoid, rng)
            and _deal_runs(wiring.runs, board.digital - staying, dealt, rng)
            and _deal_pins(alone, board.digital - staying, dealt, wiring.avoid, rng)
        )
        changed = {old: new for old, new in dealt.items() if old != new}
        if complete and changed and _pwm_is_apart(board, pwm, dealt):
            return changed
    return None


def _deal_buses(
    board: Board,
    groups: Mapping[tuple[str, int, int], Collection[int]],
    staying: Collection[int],
    dealt: dict[int, int],
    rng: random.Random,
) -> bool:
    for (bus, number, base), pins in groups.items():
        bases = sorted((board.bases or {})[bus, number])
        rng.shuffle(bases)
        taken = {*staying, *dealt.values()}
        for new in bases:
            moved = {pin: pin - base + new for pin in pins}
            if not taken & set(moved.values()):
                dealt.update(moved)
                break
        else:
            return False
    return True


def _deal_runs(
    runs: Iterable[tuple[int, int]], legal: Collection[int], dealt: dict[int, int], rng: random.Random
) -> bool:
    for first, last in sorted(runs):
        free = set(legal) - set(dealt.values())
        starts = [start for start in sorted(free) if free.issuperset(range(start, start + last - first + 1))]
        if not starts:
            return False
        start = rng.choice(starts)
        dealt.update({pin: pin - first + start for pin in range(first, last + 1)})
    return True


def _deal_pins(
    pins: Collection[int],
    legal: Iterable[int],
    dealt: dict[int, int],
    avoid: Collection[int],
    rng: random.Random,
) -> bool:
    free = sorted(set(legal) - set(dealt.values()))
    rng.shuffle(free)
    free.sort(key=lambda pin: pin in avoid or pin in pins)  # numbers that the text does not use come first
    if len(free) < len(pins):
        return False
    dealt.update(zip(rng.sample(sorted(pins), len(pins)), free, strict=False))
    return True


def _pwm_is_apart(board: Board, pwm: Collection[int], dealt: Mapping[int, int]) -> bool:
    """Whether no two PWM pins come to share a slice of the RP2040 (one frequency, two channels)."""
    if board is not PICO:
        return True
    for one, other in itertools.combinations(sorted(pwm), 2):
        shared_before = _slice(one) == _slice(other)
        new_one, new_other = dealt.get(one, one), dealt.get(other, other)
        if _slice(new_one) == _slice(new_other) and not (shared_before and (new_one ^ new_other) & 1):
            return False
    return True


def _slice(pin: int) -> int:
    return (pin >> 1) & 7
