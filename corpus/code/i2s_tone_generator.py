"""Play a melody of sine tones through an I2S amplifier such as the MAX98357A.

Wiring (Raspberry Pi Pico): BCLK to GP16, LRC to GP17, DIN to GP18, Vin to VBUS.
On this board LRC must be the pin after BCLK.
"""
import math
import micropython
from array import array
from machine import I2S, Pin

RATE = 16_000  # samples per second
CHUNK = 512  # samples per write
VOLUME = 0.25  # of full scale
FADE_MS = 12  # a tone that starts or stops at once clicks

SINE_BITS = 8
PHASE_BITS = 20  # position in the sine, with 12 bits below the table's resolution

NOTE_STEPS = {"C": -9, "D": -7, "E": -5, "F": -4, "G": -2, "A": 0, "B": 2}

# Note, octave and length in quarter beats; "-" is a rest.
MELODY = "G4:2 E4:2 G4:4 A4:2 G4:2 E4:4 -:2 F4:2 D4:2 F4:4 G4:2 F4:2 D4:4 C4:8"
BEATS_PER_MINUTE = 130

PEAK = int(32767 * VOLUME)
SINE = array(
    "h",
    (int(PEAK * math.sin(2 * math.pi * i / (1 << SINE_BITS))) for i in range(1 << SINE_BITS)),
)


def frequency(name):
    """Return the pitch of a note such as 'A4' (440 Hz) or 'F#5'."""
    semitones = NOTE_STEPS[name[0]] + 12 * (int(name[-1]) - 4)
    if "#" in name:
        semitones += 1
    return 440 * 2 ** (semitones / 12)


def parse(melody):
    """Yield (hertz, seconds) for every note; a rest has 0 Hz."""
    quarter_beat = 60 / BEATS_PER_MINUTE / 4
    for item in melody.split():
        name, _, length = item.partition(":")
        yield (0 if name == "-" else frequency(name)), int(length) * quarter_beat


@micropython.native
def fill(buffer, count, phase, step, gain, gain_step):
    """Write `count` samples and return the next phase; gain is 0 to 65536."""
    table = SINE
    shift = PHASE_BITS - SINE_BITS
    mask = (1 << PHASE_BITS) - 1
    i = 0
    while i < count:
        buffer[i] = table[phase >> shift] * (gain >> 6) >> 10
        phase = (phase + step) & mask
        gain += gain_step
        i += 1
    return phase


class Player:
    def __init__(self):
        self.buffer = array("h", bytearray(2 * CHUNK))
        self.view = memoryview(self.buffer)
        self.phase = 0
        self.output = I2S(
            0,
            sck=Pin(16),
            ws=Pin(17),
            sd=Pin(18),
            mode=I2S.TX,
            bits=16,
            format=I2S.MONO,
            rate=RATE,
            ibuf=8192,  # a quarter of a second: time enough to compute the next chunk
        )

    def _section(self, samples, step, start, end):
        """Play one stretch whose loudness goes evenly from start to end, 0 to 1024."""
        # The gain carries six more bits, so that slow fades stay smooth.
        gain = start << 6
        slope = ((end - start) << 6) // max(1, samples)
        while samples > 0:
            count = min(samples, CHUNK)
            self.phase = fill(self.buffer, count, self.phase, step, gain, slope)
            gain += slope * count
            self.output.write(self.view[:count])
            samples -= count

    def tone(self, hertz, seconds):
        step = int(hertz * (1 << PHASE_BITS) / RATE)
        total = int(seconds * RATE)
        fade = min(total // 2, FADE_MS * RATE // 1000)
        loudness = 1024 if hertz else 0
        self._section(fade, step, 0, loudness)
        self._section(total - 2 * fade, step, loudness, loudness)
        self._section(fade, step, loudness, 0)

    def close(self):
        self.tone(0, 0.3)  # push the last tone out of the buffer
        self.output.deinit()


def main():
    player = Player()
    try:
        for hertz, seconds in parse(MELODY):
            player.tone(hertz, seconds)
    finally:
        player.close()


main()
