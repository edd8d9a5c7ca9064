"""A WebSocket echo server in one file: handshake with SHA-1 and Base64, then text frames.

For an ESP32 or Pico W that is already on the network (boot.py joins it); no wiring.
Test in a browser console: w = new WebSocket("ws://ADDRESS:8765"); w.onmessage = console.log
"""

import asyncio
import binascii
import hashlib
import struct

PORT = 8765
MAX_PAYLOAD = 1024
# Fixed by RFC 6455: proves that the server knows the protocol.
HANDSHAKE_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"

TEXT = 0x1
CLOSE = 0x8
PING = 0x9
PONG = 0xA


def accept_key(client_key):
    """The value for Sec-WebSocket-Accept, e.g. for b"dGhlIHNhbXBsZSBub25jZQ=="."""
    digest = hashlib.sha1(client_key + HANDSHAKE_GUID).digest()
    return binascii.b2a_base64(digest).strip()


def unmask(payload, mask):
    """Undo the client's masking in place."""
    for i in range(len(payload)):
        payload[i] ^= mask[i & 3]


def build_frame(opcode, payload):
    """A final, unmasked frame, as servers send them."""
    head = bytearray([0x80 | opcode])
    if len(payload) < 126:
        head.append(len(payload))
    else:
        head.append(126)
        head.extend(struct.pack(">H", len(payload)))
    return bytes(head) + payload


class WebSocket:
    def __init__(self, reader, writer):
        self.reader = reader
        self.writer = writer

    async def handshake(self):
        """Answer the HTTP upgrade request; False when it is not one."""
        key = None
        await self.reader.readline()
        while True:
            line = (await self.reader.readline()).strip()
            if not line:
                break
            parts = line.split(b":", 1)
            if len(parts) == 2 and parts[0].lower() == b"sec-websocket-key":
                key = parts[1].strip()
        if key is None:
            self.writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            await self.writer.drain()
            return False
        self.writer.write(
            b"HTTP/1.1 101 Switching Protocols\r\n"
            b"Upgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: " + accept_key(key) + b"\r\n\r\n"
        )
        await self.writer.drain()
        return True

    async def read_frame(self):
        """Return (opcode, payload) of the next frame."""
        first, second = await self.reader.readexactly(2)
        length = second & 0x7F
        if length == 126:
            length = struct.unpack(">H", await self.reader.readexactly(2))[0]
        if not first & 0x80 or not second & 0x80 or length > MAX_PAYLOAD:
            raise ValueError("fragmented, unmasked or oversized frame")
        mask = await self.reader.readexactly(4)
        payload = bytearray(await self.reader.readexactly(length))
        unmask(payload, mask)
        return first & 0x0F, bytes(payload)

    async def send(self, payload, opcode=TEXT):
        self.writer.write(build_frame(opcode, payload))
        await self.writer.drain()

    async def messages(self, on_text):
        """Call on_text for each text until the peer says goodbye."""
        while True:
            opcode, payload = await self.read_frame()
            if opcode == TEXT:
                await self.send(on_text(payload.decode()).encode())
            elif opcode == PING:
                await self.send(payload, PONG)
            elif opcode == CLOSE:
                await self.send(payload, CLOSE)
                return


async def serve_client(reader, writer):
    peer = reader.get_extra_info("peername")
    ws = WebSocket(reader, writer)
    try:
        if await ws.handshake():
            print("open", peer)
            await ws.messages(lambda text: "echo: " + text)
    except (OSError, EOFError, ValueError) as err:
        print("connection ended:", repr(err))
    finally:
        writer.close()
        await writer.wait_closed()


async def main():
    # The example key and answer of the RFC: a cheap self-test at start.
    assert accept_key(b"dGhlIHNhbXBsZSBub25jZQ==") == b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
    await asyncio.start_server(serve_client, "0.0.0.0", PORT)
    print("WebSocket echo on port", PORT)
    while True:
        await asyncio.sleep(60)


asyncio.run(main())
