"""Watch a pottery kiln: MAX31855 with a type K thermocouple, rate of rise, and a hold timer.

Wiring (Raspberry Pi Pico): SCK to GP10, CS to GP13, DO to GP12, VIN to 3V3.
The thermocouple must not touch anything that is grounded.
"""
import time
from machine import Pin, SPI

FAULTS = ((1, "no thermocouple"), (2, "shorted to ground"), (4, "shorted to supply"))


class ThermocoupleFault(Exception):
    pass


def signed(value, bits):
    """Read a field of so many bits as two's complement."""
    return value - (1 << bits) if value >> (bits - 1) else value


def decode(word):
    """Split the 32 bits of the converter into the hot and the cold end, in Celsius."""
    if word & 0x10000:
        names = [name for bit, name in FAULTS if word & bit]
        raise ThermocoupleFault(", ".join(names) or "unknown fault")
    return signed(word >> 18, 14) / 4, signed(word >> 4 & 0xFFF, 12) / 16


class MAX31855:
    def __init__(self, spi, cs):
        self.spi = spi
        self.cs = cs
        self.frame = bytearray(4)
        cs.value(1)

    def read(self):
        self.cs.value(0)
        self.spi.readinto(self.frame)
        self.cs.value(1)
        if self.frame == b"\x00\x00\x00\x00" or self.frame == b"\xff\xff\xff\xff":
            raise OSError("the converter does not answer")
        return decode(int.from_bytes(self.frame, "big"))


class RateMeter:
    """Slope of the last readings by least squares, in degrees per hour."""

    def __init__(self, size=60):
        self.size = size
        self.points = []

    def add(self, seconds, value):
        self.points.append((seconds, value))
        if len(self.points) > self.size:
            self.points.pop(0)

    def per_hour(self):
        n = len(self.points)
        if n < 10:
            return None
        mean_t = sum(p[0] for p in self.points) / n
        mean_v = sum(p[1] for p in self.points) / n
        above = sum((t - mean_t) * (v - mean_v) for t, v in self.points)
        below = sum((t - mean_t) ** 2 for t, _ in self.points)
        return 3600 * above / below if below else None


def watch(sensor, target=1060, hold_s=900, limit_per_hour=150):
    """Print once per ten seconds; return when the kiln was at its target long enough."""
    rate = RateMeter()
    held = 0
    start = time.time()
    while held < hold_s:
        now = time.time() - start
        try:
            hot, cold = sensor.read()
        except (OSError, ThermocoupleFault) as reason:
            print("%6d s  %s" % (now, reason))
            time.sleep(10)
            continue
        rate.add(now, hot)
        slope = rate.per_hour()
        note = ""
        if slope is not None and slope > limit_per_hour:
            note = "too fast, turn it down"
        if hot >= target:
            held += 10
            note = "holding, %d s to go" % max(0, hold_s - held)
        slope_text = "   --" if slope is None else "%+5.0f" % slope
        print("%6d s  %7.2f C  (board %.1f C)  %s C/h  %s" % (now, hot, cold, slope_text, note))
        time.sleep(10)


if __name__ == "__main__":
    # Two words of the data sheet's examples: +100.75 with 25 C inside, and -0.25 with -0.0625.
    assert decode((403 << 18) | (400 << 4)) == (100.75, 25.0)
    assert decode((0x3FFF << 18) | (0xFFF << 4)) == (-0.25, -0.0625)
    bus = SPI(1, baudrate=2_000_000, polarity=0, phase=0, sck=Pin(10), mosi=Pin(11), miso=Pin(12))
    watch(MAX31855(bus, Pin(13, Pin.OUT)))
    print("done, switch the kiln off")
