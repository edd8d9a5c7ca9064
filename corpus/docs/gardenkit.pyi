# SPDX-License-Identifier: CC0-1.0
"""
Drivers for the Gardenkit, a watering controller with four valves, invented for teaching.

Everything is done in seconds, litres and per cent; raw values of the converter do not leave this module. Functions that
open a valve always take a limit of time, and the board closes all valves when its watchdog bites.

Typical use::

    from gardenkit import Board, Zone

    board = Board(wet=21000, dry=52000)
    tomatoes = Zone(board, valve=0, probe=0, target=45)
    lawn = Zone(board, valve=1, probe=None, target=0)

    print("tomatoes", board.moisture(0), "%")
    if tomatoes.thirsty() and not board.raining():
        litres = tomatoes.water(seconds=90)
        print("gave", litres, "l")
"""

from collections.abc import Iterator
from typing import NamedTuple

from machine import I2C, Pin

VALVES: int
"""Number of valves, 4."""

class Flow(NamedTuple):
    """What the water meter has counted."""

    litres: float
    """Litres since the start or the last :meth:`Board.reset_meter`."""
    per_minute: float
    """Mean of the last five seconds, litres per minute."""

class NoWater(OSError):
    """
    A valve is open and the meter does not turn: empty tank, closed tap, broken pump.

    ``args[0]`` is the number of the valve. All valves are closed when this is raised.
    """

class Leak(OSError):
    """The meter turns although all valves are closed. ``args[0]`` is the flow in litres per minute."""

class Board:
    """
    The hardware: valves, soil probes, meter, rain switch.

    Valves take 0.3 A each from the 24 V supply. The board never opens more than two at once; a third one waits until
    one of the others has been closed.
    """

    def __init__(
        self,
        *,
        wet: int = 21000,
        dry: int = 52000,
        pulses_per_litre: int = 450,
        i2c: I2C | None = None,
        rain: Pin | int = 22,
    ) -> None:
        """
        Close all valves and start counting.

        :param wet: reading of ``read_u16()`` with the probe in a glass of water
        :param dry: reading in dry air
        :param pulses_per_litre: of the water meter; see its label
        :param i2c: bus of the valve expander; without it ``I2C(0, sda=Pin(4), scl=Pin(5))`` is used
        :param rain: pin of the rain switch, which connects to ground when wet
        :raises OSError: with errno ``EIO`` if the expander does not answer

        Calibrating the probes, once, at the prompt::

            import time
            from gardenkit import Board

            board = Board()
            for _ in range(20):
                print([board.raw(n) for n in range(4)])
                time.sleep(1)
        """
        ...

    def raw(self, probe: int) -> int:
        """Uncalibrated value of a soil probe, 0 to 65535; lower is wetter. Powers the probe for 50 ms."""
        ...

    def moisture(self, probe: int) -> int:
        """
        Moisture in per cent between ``dry`` and ``wet``, clamped to 0..100.

        Probes are fed only while they are read, since direct current eats them. Reading more than once a minute
        shortens their life and tells nothing new.
        """
        ...

    def raining(self) -> bool:
        """Whether the rain switch is closed. It takes hours to dry: a feature, not a fault."""
        ...

    def open(self, valve: int, seconds: float) -> None:
        """
        Open a valve for at most ``seconds``; a timer closes it whatever the program does.

        :param valve: 0 to 3
        :param seconds: 1 to 1800
        :raises ValueError: for a number or a time outside of the limits
        :raises Leak: if water was flowing before the valve was opened
        """
        ...

    def close(self, valve: int | None = None) -> None:
        """Close one valve, or all of them."""
        ...

    def is_open(self, valve: int) -> bool: ...
    def flow(self) -> Flow:
        """
        Reading of the water meter.

        Example, a bucket of ten litres::

            import time
            from gardenkit import Board

            board = Board()
            board.reset_meter()
            board.open(3, 300)
            while board.flow().litres < 10 and board.is_open(3):
                time.sleep_ms(100)
            board.close(3)
        """
        ...

    def reset_meter(self) -> float:
        """Set the litres to zero and return what they were."""
        ...

    def check(self) -> None:
        """
        Compare valves and meter; call it every few seconds.

        :raises NoWater: a valve has been open for more than five seconds and nothing flows
        :raises Leak: nothing is open, and more than 0.2 litres per minute flow

        Example::

            import sys
            import time
            from gardenkit import Board, Leak, NoWater

            board = Board()
            while True:
                try:
                    board.check()
                except Leak as error:
                    print("leak of", error.args[0], "l/min")
                except NoWater as error:
                    print("no water at valve", error.args[0])
                    sys.exit()
                time.sleep(5)
        """
        ...

class Zone:
    """
    One bed: a valve, perhaps a probe, and a target.

    Water takes time to reach the probe. After watering, a zone is not thirsty for ``soak`` seconds, whatever its probe
    says; without this pause every controller drowns its plants.
    """

    def __init__(self, board: Board, valve: int, probe: int | None, target: int, *, soak: int = 3600) -> None:
        """
        :param board: the board
        :param valve: number of the valve
        :param probe: number of the probe, or ``None`` for zones which are watered by time only
        :param target: moisture in per cent below which the zone is thirsty
        :param soak: pause after watering in seconds
        """
        ...

    def thirsty(self) -> bool:
        """Below the target, and the last watering is long enough ago. Always False without a probe."""
        ...

    def water(self, *, seconds: float, litres: float | None = None) -> float:
        """
        Water until the time is over or the litres have flowed; blocks. Returns the litres.

        :raises NoWater: as :meth:`Board.check`
        """
        ...

    async def water_async(self, *, seconds: float, litres: float | None = None) -> float:
        """
        As :meth:`water`, for asyncio. Cancelling the task closes the valve.

        Example::

            import asyncio
            from gardenkit import Board, Zone

            board = Board()
            zones = [Zone(board, n, n, 40) for n in range(4)]

            async def main():
                while True:
                    for zone in zones:
                        if zone.thirsty() and not board.raining():
                            await zone.water_async(seconds=120, litres=5)
                    await asyncio.sleep(600)

            asyncio.run(main())
        """
        ...

def schedule(text: str) -> Iterator[tuple[int, int, int]]:
    """
    Parse lines such as ``"06:30 zone 2 for 90"`` and yield (seconds after midnight, zone, seconds of watering).

    Empty lines and those that begin with ``#`` are skipped.

    :raises ValueError: with the number of the line for anything else

    Example::

        from gardenkit import schedule

        plan = sorted(schedule("06:30 zone 0 for 90\\n# lawn\\n05:00 zone 1 for 600"))
        for start, zone, seconds in plan:
            print(start // 3600, zone, seconds)
    """
    ...
