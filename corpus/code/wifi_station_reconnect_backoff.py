"""Keep a Raspberry Pi Pico W on the Wi-Fi network, retrying with a growing pause.

The network name and key are read from /wifi.json: {"ssid": "...", "key": "..."}.
The on-board LED is lit while the board has an IP address; no other wiring.
"""

import json
import random
import time

import network
from machine import Pin

CONFIG_FILE = "/wifi.json"
JOIN_TIMEOUT_MS = 15_000
FIRST_PAUSE_S = 2
LONGEST_PAUSE_S = 120
CHECK_PERIOD_S = 5

STATUS_TEXT = {
    network.STAT_IDLE: "idle",
    network.STAT_CONNECTING: "connecting",
    network.STAT_WRONG_PASSWORD: "wrong password",
    network.STAT_NO_AP_FOUND: "access point not found",
    network.STAT_CONNECT_FAIL: "connection failed",
    network.STAT_GOT_IP: "connected",
}

led = Pin("LED", Pin.OUT, value=0)


def load_credentials(path):
    """Return (ssid, key) from a JSON file, or raise RuntimeError with a usable message."""
    try:
        with open(path) as f:
            config = json.load(f)
        return config["ssid"], config["key"]
    except OSError:
        raise RuntimeError("create {} with your ssid and key".format(path))
    except (ValueError, KeyError):
        raise RuntimeError("{} must hold JSON with ssid and key".format(path))


class Station:
    """A Wi-Fi station that remembers how often it failed, to decide how long to wait."""

    def __init__(self, ssid, key):
        self.ssid = ssid
        self.key = key
        self.failures = 0
        self.wlan = network.WLAN(network.WLAN.IF_STA)

    def join(self):
        """Try once to join; True as soon as an address has been given."""
        self.wlan.active(True)
        self.wlan.connect(self.ssid, self.key)
        deadline = time.ticks_add(time.ticks_ms(), JOIN_TIMEOUT_MS)
        while time.ticks_diff(deadline, time.ticks_ms()) > 0:
            if self.wlan.isconnected():
                self.failures = 0
                return True
            # A negative status is final on the Pico W: no use in waiting for the timeout.
            if self.wlan.status() < 0:
                break
            led.toggle()
            time.sleep_ms(250)
        self.failures += 1
        status = self.wlan.status()
        print("join failed:", STATUS_TEXT.get(status, status))
        # Switching the radio off clears a half-open association before the next attempt.
        self.wlan.disconnect()
        self.wlan.active(False)
        return False

    def pause_seconds(self):
        """Double the pause at each failure; the jitter keeps many boards from retrying at once."""
        pause = FIRST_PAUSE_S * 2 ** min(self.failures - 1, 8)
        return min(pause, LONGEST_PAUSE_S) + random.getrandbits(10) / 1024

    def keep_connected(self):
        while True:
            if self.wlan.active() and self.wlan.isconnected():
                led.on()
                time.sleep(CHECK_PERIOD_S)
                continue
            led.off()
            if self.join():
                print("connected, address", self.wlan.ifconfig()[0])
                print("signal", self.wlan.status("rssi"), "dBm")
            else:
                pause = self.pause_seconds()
                print("attempt {} failed, next in {:.1f} s".format(self.failures, pause))
                time.sleep(pause)


def main():
    station = Station(*load_credentials(CONFIG_FILE))
    try:
        station.keep_connected()
    except KeyboardInterrupt:
        print("stopped")
    finally:
        station.wlan.active(False)
        led.off()


main()
