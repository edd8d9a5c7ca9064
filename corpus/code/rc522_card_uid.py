"""Read the number of contactless cards with an RC522 reader and look up their owners.

A card number is easy to copy: fine for greeting people, not for opening doors.
Wiring (Raspberry Pi Pico): SDA (CS) to GP5, SCK to GP2, MOSI to GP3, MISO to GP4,
RST to GP6, 3.3V to 3V3; an LED with resistor on GP15.
"""
import time
from machine import SPI, Pin

COMMAND = 0x01
COM_IRQ = 0x04
ERROR = 0x06
FIFO_DATA = 0x09
FIFO_LEVEL = 0x0A
BIT_FRAMING = 0x0D
MODE = 0x11
TX_CONTROL = 0x14
TX_ASK = 0x15
T_MODE = 0x2A
T_PRESCALER = 0x2B
T_RELOAD_H = 0x2C
T_RELOAD_L = 0x2D
VERSION = 0x37

IDLE = 0x00
TRANSCEIVE = 0x0C
SOFT_RESET = 0x0F

# Words of the card protocol (ISO 14443-3 type A)
REQUEST = 0x26
ANTICOLLISION = b"\x93\x20"
CASCADE_TAG = 0x88

OWNERS = {"04a1b2c3": "Ada", "9f3c1d07": "Grace"}


class RC522:
    def __init__(self, spi, cs, reset):
        self.spi = spi
        self.cs = cs
        cs.value(1)
        reset.value(0)
        time.sleep_ms(5)
        reset.value(1)
        time.sleep_ms(50)
        self._write(COMMAND, SOFT_RESET)
        time.sleep_ms(50)
        # The timer counts 25 us steps and ends the wait for a card after 25 ms.
        self._write(T_MODE, 0x80)
        self._write(T_PRESCALER, 0xA9)
        self._write(T_RELOAD_H, 0x03)
        self._write(T_RELOAD_L, 0xE8)
        self._write(TX_ASK, 0x40)
        self._write(MODE, 0x3D)
        self._write(TX_CONTROL, self._read(TX_CONTROL) | 0x03)  # antenna on
        self.version = self._read(VERSION)

    def _write(self, register, value):
        self.cs.value(0)
        self.spi.write(bytes((register << 1, value)))
        self.cs.value(1)

    def _read(self, register):
        self.cs.value(0)
        self.spi.write(bytes((0x80 | register << 1,)))
        value = self.spi.read(1)[0]
        self.cs.value(1)
        return value

    def _exchange(self, data, bits_in_last_byte=0):
        """Send bytes to the card and return its answer, or None where none comes."""
        self._write(COMMAND, IDLE)
        self._write(COM_IRQ, 0x7F)  # forget all events
        self._write(FIFO_LEVEL, 0x80)  # empty the buffer
        for byte in data:
            self._write(FIFO_DATA, byte)
        self._write(COMMAND, TRANSCEIVE)
        self._write(BIT_FRAMING, 0x80 | bits_in_last_byte)  # go
        for _ in range(100):
            events = self._read(COM_IRQ)
            if events & 0x31:  # answer received, command finished or timer at zero
                break
            time.sleep_ms(1)
        self._write(BIT_FRAMING, 0)
        if not events & 0x20 or self._read(ERROR) & 0x1B:
            return None
        return bytes(self._read(FIFO_DATA) for _ in range(self._read(FIFO_LEVEL)))

    def read_uid(self):
        """Return the start of the card's number, three or four bytes in hex, or None."""
        # The request is a short frame of seven bits; any card in the field answers.
        answer = self._exchange(bytes((REQUEST,)), 7)
        if answer is None or len(answer) != 2:
            return None
        uid = self._exchange(ANTICOLLISION)
        if uid is None or len(uid) != 5:
            return None
        if uid[0] ^ uid[1] ^ uid[2] ^ uid[3] != uid[4]:
            return None
        # Seven-byte numbers start with the cascade tag and only three of their bytes.
        start = 1 if uid[0] == CASCADE_TAG else 0
        return "".join("%02x" % byte for byte in uid[start:4])


def main():
    spi = SPI(0, baudrate=1_000_000, polarity=0, phase=0, sck=Pin(2), mosi=Pin(3), miso=Pin(4))
    reader = RC522(spi, Pin(5, Pin.OUT, value=1), Pin(6, Pin.OUT))
    if reader.version in (0x00, 0xFF):
        raise RuntimeError("the reader does not answer, check the wiring")
    print("Reader version 0x%02X, waiting for cards" % reader.version)
    led = Pin(15, Pin.OUT, value=0)
    current = None
    misses = 0

    while True:
        uid = reader.read_uid()
        misses = 0 if uid else misses + 1
        if uid and uid != current:
            current = uid
            led.on()
            print("Hello", OWNERS.get(uid, "stranger with card " + uid))
        elif misses > 2:  # a resting card answers only every second request
            current = None
            led.off()
        time.sleep_ms(100)


main()
