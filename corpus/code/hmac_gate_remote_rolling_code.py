"""A garage gate that opens to signed messages only: HMAC-SHA256 and a counter against replay.

Two boards joined by any serial radio on UART1 (Pico GP4/GP5). The shared secret of 32 bytes is
read from key.bin, made once by `os.urandom(32)` and copied to both. GP22 to GND = the remote.
"""
import binascii
import hashlib
import struct
import time
from machine import Pin, UART

BLOCK = 64
TAG = 16  # bytes of the digest that are sent: 128 bits are plenty
COMMANDS = {1: "open", 2: "close", 3: "light"}
MESSAGE = ">2sBI"  # mark, command, counter
SIZE = struct.calcsize(MESSAGE) + TAG


def hmac_sha256(secret, message):
    """RFC 2104: two nested hashes, the secret mixed in with two different pads."""
    if len(secret) > BLOCK:
        secret = hashlib.sha256(secret).digest()
    secret = secret + bytes(BLOCK - len(secret))
    inner = hashlib.sha256(bytes(b ^ 0x36 for b in secret))
    inner.update(message)
    outer = hashlib.sha256(bytes(b ^ 0x5C for b in secret))
    outer.update(inner.digest())
    return outer.digest()


def equal(a, b):
    """Compare without stopping at the first difference, whose place would tell something."""
    if len(a) != len(b):
        return False
    difference = 0
    for x, y in zip(a, b):
        difference |= x ^ y
    return difference == 0


class Counter:
    """A number in a file that only ever grows. Written ahead in steps, to spare the flash."""

    STEP = 32

    def __init__(self, path):
        self.path = path
        try:
            with open(path) as file:
                self.value = int(file.read())
        except (OSError, ValueError):
            self.value = 0
        self.reserved = self.value

    def _reserve(self):
        if self.value >= self.reserved:
            self.reserved = self.value + self.STEP
            with open(self.path, "w") as file:
                file.write(str(self.reserved))

    def next(self):
        self.value += 1
        self._reserve()
        return self.value

    def accept(self, number):
        """True if the number is newer than all before; remembers it then."""
        if number <= self.value:
            return False
        self.value = number
        with open(self.path, "w") as file:
            file.write(str(number))
        return True


def sign(secret, command, number):
    body = struct.pack(MESSAGE, b"GT", command, number)
    return body + hmac_sha256(secret, body)[:TAG]


def verify(secret, data, counter):
    """Return the command's name; None if signature, form or counter are not right."""
    body, tag = data[:-TAG], data[-TAG:]
    if len(data) != SIZE or not equal(hmac_sha256(secret, body)[:TAG], tag):
        return None
    mark, command, number = struct.unpack(MESSAGE, body)
    if mark != b"GT" or not counter.accept(number):
        return None
    return COMMANDS.get(command)


def self_test():
    # Test case 2 of RFC 4231.
    tag = hmac_sha256(b"Jefe", b"what do ya want for nothing?")
    assert binascii.hexlify(tag)[:16] == b"5bdcc146bf60754e"


def remote(secret, uart):
    counter = Counter("sent.txt")
    buttons = [Pin(number, Pin.IN, Pin.PULL_UP) for number in (10, 11, 12)]
    while True:
        for command, button in enumerate(buttons, 1):
            if not button.value():
                uart.write(sign(secret, command, counter.next()))
                while not button.value():
                    time.sleep_ms(20)
        time.sleep_ms(20)


def gate(secret, uart):
    counter = Counter("seen.txt")
    outputs = {"open": Pin(10, Pin.OUT), "close": Pin(11, Pin.OUT), "light": Pin(12, Pin.OUT)}
    while True:
        data = uart.read(SIZE)
        if not data:
            continue
        name = verify(secret, data, counter)
        if name is None:
            print("refused", binascii.hexlify(data))
            continue
        print(name)
        outputs[name].on()
        time.sleep_ms(500)
        outputs[name].off()


self_test()
with open("key.bin", "rb") as file:
    shared = file.read()
link = UART(1, baudrate=9600, tx=Pin(4), rx=Pin(5), timeout=200)
if Pin(22, Pin.IN, Pin.PULL_UP).value():
    gate(shared, link)
else:
    remote(shared, link)
