"""Exchange text messages over a serial line that may lose or flip bits.

Every frame is one line, `kind sequence payload crc`; the receiver acknowledges it and the
sender repeats what was not acknowledged. Run the same program on two boards.
Wiring (ESP32, both boards): TX GPIO17 to the other's RX GPIO16, and common ground.
"""
import asyncio
from machine import UART, Pin

BAUD = 115200
ACK_TIMEOUT_MS = 200
MAX_TRIES = 5
MAX_LINE = 200

DATA = b"D"
ACK = b"A"


def crc16(data, crc=0xFFFF):
    """CRC-16/CCITT-FALSE: polynomial 0x1021, start 0xFFFF."""
    for byte in data:
        crc ^= byte << 8
        for _ in range(8):
            crc = (crc << 1 ^ 0x1021 if crc & 0x8000 else crc << 1) & 0xFFFF
    return crc


def encode(kind, sequence, payload=b""):
    if b"\n" in payload:
        raise ValueError("a payload must not contain line ends")
    body = b"%s %02X %s " % (kind, sequence, payload)
    return body + b"%04X\n" % crc16(body)


def decode(line):
    """Return (kind, sequence, payload), or None for a damaged line."""
    line = line.rstrip(b"\r\n")
    if not 10 <= len(line) <= MAX_LINE:
        return None
    body, received = line[:-4], line[-4:]
    try:
        if int(received, 16) != crc16(body):
            return None
        return body[:1], int(body[2:4], 16), body[5:-1]
    except ValueError:
        return None


class Link:
    """Reliable messages over a UART, one at a time in each direction."""

    def __init__(self, uart, on_message):
        self.reader = asyncio.StreamReader(uart)
        self.writer = asyncio.StreamWriter(uart, {})
        self.on_message = on_message
        self.sequence = 0
        self.last_seen = None
        self.acked = asyncio.Event()
        self.sending = asyncio.Lock()
        self.writing = asyncio.Lock()
        self.damaged = 0
        self.repeats = 0

    async def _write(self, frame):
        async with self.writing:  # an acknowledgement must not split a message
            self.writer.write(frame)
            await self.writer.drain()

    async def receive_forever(self):
        while True:
            frame = decode(await self.reader.readline())
            if frame is None:
                self.damaged += 1
                continue
            kind, sequence, payload = frame
            if kind == ACK:
                if sequence == self.sequence:
                    self.acked.set()
            elif kind == DATA:
                await self._write(encode(ACK, sequence))
                # A repeat means that our acknowledgement got lost: confirm, do not deliver.
                if sequence != self.last_seen:
                    self.last_seen = sequence
                    self.on_message(payload)

    async def send(self, payload):
        """Deliver a message; raise OSError when the other side stays silent."""
        async with self.sending:
            # Zero is only for the first message after a reset, so a restart is hardly
            # ever mistaken for a repeat.
            frame = encode(DATA, self.sequence, payload)
            try:
                for attempt in range(MAX_TRIES):
                    self.acked.clear()
                    self.repeats += attempt > 0
                    await self._write(frame)
                    try:
                        await asyncio.wait_for_ms(self.acked.wait(), ACK_TIMEOUT_MS)
                        return
                    except asyncio.TimeoutError:
                        pass
                raise OSError("no acknowledgement")
            finally:
                self.sequence = self.sequence % 255 + 1


async def main():
    uart = UART(2, baudrate=BAUD, tx=Pin(17), rx=Pin(16), rxbuf=1024)
    link = Link(uart, lambda payload: print("received:", payload.decode()))
    receiver = asyncio.create_task(link.receive_forever())
    count = 0
    try:
        while True:
            count += 1
            try:
                await link.send(b"message %d" % count)
            except OSError as error:
                print("message", count, "failed:", error)
            if count % 10 == 0:
                print("damaged lines:", link.damaged, "repeats:", link.repeats)
            await asyncio.sleep(1)
    finally:
        receiver.cancel()
        uart.deinit()


try:
    asyncio.run(main())
except KeyboardInterrupt:
    print("link closed")
