"""Send DMX512 to stage lights: scenes with cross-fades, timed by the frames themselves.

Wiring (Raspberry Pi Pico): GP0 to DI of a MAX3485, DE and RE to 3V3; A to pin 3, B to pin 2 and
ground to pin 1 of the XLR socket; 120 Ohm at the far end of the line.
"""
import time
from machine import Pin, UART

BAUD = 250_000
BREAK_BAUD = 83_333  # one zero byte at this speed is a break of 108 us and a mark of 24 us
CHANNELS = 64

SCENES = {
    "dark": {},
    "warm": {1: 255, 2: 120, 3: 20, 10: 180},
    "cold": {1: 60, 2: 140, 3: 255, 10: 90},
    "spot": {20: 255, 21: 128, 22: 128},
}


class DMXSender:
    """The frame is one buffer: start code 0, then the levels of all channels."""

    def __init__(self, uart_id, tx):
        self.uart = UART(uart_id, baudrate=BAUD, bits=8, parity=None, stop=2, tx=Pin(tx), txbuf=CHANNELS + 8)
        self.frame = bytearray(CHANNELS + 1)

    def __setitem__(self, channel, level):
        if not 1 <= channel <= CHANNELS:
            raise IndexError("no channel %d" % channel)
        self.frame[channel] = max(0, min(255, int(level)))

    def __getitem__(self, channel):
        return self.frame[channel]

    def send(self):
        """Break, mark, data. Lights forget what they are not told about once a second."""
        self.uart.init(baudrate=BREAK_BAUD, bits=8, parity=None, stop=2)
        self.uart.write(b"\x00")
        self.uart.flush()
        self.uart.init(baudrate=BAUD, bits=8, parity=None, stop=2)
        self.uart.write(self.frame)
        self.uart.flush()


class Fader:
    def __init__(self, dmx):
        self.dmx = dmx
        self.start = bytes(CHANNELS + 1)
        self.goal = bytes(CHANNELS + 1)
        self.begun = time.ticks_ms()
        self.length = 1

    def go(self, scene, seconds):
        """Fade from what is lit at this moment, even in the middle of another fade."""
        goal = bytearray(CHANNELS + 1)
        for channel, level in scene.items():
            goal[channel] = level
        self.start = bytes(self.dmx.frame)
        self.goal = bytes(goal)
        self.begun = time.ticks_ms()
        self.length = max(1, int(seconds * 1000))

    def step(self):
        """Set all channels for this moment; True while the fade goes on."""
        passed = min(self.length, time.ticks_diff(time.ticks_ms(), self.begun))
        for channel in range(1, CHANNELS + 1):
            a, b = self.start[channel], self.goal[channel]
            if a != b:
                self.dmx[channel] = a + (b - a) * passed // self.length
        return passed < self.length


SHOW = (
    ("warm", 4.0, 10),
    ("spot", 0.5, 5),
    ("cold", 6.0, 10),
    ("dark", 3.0, 4),
)


def play(dmx, show):
    fader = Fader(dmx)
    for name, fade_s, stay_s in show:
        print("scene", name)
        fader.go(SCENES[name], fade_s)
        end = time.ticks_add(time.ticks_ms(), int((fade_s + stay_s) * 1000))
        while time.ticks_diff(end, time.ticks_ms()) > 0:
            fader.step()
            dmx.send()
            time.sleep_ms(20)


universe = DMXSender(0, 0)
try:
    while True:
        play(universe, SHOW)
except KeyboardInterrupt:
    for number in range(1, CHANNELS + 1):
        universe[number] = 0
    universe.send()
