"""Measure the vibration of a motor: bursts of 32 samples from the FIFO of an ADXL345 over SPI.

Wiring (Raspberry Pi Pico): CS GP17, SCL GP18, SDA GP19, SDO GP16, VCC 3V3.
"""
import math
import struct
import time
from machine import SPI, Pin

DEVID = 0x00
BW_RATE = 0x2C
POWER_CTL = 0x2D
DATA_FORMAT = 0x31
DATAX0 = 0x32
FIFO_CTL = 0x38
FIFO_STATUS = 0x39

READ = 0x80
MULTIPLE = 0x40
G_PER_COUNT = 0.0039  # full resolution: the same in every range
RATE_HZ = 800


class ADXL345:
    def __init__(self, spi, cs):
        self.spi = spi
        self.cs = cs
        self.six = bytearray(6)
        self.zero = (0, 0, 0)
        if self.read(DEVID) != 0xE5:
            raise RuntimeError("ADXL345 missing")
        self.write(POWER_CTL, 0x00)
        self.write(BW_RATE, 0x0D)  # 800 Hz
        self.write(DATA_FORMAT, 0x0B)  # full resolution, +-16 g
        self.write(FIFO_CTL, 0x00)
        self.write(FIFO_CTL, 0x80 | 31)  # stream mode, the oldest is lost first
        self.write(POWER_CTL, 0x08)

    def write(self, register, value):
        self.cs(0)
        self.spi.write(bytes((register, value)))
        self.cs(1)

    def read(self, register):
        self.cs(0)
        self.spi.write(bytes((register | READ,)))
        value = self.spi.read(1)[0]
        self.cs(1)
        return value

    def waiting(self):
        return self.read(FIFO_STATUS) & 0x3F

    def sample(self):
        """Take one set of axes out of the FIFO, in counts."""
        self.cs(0)
        self.spi.write(bytes((DATAX0 | READ | MULTIPLE,)))
        self.spi.readinto(self.six)
        self.cs(1)
        time.sleep_us(5)  # the FIFO needs a pause to bring up the next one
        return struct.unpack("<hhh", self.six)

    def burst(self, count):
        """Collect count samples without a gap between them."""
        taken = []
        while len(taken) < count:
            ready = self.waiting()
            if ready >= 32:
                taken.clear()  # it overflowed: what we hold has a hole at its end
            for _ in range(min(ready, count - len(taken))):
                taken.append(self.sample())
        return taken


def effective(values):
    """Root of the mean square about the mean, so that gravity drops out."""
    mean = sum(values) / len(values)
    return math.sqrt(sum((v - mean) ** 2 for v in values) / len(values))


def crossings_hz(values, rate):
    """A rough main frequency: upward crossings of the mean, with a dead band against noise."""
    mean = sum(values) / len(values)
    band = effective(values) / 4
    below = False
    count = 0
    for value in values:
        if value < mean - band:
            below = True
        elif below and value > mean + band:
            below = False
            count += 1
    return count * rate / len(values)


def grade(g):
    for limit, word in ((0.05, "smooth"), (0.2, "normal"), (0.6, "rough")):
        if g < limit:
            return word
    return "stop it"


def main():
    # Clock rests high, data are taken at its second edge.
    spi = SPI(0, baudrate=5_000_000, polarity=1, phase=1, sck=Pin(18), mosi=Pin(19), miso=Pin(16))
    sensor = ADXL345(spi, Pin(17, Pin.OUT, value=1))
    while True:
        samples = sensor.burst(512)
        parts = []
        worst = 0.0
        for axis, name in enumerate("xyz"):
            values = [sample[axis] for sample in samples]
            g = effective(values) * G_PER_COUNT
            worst = max(worst, g)
            parts.append("%s %.3f g %5.1f Hz" % (name, g, crossings_hz(values, RATE_HZ)))
        print("   ".join(parts), "->", grade(worst))


main()
