# Room monitor: an AHT20 read by one asyncio task, averaged by a second, printed by a third.
#
# ESP32: SDA GPIO21, SCL GPIO22, sensor on 3V3.  No other parts.
import asyncio
from collections import deque
from machine import Pin, SoftI2C

AHT20 = 0x38
BUSY, CALIBRATED = 0x80, 0x08


def check(data):
    crc = 0xFF
    for value in data:
        crc ^= value
        for _ in range(8):
            crc = crc << 1 ^ (0x131 if crc & 0x80 else 0)
    return crc


async def initialise(bus):
    """Calibrate the sensor if it has not done so since power came on."""
    await asyncio.sleep_ms(40)
    if not bus.readfrom(AHT20, 1)[0] & CALIBRATED:
        bus.writeto(AHT20, b"\xbe\x08\x00")
        await asyncio.sleep_ms(10)


async def sample(bus):
    bus.writeto(AHT20, b"\xac\x33\x00")
    await asyncio.sleep_ms(80)
    for _ in range(5):
        data = bus.readfrom(AHT20, 7)
        if not data[0] & BUSY:
            break
        await asyncio.sleep_ms(10)
    else:
        raise OSError("AHT20 stays busy")
    if check(data[:6]) != data[6]:
        raise OSError("AHT20 data damaged")
    # Two numbers of 20 bits share the middle byte.
    humidity = data[1] << 12 | data[2] << 4 | data[3] >> 4
    temperature = (data[3] & 0x0F) << 16 | data[4] << 8 | data[5]
    return temperature * 200 / (1 << 20) - 50, humidity * 100 / (1 << 20)


class Room:
    def __init__(self, keep):
        self.history = deque((), keep)
        self.errors = 0
        self.fresh = asyncio.Event()
        self.mean = None
        self.trend = 0.0


async def reader(bus, room, period_s):
    await initialise(bus)
    while True:
        try:
            room.history.append(await sample(bus))
            room.fresh.set()
        except OSError as exc:
            room.errors += 1
            print("reader:", exc)
        await asyncio.sleep(period_s)


async def averager(room):
    """Keep the mean of the window, and how it moved since the last full window."""
    last = None
    count = 0
    while True:
        await room.fresh.wait()
        room.fresh.clear()
        window = list(room.history)
        room.mean = tuple(sum(v[i] for v in window) / len(window) for i in (0, 1))
        count += 1
        if count % 30 == 0:
            if last is not None:
                room.trend = room.mean[0] - last
            last = room.mean[0]


async def printer(room, every_s):
    while True:
        await asyncio.sleep(every_s)
        if room.mean is None:
            print("waiting for the first measurement")
            continue
        arrow = "rising" if room.trend > 0.2 else "falling" if room.trend < -0.2 else "steady"
        print(f"{room.mean[0]:.2f} C, {room.mean[1]:.1f} %rh, {arrow}, {room.errors} errors")


async def main():
    bus = SoftI2C(scl=Pin(22), sda=Pin(21), freq=100_000)
    room = Room(keep=30)
    await asyncio.gather(reader(bus, room, 2), averager(room), printer(room, 10))


try:
    asyncio.run(main())
except KeyboardInterrupt:
    print("stopped")
