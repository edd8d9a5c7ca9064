"""Play tunes on a passive buzzer; a button skips to the next tune.

Wiring (Raspberry Pi Pico): passive buzzer between GP15 and GND (100 ohm in series),
button between GP14 and GND.
"""

import asyncio
from machine import PWM, Pin

BUZZER_PIN = 15
BUTTON_PIN = 14
VOLUME = 0.3   # 0.0 silent, 1.0 loudest
GAP = 0.12     # share of each note that stays silent

SEMITONES = {"C": 0, "D": 2, "E": 4, "F": 5, "G": 7, "A": 9, "B": 11}

# Notes are pitch, octave and length in beats: "F#4:1.5". "-" is a rest.
TUNES = (
    (
        "ode to joy", 160,
        "E4:1 E4:1 F4:1 G4:1 G4:1 F4:1 E4:1 D4:1 "
        "C4:1 C4:1 D4:1 E4:1 E4:1.5 D4:0.5 D4:2 -:1",
    ),
    (
        "frere jacques", 200,
        "C4:1 D4:1 E4:1 C4:1 C4:1 D4:1 E4:1 C4:1 E4:1 F4:1 G4:2 E4:1 F4:1 G4:2 "
        "G4:0.5 A4:0.5 G4:0.5 F4:0.5 E4:1 C4:1 C4:1 G3:1 C4:2 -:1",
    ),
    ("alarm", 240, "A5:0.5 E5:0.5 A5:0.5 E5:0.5 -:1 A5:0.5 E5:0.5 A5:0.5 E5:0.5 -:2"),
)


def frequency(name):
    """Return the equal-tempered pitch of a note like "C#4" in Hz; A4 is 440."""
    letter = name[0]
    if letter not in SEMITONES:
        raise ValueError("unknown note " + name)
    sharp = 1 if "#" in name else 0
    octave = int(name[-1])
    distance = SEMITONES[letter] + sharp - 9 + 12 * (octave - 4)
    return round(440 * 2 ** (distance / 12))


def parse(score):
    """Yield (frequency in Hz or None, beats) for each note of a score."""
    for word in score.split():
        name, beats = word.split(":")
        yield (None if name == "-" else frequency(name)), float(beats)


async def play(buzzer, beats_per_minute, score):
    """Play one tune. Cancelling the task always leaves the buzzer silent."""
    beat_ms = 60_000 / beats_per_minute
    try:
        for pitch, beats in parse(score):
            length = int(beats * beat_ms)
            pause = int(length * GAP)
            if pitch is not None:
                buzzer.freq(pitch)
                # Half the period high gives the loudest tone, so volume scales to that.
                buzzer.duty_u16(int(32768 * VOLUME))
            await asyncio.sleep_ms(length - pause)
            buzzer.duty_u16(0)
            await asyncio.sleep_ms(pause)
    finally:
        buzzer.duty_u16(0)


async def pressed(button):
    """Return after a full press and release, with debouncing."""
    for level in (0, 1):
        while button.value() != level:
            await asyncio.sleep_ms(15)
        await asyncio.sleep_ms(30)


async def main(buzzer, button):
    while True:
        for title, tempo, score in TUNES:
            print("now playing:", title)
            tune = asyncio.create_task(play(buzzer, tempo, score))
            skip = asyncio.create_task(pressed(button))
            while not (tune.done() or skip.done()):
                await asyncio.sleep_ms(20)
            tune.cancel()
            skip.cancel()
            await asyncio.sleep_ms(700)


buzzer = PWM(Pin(BUZZER_PIN))
buzzer.freq(440)
try:
    asyncio.run(main(buzzer, Pin(BUTTON_PIN, Pin.IN, Pin.PULL_UP)))
except KeyboardInterrupt:
    print("silence")
finally:
    # Ctrl-C stops the event loop without unwinding its tasks, so clean up out here.
    buzzer.duty_u16(0)
    buzzer.deinit()
