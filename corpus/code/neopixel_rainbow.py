"""Rainbow along a WS2812 strip, with gamma, a brightness knob and a current limit.

Wiring (Raspberry Pi Pico): DIN to GP28 through 330 ohms, 5V to VBUS, a potentiometer's
wiper to GP26, a button from GP22 to GND that changes the direction.
"""
import time
import neopixel
from machine import ADC, Pin

PIXELS = 30
FRAME_MS = 20
SPEED = 2  # hue steps per frame
SPREAD = 256  # hue steps along the strip: 256 shows the rainbow once

MILLIAMPS_PER_CHANNEL = 20
IDLE_MILLIAMPS = 1
LIMIT_MILLIAMPS = 400  # what a USB port gives without complaint
BUDGET = LIMIT_MILLIAMPS - PIXELS * IDLE_MILLIAMPS

# The eye sees small steps in the dark and none in the light; the table evens them out.
GAMMA = bytes(int((i / 255) ** 2.2 * 255 + 0.5) for i in range(256))


def hue_to_rgb(hue):
    """Map 0-255 around the colour circle to full-strength red, green, blue."""
    third, place = divmod(hue % 256 * 3, 256)
    rising, falling = place, 255 - place
    if third == 0:
        return falling, rising, 0
    if third == 1:
        return 0, falling, rising
    return rising, 0, falling


RAINBOW = [tuple(GAMMA[c] for c in hue_to_rgb(hue)) for hue in range(256)]


def draw(strip, phase, brightness):
    """Fill the strip; brightness is 0-256. Return the sum of all channel values."""
    total = 0
    for i in range(PIXELS):
        red, green, blue = RAINBOW[(phase + i * SPREAD // PIXELS) % 256]
        red = red * brightness >> 8
        green = green * brightness >> 8
        blue = blue * brightness >> 8
        strip[i] = (red, green, blue)
        total += red + green + blue
    return total


def milliamps(total):
    return total * MILLIAMPS_PER_CHANNEL // 255


def safe_brightness(strip, phase, wanted):
    """Draw as bright as wanted, or as bright as the supply allows."""
    current = milliamps(draw(strip, phase, wanted))
    if current <= BUDGET:
        return wanted
    # The current grows with the brightness, so one correction is enough.
    allowed = wanted * BUDGET // current
    draw(strip, phase, allowed)
    return allowed


def main():
    strip = neopixel.NeoPixel(Pin(28, Pin.OUT), PIXELS)
    knob = ADC(26)
    button = Pin(22, Pin.IN, Pin.PULL_UP)
    phase = 0
    direction = 1
    was_down = False
    limited = False
    try:
        while True:
            down = button.value() == 0
            if down and not was_down:
                direction = -direction
            was_down = down

            wanted = GAMMA[knob.read_u16() >> 8] + 1
            used = safe_brightness(strip, phase, wanted)
            if (used < wanted) != limited:
                limited = used < wanted
                print("current limit", "reached" if limited else "left")
            strip.write()
            phase = (phase + direction * SPEED) % 256
            time.sleep_ms(FRAME_MS)
    except KeyboardInterrupt:
        pass
    finally:
        # The pixels keep their last colour for ever unless told otherwise.
        strip.fill((0, 0, 0))
        strip.write()


if __name__ == "__main__":
    main()
