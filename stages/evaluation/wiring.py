"""What is wired to the simulated board while a program runs: levels, voltages, devices and messages over virtual time.

Instants are virtual seconds from power-on; pins are numbers or names such as `LED`; bytes are bytes.
A script is a tuple of `(instant, …)`, each entry valid until the next.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

Pin = int | str
Levels = tuple[tuple[float, int | None], ...]  # None: nothing drives the pin, so that its pull decides
Values = tuple[tuple[float, float], ...]
Bytes = bytes | tuple[tuple[float, bytes], ...]  # always the same, or changing over time


@dataclass(frozen=True)
class I2CDevice:
    """A device of registers (with a pointer that moves on), or, with `replies`, one that answers commands.

    `changes` writes registers at instants. A reply is there `ready` seconds after its command; before that zeros are
    read, or nothing acknowledges where `busy` is true. With `sda` and `scl` it is found on those pins only.
    """

    address: int
    registers: Mapping[int, bytes] = field(default_factory=dict)
    changes: tuple[tuple[float, int, bytes], ...] = ()
    replies: Mapping[bytes, Bytes] | None = None
    ready: float = 0.0
    busy: bool = False
    reg_bytes: int = 1
    sda: Pin | None = None
    scl: Pin | None = None


@dataclass(frozen=True)
class SPIDevice:
    """Answers while `cs` is low. The longest key that begins what it heard since then gives its answer, byte for byte
    at the same places: `{b"\\x01\\x80": b"\\x00\\x03\\xff"}` is a converter that says 0x3ff after its command. With
    `sck`, `mosi` or `miso` it is found on these pins only."""

    cs: Pin
    replies: Mapping[bytes, Bytes] = field(default_factory=dict)
    sck: Pin | None = None
    mosi: Pin | None = None
    miso: Pin | None = None


@dataclass(frozen=True)
class Serial:
    """The other end of a UART: what it sends by itself and what it answers. Another baud rate garbles all of it."""

    input: tuple[tuple[float, bytes], ...] = ()
    replies: Mapping[bytes, bytes] = field(default_factory=dict)
    baudrate: int | None = None
    tx: Pin | None = None
    rx: Pin | None = None


@dataclass(frozen=True)
class Sonar:
    """An HC-SR04: an echo of 2 × distance / 343 m/s after a trigger of at least 10 µs; none where mm is None."""

    trigger: Pin
    echo: Pin
    mm: tuple[tuple[float, float | None], ...]


@dataclass(frozen=True)
class Setup:
    """Everything around the board.

    `wires` lead from an output to an input. `dht` gives (instant, °C, %) by pin, `ds18x20` (instant, °C) by pin and
    ROM code. `networks` maps names to passwords; None takes any. `epoch` is the clock at power-on, seconds since 1970.
    """

    pins: Mapping[Pin, Levels] = field(default_factory=dict)
    adc: Mapping[Pin, Values] = field(default_factory=dict)
    i2c: tuple[I2CDevice, ...] = ()
    spi: tuple[SPIDevice, ...] = ()
    uart: Mapping[int, Serial] = field(default_factory=dict)
    sonar: tuple[Sonar, ...] = ()
    wires: tuple[tuple[Pin, Pin], ...] = ()
    dht: Mapping[Pin, tuple[tuple[float, float, float], ...]] = field(default_factory=dict)
    ds18x20: Mapping[Pin, Mapping[bytes, Values]] = field(default_factory=dict)
    networks: Mapping[str, str] | None = None
    joining: float = 2.0
    stdin: str = ""
    files: Mapping[str, str] = field(default_factory=dict)
    epoch: int = 1_767_225_600  # 2026-01-01

    def as_json(self) -> dict[str, Any]:
        """The form that the worker reads: microseconds and hexadecimal digits."""
        return {
            "pins": {str(pin): [[_us(t), level] for t, level in script] for pin, script in self.pins.items()},
            "adc": {str(pin): [[_us(t), round(value)] for t, value in script] for pin, script in self.adc.items()},
            "i2c": [_i2c(device) for device in self.i2c],
            "spi": [_spi(device) for device in self.spi],
            "uart": {str(id): _serial(line) for id, line in self.uart.items()},
            "distance": [
                {"trigger": s.trigger, "echo": s.echo, "mm": [[_us(t), mm] for t, mm in s.mm]} for s in self.sonar
            ],
            "wires": [list(wire) for wire in self.wires],
            "dht": {str(pin): [[_us(t), *values] for t, *values in script] for pin, script in self.dht.items()},
            "ds18x20": {
                str(pin): {rom.hex(): [[_us(t), value] for t, value in script] for rom, script in sensors.items()}
                for pin, sensors in self.ds18x20.items()
            },
            "wlan": {"networks": None if self.networks is None else dict(self.networks), "delay_us": _us(self.joining)},
            "stdin": self.stdin,
            "files": dict(self.files),
            "epoch": self.epoch,
        }


def _us(seconds: float) -> int:
    return round(seconds * 1e6)


def _bytes(given: Bytes) -> object:
    return given.hex() if isinstance(given, bytes) else [[_us(t), data.hex()] for t, data in given]


def _replies(replies: Mapping[bytes, Bytes]) -> dict[str, object]:
    return {asked.hex(): _bytes(reply) for asked, reply in replies.items()}


def _i2c(device: I2CDevice) -> dict[str, Any]:
    return {
        "address": device.address,
        "registers": {str(register): data.hex() for register, data in device.registers.items()},
        "changes": [[_us(t), register, data.hex()] for t, register, data in device.changes],
        "replies": None if device.replies is None else _replies(device.replies),
        "ready_us": _us(device.ready),
        "nack_while_busy": device.busy,
        "reg_bytes": device.reg_bytes,
        "sda": device.sda,
        "scl": device.scl,
    }


def _spi(device: SPIDevice) -> dict[str, Any]:
    pins = {"cs": device.cs, "sck": device.sck, "mosi": device.mosi, "miso": device.miso}
    return {**pins, "replies": _replies(device.replies)}


def _serial(line: Serial) -> dict[str, Any]:
    return {
        "input": [[_us(t), data.hex()] for t, data in line.input],
        "replies": _replies(line.replies),
        "baudrate": line.baudrate,
        "tx": line.tx,
        "rx": line.rx,
    }
