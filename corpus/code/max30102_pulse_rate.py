"""Pulse rate at the fingertip with a MAX30102: FIFO reading, DC removal, beat detection.

Wiring (Raspberry Pi Pico): SDA GP4, SCL GP5, VIN 3V3, INT to GP6. For curiosity, not for health.
"""
import time
from machine import I2C, Pin

MAX30102 = 0x57
INT_STATUS, INT_ENABLE = 0x00, 0x02
FIFO_WRITE, FIFO_READ, FIFO_DATA, FIFO_CONFIG = 0x04, 0x06, 0x07, 0x08
MODE, SPO2_CONFIG, LED_RED, LED_IR, PART_ID = 0x09, 0x0A, 0x0C, 0x0D, 0xFF

RATE_HZ = 50  # 200 samples a second, averaged by four
FINGER = 30_000  # infrared counts; the sensor sees next to nothing without one


class PulseSensor:
    def __init__(self, i2c):
        self.i2c = i2c
        if self.read(PART_ID, 1)[0] != 0x15:
            raise RuntimeError("no MAX30102")
        self.write(MODE, 0x40)
        while self.read(MODE, 1)[0] & 0x40:
            time.sleep_ms(1)
        self.write(FIFO_CONFIG, 0x40 | 0x10)  # average of 4, roll over when full
        self.write(SPO2_CONFIG, 0x20 | 0x08 | 0x03)  # 4096 nA, 200 Hz, 411 us pulses of 18 bits
        self.write(LED_RED, 0x08)  # just enough to see that it is on
        self.write(LED_IR, 0x24)  # about 7 mA
        for register in (FIFO_WRITE, FIFO_WRITE + 1, FIFO_READ):
            self.write(register, 0)
        self.write(INT_ENABLE, 0x40)  # new data
        self.write(MODE, 0x03)  # red and infrared

    def write(self, register, value):
        self.i2c.writeto_mem(MAX30102, register, bytes((value,)))

    def read(self, register, count):
        return self.i2c.readfrom_mem(MAX30102, register, count)

    def samples(self):
        """Yield the infrared values that wait in the FIFO (32 places, 6 bytes each)."""
        self.read(INT_STATUS, 1)
        waiting = (self.read(FIFO_WRITE, 1)[0] - self.read(FIFO_READ, 1)[0]) & 31
        if waiting:
            data = self.read(FIFO_DATA, 6 * waiting)
            for at in range(3, len(data), 6):
                yield (data[at] << 16 | data[at + 1] << 8 | data[at + 2]) & 0x3FFFF


class BeatFinder:
    """Light falls when blood comes: look for steep falls of the high-passed signal."""

    def __init__(self):
        self.level = None
        self.smooth = 0.0
        self.depth = 0.0
        self.falling = False
        self.count = 0
        self.last_beat = None
        self.gaps = []

    def reset(self):
        self.__init__()

    def add(self, value):
        """Return the beats per minute when this sample completes a beat."""
        self.count += 1
        if self.level is None:
            self.level = value
        self.level += (value - self.level) / 25
        self.smooth += ((value - self.level) - self.smooth) / 3
        self.depth = max(-self.smooth, self.depth * 0.985)
        if not self.falling and self.smooth < -0.5 * self.depth and self.depth > 30:
            self.falling = True
            return self._beat()
        if self.falling and self.smooth > 0:
            self.falling = False
        return None

    def _beat(self):
        previous, self.last_beat = self.last_beat, self.count
        if previous is None:
            return None
        gap = self.count - previous
        if not RATE_HZ * 60 // 200 <= gap <= RATE_HZ * 60 // 35:
            return None
        self.gaps = self.gaps[-7:] + [gap]
        if len(self.gaps) < 4:
            return None
        ordered = sorted(self.gaps)
        return 60 * RATE_HZ / ordered[len(ordered) // 2]  # the median forgives one missed beat


def main():
    sensor = PulseSensor(I2C(0, sda=Pin(4), scl=Pin(5), freq=400_000))
    interrupt = Pin(6, Pin.IN, Pin.PULL_UP)
    finder = BeatFinder()
    present = False
    while True:
        if interrupt.value():
            time.sleep_ms(5)
            continue
        for value in sensor.samples():
            if (value > FINGER) != present:
                present = not present
                finder.reset()
                print("hold still ..." if present else "put a finger on the sensor")
            if present:
                rate = finder.add(value)
                if rate:
                    print("%3d beats per minute  %s" % (rate + 0.5, "<3"))


main()
