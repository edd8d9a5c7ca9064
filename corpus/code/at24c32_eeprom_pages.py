"""Store settings in an AT24C32 EEPROM with page writes, a length and a checksum.

Wiring (ESP32): SDA to GPIO21, SCL to GPIO22, VCC to 3V3, address pins A0-A2 to GND (0x50).
"""
import binascii
import json
import struct
import time
from machine import I2C, Pin

ADDRESS = 0x50
SIZE = 4096
PAGE = 32
WRITE_TIMEOUT_MS = 20  # the data sheet promises 10 ms

HEADER = "<4sHI"  # magic, length, CRC-32
MAGIC = b"CFG1"
SETTINGS_AT = 0

DEFAULTS = {"name": "sensor", "interval_s": 60, "boots": 0}


class Eeprom:
    def __init__(self, i2c, address=ADDRESS, size=SIZE, page=PAGE):
        self.i2c = i2c
        self.address = address
        self.size = size
        self.page = page

    def _check(self, start, count):
        if start < 0 or count < 0 or start + count > self.size:
            raise ValueError("range does not fit into the EEPROM")

    def read(self, start, count):
        self._check(start, count)
        return self.i2c.readfrom_mem(self.address, start, count, addrsize=16)

    def write(self, start, data):
        """Write any number of bytes; return how many pages really changed."""
        self._check(start, len(data))
        data = memoryview(data)
        pages = 0
        while data:
            # A write that crosses a page border would wrap to the page's beginning.
            room = self.page - start % self.page
            chunk = data[:room]
            if self.read(start, len(chunk)) != bytes(chunk):  # spare the limited erase cycles
                self.i2c.writeto_mem(self.address, start, chunk, addrsize=16)
                self._wait_until_written()
                pages += 1
            start += len(chunk)
            data = data[len(chunk):]
        return pages

    def _wait_until_written(self):
        # The chip does not acknowledge its address while it is busy.
        started = time.ticks_ms()
        while time.ticks_diff(time.ticks_ms(), started) < WRITE_TIMEOUT_MS:
            try:
                self.i2c.readfrom(self.address, 1)
                return
            except OSError:
                time.sleep_ms(1)
        raise OSError("EEPROM stays busy")


def load_settings(eeprom):
    """Return the stored settings, or None where there are none or they are damaged."""
    header_size = struct.calcsize(HEADER)
    magic, length, crc = struct.unpack(HEADER, eeprom.read(SETTINGS_AT, header_size))
    if magic != MAGIC or SETTINGS_AT + header_size + length > eeprom.size:
        return None
    body = eeprom.read(SETTINGS_AT + header_size, length)
    if binascii.crc32(body) != crc:
        return None
    return json.loads(body)


def save_settings(eeprom, settings):
    body = json.dumps(settings).encode()
    header = struct.pack(HEADER, MAGIC, len(body), binascii.crc32(body))
    # If the power fails between the two writes, the checksum tells it at the next start.
    pages = eeprom.write(SETTINGS_AT + len(header), body)
    return pages + eeprom.write(SETTINGS_AT, header)


def main():
    i2c = I2C(0, sda=Pin(21), scl=Pin(22), freq=100_000)
    eeprom = Eeprom(i2c)
    try:
        settings = load_settings(eeprom)
        if settings is None:
            print("No valid settings found, starting with the defaults")
            settings = dict(DEFAULTS)
        settings["boots"] += 1
        pages = save_settings(eeprom, settings)
    except OSError as error:
        print("EEPROM does not answer:", error)
        return
    for key in sorted(settings):
        print("%-12s %s" % (key, settings[key]))
    print(pages, "page(s) written")


if __name__ == "__main__":
    main()
