"""Sort sweets by colour: TCS34725 above a chute, a servo below it, colours taught by example.

Wiring (Pico): SDA GP4, SCL GP5, LED of the board to GP6, servo signal GP15 (servo on 5 V),
button "teach" from GP14 to GND. Known colours are kept in colours.json.
"""
import json
import time
from machine import I2C, PWM, Pin

TCS34725 = 0x29
COMMAND = 0x80
ENABLE, ATIME, CONTROL, ID, STATUS, CLEAR_DATA = 0x00, 0x01, 0x0F, 0x12, 0x13, 0x14


class ColourSensor:
    """Four 16-bit counters behind filters: clear, red, green, blue."""

    def __init__(self, i2c, led):
        self.i2c = i2c
        self.led = led
        if self._read(ID, 1)[0] not in (0x44, 0x4D):
            raise RuntimeError("no TCS34725 or TCS34727")
        self._write(ATIME, 0xEB)  # 256 - 21 cycles of 2.4 ms, so 50 ms
        self._write(CONTROL, 0x01)  # gain 4
        self._write(ENABLE, 0x01)
        time.sleep_ms(3)  # the oscillator has to start before the converter
        self._write(ENABLE, 0x03)

    def _write(self, register, value):
        self.i2c.writeto_mem(TCS34725, COMMAND | register, bytes([value]))

    def _read(self, register, count):
        return self.i2c.readfrom_mem(TCS34725, COMMAND | register, count)

    def counts(self):
        data = self._read(CLEAR_DATA, 8)
        return [data[i] | data[i + 1] << 8 for i in (0, 2, 4, 6)]

    def look(self):
        """The share of red, green and blue in the light, and how bright it was."""
        self.led.on()
        time.sleep_ms(110)  # one whole cycle under the lamp, whatever began before it
        clear, red, green, blue = self.counts()
        self.led.off()
        total = red + green + blue or 1
        return (red / total, green / total, blue / total), clear


def distance(a, b):
    return sum((x - y) ** 2 for x, y in zip(a, b))


class Palette:
    """Nearest neighbour among the taught colours, or None if nothing is near."""

    def __init__(self, path="colours.json", limit=0.01):
        self.path = path
        self.limit = limit
        try:
            with open(path) as file:
                self.known = json.load(file)
        except OSError:
            self.known = {}

    def teach(self, name, shares):
        self.known[name] = shares
        with open(self.path, "w") as file:
            json.dump(self.known, file)

    def name(self, shares):
        if not self.known:
            return None
        best = min(self.known, key=lambda name: distance(self.known[name], shares))
        return best if distance(self.known[best], shares) < self.limit else None


class Servo:
    def __init__(self, pin):
        self.pwm = PWM(Pin(pin), freq=50)

    def angle(self, degrees):
        self.pwm.duty_ns(500_000 + degrees * 2_000_000 // 180)


def bin_angle(palette, name):
    """Bins stand in alphabetical order over the half circle, the last is for strangers."""
    names = sorted(palette.known)
    place = names.index(name) if name in palette.known else len(names)
    return place * 180 // max(1, len(names))


def main():
    sensor = ColourSensor(I2C(0, sda=Pin(4), scl=Pin(5)), Pin(6, Pin.OUT))
    teach = Pin(14, Pin.IN, Pin.PULL_UP)
    palette = Palette()
    chute = Servo(15)
    empty = sensor.look()[1]  # brightness without a sweet
    while True:
        shares, brightness = sensor.look()
        if brightness < empty * 1.3:
            time.sleep_ms(100)
            continue
        if not teach.value():
            palette.teach(input("which colour is this? ").strip(), shares)
            continue
        name = palette.name(shares)
        print(name or "unknown", "R %.2f G %.2f B %.2f" % shares)
        chute.angle(bin_angle(palette, name))
        time.sleep_ms(700)  # let it fall


main()
