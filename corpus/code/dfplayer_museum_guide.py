"""A talking museum label: each of four buttons plays its own track on a DFPlayer Mini.

Wiring (ESP32): player RX to GPIO17 with 1 kOhm in series, player TX to GPIO16, BUSY to GPIO5,
5 V; buttons from GPIO12, 13, 14 and 27 to GND. Tracks lie in /01/001.mp3 to /01/004.mp3.
"""
import asyncio
from machine import Pin, UART

PLAY_IN_FOLDER = 0x0F
VOLUME = 0x06
STOP = 0x16
RESET = 0x0C
QUERY_FILES = 0x48

FINISHED = 0x3D
ERROR = 0x40
READY = 0x3F

ERROR_TEXTS = {1: "busy", 2: "asleep", 3: "frame not complete", 4: "check sum", 5: "track out of range",
               6: "track not found"}


def frame(command, parameter=0, feedback=False):
    """Ten bytes; the check sum is the negative sum of all between start and itself."""
    body = bytes((0xFF, 0x06, command, feedback, parameter >> 8, parameter & 0xFF))
    check = -sum(body) & 0xFFFF
    return b"\x7e" + body + bytes((check >> 8, check & 0xFF)) + b"\xef"


def parse(packet):
    """Return (command, parameter) of a packet from the player; None if it is damaged."""
    if len(packet) != 10 or packet[0] != 0x7E or packet[9] != 0xEF:
        return None
    if -sum(packet[1:7]) & 0xFFFF != packet[7] << 8 | packet[8]:
        return None
    return packet[3], packet[5] << 8 | packet[6]


class Player:
    def __init__(self, uart, busy):
        self.uart = uart
        self.busy = busy
        self.reader = asyncio.StreamReader(uart)
        self.ready = asyncio.Event()

    async def send(self, command, parameter=0):
        self.uart.write(frame(command, parameter))
        await asyncio.sleep_ms(60)  # it loses commands that follow faster

    async def listen(self):
        while True:
            first = await self.reader.read(1)
            if first != b"\x7e":
                continue
            message = parse(first + await self.reader.readexactly(9))
            if message is None:
                print("damaged packet")
                continue
            kind, value = message
            if kind == READY:
                print("card is in" if value & 2 else "no card")
                self.ready.set()
            elif kind == FINISHED:
                print("track", value, "ended")
            elif kind == ERROR:
                print("player says:", ERROR_TEXTS.get(value, value))

    async def start(self, volume):
        await self.send(RESET)
        try:
            await asyncio.wait_for(self.ready.wait(), 4)
        except asyncio.TimeoutError:
            raise RuntimeError("the player does not start")
        await self.send(VOLUME, min(30, volume))

    async def play(self, track, folder=1):
        await self.send(PLAY_IN_FOLDER, folder << 8 | track)

    @property
    def playing(self):
        return self.busy.value() == 0


async def watch(button, track, player):
    """Pressing again while it talks is for impatient people: it starts over at most every 2 s."""
    while True:
        if button.value() == 0:
            print("track", track, "again" if player.playing else "")
            await player.play(track)
            await asyncio.sleep(2)
        await asyncio.sleep_ms(30)


async def main():
    player = Player(UART(2, 9600, tx=17, rx=16), Pin(5, Pin.IN))
    asyncio.create_task(player.listen())
    await player.start(volume=22)
    for track, number in enumerate((12, 13, 14, 27), 1):
        asyncio.create_task(watch(Pin(number, Pin.IN, Pin.PULL_UP), track, player))
    while True:
        await asyncio.sleep(60)


asyncio.run(main())
