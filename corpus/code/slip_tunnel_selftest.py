"""SLIP framing (RFC 1055) between two boards, with sequence numbers to see what got lost.

Pico: GP0 (TX) to the other's GP1 (RX) and back, grounds together. With GP0 bridged to GP1
one board talks to itself and the loss should be nil.
"""
import os
import struct
import time
from machine import UART, Pin

END, ESC, ESC_END, ESC_ESC = 0xC0, 0xDB, 0xDC, 0xDD


def encode(payload):
    """Wrap a packet. The END in front flushes line noise out of the receiver."""
    out = bytearray([END])
    for byte in payload:
        if byte == END:
            out += bytes((ESC, ESC_END))
        elif byte == ESC:
            out += bytes((ESC, ESC_ESC))
        else:
            out.append(byte)
    out.append(END)
    return out


class Decoder:
    """Feed it bytes as they come; it hands out whole packets. Memory is bounded."""

    def __init__(self, longest=256):
        self.longest = longest
        self.packet = bytearray()
        self.escaped = False
        self.broken = False

    def feed(self, data):
        for byte in data:
            if byte == END:
                packet, broken = self.packet, self.broken or self.escaped
                self.packet = bytearray()
                self.escaped = self.broken = False
                if packet and not broken:
                    yield bytes(packet)
            elif self.escaped:
                self.escaped = False
                if byte in (ESC_END, ESC_ESC):
                    self._store(END if byte == ESC_END else ESC)
                else:
                    self.broken = True
            elif byte == ESC:
                self.escaped = True
            else:
                self._store(byte)

    def _store(self, byte):
        if len(self.packet) < self.longest:
            self.packet.append(byte)
        else:
            self.broken = True


class Statistics:
    def __init__(self):
        self.expected = None
        self.received = 0
        self.lost = 0
        self.damaged = 0

    def packet(self, data):
        if len(data) < 3 or sum(data[:-1]) & 0xFF != data[-1]:
            self.damaged += 1
            return
        number = struct.unpack_from(">H", data)[0]
        if self.expected is not None:
            self.lost += (number - self.expected) & 0xFFFF
        self.expected = (number + 1) & 0xFFFF
        self.received += 1


def make_packet(number):
    # Random bytes hit the special values often enough to test the escapes.
    body = struct.pack(">H", number & 0xFFFF) + os.urandom(1 + number % 40)
    return body + bytes([sum(body) & 0xFF])


def check_offline():
    for sample in (b"", b"\xc0", b"\xdb", b"\xdb\xdc", b"\xc0\xdb\xdd\xc0", bytes(range(256))):
        found = list(Decoder().feed(encode(sample)))
        assert found == ([sample] if sample else []), sample
    # A packet cut in two by a reset must not hurt the one after it.
    stream = encode(b"first")[:3] + encode(b"second")
    assert list(Decoder().feed(stream))[-1] == b"second"


def main():
    check_offline()
    uart = UART(0, baudrate=115200, tx=Pin(0), rx=Pin(1), rxbuf=1024)
    decoder, statistics = Decoder(), Statistics()
    number = 0
    report = time.ticks_add(time.ticks_ms(), 2000)
    while True:
        uart.write(encode(make_packet(number)))
        number += 1
        time.sleep_ms(10)
        waiting = uart.any()
        if waiting:
            for packet in decoder.feed(uart.read(waiting)):
                statistics.packet(packet)
        if time.ticks_diff(time.ticks_ms(), report) >= 0:
            report = time.ticks_add(report, 2000)
            print("sent %d, received %d, lost %d, damaged %d" % (
                number, statistics.received, statistics.lost, statistics.damaged))


main()
