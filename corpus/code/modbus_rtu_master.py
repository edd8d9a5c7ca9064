"""Poll an energy meter over RS-485 as a Modbus RTU master.

Wiring (Raspberry Pi Pico, 3.3 V transceiver such as the MAX3485): DI to GP0, RO to GP1,
DE and RE together to GP2; A and B to the meter, 120 ohms at each end of the cable.
"""
import struct
import time
from machine import UART, Pin

BAUD = 9600
UNIT = 1
REPLY_TIMEOUT_MS = 300
TRIES = 3

READ_HOLDING = 3
READ_INPUT = 4
WRITE_SINGLE = 6

EXCEPTIONS = {1: "unknown function", 2: "no such register", 3: "bad value", 6: "busy"}


class ModbusError(Exception):
    """The line or the device failed; trying again may help."""


class ModbusRefused(ModbusError):
    """The device understood the request and declined it."""


def crc16(data):
    crc = 0xFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ 0xA001 if crc & 1 else crc >> 1
    return crc


def with_crc(body):
    return body + struct.pack("<H", crc16(body))  # the only little-endian word of the protocol


class Master:
    def __init__(self, uart, direction, baud):
        self.uart = uart
        self.direction = direction
        direction.value(0)
        # Frames are separated by 3.5 characters of 11 bits, above 19200 baud by 1.75 ms.
        self.gap_us = max(1750, 38_500_000 // baud)

    def _send(self, frame):
        self.uart.read()  # drop what noise left behind
        self.direction.value(1)
        self.uart.write(frame)
        self.uart.flush()  # release the line only after the last stop bit
        self.direction.value(0)

    def _receive(self, count):
        """Collect one answer; count is its length unless it reports an exception."""
        answer = b""
        deadline = time.ticks_add(time.ticks_ms(), REPLY_TIMEOUT_MS)
        while len(answer) < count:
            if time.ticks_diff(deadline, time.ticks_ms()) <= 0:
                raise ModbusError("timeout after %d of %d bytes" % (len(answer), count))
            if self.uart.any():
                answer += self.uart.read(count - len(answer))
                if len(answer) >= 2 and answer[1] & 0x80:
                    count = 5
            else:
                time.sleep_ms(1)
        return answer

    def _exchange(self, body, reply_length):
        time.sleep_us(self.gap_us)
        self._send(with_crc(body))
        answer = self._receive(reply_length)
        if with_crc(answer[:-2]) != answer:
            raise ModbusError("checksum wrong")
        if answer[0] != body[0] or answer[1] & 0x7F != body[1]:
            raise ModbusError("answer to another request")
        if answer[1] & 0x80:
            raise ModbusRefused(EXCEPTIONS.get(answer[2], "exception %d" % answer[2]))
        return answer

    def request(self, body, reply_length):
        for attempt in range(TRIES):
            try:
                return self._exchange(body, reply_length)
            except ModbusRefused:
                raise  # repeating would change nothing
            except ModbusError:
                if attempt == TRIES - 1:
                    raise

    def read(self, unit, address, count, function=READ_HOLDING):
        """Return the raw bytes of `count` registers of 16 bits."""
        body = struct.pack(">BBHH", unit, function, address, count)
        answer = self.request(body, 5 + 2 * count)
        if answer[2] != 2 * count:
            raise ModbusError("unexpected byte count")
        return answer[3:-2]

    def write(self, unit, address, value):
        body = struct.pack(">BBHH", unit, WRITE_SINGLE, address, value)
        if self.request(body, 8)[:-2] != body:
            raise ModbusError("the echo differs")


# name, first register, unit; each value is a 32-bit float in two input registers
QUANTITIES = (("voltage", 0x00, "V"), ("current", 0x06, "A"), ("power", 0x0C, "W"))


def main():
    uart = UART(0, baudrate=BAUD, bits=8, parity=None, stop=1, tx=Pin(0), rx=Pin(1))
    master = Master(uart, Pin(2, Pin.OUT), BAUD)
    while True:
        for name, register, unit in QUANTITIES:
            try:
                data = master.read(UNIT, register, 2, READ_INPUT)
                print("%-8s %9.2f %s" % (name, struct.unpack(">f", data)[0], unit))
            except ModbusError as error:
                print("%-8s %s" % (name, error))
        time.sleep(5)


if __name__ == "__main__":
    main()
