"""A minimal MQTT 3.1.1 publisher (QoS 0) on a plain socket, for a Pico W or ESP32.

It sends the free memory of the board to a broker every ten seconds and pings in between.
No wiring. The file mqtt.json holds ssid, key, broker, and user with password if needed.
"""

import gc
import json
import socket
import struct
import time

import network
from machine import unique_id

CONFIG_FILE = "mqtt.json"
KEEP_ALIVE_S = 30
PUBLISH_EVERY_MS = 10_000
CONNECT = 0x10
PUBLISH = 0x30
PING_REQUEST = 0xC0
DISCONNECT = 0xE0


class MQTTError(Exception):
    pass


def mqtt_string(text):
    """Encode text as MQTT wants it: UTF-8 with a 16-bit length in front."""
    data = text.encode()
    return struct.pack(">H", len(data)) + data


def remaining_length(count):
    """Encode a packet length in base 128, low digit first; bit 7 says that more follow."""
    out = bytearray()
    while True:
        count, digit = divmod(count, 128)
        out.append(digit | 0x80 if count else digit)
        if not count:
            return out


class Publisher:
    def __init__(self, client_id, host, port=1883, user=None, password=None):
        self.client_id = client_id
        self.host, self.port = host, port
        self.user, self.password = user, password
        self.sock = None

    def connect(self):
        flags = 0x02  # clean session
        payload = mqtt_string(self.client_id)
        if self.user is not None:
            flags |= 0xC0
            payload += mqtt_string(self.user) + mqtt_string(self.password)
        header = mqtt_string("MQTT") + bytes([4, flags]) + struct.pack(">H", KEEP_ALIVE_S)

        self.sock = socket.socket()
        self.sock.settimeout(5)
        try:
            self.sock.connect(socket.getaddrinfo(self.host, self.port)[0][-1])
            self._send(CONNECT, header + payload)
            reply = self.sock.read(4)
            if not reply or len(reply) < 4 or reply[0] != 0x20:
                raise MQTTError("no acknowledgement from the broker")
            if reply[3]:
                raise MQTTError("broker refused, code {}".format(reply[3]))
        except (OSError, MQTTError):
            self.sock.close()
            raise

    def publish(self, topic, message, retain=False):
        self._send(PUBLISH | retain, mqtt_string(topic) + message)

    def ping(self):
        self._send(PING_REQUEST, b"")
        reply = self.sock.read(2)
        if reply != b"\xd0\x00":
            raise MQTTError("no answer to the ping")

    def disconnect(self):
        try:
            self._send(DISCONNECT, b"")
        finally:
            self.sock.close()

    def _send(self, kind, body):
        self.sock.write(bytes([kind]) + remaining_length(len(body)) + body)


def connect_wifi(ssid, key):
    wlan = network.WLAN(network.WLAN.IF_STA)
    wlan.active(True)
    wlan.connect(ssid, key)
    while not wlan.isconnected():
        time.sleep_ms(200)


def session(client, topic):
    """Publish until the connection fails."""
    client.connect()
    print("connected to", client.host)
    try:
        while True:
            gc.collect()
            client.publish(topic, json.dumps({"mem_free": gc.mem_free()}).encode(), retain=True)
            time.sleep_ms(PUBLISH_EVERY_MS)
            client.ping()
    finally:
        client.disconnect()


def main():
    with open(CONFIG_FILE) as f:
        config = json.load(f)
    name = "mpy-" + unique_id().hex()
    connect_wifi(config["ssid"], config["key"])
    client = Publisher(name, config["broker"], 1883, config.get("user"), config.get("password"))
    while True:
        try:
            session(client, "boards/{}/memory".format(name))
        except (OSError, MQTTError) as err:
            print("broker connection lost:", err)
            time.sleep(5)


main()
