"""Find boards on the local network: each one broadcasts a short UDP beacon and keeps a peer list.

Run the same program on several Pico W or ESP32 boards; no wiring.
SSID and KEY below are placeholders for your own network.
"""

import json
import select
import socket
import time

import network
from machine import unique_id

SSID = "YOUR_SSID"
KEY = "YOUR_KEY"
PORT = 50_505
BEACON_EVERY_MS = 3000
PEER_LOST_MS = 10_000
MAGIC = "mpy-beacon-1"
STARTED = time.time()


def broadcast_address(ip, netmask):
    """192.168.1.7 with 255.255.255.0 gives 192.168.1.255."""
    pairs = zip(ip.split("."), netmask.split("."))
    return ".".join(str(int(a) | (~int(m) & 0xFF)) for a, m in pairs)


class Peers:
    """The boards heard lately, by their identity."""

    def __init__(self, lost_after_ms):
        self.lost_after_ms = lost_after_ms
        self.seen = {}

    def heard(self, identity, address, now):
        if identity not in self.seen:
            print("found", identity, "at", address)
        self.seen[identity] = (address, now)

    def expire(self, now):
        for identity in list(self.seen):
            address, when = self.seen[identity]
            if time.ticks_diff(now, when) > self.lost_after_ms:
                print("lost", identity, "at", address)
                del self.seen[identity]


class Beacon:
    def __init__(self, wlan):
        ip, netmask = wlan.ifconfig()[:2]
        self.identity = unique_id().hex()
        self.target = socket.getaddrinfo(broadcast_address(ip, netmask), PORT)[0][-1]
        self.sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        self.sock.bind(socket.getaddrinfo("0.0.0.0", PORT)[0][-1])
        self.poller = select.poll()
        self.poller.register(self.sock, select.POLLIN)

    def send(self):
        message = {"magic": MAGIC, "id": self.identity, "uptime_s": time.time() - STARTED}
        try:
            self.sock.sendto(json.dumps(message).encode(), self.target)
        except OSError as err:
            # The radio may be away for a moment; the next beacon makes up for it.
            print("beacon not sent:", err)

    def receive(self, wait_ms):
        """Return (identity, address) of one foreign beacon, or None after wait_ms."""
        if not self.poller.poll(wait_ms):
            return None
        data, sender = self.sock.recvfrom(256)
        try:
            message = json.loads(data)
            if message["magic"] != MAGIC or message["id"] == self.identity:
                return None
            return message["id"], sender[0]
        except (ValueError, KeyError, TypeError):
            return None  # something else uses this port

    def close(self):
        self.poller.unregister(self.sock)
        self.sock.close()


def main():
    wlan = network.WLAN(network.WLAN.IF_STA)
    wlan.active(True)
    wlan.connect(SSID, KEY)
    while not wlan.isconnected():
        time.sleep_ms(200)
    beacon = Beacon(wlan)
    peers = Peers(PEER_LOST_MS)
    print("I am", beacon.identity)
    next_send = time.ticks_ms()
    try:
        while True:
            now = time.ticks_ms()
            if time.ticks_diff(now, next_send) >= 0:
                beacon.send()
                peers.expire(now)
                next_send = time.ticks_add(now, BEACON_EVERY_MS)
            found = beacon.receive(max(0, time.ticks_diff(next_send, time.ticks_ms())))
            if found:
                peers.heard(found[0], found[1], time.ticks_ms())
    except KeyboardInterrupt:
        print("known peers:", list(peers.seen))
    finally:
        beacon.close()
        wlan.active(False)


if __name__ == "__main__":
    main()
