"""Kitchen scale with a load cell and an HX711, read by bit-banging.

Wiring (Raspberry Pi Pico): DT to GP14, SCK to GP15, VCC to 3V3; a button from GP16 to GND.
A short press sets zero; holding it for two seconds calibrates with a known weight.
"""
import json
import time
from machine import Pin, disable_irq, enable_irq

DATA_PIN = 14
CLOCK_PIN = 15
BUTTON_PIN = 16
CALIBRATION_FILE = "scale.json"
KNOWN_GRAMS = 500
HOLD_MS = 2000
SAMPLES = 7

# Clock pulses after the 24 data bits choose the next input and gain.
GAIN_128 = 1


class HX711:
    def __init__(self, data, clock, extra_pulses=GAIN_128):
        self.data = data
        self.clock = clock
        self.extra_pulses = extra_pulses
        self.clock.value(0)
        self.read()  # the first result may still have another gain

    def _pulse(self):
        # A clock that stays high for 60 us puts the chip to sleep, so no interrupt
        # may fall into the pulse.
        state = disable_irq()
        self.clock.value(1)
        self.clock.value(0)
        bit = self.data.value()
        enable_irq(state)
        return bit

    def read(self, timeout_ms=500):
        """Return one signed 24-bit count."""
        deadline = time.ticks_add(time.ticks_ms(), timeout_ms)
        while self.data.value():  # low means that a result is ready
            if time.ticks_diff(deadline, time.ticks_ms()) <= 0:
                raise OSError("HX711 not ready")
            time.sleep_ms(1)
        count = 0
        for _ in range(24):
            count = count << 1 | self._pulse()
        for _ in range(self.extra_pulses):
            self._pulse()
        return count - (1 << 24) if count & 1 << 23 else count

    def read_median(self, samples=SAMPLES):
        """A median ignores single glitches, which a mean would smear."""
        counts = sorted(self.read() for _ in range(samples))
        return counts[samples // 2]

    def power_down(self):
        self.clock.value(1)
        time.sleep_us(80)


class Scale:
    def __init__(self, converter):
        self.converter = converter
        self.zero = 0
        self.counts_per_gram = None
        try:
            with open(CALIBRATION_FILE) as file:
                self.counts_per_gram = json.load(file)["counts_per_gram"]
        except (OSError, ValueError, KeyError):
            print("Not calibrated yet: showing raw counts.")

    def tare(self):
        self.zero = self.converter.read_median(15)

    def calibrate(self, grams):
        difference = self.converter.read_median(15) - self.zero
        if abs(difference) < 1000:
            print("That is not the weight: too little change.")
            return
        self.counts_per_gram = difference / grams
        with open(CALIBRATION_FILE, "w") as file:
            json.dump({"counts_per_gram": self.counts_per_gram}, file)
        print("Calibrated: %.2f counts per gram" % self.counts_per_gram)

    def text(self):
        difference = self.converter.read_median() - self.zero
        if self.counts_per_gram is None:
            return "%d counts" % difference
        return "%.1f g" % (difference / self.counts_per_gram)


def press_length(button):
    """Return for how long the button was down, in milliseconds; 0 if it is not pressed."""
    if button.value():
        return 0
    pressed = time.ticks_ms()
    while not button.value():
        time.sleep_ms(10)
    return time.ticks_diff(time.ticks_ms(), pressed)


def main():
    converter = HX711(Pin(DATA_PIN, Pin.IN), Pin(CLOCK_PIN, Pin.OUT, value=0))
    scale = Scale(converter)
    button = Pin(BUTTON_PIN, Pin.IN, Pin.PULL_UP)
    scale.tare()
    try:
        while True:
            held = press_length(button)
            if held >= HOLD_MS:
                print("Calibrating with %d g" % KNOWN_GRAMS)
                scale.calibrate(KNOWN_GRAMS)
            elif held > 30:
                scale.tare()
            print(scale.text())
    finally:
        converter.power_down()


if __name__ == "__main__":
    main()
