"""Switch relays by a cron table: "minute hour day month weekday  action", read from crontab.txt.

Wiring (ESP32): relays lamp GPIO26 and pump GPIO27, active low. The clock must be set already.
Without a file a small table is used: lamp on workdays from 6:30 to 7:45, pump every third hour.
"""
import time
from machine import Pin

DEFAULT = """
30 6 * * 1-5    lamp on
45 7 * * 1-5    lamp off
0 */3 * * *     pump on
5 */3 * * *     pump off
0 22 1,15 * *   report
"""

RANGES = ((0, 59), (0, 23), (1, 31), (1, 12), (0, 6))  # Sunday is 0, as in the original


class CronError(ValueError):
    pass


def parse_field(text, low, high):
    """A set of numbers out of something like "1,10-20/5,*/7"."""
    numbers = set()
    for part in text.split(","):
        part, _, step = part.partition("/")
        if part == "*":
            first, last = low, high
        else:
            start, dash, end = part.partition("-")
            first = int(start)
            last = int(end) if dash else (high if step else first)
        step = int(step) if step else 1
        if step < 1 or not low <= first <= last <= high:
            raise CronError("%r is not within %d to %d" % (text, low, high))
        numbers.update(range(first, last + 1, step))
    return numbers


class Entry:
    def __init__(self, line):
        parts = line.split(None, 5)
        if len(parts) != 6:
            raise CronError("six columns expected: " + line)
        self.sets = [parse_field(t, *r) for t, r in zip(parts, RANGES)]
        # If both are given, either of the two days is enough: an old rule of cron.
        self.either_day = parts[2] != "*" and parts[4] != "*"
        self.action = parts[5].strip()

    def matches(self, when):
        month, day, hour, minute, weekday = when[1], when[2], when[3], when[4], (when[6] + 1) % 7
        minutes, hours, days, months, weekdays = self.sets
        if minute not in minutes or hour not in hours or month not in months:
            return False
        if self.either_day:
            return day in days or weekday in weekdays
        return day in days and weekday in weekdays

    def next_after(self, now):
        """Seconds since the epoch of the next run, looking at most a year ahead."""
        moment = now - now % 60 + 60
        limit = now + 366 * 86400
        while moment < limit:
            when = time.localtime(moment)
            if self.matches(when):
                return moment
            # Whole hours can be skipped where the hour does not fit.
            moment += 60 if when[3] in self.sets[1] else 3600 - when[4] * 60
        return None


def read_table():
    try:
        with open("crontab.txt") as file:
            text = file.read()
    except OSError:
        text = DEFAULT
    entries = []
    for number, line in enumerate(text.split("\n"), 1):
        line = line.partition("#")[0].strip()
        if line:
            try:
                entries.append(Entry(line))
            except ValueError as error:
                print("line %d left out: %s" % (number, error))
    return entries


class House:
    def __init__(self):
        self.relays = {"lamp": Pin(26, Pin.OUT, value=1), "pump": Pin(27, Pin.OUT, value=1)}
        self.switched = 0

    def do(self, action):
        words = action.split()
        if len(words) == 2 and words[0] in self.relays and words[1] in ("on", "off"):
            self.relays[words[0]].value(words[1] == "off")
            self.switched += 1
        elif action == "report":
            print("relays were switched %d times" % self.switched)
        else:
            print("unknown action:", action)


def main():
    assert parse_field("*/15", 0, 59) == {0, 15, 30, 45} and parse_field("1-5,0", 0, 6) == {0, 1, 2, 3, 4, 5}
    entries = read_table()
    house = House()
    for entry in entries:
        upcoming = entry.next_after(time.time())
        if upcoming is not None:
            print("%04d-%02d-%02d %02d:%02d" % time.localtime(upcoming)[:5], entry.action)
    done = None
    while True:
        minute = time.time() // 60
        if minute != done:
            done = minute
            now = time.localtime()
            for entry in entries:
                if entry.matches(now):
                    print("%02d:%02d" % now[3:5], entry.action)
                    house.do(entry.action)
        time.sleep(1)


main()
