"""A CoAP server (RFC 7252) over UDP: /temp to read, /led to read and set, /.well-known/core to discover.

Raspberry Pi Pico W, nothing attached. Network data stand in net.json. Requests that come twice
because the answer was lost are answered from memory and not carried out again.
"""
import json
import network
import socket
import time
from machine import ADC, Pin

GET, PUT = 1, 3
CHANGED, CONTENT = 0x44, 0x45
BAD_REQUEST, NOT_FOUND, NOT_ALLOWED = 0x80, 0x84, 0x85

CONFIRMABLE, NON_CONFIRMABLE, ACKNOWLEDGEMENT, RESET = 0, 1, 2, 3
OPTION_PATH, OPTION_FORMAT = 11, 12
TEXT_PLAIN, LINK_FORMAT = 0, 40


class Malformed(ValueError):
    pass


class Message:
    def __init__(self, kind, code, identifier, token=b"", options=(), payload=b""):
        self.kind = kind
        self.code = code
        self.identifier = identifier
        self.token = token
        self.options = list(options)
        self.payload = payload

    @staticmethod
    def _extended(data, at, nibble):
        """Numbers of 13 and more are continued in one or two further bytes."""
        if nibble < 13:
            return nibble, at
        if nibble == 13:
            return data[at] + 13, at + 1
        if nibble == 14:
            return (data[at] << 8 | data[at + 1]) + 269, at + 2
        raise Malformed("reserved length")

    @classmethod
    def parse(cls, data):
        try:
            if data[0] >> 6 != 1:
                raise Malformed("version")
            token_length = data[0] & 0x0F
            if token_length > 8:
                raise Malformed("token")
            message = cls(data[0] >> 4 & 3, data[1], data[2] << 8 | data[3], data[4:4 + token_length])
            at, number = 4 + token_length, 0
            while at < len(data):
                if data[at] == 0xFF:
                    message.payload = data[at + 1:]
                    break
                delta, length = data[at] >> 4, data[at] & 0x0F
                delta, at = cls._extended(data, at + 1, delta)
                length, at = cls._extended(data, at, length)
                number += delta
                if at + length > len(data):
                    raise Malformed("option beyond the end")
                message.options.append((number, data[at:at + length]))
                at += length
            return message
        except IndexError:
            raise Malformed("too short")

    def encode(self):
        """Only short options are needed on our side, so one nibble each is enough."""
        out = bytearray((0x40 | self.kind << 4 | len(self.token), self.code,
                         self.identifier >> 8, self.identifier & 0xFF))
        out += self.token
        last = 0
        for number, value in sorted(self.options):
            out.append((number - last) << 4 | len(value))
            out += value
            last = number
        if self.payload:
            out.append(0xFF)
            out += self.payload
        return bytes(out)

    def path(self):
        return "/" + "/".join(value.decode() for number, value in self.options if number == OPTION_PATH)


led = Pin("LED", Pin.OUT, value=0)
core = ADC(ADC.CORE_TEMP)


def temperature(request):
    volts = core.read_u16() * 3.3 / 65535
    return CONTENT, TEXT_PLAIN, "%.1f" % (27 - (volts - 0.706) / 0.001721)


def lamp(request):
    if request.code == PUT:
        if request.payload not in (b"0", b"1"):
            return BAD_REQUEST, TEXT_PLAIN, "0 or 1, please"
        led.value(int(request.payload))
        return CHANGED, TEXT_PLAIN, ""
    return CONTENT, TEXT_PLAIN, str(led.value())


def discover(request):
    return CONTENT, LINK_FORMAT, "</temp>;rt=\"celsius\",</led>;rt=\"switch\""


RESOURCES = {"/temp": (temperature, (GET,)), "/led": (lamp, (GET, PUT)), "/.well-known/core": (discover, (GET,))}


def join_network():
    with open("net.json") as file:
        net = json.load(file)
    wlan = network.WLAN(network.STA_IF)
    wlan.active(True)
    wlan.connect(net["ssid"], net["password"])
    while not wlan.isconnected():
        time.sleep_ms(250)
    print("coap on", wlan.ifconfig()[0], "port 5683")


def respond(request, fresh_id):
    resource = RESOURCES.get(request.path())
    code, kind, text = NOT_FOUND if resource is None else NOT_ALLOWED, TEXT_PLAIN, ""
    if resource and request.code in resource[1]:
        code, kind, text = resource[0](request)
    confirm = request.kind == CONFIRMABLE
    reply = Message(ACKNOWLEDGEMENT if confirm else NON_CONFIRMABLE, code,
                    request.identifier if confirm else fresh_id, request.token)
    if text:
        reply.options.append((OPTION_FORMAT, bytes([kind]) if kind else b""))
        reply.payload = text.encode()
    return reply.encode()


def main():
    join_network()
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind(("0.0.0.0", 5683))
    recent = []  # ((address, message id), answer) of the last requests
    fresh_id = 0
    while True:
        data, address = sock.recvfrom(256)
        try:
            request = Message.parse(data)
        except Malformed as error:
            print(address, "sent nonsense:", error)
            continue
        if request.kind not in (CONFIRMABLE, NON_CONFIRMABLE):
            continue
        if request.code == 0:  # an empty message is a ping, and RESET the way to say "I am here"
            sock.sendto(Message(RESET, 0, request.identifier).encode(), address)
            continue
        key = (address, request.identifier)
        answer = next((old for known, old in recent if known == key), None)
        if answer is None:
            fresh_id = (fresh_id + 1) & 0xFFFF
            answer = respond(request, fresh_id)
            recent = recent[-7:] + [(key, answer)]
        sock.sendto(answer, address)


main()
