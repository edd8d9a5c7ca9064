"""A clock for the ESP32: UTC from an NTP server once an hour, shown as Central European time.

The hardware clock stays on UTC; the offset and summer time are added only for display.
No wiring. Put the Wi-Fi name and key on the first two lines of /wifi.txt.
"""

import time

import network
import ntptime

NTP_HOST = "pool.ntp.org"
RESYNC_MS = 60 * 60 * 1000
RETRY_MS = 30 * 1000
STANDARD_OFFSET_S = 3600
SUMMER_EXTRA_S = 3600
DAY_NAMES = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")


def last_sunday_1am_utc(year, month):
    """Timestamp of 01:00 UTC on the last Sunday of a month with 31 days."""
    last_day = time.mktime((year, month, 31, 1, 0, 0, 0, 0))
    weekday = time.gmtime(last_day)[6]  # Monday is 0
    return last_day - ((weekday + 1) % 7) * 86400


def utc_offset(utc):
    """Seconds to add to UTC; the European rule runs from late March to late October."""
    year = time.gmtime(utc)[0]
    begin = last_sunday_1am_utc(year, 3)
    end = last_sunday_1am_utc(year, 10)
    if begin <= utc < end:
        return STANDARD_OFFSET_S + SUMMER_EXTRA_S
    return STANDARD_OFFSET_S


def format_local(utc):
    offset = utc_offset(utc)
    year, month, day, hour, minute, second, weekday = time.gmtime(utc + offset)[:7]
    return "{} {:04d}-{:02d}-{:02d} {:02d}:{:02d}:{:02d} UTC+{}".format(
        DAY_NAMES[weekday], year, month, day, hour, minute, second, offset // 3600)


class ClockSync:
    """Sets the RTC from the network now and then, without ever blocking for long."""

    def __init__(self, host):
        ntptime.host = host
        ntptime.timeout = 2
        self.next_try = time.ticks_ms()
        self.synced = False

    def poll(self):
        if time.ticks_diff(self.next_try, time.ticks_ms()) > 0:
            return
        before = time.time()
        try:
            ntptime.settime()
        except OSError as err:
            print("NTP failed:", err)
            self.next_try = time.ticks_add(time.ticks_ms(), RETRY_MS)
            return
        if self.synced:
            print("clock corrected by {} s".format(time.time() - before))
        self.synced = True
        self.next_try = time.ticks_add(time.ticks_ms(), RESYNC_MS)


def connect(path="/wifi.txt", timeout_s=20):
    with open(path) as f:
        ssid = f.readline().strip()
        key = f.readline().strip()
    wlan = network.WLAN(network.WLAN.IF_STA)
    wlan.active(True)
    wlan.connect(ssid, key)
    for _ in range(timeout_s * 10):
        if wlan.isconnected():
            return wlan
        time.sleep_ms(100)
    wlan.active(False)
    raise RuntimeError("cannot join " + ssid)


def main():
    wlan = connect()
    sync = ClockSync(NTP_HOST)
    shown = None
    try:
        while True:
            sync.poll()
            now = time.time()
            if sync.synced and now != shown:
                shown = now
                print(format_local(now))
            time.sleep_ms(50)
    except KeyboardInterrupt:
        wlan.active(False)


main()
