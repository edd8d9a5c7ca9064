"""Read a GPS receiver: check and parse NMEA sentences, show position, time and distance.

Wiring (Raspberry Pi Pico): receiver TX to GP5, receiver RX to GP4, VCC to 3V3.
"""
import math
import time
from machine import UART, Pin

BAUD = 9600
REPORT_MS = 2000
STALE_MS = 5000


def checked_fields(line):
    """Return the fields of a sentence such as b'$GPGGA,...*47', or None if it is damaged."""
    line = line.strip()
    star = line.rfind(b"*")
    if not line.startswith(b"$") or star < 0:
        return None
    checksum = 0
    for byte in line[1:star]:
        checksum ^= byte
    try:
        if int(line[star + 1:], 16) != checksum:
            return None
        return line[1:star].decode().split(",")
    except (ValueError, UnicodeError):
        return None


def micro_degrees(text, hemisphere):
    """Convert '4807.03812', degrees and minutes, to millionths of a degree.

    Integers on purpose: the 32-bit floats of small boards blur longitudes by a metre.
    """
    whole, _, fraction = text.partition(".")
    minutes_e5 = int(whole[-2:]) * 100_000 + int((fraction + "00000")[:5])
    value = int(whole[:-2]) * 1_000_000 + (minutes_e5 + 3) // 6
    return -value if hemisphere in "SW" else value


def metres_between(a, b):
    """Flat-earth distance, good for the few kilometres of a walk."""
    metres_per_micro = 0.111195
    north = (b[0] - a[0]) * metres_per_micro
    east = (b[1] - a[1]) * metres_per_micro * math.cos(math.radians(a[0] / 1_000_000))
    return math.sqrt(north * north + east * east)


class GPS:
    def __init__(self):
        self.position = None  # (latitude, longitude) in millionths of a degree
        self.altitude = None
        self.satellites = 0
        self.speed_kmh = 0.0
        self.utc = (0, 0, 0)
        self.rejected = 0
        self.fix_ticks = None

    def feed(self, line):
        fields = checked_fields(line)
        if fields is None:
            self.rejected += 1
            return
        # The first two letters name the satellite system: GP, GL, GA, GN ...
        kind = fields[0][2:]
        try:
            if kind == "GGA":
                self._gga(fields)
            elif kind == "RMC":
                self._rmc(fields)
        except (ValueError, IndexError):
            self.rejected += 1

    def _set_time(self, text):
        if len(text) >= 6:
            self.utc = (int(text[0:2]), int(text[2:4]), int(text[4:6]))

    def _gga(self, f):
        self._set_time(f[1])
        self.satellites = int(f[7] or 0)
        if f[6] not in ("", "0"):
            self.position = (micro_degrees(f[2], f[3]), micro_degrees(f[4], f[5]))
            self.altitude = float(f[9]) if f[9] else None
            self.fix_ticks = time.ticks_ms()

    def _rmc(self, f):
        self._set_time(f[1])
        if f[2] == "A":
            self.speed_kmh = float(f[7] or 0) * 1.852  # from knots

    def has_fix(self):
        if self.fix_ticks is None:
            return False
        return time.ticks_diff(time.ticks_ms(), self.fix_ticks) < STALE_MS


def degrees_text(micro, letters):
    letter = letters[1] if micro < 0 else letters[0]
    return "%d.%06d %s" % (abs(micro) // 1_000_000, abs(micro) % 1_000_000, letter)


def main():
    uart = UART(1, baudrate=BAUD, tx=Pin(4), rx=Pin(5), rxbuf=512, timeout=300)
    gps = GPS()
    start = None
    next_report = time.ticks_ms()
    while True:
        line = uart.readline()
        if line:
            gps.feed(line)
        if time.ticks_diff(time.ticks_ms(), next_report) < 0:
            continue
        next_report = time.ticks_add(time.ticks_ms(), REPORT_MS)
        if not gps.has_fix():
            print("waiting for a fix, %d satellites" % gps.satellites)
            continue
        start = start or gps.position
        print(
            "%02d:%02d:%02d UTC" % gps.utc,
            degrees_text(gps.position[0], "NS"),
            degrees_text(gps.position[1], "EW"),
            "%.1f km/h" % gps.speed_kmh,
            "%.0f m from the start" % metres_between(start, gps.position),
        )


if __name__ == "__main__":
    main()
