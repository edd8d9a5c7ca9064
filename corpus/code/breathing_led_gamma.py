"""Let an LED breathe smoothly: PWM brightness runs through a gamma table.

Wiring (Raspberry Pi Pico): LED anode to GP16, cathode through 330 ohm to GND.
"""

from array import array
from math import cos, pi
from time import sleep_ms, ticks_add, ticks_diff, ticks_ms

from machine import PWM, Pin

LED_PIN = 16
PWM_FREQ = 1000
LEVELS = 256
GAMMA = 2.2
FRAME_MS = 15

INHALE_MS = 1800
HOLD_MS = 250
EXHALE_MS = 2600
REST_MS = 600


def build_gamma_table(levels, gamma):
    """Map perceived brightness 0..levels-1 to a 16-bit duty cycle.

    The eye sees ratios, not differences: without the table the LED seems to
    jump at the dark end and to stand still at the bright end.
    """
    top = levels - 1
    return array("H", (int((i / top) ** gamma * 65535 + 0.5) for i in range(levels)))


def ramp(start, end, duration_ms):
    """Yield brightness levels from start to end along half a cosine wave."""
    frames = max(1, duration_ms // FRAME_MS)
    for frame in range(frames + 1):
        share = (1 - cos(pi * frame / frames)) / 2
        yield int(start + (end - start) * share + 0.5)


def hold(level, duration_ms):
    """Yield the same level for a while."""
    for _ in range(duration_ms // FRAME_MS):
        yield level


def one_breath(top):
    yield from ramp(0, top, INHALE_MS)
    yield from hold(top, HOLD_MS)
    yield from ramp(top, 0, EXHALE_MS)
    yield from hold(0, REST_MS)


def breathe(pwm, table):
    """Breathe forever, with frames at a fixed pace."""
    due = ticks_ms()
    breaths = 0
    while True:
        for level in one_breath(len(table) - 1):
            pwm.duty_u16(table[level])
            # Working towards a due time keeps the rate free of drift.
            due = ticks_add(due, FRAME_MS)
            pause = ticks_diff(due, ticks_ms())
            if pause > 0:
                sleep_ms(pause)
        breaths += 1
        print("breath", breaths)


table = build_gamma_table(LEVELS, GAMMA)
led = PWM(Pin(LED_PIN))
led.freq(PWM_FREQ)
led.duty_u16(0)

print("gamma table: level 64 ->", table[64], "level 128 ->", table[128])
try:
    breathe(led, table)
except KeyboardInterrupt:
    pass
finally:
    # deinit() alone may leave the pin at its last level.
    led.duty_u16(0)
    led.deinit()
