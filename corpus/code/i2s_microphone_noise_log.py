"""Log how loud a room is with an INMP441 microphone: levels in dB, and the share of quiet time.

Wiring (ESP32): SCK GPIO32, WS GPIO25, SD GPIO33, L/R to GND, 3V3.
"""
import math
import time

import micropython
from machine import I2S, Pin

RATE = 16_000
BLOCK = 1024  # samples
FULL_SCALE_DBSPL = 120  # -26 dBFS at 94 dB sound pressure, so 0 dBFS is 120
QUIET_DB = 45


@micropython.viper
def sums(buffer: ptr32, count: int, into: ptr32):
    """Add up the samples and then the squares of their differences from the mean.

    The 24 bits lie at the top of each word. They are cut to 14 bits, and the squares once
    more, so that the sum over 1024 samples fits into a machine word.
    """
    total = 0
    for i in range(count):
        total += buffer[i] >> 18
    mean = total // count
    square = 0
    for i in range(count):
        v = (buffer[i] >> 18) - mean
        square += (v * v) >> 6
    into[0] = mean
    into[1] = square


class Microphone:
    def __init__(self):
        self.i2s = I2S(
            0, sck=Pin(32), ws=Pin(25), sd=Pin(33), mode=I2S.RX, bits=32,
            format=I2S.MONO, rate=RATE, ibuf=BLOCK * 16,
        )
        self.buffer = bytearray(BLOCK * 4)
        self.result = bytearray(8)

    def level(self):
        """Sound pressure level of one block (64 ms) in dB, not weighted."""
        got = self.i2s.readinto(self.buffer)
        sums(self.buffer, got // 4, self.result)
        square = int.from_bytes(self.result[4:], "little") << 6
        rms = math.sqrt(square / (got // 4))
        return FULL_SCALE_DBSPL + 20 * math.log10(max(rms, 0.5) / 8192)


class Minute:
    """Energy mean, maximum and quiet share of the blocks of a minute."""

    def __init__(self):
        self.energy = 0.0
        self.loudest = 0.0
        self.quiet = 0
        self.count = 0

    def add(self, db):
        # Decibels must not be averaged themselves: twice the power is 3 dB.
        self.energy += 10 ** (db / 10)
        self.loudest = max(self.loudest, db)
        self.quiet += db < QUIET_DB
        self.count += 1

    def line(self, stamp):
        leq = 10 * math.log10(self.energy / self.count)
        return "%d,%.1f,%.1f,%d" % (stamp, leq, self.loudest, 100 * self.quiet // self.count)


def meter(db, low=30, high=100, width=50):
    filled = int((min(max(db, low), high) - low) / (high - low) * width)
    return "=" * filled


def main(path="noise.csv"):
    microphone = Microphone()
    for _ in range(10):
        microphone.level()  # it needs a moment after power comes on
    minute = Minute()
    end = time.ticks_add(time.ticks_ms(), 60_000)
    try:
        while True:
            db = microphone.level()
            minute.add(db)
            if minute.count % 4 == 0:
                print("%5.1f dB %s" % (db, meter(db)))
            if time.ticks_diff(time.ticks_ms(), end) >= 0:
                end = time.ticks_add(end, 60_000)
                with open(path, "a") as log:
                    log.write(minute.line(time.time()) + "\n")
                minute = Minute()
    finally:
        microphone.i2s.deinit()


main()
