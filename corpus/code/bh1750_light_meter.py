"""Light meter with a BH1750 that chooses its own sensitivity, from candle to sunlight.

Wiring (ESP8266, NodeMCU): SDA to D2 (GPIO4), SCL to D1 (GPIO5), VCC to 3V3, ADDR to GND.
"""
import time
from machine import I2C, Pin

ADDRESS = 0x23

POWER_DOWN = 0x00
POWER_ON = 0x01
ONE_SHOT_HIGH_RES = 0x20

DEFAULT_WINDOW = 69
# Length of the measuring window, from bright light to dark
WINDOWS = (31, 69, 254)
TOO_DARK = 1500
TOO_BRIGHT = 60000

SCENES = (
    (1, "night"),
    (50, "dim room"),
    (300, "living room"),
    (1000, "office"),
    (10000, "overcast day"),
    (200000, "direct sunlight"),
)


class LightMeter:
    def __init__(self, i2c, address=ADDRESS):
        self.i2c = i2c
        self.address = address
        self.choice = 1
        self.command(POWER_ON)

    def command(self, code):
        self.i2c.writeto(self.address, bytes([code]))

    def count(self, window):
        """Measure once with the given window and return the raw 16-bit count."""
        # The window travels in two commands: three high bits, then five low bits.
        self.command(0x40 | window >> 5)
        self.command(0x60 | window & 0x1F)
        self.command(ONE_SHOT_HIGH_RES)
        time.sleep_ms(180 * window // DEFAULT_WINDOW + 5)
        high, low = self.i2c.readfrom(self.address, 2)
        return high << 8 | low

    def lux(self):
        while True:
            window = WINDOWS[self.choice]
            count = self.count(window)
            if count > TOO_BRIGHT and self.choice > 0:
                self.choice -= 1
            elif count < TOO_DARK and self.choice < len(WINDOWS) - 1:
                self.choice += 1
            else:
                break
        # The data sheet's 1.2 counts per lux hold for the default window.
        return count / 1.2 * DEFAULT_WINDOW / window

    def off(self):
        self.command(POWER_DOWN)


def scene(lux):
    for limit, name in SCENES:
        if lux < limit:
            return name
    return "off the scale"


class Smoother:
    """Exponential average that jumps at once when the light really changes."""

    def __init__(self, weight=0.2, jump=0.5):
        self.weight = weight
        self.jump = jump
        self.value = None

    def add(self, sample):
        if self.value is None or abs(sample - self.value) > self.jump * self.value:
            self.value = sample
        else:
            self.value += self.weight * (sample - self.value)
        return self.value


def main():
    i2c = I2C(scl=Pin(5), sda=Pin(4), freq=400000)
    try:
        meter = LightMeter(i2c)
    except OSError:
        print("No BH1750 found; devices on the bus:", [hex(a) for a in i2c.scan()])
        return
    smoother = Smoother()
    last_scene = None
    try:
        while True:
            lux = smoother.add(meter.lux())
            name = scene(lux)
            mark = "" if name == last_scene else "   <- " + name
            print("%9.1f lx%s" % (lux, mark))
            last_scene = name
            time.sleep(1)
    except KeyboardInterrupt:
        meter.off()


main()
