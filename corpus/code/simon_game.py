"""Simon: repeat a growing sequence of lights and tones.

Wiring (Raspberry Pi Pico): LEDs on GP2, GP3, GP4, GP5 (330 ohm each), their buttons
on GP6, GP7, GP8, GP9 to GND, passive buzzer on GP10.
"""

from machine import PWM, Pin
from random import randrange
from time import sleep_ms, ticks_diff, ticks_ms

LED_PINS = (2, 3, 4, 5)
BUTTON_PINS = (6, 7, 8, 9)
BUZZER_PIN = 10

TONES = (330, 392, 494, 659)
LOSE_TONE = 110
ANSWER_MS = 4000
WIN_LENGTH = 12


class Panel:
    """Four lights with four buttons and a voice."""

    def __init__(self):
        self.leds = [Pin(n, Pin.OUT, value=0) for n in LED_PINS]
        self.buttons = [Pin(n, Pin.IN, Pin.PULL_UP) for n in BUTTON_PINS]
        self.buzzer = PWM(Pin(BUZZER_PIN))
        self.mute()

    def tone(self, hertz):
        self.buzzer.freq(hertz)
        self.buzzer.duty_u16(16384)

    def mute(self):
        self.buzzer.duty_u16(0)

    def flash(self, index, duration_ms):
        self.leds[index].on()
        self.tone(TONES[index])
        sleep_ms(duration_ms)
        self.leds[index].off()
        self.mute()

    def all_leds(self, level):
        for led in self.leds:
            led.value(level)

    def read_press(self, timeout_ms):
        """Wait for a press, light that field while it is held; None after the timeout."""
        start = ticks_ms()
        while timeout_ms is None or ticks_diff(ticks_ms(), start) < timeout_ms:
            for index, button in enumerate(self.buttons):
                if button.value() == 0:
                    self.leds[index].on()
                    self.tone(TONES[index])
                    sleep_ms(40)
                    while button.value() == 0:
                        sleep_ms(5)
                    self.leds[index].off()
                    self.mute()
                    sleep_ms(40)
                    return index
            sleep_ms(5)
        return None

    def close(self):
        self.all_leds(0)
        self.mute()
        self.buzzer.deinit()


def show(panel, sequence):
    """Play the sequence; long ones go faster."""
    pace = max(150, 500 - 30 * len(sequence))
    for index in sequence:
        panel.flash(index, pace)
        sleep_ms(pace // 2)


def repeat(panel, sequence):
    """Return True if the player repeats the whole sequence in time."""
    for expected in sequence:
        if panel.read_press(ANSWER_MS) != expected:
            return False
    return True


def celebrate(panel):
    for turn in range(12):
        panel.flash(turn % len(TONES), 70)


def mourn(panel, expected):
    """Show which light would have been right."""
    panel.tone(LOSE_TONE)
    for _ in range(4):
        panel.leds[expected].on()
        sleep_ms(150)
        panel.leds[expected].off()
        sleep_ms(150)
    panel.mute()


def play(panel):
    """Play one game and return the number of steps mastered."""
    sequence = []
    while len(sequence) < WIN_LENGTH:
        sequence.append(randrange(len(TONES)))
        sleep_ms(600)
        show(panel, sequence)
        if not repeat(panel, sequence):
            mourn(panel, sequence[-1])
            return len(sequence) - 1
    celebrate(panel)
    return WIN_LENGTH


panel = Panel()
high_score = 0
try:
    while True:
        print("press any button to start")
        panel.all_leds(1)
        panel.read_press(None)
        panel.all_leds(0)
        score = play(panel)
        high_score = max(high_score, score)
        print("score:", score, "best today:", high_score)
finally:
    panel.close()
