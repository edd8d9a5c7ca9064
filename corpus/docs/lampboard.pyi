# SPDX-License-Identifier: CC0-1.0
"""
Support for the Lampboard, a teaching board with three dimmable LED channels.

The board does not exist as a product; it was invented for this documentation. Its module shows what a good
board-support module looks like from outside: what is passed in, what comes back, in which unit, and what is raised.

+---------+------+-------------------------------------------+
| Part    | GPIO | Remarks                                   |
+=========+======+===========================================+
| warm    | 10   | PWM, up to 700 mA at 12 V                 |
+---------+------+-------------------------------------------+
| cold    | 11   | PWM, shares its frequency with ``warm``   |
+---------+------+-------------------------------------------+
| accent  | 12   | PWM                                       |
+---------+------+-------------------------------------------+
| knob    | 2, 3 | rotary encoder, 24 detents                |
+---------+------+-------------------------------------------+
| button  | 4    | push button of the encoder, to ground     |
+---------+------+-------------------------------------------+
| light   | 26   | phototransistor, brighter is higher       |
+---------+------+-------------------------------------------+
| thermo  | 27   | NTC on the heat sink                      |
+---------+------+-------------------------------------------+

A whole desk lamp, in a few lines::

    import time
    from lampboard import Lamp, Knob

    lamp = Lamp()
    knob = Knob(low=0, high=100, value=30)

    while True:
        lamp.brightness = knob.value / 100
        if knob.pressed():
            lamp.toggle()
        time.sleep_ms(10)
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Literal, overload

from machine import ADC, Pin

WARM: Final[int] = 0
"""Index of the warm white channel, 2700 K."""
COLD: Final[int] = 1
"""Index of the cold white channel, 6500 K."""
ACCENT: Final[int] = 2
"""Index of the third channel; what hangs on it is up to you."""

MAX_CELSIUS: Final[int] = 75
"""Temperature of the heat sink above which :class:`Lamp` limits its power."""

class LampError(Exception):
    """Raised when the board cannot do what was asked, with a text that says why."""

class Channel:
    """
    One dimmable output.

    Levels are linear for the eye, not for the current: 0.5 looks half as bright as 1.0 and takes about a fifth of the
    current (the exponent is 2.2).
    """

    def __init__(self, pin: Pin, *, freq: int = 1000) -> None:
        """
        Take over ``pin`` and start with the channel off.

        :param pin: a pin with PWM
        :param freq: PWM frequency in Hz. Below 200 Hz flicker becomes visible when the lamp moves; above 2 kHz the
            lowest levels get coarse.
        :raises ValueError: if the pin has no PWM
        """
        ...

    @property
    def level(self) -> float:
        """Level from 0.0 to 1.0. Values outside are clamped when set."""
        ...

    @level.setter
    def level(self, value: float) -> None: ...
    def fade(self, target: float, ms: int = 500) -> None:
        """
        Approach a level in the given time, in the background.

        A running fade of the same channel is replaced. The call returns at once; :meth:`busy` tells when it is done.

        Example::

            import time
            from lampboard import ACCENT, Lamp

            lamp = Lamp()
            accent = lamp[ACCENT]
            for level in (1.0, 0.2, 0.6):
                accent.fade(level, 800)
                while accent.busy():
                    time.sleep_ms(20)
        """
        ...

    def busy(self) -> bool:
        """Whether a fade is still going on."""
        ...

    def deinit(self) -> None:
        """Switch off and give the pin back. The object cannot be used afterwards."""
        ...

class Lamp:
    """
    The white light of the board: brightness and colour temperature together, with protection against heat.

    There can be one object of this class. A second one raises :class:`LampError`, because two of them would fight over
    the channels.

    Example, a lamp that gets warmer towards the evening::

        import time
        from lampboard import Lamp

        lamp = Lamp(brightness=0.8)
        while True:
            hour = time.localtime()[3]
            lamp.kelvin = 5500 if 8 <= hour < 17 else 3000
            time.sleep(60)
    """

    def __init__(self, *, brightness: float = 0.0, kelvin: int = 4000) -> None:
        """
        :param brightness: 0.0 to 1.0
        :param kelvin: colour temperature, 2700 to 6500
        :raises LampError: if the NTC is missing or there is a lamp already
        """
        ...

    def __enter__(self) -> Lamp:
        """For ``with Lamp() as lamp:``; the lamp is switched off at the end of the block."""
        ...

    def __exit__(self, kind: object, error: object, trace: object) -> None: ...
    def __getitem__(self, index: Literal[0, 1, 2]) -> Channel:
        """One of the channels: ``lamp[WARM]``, ``lamp[COLD]``, ``lamp[ACCENT]``."""
        ...

    @property
    def brightness(self) -> float:
        """Brightness from 0.0 to 1.0, as it was set. What the eye gets may be less while :attr:`limited` is true."""
        ...

    @brightness.setter
    def brightness(self, value: float) -> None: ...
    @property
    def kelvin(self) -> int:
        """
        Colour temperature in kelvin.

        Both channels are mixed such that the brightness stays the same. Between 2700 and 6500 the mixture follows
        mireds (a million divided by kelvin), which looks even.
        """
        ...

    @kelvin.setter
    def kelvin(self, value: int) -> None: ...
    @property
    def limited(self) -> bool:
        """True while the power is reduced because the heat sink is hotter than :data:`MAX_CELSIUS`."""
        ...

    def celsius(self) -> float:
        """
        Temperature of the heat sink in degrees, mean of eight readings; takes about 1 ms.

        :raises LampError: if the NTC is interrupted or shorted. The lamp has been switched off then.
        """
        ...

    def on(self) -> None:
        """Return to the brightness before :meth:`off`, or to 0.5 if there was none."""
        ...

    def off(self) -> None:
        """Switch both white channels off and remember the brightness. The accent stays as it is."""
        ...

    def toggle(self) -> bool:
        """Switch on or off; returns the new state."""
        ...

    def on_limit(self, handler: Callable[[Lamp], None] | None) -> None:
        """
        Call ``handler(lamp)`` when the limitation begins or ends; ``None`` removes the handler.

        The handler runs as a soft interrupt: it may allocate memory, and it should be short.

        Example::

            from lampboard import Lamp

            def report(lamp):
                print("limited" if lamp.limited else "normal", lamp.celsius())

            lamp = Lamp(brightness=1.0)
            lamp.on_limit(report)
        """
        ...

class Knob:
    """
    The rotary encoder and its push button.

    Turning is counted by interrupts, so that no step is lost while the program is busy. Fast turning counts more:
    above eight detents per second each one counts four.
    """

    value: int
    """Current value, between ``low`` and ``high``. It may be written."""

    @overload
    def __init__(self, low: int = 0, high: int = 100, *, value: int = 0) -> None: ...
    @overload
    def __init__(self, *, wrap: int, value: int = 0) -> None:
        """
        :param low: smallest value
        :param high: largest value
        :param wrap: count modulo this number instead, for menus that start over: ``Knob(wrap=5)`` gives 0 to 4
        :param value: value to start with
        """
        ...

    def pressed(self) -> bool:
        """True once for each press since the last call. Debounced with 20 ms."""
        ...

    def held(self, ms: int = 800) -> bool:
        """Whether the button is down and has been for at least ``ms``."""
        ...

def ambient(sensor: ADC | None = None, *, samples: int = 16) -> int:
    """
    Light in the room in lux, roughly (within 30 per cent).

    The accent channel next to the sensor disturbs it; the function switches that off for 5 ms, which is not visible.

    :param sensor: another ADC than the one of the board
    :param samples: readings to average; each takes 100 microseconds
    :returns: 0 to about 10,000

    Example, a night light::

        import time
        from lampboard import Lamp, ambient

        with Lamp() as lamp:
            while True:
                lamp.brightness = 0.15 if ambient() < 10 else 0.0
                time.sleep(1)
    """
    ...
