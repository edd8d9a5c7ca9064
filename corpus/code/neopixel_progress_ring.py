"""Show the progress of a job on a ring of 16 WS2812 pixels while the job runs (asyncio).

Wiring (Raspberry Pi Pico W): ring DI to GP0, 5V to VBUS; a button from GP1 to GND cancels.
The job here computes checksums of all files on the board.
"""
import asyncio
import binascii
import os
from machine import Pin
from neopixel import NeoPixel

PIXELS = 16
FRAME_MS = 30

BLUE = (0, 20, 60)
GREEN = (0, 60, 10)
RED = (70, 0, 0)
DIM = (3, 3, 3)


def mix(colour, background, share):
    return tuple(int(b + (c - b) * share) for c, b in zip(colour, background))


class Progress:
    """What the job tells the display: a fraction, or None while it cannot say."""

    def __init__(self):
        self.fraction = None


async def animate(ring, progress):
    """Draw for ever; the task is cancelled when the job is over."""
    shown = 0.0
    head = 0
    while True:
        if progress.fraction is None:
            # A turning comet says "busy" without promising anything.
            for i in range(PIXELS):
                age = (head - i) % PIXELS
                ring[i] = mix(BLUE, (0, 0, 0), max(0, 1 - age / 6))
            head = (head + 1) % PIXELS
        else:
            # Follow gently, so that uneven steps of the job look like a steady flow.
            shown += (progress.fraction - shown) * 0.2
            lit = shown * PIXELS
            for i in range(PIXELS):
                ring[i] = mix(BLUE, DIM, min(1, max(0, lit - i)))
        ring.write()
        await asyncio.sleep_ms(FRAME_MS)


async def flash(ring, colour, times):
    for _ in range(times):
        for current in (colour, (0, 0, 0)):
            ring.fill(current)
            ring.write()
            await asyncio.sleep_ms(200)


async def list_files(folder=""):
    """Return (path, size) of every file below a folder."""
    found = []
    for entry in os.ilistdir(folder or "/"):
        path = folder + "/" + entry[0]
        if entry[1] & 0x4000:
            found += await list_files(path)
        else:
            found.append((path, os.stat(path)[6]))
        await asyncio.sleep_ms(0)  # let the animation turn
    return found


async def checksum_job(progress):
    files = await list_files()
    total = sum(size for _, size in files) or 1
    done = 0
    buffer = bytearray(512)
    for path, _ in files:
        crc = 0
        with open(path, "rb") as file:
            while True:
                count = file.readinto(buffer)
                if not count:
                    break
                crc = binascii.crc32(memoryview(buffer)[:count], crc)
                done += count
                progress.fraction = min(1.0, done / total)
                await asyncio.sleep_ms(10)
        print("%08x  %s" % (crc, path))


async def cancel_on_press(button, task):
    while button.value():
        await asyncio.sleep_ms(50)
    task.cancel()


async def main():
    ring = NeoPixel(Pin(0, Pin.OUT), PIXELS)
    button = Pin(1, Pin.IN, Pin.PULL_UP)
    progress = Progress()
    job = asyncio.create_task(checksum_job(progress))
    helpers = [
        asyncio.create_task(animate(ring, progress)),
        asyncio.create_task(cancel_on_press(button, job)),
    ]
    colour = RED
    try:
        await job
        await asyncio.sleep_ms(500)  # the ring still has to catch up
        colour = GREEN
    except asyncio.CancelledError:
        print("cancelled")
    except OSError as error:
        print("job failed:", error)
    for task in helpers:
        task.cancel()
    await flash(ring, colour, 3)


asyncio.run(main())
