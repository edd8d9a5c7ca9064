"""Contactless thermometer MLX90614 with the SMBus check byte (PEC) verified on every word.

Wiring (ESP32): SDA to GPIO21, SCL to GPIO22, VIN to 3V3, trigger button from GPIO0 to GND.
SMBus is slow: not more than 100 kHz on the bus.
"""

import time

from machine import I2C, Pin

RAM_AMBIENT = 0x06
RAM_OBJECT = 0x07
EEPROM_EMISSIVITY = 0x24


class PECError(Exception):
    """The check byte does not belong to the word."""


def pec(message):
    """CRC-8 of SMBus: polynomial x^8 + x^2 + x + 1, start value 0."""
    crc = 0
    for octet in message:
        crc ^= octet
        for _ in range(8):
            if crc & 0x80:
                crc = (crc << 1 & 0xFF) ^ 0x07
            else:
                crc <<= 1
    return crc


class MLX90614:
    def __init__(self, bus, address=0x5A):
        self.bus = bus
        self.address = address
        self.retries = 0

    def word(self, command, tries=3):
        """Read a register; the check covers both addresses, the command and the data."""
        while True:
            data = self.bus.readfrom_mem(self.address, command, 3)
            head = bytes((self.address << 1, command, self.address << 1 | 1))
            if pec(head + data[:2]) == data[2]:
                return data[0] | data[1] << 8
            self.retries += 1
            tries -= 1
            if not tries:
                raise PECError("register 0x{:02X}".format(command))

    def _celsius(self, command):
        raw = self.word(command)
        if raw & 0x8000:  # the error flag; such a word is no temperature
            raise ValueError("sensor reports an error")
        return raw * 0.02 - 273.15

    @property
    def ambient(self):
        return self._celsius(RAM_AMBIENT)

    @property
    def target(self):
        return self._celsius(RAM_OBJECT)

    @property
    def emissivity(self):
        return self.word(EEPROM_EMISSIVITY) / 65535


def steady_maximum(sensor, seconds, tolerance=0.2):
    """Sweep over the forehead: the highest value seen at least three times running.

    A single hot reading may be a reflection, so one alone does not count.
    """
    best = None
    run = []
    end = time.ticks_add(time.ticks_ms(), seconds * 1000)
    while time.ticks_diff(end, time.ticks_ms()) > 0:
        value = sensor.target
        if run and abs(value - run[0]) > tolerance:
            run = []
        run.append(value)
        if len(run) >= 3:
            mean = sum(run[-3:]) / 3
            if best is None or mean > best:
                best = mean
        time.sleep_ms(100)
    return best


def main():
    sensor = MLX90614(I2C(0, scl=Pin(22), sda=Pin(21), freq=50_000))
    trigger = Pin(0, Pin.IN, Pin.PULL_UP)
    print("emissivity {:.2f}, press the button to measure".format(sensor.emissivity))
    while True:
        if trigger.value():
            time.sleep_ms(50)
            continue
        try:
            surface = steady_maximum(sensor, 3)
            room = sensor.ambient
        except (OSError, ValueError, PECError) as error:
            print("measurement failed:", error)
            continue
        if surface is None:
            print("hold it still, closer to the skin")
        else:
            # Skin is cooler than the core; this is no medical device.
            print("surface {:.1f} C in a room of {:.1f} C".format(surface, room))


main()
