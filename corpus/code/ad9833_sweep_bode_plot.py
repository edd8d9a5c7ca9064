"""Measure the response of a filter: an AD9833 generates, a diode detector and the ADC listen.

Wiring (Raspberry Pi Pico): FSYNC GP5, SCLK GP6, SDATA GP7; AD9833 OUT to the filter,
the filter to a peak detector (diode, 100 nF, 100 kOhm), and that to GP26.
"""
import math
import time

from machine import ADC, Pin, SPI

MASTER_CLOCK = 25_000_000

B28 = 0x2000
RESET = 0x0100
FREQ0 = 0x4000
PHASE0 = 0xC000
SHAPES = {"sine": 0x0000, "triangle": 0x0002, "square": 0x0028}


class AD9833:
    def __init__(self, spi, fsync):
        self.spi = spi
        self.fsync = fsync
        fsync.value(1)
        self.shape = SHAPES["sine"]
        self.word(B28 | RESET)
        self.word(PHASE0)

    def word(self, value):
        self.fsync.value(0)
        self.spi.write(bytes((value >> 8, value & 0xFF)))
        self.fsync.value(1)

    def tuning_word(self, hertz):
        return int(hertz * (1 << 28) / MASTER_CLOCK + 0.5)

    def start(self, hertz, shape="sine"):
        """Set frequency and waveform; both halves of the frequency are taken over together."""
        tuning = self.tuning_word(hertz)
        self.shape = SHAPES[shape]
        self.word(B28 | self.shape)
        self.word(FREQ0 | tuning & 0x3FFF)
        self.word(FREQ0 | tuning >> 14 & 0x3FFF)

    def stop(self):
        self.word(B28 | RESET)


def logarithmic(first, last, per_decade):
    """Frequencies evenly spaced on a logarithmic axis, the last included."""
    count = int(math.log10(last / first) * per_decade + 0.5)
    for i in range(count + 1):
        yield first * (last / first) ** (i / count)


def level(adc, samples=64):
    return sum(adc.read_u16() for _ in range(samples)) / samples


def decibels(value, reference):
    if value <= 0 or reference <= 0:
        return -99.0
    return 20 * math.log10(value / reference)


def sweep(generator, adc, first=20, last=200_000, per_decade=10):
    points = []
    for hertz in logarithmic(first, last, per_decade):
        generator.start(hertz)
        # The detector has to settle: ten of its time constants, or ten periods if longer.
        time.sleep_ms(max(100, int(10_000 / hertz)))
        points.append((hertz, level(adc)))
    generator.stop()
    return points


def plot(points, bottom=-40, width=40):
    """Print one line per frequency; the strongest one is taken as 0 dB."""
    reference = max(value for _, value in points)
    for hertz, value in points:
        db = decibels(value, reference)
        column = int((max(db, bottom) - bottom) / -bottom * width)
        print("%9.1f Hz %6.1f dB |%s*" % (hertz, db, " " * column))


def corner(points):
    """The first frequency where the response has fallen by 3 dB, between two measured points."""
    reference = max(value for _, value in points)
    peak = [value for _, value in points].index(reference)
    for (f0, v0), (f1, v1) in zip(points[peak:], points[peak + 1:]):
        d0, d1 = decibels(v0, reference), decibels(v1, reference)
        if d0 > -3 >= d1:
            return f0 * (f1 / f0) ** ((d0 + 3) / (d0 - d1))
    return None


# The chip takes its bits on falling edges of a clock that rests high: mode 2.
spi = SPI(0, baudrate=5_000_000, polarity=1, phase=0, sck=Pin(6), mosi=Pin(7), miso=Pin(4))
source = AD9833(spi, Pin(5, Pin.OUT))
measured = sweep(source, ADC(Pin(26)))
plot(measured)
edge = corner(measured)
print("no corner in this range" if edge is None else "corner near %.0f Hz" % edge)
