"""Reaction trainer on a TM1638 board: one of eight LEDs lights up, hit the key below it.

Wiring (ESP8266): STB GPIO5, CLK GPIO4, DIO GPIO14, VCC 5 V (the inputs accept 3.3 V levels).
After ten lights the board shows the mean time in milliseconds, and remembers the record.
"""
import os
import random
import time
from machine import Pin

GLYPHS = {c: s for c, s in zip("0123456789 -bEoPrtSHIC", (
    63, 6, 91, 79, 102, 109, 125, 7, 127, 111, 0, 64, 124, 121, 92, 115, 80, 120, 109, 118, 6, 57))}
RECORD_FILE = "reaction.txt"


class TM1638:
    def __init__(self, stb, clk, dio):
        self.stb = Pin(stb, Pin.OUT, value=1)
        self.clk = Pin(clk, Pin.OUT, value=1)
        self.dio = Pin(dio, Pin.OUT, value=0)
        self.command(0x8A)  # display on, brightness 2 of 7
        self.clear()

    def _out(self, value):
        for i in range(8):
            self.clk(0)
            self.dio(value >> i & 1)
            self.clk(1)

    def command(self, code, *data):
        self.stb(0)
        self._out(code)
        for value in data:
            self._out(value)
        self.stb(1)

    def clear(self):
        self.command(0x40)
        self.command(0xC0, *bytes(16))

    def led(self, position, on):
        self.command(0x44)  # fixed address
        self.command(0xC1 + 2 * position, 1 if on else 0)

    def text(self, string):
        self.command(0x44)
        for position, letter in enumerate((string + " " * 8)[:8]):
            self.command(0xC0 + 2 * position, GLYPHS.get(letter, 0))

    def keys(self):
        """The set of keys that are down, counted from the left."""
        self.stb(0)
        self._out(0x42)
        self.dio.init(Pin.IN, Pin.PULL_UP)
        down = set()
        for byte in range(4):
            for bit in range(8):
                self.clk(0)
                self.clk(1)
                if self.dio():
                    # Each byte holds one key in its low and one in its high half.
                    if bit == 0:
                        down.add(byte)
                    elif bit == 4:
                        down.add(byte + 4)
        self.stb(1)
        self.dio.init(Pin.OUT)
        return down


def record(value=None):
    """Return the best time so far; store a new one if it is given and better."""
    best = None
    if RECORD_FILE in os.listdir():
        with open(RECORD_FILE) as file:
            best = int(file.read())
    if value is not None and (best is None or value < best):
        with open(RECORD_FILE, "w") as file:
            file.write(str(value))
        return value
    return best


def one_light(board):
    """Milliseconds until the right key; None for a wrong one or one pressed too early."""
    pause_end = time.ticks_add(time.ticks_ms(), 800 + random.getrandbits(11))
    while time.ticks_diff(pause_end, time.ticks_ms()) > 0:
        if board.keys():
            return None
        time.sleep_ms(5)
    target = random.getrandbits(3)
    board.led(target, True)
    begun = time.ticks_ms()
    while not (pressed := board.keys()):
        pass
    taken = time.ticks_diff(time.ticks_ms(), begun)
    board.led(target, False)
    while board.keys():
        time.sleep_ms(5)
    return taken if pressed == {target} else None


def round_of(board, lights=10):
    times = []
    errors = 0
    while len(times) < lights:
        result = one_light(board)
        if result is None:
            errors += 1
            board.text("Error")
            time.sleep_ms(600)
            board.clear()
        else:
            times.append(result)
            board.text("%8d" % result)
    # An error costs as much as a slow reaction.
    return (sum(times) + 300 * errors) // lights


board = TM1638(5, 4, 14)
while True:
    board.text("bESt%4d" % (record() or 0))
    while not board.keys():
        time.sleep_ms(20)
    board.clear()
    mean = round_of(board)
    print("mean", mean, "ms, best", record(mean))
    board.text("%8d" % mean)
    time.sleep(3)
