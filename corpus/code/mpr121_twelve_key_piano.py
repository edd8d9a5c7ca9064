"""Twelve pieces of fruit as piano keys: MPR121 touch controller and a passive buzzer.

Wiring (Pico): SDA GP16, SCL GP17, IRQ GP18, 3V3; buzzer GP19. Electrodes 0 to 11 go to
anything that conducts, by wires shorter than half a metre.
"""
import time
from machine import I2C, PWM, Pin

ADDRESS = 0x5A
TOUCH_STATUS = 0x00
FILTERED_DATA = 0x04
BASELINE = 0x1E
FIRST_THRESHOLD = 0x41
DEBOUNCE = 0x5B
CONFIG_1 = 0x5C
ELECTRODES = 0x5E
SOFT_RESET = 0x80

# Filter settings for rising, falling and touched, as the application notes propose them.
BASELINE_FILTER = (
    (0x2B, 0x01), (0x2C, 0x01), (0x2D, 0x0E), (0x2E, 0x00),
    (0x2F, 0x01), (0x30, 0x05), (0x31, 0x01), (0x32, 0x00),
    (0x33, 0x00), (0x34, 0x00), (0x35, 0x00),
)

LOWEST_NOTE = 60  # middle C as a MIDI number
MAJOR = (0, 2, 4, 5, 7, 9, 11)


class MPR121:
    def __init__(self, i2c, touch=12, release=6):
        self.i2c = i2c
        self._set(SOFT_RESET, 0x63)
        time.sleep_ms(2)
        if self._get(CONFIG_1 + 1, 1)[0] != 0x24:  # the value after a reset
            raise RuntimeError("no MPR121 answers")
        self._set(ELECTRODES, 0)  # most registers can be written while stopped only
        for register, value in BASELINE_FILTER:
            self._set(register, value)
        for electrode in range(12):
            self._set(FIRST_THRESHOLD + 2 * electrode, touch)
            self._set(FIRST_THRESHOLD + 2 * electrode + 1, release)
        self._set(DEBOUNCE, 0x11)
        self._set(CONFIG_1, 0x10)  # 16 microamperes charge current
        self._set(CONFIG_1 + 1, 0x20)
        self._set(ELECTRODES, 0x8C)  # run with 12 electrodes, baseline tracking on

    def _set(self, register, value):
        self.i2c.writeto_mem(ADDRESS, register, bytes([value]))

    def _get(self, register, count):
        return self.i2c.readfrom_mem(ADDRESS, register, count)

    def touched(self):
        """A number with one bit for each electrode."""
        low, high = self._get(TOUCH_STATUS, 2)
        return (high << 8 | low) & 0x0FFF

    def strength(self, electrode):
        """How far the signal lies below its baseline: for choosing thresholds."""
        low, high = self._get(FILTERED_DATA + 2 * electrode, 2)
        return (self._get(BASELINE + electrode, 1)[0] << 2) - (high << 8 | low)


def note_frequency(number):
    return 440 * 2 ** ((number - 69) / 12)


def scale(count):
    """Frequencies of a major scale, as many notes as there are keys."""
    return [note_frequency(LOWEST_NOTE + 12 * (i // 7) + MAJOR[i % 7]) for i in range(count)]


class Voice:
    """One tone at a time; the key pressed last wins, like on an old synthesizer."""

    def __init__(self, pin):
        self.pwm = PWM(pin)
        self.held = []

    def update(self, pressed, released):
        self.held = [key for key in self.held if key not in released] + pressed
        if self.held:
            self.pwm.freq(int(NOTES[self.held[-1]]))
            self.pwm.duty_u16(20000)
        else:
            self.pwm.duty_u16(0)


NOTES = scale(12)


def keys_of(bits):
    return [key for key in range(12) if bits >> key & 1]


keyboard = MPR121(I2C(0, sda=Pin(16), scl=Pin(17), freq=400_000))
attention = Pin(18, Pin.IN, Pin.PULL_UP)
voice = Voice(Pin(19))
before = 0
try:
    while True:
        if attention.value():  # stays high as long as nothing changes
            time.sleep_ms(2)
            continue
        bits = keyboard.touched()
        voice.update(keys_of(bits & ~before), keys_of(before & ~bits))
        before = bits
finally:
    voice.pwm.deinit()
