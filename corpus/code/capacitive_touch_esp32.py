"""Three capacitive touch keys that dim a lamp, with a baseline that follows the weather.

Wiring (ESP32): copper pads on GPIO4 (darker), GPIO15 (on/off) and GPIO27 (brighter),
LED on GPIO18 through 330 ohm. Pads may sit behind 2 mm of plastic.
"""

import asyncio
from machine import PWM, Pin, TouchPad

PADS = {"darker": 4, "toggle": 15, "brighter": 27}
LED_PIN = 18

PRESS_RATIO = 0.80      # a touch lowers the reading of the original ESP32
RELEASE_RATIO = 0.90
CONFIRM = 3             # equal decisions in a row before a key changes state
DRIFT = 0.02
POLL_MS = 20
REPEAT_MS = 150


class TouchKey:
    def __init__(self, pin_number):
        self._pad = TouchPad(Pin(pin_number))
        self.baseline = 0.0
        self.touched = False
        self._votes = 0

    async def calibrate(self, samples=20):
        total = 0
        for _ in range(samples):
            total += self._pad.read()
            await asyncio.sleep_ms(10)
        self.baseline = total / samples

    def update(self):
        """Read once. Return "down" or "up" when the key changes, else None."""
        try:
            reading = self._pad.read()
        except ValueError:
            return None  # the driver reports a failed measurement this way
        ratio = reading / self.baseline
        opposite = ratio > RELEASE_RATIO if self.touched else ratio < PRESS_RATIO
        if not opposite:
            self._votes = 0
            if not self.touched:
                # Humidity and temperature shift the reading slowly; move along with it.
                self.baseline += DRIFT * (reading - self.baseline)
            return None
        self._votes += 1
        if self._votes < CONFIRM:
            return None
        self._votes = 0
        self.touched = not self.touched
        return "down" if self.touched else "up"


class Lamp:
    LEVELS = (0, 300, 800, 2000, 4500, 9000, 17000, 32000, 65535)

    def __init__(self, pin_number):
        self._pwm = PWM(Pin(pin_number), freq=1000, duty_u16=0)
        self.level = 4
        self.lit = False

    def _apply(self):
        self._pwm.duty_u16(self.LEVELS[self.level] if self.lit else 0)
        print("lamp", "on, level {}".format(self.level) if self.lit else "off")

    def toggle(self):
        self.lit = not self.lit
        self._apply()

    def change(self, step):
        wanted = min(len(self.LEVELS) - 1, max(1, self.level + step))
        if wanted != self.level or not self.lit:
            self.level = wanted
            self.lit = True
            self._apply()

    def close(self):
        self._pwm.duty_u16(0)
        self._pwm.deinit()


async def serve(key, action, repeat):
    """Run the action on each touch, and again and again while held if repeat is set."""
    held_ms = 0
    while True:
        event = key.update()
        if event == "down":
            held_ms = -400  # a longer pause before the first repetition
            action()
        elif key.touched and repeat:
            held_ms += POLL_MS
            if held_ms >= REPEAT_MS:
                held_ms = 0
                action()
        await asyncio.sleep_ms(POLL_MS)


async def main(lamp):
    keys = {name: TouchKey(number) for name, number in PADS.items()}
    print("calibrating, hands off")
    await asyncio.gather(*(key.calibrate() for key in keys.values()))
    print({name: round(key.baseline) for name, key in keys.items()})
    await asyncio.gather(
        serve(keys["darker"], lambda: lamp.change(-1), repeat=True),
        serve(keys["brighter"], lambda: lamp.change(1), repeat=True),
        serve(keys["toggle"], lamp.toggle, repeat=False),
    )


lamp = Lamp(LED_PIN)
try:
    asyncio.run(main(lamp))
finally:
    lamp.close()
