# Stream binary sensor records to a PC with COBS framing: no byte of a frame is zero, so a zero
# always means "frame ends here" and the PC can join in at any moment.
#
# Board: any with a USB console (sys.stdout.buffer); the record holds a time stamp, three ADC
# readings and a CRC-16. On the PC split at zeros, decode, unpack "<IHHHH".
import select
import struct
import sys
import time

from machine import ADC, Pin


def cobs_encode(data):
    """Replace zeros by distances to the next one; adds one byte per 254 at most, and one more."""
    out = bytearray(1)
    code_at = 0
    code = 1
    for byte in data:
        if byte:
            out.append(byte)
            code += 1
        if not byte or code == 255:
            out[code_at] = code
            code_at = len(out)
            out.append(0)
            code = 1
    out[code_at] = code
    return out


def cobs_decode(frame):
    """Undo cobs_encode (without the final zero); raises ValueError on an impossible frame."""
    out = bytearray()
    at = 0
    while at < len(frame):
        code = frame[at]
        if code == 0 or at + code > len(frame):
            raise ValueError("not a COBS frame")
        out += frame[at + 1:at + code]
        at += code
        if code < 255 and at < len(frame):
            out.append(0)
    return out


def crc16(data):
    """CRC-16/CCITT-FALSE: polynomial 0x1021, start value 0xFFFF."""
    crc = 0xFFFF
    for byte in data:
        crc ^= byte << 8
        for _ in range(8):
            crc = (crc << 1) ^ 0x1021 if crc & 0x8000 else crc << 1
        crc &= 0xFFFF
    return crc


def record(stamp, values):
    body = struct.pack("<IHHH", stamp & 0xFFFFFFFF, *values)
    return body + struct.pack("<H", crc16(body))


def run_tests():
    assert crc16(b"123456789") == 0x29B1
    assert cobs_encode(b"") == b"\x01"
    assert cobs_encode(b"\x00") == b"\x01\x01"
    assert cobs_encode(b"\x11\x22\x00\x33") == b"\x03\x11\x22\x02\x33"
    for length in (1, 253, 254, 255, 256, 600):
        for fill in (b"\x00", b"\x07"):
            data = fill * length
            frame = cobs_encode(data)
            assert 0 not in frame and len(frame) <= length + 1 + length // 254
            assert cobs_decode(frame) == data
    print("COBS tests passed")


def stream(inputs, rate_hz):
    """Send records until a key is pressed on the console."""
    poller = select.poll()
    poller.register(sys.stdin, select.POLLIN)
    out = sys.stdout.buffer
    period = 1_000_000 // rate_hz
    due = time.ticks_us()
    while not poller.poll(0):
        frame = cobs_encode(record(time.ticks_ms(), [adc.read_u16() for adc in inputs]))
        frame.append(0)
        out.write(frame)
        due = time.ticks_add(due, period)
        time.sleep_us(max(0, time.ticks_diff(due, time.ticks_us())))
    sys.stdin.read(1)


run_tests()
print("press Enter to stop the stream")
stream([ADC(Pin(number)) for number in (26, 27, 28)], rate_hz=50)
print("\nstopped")
