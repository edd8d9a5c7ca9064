"""Pack and unpack CAN messages from a table of signals, and write them as SLCAN text.

Runs on any board without hardware: it prints a few frames and checks that they survive
the round trip. SLCAN is the text form that serial CAN adapters understand.
"""
import struct
from collections import namedtuple

Frame = namedtuple("Frame", ("id", "extended", "data"))
Signal = namedtuple("Signal", ("name", "scale", "offset", "unit"))


class Message:
    """The layout of one message.

    The format is a struct format of at most eight bytes, with one code per signal;
    value = raw * scale + offset.
    """

    def __init__(self, can_id, name, fmt, *signals, extended=False):
        limit = 0x1FFFFFFF if extended else 0x7FF
        if not 0 <= can_id <= limit:
            raise ValueError("identifier too large: 0x%X" % can_id)
        if struct.calcsize(fmt) > 8:
            raise ValueError(name + " does not fit into eight bytes")
        self.id = can_id
        self.name = name
        self.fmt = fmt
        self.signals = signals
        self.extended = extended

    def pack(self, **values):
        raw = []
        for signal in self.signals:
            if signal.name not in values:
                raise KeyError("%s: value for %s missing" % (self.name, signal.name))
            raw.append(round((values[signal.name] - signal.offset) / signal.scale))
        data = struct.pack(self.fmt, *raw)
        # MicroPython's struct cuts numbers that are too large, so look at the result.
        if struct.unpack(self.fmt, data) != tuple(raw):
            raise ValueError(self.name + ": a value is out of range")
        return Frame(self.id, self.extended, data)

    def unpack(self, frame):
        if len(frame.data) != struct.calcsize(self.fmt):
            raise ValueError("%s: wrong length %d" % (self.name, len(frame.data)))
        values = {}
        for signal, raw in zip(self.signals, struct.unpack(self.fmt, frame.data)):
            values[signal.name] = raw * signal.scale + signal.offset
        return values


MESSAGES = (
    Message(
        0x120,
        "motor",
        "<HhBB",
        Signal("speed", 0.25, 0, "rpm"),
        Signal("torque", 0.1, 0, "Nm"),
        Signal("load", 0.5, 0, "%"),
        Signal("temperature", 1, -40, "C"),
    ),
    Message(
        0x1F0,
        "battery",
        "<HhBB",
        Signal("voltage", 0.01, 0, "V"),
        Signal("current", 0.02, 0, "A"),
        Signal("charge", 0.5, 0, "%"),
        Signal("cells", 1, 0, ""),
    ),
    Message(
        0x18FF1234,
        "position",
        "<ii",
        Signal("latitude", 0.0001, 0, "deg"),
        Signal("longitude", 0.0001, 0, "deg"),
        extended=True,
    ),
)
BY_ID = {(message.extended, message.id): message for message in MESSAGES}
BY_NAME = {message.name: message for message in MESSAGES}


def to_slcan(frame):
    """Return e.g. 't1203010203\\r': kind, identifier, length, data."""
    head = "T%08X" % frame.id if frame.extended else "t%03X" % frame.id
    return head + "%d" % len(frame.data) + "".join("%02X" % b for b in frame.data) + "\r"


def from_slcan(line):
    line = line.strip()
    if line[:1] not in ("t", "T"):
        raise ValueError("not a data frame: " + line)
    extended = line[0] == "T"
    digits = 8 if extended else 3
    length = int(line[1 + digits])
    text = line[2 + digits:]
    if length > 8 or len(text) != 2 * length:
        raise ValueError("length and data disagree: " + line)
    data = bytes(int(text[i:i + 2], 16) for i in range(0, len(text), 2))
    return Frame(int(line[1:1 + digits], 16), extended, data)


def describe(frame):
    message = BY_ID.get((frame.extended, frame.id))
    if message is None:
        return "unknown identifier 0x%X" % frame.id
    values = message.unpack(frame)
    parts = ["%s=%g %s" % (s.name, values[s.name], s.unit) for s in message.signals]
    return message.name + ": " + ", ".join(parts)


def main():
    frames = (
        BY_NAME["motor"].pack(speed=2450.5, torque=-12.3, load=64, temperature=71),
        BY_NAME["battery"].pack(voltage=48.17, current=-5.5, charge=82.5, cells=13),
        BY_NAME["position"].pack(latitude=48.1374, longitude=11.5755),
    )
    for frame in frames:
        line = to_slcan(frame)
        same = from_slcan(line) == frame
        print(line.strip(), "ok" if same else "DAMAGED", "-", describe(frame))
    try:
        BY_NAME["motor"].pack(speed=20_000, torque=0, load=0, temperature=20)
    except ValueError as error:
        print("refused:", error)


main()
