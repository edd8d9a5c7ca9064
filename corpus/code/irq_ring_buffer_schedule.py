"""Measure pulse intervals in a hard interrupt and hand them to normal code (Pico).

Wiring: a square wave or a wheel sensor on GP16; for a test, join GP16 and GP17, where PWM
gives 200 Hz. The interrupt fills a ring buffer; micropython.schedule empties it later.
"""

import time
from array import array

import micropython
from machine import PWM, Pin

INPUT_PIN = 16
TEST_PIN = 17
TEST_HZ = 200
RING_SIZE = 64  # a power of two, so that a mask replaces the modulo
REPORT_MS = 1000

# Without this, an exception inside the interrupt could not say what happened.
micropython.alloc_emergency_exception_buf(100)


class RingBuffer:
    """One writer (the interrupt) and one reader; nothing is allocated after creation."""

    def __init__(self, size):
        if size & (size - 1):
            raise ValueError("size must be a power of two")
        self.data = array("I", (0 for _ in range(size)))
        self.mask = size - 1
        self.head = 0  # changed by the writer only
        self.tail = 0  # changed by the reader only
        self.lost = 0

    def put(self, value):
        following = (self.head + 1) & self.mask
        if following == self.tail:
            self.lost += 1
            return False
        self.data[self.head] = value
        self.head = following
        return True

    def get(self):
        """The oldest value; call it only if len() is not zero."""
        value = self.data[self.tail]
        self.tail = (self.tail + 1) & self.mask
        return value

    def __len__(self):
        return (self.head - self.tail) & self.mask


class IntervalMeter:
    def __init__(self, pin):
        self.ring = RingBuffer(RING_SIZE)
        self.count = 0
        self.total_us = 0
        self.shortest = None
        self.longest = None
        self._last = time.ticks_us()
        self._first = True
        self._pending = False
        # Looking up a bound method allocates memory, so it is done here, once.
        self._drain_ref = self._drain
        self.pin = pin
        pin.irq(self._edge, Pin.IRQ_RISING, hard=True)

    def _edge(self, pin):
        now = time.ticks_us()
        interval = time.ticks_diff(now, self._last)
        self._last = now
        if self._first:
            self._first = False  # no earlier edge to measure from
            return
        self.ring.put(interval)
        if not self._pending:
            try:
                micropython.schedule(self._drain_ref, 0)
                self._pending = True
            except RuntimeError:
                pass  # the queue is full: the next edge tries again

    def _drain(self, _):
        """Runs outside the interrupt, where allocation is allowed."""
        self._pending = False
        while len(self.ring):
            interval = self.ring.get()
            self.count += 1
            self.total_us += interval
            if self.shortest is None or interval < self.shortest:
                self.shortest = interval
            if self.longest is None or interval > self.longest:
                self.longest = interval

    def report(self):
        if not self.count:
            print("no pulses")
            return
        mean = self.total_us / self.count
        print("{} pulses, {:.2f} Hz, {} to {} us, {} lost".format(
            self.count, 1_000_000 / mean, self.shortest, self.longest, self.ring.lost))
        self.count = self.total_us = 0
        self.shortest = self.longest = None

    def close(self):
        self.pin.irq(None)


pwm = PWM(Pin(TEST_PIN), freq=TEST_HZ, duty_u16=32768)
meter = IntervalMeter(Pin(INPUT_PIN, Pin.IN, Pin.PULL_DOWN))
try:
    while True:
        time.sleep_ms(REPORT_MS)
        meter.report()
except KeyboardInterrupt:
    print("stopped")
finally:
    meter.close()
    pwm.deinit()
