"""A MIDI controller: three potentiometers as control changes, four buttons as notes, clock counted.

Wiring (Pico): MIDI out on GP4 through 10 Ohm, pin 4 of the socket through 33 Ohm to 3V3 (the
3.3 V variant of the standard); MIDI in by an optocoupler to GP5. Pots GP26-GP28, buttons GP10-GP13.
"""
import time
from machine import ADC, UART, Pin

CHANNEL = 0
NOTE_OFF, NOTE_ON, CONTROL = 0x80, 0x90, 0xB0
CLOCK, START, STOP = 0xF8, 0xFA, 0xFC

KNOBS = ((26, 74), (27, 71), (28, 1))  # pin and controller: cutoff, resonance, modulation
BUTTONS = ((10, 36), (11, 38), (12, 42), (13, 46))  # pin and note of the drum map


class MidiOut:
    """Keeps the running status: equal status bytes in a row are sent once."""

    def __init__(self, uart):
        self.uart = uart
        self.status = None

    def message(self, status, first, second):
        status |= CHANNEL
        if status == self.status:
            self.uart.write(bytes((first, second)))
        else:
            self.uart.write(bytes((status, first, second)))
            self.status = status


class MidiIn:
    """Parses what arrives; real-time bytes may stand in the middle of another message."""

    LENGTHS = {0x80: 2, 0x90: 2, 0xA0: 2, 0xB0: 2, 0xC0: 1, 0xD0: 1, 0xE0: 2}

    def __init__(self, on_message, on_clock):
        self.on_message = on_message
        self.on_clock = on_clock
        self.status = None
        self.data = []

    def feed(self, stream):
        for byte in stream:
            if byte >= 0xF8:
                self.on_clock(byte)
            elif byte >= 0xF0:
                self.status = None  # system messages: ignored up to the next status
            elif byte & 0x80:
                self.status = byte
                self.data = []
            elif self.status is not None:
                self.data.append(byte)
                if len(self.data) == self.LENGTHS[self.status & 0xF0]:
                    self.on_message(self.status, self.data)
                    self.data = []


class Tempo:
    """Beats per minute from 24 clocks per quarter note."""

    def __init__(self):
        self.stamps = []

    def __call__(self, byte):
        if byte == START:
            self.stamps = []
            print("start")
        elif byte == STOP:
            print("stop")
        elif byte == CLOCK:
            self.stamps.append(time.ticks_us())
            if len(self.stamps) == 97:
                beats_us = time.ticks_diff(self.stamps[-1], self.stamps[0]) / 4
                print("%.1f bpm" % (60e6 / beats_us))
                del self.stamps[:96]


class Knob:
    """Seven bits out of a noisy converter: moves only when clearly past the next step."""

    def __init__(self, pin, controller):
        self.adc = ADC(Pin(pin))
        self.controller = controller
        self.value = None

    def changed(self):
        raw = self.adc.read_u16()
        if self.value is not None:
            centre = (self.value << 9) + 256
            if abs(raw - centre) < 400:
                return False
        value = raw >> 9
        if value == self.value:
            return False
        self.value = value
        return True


def main():
    uart = UART(1, baudrate=31250, tx=Pin(4), rx=Pin(5), rxbuf=256)
    out = MidiOut(uart)
    tempo = Tempo()
    listen = MidiIn(lambda status, data: print("in %02X" % status, data), tempo)
    knobs = [Knob(*pair) for pair in KNOBS]
    buttons = [[Pin(pin, Pin.IN, Pin.PULL_UP), note, 1, 0] for pin, note in BUTTONS]
    while True:
        for knob in knobs:
            if knob.changed():
                out.message(CONTROL, knob.controller, knob.value)
        now = time.ticks_ms()
        for button in buttons:
            pin, note, before, since = button
            level = pin.value()
            if level != before and time.ticks_diff(now, since) > 15:
                button[2], button[3] = level, now
                out.message(NOTE_OFF if level else NOTE_ON, note, 0 if level else 100)
        if uart.any():
            listen.feed(uart.read())
        time.sleep_ms(2)


main()
