"""Fast Fourier transform in place, tried on a made-up chord and then on the sound at the ADC.

Wiring (Raspberry Pi Pico): output of an electret amplifier, centred on half the supply, to GP26.
"""
import math
import time
from array import array
from machine import ADC, Pin

N = 512
RATE = 8000

NOTES = ("C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B")


class FFT:
    """Radix-2 transform of n real samples; twiddle factors and bit order are prepared once."""

    def __init__(self, n):
        if n & (n - 1):
            raise ValueError("n must be a power of two")
        self.n = n
        self.re = array("f", bytes(4 * n))
        self.im = array("f", bytes(4 * n))
        self.cos = array("f", (math.cos(2 * math.pi * k / n) for k in range(n // 2)))
        self.sin = array("f", (math.sin(2 * math.pi * k / n) for k in range(n // 2)))
        self.hann = array("f", (0.5 - 0.5 * math.cos(2 * math.pi * k / n) for k in range(n)))
        order = [0]
        while len(order) < n:
            order = [2 * i for i in order] + [2 * i + 1 for i in order]
        self.order = array("H", order)

    def load(self, samples):
        """Take the samples in bit-reversed order, without their mean and with a Hann window."""
        mean = sum(samples) / self.n
        for i in range(self.n):
            source = self.order[i]
            self.re[i] = (samples[source] - mean) * self.hann[source]
            self.im[i] = 0.0

    def transform(self):
        n, re, im, cos, sin = self.n, self.re, self.im, self.cos, self.sin
        half = 1
        while half < n:
            stride = n // (2 * half)
            for k in range(half):
                wr, wi = cos[k * stride], -sin[k * stride]
                for a in range(k, n, 2 * half):
                    b = a + half
                    tr = re[b] * wr - im[b] * wi
                    ti = re[b] * wi + im[b] * wr
                    re[b] = re[a] - tr
                    im[b] = im[a] - ti
                    re[a] += tr
                    im[a] += ti
            half *= 2

    def power(self, k):
        return self.re[k] * self.re[k] + self.im[k] * self.im[k]

    def peak(self, rate, low_hz=60):
        """The strongest frequency, refined between the bins by a parabola through three of them."""
        first = max(2, int(low_hz * self.n / rate))
        best = max(range(first, self.n // 2 - 1), key=self.power)
        a, b, c = (math.log(self.power(k) + 1e-9) for k in (best - 1, best, best + 1))
        bottom = a - 2 * b + c
        shift = 0.5 * (a - c) / bottom if bottom else 0
        return (best + shift) * rate / self.n


def note_name(hertz):
    """The nearest note and how many cents the tone lies beside it."""
    number = 69 + 12 * math.log(hertz / 440) / math.log(2)
    nearest = round(number)
    return "%s%d" % (NOTES[nearest % 12], nearest // 12 - 1), round(100 * (number - nearest))


def record(adc, samples, rate):
    period = 1_000_000 // rate
    due = time.ticks_us()
    for i in range(len(samples)):
        while time.ticks_diff(due, time.ticks_us()) > 0:
            pass
        samples[i] = adc.read_u16()
        due = time.ticks_add(due, period)


def demonstrate(fft):
    tone = [1000 * math.sin(2 * math.pi * 443 * i / RATE) + 200 * math.sin(2 * math.pi * 1300 * i / RATE)
            for i in range(N)]
    begun = time.ticks_ms()
    fft.load(tone)
    fft.transform()
    print("%d points in %d ms" % (N, time.ticks_diff(time.ticks_ms(), begun)))
    found = fft.peak(RATE)
    print("443 Hz was found at %.1f Hz" % found)
    assert abs(found - 443) < 2


def main():
    fft = FFT(N)
    demonstrate(fft)
    adc = ADC(Pin(26))
    samples = array("H", bytes(2 * N))
    while True:
        record(adc, samples, RATE)
        if max(samples) - min(samples) < 1500:
            continue  # silence
        fft.load(samples)
        fft.transform()
        hertz = fft.peak(RATE)
        name, cents = note_name(hertz)
        print("%7.1f Hz  %s %+d cents" % (hertz, name, cents))


main()
