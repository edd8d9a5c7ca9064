"""ESP8266 weather station that posts readings and keeps the unsent ones on flash.

Wiring: DHT22 data pin to GPIO4 (D2) with a 10 k pull-up to 3.3 V, VCC to 3.3 V, GND to GND.
The queue is a btree database, so readings survive a power cut or a night without Wi-Fi.
"""

import json
import socket
import time

import btree
import dht
import network
import ntptime
from machine import Pin

DATA_PIN = 4
QUEUE_FILE = "unsent.db"
MAX_QUEUED = 500
MEASURE_EVERY_S = 300
POSTS_PER_ROUND = 10
CONFIG_FILE = "station.json"  # ssid, key, host, port, path


class FlashQueue:
    """First in, first out, on flash; the keys are running numbers and therefore sorted."""

    def __init__(self, filename):
        try:
            self.file = open(filename, "r+b")
        except OSError:
            self.file = open(filename, "w+b")
        self.db = btree.open(self.file)
        self.count = 0
        last = 0
        for key in self.db:
            self.count += 1
            last = int(key)
        self.next_number = last + 1

    def push(self, item):
        if self.count >= MAX_QUEUED:
            self.remove(self.oldest()[0])  # recent weather matters more
        self.db["{:010d}".format(self.next_number).encode()] = json.dumps(item).encode()
        self.db.flush()
        self.next_number += 1
        self.count += 1

    def oldest(self):
        """Key and content of the first item, or None if the queue is empty."""
        for key in self.db:
            return key, json.loads(self.db[key])

    def remove(self, key):
        del self.db[key]
        self.db.flush()
        self.count -= 1


def measure(sensor):
    """One reading as a dictionary, or None; a DHT22 often fails the first time."""
    for _ in range(3):
        try:
            sensor.measure()
            return {"celsius": sensor.temperature(), "humidity": sensor.humidity()}
        except OSError:
            time.sleep(2)


def post(config, item):
    """Send one reading; OSError when the server did not take it."""
    body = json.dumps(item)
    head = "POST {} HTTP/1.0\r\nHost: {}\r\n".format(config["path"], config["host"])
    head += "Content-Type: application/json\r\nContent-Length: {}\r\n\r\n".format(len(body))
    sock = socket.socket()
    sock.settimeout(8)
    try:
        sock.connect(socket.getaddrinfo(config["host"], config["port"])[0][-1])
        sock.write((head + body).encode())
        status = sock.readline().split(None, 2)
        if len(status) < 2 or not status[1].startswith(b"2"):
            raise OSError("server answered {}".format(status))
    finally:
        sock.close()


def send_queued(queue, config):
    """Post the oldest readings first; an item leaves the queue only after it was accepted."""
    for _ in range(min(queue.count, POSTS_PER_ROUND)):
        key, item = queue.oldest()
        try:
            post(config, item)
        except OSError as err:
            print("not sent, {} waiting: {}".format(queue.count, err))
            return
        queue.remove(key)


def main():
    with open(CONFIG_FILE) as f:
        config = json.load(f)
    wlan = network.WLAN(network.WLAN.IF_STA)
    wlan.active(True)
    wlan.connect(config["ssid"], config["key"])  # the firmware reconnects by itself
    sensor = dht.DHT22(Pin(DATA_PIN))
    queue = FlashQueue(QUEUE_FILE)
    clock_set = False
    try:
        while True:
            if not clock_set and wlan.isconnected():
                try:
                    ntptime.settime()
                    clock_set = True
                except OSError:
                    print("no time yet, readings carry none")
            reading = measure(sensor)
            if reading:
                reading["time"] = time.time() if clock_set else None
                queue.push(reading)
            else:
                print("sensor does not answer, check the wiring")
            if wlan.isconnected():
                send_queued(queue, config)
            time.sleep(MEASURE_EVERY_S)
    finally:
        queue.db.close()
        queue.file.close()


main()
