"""Identify a W25Q SPI flash chip and read, erase and write it; tests its last sector.

Wiring (Raspberry Pi Pico): CS to GP17, CLK to GP18, DI to GP19, DO to GP16,
VCC, /WP and /HOLD to 3V3.
"""
import os
import time
from machine import SPI, Pin

PAGE = 256
SECTOR = 4096

WRITE_ENABLE = 0x06
READ_STATUS = 0x05
READ_ID = 0x9F
READ_DATA = 0x03
PAGE_PROGRAM = 0x02
SECTOR_ERASE = 0x20
RELEASE_POWER_DOWN = 0xAB

BUSY = 0x01
WRITE_ENABLED = 0x02

MAKERS = {0xEF: "Winbond", 0xC8: "GigaDevice", 0xC2: "Macronix"}


class FlashError(Exception):
    """The chip is missing, protected or does not finish its work."""


class SPIFlash:
    def __init__(self, spi, cs):
        self.spi = spi
        self.cs = cs
        self._send(bytes([RELEASE_POWER_DOWN]))
        time.sleep_us(50)
        maker, kind, capacity = self._query(READ_ID, 3)
        if maker in (0x00, 0xFF) or not 16 <= capacity <= 24:
            raise FlashError("no flash chip answers, check the wiring")
        self.maker = MAKERS.get(maker, "maker 0x%02X" % maker)
        self.kind = kind
        self.size = 1 << capacity

    def _send(self, head, data=b""):
        self.cs.value(0)
        self.spi.write(head)
        self.spi.write(data)
        self.cs.value(1)

    def _query(self, command, count):
        self.cs.value(0)
        self.spi.write(bytes([command]))
        answer = self.spi.read(count)
        self.cs.value(1)
        return answer

    def _head(self, command, address, count=1):
        if address < 0 or address + count > self.size:
            raise ValueError("address outside of the chip")
        return bytes((command, address >> 16 & 0xFF, address >> 8 & 0xFF, address & 0xFF))

    def _begin_write(self):
        self._send(bytes([WRITE_ENABLE]))
        if not self._query(READ_STATUS, 1)[0] & WRITE_ENABLED:
            raise FlashError("the chip is write protected")

    def _wait(self, timeout_ms):
        deadline = time.ticks_add(time.ticks_ms(), timeout_ms)
        while self._query(READ_STATUS, 1)[0] & BUSY:
            if time.ticks_diff(deadline, time.ticks_ms()) < 0:
                raise FlashError("the chip stays busy")
            time.sleep_us(200)

    def readinto(self, address, buffer):
        head = self._head(READ_DATA, address, len(buffer))
        self.cs.value(0)
        self.spi.write(head)
        self.spi.readinto(buffer)
        self.cs.value(1)

    def erase_sector(self, address):
        """Set the 4096 bytes around an address to 0xFF."""
        head = self._head(SECTOR_ERASE, address - address % SECTOR)
        self._begin_write()
        self._send(head)
        self._wait(500)

    def write(self, address, data):
        """Program erased bytes; bits can only go from 1 to 0."""
        data = memoryview(data)
        while data:
            # The chip wraps inside a page, so end every transfer at its border.
            part = data[:PAGE - address % PAGE]
            head = self._head(PAGE_PROGRAM, address, len(part))
            self._begin_write()
            self._send(head, part)
            self._wait(10)
            address += len(part)
            data = data[len(part):]


def self_test(flash):
    """Erase, fill and check the last sector; its old content is lost."""
    start = flash.size - SECTOR
    pattern = os.urandom(600)  # crosses two page borders
    began = time.ticks_ms()
    flash.erase_sector(start)
    erased = time.ticks_ms()
    flash.write(start + 100, pattern)
    written = time.ticks_ms()
    print("erase %d ms" % time.ticks_diff(erased, began))
    print("write %d ms" % time.ticks_diff(written, erased))
    copy = bytearray(len(pattern) + 1)
    flash.readinto(start + 100, copy)
    return copy[:-1] == pattern and copy[-1] == 0xFF


def main():
    spi = SPI(0, baudrate=10_000_000, sck=Pin(18), mosi=Pin(19), miso=Pin(16))
    try:
        flash = SPIFlash(spi, Pin(17, Pin.OUT, value=1))
        print("%s, type 0x%02X, %d KiB" % (flash.maker, flash.kind, flash.size // 1024))
        print("self test passed" if self_test(flash) else "self test FAILED")
    except FlashError as error:
        print("Flash:", error)
    finally:
        spi.deinit()


main()
