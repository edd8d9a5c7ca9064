"""A carbon dioxide traffic light for a classroom, with an SCD30 and three LEDs.

Wiring (ESP32): SDA GPIO21, SCL GPIO22, VIN 3V3; red GPIO25, yellow GPIO26, green GPIO27,
each with a resistor. The sensor stretches the clock by up to 30 ms, hence the slow SoftI2C.
"""
from machine import Pin, SoftI2C
import struct
import time

SCD30_ADDRESS = 0x61
START_MEASURING = 0x0010
SET_INTERVAL = 0x4600
DATA_READY = 0x0202
READ_MEASUREMENT = 0x0300
SELF_CALIBRATION = 0x5306
ALTITUDE = 0x5102

YELLOW_FROM = 1000  # ppm
RED_FROM = 1500
HYSTERESIS = 80


def checksum(pair):
    value = 0xFF
    for byte in pair:
        value ^= byte
        for _ in range(8):
            value <<= 1
            if value & 0x100:
                value ^= 0x131
    return value


def with_checksum(word):
    pair = struct.pack(">H", word)
    return pair + bytes([checksum(pair)])


class SCD30:
    def __init__(self, i2c, interval_s=5, altitude_m=0):
        self.i2c = i2c
        self.send(SET_INTERVAL, interval_s)
        self.send(ALTITUDE, altitude_m)
        # Needs fresh air once a day; rooms that never see any must turn this off.
        self.send(SELF_CALIBRATION, 1)
        self.send(START_MEASURING, 0)

    def send(self, command, argument=None):
        message = struct.pack(">H", command)
        if argument is not None:
            message += with_checksum(argument)
        self.i2c.writeto(SCD30_ADDRESS, message)
        time.sleep_ms(20)

    def receive(self, command, words):
        self.send(command)
        raw = self.i2c.readfrom(SCD30_ADDRESS, words * 3)
        data = bytearray()
        for start in range(0, len(raw), 3):
            pair = raw[start:start + 2]
            if checksum(pair) != raw[start + 2]:
                raise OSError("damaged data from the SCD30")
            data += pair
        return data

    def ready(self):
        return self.receive(DATA_READY, 1)[1] == 1

    def measurement(self):
        """Return carbon dioxide in ppm, degrees Celsius and per cent humidity."""
        return struct.unpack(">fff", self.receive(READ_MEASUREMENT, 6))


class TrafficLight:
    NAMES = ("green", "yellow", "red")

    def __init__(self, green, yellow, red):
        self.lamps = [Pin(number, Pin.OUT, value=0) for number in (green, yellow, red)]
        self.state = 0

    def update(self, ppm):
        """Go up at once, and down only when the value is clearly below the limit."""
        limits = (YELLOW_FROM, RED_FROM)
        wanted = sum(ppm >= limit for limit in limits)
        if wanted < self.state and ppm > limits[self.state - 1] - HYSTERESIS:
            wanted = self.state
        changed = wanted != self.state
        self.state = wanted
        for index, lamp in enumerate(self.lamps):
            lamp.value(index == wanted)
        return changed

    def lamp_test(self):
        for lamp in self.lamps:
            lamp.on()
        time.sleep(1)
        for lamp in self.lamps:
            lamp.off()


def main():
    light = TrafficLight(green=27, yellow=26, red=25)
    light.lamp_test()
    sensor = SCD30(SoftI2C(scl=Pin(22), sda=Pin(21), freq=50_000, timeout=200_000), altitude_m=250)
    while True:
        try:
            if not sensor.ready():
                time.sleep_ms(500)
                continue
            ppm, celsius, humidity = sensor.measurement()
        except OSError as error:
            print("SCD30:", error)
            time.sleep(2)
            continue
        if ppm < 1:
            continue  # the first value after the start is zero
        if light.update(ppm):
            print("now", TrafficLight.NAMES[light.state])
        print(f"{ppm:.0f} ppm  {celsius:.1f} C  {humidity:.0f} %")


main()
