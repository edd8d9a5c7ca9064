"""Watch the log of a Pico W from a PC: telnet <address> 2323, without a USB cable.

New lines go to every connected client; a newcomer first gets the last lines kept in RAM.
No wiring. Wi-Fi settings come from settings.json with the keys ssid and key.
"""

import json
import socket
import time

import network
from machine import ADC

PORT = 2323
HISTORY = 20
MAX_CLIENTS = 3
SAMPLE_EVERY_MS = 2000


class LogServer:
    """Writes lines to the console and to TCP clients, and never waits for a slow one."""

    def __init__(self, port):
        self.history = []
        self.clients = []
        self.sock = socket.socket()
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.sock.bind(socket.getaddrinfo("0.0.0.0", port)[0][-1])
        self.sock.listen(1)
        self.sock.setblocking(False)

    def log(self, *args):
        stamp = time.ticks_ms() / 1000
        line = "[{:10.3f}] {}".format(stamp, " ".join(str(arg) for arg in args))
        print(line)
        self.history.append(line)
        if len(self.history) > HISTORY:
            self.history.pop(0)
        self._broadcast(line)

    def poll(self):
        """Accept a waiting client and notice those that left; call it often."""
        try:
            client, address = self.sock.accept()
        except OSError:
            client = None
        if client is not None:
            self._welcome(client, address)
        for client in list(self.clients):
            try:
                # Input is thrown away; an empty result means that the peer closed.
                if client.recv(64) == b"":
                    self._drop(client)
            except OSError:
                pass  # nothing to read

    def close(self):
        for client in list(self.clients):
            self._drop(client)
        self.sock.close()

    def _welcome(self, client, address):
        if len(self.clients) >= MAX_CLIENTS:
            client.send(b"too many viewers\r\n")
            client.close()
            return
        client.setblocking(False)
        self.clients.append(client)
        print("viewer from", address[0])
        for line in self.history:
            self._send(client, line)

    def _broadcast(self, line):
        for client in list(self.clients):
            self._send(client, line)

    def _send(self, client, line):
        data = line.encode() + b"\r\n"
        try:
            if client.send(data) == len(data):
                return
        except OSError:
            pass
        # A full buffer would garble the next line, so the client has to reconnect.
        self._drop(client)

    def _drop(self, client):
        if client in self.clients:
            self.clients.remove(client)
            client.close()


def join_network():
    with open("settings.json") as f:
        settings = json.load(f)
    wlan = network.WLAN(network.WLAN.IF_STA)
    wlan.active(True)
    wlan.connect(settings["ssid"], settings["key"])
    while not wlan.isconnected():
        time.sleep_ms(200)
    return wlan.ifconfig()[0]


def main():
    address = join_network()
    server = LogServer(PORT)
    server.log("log server on", address, "port", PORT)
    chip = ADC(ADC.CORE_TEMP)
    next_sample = time.ticks_ms()
    try:
        while True:
            server.poll()
            if time.ticks_diff(time.ticks_ms(), next_sample) >= 0:
                next_sample = time.ticks_add(next_sample, SAMPLE_EVERY_MS)
                volts = chip.read_u16() * 3.3 / 65535
                server.log("chip {:.1f} C".format(27 - (volts - 0.706) / 0.001721))
            time.sleep_ms(20)
    finally:
        server.close()


main()
