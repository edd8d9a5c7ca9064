"""Understand telephone keys (DTMF) with eight Goertzel filters; a secret sequence opens a door.

Wiring (Pico): line signal by a transformer and a divider, centred at 1.65 V, to GP26; relay GP15.
The accepted sequence is read from sequence.txt, for instance <digits>.
"""
import math
import time
from array import array
from machine import ADC, Pin

RATE = 8000
BLOCK = 205  # the classical length: the bins come to lie close to the eight tones
ROWS = (697, 770, 852, 941)
COLUMNS = (1209, 1336, 1477, 1633)
KEYS = "123A456B789C*0#D"


def coefficient(hertz):
    return 2 * math.cos(2 * math.pi * hertz / RATE)


COEFFICIENTS = [coefficient(f) for f in ROWS + COLUMNS]


def goertzel(samples, c):
    """Power of one frequency in the block: one multiplication per sample."""
    s1 = s2 = 0.0
    for x in samples:
        s1, s2 = x + c * s1 - s2, s1
    return s1 * s1 + s2 * s2 - c * s1 * s2


def classify(samples):
    """Return the key whose two tones dominate the block, or None.

    Speech also contains these frequencies, but rarely two of them alone: both tones have to
    stand out of their group, be about equally strong, and make up most of the energy.
    """
    mean = sum(samples) / len(samples)
    centred = [s - mean for s in samples]
    energy = sum(s * s for s in centred)
    if energy < len(samples) * 200 * 200:
        return None
    powers = [goertzel(centred, c) for c in COEFFICIENTS]
    rows, columns = powers[:4], powers[4:]
    row, column = max(rows), max(columns)
    if not 1 / 8 < row / (column or 1) < 8:
        return None
    if sorted(rows)[2] * 6 > row or sorted(columns)[2] * 6 > column:
        return None
    if row + column < 0.5 * energy * len(samples) / 2:
        return None
    return KEYS[4 * rows.index(row) + columns.index(column)]


class KeyStream:
    """A key counts when two blocks agree on it, and once until there is a pause."""

    def __init__(self):
        self.candidate = None
        self.reported = None

    def push(self, key):
        agreed = key == self.candidate
        self.candidate = key
        if not agreed:
            return None
        if key == self.reported:
            return None
        self.reported = key
        return key


def read_block(adc, samples):
    period = 1_000_000 // RATE
    due = time.ticks_us()
    for i in range(BLOCK):
        while time.ticks_diff(due, time.ticks_us()) > 0:
            pass
        samples[i] = adc.read_u16()
        due = time.ticks_add(due, period)


def tone(key, amplitude=8000):
    """Samples of a key, for the test."""
    place = KEYS.index(key)
    low, high = ROWS[place // 4], COLUMNS[place % 4]
    return [32768 + int(amplitude * (math.sin(2 * math.pi * low * i / RATE) + math.sin(2 * math.pi * high * i / RATE)))
            for i in range(BLOCK)]


def self_test():
    for key in KEYS:
        assert classify(tone(key)) == key, key
    assert classify([32768] * BLOCK) is None
    single = [32768 + int(9000 * math.sin(2 * math.pi * 770 * i / RATE)) for i in range(BLOCK)]
    assert classify(single) is None


def main():
    self_test()
    with open("sequence.txt") as file:
        wanted = file.read().strip()
    adc = ADC(Pin(26))
    relay = Pin(15, Pin.OUT, value=0)
    samples = array("H", bytes(2 * BLOCK))
    stream = KeyStream()
    entered = ""
    while True:
        read_block(adc, samples)
        key = stream.push(classify(samples))
        if key is None:
            continue
        print("key", key)
        entered = (entered + key)[-len(wanted):]
        if entered == wanted:
            entered = ""
            relay.on()
            time.sleep(3)
            relay.off()


main()
