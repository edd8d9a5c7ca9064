"""Fine dust with a PMS5003: frames from the serial port, hourly means, fan asleep in between.

Wiring (ESP32): sensor TX to GPIO16, sensor RX to GPIO17, SET to GPIO4, VCC 5 V.
The laser lasts about a year of continuous work, so it runs one minute in five.
"""
import struct
import time
from machine import Pin, UART

START = b"BM"
FRAME = 32
WARM_UP_S = 30
MEASURE_S = 30
REST_S = 240

# Upper ends of the bands for PM2.5 over 24 hours, in micrograms per cubic metre.
BANDS = ((12, "good"), (35, "moderate"), (55, "poor for sensitive people"), (150, "unhealthy"))


class FrameReader:
    """Finds frames in a stream of bytes, wherever in it we begin to listen."""

    def __init__(self):
        self.buffer = bytearray()
        self.bad = 0

    def feed(self, data):
        """Take in bytes, yield the thirteen numbers of every intact frame."""
        self.buffer.extend(data)
        while True:
            at = self.buffer.find(START)
            if at < 0:
                self.buffer = self.buffer[-1:]  # may be the first half of a start mark
                return
            if len(self.buffer) - at < FRAME:
                self.buffer = self.buffer[at:]
                return
            frame = self.buffer[at:at + FRAME]
            numbers = struct.unpack(">15H", frame[2:])
            if numbers[0] == FRAME - 4 and numbers[14] == sum(frame[:30]):
                self.buffer = self.buffer[at + FRAME:]
                yield numbers[1:14]
            else:
                self.bad += 1
                self.buffer = self.buffer[at + 2:]


class Mean:
    def __init__(self):
        self.sum = 0
        self.count = 0

    def add(self, value):
        self.sum += value
        self.count += 1

    def take(self):
        """Return the mean and begin a new one; None if nothing came in."""
        result = self.sum / self.count if self.count else None
        self.sum = self.count = 0
        return result


def band(pm25):
    for limit, name in BANDS:
        if pm25 <= limit:
            return name
    return "dangerous"


def one_burst(uart, wake, reader, fine, coarse):
    """Wake the sensor, let the air flow, and collect for half a minute."""
    wake.on()
    time.sleep(WARM_UP_S)
    uart.read()  # what came while the fan was starting is not worth keeping
    end = time.ticks_add(time.ticks_ms(), MEASURE_S * 1000)
    while time.ticks_diff(end, time.ticks_ms()) > 0:
        data = uart.read()
        if data:
            for numbers in reader.feed(data):
                # 0 to 2 are for the factory's particles, 3 to 5 for the atmosphere.
                fine.add(numbers[4])
                coarse.add(numbers[5])
        time.sleep_ms(100)
    wake.off()


def main():
    wake = Pin(4, Pin.OUT, value=0)
    uart = UART(2, baudrate=9600, rx=16, tx=17, timeout=50, rxbuf=256)
    reader = FrameReader()
    fine, coarse = Mean(), Mean()
    rounds = 0
    while True:
        one_burst(uart, wake, reader, fine, coarse)
        rounds += 1
        if rounds == 12:
            rounds = 0
            pm25, pm10 = fine.take(), coarse.take()
            if pm25 is None:
                print("no frames for an hour, check the cable")
            else:
                print("PM2.5 %.1f  PM10 %.1f  %s (%d damaged frames)" % (pm25, pm10, band(pm25), reader.bad))
        time.sleep(REST_S)


main()
