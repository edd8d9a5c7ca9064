"""Read lines from a serial device with asyncio while other tasks go on (Pico).

Wiring: device TX to GP5 (UART1 RX), device RX to GP4 (UART1 TX), common GND, 9600 baud.
The device sends lines such as "T=21.5;H=48*5D": fields and an XOR checksum in hex.
"""

import asyncio

from machine import UART, Pin

BAUD = 9600
LINE_TIMEOUT_MS = 3000
POLL_EVERY_MS = 5000
MAX_LINE = 80


class BadLine(Exception):
    pass


def xor_checksum(data):
    total = 0
    for byte in data:
        total ^= byte
    return total


def parse(line):
    """Turn b"T=21.5;H=48*5D" into {"T": 21.5, "H": 48.0}."""
    if len(line) > MAX_LINE:
        raise BadLine("too long")
    body, star, check = line.decode().strip().partition("*")
    if not star:
        raise BadLine("no checksum")
    try:
        if int(check, 16) != xor_checksum(body.encode()):
            raise BadLine("checksum mismatch")
        fields = {}
        for field in body.split(";"):
            name, _, value = field.partition("=")
            fields[name] = float(value)
        return fields
    except ValueError:
        raise BadLine("malformed field")


class SerialSensor:
    """Owns the UART; keeps the newest values and tells waiting tasks about them."""

    def __init__(self, uart):
        self.reader = asyncio.StreamReader(uart)
        self.writer = asyncio.StreamWriter(uart, {})
        self.values = {}
        self.fresh = asyncio.Event()
        self.errors = 0

    async def receive(self):
        while True:
            try:
                line = await asyncio.wait_for_ms(self.reader.readline(), LINE_TIMEOUT_MS)
            except asyncio.TimeoutError:
                print("nothing received for {} ms".format(LINE_TIMEOUT_MS))
                continue
            try:
                self.values.update(parse(line))
            except (BadLine, UnicodeError) as err:
                # Line noise is normal on long cables: count it and go on.
                self.errors += 1
                print("ignored", line, "-", err)
                continue
            self.fresh.set()

    async def request(self):
        """Ask the device for a reading now and then; it may also send on its own."""
        while True:
            self.writer.write(b"READ\n")
            await self.writer.drain()
            await asyncio.sleep_ms(POLL_EVERY_MS)

    async def next_values(self):
        self.fresh.clear()
        await self.fresh.wait()
        return dict(self.values)


async def show(sensor):
    while True:
        values = await sensor.next_values()
        text = ", ".join("{} {:.1f}".format(k, v) for k, v in sorted(values.items()))
        print("{}  (errors so far: {})".format(text, sensor.errors))


async def heartbeat():
    led = Pin("LED", Pin.OUT)
    while True:
        led.toggle()
        await asyncio.sleep_ms(500)


async def main():
    # rxbuf must hold what arrives while another task has the processor.
    uart = UART(1, BAUD, tx=Pin(4), rx=Pin(5), rxbuf=256)
    sensor = SerialSensor(uart)
    try:
        await asyncio.gather(sensor.receive(), sensor.request(), show(sensor), heartbeat())
    finally:
        uart.deinit()


try:
    asyncio.run(main())
except KeyboardInterrupt:
    print("bye")
