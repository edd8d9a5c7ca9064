"""Count the set bits of a buffer in four ways and compare their speed.

Bytecode, @micropython.native, @micropython.viper, and viper with a lookup table.
Runs on boards whose firmware has the native emitter (Pico, ESP32, pyboard); no wiring.
"""

import gc
import os
import time

import micropython

BUFFER_SIZE = 2048
ROUNDS = 3


def count_bytecode(buf):
    total = 0
    for byte in buf:
        while byte:
            byte &= byte - 1  # clears the lowest set bit
            total += 1
    return total


@micropython.native
def count_native(buf):
    # The same source: native code saves the interpreter loop, but not the objects.
    total = 0
    for byte in buf:
        while byte:
            byte &= byte - 1
            total += 1
    return total


@micropython.viper
def count_viper(buf: ptr8, size: int) -> int:
    # Machine integers and pointers; there is no bounds check any more.
    total = 0
    i = 0
    while i < size:
        byte = buf[i]
        while byte:
            byte &= byte - 1
            total += 1
        i += 1
    return total


# Entry n is the number of set bits in n.
BITS = bytearray(256)
for n in range(1, 256):
    BITS[n] = BITS[n >> 1] + (n & 1)


@micropython.viper
def count_table(buf: ptr8, size: int, table: ptr8) -> int:
    total = 0
    i = 0
    while i < size:
        total += table[buf[i]]
        i += 1
    return total


@micropython.viper
def count_words(buf: ptr32, words: int) -> int:
    """Add neighbouring bit groups in parallel, four bytes at a time."""
    total = 0
    i = 0
    while i < words:
        # Halves of 16 bits keep every intermediate value positive.
        word = buf[i]
        for half in range(2):
            v = (word >> (16 * half)) & 0xFFFF
            v = v - ((v >> 1) & 0x5555)
            v = (v & 0x3333) + ((v >> 2) & 0x3333)
            v = (v + (v >> 4)) & 0x0F0F
            total += (v + (v >> 8)) & 0x1F
        i += 1
    return total


def best_time_us(function, *args):
    """Return (result, shortest duration); collecting first keeps the GC out of it."""
    best = None
    result = None
    for _ in range(ROUNDS):
        gc.collect()
        start = time.ticks_us()
        result = function(*args)
        took = time.ticks_diff(time.ticks_us(), start)
        if best is None or took < best:
            best = took
    return result, max(best, 1)


def main():
    data = bytearray(os.urandom(BUFFER_SIZE))
    candidates = (
        ("bytecode", count_bytecode, (data,)),
        ("native", count_native, (data,)),
        ("viper", count_viper, (data, BUFFER_SIZE)),
        ("viper table", count_table, (data, BUFFER_SIZE, BITS)),
        ("viper words", count_words, (data, BUFFER_SIZE // 4)),
    )
    expected, reference_us = best_time_us(count_bytecode, data)
    print("{} bits set in {} bytes".format(expected, BUFFER_SIZE))
    for name, function, args in candidates:
        result, took = best_time_us(function, *args)
        verdict = "" if result == expected else "  WRONG RESULT {}".format(result)
        print("{:12s} {:8d} us  {:6.1f} x{}".format(name, took, reference_us / took, verdict))


main()
