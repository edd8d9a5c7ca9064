"""Level 1, pure Python: bits, bytes and counters."""

from __future__ import annotations

from stages.evaluation.checks import returns
from stages.evaluation.task import Task

TASKS = (
    Task(
        id="python/fletcher-sum",
        level=1,
        prompt=(
            "Write a function fletcher16(data) for a bytes object. Two sums begin at 0: for each byte in turn, add the "
            "byte to the first sum, then the first sum to the second, both modulo 255. Return the second sum times 256 "
            "plus the first as an int."
        ),
        prefix="def fletcher16(data):\n",
        calls=(
            'fletcher16(b"abcde")',
            'fletcher16(b"abcdefgh")',
            'fletcher16(b"")',
            r'fletcher16(b"\xff\x00\xff")',
            r'fletcher16(b"\x01\x02")',
            r'fletcher16(b"\xc8\xc8")',
        ),
        check=lambda outcome: returns(outcome, 0xC8F0, 0x0627, 0, 0, 0x0403, 0x5A91),
        reference="""\
def fletcher16(data):
    first = second = 0
    for byte in data:
        first = (first + byte) % 255
        second = (second + first) % 255
    return second << 8 | first
""",
        wrong="""\
def fletcher16(data):
    first = second = 0
    for byte in data:
        first = (first + byte) & 0xFF
        second = (second + first) & 0xFF
    return (second << 8) | first
""",
        mistake="& 0xFF is modulo 256, not 255",
    ),
    Task(
        id="python/clock-hour",
        level=1,
        prompt=(
            "The hour register of a clock chip has two forms. With bit 6 clear, bits 5 to 0 are the hour from 0 to 23 "
            "in BCD. With bit 6 set, bits 4 to 0 are the hour from 1 to 12 in BCD and bit 5 is set in the second half "
            "of the day (PM). Write a function hour24(register) that returns the hour from 0 to 23 for both forms. "
            "After midnight it is 12 AM, after noon 12 PM."
        ),
        calls=tuple(f"hour24({register:#04x})" for register in (0x23, 0x09, 0x00, 0x49, 0x51, 0x52, 0x72, 0x61, 0x71)),
        check=lambda outcome: returns(outcome, 23, 9, 0, 9, 11, 0, 12, 13, 23),
        reference="""\
def bcd(value):
    return (value >> 4) * 10 + (value & 0x0F)


def hour24(register):
    if not register & 0x40:
        return bcd(register & 0x3F)
    hour = bcd(register & 0x1F) % 12
    return hour + 12 if register & 0x20 else hour
""",
        wrong="""\
def hour24(register):
    if register & 0x40:
        hour = (register >> 4 & 1) * 10 + (register & 0x0F)
        if register & 0x20:
            hour += 12
        return hour
    return (register >> 4 & 3) * 10 + (register & 0x0F)
""",
        mistake="12 AM gives 12 and 12 PM gives 24",
    ),
    Task(
        id="python/pack-record",
        level=1,
        prompt=(
            "Write a function pack_record(number, celsius, seconds) that returns the 7 bytes of a log record, little "
            "endian and without gaps: the number of the sensor as one unsigned byte, the temperature as a signed "
            "16-bit number of hundredths of a degree, rounded to the nearest one, and the seconds as an unsigned "
            "32-bit number."
        ),
        calls=(
            "bytes(pack_record(3, 21.5, 86400))",
            "bytes(pack_record(200, -0.29, 4000000000))",
            "bytes(pack_record(0, -40.0, 0))",
        ),
        check=lambda outcome: returns(
            outcome,
            b"\x03\x66\x08\x80\x51\x01\x00",
            b"\xc8\xe3\xff\x00\x28\x6b\xee",
            b"\x00\x60\xf0\x00\x00\x00\x00",
        ),
        reference="""\
import struct


def pack_record(number, celsius, seconds):
    return struct.pack("<BhI", number, round(celsius * 100), seconds)
""",
        wrong="""\
import struct


def pack_record(number, celsius, seconds):
    return struct.pack("BhI", number, round(celsius * 100), seconds)
""",
        mistake="without < the fields are aligned and gaps come between them",
    ),
    Task(
        id="python/packed-samples",
        level=1,
        prompt=(
            "A converter packs two samples of 12 bits into three bytes, the bits of the first sample before those of "
            "the second and the highest bit first. Samples are in two's complement. Write a function "
            "unpack_samples(data) that returns the list of samples, from -2048 to 2047, of a bytes object whose length "
            "is a multiple of three."
        ),
        calls=(
            r'unpack_samples(b"\x00\x1f\xff")',
            r'unpack_samples(b"\x7f\xf8\x00\x12\x34\x56")',
            r'unpack_samples(b"")',
        ),
        check=lambda outcome: returns(outcome, [1, -1], [2047, -2048, 0x123, 0x456], []),
        reference="""\
def signed(value):
    return value - 4096 if value & 0x800 else value


def unpack_samples(data):
    samples = []
    for i in range(0, len(data), 3):
        bits = data[i] << 16 | data[i + 1] << 8 | data[i + 2]
        samples.append(signed(bits >> 12))
        samples.append(signed(bits & 0xFFF))
    return samples
""",
        wrong="""\
def unpack_samples(data):
    samples = []
    for i in range(0, len(data), 3):
        samples.append((data[i] << 4) | (data[i + 1] >> 4))
        samples.append(((data[i + 1] & 0x0F) << 8) | data[i + 2])
    return samples
""",
        mistake="the sign of the samples is lost",
    ),
    Task(
        id="python/replace-bits",
        level=1,
        prompt=(
            "Write a function replace_bits(register, low, width, value) that returns the number register with the "
            "width bits from bit low upwards replaced by value, and all other bits as they were. Raise ValueError when "
            "value is negative or does not fit into width bits."
        ),
        calls=(
            "replace_bits(0b11111111, 2, 3, 0b010)",
            "replace_bits(0, 4, 4, 15)",
            "replace_bits(0xA5A5, 8, 4, 0)",
            "replace_bits(0x10, 0, 1, 1)",
            "replace_bits(0, 0, 3, 8)",
            "replace_bits(0, 0, 3, -1)",
        ),
        check=lambda outcome: returns(outcome, 0b11101011, 0xF0, 0xA0A5, 0x11, ValueError, ValueError),
        reference="""\
def replace_bits(register, low, width, value):
    if not 0 <= value < 1 << width:
        raise ValueError("value does not fit")
    mask = (1 << width) - 1 << low
    return register & ~mask | value << low
""",
        wrong="""\
def replace_bits(register, low, width, value):
    if value < 0 or value >= 2**width:
        raise ValueError("value does not fit")
    return register | (value << low)
""",
        mistake="the old bits are not cleared",
    ),
    Task(
        id="python/length-bytes",
        level=1,
        prompt=(
            "Write a function encode_length(n) that returns the length n as bytes in the way of MQTT: seven bits to a "
            "byte, the lowest seven bits first, and the highest bit of a byte is set when another byte follows; as few "
            "bytes as possible, at least one. Raise ValueError when n is below 0 or above 268435455."
        ),
        calls=tuple(f"bytes(encode_length({n}))" for n in (0, 127, 128, 321, 16383, 16384, 268435455, 268435456, -1)),
        check=lambda outcome: returns(
            outcome,
            b"\x00",
            b"\x7f",
            b"\x80\x01",
            b"\xc1\x02",
            b"\xff\x7f",
            b"\x80\x80\x01",
            b"\xff\xff\xff\x7f",
            ValueError,
            ValueError,
        ),
        reference="""\
def encode_length(n):
    if not 0 <= n <= 268435455:
        raise ValueError("length")
    encoded = bytearray()
    while n > 127:
        encoded.append(n & 127 | 128)
        n >>= 7
    encoded.append(n)
    return bytes(encoded)
""",
        wrong="""\
def encode_length(n):
    if n < 0 or n > 268435455:
        raise ValueError("length out of range")
    out = []
    while n > 128:
        out.append(n % 128 + 128)
        n //= 128
    out.append(n)
    return bytes(out)
""",
        mistake="128 is put into one byte, which says that another follows",
    ),
    Task(
        id="python/deadline-wraps",
        level=1,
        prompt=(
            "A hardware counter counts upwards from 0 to 65535 and then begins at 0 again. Write a function "
            "is_due(deadline, now) for two of its values that are less than half a round apart: it returns True when "
            "now is at or after the deadline and False when it is before, also where the counter began anew in "
            "between."
        ),
        calls=(
            "is_due(100, 100)",
            "is_due(100, 99)",
            "is_due(100, 5000)",
            "is_due(65000, 200)",
            "is_due(200, 65000)",
            "is_due(0, 65535)",
            "is_due(65535, 0)",
            "is_due(20000, 50000)",
        ),
        check=lambda outcome: returns(outcome, True, False, True, True, False, False, True, True),
        reference="""\
def is_due(deadline, now):
    late = (now - deadline) % 65536  # by less than half a round, or not at all
    return late < 32768
""",
        wrong="""\
def is_due(deadline, now):
    return now >= deadline
""",
        mistake="wrong as soon as the counter begins anew",
    ),
)
