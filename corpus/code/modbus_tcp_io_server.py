"""A Modbus TCP server: a control room reads the inputs and switches the relays of a Pico W.

Coils 0-3 are relays on GP2 to GP5, discrete inputs 0-3 are GP10 to GP13, input registers 0-2
are the converters on GP26 to GP28 in millivolts. Network data stand in wifi.json.
"""
import asyncio
import json
import network
import struct
import time
from machine import ADC, Pin

ILLEGAL_FUNCTION, ILLEGAL_ADDRESS, ILLEGAL_VALUE = 1, 2, 3

relays = [Pin(n, Pin.OUT, value=0) for n in range(2, 6)]
inputs = [Pin(n, Pin.IN, Pin.PULL_UP) for n in range(10, 14)]
converters = [ADC(Pin(n)) for n in (26, 27, 28)]


class ModbusError(Exception):
    pass


def pack_bits(bits):
    data = bytearray((len(bits) + 7) // 8)
    for i, bit in enumerate(bits):
        if bit:
            data[i // 8] |= 1 << i % 8
    return bytes([len(data)]) + data


def window(items, start, count):
    if not 1 <= count <= 2000:
        raise ModbusError(ILLEGAL_VALUE)
    if start + count > len(items):
        raise ModbusError(ILLEGAL_ADDRESS)
    return items[start:start + count]


def read_coils(start, count):
    return pack_bits([pin.value() for pin in window(relays, start, count)])


def read_inputs(start, count):
    # Closed contacts pull to ground, and the control room wants closed to be one.
    return pack_bits([not pin.value() for pin in window(inputs, start, count)])


def read_registers(start, count):
    values = [adc.read_u16() * 3300 // 65535 for adc in window(converters, start, count)]
    return bytes([2 * count]) + struct.pack(">%dH" % count, *values)


def write_coil(address, value):
    if value not in (0x0000, 0xFF00):
        raise ModbusError(ILLEGAL_VALUE)
    window(relays, address, 1)[0].value(value == 0xFF00)
    return struct.pack(">HH", address, value)


FUNCTIONS = {1: read_coils, 2: read_inputs, 4: read_registers, 5: write_coil}


def answer(pdu):
    """Turn a request into a response; errors set the top bit of the function code."""
    function = pdu[0]
    try:
        if function not in FUNCTIONS:
            raise ModbusError(ILLEGAL_FUNCTION)
        if len(pdu) != 5:
            raise ModbusError(ILLEGAL_VALUE)
        first, second = struct.unpack(">HH", pdu[1:])
        return bytes([function]) + FUNCTIONS[function](first, second)
    except ModbusError as error:
        return bytes([function | 0x80, error.args[0]])


async def serve(reader, writer):
    peer = writer.get_extra_info("peername")
    print("connected:", peer)
    try:
        while True:
            header = await reader.readexactly(7)
            transaction, protocol, length, unit = struct.unpack(">HHHB", header)
            if protocol != 0 or not 2 <= length <= 254:
                break  # whoever speaks something else is cut off
            response = answer(await reader.readexactly(length - 1))
            writer.write(struct.pack(">HHHB", transaction, 0, len(response) + 1, unit) + response)
            await writer.drain()
    except (EOFError, OSError):
        pass
    finally:
        print("gone:", peer)
        writer.close()
        await writer.wait_closed()


def connect(timeout_s=20):
    with open("wifi.json") as file:
        settings = json.load(file)
    wlan = network.WLAN(network.STA_IF)
    wlan.active(True)
    wlan.connect(settings["ssid"], settings["password"])
    for _ in range(timeout_s):
        if wlan.isconnected():
            return wlan.ifconfig()[0]
        time.sleep(1)
    raise OSError("no network")


async def main():
    print("Modbus TCP on", connect())
    await asyncio.start_server(serve, "0.0.0.0", 502)
    while True:
        await asyncio.sleep(3600)


asyncio.run(main())
