"""Sweep a PWM output and check each frequency with an interrupt counter.

Wiring (Raspberry Pi Pico): one jumper wire from GP14 (PWM) to GP15 (counter input).
"""

import machine
import micropython
import time
from array import array
from machine import PWM, Pin

micropython.alloc_emergency_exception_buf(100)

OUT_PIN = 14
IN_PIN = 15
GATE_MS = 500
TOLERANCE = 0.01
FREQUENCIES = (20, 50, 100, 200, 500, 1000, 2000, 5000, 10000, 20000)


class EdgeCounter:
    """Counts rising edges in a hard interrupt.

    The count lives in an array: a hard handler may not create objects, and
    storing into an array needs none.
    """

    def __init__(self, pin):
        self._pin = pin
        self._count = array("i", [0])

    def _on_edge(self, pin):
        self._count[0] += 1

    def start(self):
        self._pin.irq(handler=self._on_edge, trigger=Pin.IRQ_RISING, hard=True)

    def stop(self):
        self._pin.irq(handler=None)

    def snapshot(self):
        """Return (edges, time in us), taken together."""
        state = machine.disable_irq()
        edges = self._count[0]
        now = time.ticks_us()
        machine.enable_irq(state)
        return edges, now


def measure(counter, gate_ms):
    """Return the frequency in Hz, averaged over the gate time; 0.0 without a signal."""
    first_edges, first_time = counter.snapshot()
    time.sleep_ms(gate_ms)
    last_edges, last_time = counter.snapshot()
    return (last_edges - first_edges) * 1_000_000 / time.ticks_diff(last_time, first_time)


def gate_for(frequency):
    """Slow signals need a longer gate: with 200 edges one more or less is half a percent."""
    return max(GATE_MS, 200_000 // frequency)


def sweep(pwm, counter):
    """Measure every frequency; yield (asked, set, measured, error) as soon as it is known."""
    for wanted in FREQUENCIES:
        pwm.freq(wanted)
        pwm.duty_u16(32768)
        actual = pwm.freq()
        time.sleep_ms(20)
        measured = measure(counter, gate_for(wanted))
        yield wanted, actual, measured, measured / wanted - 1


def report(rows):
    good = total = 0
    signal = False
    print("  asked     set  measured   error")
    for wanted, actual, measured, error in rows:
        mark = "OUT OF RANGE"
        if abs(error) <= TOLERANCE:
            mark = "ok"
            good += 1
        total += 1
        signal = signal or measured > 0
        print("{:7d} {:7d} {:9.1f} {:+6.2f} % {}".format(
            wanted, actual, measured, 100 * error, mark))
    print(good, "of", total, "within", 100 * TOLERANCE, "%")
    if not signal:
        print("no edges at all: is the jumper in place?")


pwm = PWM(Pin(OUT_PIN))
counter = EdgeCounter(Pin(IN_PIN, Pin.IN, Pin.PULL_DOWN))
try:
    counter.start()
    report(sweep(pwm, counter))
except KeyboardInterrupt:
    print("sweep cancelled")
finally:
    counter.stop()
    pwm.duty_u16(0)
    pwm.deinit()
