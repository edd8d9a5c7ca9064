"""Fast work with viper on a Pico (RP2040): toggle a pin by register, compute a CRC-16.

Wiring: an oscilloscope or a logic analyser on GP15, ground to GND.
Each viper function is compared with its ordinary Python version, in speed and result.
"""

import time

import micropython
from machine import Pin, freq
from micropython import const

PIN_NUMBER = 15
TOGGLES = 10_000

# Single-cycle I/O block of the RP2040: writing a mask here inverts those pins.
_GPIO_OUT_XOR = const(0xD000001C)


def toggle_python(pin, count):
    for _ in range(count):
        pin.value(1)
        pin.value(0)


@micropython.viper
def toggle_viper(mask: int, count: int):
    gpio_xor = ptr32(_GPIO_OUT_XOR)
    while count > 0:
        # Eight writes per turn, so the loop itself costs little.
        gpio_xor[0] = mask
        gpio_xor[0] = mask
        gpio_xor[0] = mask
        gpio_xor[0] = mask
        gpio_xor[0] = mask
        gpio_xor[0] = mask
        gpio_xor[0] = mask
        gpio_xor[0] = mask
        count -= 4


def crc16_python(data):
    """CRC-16/CCITT-FALSE: polynomial 0x1021, start value 0xFFFF."""
    crc = 0xFFFF
    for byte in data:
        crc ^= byte << 8
        for _ in range(8):
            crc = (crc << 1) ^ 0x1021 if crc & 0x8000 else crc << 1
            crc &= 0xFFFF
    return crc


@micropython.viper
def crc16_viper(data: ptr8, size: int) -> int:
    crc = 0xFFFF
    for i in range(size):
        crc ^= data[i] << 8
        bit = 0
        while bit < 8:
            if crc & 0x8000:
                crc = ((crc << 1) ^ 0x1021) & 0xFFFF
            else:
                crc = (crc << 1) & 0xFFFF
            bit += 1
    return crc


@micropython.viper
def fletcher16(data: ptr8, size: int) -> int:
    """A cheaper checksum: two running sums modulo 255."""
    low = 0
    high = 0
    for i in range(size):
        low = (low + data[i]) % 255
        high = (high + low) % 255
    return (high << 8) | low


def elapsed_us(function, *args):
    start = time.ticks_us()
    result = function(*args)
    return time.ticks_diff(time.ticks_us(), start), result


def compare_toggling():
    pin = Pin(PIN_NUMBER, Pin.OUT, value=0)
    slow, _ = elapsed_us(toggle_python, pin, TOGGLES)
    fast, _ = elapsed_us(toggle_viper, 1 << PIN_NUMBER, TOGGLES)
    print("CPU at {} MHz, {} pulses".format(freq() // 1_000_000, TOGGLES))
    for name, took in (("Pin.value", slow), ("viper", fast)):
        print("{:10s} {:8d} us, {:8.1f} kHz".format(name, took, TOGGLES * 1000 / max(took, 1)))
    pin.init(Pin.IN)  # leave the pin harmless


def compare_checksums():
    data = bytes(i * 7 & 0xFF for i in range(1024))
    slow, crc_slow = elapsed_us(crc16_python, data)
    fast, crc_fast = elapsed_us(crc16_viper, data, len(data))
    if crc_slow != crc_fast:
        raise RuntimeError("the CRC versions disagree")
    print("CRC-16 of 1 KiB: 0x{:04X}, {} us in Python, {} us in viper".format(
        crc_fast, slow, fast))
    took, total = elapsed_us(fletcher16, data, len(data))
    print("Fletcher-16: 0x{:04X}, {} us".format(total, took))


def main():
    # The standard check value of this CRC for the digits 1 to 9.
    assert crc16_viper(b"123456789", 9) == 0x29B1
    compare_checksums()
    compare_toggling()


main()
