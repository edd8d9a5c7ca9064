"""Count a machine's running hours in the battery-backed RAM of a DS1307, safe against power cuts.

Wiring (ESP32, DS1307 on 5 V behind a level shifter): SDA GPIO21, SCL GPIO22; the machine's
auxiliary contact from GPIO27 to GND. 56 bytes of RAM hold two copies of the counter.
"""
import struct
import time
from machine import I2C, Pin

DS1307 = 0x68
RAM = 0x08
CLOCK_HALT = 0x80

RECORD = "<4sIIH"  # mark, sequence number, seconds, check sum
MARK = b"HRS1"
SIZE = struct.calcsize(RECORD)
SLOTS = (RAM, RAM + 28)


def fletcher16(data):
    low = high = 0
    for byte in data:
        low = (low + byte) % 255
        high = (high + low) % 255
    return high << 8 | low


class HourCounter:
    """Two slots are written in turn, so that one of them is whole at any moment."""

    def __init__(self, i2c):
        self.i2c = i2c
        best = None
        for index, address in enumerate(SLOTS):
            record = self._load(address)
            if record is not None and (best is None or record[0] > best[0]):
                best = record + (index,)
        if best is None:
            print("no valid record, counting from zero")
            best = (0, 0, 1)
        self.sequence, self.seconds, self.slot = best

    def _load(self, address):
        data = self.i2c.readfrom_mem(DS1307, address, SIZE)
        mark, sequence, seconds, check = struct.unpack(RECORD, data)
        if mark != MARK or check != fletcher16(data[:-2]):
            return None
        return sequence, seconds

    def add(self, seconds):
        self.seconds += seconds
        self.sequence += 1
        self.slot = 1 - self.slot
        data = bytearray(SIZE)
        struct.pack_into("<4sII", data, 0, MARK, self.sequence, self.seconds)
        struct.pack_into("<H", data, SIZE - 2, fletcher16(data[:-2]))
        self.i2c.writeto_mem(DS1307, SLOTS[self.slot], data)

    def __str__(self):
        hours, rest = divmod(self.seconds, 3600)
        return "%d h %02d min" % (hours, rest // 60)


def start_clock(i2c):
    """A chip that never ran has its clock halted; the other bits are the seconds."""
    seconds = i2c.readfrom_mem(DS1307, 0, 1)[0]
    if seconds & CLOCK_HALT:
        i2c.writeto_mem(DS1307, 0, bytes([seconds & 0x7F]))
        print("clock was halted, started it")


def main():
    i2c = I2C(0, scl=Pin(22), sda=Pin(21), freq=100_000)  # the chip knows no faster bus
    start_clock(i2c)
    counter = HourCounter(i2c)
    print("so far:", counter)
    contact = Pin(27, Pin.IN, Pin.PULL_UP)
    since = None
    while True:
        now = time.ticks_ms()
        running = contact.value() == 0
        if running and since is None:
            since = now
            print("machine on")
        elif since is not None:
            elapsed = time.ticks_diff(now, since) // 1000
            if elapsed >= 10 or not running:
                counter.add(elapsed)
                since = time.ticks_add(since, elapsed * 1000) if running else None
                if not running:
                    print("machine off:", counter)
        time.sleep_ms(100)


if __name__ == "__main__":
    main()
