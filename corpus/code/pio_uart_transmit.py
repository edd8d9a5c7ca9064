"""An additional serial port on any pin of a Pico, made of a single PIO instruction.

Wiring: GP10 to the RX input of a USB serial adapter, GND to GND; 115200 baud.
Start, data, parity and stop bits are put together in Python, the PIO only shifts them out.
"""

import time
from array import array

import rp2
from machine import Pin

TX_PIN = 10
BAUD = 115_200
CYCLES_PER_BIT = 8
CHUNK = 32

PARITY_NONE = 0
PARITY_EVEN = 1
PARITY_ODD = 2


@rp2.asm_pio(
    out_init=rp2.PIO.OUT_HIGH,
    out_shiftdir=rp2.PIO.SHIFT_RIGHT,
    autopull=True,
    fifo_join=rp2.PIO.JOIN_TX,
)
def shift_frames():
    # One bit takes eight cycles. After the last bit of a frame the next one is pulled
    # automatically; with an empty FIFO it waits here, the line high from the stop bit.
    out(pins, 1) [7]


class PIOTransmitter:
    """Sends bytes with 8 data bits and 1 stop bit, least significant bit first."""

    def __init__(self, machine_id, pin_number, baud, parity=PARITY_NONE):
        self.baud = baud
        self.parity = parity
        self.frame_bits = 10 if parity == PARITY_NONE else 11
        self.buffer = array("H", (0 for _ in range(CHUNK)))
        self.sm = rp2.StateMachine(
            machine_id,
            shift_frames,
            freq=baud * CYCLES_PER_BIT,
            out_base=Pin(pin_number, Pin.OUT, value=1),
            pull_thresh=self.frame_bits,
        )
        self.sm.active(1)

    def _frame(self, byte):
        """A zero start bit, the data, perhaps parity, and a one as the stop bit."""
        if self.parity == PARITY_NONE:
            return byte << 1 | 1 << 9
        ones = byte
        ones ^= ones >> 4
        ones ^= ones >> 2
        ones ^= ones >> 1
        parity_bit = (ones & 1) ^ (self.parity == PARITY_ODD)
        return byte << 1 | parity_bit << 9 | 1 << 10

    def write(self, data):
        """Send bytes or text; returns when the last byte is in the FIFO."""
        if isinstance(data, str):
            data = data.encode()
        view = memoryview(self.buffer)
        for start in range(0, len(data), CHUNK):
            part = data[start:start + CHUNK]
            for i, byte in enumerate(part):
                self.buffer[i] = self._frame(byte)
            self.sm.put(view[:len(part)])
        return len(data)

    def flush(self):
        """Wait until everything has left the pin."""
        while self.sm.tx_fifo():
            time.sleep_us(100)
        # The frame in the shift register is not counted by tx_fifo().
        time.sleep_us(self.frame_bits * 1_000_000 // self.baud + 1)

    def close(self):
        self.flush()
        self.sm.active(0)


def main():
    port = PIOTransmitter(0, TX_PIN, BAUD)
    number = 0
    try:
        while True:
            started = time.ticks_us()
            count = port.write("line {:5d} at {:8d} ms\r\n".format(number, time.ticks_ms()))
            port.flush()
            took = time.ticks_diff(time.ticks_us(), started)
            print("{} bytes in {} us".format(count, took))
            number += 1
            time.sleep(1)
    except KeyboardInterrupt:
        print("port closed")
    finally:
        port.close()


main()
